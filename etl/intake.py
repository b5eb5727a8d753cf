"""Intake: from a file in the inbox to a batch in CLAIMED, every scan one step further.

The scan decides, watchdog only wakes it. What was claimed but never journalled is taken up by the
same steps, so a death anywhere in between loses nothing.
"""

from collections.abc import Iterator

from etl.batch import new_id
from etl.durable import make_folder
from etl.extract.inbox import Inbox, Unfit
from etl.extract.settle import Settling, Sighting, settle
from etl.journal.batches import ClaimedDrop
from etl.log import Event, log
from etl.settings import Feed
from etl.staging import ORIGINAL
from etl.world import World


class Intake:
    """What is observed in the inbox of one instance."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._inbox: Inbox = world.inbox
        self._observed: dict[str, Settling] = {}
        self._claims: dict[str, Settling] = {}
        self._told: set[Unfit] = set()
        self._foreign: frozenset[str] = frozenset()

    def scan(self) -> int:
        """Look once; returns how many files wait to settle or to be copied.

        One without its done-marker is not counted: that may never come. InboxLost or OSError
        when the share does not answer: nothing is forgotten then.
        """
        seen = self._inbox.scan()
        self._tell_unfit(seen.unfit)
        drops = dict(self._drops(seen.files))
        marked = dict(self._marked(drops, seen.files))
        self._observed, settled = settle(self._observed, drops, self._sightings, marked)
        for name in settled:
            self._claim(name)
        waiting = self._copy_claims()
        self._tell_foreign()
        return waiting + sum(marked.get(name, True) for name in self._observed)

    @property
    def _sightings(self) -> int:
        return self._world.config.settings.scan.sightings

    def _markers(self) -> list[str]:
        return sorted({f.done_marker for f in self._world.config.settings.feed if f.done_marker})

    def _drops(self, files: dict[str, Sighting]) -> Iterator[tuple[str, Sighting]]:
        """Every file that is no done-marker of another one."""
        markers = tuple(self._markers())
        for name, sighting in files.items():
            if not (markers and name.endswith(markers)):
                yield name, sighting

    def _marked(
        self, drops: dict[str, Sighting], files: dict[str, Sighting]
    ) -> Iterator[tuple[str, bool]]:
        for name in drops:
            feed = self._feed(name)
            if feed is not None and feed.done_marker is not None:
                yield name, f"{name}{feed.done_marker}" in files

    def _feed(self, name: str) -> Feed | None:
        """The one feed a name fits."""
        fitting = self._world.config.feeds_for(name)
        return fitting[0] if len(fitting) == 1 else None

    def _claim(self, name: str) -> None:
        settling = self._observed.pop(name)
        batch_id = new_id(self._world.clock.wall())
        log(Event.SETTLED, name=name, size_bytes=settling.sighting.size_bytes)
        if not self._inbox.claim(name, batch_id):
            return
        # The rename changed ctime: what was seen in the inbox counts as seen in the claim.
        now = self._inbox.sight(batch_id, name)
        if now is not None and _unchanged(now, settling.sighting):
            self._claims[batch_id] = Settling(now, self._sightings)
        self._remove_marker(name)

    def _remove_marker(self, name: str) -> None:
        """A marker whose drop is claimed must not speak for the next drop of that name."""
        feed = self._feed(name)
        if feed is not None and feed.done_marker is not None:
            self._inbox.remove_marker(name, feed.done_marker)

    def _copy_claims(self) -> int:
        """Copy and journal every claim that has settled; returns how many have not."""
        waiting = 0
        copied: list[ClaimedDrop] = []
        try:
            for batch_id, name in list(self._inbox.claims()):
                drop = self._copy_claim(batch_id, name)
                if isinstance(drop, ClaimedDrop):
                    copied.append(drop)
                else:
                    waiting += drop
        finally:
            # A copy that fails keeps no earlier one back.
            self._journal_claims(copied)
        return waiting

    def _copy_claim(self, batch_id: str, name: str | None) -> ClaimedDrop | bool:
        """Copy a claim that is new and has settled; else tell whether it has yet to."""
        if self._world.journal.batches.find(batch_id) is not None:
            self._claims.pop(batch_id, None)
            return False
        if name is None:
            self._inbox.drop_claim(batch_id)
            return False
        now = self._inbox.sight(batch_id, name)
        if now is None:
            self._tell_unfit([Unfit(ascii(name), "not-a-file", "special file")])
            return False
        if batch_id not in self._claims:
            log(Event.ADOPTED, batch=batch_id, name=name)
            self._remove_marker(name)
        observed, settled = settle(self._claims, {batch_id: now}, self._sightings, {})
        self._claims |= observed
        return (self._copied(batch_id, name, now) if settled else None) or True

    def _copied(self, batch_id: str, name: str, settled: Sighting) -> ClaimedDrop | None:
        """Make the private copy; None when the file is not what had settled."""
        world = self._world
        make_folder(world.batches / batch_id, 0o700)
        copy = self._inbox.copy(batch_id, name, settled, world.batches / batch_id / ORIGINAL)
        if copy is None:
            del self._claims[batch_id]
            return None
        feed = self._feed(name)
        return ClaimedDrop(
            batch_id,
            feed.name if feed else None,
            name,
            copy.size_bytes,
            copy.sha256,
            copy.mtime_ns,
            drop_order(feed, name, copy.mtime_ns),
        )

    def _journal_claims(self, copied: list[ClaimedDrop]) -> None:
        """Drops that settled together come into the journal together.

        The work thread looks there meanwhile: it must never begin an older one before it can see
        the newest.
        """
        if not copied:
            return
        world = self._world
        for batch in world.journal.batches.claimed(copied, world.clock.wall()):
            log(Event.CLAIMED, batch=batch.id, feed=batch.feed, name=batch.name,
                size_bytes=batch.size_bytes, sha256=batch.sha256)  # fmt: skip

    def _tell_unfit(self, unfit: list[Unfit]) -> None:
        """Each once, as long as it lies there."""
        for entry in unfit:
            if entry not in self._told:
                log(Event.REFUSED, name=entry.name, code=entry.code, kind=entry.kind)
        self._told = set(unfit) | {entry for entry in self._told if entry.code == "not-a-file"}

    def _tell_foreign(self) -> None:
        foreign = frozenset(self._inbox.foreign())
        for instance in sorted(foreign - self._foreign):
            log(Event.ALARM, code="foreign-claim", folder=f".claimed/{instance}")
        self._foreign = foreign


def _unchanged(one: Sighting, other: Sighting) -> bool:
    return (one.size_bytes, one.mtime_ns, one.inode) == (
        other.size_bytes, other.mtime_ns, other.inode,
    )  # fmt: skip


def drop_order(feed: Feed | None, name: str, mtime_ns: int) -> str:
    """What orders drops of a feed: the pattern's date group if there is one, mtime, name."""
    found = feed.matches.fullmatch(name) if feed else None
    date = (found.groupdict().get("date") or "") if found else ""
    return f"{date}|{mtime_ns:020d}|{name}"
