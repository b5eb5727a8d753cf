"""The record of every SOAP call: what was asked and how it ended, without anybody's address.

Entries are made before the answer leaves, so whoever waits for one can stop the caller in time.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Entry:
    """One call. `outcome` is answer, fault, http (a plain HTTP error) or lost (no answer)."""

    seq: int
    at_ms: int
    service: str
    method: str
    mandator: int | None
    list_id: int | None
    rows: int | None
    outcome: str
    applied: bool
    """Whether the operation was carried out."""
    fault: str | None
    """Short kind of the refusal, never its words."""
    codes: Mapping[str, int] | None
    """How often each code was answered by an add call."""
    body: str | None = None
    """The request's text, only if the log was asked to keep bodies."""


def as_json(entry: Entry) -> dict[str, object]:
    """Return an entry as JSON takes it."""
    return {name: value for name, value in asdict(entry).items() if name != "body" or value}


@dataclass(slots=True)
class CallLog:
    """All entries in order, in memory and (flushed at once) in a file."""

    path: Path | None = None
    entries: list[Entry] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _file: TextIO | None = None

    def open(self) -> None:
        """Open the file, anew."""
        if self.path is not None:
            self._file = self.path.open("w", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def add(self, facts: Mapping[str, object]) -> None:
        """Number a call, stamp it with the wall clock and tell everybody who waits."""
        with self._changed:
            seq, at_ms = len(self.entries) + 1, time.time_ns() // 1_000_000
            entry = Entry(seq=seq, at_ms=at_ms, **facts)  # type: ignore[arg-type]  # one caller
            self.entries.append(entry)
            if self._file is not None:
                self._file.write(json.dumps(as_json(entry)) + "\n")
                self._file.flush()
            self._changed.notify_all()

    def since(self, seq: int) -> list[Entry]:
        """Return the entries with a greater number."""
        with self._changed:
            return self.entries[max(seq, 0) :]

    def counts(self) -> dict[str, int]:
        """Return how often each operation was called."""
        with self._changed:
            return dict(Counter(f"{entry.service}.{entry.method}" for entry in self.entries))

    def wait(
        self,
        method: str,
        nth: int,
        timeout: float,
        *,
        since: int = 0,
        service: str | None = None,
        list_id: int | None = None,
    ) -> Entry | None:
        """Return the nth entry of a method after number `since`, None if it does not come."""

        def found() -> Entry | None:
            fitting = [
                entry
                for entry in self.entries[max(since, 0) :]
                if method in ("*", entry.method)
                and service in (None, entry.service)
                and list_id in (None, entry.list_id)
            ]
            return fitting[nth - 1] if len(fitting) >= nth else None

        with self._changed:
            return self._changed.wait_for(found, timeout)
