"""The Clock port made real: the machine's clocks, and waits that a stop ends."""

import threading
import time
from datetime import UTC, datetime

from etl.ports import Stopped


class SystemClock:
    """Time of this machine. `stop` being set ends every wait with Stopped."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def wall(self) -> datetime:
        """Now, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait, or raise Stopped as soon as the service is told to stop."""
        if self._stop.wait(seconds) if seconds > 0 else self._stop.is_set():
            raise Stopped
