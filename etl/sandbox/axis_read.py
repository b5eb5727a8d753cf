"""Reads a SOAP 1.1 rpc/encoded call the way Axis 1.4 does: by name, else by position, leniently.

Loads nothing from outside the bytes and refuses a document type; does not judge the values.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lxml import etree

from etl.sandbox.operations import Operation

_ENVELOPE = "{http://schemas.xmlsoap.org/soap/envelope/}"
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_POSITION = re.compile(r"in(\d+)")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


class Malformed(Exception):  # noqa: N818  # names the state of the bytes
    """The bytes are no call that Axis would take; `code` and `words` are those of its fault."""

    def __init__(self, code: str, words: str) -> None:
        """Take the fault's code and words."""
        super().__init__(code)
        self.code = code
        self.words = words


@dataclass(frozen=True, slots=True)
class Call:
    """One call as understood: the operation and its arguments by documented name."""

    operation: Operation
    arguments: Mapping[str, object]

    def text(self, name: str) -> str:
        """Return a string argument, "" for nil."""
        value = self.arguments.get(name)
        return value if isinstance(value, str) else ""

    def text_or_nil(self, name: str) -> str | None:
        """Return a string argument, None for nil."""
        value = self.arguments.get(name)
        return value if isinstance(value, str) else None

    def number(self, name: str) -> int:
        """Return an int or long argument, 0 for nil (a Java primitive)."""
        value = self.arguments.get(name)
        return value if isinstance(value, int) else 0

    def flag(self, name: str) -> bool:
        """Return a boolean argument."""
        return bool(self.arguments.get(name))

    def items(self, name: str) -> list[str | None]:
        """Return a String[] argument, empty for nil."""
        value = self.arguments.get(name)
        return list(value) if isinstance(value, list) else []

    def texts(self, name: str) -> list[str]:
        """Return a String[] argument with "" for nil items."""
        return [item or "" for item in self.items(name)]

    def numbers(self, name: str) -> list[int]:
        """Return a long[] argument."""
        value = self.arguments.get(name)
        return [int(item) for item in value] if isinstance(value, list) else []

    def rows(self, name: str) -> list[list[str | None]]:
        """Return a String[][] argument, empty for nil."""
        value = self.arguments.get(name)
        return [list(row) for row in value] if isinstance(value, list) else []


def read_call(body: bytes, operations: Mapping[str, Operation]) -> Call:
    """Return the call in an envelope; raises Malformed."""
    root = _root(body)
    envelope_body = root.find(f"{_ENVELOPE}Body")
    element = next((child for child in _children(envelope_body)), None)
    if root.tag != f"{_ENVELOPE}Envelope" or element is None:
        raise Malformed("soapenv:Client", "org.xml.sax.SAXException: Bad envelope")
    operation = operations.get(_local(element))
    if operation is None:
        raise Malformed("soapenv:Client", f"No such operation '{_local(element)}'")
    targets = {found.get("id"): found for found in root.iter() if found.get("id")}
    return Call(operation, _arguments(operation, element, targets))


def _root(body: bytes) -> etree._Element:
    """Parse the bytes without loading anything else."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True
    )
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        words = "org.xml.sax.SAXParseException: not well-formed"
        raise Malformed("soapenv:Server.userException", words) from error
    if root.getroottree().docinfo.internalDTD is not None:
        words = "org.xml.sax.SAXParseException: a document type is not allowed"
        raise Malformed("soapenv:Server.userException", words)
    return root


def _children(element: etree._Element | None) -> list[etree._Element]:
    """Return the child elements, without processing instructions."""
    return [] if element is None else [child for child in element if isinstance(child.tag, str)]


def _local(element: etree._Element) -> str:
    """Return an element's name without its namespace."""
    return etree.QName(element).localname


def _arguments(
    operation: Operation, element: etree._Element, targets: Mapping[str | None, etree._Element]
) -> dict[str, object]:
    """Give each child of the operation element its argument: by name, else inN, else position."""
    children = _children(element)
    if len(children) != len(operation.arguments):
        raise Malformed("soapenv:Client", f"No such operation '{operation.name}'")
    found: dict[str, object] = {}
    for position, child in enumerate(children):
        name, place = _local(child), _POSITION.fullmatch(_local(child))
        if name in operation.arguments:
            index = operation.arguments.index(name)
        elif place and int(place[1]) < len(children):
            index = int(place[1])
        else:
            index = position
        target = targets.get(child.get("href", "").removeprefix("#"), child)
        found[operation.arguments[index]] = _value(target, operation.types[index])
    if len(found) != len(operation.arguments):
        raise Malformed("soapenv:Client", f"No such operation '{operation.name}'")
    return found


def _value(element: etree._Element, kind: str) -> object:
    """Return an element's value in the argument's type, None for nil."""
    if element.get(_NIL) in {"true", "1"}:
        return None
    if kind.endswith("[]"):
        return [_value(child, kind[:-2]) for child in _children(element)]
    text = element.text or ""
    if kind in {"int", "long"}:
        return _number(text)
    if kind == "boolean":
        return _TRUTH.get(text.strip().lower(), False)
    return text


def _number(text: str) -> int:
    """Return a decimal number as Java reads it."""
    try:
        return int(text.strip())
    except ValueError:
        words = "java.lang.NumberFormatException: not a number"
        raise Malformed("soapenv:Server.userException", words) from None
