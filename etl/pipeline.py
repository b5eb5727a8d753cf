"""One drop's life, top to bottom: from CLAIMED to an end, each step as it can be repeated.

Every step either moves the batch on, ends it, or holds it where it is. Nothing is cleared before
its full replacement is durable, guarded and freshly suppressed.
"""

import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from etl.batch import ENDS, Batch, Place
from etl.cases import case_of_drop, case_of_rows
from etl.errors import (
    EtlError,
    FarSideRefused,
    FarSideUnavailable,
    GuardTripped,
    Mismatch,
)
from etl.freshness import hand_over_now, refresh
from etl.gates import elders, guard_freshness, guard_rows
from etl.guards import RELEASABLE, disk_guard
from etl.load.archive import archive, tidy
from etl.load.upload import upload
from etl.log import Event, log, within
from etl.refilling import refill
from etl.settings import Feed
from etl.staging import ACCEPTED, ORIGINAL, Unfit, read_checked, stage
from etl.telling import tell, tell_end
from etl.transform.check import Refusal
from etl.world import World

CHECK_DEATHS = 3
"""A batch whose check was under way when the process died this often is quarantined."""
SOON_TRIES = 3
"""A held batch is tried again soon this often, then at longer intervals."""


class Pipeline:
    """Takes batches through their lives."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._batches = world.journal.batches
        self._unfinished: set[str] = set()

    def advance(self, batch: Batch) -> Batch:
        """Take a batch as far as it goes now; it has ended or is held when this returns."""
        since = self._world.clock.wall()
        with within(feed=batch.feed):
            while not self._rests(batch):
                self._world.clock.sleep(0)
                batch = self._step(batch)
            if batch.held is None:
                tell_end(self._world, batch, since)
        return batch

    @staticmethod
    def _rests(batch: Batch) -> bool:
        return batch.held is not None or batch.place in ENDS

    def _step(self, batch: Batch) -> Batch:
        """One step on, or an end; what the world or a disk refuses holds the batch."""
        try:
            return self._stepped(batch)
        except (GuardTripped, FarSideUnavailable, FarSideRefused, Mismatch) as error:
            return self._hold(self._batches.get(batch.id), error)
        except OSError as error:
            detail = f"{type(error).__name__} {error.errno}"
            return self._hold(self._batches.get(batch.id), Mismatch("disk-error", detail=detail))

    def _stepped(self, batch: Batch) -> Batch:
        try:
            match batch.place:
                case Place.CLAIMED:
                    return self._from_claimed(batch)
                case Place.UPLOADED | Place.REFILLING:
                    return refill(self._world, batch)
                case Place.REFILLED:
                    return self._end(batch, Place.ARCHIVED, None, {})
                case _:
                    raise AssertionError(batch.place)
        except Unfit as error:
            return self._quarantine(batch, error)

    # --- CLAIMED: check, suppress, stage, guard, upload ----------------------------------------

    def _from_claimed(self, batch: Batch) -> Batch:
        feed = self._feed(batch)
        if self._batches.upload_intent(batch) is None:
            self._check(batch, feed)
        hand_over_now(self._world, feed.client)
        self._supersede_elders(batch, {Place.CLAIMED, Place.UPLOADED})
        if feed.sftp is None:
            return self._batches.uploaded(batch, self._world.clock.wall())
        source = self._world.batches / batch.id / ACCEPTED
        sha256 = self._batches.detail(batch)["accepted_sha256"]
        drop = self._world.drops[feed.sftp]
        return upload(batch, source, sha256, drop, self._world.journal, self._world.clock)

    def _feed(self, batch: Batch) -> Feed:
        """The one feed a drop belongs to; Unfit when there is none or there are several."""
        config = self._world.config
        if batch.feed is not None:
            feed = config.find_feed(batch.feed)
            if feed is None:
                raise GuardTripped("feed-gone", feed=batch.feed)
            return feed
        fitting = config.feeds_for(batch.name)
        if len(fitting) > 1:
            raise Unfit.of("two-feeds", feeds=", ".join(feed.name for feed in fitting))
        raise Unfit.of("no-feed")

    def _check(self, batch: Batch, feed: Feed) -> None:
        deaths = self._batches.check_begins(batch)
        if deaths >= CHECK_DEATHS:
            self._batches.check_ends(batch)
            raise Unfit.of("crashed-checking", deaths=deaths)
        try:
            self._check_and_stage(batch, feed)
        finally:
            # Reached by every error and every stop, not by a death of the process.
            self._batches.check_ends(batch)

    def _check_and_stage(self, batch: Batch, feed: Feed) -> None:
        world = self._world
        disk_guard(shutil.disk_usage(world.batches).free, 2 * batch.size_bytes)
        content, checked = read_checked(world, feed, batch)
        world.store.remember_carriers(feed.client, feed.name, batch.id, checked.carriers)
        guard_freshness(world, feed, away=refresh(world, feed.client))
        staged = stage(world, feed, batch, content, checked)
        facts = {**staged.facts, "notes": [*staged.facts["notes"], *self._notes(batch, feed)]}
        if checked.rejected_rows:
            case_of_rows(world, batch, feed, content, checked, facts)
        self._batches.checked(batch, facts, staged.rows, staged.sha256, staged.accepted_sha256)
        if not staged.rows:
            refusal = Refusal("no-rows", {"rows": checked.rows_read})
            raise Unfit(refusal, checked, content)
        guard_rows(world, batch, feed, staged.rows)

    def _notes(self, batch: Batch, feed: Feed) -> list[dict[str, Any]]:
        last = self._batches.last_refill(feed.name)
        same = last is not None and last.sha256 == batch.sha256
        return [{"code": "same-content", "facts": {}}] if same else []

    def _supersede_elders(self, batch: Batch, places: set[Place]) -> None:
        for elder in elders(self._world, batch, places):
            self._end(elder, Place.SUPERSEDED, "superseded", {"by": batch.id})

    def _quarantine(self, batch: Batch, error: Unfit) -> Batch:
        """A drop that can never be right: its case first, then its end."""
        case_of_drop(self._world, batch, error)
        return self._end(batch, Place.QUARANTINED, error.code, error.facts)

    # --- holds and ends --------------------------------------------------------------------------

    def _hold(self, batch: Batch, error: EtlError) -> Batch:
        """Let the batch wait: for a release, or for the world to be right again."""
        far = self._world.config.settings.far_side
        minutes = (
            far.again_minutes if self._batches.tries(batch) < SOON_TRIES else far.later_minutes
        )
        now = self._world.clock.wall()
        waits = error.code in RELEASABLE or error.code == "no-rows"
        next_try = None if waits else now + timedelta(minutes=minutes)
        held = self._batches.hold(batch, error.code, now, next_try, error.facts)
        event = Event.GUARD if isinstance(error, GuardTripped) else Event.HELD
        log(event, batch=batch.id, place=batch.place, code=error.code, sentence=error.sentence)
        if batch.place is Place.REFILLING:
            log(Event.ALARM, batch=batch.id, code=error.code, dirty_list=True)
        try:
            tell(self._world, held)
        except OSError as cause:
            # The hold stands in the journal; the next one writes its receipt.
            log(Event.ALARM, batch=batch.id, code="disk-error", error=cause)
        return held

    def discard(self, batch: Batch, user: str, why: str) -> Batch:
        """End a batch that nobody wants; legal in CLAIMED and UPLOADED only."""
        return self._end(batch, Place.DISCARDED, "discarded", {"user": user, "why": why})

    def _end(self, batch: Batch, place: Place, code: str | None, facts: Mapping[str, Any]) -> Batch:
        """Say the end in the journal, then do what follows from it."""
        done = self._batches.move(batch, place, self._world.clock.wall(), code, facts)
        log(Event.PLACE, batch=batch.id, place=place, code=code)
        self._finish_or_later(done)
        return done

    def finish_ended(self) -> None:
        """Finish every batch whose end is journalled but was not carried through."""
        world = self._world
        for batch_id, _ in list(world.inbox.claims()):
            batch = self._batches.find(batch_id)
            if batch is not None and batch.place in ENDS:
                self._finish_or_later(batch)

    def _finish_or_later(self, batch: Batch) -> None:
        """Finish a batch; a folder that is not there leaves it to the next round, told once."""
        try:
            self.finish(batch)
        except OSError as error:
            if batch.id not in self._unfinished:
                log(Event.ALARM, batch=batch.id, code="disk-error", error=error)
            self._unfinished.add(batch.id)
        else:
            self._unfinished.discard(batch.id)

    def finish(self, batch: Batch) -> None:
        """What follows from an end: bytes archived, receipt written, claim and copy gone.

        May be repeated; the claimed file goes last, so a start sees what was not finished.
        """
        world = self._world
        if batch.place is not Place.QUARANTINED:
            archive(world.batches / batch.id / ORIGINAL, world.archive, batch)
        tell(world, batch)
        kept = world.journal.batches.completed(batch.feed, 2) if batch.feed else ()
        tidy(world.batches, batch.id, keep_staged=batch.id in kept)
        for old in kept_too_long(world, batch):
            tidy(world.batches, old, keep_staged=False)
        world.inbox.drop_claim(batch.id)


def kept_too_long(world: World, batch: Batch) -> Sequence[str]:
    """Batches of the same feed whose staged rows are no longer among the last two refills."""
    return world.journal.batches.completed(batch.feed, 4)[2:] if batch.feed else ()
