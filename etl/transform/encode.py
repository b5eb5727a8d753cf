"""From accepted records to the bytes of the uploaded file: same input, same bytes.

It may not judge rows; it writes those it is given, in their order.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from etl.transform.decode import codec, content, decode_cells, text_start
from etl.transform.header import line_end
from etl.transform.plan import Dialect, Limits
from etl.transform.split import read_record

_RECORDS_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class OutputDialect:
    """How the uploaded file is written when not as the drop is; always UTF-8 without a mark."""

    delimiter: str = ";"
    quote: str = '"'


def encode(
    data: bytes,
    header_end: int,
    rows: pl.DataFrame,
    dialect: Dialect,
    output: OutputDialect | None = None,
    *,
    columns: Sequence[str] | None = None,
) -> bytes:
    """Write the records at `offset` and `end` of `rows` under the drop's header, in UTF-8.

    Without `output` and `columns` they are copied as they came; otherwise written anew, with
    `columns` (all by default) in the order given, quoted where RFC 4180 needs it, line ends as in
    the drop's header. `header_end` is that of `Checked`. Raises ValueError for a column that is
    not in the header.
    """
    drop = content(data, dialect)
    start = text_start(data, dialect)
    spans = [(start, header_end), *zip(rows["offset"], rows["end"], strict=True)]
    if output is not None or columns is not None:
        output = output or OutputDialect(dialect.delimiter, dialect.quote)
        return _anew(drop, spans, dialect, output, columns)
    copied = _copied(drop, spans)
    if not copied.endswith(b"\n"):
        copied += line_end(drop).encode()
    return copied if codec(dialect) == "utf-8" else copied.decode(codec(dialect)).encode()


def rejected_original(drop: bytes, offset: int, end: int) -> bytes:
    """Return the bytes of a record as they came; `drop` is `content(data, dialect)`."""
    return drop[offset:end]


def _copied(drop: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    """Copy spans in order, neighbours in one piece; a last line without line end stays last."""
    view = memoryview(drop)
    pieces: list[memoryview] = []
    begin, stop = spans[0]
    for offset, end in spans[1:]:
        if offset != stop:
            pieces.append(view[begin:stop])
            begin = offset
        stop = end
    pieces.append(view[begin:stop])
    return b"".join(pieces)


def _anew(
    drop: bytes,
    spans: Sequence[tuple[int, int]],
    dialect: Dialect,
    output: OutputDialect,
    columns: Sequence[str] | None,
) -> bytes:
    """Read the records again and write them in another dialect or with other columns."""
    unlimited = Limits(line_bytes=len(drop))
    begin, end = spans[0]
    width = len(read_record(drop[begin:end], 0, dialect, unlimited).fields)
    chosen: list[int] | None = None
    target = io.BytesIO()
    for first in range(0, len(spans), _RECORDS_AT_ONCE):
        cells: list[bytes] = []
        for begin, end in spans[first : first + _RECORDS_AT_ONCE]:
            cells.extend(read_record(drop[begin:end], 0, dialect, unlimited).fields)
        texts, _ = decode_cells(cells, width, codec(dialect))
        if chosen is None:
            names = texts[:width]
            chosen = list(range(width)) if columns is None else [names.index(n) for n in columns]
        _write(target, [texts[i::width] for i in chosen], output, line_end(drop))
    return target.getvalue()


def _write(
    target: io.BytesIO,
    columns: Sequence[Sequence[str]],
    out: OutputDialect,
    ending: str,
) -> None:
    """Write records, the header like any other: so a name twice or empty is no matter."""
    frame = pl.DataFrame([pl.Series(str(i), c, dtype=pl.String) for i, c in enumerate(columns)])
    if len(columns) > 1:  # a lone empty field needs its quotes, or its record is a blank line
        frame = frame.with_columns(pl.all().replace("", None))
    frame.write_csv(
        target,
        include_header=False,
        separator=out.delimiter,
        quote_char=out.quote,
        quote_style="necessary",
        line_terminator=ending,
    )
