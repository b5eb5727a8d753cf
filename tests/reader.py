"""An independent reader of drops: Python's csv module and nothing of what is under test."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """One record: the physical line it begins on (the header's is 1) and its cells."""

    line: int
    cells: tuple[str, ...]


def read(
    data: bytes, *, encoding: str = "utf-8", delimiter: str = ";", quote: str = '"'
) -> tuple[tuple[str, ...], list[Record]]:
    """Header and records; blank lines are records without cells, undecodable bytes surrogates."""
    text = data.decode(encoding, "surrogateescape").removeprefix("\ufeff")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote)
    header: tuple[str, ...] | None = None
    records = []
    before = 0
    for cells in reader:
        if header is None:
            header = tuple(cells)
        else:
            records.append(Record(before + 1, tuple(cells)))
        before = reader.line_num
    return header or (), records


def column(header: Sequence[str], record: Record, name: str) -> str:
    """A cell by its column's name; empty where the record is too short for it."""
    number = header.index(name)
    return record.cells[number] if number < len(record.cells) else ""


def fold(address: str) -> str:
    """The one form of an address: trimmed, lower case, the domain in IDNA's ASCII form."""
    local, at, domain = address.strip().lower().rpartition("@")
    try:
        return f"{local}{at}{domain.encode('idna').decode('ascii')}"
    except UnicodeError:
        return f"{local}{at}{domain}"


def matches(address: str, pattern: str) -> bool:
    """Tell whether a blocklist entry with `*` and `?` means an address."""
    wild = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
    return re.fullmatch(wild, address, re.IGNORECASE) is not None
