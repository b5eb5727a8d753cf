"""The operations of each SOAP address: argument types from the WSDL, argument names as documented.

Reads the WSDL files beside it; knows nothing of what an operation does.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lxml import etree

WSDL_FOLDER = Path(__file__).resolve().parent / "wsdl"
NAMESPACE = "urn:api.broadmail.de/soap11/"
_WSDL = "{http://schemas.xmlsoap.org/wsdl/}"
_ADDRESS = "{http://schemas.xmlsoap.org/wsdl/soap/}address"

# Argument names after sessionId as the documentation and recorded calls give them.
_LIST = "recipientListId"
_ROWS = f"{_LIST} optinProcessId recipientIds addresses attributeNames"
_PAGE = f"{_LIST} attributeNames filterId orderByAttribute ascending pageStart pageSize"
_WINDOW = "since until startRow numberOfRows"
_NAMES = {
    "RpcSession.setLocale": "locale",
    "RpcSession.setMediaType": "mediaType",
    "RpcRecipient.add2": f"{_LIST} optinProcessId recipientId address attributeNames "
    "attributeValues",
    "RpcRecipient.addAll3": f"{_ROWS} attributeValues",
    "RpcRecipient.addAll3Flat": f"{_ROWS} flatAttributeValues",
    "RpcRecipient.clear": _LIST,
    "RpcRecipient.contains": f"{_LIST} recipientId",
    "RpcRecipient.containsMultiple": "recipientListIds recipientId",
    "RpcRecipient.containsValid": f"{_LIST} recipientId",
    "RpcRecipient.containsValidMultiple": "recipientListIds recipientId",
    "RpcRecipient.getAll": f"{_LIST} attributeNames",
    "RpcRecipient.getAllFlat": f"{_LIST} attributeNames",
    "RpcRecipient.getAllAdvanced": _PAGE,
    "RpcRecipient.getAllAdvancedFlat": _PAGE,
    "RpcRecipient.getAttributes": f"{_LIST} recipientId attributeNames",
    "RpcRecipient.getCount": f"{_LIST} filterId",
    "RpcRecipient.remove": f"{_LIST} recipientId",
    "RpcRecipient.removeAll": f"{_LIST} recipientIds",
    "RpcRecipient.removeBlacklisted": _LIST,
    "RpcRecipient.removeBounced": _LIST,
    "RpcRecipient.removeUnsubscribed": _LIST,
    "RpcRecipient.setAttributes": f"{_LIST} recipientId attributeNames attributeValues",
    "RpcRecipientList.copy": _LIST,
    "RpcRecipientList.getAttributeNames": f"{_LIST} locale",
    "RpcRecipientList.getCount": "includeTestLists",
    "RpcRecipientList.getDescription": _LIST,
    "RpcRecipientList.getName": _LIST,
    "RpcRecipientList.isTestRecipientList": _LIST,
    "RpcRecipientList.setName": f"{_LIST} name",
    "RpcUnsubscribe.add": f"{_LIST} recipientId",
    "RpcUnsubscribe.addAll": f"{_LIST} recipientIds",
    "RpcUnsubscribe.contains": "recipientId",
    "RpcUnsubscribe.containsAll": "recipientIds",
    "RpcUnsubscribe.remove": "recipientId",
    "RpcUnsubscribe.removeAll": "recipientIds",
    "RpcBlacklist.add": "entry reason",
    "RpcBlacklist.addAll": "entries reasons",
    "RpcBlacklist.areBlacklisted": "addresses",
    "RpcBlacklist.contains": "entry",
    "RpcBlacklist.containsAll": "entries",
    "RpcBlacklist.getAllAdvanced": "pageStart pageSize",
    "RpcBlacklist.getAllAdvancedFlat": "pageStart pageSize",
    "RpcBlacklist.getFirstMatchingEntry": "address",
    "RpcBlacklist.getReason": "entry",
    "RpcBlacklist.isBlacklisted": "address",
    "RpcBlacklist.remove": "entry",
    "RpcBlacklist.removeAll": "entries",
    "RpcResponse.getBounceCounter": "recipientId category",
    "RpcResponse.getBounceCounterThreshold": "category",
    "RpcResponse.isBounceCounterThresholdExeeded": "recipientId",
    "RpcResponse.resetBounceCounter": "recipientId",
    "RpcClosedLoop.getOutBounces": _WINDOW,
    "RpcClosedLoop.getUnsubscribes": _WINDOW,
    "RpcClosedLoop.getMailingUnsubscribes": _WINDOW,
    "RpcClosedLoop.getResponses": _WINDOW,
    "RpcClosedLoop.getOpens": _WINDOW,
    "RpcClosedLoop.getClicks": _WINDOW,
    "RpcClosedLoop.getMailings": _WINDOW,
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: names and types of its arguments, type of what it answers."""

    service: str
    """Last part of the address, such as RpcRecipient."""
    name: str
    arguments: tuple[str, ...]
    types: tuple[str, ...]
    """Type of each argument: string, long, int, boolean, `string[]`, `string[][]`, `long[]`."""
    answer: str | None
    """Type of the answer, None for void."""


@cache
def services() -> dict[str, dict[str, Operation]]:
    """Return the operations of every address, by address and name."""
    return {path.stem: _operations(path) for path in sorted(WSDL_FOLDER.glob("*.wsdl"))}


def wsdl(service: str, address: str) -> bytes:
    """Return the service description with `address` in place of the public host."""
    tree = etree.parse(WSDL_FOLDER / f"{service}.wsdl", _parser())
    for element in tree.iter(_ADDRESS):
        element.set("location", address)
    return etree.tostring(tree, xml_declaration=True, encoding="UTF-8")


def _parser() -> etree.XMLParser:
    """Return a parser that loads nothing from anywhere."""
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


def _operations(path: Path) -> dict[str, Operation]:
    """Read one service description."""
    root = etree.parse(path, _parser()).getroot()
    parts = {
        message.get("name", ""): [part.get("type", "") for part in message.iter(f"{_WSDL}part")]
        for message in root.iter(f"{_WSDL}message")
    }
    port = next(root.iter(f"{_WSDL}portType"))
    found: dict[str, Operation] = {}
    for element in port.iter(f"{_WSDL}operation"):
        name = element.get("name", "")
        types = tuple(_short(part) for part in parts[f"{name}Request"])
        answers = [_short(part) for part in parts[f"{name}Response"]]
        found[name] = Operation(
            path.stem, name, _names(path.stem, name, types), types, answers[0] if answers else None
        )
    return found


def _short(part_type: str) -> str:
    """Return a part's type in short: `impl:ArrayOf_xsd_string` is `string[]`."""
    name = part_type.rsplit(":", maxsplit=1)[-1]
    if name.startswith("ArrayOfArrayOf_xsd_"):
        return name.removeprefix("ArrayOfArrayOf_xsd_") + "[][]"
    if name.startswith("ArrayOf_xsd_"):
        return name.removeprefix("ArrayOf_xsd_") + "[]"
    return name


def _names(service: str, name: str, types: tuple[str, ...]) -> tuple[str, ...]:
    """Return the documented argument names, `inN` where none is known."""
    if (service, name) == ("RpcSession", "login"):
        return ("mandatorId", "user", "password")
    known = ["sessionId", *_NAMES.get(f"{service}.{name}", "").split()] if types else []
    if len(known) == len(types):
        return tuple(known)
    return tuple(f"in{number}" for number in range(len(types)))
