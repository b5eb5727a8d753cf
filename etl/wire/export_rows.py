"""The bytes of one export file made rows: unpacked, decoded, parsed, each step strictly.

It reads no server and knows no stream. What does not fit is NotRowsError, whose text says where
and never what.
"""

import codecs
import csv
import io
import re
import zlib
from dataclasses import dataclass
from gzip import BadGzipFile, GzipFile
from typing import Literal

_GZIP = b"\x1f\x8b"
_PIECE_BYTES = 1 << 20
# A person or an event, not the names of columns: an address, type:id, a time, a number, nothing.
_NO_NAME = re.compile(r".*@.*|.*:\S.*|\d*", re.DOTALL)


class NotRowsError(Exception):
    """A file that is not written as configured; the text holds nothing of its content."""


@dataclass(frozen=True, slots=True)
class ExportForm:
    """How the files of one export job are named and written."""

    pattern: str
    """Regular expression for a whole file name."""
    delimiter: str = ";"
    encoding: str = "utf-8"
    header: bool = True
    """Whether the first line of each file holds names of columns."""
    final_newline: Literal["required", "optional"] = "required"
    """A last line without an end may be half a line."""
    content: Literal["changes", "full"] = "changes"
    """Whether a file holds what is new, or everybody each time."""


def rows_of(data: bytes, form: ExportForm, most_bytes: int) -> list[list[str | None]]:
    """Read the rows of a file, plain or gzip by its first bytes, without the header line."""
    if data.startswith(_GZIP):
        data = _unpacked(data, most_bytes)
    content = _decoded(data, form)
    try:
        rows: list[list[str | None]] = []
        # Appended one by one: csv's lists are of str, and list is invariant.
        for row in csv.reader(
            io.StringIO(content, newline=""), delimiter=form.delimiter, strict=True
        ):
            rows.append([*row])  # noqa: PERF401 - see above
    except csv.Error:
        raise NotRowsError(f"is no CSV behind row {len(rows)}") from None
    if form.header:
        if not rows or not rows[0] or any(_NO_NAME.fullmatch(cell or "") for cell in rows[0]):
            raise NotRowsError("has no header line")
        del rows[0]
    return rows


def _unpacked(data: bytes, most_bytes: int) -> bytes:
    """What a gzip file holds; its end and its checksum must be there."""
    unpacked = bytearray()
    try:
        with GzipFile(fileobj=io.BytesIO(data)) as file:
            while piece := file.read(_PIECE_BYTES):
                unpacked += piece
                if len(unpacked) > most_bytes:
                    raise NotRowsError(f"holds more than {most_bytes} bytes")
    except EOFError:
        raise NotRowsError("is gzip that is cut off") from None
    except (BadGzipFile, zlib.error):
        raise NotRowsError("is damaged gzip") from None
    return bytes(unpacked)


def _decoded(data: bytes, form: ExportForm) -> str:
    """The text of a file, whole to its last line."""
    if form.encoding == "utf-8" and data.startswith(codecs.BOM_UTF8):
        raise NotRowsError("begins with a byte order mark, so its encoding is utf-8-sig")
    try:
        content = data.decode(form.encoding)
    except UnicodeDecodeError as error:
        raise NotRowsError(f"is not {form.encoding} at byte {error.start}") from None
    if "\0" in content:
        raise NotRowsError("holds a NUL byte")
    if form.final_newline == "required" and content and not content.endswith(("\n", "\r")):
        raise NotRowsError("ends in the middle of a line")
    return content
