"""Faults and pauses that a test puts between the calls: which call they meet, and holding one.

Only decides and waits; carrying a rule out is the exchange's part.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

KINDS = (
    *("fault", "http", "drop-before", "drop-after", "truncated", "delay", "delay-answer"),
    *("expire-session", "verb-before", "verb-after", "hold-before", "hold"),
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of a call before it is carried out."""

    service: str
    method: str
    mandator: int | None
    list_id: int | None


@dataclass(slots=True)
class Rule:
    """One thing that happens to the calls it fits, from the nth on, so many times."""

    number: int
    what: str
    method: str
    nth: int = 1
    times: int | None = 1
    service: str | None = None
    mandator: int | None = None
    list_id: int | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    """What the kind needs: text, status, body, seconds, verb, arguments."""
    seen: int = 0

    def fits(self, arrival: Arrival) -> bool:
        """Say whether a call is of the kind the rule waits for."""
        return (
            self.method in ("*", arrival.method)
            and self.service in (None, arrival.service)
            and self.mandator in (None, arrival.mandator)
            and self.list_id in (None, arrival.list_id)
        )


@dataclass(slots=True)
class Schedule:
    """The rules and the calls they hold."""

    rules: dict[int, Rule] = field(default_factory=dict)
    _last: int = 0
    _past: Counter[Arrival] = field(default_factory=Counter)
    _held: set[int] = field(default_factory=set)
    _released: set[int] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def add(self, what: str, method: str, *, absolute: bool, **options: object) -> int:
        """Make a rule; ValueError for an unknown kind. `absolute` counts from the start."""
        if what not in KINDS:
            raise ValueError(f"nothing called {what!r} can be scheduled")
        with self._changed:
            self._last += 1
            rule = Rule(self._last, what, method, **options)  # type: ignore[arg-type]  # from JSON
            if absolute:
                rule.seen = sum(n for past, n in self._past.items() if rule.fits(past))
            self.rules[rule.number] = rule
            return rule.number

    def arrive(self, arrival: Arrival) -> list[Rule]:
        """Count a call and return the rules that meet it, oldest first."""
        with self._changed:
            self._past[arrival] += 1
            met = []
            for rule in self.rules.values():
                if not rule.fits(arrival):
                    continue
                rule.seen += 1
                if rule.seen >= rule.nth and (
                    rule.times is None or rule.seen < rule.nth + rule.times
                ):
                    met.append(rule)
            return met

    def hold(self, number: int) -> None:
        """Wait until the rule is released, taken away, or the server stops."""
        with self._changed:
            self._held.add(number)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: (
                    self._stopped.is_set() or number in self._released or number not in self.rules
                )
            )

    def wait_held(self, number: int, seconds: float) -> bool:
        """Say whether a call reached the rule's hold within the time."""
        with self._changed:
            return self._changed.wait_for(lambda: number in self._held, seconds)

    def release(self, number: int) -> None:
        """Let the calls held by a rule go on."""
        with self._changed:
            self._released.add(number)
            self._changed.notify_all()

    def remove(self, number: int | None) -> None:
        """Take a rule away, or all of them; what they hold goes on."""
        with self._changed:
            for gone in list(self.rules) if number is None else [number]:
                self.rules.pop(gone, None)
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the server's stop."""
        self._stopped.wait(seconds)

    def stop(self) -> None:
        """Let everything go on that waits here."""
        with self._changed:
            self._stopped.set()
            self._changed.notify_all()
