"""Arrays of strings as SOAP 1.1 encodes them, made ready as bytes for the envelope zeep builds.

zeep 4.3 cannot send String[][] and sends String[] without its length. It may not send, and it may
not name a value in an error.
"""

import re
from collections.abc import Sequence

Strings = Sequence[str]
Table = Sequence[Sequence[str | None]]

# XML 1.0 forbids control characters, so three of them can frame the cells of a whole array: it is
# then checked and escaped as one text. The counts of all three are compared before that.
_NIL, _ROW, _CELL = "\x01", "\x1e", "\x1f"
_NIL_BYTE, _ROW_BYTE, _CELL_BYTE = b"\x01", b"\x1e", b"\x1f"
_FORBIDDEN = re.compile("[\x00\x02-\x08\x0b\x0c\x0e-\x1d\ud800-\udfff\ufffe\uffff]")

_SPACES = (
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xmlns:xsd="http://www.w3.org/2001/XMLSchema"'
    ' xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/"'
)
_ARRAY = ' xsi:type="soapenc:Array" soapenc:arrayType="xsd:string'
_NIL_ITEM = b'<item xsi:nil="true"/>'


def strings(part: str, values: Strings, *, short_items: bool = False) -> bytes:
    """Return `values` as element `part`, a String[]; ValueError for what XML cannot hold."""
    opening = _item(short_items)
    inner = b""
    if values:
        text = _escaped(_CELL.join(values), cells=len(values) - 1)
        inner = b"%b%b</item>" % (opening, text.replace(_CELL_BYTE, b"</item>" + opening))
    return _element(part, f"[{len(values)}]", inner)


def table(part: str, rows: Table, columns: int, *, short_items: bool = False) -> bytes:
    """Return `rows` of `columns` values each as element `part`, a String[][]; None becomes nil."""
    if any(len(row) != columns for row in rows):
        raise ValueError(f"a row does not hold {columns} values")
    row_opening = f'<item{_ARRAY}[{columns}]">'.encode()
    if rows and columns:
        inner = b"%b%b</item>" % (row_opening, _cells(rows, row_opening, _item(short_items)))
    else:
        inner = (row_opening + b"</item>") * len(rows)
    return _element(part, f"[][{len(rows)}]", inner)


def _cells(rows: Table, row_opening: bytes, opening: bytes) -> bytes:
    """Everything between the first row's opening and the last row's closing."""
    nils = sum(row.count(None) for row in rows)
    text = _escaped(
        _ROW.join(_CELL.join([_NIL if cell is None else cell for cell in row]) for row in rows),
        cells=sum(len(row) - 1 for row in rows),
        rows=len(rows) - 1,
        nils=nils,
    )
    text = text.replace(_CELL_BYTE, b"</item>" + opening)
    text = text.replace(_ROW_BYTE, b"</item></item>" + row_opening + opening)
    text = b"%b%b</item>" % (opening, text)
    return text.replace(b"%b%b</item>" % (opening, _NIL_BYTE), _NIL_ITEM) if nils else text


def _escaped(text: str, *, cells: int, rows: int = 0, nils: int = 0) -> bytes:
    """Escape the text of a framed array; ValueError when a value held a forbidden character."""
    framed = (text.count(_CELL), text.count(_ROW), text.count(_NIL)) == (cells, rows, nils)
    if not framed or _FORBIDDEN.search(text):
        raise ValueError("a value holds a character that XML 1.0 forbids")
    # A raw CR would reach the other side as LF; `>` may close a CDATA section that never was.
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # As bytes before the markup is put in: that is several times the text, and plain ASCII.
    return text.replace("\r", "&#13;").encode()


def _element(part: str, length: str, inner: bytes) -> bytes:
    return f'<{part}{_SPACES}{_ARRAY}{length}">'.encode() + inner + f"</{part}>".encode()


def _item(short_items: bool) -> bytes:
    return b"<item>" if short_items else b'<item xsi:type="xsd:string">'
