"""A slow, obvious splitter: one byte at a time, one state at a time. Shares nothing with ours."""

from typing import NamedTuple


class Record(NamedTuple):
    """A record as the reference sees it; `fields` is None when it is broken."""

    line: int
    last_line: int
    offset: int
    end: int
    codes: tuple[str, ...]
    fields: list[bytes] | None


def walk(data: bytes, start: int, delimiter: int, quote: int, limit: int):  # noqa: PLR0911 - one return per state that ends a record
    """Walk one record: (fault, place of the fault, fields, end)."""
    fields, field, state, place = [], bytearray(), "begin", start
    while True:
        byte = data[place] if place < len(data) else None
        crlf = data[place : place + 2] == b"\r\n"
        if state != "inside" and (byte is None or byte == 10 or crlf):
            fields.append(bytes(field))
            return None, place, fields, min(len(data), place + (2 if crlf else 1))
        if byte is None:
            return "open-quote", place, [], place
        if place - start >= limit:
            return "too-far", place, [], place
        if state == "inside":
            if byte == quote and data[place + 1 : place + 2] == bytes([quote]):
                field.append(quote)
                if place + 1 - start >= limit:
                    return "too-far", place, [], place
                place += 1
            elif byte == quote:
                state = "closed"
            else:
                field.append(byte)
        elif byte == delimiter:
            fields.append(bytes(field))
            field, state = bytearray(), "begin"
        elif byte == 13:
            return "lone-cr", place, [], place
        elif state == "closed":
            return "text-after-quote", place, [], place
        elif byte == quote:
            if state == "plain":
                return "quote-in-field", place, [], place
            state = "inside"
        else:
            field.append(byte)
            state = "plain"
        place += 1


def reference(data: bytes, start: int, columns: int, delimiter: str, quote: str, limit: int):
    """Split everything from `start`, whose first line is line 2."""
    records, line = [], 2
    while start < len(data):
        first_end = data.find(b"\n", start) + 1 or len(data)
        text = data[start:first_end]
        text = text[:-2] if text.endswith(b"\r\n") else text.removesuffix(b"\n")
        fault, place, fields, end = walk(data, start, ord(delimiter), ord(quote), limit)
        codes: list[str] = []
        if len(text) > limit:
            codes, end = ["line-too-long"], first_end
        elif not text:
            codes, end = ["blank-line"], first_end
        elif fault is not None:
            codes, end = (
                [fault if place < first_end and fault != "too-far" else "open-quote"],
                first_end,
            )
        elif len(fields) != columns:
            codes = ["short-record" if len(fields) < columns else "long-record"]
        if b"\0" in data[start:end]:
            codes.append("nul-byte")
        feeds = data.count(b"\n", start, end)
        last_line = line + feeds - data.endswith(b"\n", start, end)
        records.append(Record(line, last_line, start, end, tuple(codes), None if codes else fields))
        start, line = end, line + feeds
    return records
