"""What is kept has its time: archived drops and cases go when their batch ended long enough ago.

By whose clock is decided here: one that has just been set is not believed for an hour, for what it
has removed nobody brings back.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from etl.batch import ID_TIME, Batch
from etl.journal.batches import stamp
from etl.load.archive import forget_cases, forget_drops
from etl.world import World

HOUR = 3600.0
SMALL_STEP_SECONDS = 60.0


class Forgetting:
    """Looks once an hour, in a life of its own daemon."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen = (world.clock.wall(), world.clock.monotonic())
        self._steady_since = self._seen[1]
        self._looked: float | None = None

    def turn(self) -> None:
        """Remove what is over, when the clock has gone steadily for an hour and a look is due."""
        wall, now = self._world.clock.wall(), self._world.clock.monotonic()
        before, then = self._seen
        self._seen = wall, now
        if abs((wall - before).total_seconds() - (now - then)) > SMALL_STEP_SECONDS:
            self._steady_since = now
        due = self._looked is None or now - self._looked >= HOUR
        if due and now - self._steady_since >= HOUR:
            self._looked = now
            self.forget(wall)

    def forget(self, now: datetime) -> None:
        """Remove what is over at this moment."""
        world, kept = self._world, self._world.config.settings.archive
        forget_drops(world.archive, lambda batch: self._is_over(batch, now, kept.days))
        forget_copies(world.config.settings.folders.state, now, kept.days)
        forget_cases(
            world.quarantine.check(), lambda batch: self._is_over(batch, now, kept.quarantine_days)
        )

    def _is_over(self, batch_id: str, now: datetime, days: int) -> bool:
        """Whether a batch ended so long ago; one that the journal does not know began so long ago.

        One that has not ended is never over.
        """
        limit = now - timedelta(days=days)
        batch = self._world.journal.batches.find(batch_id)
        if batch is None:
            return batch_id < f"{limit:{ID_TIME}}"
        ended = self._world.journal.batches.detail(batch)["ended_at"]
        return ended is not None and ended < stamp(limit)


def forget_copies(state: Path, now: datetime, days: int) -> None:
    """Remove copies of people's rows that were made by the way, when they are so old.

    They are backups of an earlier version's files, and pages of response data that did not fit.
    """
    limit = (now - timedelta(days=days)).timestamp()
    for path in (*state.glob("*-backup"), *state.glob("unfit/*")):
        if path.stat().st_mtime < limit:
            path.unlink()


def kept_too_long(world: World, batch: Batch) -> Sequence[str]:
    """Batches of the same feed whose staged rows are no longer among the last two refills.

    One whose own end is not carried through still has its only private copy there. All folders are
    looked at: ends that had to wait for a share are carried out in no order.
    """
    batches = world.journal.batches
    # The folders first: what is claimed meanwhile is not among them.
    there = [batches.find(path.name) for path in sorted(world.batches.iterdir())]
    kept = {each.id for each in (*batches.under_way(), *batches.unfinished())}
    kept |= set(batches.completed(batch.feed, 2)) if batch.feed else set()
    return [each.id for each in there if each and each.feed == batch.feed and each.id not in kept]
