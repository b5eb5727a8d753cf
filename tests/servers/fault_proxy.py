"""A TCP proxy on loopback that breaks a connection at a byte, as a test plans it.

Keeps numbers of what passed, never the bytes themselves.
"""

import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

from tests.servers.fault_gate import READ_BYTES, Gate, readable, reset, shut

How = Literal["reset", "close", "hole", "drip", "lose-answer", "before", "after"]
Way = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Cut:
    """How a connection breaks, and after how many bytes of one direction.

    Bytes are counted over all connections since the plan was made. `lose-answer` delivers the
    client's bytes, waits for the answer to them and resets without it. `before` and `after` do the
    `deed`, such as killing the client, before the piece with that byte is passed on or after it,
    and end the connection. With `times` None every later connection meets the same at its first
    byte.
    """

    how: How
    way: Way
    after_bytes: int
    times: int | None = 1
    bytes_per_second: float = 20.0
    deed: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Step:
    """Bytes that passed in one piece."""

    connection: int
    way: Way
    size_bytes: int


class TcpProxy:
    """Passes connections on to one address, but for what is planned; runs inside `with`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._gate = Gate(self._relay)
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._plan: Cut | None = None
        self._epoch = 0
        self._hang_up = 0
        self._counted: dict[Way, int] = {"up": 0, "down": 0}
        self.steps: list[Step] = []
        self.fired: list[Step] = []
        """Where a cut was made: the way and how many bytes had passed it."""
        self.hung_up = 0
        """Connections that were closed at once."""

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

    def aim(self, host: str, port: int) -> None:
        """Name another server for connections from now on; those that are open end."""
        self._target = (host, port)
        self._gate.cut_all()

    def plan(self, cut: Cut | None = None) -> None:
        """Forget the former plan and all counts; what was held up ends."""
        with self._lock:
            self._plan, self._hang_up = cut, 0
            self._epoch += 1
            self._counted = {"up": 0, "down": 0}
            self.steps, self.fired, self.hung_up = [], [], 0
        self._gate.open()

    def refuse(self) -> None:
        """Close the port until the next plan, and end what is connected."""
        self._gate.close()
        self._gate.cut_all()

    def hang_up(self, times: int) -> None:
        """Close so many of the next connections at once, as a server with too many does."""
        with self._lock:
            self._hang_up = times
        self._gate.cut_all()

    def offsets(self, way: Way) -> list[int]:
        """After how many bytes of a direction each piece began, 0 first."""
        sizes = [step.size_bytes for step in self.steps if step.way == way]
        return [sum(sizes[:number]) for number in range(len(sizes))]

    # --- one connection ------------------------------------------------------------------------

    def _relay(self, client: socket.socket, number: int) -> None:
        with self._lock:
            epoch = self._epoch
            if self._hang_up:
                self._hang_up -= 1
                self.hung_up += 1
                return
        with socket.create_connection(self._target, 5) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._ending.is_set():
                for source in readable(client, server):
                    data = source.recv(READ_BYTES)
                    if not data:
                        return
                    way: Way = "up" if source is client else "down"
                    keep, cut = self._passing(number, way, len(data))
                    sink = server if source is client else client
                    sink.sendall(data[:keep])
                    if cut is not None:
                        self._break(cut, client, server, {way: data[keep:]}, epoch)
                        return

    def _passing(self, number: int, way: Way, size_bytes: int) -> tuple[int, Cut | None]:
        """How many of the bytes pass, and what happens after them."""
        with self._lock:
            cut, before = self._plan, self._counted[way]
            keep, hit = size_bytes, None
            if cut is not None and (
                (cut.way == way and before + size_bytes > cut.after_bytes)
                or (self.fired and cut.times is None)
            ):
                keep = min(max(cut.after_bytes - before, 0), size_bytes)
                if cut.how in ("lose-answer", "after"):
                    keep = size_bytes
                hit = cut
                self.fired.append(Step(number, way, before + keep))
                if cut.times is not None:
                    self._plan = None
            self._counted[way] += keep
            self.steps.append(Step(number, way, keep))
            return keep, hit

    def _break(
        self,
        cut: Cut,
        client: socket.socket,
        server: socket.socket,
        rest: dict[Way, bytes],
        epoch: int,
    ) -> None:
        match cut.how:
            case "reset":
                reset(client, server)
            case "close":
                shut(client)
            case "before" | "after":
                cut.deed()
            case "lose-answer":
                readable(server, seconds=0.5)
                reset(client, server)
            case "hole":
                self._swallow(client, epoch)
            case "drip":
                self._drip(cut, client, server, rest, epoch)

    def _holds(self, epoch: int) -> bool:
        return epoch == self._epoch and not self._ending.is_set()

    def _swallow(self, client: socket.socket, epoch: int) -> None:
        """Take whatever the client sends and let nothing out, until it leaves."""
        while self._holds(epoch):
            if readable(client) and not client.recv(READ_BYTES):
                return

    def _drip(
        self,
        cut: Cut,
        client: socket.socket,
        server: socket.socket,
        rest: dict[Way, bytes],
        epoch: int,
    ) -> None:
        """Let single bytes through in both directions, so many in a second."""
        waiting: dict[Way, bytes] = {"up": b"", "down": b""} | rest
        while self._holds(epoch):
            for source, way in ((client, "up"), (server, "down")):
                sink = server if source is client else client
                if not waiting[way] and readable(source, seconds=0):
                    waiting[way] = source.recv(READ_BYTES)
                    if not waiting[way]:
                        return
                sink.sendall(waiting[way][:1])
                waiting[way] = waiting[way][1:]
            if readable(client, seconds=0) and waiting["up"]:
                # It may have left meanwhile; only looking further than its bytes tells.
                poll = select.poll()
                poll.register(client, select.POLLRDHUP)
                if poll.poll(0):
                    return
            time.sleep(1 / cut.bytes_per_second)
