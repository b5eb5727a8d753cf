"""A clock without time: it stands until it is set, and a sleep moves it at once."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from etl.ports import Stopped


@dataclass
class TwinClock:
    """Clock: settable wall and monotonic time; sleeps are recorded and cost nothing."""

    now: datetime = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
    seconds: float = 1000.0
    sleeps: list[float] = field(default_factory=list)
    stop_after: int | None = None
    """How many sleeps are let through before one raises Stopped; None for all."""

    def wall(self) -> datetime:
        """The time it is set to."""
        return self.now

    def monotonic(self) -> float:
        """Seconds that only tests move."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Record the wait and let the time pass."""
        if self.stop_after is not None and len(self.sleeps) >= self.stop_after:
            raise Stopped
        if seconds:
            self.sleeps.append(seconds)
            self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass: both clocks go on."""
        self.seconds += seconds
        self.now += timedelta(seconds=seconds)
