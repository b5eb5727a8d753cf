"""The splitter agrees with a slow reference on every kind of bytes, whatever the chunks."""

import csv
import io

from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.transform.plan import Dialect, Limits
from etl.transform.split import split
from tests.property.reference_split import Record, reference


def ours(data: bytes, start: int, columns: int, dialect: Dialect, limit: int, chunk: int):
    """Split and lay chunks out like the reference's records."""
    records: dict[int, Record] = {}
    for part in split(
        data,
        start,
        2,
        columns,
        dialect=dialect,
        limits=Limits(line_bytes=limit),
        chunk_records=chunk,
    ):
        places = zip(part.record, part.line, part.last_line, part.offset, part.end, strict=True)
        for row, (number, *place) in enumerate(places):
            fields = part.cells[row * columns : (row + 1) * columns]
            records[number] = Record(*place, (), fields)
        for item in part.broken:
            records[item.record] = Record(*item[1:5], item.codes, None)
    assert sorted(records) == list(range(len(records)))
    return [records[number] for number in range(len(records))]


polluted = st.lists(
    st.sampled_from([b"a", b"bc", b";", b'"', b'""', b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"'"]),
    max_size=40,
).map(b"".join)


@settings(max_examples=800, deadline=None)
@given(polluted, st.integers(1, 3), st.integers(1, 30), st.integers(1, 5), st.sampled_from("\"'"))
@example(b'"a\nb"c\n', 1, 30, 2, '"')
@example(b'"abc"\r\n', 1, 5, 2, '"')
@example(b'"a\n""', 1, 4, 2, '"')
@example(b'"a\n";bcd\n', 2, 7, 2, '"')
@example(b'"a\n";bcd\r\n', 2, 8, 2, '"')
def test_fast_and_slow_splitters_agree(data, columns, limit, chunk, quote):
    """Record by record: place, codes and fields are the same."""
    dialect = Dialect(quote=quote)
    assert ours(data, 0, columns, dialect, limit, chunk) == reference(
        data, 0, columns, ";", quote, limit
    )


@settings(max_examples=200, deadline=None)
@given(polluted, st.integers(1, 3), st.integers(1, 30))
def test_every_byte_belongs_to_one_record(data, columns, limit):
    """Spans follow each other without gap or overlap, to the last byte."""
    place = 0
    for record in ours(data, 0, columns, Dialect(), limit, 3):
        assert record.offset == place < record.end
        place = record.end
    assert place == len(data)


cell = st.text(st.sampled_from('a"; \r\nä'), max_size=6)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(cell, min_size=2, max_size=2), max_size=8), st.sampled_from(["\n", "\r\n"])
)
def test_what_pythons_csv_writes_is_read_as_it_was(rows, ending):
    """Cells written by an independent writer come back unchanged."""
    target = io.StringIO(newline="")
    # Quoted throughout: this writer leaves a carriage return bare where lines end with LF.
    writer = csv.writer(target, delimiter=";", lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerows(rows)
    records = ours(target.getvalue().encode(), 0, 2, Dialect(), 1000, 4)
    assert [[field.decode() for field in record.fields or []] for record in records] == rows
