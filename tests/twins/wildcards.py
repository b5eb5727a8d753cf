"""Blocklist patterns: `*` any characters, `?` exactly one, a backslash takes their meaning away."""

import re


def matches(entry: str, address: str) -> bool:
    """Tell whether a blocklist entry covers an address, whatever the case."""
    parts = re.findall(r"\\.|.", entry, re.DOTALL)
    pattern = "".join(
        {"*": ".*", "?": "."}.get(part) or re.escape(part[-1] if len(part) == 2 else part)
        for part in parts
    )
    return re.fullmatch(pattern, address, re.DOTALL | re.IGNORECASE) is not None
