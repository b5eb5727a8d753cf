"""Values in Campaign's answers: Axis 1.4 style, multiRef by dictionary, nil kept apart from "".

They are read here because zeep 4.3 reads nil and "" alike, an odd boolean as false and any body as
the answer to a call without value. It may not repair, guess or skip: what is not exactly the
expected shape is Unreadable, and no text of an answer is ever part of an error.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lxml import etree

T = TypeVar("T")
Element = etree._Element  # noqa: SLF001 - the only name lxml has for the type
_ENVELOPE = "{http://schemas.xmlsoap.org/soap/envelope/}"
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_ARRAY_TYPE = "{http://schemas.xmlsoap.org/soap/encoding/}arrayType"
_SPARSE = (
    "{http://schemas.xmlsoap.org/soap/encoding/}offset",
    "{http://schemas.xmlsoap.org/soap/encoding/}position",
)
_LENGTH = re.compile(r"\[(\d{1,9})\]$")
_INTEGER = re.compile(r"-?\d{1,18}")
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_CODES = range(8)

# Axis 1.4 may write a character beyond the basic plane as two surrogate entities, which no XML
# parser takes: &#xd83d;&#xde00; or &#55357;&#56832;.
_HEX_PAIR = re.compile(rb"&#[xX]([dD][89abAB][\da-fA-F]{2});&#[xX]([dD][c-fC-F][\da-fA-F]{2});")
_DECIMAL_PAIR = re.compile(rb"&#(5[56]\d{3});&#(5[67]\d{3});")


class Unreadable(Exception):  # noqa: N818 - a state of an answer, never leaves etl.wire
    """An answer that is not what it should be; the text names a shape, never a value."""


def mended(content: bytes) -> bytes:
    """Join surrogate entities that stand for one character."""
    if b"&#" not in content:
        return content
    content = _HEX_PAIR.sub(lambda pair: _joined(pair, 16), content)
    return _DECIMAL_PAIR.sub(lambda pair: _joined(pair, 10), content)


@dataclass(frozen=True, slots=True)
class Answer:
    """An operation's answer, parsed: what it returned, and the multiRefs by id."""

    returned: Sequence[Element]
    refs: Mapping[str, Element]


def opened(content: bytes, operation: str) -> Answer:
    """Parse the answer to `operation`."""
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError:
        raise Unreadable("not well-formed XML") from None
    if root.getroottree().docinfo.doctype:  # type: ignore[union-attr]  # missing in the stubs
        raise Unreadable("a document type declaration")
    body = root.find(f"{_ENVELOPE}Body")
    if root.tag != f"{_ENVELOPE}Envelope" or body is None or len(body) == 0:
        raise Unreadable("not a SOAP answer")
    if etree.QName(body[0]).localname != f"{operation}Response":
        raise Unreadable("not the answer to this call")
    refs = {identity: element for element in body if (identity := element.get("id")) is not None}
    return Answer(list(body[0]), refs)


def nothing(answer: Answer) -> None:
    """Read the answer of an operation that returns no value."""
    if len(answer.returned):
        raise Unreadable("a value where none is expected")


def integer(answer: Answer) -> int:
    """Read an int or a long."""
    return _integer(_value(answer))


def flag(answer: Answer) -> bool:
    """Read a boolean."""
    return _flag(_value(answer))


def text(answer: Answer) -> str:
    """Read a string that is not nil."""
    found = _text(_value(answer))
    if found is None:
        raise Unreadable("nil instead of a text")
    return found


def codes(answer: Answer, rows: int) -> list[int]:
    """Read addAll3's int[]: one code from 0 to 7 for each of `rows`."""
    found = _counted(_array(answer, _integer), rows)
    if any(code not in _CODES for code in found):
        raise Unreadable("a code that is not 0 to 7")
    return found


def flags(answer: Answer, count: int) -> list[bool]:
    """Read a boolean[] of `count`."""
    return _counted(_array(answer, _flag), count)


def texts(answer: Answer) -> list[str]:
    """Read a String[] that holds no nil."""
    found = _array(answer, _text)
    present = [item for item in found if item is not None]
    if len(present) != len(found):
        raise Unreadable("nil among the strings")
    return present


def table(answer: Answer, most_rows: int) -> list[list[str | None]]:
    """Read a String[][] of at most `most_rows`."""
    rows = _children(answer, _value(answer))
    if len(rows) > most_rows:
        raise Unreadable(f"more than {most_rows} rows")
    return [[_text(item) for item in _children(answer, row)] for row in rows]


def _value(answer: Answer) -> Element:
    """Return the one element that an operation with a value returns."""
    if len(answer.returned) != 1:
        raise Unreadable("not one value")
    return _followed(answer, answer.returned[0])


def _array(answer: Answer, read: Callable[[Element], T]) -> list[T]:
    return [read(item) for item in _children(answer, _value(answer))]


def _followed(answer: Answer, element: Element) -> Element:
    """Return the element a reference points to, or the element itself."""
    href = element.get("href")
    if href is None:
        return element
    target = answer.refs.get(href.removeprefix("#"))
    if target is None or target.get("href") is not None:
        raise Unreadable("a reference that leads nowhere")
    return target


def _children(answer: Answer, array: Element) -> list[Element]:
    """Return an array's items; its own word on their number must fit.

    Whether Axis writes an array without items as nil is not documented; it is read as empty.
    """
    if array.get(_NIL) in ("true", "1"):
        return []
    if any(mark in array.attrib for mark in _SPARSE) or (array.text or "").strip():
        raise Unreadable("not a plain array")
    announced = _LENGTH.search(array.get(_ARRAY_TYPE) or "")
    if announced and int(announced[1]) != len(array):
        raise Unreadable("an array of another length than announced")
    return [_followed(answer, item) for item in array]


def _counted(found: list[T], count: int) -> list[T]:
    if len(found) != count:
        raise Unreadable(f"{len(found)} values for {count} asked")
    return found


def _text(item: Element) -> str | None:
    if len(item):
        raise Unreadable("elements instead of a text")
    if item.get(_NIL) in ("true", "1"):
        return None
    return item.text or ""


def _integer(item: Element) -> int:
    digits = (_text(item) or "").strip()
    if not _INTEGER.fullmatch(digits):
        raise Unreadable("an integer that is none")
    return int(digits)


def _flag(item: Element) -> bool:
    found = _FLAGS.get((_text(item) or "").strip())
    if found is None:
        raise Unreadable("a boolean that is none")
    return found


def _joined(pair: re.Match[bytes], radix: int) -> bytes:
    high, low = int(pair[1], radix), int(pair[2], radix)
    if not (0xD800 <= high <= 0xDBFF and 0xDC00 <= low <= 0xDFFF):  # noqa: PLR2004 - Unicode's
        return pair[0]
    return b"&#x%x;" % (0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
