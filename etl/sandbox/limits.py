"""How many calls, connections and counts of one client are under way at once."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from etl.sandbox.faults import Refused
from etl.sandbox.switches import Switches


@dataclass(slots=True)
class Limits:
    """What is under way, per client."""

    _calls: Counter[int] = field(default_factory=Counter)
    _counts: Counter[int] = field(default_factory=Counter)
    _sockets: dict[int, set[int]] = field(default_factory=dict)
    """Open connections by client."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def call(
        self, mandator: int, connection: int, *, counting: bool, switches: Switches
    ) -> Iterator[None]:
        """Count a call as under way; refuses one too many. `counting` marks Recipient.getCount."""
        with self._lock:
            sockets = self._sockets.setdefault(mandator, set())
            taken = self._calls[mandator]
            if switches.connection_counts == "sockets":
                taken = len(sockets - {connection})
            if taken >= switches.connection_limit:
                raise Refused("too-many-connections", "Too many parallel connections")
            if counting and self._counts[mandator] >= switches.count_limit:
                raise Refused("too-many-counts", "Too many simultaneous requests")
            sockets.add(connection)
            self._calls[mandator] += 1
            self._counts[mandator] += int(counting)
        try:
            yield
        finally:
            with self._lock:
                self._calls[mandator] -= 1
                self._counts[mandator] -= int(counting)

    def closed(self, connection: int) -> None:
        """Forget a connection that is closed."""
        with self._lock:
            for sockets in self._sockets.values():
                sockets.discard(connection)
