"""What a list takes into an attribute: names known, system attributes refused, typed texts read.

Pure: reads switches and types, changes nothing.
"""

import re
from datetime import datetime

from etl.sandbox.faults import Refused
from etl.sandbox.state import RecipientList
from etl.sandbox.switches import Switches

SYSTEM_ATTRIBUTES = {
    "en": ("Created", "Modified", "Opt-in Source", "Opt-in Date"),
    "de": ("Erstellt am", "Geändert am", "Opt-in-Quelle", "Opt-in-Datum"),
}
TYPES = (
    *("STRING", "TEXT", "LONG", "INTEGER", "SHORT", "FLOAT", "DECIMAL"),
    *("DATE", "TIMESTAMP", "BOOLEAN"),
)
_SYSTEM = frozenset(name for names in SYSTEM_ATTRIBUTES.values() for name in names)
_BITS = {"SHORT": 15, "INTEGER": 31, "LONG": 63}
_WHOLE = re.compile(r"[+-]?\d{1,19}")
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_FULL_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)")
_ADDRESS = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")


def address_passes(address: str) -> bool:
    """Say whether an e-mail address looks like one: one @, no blank, a dotted domain."""
    return _ADDRESS.fullmatch(address) is not None


def writable(recipient_list: RecipientList, names: list[str], switches: Switches) -> list[str]:
    """Return the names whose values are taken, "" for those ignored; refuses by the switches."""
    kept: list[str] = []
    for name in names:
        if name in recipient_list.attributes:
            kept.append(name)
            continue
        reaction = switches.system_attributes if name in _SYSTEM else switches.unknown_attribute
        if reaction == "fault":
            kind = "system-attribute" if name in _SYSTEM else "unknown-attribute"
            raise Refused(kind, "Attribute does not exist or may not be written")
        kept.append("")
    return kept


def taken(text: str | None, kind: str, switches: Switches) -> str | None:
    """Return what is stored of one value; ValueError for a text that is not of the type.

    Refuses nil and "" for a number or date where the switches say so: that fails the whole call.
    """
    if kind in {"STRING", "TEXT"}:
        return text
    if text is None:
        if switches.nil_number == "fault":
            raise Refused("nil-number", "null is no value for a typed attribute")
        return None
    if text == "":
        if switches.empty_number == "fault":
            raise Refused("empty-number", "an empty string is no value for a typed attribute")
        return None
    if not _of_type(text, kind, short_dates=switches.short_dates == "accepted"):
        raise ValueError(kind)
    return text


def _of_type(text: str, kind: str, *, short_dates: bool) -> bool:
    """Say whether a text that is not empty is of the field type."""
    if kind in _BITS:
        return _WHOLE.fullmatch(text) is not None and abs(int(text)) < 2 ** _BITS[kind]
    if kind in {"FLOAT", "DECIMAL"}:
        return _DECIMAL.fullmatch(text) is not None
    if kind == "BOOLEAN":
        return text.lower() in {"true", "false", "0", "1"}
    if not short_dates and _FULL_DATE.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
