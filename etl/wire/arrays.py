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
_FORBIDDEN = re.compile("[\x00\x02-\x08\x0b\x0c\x0e-\x1d\ud800-\udfff\ufffe\uffff]")

_SPACES = (
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xmlns:xsd="http://www.w3.org/2001/XMLSchema"'
    ' xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/"'
)
_ARRAY = ' xsi:type="soapenc:Array" soapenc:arrayType="xsd:string'
_NIL_ITEM = '<item xsi:nil="true"/>'


def strings(part: str, values: Strings, *, short_items: bool = False) -> bytes:
    """Return `values` as element `part`, a String[]; ValueError for what XML cannot hold."""
    opening = _item(short_items)
    text = _escaped(_CELL.join(values), cells=max(len(values) - 1, 0))
    inner = f"{opening}{text.replace(_CELL, f'</item>{opening}')}</item>" if values else ""
    return f'<{part}{_SPACES}{_ARRAY}[{len(values)}]">{inner}</{part}>'.encode()


def table(part: str, rows: Table, columns: int, *, short_items: bool = False) -> bytes:
    """Return `rows` of `columns` values each as element `part`, a String[][]; None becomes nil."""
    if any(len(row) != columns for row in rows):
        raise ValueError(f"a row does not hold {columns} values")
    row_opening = f'<item{_ARRAY}[{columns}]">'
    if rows and columns:
        inner = f"{row_opening}{_cells(rows, row_opening, short_items)}</item>"
    else:
        inner = f"{row_opening}</item>" * len(rows)
    return f'<{part}{_SPACES}{_ARRAY}[][{len(rows)}]">{inner}</{part}>'.encode()


def _cells(rows: Table, row_opening: str, short_items: bool) -> str:
    """Everything between the first row's opening and the last row's closing."""
    opening = _item(short_items)
    text = _escaped(
        _ROW.join(_CELL.join(_NIL if cell is None else cell for cell in row) for row in rows),
        cells=sum(len(row) - 1 for row in rows),
        rows=len(rows) - 1,
        nils=sum(cell is None for row in rows for cell in row),
    )
    text = text.replace(_CELL, f"</item>{opening}")
    text = text.replace(_ROW, f"</item></item>{row_opening}{opening}")
    return f"{opening}{text}</item>".replace(f"{opening}{_NIL}</item>", _NIL_ITEM)


def _escaped(text: str, *, cells: int, rows: int = 0, nils: int = 0) -> str:
    """Escape the text of a framed array; ValueError when a value held a forbidden character."""
    framed = (text.count(_CELL), text.count(_ROW), text.count(_NIL)) == (cells, rows, nils)
    if not framed or _FORBIDDEN.search(text):
        raise ValueError("a value holds a character that XML 1.0 forbids")
    # A raw CR would reach the other side as LF; `>` may close a CDATA section that never was.
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("\r", "&#13;")


def _item(short_items: bool) -> str:
    return "<item>" if short_items else '<item xsi:type="xsd:string">'
