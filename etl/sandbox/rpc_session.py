"""RpcSession: login, logout, locale and media type of a session."""

from etl.sandbox.axis_read import Call
from etl.sandbox.context import Context, Operate
from etl.sandbox.faults import Refused
from etl.sandbox.state import World

MEDIA_TYPES = ("EMAIL", "FAX", "SMS", "LETTER", "PUSH", "PRINT")
LOCALES = ("de", "en")
VERSION = "simulator 1"


def login(world: World, call: Call, ip: str) -> str:
    """Open a session; a wrong client, user, password or caller's address gets the same words."""
    client = world.clients.get(call.number("mandatorId"))
    user = client.users.get(call.text("user")) if client else None
    allowed = user is not None and (user.allowed_ips is None or ip in user.allowed_ips)
    if client is None or user is None or not allowed or user.password != call.text("password"):
        raise Refused("bad-login", "Invalid credentials.", bare=True)
    return world.open_session(client.mandator, call.text("user"), ip).session_id


def _logout(context: Context, _call: Call) -> None:
    context.world.sessions.pop(context.session.session_id, None)


def _get_locale(context: Context, _call: Call) -> str:
    return context.session.locale


def _set_locale(context: Context, call: Call) -> None:
    if call.text("locale") not in LOCALES:
        raise Refused("bad-argument", "Unsupported locale")
    context.session.locale = call.text("locale")


def _get_media_type(context: Context, _call: Call) -> str:
    return context.session.media


def _set_media_type(context: Context, call: Call) -> None:
    if call.text("mediaType") not in MEDIA_TYPES:
        raise Refused("bad-argument", "Unsupported media type")
    context.session.media = call.text("mediaType")


OPERATIONS: dict[str, Operate] = {
    "logout": _logout,
    "getLocale": _get_locale,
    "setLocale": _set_locale,
    "getMediaType": _get_media_type,
    "setMediaType": _set_media_type,
}
