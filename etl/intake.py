"""Intake: from a file in the inbox to a batch in CLAIMED, every scan one step further.

The scan decides, watchdog only wakes it. What was claimed but never journalled is taken up by the
same steps, so a death anywhere in between loses nothing.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace

from etl.batch import new_id
from etl.durable import make_folder
from etl.extract.inbox import Inbox, InboxLost, Unfit
from etl.extract.settle import Patience, Settling, Sighting, settle
from etl.journal.batches import ClaimedDrop
from etl.log import Event, log
from etl.settings import Feed
from etl.staging import ORIGINAL
from etl.world import World

_OF_CLAIMS = frozenset({"not-a-file", "not-readable", "not-movable", "disk-error", "no-room"})
"""Codes that are not seen by looking into the inbox: told once while this process lives."""


class Intake:
    """What is observed in the inbox of one instance."""

    def __init__(self, world: World, alive: Callable[[], None] = lambda: None) -> None:
        """`alive` is called while a long copy makes progress."""
        self._world = world
        self._alive = alive
        self._inbox: Inbox = world.inbox
        self._observed: dict[str, Settling] = {}
        self._claims: dict[str, Settling] = {}
        self._told: set[Unfit] = set()
        self._foreign: frozenset[str] = frozenset()
        self.stuck = False
        """Whether the last scan saw a drop that cannot be taken."""

    def scan(self) -> int:
        """Look once; returns how many files wait to settle or to be copied.

        One without its done-marker is not counted: that may never come. InboxLost or OSError
        when the share does not answer: nothing is forgotten then.
        """
        seen = self._inbox.scan()
        self._tell_unfit(seen.unfit)
        drops = dict(self._drops(seen.files))
        marked = dict(self._marked(drops, seen.files))
        now = self._world.clock.monotonic()
        self._observed, settled = settle(self._observed, drops, now, self._patience, marked)
        stuck = {name for name in settled if not self._claim(name)}
        self.stuck = bool(stuck)
        waiting = self._copy_claims()
        self._tell_foreign()
        return waiting + sum(marked.get(n, True) for n in self._observed if n not in stuck)

    @property
    def _patience(self) -> Patience:
        scan = self._world.config.settings.scan
        # A little less, so that a scan that comes a moment early still counts.
        return Patience(scan.sightings, 0.95 * scan.every_seconds)

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

    def _claim(self, name: str) -> bool:
        """Claim a drop that has settled; False when it has to wait for free disk."""
        settling = self._observed[name]
        size = settling.sighting.size_bytes
        free = shutil.disk_usage(self._world.batches).free
        if free < 2 * size:
            self._tell(Unfit(ascii(name), "no-room"), free_bytes=free, needed_bytes=2 * size)
            return False
        del self._observed[name]
        batch_id = new_id(self._world.clock.wall(), self._world.token)
        log(Event.SETTLED, name=name, size_bytes=settling.sighting.size_bytes)
        try:
            if not self._inbox.claim(name, batch_id):
                return True
        except InboxLost:
            raise
        except OSError as error:
            self._tell(Unfit(ascii(name), "not-movable"), error=error)
            self._observed[name] = settling
            return False
        # The rename changed ctime: what was seen in the inbox counts as seen in the claim.
        now = self._inbox.sight(batch_id, name)
        if now is not None and _unchanged(now, settling.sighting):
            self._claims[batch_id] = replace(settling, sighting=now, equal=self._patience.sightings)
        self._remove_marker(name)
        return True

    def _remove_marker(self, name: str) -> None:
        """A marker whose drop is claimed must not speak for the next drop of that name."""
        feed = self._feed(name)
        if feed is not None and feed.done_marker is not None:
            self._inbox.remove_marker(name, feed.done_marker)

    def _copy_claims(self) -> int:
        """Copy and journal every claim that has settled; returns how many have not."""
        waiting = 0
        copied: list[ClaimedDrop] = []
        for batch_id, name in list(self._inbox.claims()):
            try:
                drop = self._copy_claim(batch_id, name)
            except PermissionError:
                self.stuck = True
                self._tell(Unfit(ascii(name), "not-readable"))
            except OSError as error:
                # One drop that cannot be copied keeps no other one back.
                self.stuck = True
                self._tell(Unfit(batch_id, "disk-error"), error=error)
            else:
                if isinstance(drop, ClaimedDrop):
                    copied.append(drop)
                else:
                    waiting += drop
        self._journal_claims(copied)
        return waiting

    def _copy_claim(self, batch_id: str, name: str | None) -> ClaimedDrop | bool:
        """Copy a claim that is new and has settled; else tell whether it has yet to."""
        if name is None:
            self._inbox.drop_claim(batch_id, None)
            return False
        if self._world.journal.batches.find(batch_id) is not None:
            self._claims.pop(batch_id, None)
            return False
        now = self._inbox.sight(batch_id, name)
        if now is None:
            self._tell(Unfit(ascii(name), "not-a-file", "special file"))
            return False
        if batch_id not in self._claims:
            log(Event.ADOPTED, batch=batch_id, name=name)
            self._remove_marker(name)
        at = self._world.clock.monotonic()
        observed, settled = settle(self._claims, {batch_id: now}, at, self._patience, {})
        self._claims |= observed
        return (self._copied(batch_id, name, now) if settled else None) or True

    def _copied(self, batch_id: str, name: str, settled: Sighting) -> ClaimedDrop | None:
        """Make the private copy; None when the file is not what had settled."""
        world = self._world
        make_folder(world.batches / batch_id, 0o700)
        target = world.batches / batch_id / ORIGINAL
        copy = self._inbox.copy(batch_id, name, settled, target, self._alive)
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
            self._tell(entry)
        self._told &= set(unfit) | {e for e in self._told if e.code in _OF_CLAIMS}

    def _tell(self, entry: Unfit, error: OSError | None = None, **facts: int) -> None:
        if entry not in self._told:
            self._told.add(entry)
            log(Event.REFUSED, error=error, name=entry.name, code=entry.code, kind=entry.kind,
                facts=facts)  # fmt: skip

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
    return f"{date}/{mtime_ns:020d}/{name}"
