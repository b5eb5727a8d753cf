"""Writes answers and faults as bytes in the style that Axis 1.4 was recorded in.

Strings stand inline, numbers and booleans as multiRef; knows nothing of what they mean.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from etl.sandbox.faults import Fault
from etl.sandbox.operations import NAMESPACE, Operation
from etl.sandbox.switches import Switches

_ENCODING = "http://schemas.xmlsoap.org/soap/encoding/"
_SOAPENC = f'xmlns:soapenc="{_ENCODING}"'
_STYLE = f'soapenv:encodingStyle="{_ENCODING}"'
_OPEN = (
    '<?xml version="1.0" encoding="utf-8"?><soapenv:Envelope'
    ' xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
    ' xmlns:xsd="http://www.w3.org/2001/XMLSchema"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>'
)
_CLOSE = "</soapenv:Body></soapenv:Envelope>"
_HOSTNAME = "api.broadmail.de"
_AXIS = 'xmlns:ns1="http://xml.apache.org/axis/"'
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#xd;"})
_LAST_ASCII = 0x7F
_LAST_OF_PLANE = 0xFFFF


@dataclass(slots=True)
class _References:
    """The multiRef elements of one answer, in the order their ids were given."""

    shared: bool
    written: list[tuple[str, str]] = field(default_factory=list)
    """Each element's type and text; its place is its id."""

    def add(self, kind: str, text: str) -> str:
        """Return the id under which a value will stand."""
        if self.shared and (kind, text) in self.written:
            return f"id{self.written.index((kind, text))}"
        self.written.append((kind, text))
        return f"id{len(self.written) - 1}"

    def render(self, *, shuffled: bool) -> str:
        """Return the elements, as a hash table would list them or in order."""
        numbers = list(range(len(self.written)))
        if shuffled:
            numbers.sort(key=lambda number: zlib.crc32(b"%d" % (number * 7 + 3)))
        return "".join(
            f'<multiRef id="id{number}" soapenc:root="0" {_STYLE}'
            f' xsi:type="xsd:{self.written[number][0]}" {_SOAPENC}>'
            f"{self.written[number][1]}</multiRef>"
            for number in numbers
        )


def write_answer(operation: Operation, value: object, switches: Switches) -> bytes:
    """Return the envelope of an answer; `value` fits the operation's type, None is nil."""
    references = _References(switches.multiref == "shared")
    tag, inner = f"{operation.name}Return", ""
    kind = operation.answer
    if kind is not None:
        inline = operation.name.startswith("addAll3") and switches.add_codes == "inline"
        inner = _element(tag, kind, value, switches, None if inline else references, top=True)
    body = f"<ns1:{operation.name}Response {_STYLE}"
    body += f' xmlns:ns1="{NAMESPACE}{operation.service}"'
    body += f">{inner}</ns1:{operation.name}Response>" if inner else "/>"
    body += references.render(shuffled=switches.multiref_order == "shuffled")
    return f"{_OPEN}{body}{_CLOSE}".encode()


def write_fault(fault: Fault, switches: Switches) -> bytes:
    """Return the envelope of a fault with Axis's un-typed detail."""
    words = escape(fault.words, surrogates=switches.surrogate_pairs)
    trace = f"<ns1:stackTrace {_AXIS}>{words}&#xa;&#x9;at Service.call</ns1:stackTrace>"
    detail = trace if switches.fault_stack_trace else ""
    detail += f"<ns1:hostname {_AXIS}>{_HOSTNAME}</ns1:hostname>"
    body = (
        f"<soapenv:Fault><faultcode>{fault.code}</faultcode><faultstring>{words}</faultstring>"
        f"<detail>{detail}</detail></soapenv:Fault>"
    )
    return f"{_OPEN}{body}{_CLOSE}".encode()


def escape(text: str, *, surrogates: bool) -> str:
    """Return text for XML in ASCII: everything else as numeric entities."""
    safe = text.translate(_ESCAPES)
    if safe.isascii():
        return safe
    return "".join(_entity(character, surrogates=surrogates) for character in safe)


def _entity(character: str, *, surrogates: bool) -> str:
    """Return one character, as entity (or as two, which no parser takes) beyond ASCII."""
    number = ord(character)
    if number <= _LAST_ASCII:
        return character
    if surrogates and number > _LAST_OF_PLANE:
        pair = character.encode("utf-16-be")
        return f"&#x{pair[:2].hex()};&#x{pair[2:].hex()};"
    return f"&#x{number:x};"


def _element(
    tag: str,
    kind: str,
    value: object,
    switches: Switches,
    references: _References | None,
    *,
    top: bool = False,
) -> str:
    """Return one value as element; without references numbers stand inline too."""
    prefix = "soapenc" if switches.string_type == "soapenc" else "xsd"
    name = (
        f"{prefix}:string" if kind.startswith("string") else f"xsd:{kind.split('[', maxsplit=1)[0]}"
    )
    declared = f" {_SOAPENC}" if top else ""
    if kind.endswith("[]"):
        items = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
        if value is None or (top and not items and switches.empty_array == "nil"):
            return f'<{tag} xsi:type="soapenc:Array" xsi:nil="true"{declared}/>'
        rank = "[]" if kind.endswith("[][]") else ""
        start = f'<{tag} soapenc:arrayType="{name}{rank}[{len(items)}]"'
        start += f' xsi:type="soapenc:Array"{declared}'
        inner = "".join(_element(tag, kind[:-2], item, switches, references) for item in items)
        return f"{start}>{inner}</{tag}>" if items else f"{start}/>"
    if value is None:
        return f'<{tag} xsi:type="{name}" xsi:nil="true"{declared}/>'
    if kind == "string":
        text = escape(str(value), surrogates=switches.surrogate_pairs)
        start = f'<{tag} xsi:type="{name}"{declared}'
        return f"{start}>{text}</{tag}>" if text else f"{start}/>"
    text = str(value).lower()
    if references is None:
        return f'<{tag} xsi:type="{name}">{text}</{tag}>'
    return f'<{tag} href="#{references.add(kind, text)}"/>'
