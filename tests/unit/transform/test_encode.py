"""The uploaded file: accepted records as they came, or written anew, always the same bytes."""

import csv
import io

import pytest

from etl.transform.check import Dialect, content
from etl.transform.encode import OutputDialect, encode, rejected_original
from tests.unit.transform.drops import COLUMNS, checked, drop, plan, record

ROWS = [
    record(0, notes='"zwei\r\nZeilen; ""ja"""'),
    record(1, zip="x"),
    record(2),
    record(3, firstname="", notes='""'),
]


def written(data: bytes, used, *args, **kwargs) -> bytes:
    """Check and encode a drop."""
    answer = checked(data, used)
    return encode(data, answer.header_end, answer.rows, used.dialect, *args, **kwargs)


def parsed(data: bytes, delimiter: str = ";", quote: str = '"') -> list[list[str]]:
    """Read as an independent reader does."""
    text = io.StringIO(data.decode(), newline="")
    return list(csv.reader(text, delimiter=delimiter, quotechar=quote, strict=True))


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_accepted_records_leave_byte_for_byte(ending):
    """Without another dialect the file is the drop without its rejected records."""
    accepted = [ROWS[0], *ROWS[2:]]
    assert written(drop(ROWS, ending=ending), plan()) == drop(accepted, ending=ending)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "windows-1252", "iso-8859-15"])
def test_every_encoding_leaves_as_utf_8_without_a_mark(encoding):
    """The same text in another encoding gives the same file."""
    data = drop(ROWS).decode().encode(encoding)
    assert written(data, plan(dialect=Dialect(encoding))) == drop([ROWS[0], *ROWS[2:]])


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_missing_last_line_end_is_added(ending):
    """The last record gets the line end that the header has, and only the last."""
    data = drop(ROWS, ending=ending)
    used = plan(final_newline="optional")
    assert written(data.removesuffix(ending.encode()), used) == written(data, used)


def test_written_anew_another_dialect_reads_the_same():
    """Other delimiter and quote: an independent reader finds the same cells."""
    data = drop(ROWS)
    anew = written(data, plan(), OutputDialect(",", "'"))
    assert parsed(anew, ",", "'") == parsed(written(data, plan()))
    assert anew.count(b"\r\n") == anew.count(b"\n")


def test_fewer_columns_in_the_order_given():
    """Only the named columns leave; an unknown name is the caller's mistake."""
    data = drop(ROWS)
    assert written(data, plan(), columns=["zip", "email"]).splitlines()[:2] == [
        b"zip;email",
        b"01067;p0@example.org",
    ]
    with pytest.raises(ValueError, match="is not in list"):
        written(data, plan(), columns=["nirgends"])


def test_a_lone_empty_field_is_no_blank_line():
    """With a single column an empty cell is quoted, so that the record stays one."""
    anew = written(drop(ROWS), plan(), columns=["firstname"])
    assert parsed(anew) == [["firstname"], ["Änne"], ["Änne"], [""]]


def test_many_records_are_written_anew_in_portions():
    """Beyond one portion nothing is lost, doubled or put elsewhere."""
    data = drop(record(n) for n in range(20_005))
    anew = written(data, plan(), OutputDialect(","), columns=["entity-id"])
    assert anew.decode().splitlines() == ["entity-id", *(f"C-{n}" for n in range(20_005))]


def test_the_original_of_a_reject_is_its_own_bytes():
    """Offset and end of a reject cut its bytes out of the content."""
    data = drop(ROWS).decode().encode("utf-16")
    used = plan(dialect=Dialect("utf-16"))
    answer = checked(data, used)
    offset, end = answer.rejected.select("offset", "end").row(0)
    original = rejected_original(content(data, used.dialect), offset, end)
    assert original.decode() == ROWS[1] + "\r\n"
    assert len(COLUMNS) == len(parsed(original)[0])
