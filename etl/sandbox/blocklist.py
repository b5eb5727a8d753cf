"""Blocklist entries as patterns: `*` any text, `?` one character, a backslash makes them plain.

Pure; upper and lower case are the same, as they are for mail servers.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

_TOKEN = re.compile(r"\\.|\*|\?|[^\\*?]+|\\", re.DOTALL)
_WILD = {"*": ".*", "?": "."}


@lru_cache(maxsize=4096)
def pattern(entry: str) -> re.Pattern[str]:
    """Return the entry as a regular expression for whole addresses."""
    parts = []
    for token in _TOKEN.findall(entry):
        plain = token[1:] if token.startswith("\\") and len(token) > 1 else token
        parts.append(_WILD.get(token) or re.escape(plain))
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


def first_match(entries: Iterable[str], address: str) -> str | None:
    """Return the first entry that an address falls under, None when it is free."""
    return next((entry for entry in entries if pattern(entry).fullmatch(address)), None)
