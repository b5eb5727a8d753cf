"""One drop's life, top to bottom: from CLAIMED to an end, each step as it can be repeated.

Every step either moves the batch on, ends it, or holds it where it is. Nothing is cleared before
its full replacement is durable, guarded and freshly suppressed.
"""

import shutil
import sqlite3
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from etl.batch import ENDS, Batch, Place
from etl.cases import case_of_drop, case_of_rows
from etl.deaths import counted
from etl.errors import (
    EtlError,
    FarSideRefused,
    FarSideUnavailable,
    GuardTripped,
    Mismatch,
    disk_error,
)
from etl.forgetting import kept_too_long
from etl.freshness import hand_over_now, refresh
from etl.gates import elders, guard_freshness, guard_rows
from etl.guards import RELEASABLE, disk_guard
from etl.load.archive import archive, archived, tidy
from etl.load.upload import Upload
from etl.log import Event, log, within
from etl.refilling import refill
from etl.settings import Feed
from etl.staging import ACCEPTED, ORIGINAL, Unfit, mend_original, read_checked, stage
from etl.taking import CrmGate
from etl.telling import tell, tell_end
from etl.transform.check import Refusal
from etl.world import World

FINISH_AGAIN_SECONDS = 15.0
WAITS_FOR_PEOPLE = RELEASABLE | {"no-rows", "staged-old", "list-short"}
"""Holds that do not end by themselves."""
SOON_TRIES = 3
"""A held batch is tried again soon this often, then at longer intervals."""


class Pipeline:
    """Takes batches through their lives."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._batches = world.journal.batches
        self.crm = CrmGate(world)
        self._untold: set[str] = set()
        self._not_before: dict[str, float] = {}
        """Batches whose end or receipt failed, and when it is tried again."""

    def advance(self, batch: Batch) -> Batch:
        """Take a batch as far as it goes now; it has ended or is held when this returns."""
        with within(feed=batch.feed):
            while not self._rests(batch):
                self._world.clock.sleep(0)
                batch = self._step(batch)
        return batch

    @staticmethod
    def _rests(batch: Batch) -> bool:
        return batch.held is not None or batch.place in ENDS

    def _step(self, batch: Batch) -> Batch:
        """One step on, an end, or a hold; only a bug raises."""
        try:
            try:
                return self._leave(batch)
            except Unfit as error:
                return self._quarantine(batch, error)
        except (GuardTripped, FarSideUnavailable, FarSideRefused, Mismatch) as error:
            return self._hold(batch, error)
        except (OSError, sqlite3.Error) as error:
            return self._hold(batch, disk_error(error))

    def _leave(self, batch: Batch) -> Batch:
        match batch.place:
            case Place.CLAIMED:
                return self._from_claimed(batch)
            case Place.UPLOADED | Place.REFILLING:
                with counted(self._batches, batch, "refilling"):
                    return refill(self._world, batch)
            case Place.REFILLED:
                return self._end(batch, Place.ARCHIVED, None, {})
            case _:
                raise AssertionError(batch.place)

    # --- CLAIMED: check, suppress, stage, guard, upload ----------------------------------------

    def _from_claimed(self, batch: Batch) -> Batch:
        world, feed = self._world, self._feed(batch)
        upload = None
        if feed.sftp is not None:
            account, drop = world.accounts[feed.sftp], world.drops[feed.sftp]
            upload = Upload(batch, account, drop, world.journal, world.clock, world.token)
            if upload.happened():
                return upload.done()
        # Before the check, which may hold the batch for days.
        self._remove_partial_upload(batch)
        with counted(self._batches, batch, "checking", Unfit.of):
            self._check_and_stage(batch, feed)
        with counted(self._batches, batch, "uploading"):
            hand_over_now(world, feed.client)
            self.crm.wait(batch, feed)
            self._supersede_elders(batch, {Place.CLAIMED, Place.UPLOADED})
            if upload is None:
                return world.journal.uploads.uploaded(batch, world.clock.wall())
            source = world.batches / batch.id / ACCEPTED
            return upload.run(source, self._batches.detail(batch)["accepted_sha256"])

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

    def _check_and_stage(self, batch: Batch, feed: Feed) -> None:
        world = self._world
        disk_guard(shutil.disk_usage(world.batches).free, 2 * batch.size_bytes)
        content, checked = read_checked(world, feed, batch)
        now = world.clock.wall()
        # Newer is what the drop's order says, not the clock at its claim.
        newest = f"{batch.order} {batch.id}"
        world.store.remember_carriers(feed.client, feed.name, newest, checked.carriers, now)
        guard_freshness(world, feed, away=refresh(world, feed.client).unasked)
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
        self._original(batch)
        case_of_drop(self._world, batch, error)
        return self._end(batch, Place.QUARANTINED, error.code, error.facts)

    # --- holds and ends --------------------------------------------------------------------------

    def _hold(self, batch: Batch, error: EtlError) -> Batch:
        """Let the batch wait: for a release, or for the world to be right again."""
        far = self._world.config.settings.far_side
        batch = self._batches.get(batch.id)
        soon = self._batches.tries(batch) < SOON_TRIES
        minutes = far.again_minutes if soon else far.later_minutes
        now = self._world.clock.wall()
        next_try = None if error.code in WAITS_FOR_PEOPLE else now + timedelta(minutes=minutes)
        held = self._batches.hold(batch, error.code, now, next_try, error.facts)
        event = Event.GUARD if isinstance(error, GuardTripped) else Event.HELD
        log(event, batch=batch.id, place=batch.place, code=error.code, sentence=error.sentence)
        if batch.place is Place.REFILLING:
            log(Event.ALARM, batch=batch.id, code=error.code, dirty_list=True)
        if not self._told(held):
            self._untold.add(held.id)
        return held

    def discard(self, batch: Batch, user: str, why: str) -> Batch:
        """End a batch that nobody wants; legal in CLAIMED and UPLOADED only."""
        return self._end(batch, Place.DISCARDED, "discarded", {"user": user, "why": why})

    def _end(self, batch: Batch, place: Place, code: str | None, facts: Mapping[str, Any]) -> Batch:
        """Say the end in the journal, then do what follows from it."""
        done = self._batches.move(batch, place, self._world.clock.wall(), code, facts)
        log(Event.PLACE, batch=batch.id, place=place, code=code)
        self._finish(done)
        return done

    def finish_ended(self) -> None:
        """Finish every batch whose end is journalled but not carried through; tell what was not."""
        now = self._world.clock.monotonic()
        waiting = {each for each, after in self._not_before.items() if now < after}
        for batch in self._batches.unfinished():
            if batch.id not in waiting:
                self._finish(batch)
        for batch_id in sorted(self._untold - waiting):
            batch = self._batches.get(batch_id)
            if batch.held is None or self._told(batch):
                self._untold.discard(batch_id)

    def tell_held(self) -> None:
        """At start: every held batch has its receipt, even when the folder was away at the time."""
        for batch in self._batches.under_way():
            if batch.held is not None and not self._told(batch):
                self._untold.add(batch.id)

    def _told(self, batch: Batch) -> bool:
        try:
            tell(self._world, batch)
        except (OSError, EtlError) as trouble:
            log(Event.ALARM, batch=batch.id, code="disk-error", error=trouble)
            self._not_before[batch.id] = self._world.clock.monotonic() + self._pause()
            return False
        return True

    def _finish(self, batch: Batch) -> None:
        """What follows from an end; a disk that fails is waited for, the end stands.

        An end in which the process dies is left alone for a while, so that others go on.
        """
        try:
            with counted(self._batches, batch, "ending"):
                self._carry_out(batch)
        except (OSError, EtlError) as error:
            code = error.code if isinstance(error, EtlError) else "disk-error"
            log(Event.ALARM, batch=batch.id, place=batch.place, code=code, error=error)
            pause = self._pause(crashed=code == "crashed-ending")
            self._not_before[batch.id] = self._world.clock.monotonic() + pause

    def _pause(self, *, crashed: bool = False) -> float:
        """Seconds until an end or a receipt is tried again."""
        far = self._world.config.settings.far_side
        if crashed:
            return far.later_minutes * 60
        return min(FINISH_AGAIN_SECONDS, far.again_minutes * 60)

    @property
    def waits(self) -> bool:
        """Whether an end or a receipt waits for a folder or a server."""
        return bool(self._untold or self._batches.unfinished())

    def _carry_out(self, batch: Batch) -> None:
        """Bytes archived, receipt written, claim and copy gone.

        May be repeated; the journal says last that it is finished.
        """
        world = self._world
        world.inbox.check_identity()
        if batch.place is not Place.QUARANTINED:
            archive(self._original(batch), world.archive, batch)
        tell(world, batch)
        self._remove_partial_upload(batch)
        kept = world.journal.batches.completed(batch.feed, 2) if batch.feed else ()
        tidy(world.batches, batch.id, keep_staged=batch.id in kept)
        for old in kept_too_long(world, batch):
            tidy(world.batches, old, keep_staged=False)
        world.inbox.drop_claim(batch.id, batch.name)
        self._batches.finished(batch, world.clock.wall())
        tell_end(world, batch)

    def _original(self, batch: Batch) -> Path:
        """The private copy, as it was claimed if that can be; gone once it is archived."""
        world = self._world
        gone = batch.rollback_of is not None or archived(world.archive, batch).exists()
        if not gone and not mend_original(world, batch):
            log(Event.ALARM, batch=batch.id, code="disk-error",
                detail="the private copy is not what was claimed")  # fmt: skip
        return world.batches / batch.id / ORIGINAL

    def _remove_partial_upload(self, batch: Batch) -> None:
        """Take away what an earlier try left on a server: people's rows under a temporary name."""
        world, detail = self._world, self._batches.detail(batch)
        if detail["uploaded_at"] is not None or detail["upload_temporary"] is None:
            return
        left = {"batch": batch.id, "account": detail["upload_account"],
                "left": detail["upload_temporary"]}  # fmt: skip
        names = [n for n, a in world.accounts.items() if a == detail["upload_account"]]
        if not names:
            log(Event.ALARM, code="sftp-left", **left)
        else:
            drop = world.drops[names[0]]
            if detail["upload_intent_at"] and drop.stat(left["left"]) is None:
                log(Event.ALARM, code="sftp-left", remote=detail["upload_name"], **left)
            # The intent goes first: a temporary name that we took away proves no rename.
            world.journal.uploads.begin_upload(batch, left["account"], left["left"])
            drop.remove(left["left"])
        world.journal.uploads.forget_upload(batch)
