"""The control interface: `POST /VERB` with JSON arguments on a loopback port of its own."""

import json

from etl.sandbox.faults import Refused
from etl.sandbox.http_wire import Request, Response
from etl.sandbox.verbs import Verbs

_JSON = "application/json"


def answer(verbs: Verbs, request: Request) -> Response:
    """Carry a verb out; 404 for one that does not exist, 400 for arguments that do not fit."""
    verb = request.target.strip("/")
    if verb not in verbs.table():
        return _error(404, f"no verb {verb!r}")
    try:
        arguments = json.loads(request.body or b"{}")
        value = verbs.run(verb, arguments)
    except (ValueError, TypeError, KeyError, Refused) as error:
        words = error.message if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
        return _error(400, words)
    return Response(200, json.dumps({"value": value}).encode(), _JSON)


def _error(status: int, words: str) -> Response:
    return Response(status, json.dumps({"error": words}).encode(), _JSON)
