"""A Campaign that answers every call after a fixed time, in a process of its own.

It takes everybody, suppresses nobody and remembers one count; its answers have the recorded form.
It may not compute while the other side is measured: an answer is made within its waiting time.
"""  # noqa: INP001 - a script, not a module of a package

import argparse
import json
import re
import sys
import time
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from etl.sandbox.authority import open_authority
from etl.sandbox.axis_write import write_answer
from etl.sandbox.http_wire import Request, Response
from etl.sandbox.listener import Listener
from etl.sandbox.operations import services
from etl.sandbox.switches import default_switches

_OPERATION = re.compile(rb"Body>\s*<(?:\w+:)?(\w+)")
_LENGTH = re.compile(rb'soapenc:arrayType="xsd:string\[(\d+)\]"')
_FIRST_BYTES = 4096
_BY_TYPE = {None: None, "int": 0, "long": 0, "boolean": False, "string": ""}


class Answering:
    """What is answered, and how late."""

    def __init__(self, seconds: float, name: str, attributes: list[str], keep: Path | None) -> None:
        self._seconds = seconds
        self._fixed = {"login": "session", "getName": name, "getAttributeNames": attributes}
        self._keep = keep
        self._kept = 0
        self._count = 0

    def answer(self, request: Request) -> Response:
        """Answer a call so long after its last byte came."""
        began = time.monotonic()
        service = urlsplit(request.target).path.rpartition("/")[2]
        head = request.body[:_FIRST_BYTES]
        found = _OPERATION.search(head)
        operation = found[1].decode() if found else ""
        length = _LENGTH.search(head)
        rows = int(length[1]) if length else 0
        if operation == "clear":
            self._count = 0
        elif operation == "addAll3":
            self._count += rows
        body = self._body(service, operation, rows)
        if self._keep is not None and (operation == "clear" or self._kept):
            (self._keep / f"{self._kept:05}.{service}.{operation}").write_bytes(request.body)
            self._kept += 1
        time.sleep(max(0.0, began + self._seconds - time.monotonic()))
        return Response(200, body)

    def _body(self, service: str, operation: str, rows: int) -> bytes:
        kind = services()[service][operation].answer
        if rows and kind in ("int[]", "boolean[]"):
            return _same(service, operation, rows)
        value: object = _BY_TYPE.get(kind, [])
        if operation in self._fixed:
            value = self._fixed[operation]
        elif operation == "getCount":
            value = self._count
        elif operation == "getCurrentTime":
            value = time.time_ns() // 1_000_000
        return write_answer(services()[service][operation], value, default_switches())


@cache
def _same(service: str, operation: str, rows: int) -> bytes:
    """One no, or one `inserted`, for every row asked about."""
    found = services()[service][operation]
    value: list[object] = [0 if found.answer == "int[]" else False] * rows
    return write_answer(found, value, default_switches())


def main() -> None:
    """Answer until standard input ends; the first line out says where."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tls", type=Path, help="folder of the test authority")
    parser.add_argument("--milliseconds", type=float, default=0.0)
    parser.add_argument("--name", default="")
    parser.add_argument("--attributes", default="[]", help="JSON")
    parser.add_argument("--keep", type=Path, help="folder for the requests from a clear on")
    options = parser.parse_args()
    attributes = json.loads(options.attributes)
    answering = Answering(options.milliseconds / 1000, options.name, attributes, options.keep)
    authority = open_authority(options.tls)
    listener = Listener(answering.answer, port=0, tls=authority.server_context())
    listener.start()
    url = f"https://127.0.0.1:{listener.port}/soap11"
    sys.stdout.write(json.dumps({"url": url, "ca_file": str(authority.ca_file)}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    listener.stop()


if __name__ == "__main__":
    main()
