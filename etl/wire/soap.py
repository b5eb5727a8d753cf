"""Campaign's SOAP services: zeep on the pinned WSDLs, posting through our own transport.

zeep knows the operations, makes the envelopes and reads faults; arrays in requests are made by
`etl.wire.arrays`, values in answers read by `etl.wire.answers`. It may not use the network to load
anything, nor let a text of zeep out.
"""

# mypy: disable-error-code="no-untyped-call"
# zeep is typed in part; here is the only place that calls it.

import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import zeep
from lxml import etree
from zeep.exceptions import Fault

from etl.errors import FarSideUnavailable
from etl.wire import answers, arrays
from etl.wire.answers import Answer
from etl.wire.faults import judged
from etl.wire.transport import Post, Reply

T = TypeVar("T")

WSDL_FOLDER = Path(__file__).resolve().parent / "wsdl"
ENCODING_SCHEMA = "http://schemas.xmlsoap.org/soap/encoding/"
_ENCODING_FILE = "soap-encoding-stub.xsd"
REPLY_BYTES = 5_000_000

PINNED = {
    "RpcBlacklist.wsdl": "1abcc5819436b01d94379fdb98326e2f6c142133c853258700812cbdbc34712b",
    "RpcClosedLoop.wsdl": "bd87d74eb1e004d4e526bb3de4fbc59f1101e3a3df6636b3ba55629eab4d925a",
    "RpcOptinProcess.wsdl": "e5c552bbec5f0a29ea746231ce479f8a2fed035f8e310eedf7258393731497cd",
    "RpcRecipient.wsdl": "8c4b7dee28d325287df0dbcce47c3cda57cbc994134ad3ae227680bba8a96685",
    "RpcRecipientList.wsdl": "fe8e87c0ad90618622dae13d89b1701e7e69a3eee754faa2f5ba330396275377",
    "RpcResponse.wsdl": "cb5d9731d91d9434ff93ca572a0004b9e151c96f470cb5450fe946bb9c874749",
    "RpcSession.wsdl": "ab90928224ad588938d11b455158ff38ca3ac7fa311ced924185ea798f1a8b68",
    "RpcUnsubscribe.wsdl": "e10cbf8eeb58a7ec7b026a23082776abbdf519f648ab73103ad51d7430526f31",
    _ENCODING_FILE: "682af49c1d304b090a043cba6d0dc522add428dd28733c5fc161857118bd290d",
}
"""sha256 of every file in the WSDL folder. Reconstructed from the public documentation and
recorded traffic; a change is deliberate and comes with its new hash."""

_SERVICES = (
    "Session", "Recipient", "RecipientList", "Unsubscribe", "Blacklist", "ClosedLoop", "Response",
)  # fmt: skip
_LOUD = ("zeep", "urllib3", "requests")


@dataclass(frozen=True, slots=True)
class Call:
    """One call: single values first, the session id leading, then String[]s, then a String[][]."""

    service: str
    operation: str
    values: tuple[str | int, ...] = field(default=(), repr=False)
    strings: tuple[arrays.Strings, ...] = field(default=(), repr=False)
    table: arrays.Table | None = field(default=None, repr=False)
    columns: int = 0
    """Values in a row of the table."""
    reply_bytes: int = REPLY_BYTES

    def sent(self) -> Iterator[str]:
        """Every string the call carries, to be kept out of the words of its fault."""
        yield from (value for value in self.values if isinstance(value, str))
        yield from chain.from_iterable(self.strings)
        for row in self.table or ():
            yield from (cell for cell in row if cell is not None)

    def parts(self, short_items: bool) -> Iterator[bytes]:
        """Yield the arrays as elements in3, in4 …: parts of a message are numbered from in0."""
        first = len(self.values)
        for index, values in enumerate(self.strings):
            yield arrays.strings(f"in{first + index}", values, short_items=short_items)
        if self.table is not None:
            part = f"in{first + len(self.strings)}"
            yield arrays.table(part, self.table, self.columns, short_items=short_items)


class Soap:
    """The services of one endpoint."""

    def __init__(
        self, post: Post, *, short_items: bool = False, folder: Path = WSDL_FOLDER
    ) -> None:
        """Load the pinned WSDLs; ValueError when a file is not the pinned one."""
        quiet_loggers()
        self._post = post
        self._short_items = short_items
        self._services = {name: _Service(name, folder) for name in _SERVICES}

    def __repr__(self) -> str:
        return f"Soap(host={self._post.host!r})"

    def ask(self, call: Call, read: Callable[[Answer], T]) -> T:
        """Make a call and read its answer; every error after the post is ours and in doubt.

        Errors are raised outside the except blocks, so that no chain leads to a text of zeep.
        """
        service = self._services[call.service]
        body = service.message(call, self._short_items)
        reply = self._post.send(f"Rpc{call.service}", body, call.operation, call.reply_bytes)
        content = answers.mended(reply.content)
        told = None
        try:
            if reply.status_code == 200:  # noqa: PLR2004 - the other one is 500, a fault
                return read(answers.opened(content, call.operation))
            told = service.fault(call.operation, Reply(reply.status_code, content))
            wrong = "HTTP 500 without a fault"
        except answers.Unreadable as unreadable:
            wrong = str(unreadable)
        if told is not None:
            raise judged(call.operation, told, call.sent())
        raise FarSideUnavailable(
            "campaign-answer", in_doubt=True, call=call.operation, detail=wrong
        )

    def close(self) -> None:
        """Close the connections."""
        self._post.close()


class _Service:
    """One pinned WSDL in zeep's hands."""

    def __init__(self, name: str, folder: Path) -> None:
        settings = zeep.Settings(
            strict=True, forbid_dtd=True, forbid_entities=True, xml_huge_tree=False
        )
        self._client = zeep.Client(
            io.BytesIO(pinned(f"Rpc{name}.wsdl", folder)),
            transport=_ShippedFiles(folder),
            settings=settings,
        )
        # On while loading, it would refuse the encoding schema before `load` can answer with ours.
        settings.forbid_external = True
        binding = f"{{urn:api.broadmail.de/soap11/Rpc{name}}}Rpc{name}SoapBinding"
        self._binding: Any = self._client.wsdl.bindings[binding]
        # The address is that of the configured endpoint, known to the transport alone.
        self._proxy = self._client.create_service(binding, "")

    def message(self, call: Call, short_items: bool) -> bytes:
        """Return the envelope: zeep's for the single values, the arrays spliced in at their end."""
        parts = tuple(call.parts(short_items))
        skipped = [zeep.xsd.SkipValue] * len(parts)
        envelope = self._client.create_message(self._proxy, call.operation, *call.values, *skipped)
        small: bytes = etree.tostring(envelope, xml_declaration=True, encoding="utf-8")
        at = small.rindex(b"</", 0, small.rindex(f":{call.operation}>".encode()))
        return b"".join((small[:at], *parts, small[at:]))

    def fault(self, operation: str, reply: Reply) -> str | None:
        """Return the words of a fault, None when zeep finds none in the reply."""
        try:
            self._binding.process_reply(self._client, self._binding.get(operation), reply)
        except Fault as fault:
            # zeep makes a Fault without a code of any XML that comes with a 500.
            return (fault.message or "") if fault.code else None
        except Exception:  # noqa: BLE001 - zeep meets odd answers with whatever it stumbles over
            return None
        return None


class _ShippedFiles:
    """What zeep loads through while it reads a WSDL: the encoding schema as shipped, no more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, url: str) -> bytes:
        """Return the shipped encoding schema; refuse every other address and path."""
        if url != ENCODING_SCHEMA:
            raise ValueError(f"a WSDL asks for {url}, which is not shipped")
        return pinned(_ENCODING_FILE, self._folder)


def pinned(name: str, folder: Path = WSDL_FOLDER) -> bytes:
    """Return a shipped file; ValueError unless it is bit for bit the pinned one."""
    path = folder / name
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != PINNED[name]:
        raise ValueError(f"{name} is not the file this release was made with: reinstall it")
    return content


def quiet_loggers() -> None:
    """Keep zeep, urllib3 and requests at WARNING or above: below it they print whole envelopes."""
    for name in _LOUD:
        known = [key for key in list(logging.root.manager.loggerDict) if key.startswith(f"{name}.")]
        for logger in map(logging.getLogger, (name, *known)):
            # A child without a level of its own follows its parent.
            if logger.name == name or logger.level != logging.NOTSET:
                logger.setLevel(max(logger.level, logging.WARNING))
