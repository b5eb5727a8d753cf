"""Arrays of a request: the exact bytes, and that any text comes out of them as it went in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from etl.wire import arrays

XSI_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
XML_TEXT = st.text(
    st.characters(
        exclude_categories=("Cs",),
        exclude_characters="".join(map(chr, {*range(32)} - {9, 10, 13})) + "\ufffe\uffff",
    ),
    max_size=12,
)
FORBIDDEN = [*map(chr, sorted({*range(32)} - {9, 10, 13})), "\ud83d", "\ufffe", "\uffff"]


def read(element: bytes) -> list:
    """Read an array back the plain way, item by item."""

    def value(item):
        if item.get(XSI_NIL) == "true":
            return None
        if item.get("{http://schemas.xmlsoap.org/soap/encoding/}arrayType"):
            return [value(child) for child in item]
        return item.text or ""

    return value(etree.fromstring(element))


def test_strings_are_written_with_type_and_length() -> None:
    """A String[] says that it is an array, of what and of how many."""
    assert (
        arrays.strings("in3", ["a&b", "", "<ä>\r\n"])
        == (
            '<in3 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
            ' xmlns:xsd="http://www.w3.org/2001/XMLSchema"'
            ' xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/"'
            ' xsi:type="soapenc:Array" soapenc:arrayType="xsd:string[3]">'
            '<item xsi:type="xsd:string">a&amp;b</item><item xsi:type="xsd:string"></item>'
            '<item xsi:type="xsd:string">&lt;ä&gt;&#13;\n</item></in3>'
        ).encode()
    )


def test_a_table_is_an_array_of_arrays() -> None:
    """A String[][] holds a typed array per row; None is nil and "" an empty element."""
    element = arrays.table("in6", [["Ann", None], ["", "Müller & Co"]], 2).decode()
    assert element.partition(">")[2] == (
        '<item xsi:type="soapenc:Array" soapenc:arrayType="xsd:string[2]">'
        '<item xsi:type="xsd:string">Ann</item><item xsi:nil="true"/></item>'
        '<item xsi:type="soapenc:Array" soapenc:arrayType="xsd:string[2]">'
        '<item xsi:type="xsd:string"></item><item xsi:type="xsd:string">Müller &amp; Co</item>'
        "</item></in6>"
    )
    assert 'soapenc:arrayType="xsd:string[][2]"' in element.partition(">")[0]


def test_short_items_carry_no_type() -> None:
    """The short form leaves the type of single values out, and nothing else."""
    element = arrays.table("in6", [["Ann", None]], 2, short_items=True).decode()
    assert element.endswith('[2]"><item>Ann</item><item xsi:nil="true"/></item></in6>')
    assert arrays.strings("in3", ["a"], short_items=True).endswith(b"<item>a</item></in3>")


@pytest.mark.parametrize("rows", [[], [[]], [[], []]])
def test_empty_tables_keep_their_rows(rows: list[list[str | None]]) -> None:
    """No rows, or rows without columns, are written as just that."""
    assert read(arrays.table("in6", rows, 0)) == rows


@settings(deadline=None)
@given(st.lists(XML_TEXT), st.booleans())
def test_any_strings_come_back(values: list[str], short: bool) -> None:
    """Whatever XML can hold is read back as it was."""
    assert read(arrays.strings("in3", values, short_items=short)) == values


@settings(deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(st.none() | XML_TEXT, min_size=n, max_size=n), min_size=1)
    ),
    st.booleans(),
)
def test_any_table_comes_back(rows: list[list[str | None]], short: bool) -> None:
    """Whatever XML can hold is read back in its row and column, nil and "" apart."""
    assert read(arrays.table("in6", rows, len(rows[0]), short_items=short)) == rows


@pytest.mark.parametrize("character", FORBIDDEN, ids=lambda c: f"U+{ord(c):04X}")
def test_what_xml_forbids_is_refused(character: str) -> None:
    """No forbidden character is sent, alone or within text, and the error does not quote it."""
    for value in (character, f"canary{character}canary"):
        with pytest.raises(ValueError, match="XML") as caught:
            arrays.strings("in3", ["good", value])
        assert "canary" not in str(caught.value)
        for row in ([value, None], [None, value], [value, value]):
            with pytest.raises(ValueError, match="XML"):
                arrays.table("in6", [["good", None], row], 2)


def test_a_ragged_table_is_refused() -> None:
    """A row with another number of values than columns is never sent."""
    with pytest.raises(ValueError, match="2 values"):
        arrays.table("in6", [["a", "b"], ["c"]], 2)
