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
    """A file under observation: its last sighting and how often in a row it was the same."""

    sighting: Sighting
    equal: int


def settle(
    before: Mapping[str, Settling],
    seen: Mapping[str, Sighting],
    sightings: int,
    marked: Mapping[str, bool],
) -> tuple[dict[str, Settling], list[str]]:
    """Fold one scan in; return what is observed now and the names that have settled.

    A file has settled when `sightings` scans in a row saw it unchanged. `marked[name]`, present
    for feeds with a done-marker, decides alone: True settles at once, False never does.
    """
    observed: dict[str, Settling] = {}
    settled: list[str] = []
    for name, sighting in seen.items():
        old = before.get(name)
        equal = old.equal + 1 if old is not None and old.sighting == sighting else 1
        observed[name] = Settling(sighting, equal)
        if marked.get(name, equal >= sightings):
            settled.append(name)
    return observed, settled
