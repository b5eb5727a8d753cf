"""A proxy before a simulated Campaign: ends TLS, knows requests and answers, and breaks some.

Keeps numbers, sizes and names of calls, never a body. Knows nothing of the client under test.
"""

import contextlib
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from etl.sandbox.authority import open_authority
from tests.servers.fault_answers import message, page, shortened, thinned
from tests.servers.fault_gate import HOST, READ_BYTES, Gate, readable, reset, secured, shut

Kind = Literal[
    "refuse", "hang-up", "self-signed", "other-authority", "other-name",
    "reset-before", "close-before", "page", "redirect", "hole",
    "reset-after", "close-after", "page-after", "hole-after", "cut", "truncated", "thinned",
    "drip",
]  # fmt: skip
AT_THE_DOOR = frozenset({"refuse", "hang-up", "self-signed", "other-authority", "other-name"})
"""Met by the connection that the request would come on; it is never read."""
FORWARDED = frozenset({"reset-after", "close-after", "page-after", "hole-after", "cut",
                       "truncated", "thinned", "drip"})  # fmt: skip
"""The request has its effect, the answer is spoilt."""
TURNED_AWAY = AT_THE_DOOR - {"refuse"}
"""Met by a connection that was taken; a refused one never is."""

_KEEP = re.compile(rb"\r\nconnection: *keep-alive", re.IGNORECASE)
_CALL = re.compile(rb"<(?:[\w-]+:)?Body[^>]*>\s*<(?:[\w-]+:)?(\w+)")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at request number `at` and after it, counted since the plan was made."""

    kind: Kind
    at: int = 1
    times: int | None = 1
    """Requests, or connections for what is met at the door; None: until the next plan."""
    status: int = 503
    after_bytes: int = 0
    """Of the answer, for `cut` and `drip`."""
    seconds: float = 0.2
    """How long `refuse` lasts unless `times` is None."""
    bytes_per_second: float = 20.0
    location: str = ""


@dataclass(frozen=True, slots=True)
class Passed:
    """One request: its number, what became of it, and sizes."""

    number: int
    connection: int
    call: str
    fault: Kind | None
    request_bytes: int
    answer_bytes: int


class HttpProxy:
    """Passes SOAP requests on, but for what is planned; runs inside `with`."""

    def __init__(self, authority: Path) -> None:
        """`authority` is the folder of the one that clients trust; made when there is none."""
        trusted, other = open_authority(authority), open_authority(authority / "other")
        own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own.load_cert_chain(other.ca_file, other.folder / "ca-key.pem")
        self.ca_file = trusted.ca_file
        self._contexts: dict[str | None, ssl.SSLContext] = {
            "self-signed": own,
            "other-authority": other.server_context(),
            "other-name": trusted.server_context(("elsewhere.test",)),
            None: trusted.server_context(),
        }
        self._gate = Gate(self._converse)
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._target = (HOST, 0)
        self._upwards: ssl.SSLContext | None = None
        self._plan: Fault | None = None
        self._epoch = self._count = self._at_door = 0
        self.passed: list[Passed] = []
        self.turned_away = 0
        """Connections that met something at the door; refused ones cannot be counted."""

    def __enter__(self) -> Self:
        self._gate.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._gate.end()

    @property
    def port(self) -> int:
        """Where clients are to connect."""
        return self._gate.port

    @property
    def url(self) -> str:
        """The endpoint for clients."""
        return f"https://{HOST}:{self.port}/soap11/"

    def aim(self, url: str, ca_file: Path | str | None = None) -> None:
        """Name the server that requests go to from now on; over TLS where there is an authority."""
        parts = urlsplit(url)
        self._target = (parts.hostname or HOST, parts.port or 80)
        self._upwards = ssl.create_default_context(cafile=ca_file) if ca_file else None
        self.plan()

    def plan(self, fault: Fault | None = None) -> None:
        """Forget the former plan and all counts; connections that are open end."""
        with self._lock:
            self._plan = fault
            self._epoch += 1
            self._count = self._at_door = self.turned_away = 0
            self.passed = []
        self._gate.cut_all()
        self._gate.open()
        if fault is not None and fault.kind == "refuse" and fault.at == 1:
            self._refuse(fault)

    @property
    def faults(self) -> list[Passed]:
        """The requests that something was done to."""
        return [each for each in self.passed if each.fault is not None]

    # --- connections ---------------------------------------------------------------------------

    def _converse(self, raw: socket.socket, number: int) -> None:
        door = self._met_at_the_door()
        if door == "hang-up":
            return
        raw.settimeout(10)
        context = self._contexts[door]
        with (
            contextlib.suppress(OSError),
            # A certificate that is not believed ends here.
            secured(context, raw) as client,
            self._server() as server,
        ):
            self._gate.watch(number, client)
            client.settimeout(60)
            server.settimeout(60)
            while self._exchange(client, server, number):
                pass

    def _server(self) -> socket.socket:
        plain = socket.create_connection(self._target, 5)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._upwards is None:
            return plain
        return secured(self._upwards, plain, self._target[0])

    def _met_at_the_door(self) -> Kind | None:
        """What a new connection meets; None when it is let in."""
        with self._lock:
            fault = self._plan
            if fault is None or fault.kind not in TURNED_AWAY or not self._due(fault):
                return None
            if fault.times is not None and self._at_door >= fault.times:
                return None
            self._at_door += 1
            self.turned_away += 1
            return fault.kind

    def _due(self, fault: Fault) -> bool:
        return self._count + 1 >= fault.at

    def _refuse(self, fault: Fault) -> None:
        """Close the port, for a while or until the next plan."""
        self._gate.close()
        if fault.times is None:
            return
        epoch = self._epoch

        def again() -> None:
            self._ending.wait(fault.seconds)
            if epoch == self._epoch and not self._ending.is_set():
                self._gate.open()

        threading.Thread(target=again, daemon=True).start()

    # --- requests ------------------------------------------------------------------------------

    def _exchange(self, client: ssl.SSLSocket, server: socket.socket, connection: int) -> bool:
        """One request and what becomes of it; False when the connection is to end."""
        request = message(client)
        if request is None:
            return False
        with self._lock:
            self._count += 1
            number, epoch, fault = self._count, self._epoch, self._plan
            last = fault is not None and fault.kind in AT_THE_DOOR and fault.at == number + 1
            if fault is not None and (fault.kind in AT_THE_DOOR or not _meets(fault, number)):
                fault = None
        answer = None
        if fault is None or fault.kind in FORWARDED:
            server.sendall(request)
            answer = message(server)
            if answer is None:
                return False
        found = _CALL.search(request)
        call = found[1].decode() if found else ""
        kind = None if fault is None else fault.kind
        # Told before the answer leaves, so that whoever waits for the client finds it.
        record = Passed(number, connection, call, kind, len(request), len(answer or b""))
        with self._lock:
            if epoch == self._epoch:
                self.passed.append(record)
        if fault is not None:
            return self._spoil(fault, client, answer or b"", epoch)
        assert answer is not None
        if last:
            self._close_the_door(answer, client)
            return False
        client.sendall(answer)
        return True

    def _close_the_door(self, answer: bytes, client: ssl.SSLSocket) -> None:
        """Give the last answer before something is met at the door, and say that it was."""
        fault = self._plan
        if fault is not None and fault.kind == "refuse":
            self._refuse(fault)
        client.sendall(_KEEP.sub(b"\r\nConnection: close", answer, count=1))
        shut(client)

    def _spoil(self, fault: Fault, client: ssl.SSLSocket, answer: bytes, epoch: int) -> bool:
        match fault.kind:
            case "page" | "page-after":
                client.sendall(page(fault.status))
                return True
            case "redirect":
                client.sendall(page(307, f"Location: {fault.location}"))
                return True
            case "truncated":
                client.sendall(shortened(answer))
                return True
            case "thinned":
                client.sendall(thinned(answer))
                return True
            case "reset-before" | "reset-after":
                reset(client)
            case "close-before" | "close-after":
                shut(client)
            case "cut":
                client.sendall(answer[: fault.after_bytes])
                shut(client)
            case "hole" | "hole-after":
                self._wait(client, epoch)
            case "drip":
                client.sendall(answer[: fault.after_bytes])
                self._drip(fault, client, answer[fault.after_bytes :], epoch)
        return False

    def _holds(self, epoch: int) -> bool:
        return epoch == self._epoch and not self._ending.is_set()

    def _wait(self, client: ssl.SSLSocket, epoch: int) -> None:
        """Say nothing until the client leaves."""
        while self._holds(epoch):
            if readable(client) and not client.recv(READ_BYTES):
                return

    def _drip(self, fault: Fault, client: ssl.SSLSocket, answer: bytes, epoch: int) -> None:
        """Send single bytes, the last of them never."""
        for at in range(len(answer) - 1):
            if not self._holds(epoch):
                return
            client.sendall(answer[at : at + 1])
            time.sleep(1 / fault.bytes_per_second)
        self._wait(client, epoch)


def _meets(fault: Fault, number: int) -> bool:
    return fault.at <= number and (fault.times is None or number < fault.at + fault.times)
