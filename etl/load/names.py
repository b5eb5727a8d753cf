"""Names and facts that came from outside, made fit for a file's name, for JSON and for a page.

It may not be used to find a file again: several names may become the same one.
"""

import unicodedata
from collections.abc import Mapping

from etl.errors import Fact
from etl.redaction import redacted_facts

_LONGEST_BYTES = 150
_ALSO_SAFE = frozenset("._- ()")


def safe_file_name(name: str, longest_bytes: int = _LONGEST_BYTES) -> str:
    """Letters, digits and `._- ()` stay, anything else becomes `_`; never hidden, never a path.

    Cut to `longest_bytes` of UTF-8, between two characters and before the last `.ext`.
    """
    composed = unicodedata.normalize("NFC", name)
    kept = "".join(c if c.isalnum() or c in _ALSO_SAFE else "_" for c in composed).rstrip(" .")
    if kept[:1] in {"", ".", " "}:
        kept = "_" + kept[1:]
    stem, dot, extension = kept.rpartition(".")
    ending = dot + extension
    if not stem or len(ending.encode()) > longest_bytes // 2:
        stem, ending = kept, ""
    room = longest_bytes - len(ending.encode())
    return stem.encode()[:room].decode(errors="ignore") + ending


def portable_text(text: str) -> str:
    """The text itself, but bytes that were no UTF-8 in a file's name are shown as escapes.

    A lone surrogate can be written to JSON, but many a reader refuses it there.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def portable_facts(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """The facts of a reason for JSON, without what looks like an address or a secret.

    A fact may quote a file: the values of a consent column, which after a shift of the columns may
    be addresses.
    """
    return {
        key: portable_text(fact) if isinstance(fact, str) else fact
        for key, fact in redacted_facts(facts).items()
    }


def visible_text(text: str) -> str:
    """The text for a page: controls, bidirectional overrides and the like are shown as escapes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
