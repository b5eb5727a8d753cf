"""From a drop's bytes to text: what kind of bytes, which encoding, strictly.

It may suggest an encoding but never choose one; the feed's word counts.
"""

import codecs

from etl.transform.plan import CheckPlan, Dialect, Fact, Refusal

_MAGIC = {
    b"PK\x03\x04": "a zip archive or an Office file",
    b"PK\x05\x06": "an empty zip archive",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"%PDF-": "PDF",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Office file",
    b"PAR1": "Parquet",
}
_BZIP2_BLOCK = b"1AY&SY"
_SUGGESTION_BYTES = 65_536


def content(data: bytes, dialect: Dialect) -> bytes:
    """Give the bytes all offsets refer to: the drop itself, or the UTF-8 form of utf-16.

    A surrogate without its partner becomes bytes that are not UTF-8, so it costs its record only.
    Raises UnicodeDecodeError when utf-16 ends in the middle of a character.
    """
    if dialect.encoding != "utf-16":
        return data
    return data.decode("utf-16", "surrogatepass").encode("utf-8", "surrogatepass")


def codec(dialect: Dialect) -> str:
    """Name the codec in which the cells of `content` are written."""
    single_byte = dialect.encoding in ("windows-1252", "iso-8859-15")
    return dialect.encoding if single_byte else "utf-8"


def text_start(data: bytes, dialect: Dialect) -> int:
    """Return where the header begins in `content`: behind a byte order mark of UTF-8."""
    marked = codec(dialect) == "utf-8" and data.startswith(codecs.BOM_UTF8)
    return len(codecs.BOM_UTF8) if marked else 0


def look_at(data: bytes, plan: CheckPlan) -> bytes | Refusal:
    """Return the content of a drop, or why its bytes are no CSV of the feed's encoding."""
    if (refusal := _no_csv(data, plan)) is not None:
        return refusal
    if plan.dialect.encoding == "utf-16":
        if not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return wrong_encoding(data, plan.dialect)
        try:
            data = content(data, plan.dialect)
        except UnicodeDecodeError:
            return Refusal("truncated", {"detail": "it ends in the middle of a character"})
    if len(data) == text_start(data, plan.dialect):
        return Refusal("empty-file")
    return data


def wrong_encoding(data: bytes, dialect: Dialect) -> Refusal:
    """Refuse a drop whose header is not in the feed's encoding, and say what it may be."""
    return Refusal(
        "wrong-encoding", {"encoding": dialect.encoding, "suggestion": _suggestion(data)}, line=1
    )


def decode_cells(
    cells: list[bytes], columns: int, encoding: str
) -> tuple[list[str], dict[int, int]]:
    """Decode records laid end to end, `columns` cells each and none holding a NUL byte.

    Returns the texts and, for each record that is not in `encoding`, the number of its first
    column that is not; the texts of such records are empty.
    """
    if not cells:
        return [], {}
    try:  # a NUL joins without touching: it is part of no other character in these encodings
        return b"\0".join(cells).decode(encoding).split("\0"), {}
    except UnicodeDecodeError:
        pass
    texts: list[str] = []
    bad: dict[int, int] = {}
    for record in range(len(cells) // columns):
        row = cells[record * columns : (record + 1) * columns]
        try:
            texts.extend([cell.decode(encoding) for cell in row])
        except UnicodeDecodeError:
            bad[record] = next(i for i, cell in enumerate(row, 1) if not decodes(cell, encoding))
            texts.extend([""] * columns)
    return texts, bad


def decodes(data: bytes, encoding: str) -> bool:
    """Tell whether bytes are text in `encoding`."""
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _no_csv(data: bytes, plan: CheckPlan) -> Refusal | None:
    """Refuse what is no CSV whatever its encoding."""
    if not data:
        return Refusal("empty-file")
    if len(data) > plan.limits.file_bytes:
        facts: dict[str, Fact] = {"size_bytes": len(data), "limit": plan.limits.file_bytes}
        return Refusal("too-large", facts)
    kind = _kind(data)
    return None if kind is None else Refusal("not-csv", {"kind": kind})


def _kind(data: bytes) -> str | None:
    """Name what the first bytes say a file is, None when they may begin a CSV."""
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            return kind
    return "bzip2" if data.startswith(b"BZh") and data[4:10] == _BZIP2_BLOCK else None


def _suggestion(data: bytes) -> str:
    """Name the encoding the feed could be set to; a guess, for people only."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    sample = data[:_SUGGESTION_BYTES].rpartition(b"\n")[0] or data[:_SUGGESTION_BYTES]
    if b"\0" in sample:
        return "none (it holds NUL bytes)"
    return next((name for name in ("utf-8", "windows-1252") if decodes(sample, name)), "none")
