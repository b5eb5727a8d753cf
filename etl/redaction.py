"""What may be shown: any value made plain, with what looks like a person or a secret taken out.

It is the last line of defence and may not be the first: whoever raises or logs passes no cell, no
address, no session id and no password. Of foreign errors only type, numbers and places are kept.
"""

import json
import re
import threading
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from enum import Enum
from html import escape
from pathlib import PurePath
from types import TracebackType
from urllib.parse import quote, quote_plus

from etl.errors import EtlError, Fact
from etl.reasons import REASONS

_REDACTED = "[redacted]"
_LONGEST_TEXT = 2000

# Nothing we say needs an at sign, so any is taken for an address; also as URLs and XML write it.
_ADDRESS = re.compile(r"[@\uff20\ufe6b]|%40|&#(?:64|x40);|\\x40|\\u0040", re.IGNORECASE)
# Campaign's session ids have 15 or 16 digits (recorded traffic: a leading zero is dropped).
_SESSION_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{15,16}(?![0-9a-f])")

_HERE = f"{PurePath(__file__).parent}/"


class _Secrets:
    """What must not appear whatever the way, in the forms it may take on its way into a text."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: frozenset[str] = frozenset()

    def add(self, secret: str) -> None:
        """Remember it as HTML, URLs, JSON and Python write it."""
        forms = {secret, escape(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
        forms |= {quote(secret, "", errors="replace"), quote_plus(secret, errors="replace")}
        with self._lock:
            self._forms |= forms - {""}

    def shown_in(self, text: str) -> bool:
        """Tell whether the text holds one of them."""
        return any(form in text for form in self._forms)


_SECRETS = _Secrets()


def hide(secret: str) -> None:
    """From now on no line shows this text: any value that contains it is replaced."""
    _SECRETS.add(secret)


def redacted(text: str) -> str:
    """The text, or a placeholder if it seems to hold an address, a session id or a secret."""
    if _ADDRESS.search(text) or _SESSION_ID.search(text) or _SECRETS.shown_in(text):
        return _REDACTED
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}[cut]"


def redacted_facts(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """The facts of a reason, each text by itself, so that the sentence around one is kept."""
    return {k: redacted(fact) if isinstance(fact, str) else fact for k, fact in facts.items()}


def described(error: BaseException) -> dict[str, object]:
    """Type, code and our own frames of an error and of what caused it; never its words.

    Our own errors say their sentence too: it is made of numbers and names of the configuration.
    """
    told: dict[str, object] = {"type": type(error).__qualname__}
    if isinstance(error, EtlError):
        sentence = REASONS[error.code].words(redacted_facts(error.facts))
        told |= {"code": error.code, "sentence": sentence}
    elif isinstance(error, OSError) and error.errno is not None:
        told["errno"] = error.errno
    told["at"] = _own_frames(error.__traceback__)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        told["because"] = [type(each).__qualname__ for each in _causes(cause)]
    return told


def _causes(error: BaseException | None) -> list[BaseException]:
    """An error and what led to it, at most five: chains may be long, or rings."""
    chain: list[BaseException] = []
    while error is not None and len(chain) < 5:  # noqa: PLR2004 - said in the docstring
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _own_frames(trace: TracebackType | None) -> list[str]:
    """`file:line function` of the frames in this package, outermost first."""
    frames = []
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename.startswith(_HERE):
            frames.append(f"etl/{code.co_filename[len(_HERE) :]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return frames


def plain(value: object) -> object:  # noqa: PLR0911 - one per kind of value
    """A value as plain data without what may not be shown; of unknown things only the type."""
    match value:
        case None | bool() | int():
            return value
        case Enum():
            return plain(value.value)
        case float():
            return value if value - value == 0 else str(value)
        case str() | PurePath():
            return redacted(str(value))
        case date():
            return value.isoformat()
        case BaseException():
            return plain(described(value))
        case Mapping():
            return {redacted(str(key)): plain(inner) for key, inner in value.items()}
        case bytes() | bytearray() | memoryview():
            return f"[{len(value)} bytes]"
        case Sequence() | AbstractSet():
            return [plain(inner) for inner in value]
        case _:
            return f"[{type(value).__qualname__}]"
