"""The two tables of a case, as bytes: `rejected.csv` and `refused.csv`, safe to open in Excel.

They hold personal data by purpose. Nothing else may be made here, and nothing of it is logged:
the inputs show no cell in their repr.
"""

import codecs
import csv
import io
import itertools
import mmap
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

import polars as pl

from etl.reasons import REASONS

ADDED_COLUMNS = ("rejected-line", "rejected-codes", "rejected-hints", "rejected-record")
"""Behind the drop's own columns; the last holds a record that could not be split, as it came."""

REFUSED_COLUMNS = ("line", "recipient-id", "code", "hint")

_LONGEST_RECORD_BYTES = 64 * 1024
_PIECE_ROWS = 2000
_SOME_LINE = "\0"
_FORMULA = "=+\\-@\0\uff1d\uff0b\uff0d\uff20"  # the last four are full-width = + - @


@dataclass(frozen=True, slots=True)
class RejectedRows:
    """The rows of a drop that broke a rule, and how to find and split them in its bytes."""

    frame: pl.DataFrame = field(repr=False)
    """A line per reason: record, line, last_line, offset, end, code,
    field, constraint, column_number, other_line. A record is content[offset:end]."""
    content: bytes | mmap.mmap = field(repr=False)
    header: tuple[str, ...]
    encoding: str
    """That of `content`, which for a UTF-16 drop is its UTF-8 form."""
    delimiter: str
    quote: str


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that Campaign refused: its line in the drop, its recipient id, the reason's code."""

    line: int
    recipient_id: str = field(repr=False)
    code: str


class _Why(NamedTuple):
    """One line of the frame."""

    record: int
    line: int
    offset: int
    end: int
    code: str
    field: str | None
    constraint: str | None
    other_line: int | None


def _behind(separators: str) -> str:
    """A pattern: the beginning or a separator, when a formula begins behind it."""
    return f"(?:^|[{re.escape(separators)}])(?=\\s*[{_FORMULA}])"


_SPLITS = ";,|\t\r\n"
_BEGIN_IN_CELL = re.compile(f"^(?=[\t\r\n])|{_behind(_SPLITS)}")


@lru_cache(maxsize=16)
def _anywhere(separators: str) -> re.Pattern[str]:
    """Finds in a record whatever `_BEGIN_IN_CELL` could find in one of its cells."""
    return re.compile(f"[\t\r\n]|{_behind(_SPLITS + separators)}")


def rejected_csv(rows: RejectedRows) -> Iterator[bytes]:
    """The rejected records with every reason, in pieces: UTF-8 with BOM, every field quoted."""
    frame = rows.frame.select(
        *(pl.col(name) for name in ("record", "line", "offset", "end", "code", "field")),
        pl.col("constraint").cast(pl.String),
        pl.col("other_line"),
    ).sort("record", maintain_order=True)
    records = itertools.groupby(map(_Why._make, frame.iter_rows()), key=attrgetter("record"))
    lines = (_rejected_line(rows, list(whys)) for _, whys in records)
    # The names of columns come from outside too.
    header = [*_disarmed_all(rows.header), *ADDED_COLUMNS]
    return _csv(itertools.chain([header], lines), rows.delimiter)


def refused_csv(refused: Iterable[RefusedRow]) -> Iterator[bytes]:
    """The rows Campaign refused, in the same form."""
    lines = (
        [str(row.line), disarmed(row.recipient_id), row.code, REASONS[row.code].hint]
        for row in refused
    )
    return _csv(itertools.chain([list(REFUSED_COLUMNS)], lines), ";")


def disarmed(cell: str) -> str:
    """A cell no spreadsheet takes for a formula: `'` before what could begin one.

    A spreadsheet that splits at another delimiter than ours begins a cell behind it, so there too.
    """
    # To prepare a substitution costs more than to find that none is needed.
    return _BEGIN_IN_CELL.sub(r"\g<0>'", cell) if _BEGIN_IN_CELL.search(cell) else cell


def _csv(lines: Iterable[Sequence[str]], delimiter: str) -> Iterator[bytes]:
    """UTF-8 with BOM, without which Excel guesses; every field quoted; CRLF."""
    yield codecs.BOM_UTF8
    iterator = iter(lines)
    while piece := list(itertools.islice(iterator, _PIECE_ROWS)):
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(piece)
        yield text.getvalue().encode("utf-8", "backslashreplace")


def _rejected_line(rows: RejectedRows, whys: Sequence[_Why]) -> list[str]:
    """One record of the drop and all that is wrong with it."""
    first = whys[0]
    size_bytes = first.end - first.offset
    raw = rows.content[first.offset : first.offset + min(size_bytes, _LONGEST_RECORD_BYTES)]
    # A byte that is not of this encoding shows as \xff: the reader sees which one it is.
    text = raw.decode(_without_bom(rows.encoding), "backslashreplace").rstrip("\r\n")
    cells: Sequence[str] | None = None
    if size_bytes > _LONGEST_RECORD_BYTES:
        text += f" [cut, {size_bytes} bytes in all]"
    else:
        cells = _split(text, rows)
    codes = " ".join(dict.fromkeys(why.code for why in whys))
    hints = " | ".join(dict.fromkeys(_words(why, rows.encoding) for why in whys))
    if cells is None:
        return [*("" for _ in rows.header), str(first.line), codes, hints, disarmed(text)]
    if _anywhere(rows.delimiter + rows.quote).search(text):
        cells = _disarmed_all(cells)
    return [*cells, str(first.line), codes, hints, ""]


def _split(text: str, rows: RejectedRows) -> list[str] | None:
    """The record's fields, None when they are not as many as the header's or cannot be told."""
    reader = csv.reader([text], delimiter=rows.delimiter, quotechar=rows.quote, strict=True)
    try:
        cells = next(reader, None)
    except csv.Error:
        return None
    return cells if cells is not None and len(cells) == len(rows.header) else None


def _disarmed_all(cells: Iterable[str]) -> list[str]:
    return [disarmed(cell) for cell in cells]


def _without_bom(encoding: str) -> str:
    """A record in the middle of the file has no byte order mark."""
    return "utf-8" if codecs.lookup(encoding).name == "utf-8-sig" else encoding


def _words(why: _Why, encoding: str) -> str:
    """What is wrong and what to do, in one line."""
    # The line of the other row differs each time, the words around it do not.
    other_line = None if why.other_line is None else _SOME_LINE
    sentence = row_sentence(why.code, why.field, why.constraint, encoding, other_line)
    said = f"{sentence}: {REASONS[why.code].hint}"
    return said if other_line is None else said.replace(_SOME_LINE, str(why.other_line))


@lru_cache(maxsize=4096)
def row_sentence(
    code: str,
    column: str | None,
    constraint: str | None,
    encoding: str,
    other_line: str | None,
) -> str:
    """What is wrong with a row; a drop breaks few rules many times, so the words are kept."""
    facts = {
        "field": column,
        "constraint": constraint,
        "limit": constraint,
        "encoding": encoding,
        "other_line": other_line,
    }
    return REASONS[code].words({key: fact for key, fact in facts.items() if fact is not None})
