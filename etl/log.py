"""The log: which events there are, how a line looks, and what never gets into one.

It may not show a cell, an address, a session id, a password, or a word another library wrote: of
foreign errors and foreign log lines only type, numbers and places are kept. The redaction at the
end of the chain is the last line of defence; nobody may pass such things because of it.
"""

import contextlib
import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Callable
from enum import StrEnum
from pathlib import PurePath
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from etl.redaction import plain, redacted


class Event(StrEnum):
    """Every event there is. A log line begins with one of these or is not written as it stands."""

    STARTED = "started"
    STOPPED = "stopped"
    SCAN = "scan"
    SETTLED = "settled"
    CLAIMED = "claimed"
    ADOPTED = "adopted"
    REFUSED = "refused"
    """Something in the inbox that is left where it is."""
    PLACE = "place"
    """A batch has moved: the one event per change of place."""
    HELD = "held"
    RELEASED = "released"
    ROLLBACK = "rollback"
    """An operator's wish was taken: a batch puts former rows back."""
    LIFTED = "lifted"
    """Entries of the store suppress no more: bounces by Campaign's word, or by an operator's."""
    FETCHING = "fetching"
    """How far a long fetch is."""
    FETCHED = "fetched"
    """Response data and blocklist of a client."""
    HANDED_OVER = "handed-over"
    """Files for the CRM were written."""
    GUARD = "guard"
    CLEAR = "clear"
    CHUNK = "chunk"
    VERIFIED = "verified"
    FAR_SIDE = "far-side"
    DROP = "drop"
    """The one canonical event of a drop, at its end: counts, reasons, durations."""
    ALARM = "alarm"
    """Somebody has to look."""
    LIBRARY = "library"
    """A library warned; where, not what it said."""
    BUG = "bug"


_LEVELS: Final[dict[Event, int]] = {
    Event.SCAN: logging.DEBUG,
    Event.REFUSED: logging.WARNING,
    Event.HELD: logging.WARNING,
    Event.GUARD: logging.WARNING,
    Event.FAR_SIDE: logging.WARNING,
    Event.LIBRARY: logging.WARNING,
    Event.ALARM: logging.ERROR,
    Event.BUG: logging.CRITICAL,
}

_LIBRARIES = ("zeep", "paramiko", "urllib3", "requests", "watchdog")
_NAMES = frozenset(Event)
_COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "1;31"}
_WORD = re.compile(r"[A-Za-z0-9_.:/+-]+")


def log(event: Event, *, error: BaseException | None = None, **facts: object) -> None:
    """Write one event, at the level that goes with it; of `error` type, code and our frames show.

    Silent until `configure` was called, like a library.
    """
    if error is not None:
        facts["error"] = error
    if structlog.is_configured():
        structlog.get_logger().log(_LEVELS.get(event, logging.INFO), event, **facts)


def within(**facts: object) -> contextlib.AbstractContextManager[None]:
    """Add these facts to every event of this thread until the end of the block."""
    return structlog.contextvars.bound_contextvars(**facts)


def _redact(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    """Replace what may not be shown; the event is one of ours by now and stays."""
    event = str(event_dict.pop("event"))
    facts = {redacted(str(key)): plain(value) for key, value in event_dict.items()}
    return {"event": event, **facts}


def _take_exception(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    """Whoever logs by structlog's own means has the error shown our way too."""
    event_dict.pop("stack_info", None)
    error = event_dict.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event_dict["error"] = error
    return event_dict


class UnlistedEvent(Exception):  # noqa: N818 - a bug, named for what it is
    """An event that `Event` does not name was logged."""


def _raise_unlisted(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    if event_dict["event"] not in _NAMES:
        raise UnlistedEvent
    return event_dict


def _replace_unlisted(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    """An event that is not listed may be a sentence with a cell in it: only the fact is kept."""
    if event_dict["event"] not in _NAMES:
        event_dict.update(event=Event.BUG, unlisted_event=True)
    return event_dict


def _ascii(value: object) -> str:
    """JSON of printable ASCII alone: no byte of a name can end a line or move a cursor."""
    return json.dumps(value).replace("\x7f", "\\u007f")


def _json_line(_: WrappedLogger, __: str, event_dict: EventDict) -> str:
    first = {key: event_dict.pop(key) for key in ("at", "level", "event")}
    return _ascii({**first, **event_dict})


def _plain_line(_: WrappedLogger, __: str, event_dict: EventDict) -> str:
    """For people: time, event, then facts; colour by level."""
    at, level, event = (str(event_dict.pop(key)) for key in ("at", "level", "event"))
    facts = (f"{_bare(key)}={_bare(value)}" for key, value in event_dict.items())
    colour = _COLOURS.get(level, "1")
    return f"{at[11:19]} \x1b[{colour}m{event:<11}\x1b[0m {' '.join(facts)}".rstrip()


def _bare(value: object) -> str:
    """Words as they are, anything else as JSON."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else _ascii(value)


class _Sink:
    """Writes whole lines, one at a time. A log that cannot be written stops nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def msg(self, line: str) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


class _Bridge(logging.Handler):
    """Takes what libraries log. Their words may quote a request, so only the place is told."""

    def emit(self, record: logging.LogRecord) -> None:
        where = f"{PurePath(record.pathname).name}:{record.lineno} {record.funcName}"
        error = record.exc_info[1] if record.exc_info else None
        log(Event.LIBRARY, error=error, logger=record.name, severity=record.levelname, where=where)


def configure(
    stream: TextIO, *, as_json: bool | None = None, level: str = "info", strict: bool = False
) -> None:
    """Log to `stream` from `level` upwards; `as_json` None means: unless it is a terminal.

    May be called again. `strict` makes an unlisted event an error, as the tests want it.
    """
    in_json = not stream.isatty() if as_json is None else as_json
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _raise_unlisted if strict else _replace_unlisted,
            _take_exception,
            _redact,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            _json_line if in_json else _plain_line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_one(_Sink(stream)),
        cache_logger_on_first_use=False,
    )
    _quiet_libraries()


def _one(sink: _Sink) -> Callable[..., _Sink]:
    """A factory that gives the same sink, and so the same lock, to every logger."""
    return lambda *_: sink


def _quiet_libraries() -> None:
    """Let libraries say no less than WARNING, and only through the bridge."""
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _Bridge)]:
        root.removeHandler(old)
    root.addHandler(_Bridge(logging.WARNING))
    root.setLevel(max(root.level, logging.WARNING))
    # Their children too: below WARNING zeep writes whole envelopes, paramiko what is transferred.
    for name in (*_LIBRARIES, *logging.root.manager.loggerDict):
        if name.partition(".")[0] in _LIBRARIES:
            library = logging.getLogger(name)
            library.handlers.clear()
            library.propagate = True
            library.setLevel(max(library.level, logging.WARNING))


def install_hooks() -> None:
    """Have errors that nobody catches, and warnings, told our way instead of with their words."""
    sys.excepthook = lambda _, error, __: _uncaught(error)
    threading.excepthook = lambda args: _uncaught(args.exc_value)
    sys.unraisablehook = lambda args: _uncaught(args.exc_value)
    warnings.showwarning = _warned


def _uncaught(error: BaseException | None) -> None:
    if isinstance(error, SystemExit):
        return
    if not structlog.is_configured():
        configure(sys.stderr)
    log(Event.STOPPED if isinstance(error, KeyboardInterrupt) else Event.BUG, error=error)


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Takes the place of `warnings.showwarning`, which prints the message and the source line."""
    del message, file, line
    log(Event.LIBRARY, logger=category.__qualname__, where=f"{PurePath(filename).name}:{lineno}")
