"""The splitter: from bytes to records with their places, strictly by RFC 4180.

It may not decode, and knows a record's structure only. The rules:

- A line ends with LF or CRLF, or at the end of the bytes. Any other CR outside quotes is wrong.
- A quote opens only as the first byte of a field; inside, a doubled quote is a quote; behind the
  closing quote comes a delimiter or the line's end.
- A record that goes wrong in its first line costs that physical line. One whose quote is still
  open there and that comes to no proper end within the limit costs its first physical line too
  (`open-quote`), and the next line is looked at afresh: one stray quote costs no other record.
- A well-formed record with too few or too many fields costs all its lines: what looks like
  records inside its quotes is text. So a stray quote that happens to make a well-formed record
  with the lines behind it takes them along; nobody could tell it from a right one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from etl.transform.plan import Dialect, Limits

CHUNK_RECORDS = 20_000
_CR, _LF = 13, 10


class Broken(NamedTuple):
    """A record whose structure is wrong; `found` is the number of its fields where that matters."""

    record: int
    line: int
    last_line: int
    offset: int
    end: int
    codes: tuple[str, ...]
    found: int | None


@dataclass(slots=True)
class Chunk:
    """Some records in file order: the sound ones column by column, the broken ones apart."""

    record: list[int] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    last_line: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)
    cells: list[bytes] = field(default_factory=list)
    """The fields of the sound records laid end to end."""
    broken: list[Broken] = field(default_factory=list)


class Read(NamedTuple):
    """One record as read: its fields, or the code of what is wrong; where the next one begins."""

    code: str | None
    fields: list[bytes]
    end: int


class _Step(NamedTuple):
    """One field as read: its bytes and where the next one begins, or a fault and its place."""

    fault: str | None
    value: bytes
    place: int
    last: bool


def split(
    content: bytes,
    start: int,
    line: int,
    columns: int,
    *,
    dialect: Dialect,
    limits: Limits,
    chunk_records: int = CHUNK_RECORDS,
) -> Iterator[Chunk]:
    """Give all records from `start`, whose first line has the number `line`, in chunks.

    Offsets count from the beginning of `content`, records from 0. Every byte from `start` on
    belongs to exactly one record, sound or broken.
    """
    size, record = len(content), 0
    while start < size:
        chunk = Chunk()
        last = record + chunk_records
        while start < size and record < last:
            read = read_record(content, start, dialect, limits)
            end = read.end
            next_line = line + content.count(b"\n", start, end)
            last_line = next_line - (content[end - 1] == _LF)
            codes = _faults(read, columns, content, start)
            if codes:
                counted = len(read.fields) if read.code is None else None
                chunk.broken.append(Broken(record, line, last_line, start, end, codes, counted))
            else:
                chunk.record.append(record)
                chunk.line.append(line)
                chunk.last_line.append(last_line)
                chunk.offset.append(start)
                chunk.end.append(end)
                chunk.cells.extend(read.fields)
            start, line, record = end, next_line, record + 1
        yield chunk


def read_record(content: bytes, start: int, dialect: Dialect, limits: Limits) -> Read:
    """Read the record at `start`, which is a line's first byte and not the end."""
    delimiter, quote = dialect.delimiter.encode("ascii"), dialect.quote.encode("ascii")
    feed = content.find(b"\n", start)
    end = len(content) if feed < 0 else feed + 1
    stop = _stop(content, start, feed)
    if stop - start > limits.line_bytes:
        return Read("line-too-long", [], end)
    line = content[start:stop]
    if not line:
        return Read("blank-line", [], end)
    if quote not in line:
        code = "lone-cr" if b"\r" in line else None
        return Read(code, line.split(delimiter), end)
    bound = start + limits.line_bytes
    fault, place, fields, quoted_end = _scan(content, start, bound, delimiter, quote)
    if fault is None:
        return Read(None, fields, quoted_end)
    return Read(fault if place < end else "open-quote", [], end)


def _faults(read: Read, columns: int, content: bytes, start: int) -> tuple[str, ...]:
    """List what is wrong with a record's structure."""
    codes = [] if read.code is None else [read.code]
    if read.code is None and len(read.fields) != columns:
        codes.append("short-record" if len(read.fields) < columns else "long-record")
    if content.find(b"\0", start, read.end) >= 0:
        codes.append("nul-byte")
    return tuple(codes)


def _stop(content: bytes, start: int, feed: int) -> int:
    """Return where a line's text stops: before its LF or CRLF, `feed` being the LF or -1."""
    if feed < 0:
        return len(content)
    return feed - 1 if feed > start and content[feed - 1] == _CR else feed


def _scan(
    content: bytes, start: int, bound: int, delimiter: bytes, quote: bytes
) -> tuple[str | None, int, list[bytes], int]:
    """Walk a record with quotes field by field: (fault, its place, fields, the record's end).

    A record whose text reaches beyond `bound` is `open-quote`, placed at `bound`.
    """
    fields: list[bytes] = []
    place = start
    while True:
        read = _quoted if content.startswith(quote, place) else _unquoted
        step = read(content, place, bound, delimiter, quote)
        if step.fault is not None:
            return step.fault, step.place, [], 0
        fields.append(step.value)
        place = step.place
        if step.last:
            return None, 0, fields, place


def _quoted(content: bytes, place: int, bound: int, delimiter: bytes, quote: bytes) -> _Step:
    """Read the field whose opening quote is at `place`."""
    closing, doubled = _closing(content, place + 1, bound, quote)
    if closing < 0:
        return _Step("open-quote", b"", bound, last=True)
    value = content[place + 1 : closing]
    value = value.replace(quote * 2, quote) if doubled else value
    after = closing + 1
    if content.startswith(delimiter, after):
        return _Step(None, value, after + 1, last=False)
    if after == len(content):
        return _Step(None, value, after, last=True)
    for ending in (b"\n", b"\r\n"):
        if content.startswith(ending, after):
            return _Step(None, value, after + len(ending), last=True)
    fault = "lone-cr" if content[after] == _CR else "text-after-quote"
    return _Step(fault, b"", after, last=True)


def _unquoted(content: bytes, place: int, bound: int, delimiter: bytes, quote: bytes) -> _Step:
    """Read the field that begins at `place` without a quote."""
    feed = content.find(b"\n", place, bound + 2)
    if feed < 0 and len(content) > bound:  # too long whatever follows: look no further
        return _Step("open-quote", b"", bound, last=True)
    stop = _stop(content, place, feed)
    comma = content.find(delimiter, place, stop)
    value = content[place : stop if comma < 0 else comma]
    if (at := _first(value, (quote, b"\r"))) is not None:
        fault = "quote-in-field" if value.startswith(quote, at) else "lone-cr"
        return _Step(fault, b"", place + at, last=True)
    if comma >= 0:
        return _Step(None, value, comma + 1, last=False)
    if stop > bound:
        return _Step("open-quote", b"", bound, last=True)
    return _Step(None, value, len(content) if feed < 0 else feed + 1, last=True)


def _closing(content: bytes, place: int, bound: int, quote: bytes) -> tuple[int, bool]:
    """Find the closing quote from `place` on: its place or -1, and whether quotes were doubled."""
    doubled = False
    while (found := content.find(quote, place, bound)) >= 0:
        if not content.startswith(quote, found + 1):
            return found, doubled
        doubled, place = True, found + 2
    return -1, doubled


def _first(value: bytes, wanted: tuple[bytes, ...]) -> int | None:
    """Return where the first of the wanted bytes stands, None when there is none."""
    places = [place for byte in wanted if (place := value.find(byte)) >= 0]
    return min(places) if places else None
