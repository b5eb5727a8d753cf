"""Campaign's SOAP faults as errors of ours, their words redacted.

A fault prints the session id and the arguments of its call, so of an addAll3 every address. Only
the words before the arguments are kept, and of these nothing that was sent or looks like it.
"""

import re
from collections.abc import Iterable

from etl.errors import FarSideRefused, FarSideUnavailable

# From recorded traffic: `WebserviceImplException: [sid,mandator,user] words for call: arg='…', …`
# and, without the bracket, `Invalid credentials.`; there are no numeric codes.
_SESSION_LOST = "Invalid sessionId"
_BAD_LOGIN = "Invalid credentials"
_CALL = re.compile(r"\s*for call\b.*", re.IGNORECASE | re.DOTALL)
_CLASS = re.compile(r"^\s*[\w.$]+(?:Exception|Error|Fault):\s*")
_BRACKET = re.compile(r"^\s*\[[^\]]*\]?\s*")
# Greedy from the first opening quote to the last closing one: a value may hold quotes itself.
_QUOTED = re.compile(r"(?<!\w)(['\"]).*\1(?!\w)", re.DOTALL)
_OPEN_QUOTE = re.compile(r"(?<!\w)['\"].*", re.DOTALL)
_ADDRESS = re.compile(r"\S*@\S*")
_HEX = re.compile(r"\b[0-9a-fA-F]{12,}\b")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\s]+")
# Refused at the limit of parallel connections or calls, whose words are not documented; but never
# when the words are about what was sent.
_CROWDED = re.compile(
    r"\b(?:connections?|sessions?|requests?|calls?|parallel|simultaneous|concurrent)\b",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"too many|limit|maximum|max\b|exceed|busy|overload", re.IGNORECASE)
_SENT = re.compile(r"\b(?:recipients?|rows?|batch|entries|values?|array|list)\b", re.IGNORECASE)

_HEAD_CHARS = 2000
_WORDS_CHARS = 200
# A value of one or two characters tells nothing and would eat the words; a short one is cut out
# where it stands as a word, a longer one anywhere, and a long one with all that follows it.
_TELLING_CHARS, _SHORT_CHARS, _LONG_CHARS = 3, 6, 60


class SessionLost(Exception):  # noqa: N818 - told from the call to its session, never leaves it
    """The session id was refused, so the call was not carried out.

    `refusal` is what to raise when a new session is refused the same way.
    """

    def __init__(self, refusal: FarSideRefused | FarSideUnavailable) -> None:
        super().__init__("session lost")
        self.refusal = refusal


def judged(
    call: str, text: str, sent: Iterable[str]
) -> FarSideRefused | FarSideUnavailable | SessionLost:
    """Return the error for a fault's text; `sent` are the strings the call carried.

    A crowd is in doubt like every other answer that asks to come later.
    """
    head = _CALL.sub("", text[:_HEAD_CHARS])
    words = redacted(text, sent)
    refusal = FarSideRefused("call-refused", call=call, detail=words)
    if _SESSION_LOST in text:
        # A recipient's value may hold these words too. Then the second refusal must be the call's.
        again = FarSideUnavailable("campaign-unreachable", detail="a new session is refused too")
        return SessionLost(again if _SESSION_LOST in head else refusal)
    if _BAD_LOGIN in head:
        return FarSideRefused("campaign-login")
    if _CROWDED.search(words) and _LIMIT.search(words) and not _SENT.search(words):
        return FarSideUnavailable(
            "campaign-unreachable", in_doubt=True, detail="too many connections or calls"
        )
    return refusal


def redacted(text: str, sent: Iterable[str]) -> str:
    """Return the words of a fault, at most 200 characters, without what `sent` holds."""
    words = _CALL.sub("", text[:_HEAD_CHARS])
    words = _BRACKET.sub("", _CLASS.sub("", words))
    for secret in sent:
        words = _without(words, secret)
    words = _QUOTED.sub("…", words)
    words = _OPEN_QUOTE.sub("…", words)
    words = _ADDRESS.sub("…", words)
    words = _HEX.sub("…", words)
    words = _CONTROL.sub(" ", words).strip()
    return words[:_WORDS_CHARS] or "no words"


def _without(words: str, secret: str) -> str:
    """Cut a value that was sent out of the words."""
    if len(secret) < _TELLING_CHARS or secret[:_LONG_CHARS] not in words:
        return words
    if len(secret) < _SHORT_CHARS:
        return re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "…", words)
    if len(secret) <= _LONG_CHARS:
        return words.replace(secret, "…")
    return words[: words.index(secret[:_LONG_CHARS])] + "…"
