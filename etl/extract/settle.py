"""When a drop is complete: pure decisions over sightings, by our own clock, never by its mtime.

It reads no folder; `etl.extract.inbox` brings the sightings.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one scan saw of a file: enough to notice any change of it."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Settling:
    """A file under observation: its last sighting, and how often in a row it was the same."""

    sighting: Sighting
    equal: int
    """Equal sightings that count: at least a scan's interval lies between two of them."""
    counted_at: float
    """When the last of them was, by the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Patience:
    """When unchanged is long enough."""

    sightings: int
    every_seconds: float
    """Scans come earlier when something happens in the folder; those confirm nothing."""


def settle(
    before: Mapping[str, Settling],
    seen: Mapping[str, Sighting],
    now: float,
    patience: Patience,
    marked: Mapping[str, bool],
) -> tuple[dict[str, Settling], list[str]]:
    """Fold one scan in; return what is observed now and the names that have settled.

    A file has settled when it was unchanged at `sightings` scans in a row that lie `every_seconds`
    apart by the monotonic clock `now`. `marked[name]`, present for feeds with a done-marker,
    decides alone: True settles at once, False never does.
    """
    observed: dict[str, Settling] = {}
    settled: list[str] = []
    for name, sighting in seen.items():
        old = before.get(name)
        if old is None or old.sighting != sighting:
            observed[name] = Settling(sighting, 1, now)
        elif now - old.counted_at >= patience.every_seconds:
            observed[name] = Settling(sighting, old.equal + 1, now)
        else:
            observed[name] = old
        if marked.get(name, observed[name].equal >= patience.sightings):
            settled.append(name)
    return observed, settled
