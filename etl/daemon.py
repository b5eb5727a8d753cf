"""The daemon: scans, takes requests, and takes batches through their lives, one at a time.

Two threads: the scan, which feeds the systemd watchdog, and the work. What they share is the
journal. A stop finishes the chunk under way, journals, and ends.
"""

import math
import sqlite3
import threading
from collections.abc import Callable
from functools import partial

from etl import notify
from etl.batch import ENDS, Batch, Place
from etl.errors import EtlError, FarSideUnavailable
from etl.extract.watch import Watch
from etl.fetching import Fetching
from etl.forgetting import Forgetting
from etl.intake import Intake
from etl.journal.batches import stamp
from etl.journal.requests import Request
from etl.lifting import take_lifts
from etl.log import Event, log
from etl.pipeline import WAITS_FOR_PEOPLE, Pipeline
from etl.ports import Stopped
from etl.rollback import take_rollbacks
from etl.telling import is_trouble
from etl.world import World

RANK = {Place.REFILLED: 2, Place.REFILLING: 1}
"""Who comes first whatever is newer."""
ALARM_AGAIN_SECONDS = 600.0
"""Trouble that stays is told again after this long."""


class Daemon:
    """One instance at work on one inbox."""

    def __init__(self, world: World, stop: threading.Event, wake: threading.Event) -> None:
        self._world = world
        self._stop = stop
        self._wake = wake
        self._work = threading.Event()
        self._intake = Intake(world, alive=notify.watchdog)
        self._pipeline = Pipeline(world)
        self._fetching = Fetching(world)
        self._forgetting = Forgetting(world)
        self._bug: BaseException | None = None
        self._once = False
        self._advanced: set[str] = set()
        self._alarmed: dict[str, float] = {}
        self._trouble = False

    # --- the two ways to run -----------------------------------------------------------------

    def run(self) -> int:
        """Work until told to stop; 0, or 70 after a bug."""
        settings = self._world.config.settings
        watch = Watch(settings.folders.inbox, settings.scan.watch, self._wake)
        self._begin()
        self._let_go_at_start()
        watching = watch.start()
        log(Event.STARTED, watch=settings.scan.watch if watching else "off")
        self._scan()
        worker = threading.Thread(target=self._work_until_stopped, name="work")
        worker.start()
        notify.ready()
        # However rarely a share is looked at, systemd hears of us in time.
        every = min(settings.scan.every_seconds, (notify.watchdog_interval() or math.inf) / 3)
        try:
            while not self._stop.is_set():
                self._wake.wait(every)
                self._wake.clear()
                if not self._stop.is_set():
                    self._scan()
                if watching and not watch.alive():
                    # An observer dies silently when its share goes away.
                    watch.stop()
                    watching = watch.start()
        finally:
            self._stop.set()
            notify.stopping()
            self._work.set()
            watch.stop()
            worker.join()
        log(Event.STOPPED)
        return 0 if self._bug is None else EtlError.exit_code

    def once(self) -> int:
        """Take what is there through, then end: 0, or 1 when something is not as wished.

        A batch that is held is not waited for. 69 when the inbox does not answer.
        """
        self._once = True
        self._begin()
        before = {batch.id for batch in self._world.journal.batches.under_way()}
        every = self._world.config.settings.scan.every_seconds
        try:
            while self._intake.scan():
                self._world.clock.sleep(every)
            self._requests()
            while self._turn():
                pass
            self._guarded(lambda: self._forgetting.forget(self._world.clock.wall()))
        except Stopped:
            log(Event.STOPPED)
        except OSError as error:
            log(Event.ALARM, code="inbox-lost", error=error)
            return FarSideUnavailable.exit_code
        journal = self._world.journal.batches
        mine = before | {b.id for b in journal.latest(1000) if b.claimed_at >= self._started}
        trouble = self._trouble or self._intake.stuck or self._pipeline.waits
        return int(trouble or any(is_trouble(self._world, journal.get(each)) for each in mine))

    def _begin(self) -> None:
        self._started = self._world.clock.wall()
        self._world.journal.requests.beat("started", stamp(self._started))
        self._pipeline.tell_held()

    def _let_go_at_start(self) -> None:
        """Somebody may have mended the cause before this start: nothing waits for its time.

        But for a batch that killed the process, whose pauses would mean nothing then.
        """
        batches = self._world.journal.batches
        for batch in batches.under_way():
            held = batch.held
            timed = held is not None and held.next_try is not None
            crashed = held is not None and held.code.startswith("crashed-")
            if held and (timed or held.code == "staged-old") and not crashed:
                batches.let_go(batch)

    # --- scan --------------------------------------------------------------------------------

    def _scan(self) -> None:
        """One completed scan feeds the watchdog; a share that does not answer is waited for."""
        waiting, lost = 0, False
        try:
            waiting = self._intake.scan()
        except OSError as error:
            lost = True
            self._alarm("inbox-lost", error)
        except (EtlError, sqlite3.Error) as error:
            self._alarm(error.code if isinstance(error, EtlError) else "disk-error", error)
        try:
            self._requests()
            self._world.journal.requests.beat("scanned", stamp(self._world.clock.wall()))
        except (EtlError, sqlite3.Error) as error:
            self._alarm(error.code if isinstance(error, EtlError) else "disk-error", error)
        self._work.set()
        notify.watchdog()
        notify.status(f"{waiting} files settling" + (", inbox lost" if lost else ""))

    def _alarm(self, code: str, error: Exception) -> None:
        """Tell of trouble that stays, now and then, and go on."""
        self._trouble = True
        now, last = self._world.clock.monotonic(), self._alarmed.get(code)
        if last is None or now - last >= ALARM_AGAIN_SECONDS:
            self._alarmed[code] = now
            log(Event.ALARM, code=code, error=error)

    def _requests(self) -> None:
        requests = self._world.journal.requests
        for request in requests.waiting():
            if request.verb == "release":
                self._release(request)

    def _release(self, request: Request) -> None:
        world = self._world
        batch = world.journal.batches.find(request.batch or "")
        now = world.clock.wall()
        if batch is None:
            world.journal.requests.taken(request, "no-such-batch", now)
        elif batch.place in ENDS:
            world.journal.requests.taken(request, "not-allowed", now)
        else:
            world.journal.requests.release(request, batch, now)
            log(Event.RELEASED, batch=batch.id, codes=list(request.codes), user=request.user)

    # --- work --------------------------------------------------------------------------------

    def _work_until_stopped(self) -> None:
        try:
            while not self._stop.is_set():
                if not self._turn():
                    self._work.wait(self._world.config.settings.scan.every_seconds)
                    self._work.clear()
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - a bug ends the whole daemon, told without its words
            log(Event.BUG, error=error)
            self._bug = error
            self._stop.set()
            self._wake.set()

    def _turn(self) -> bool:
        """One round over all feeds; True when something was done.

        A part whose disk or far side fails is tried again in the next round; the others go on.
        """
        pipeline = self._pipeline
        parts = (
            pipeline.finish_ended, self._discards, self._rollbacks,
            partial(take_lifts, self._world), self._feed_turns, self._fetching.turn,
            self._forgetting.turn,
        )  # fmt: skip
        done = [self._guarded(part) for part in parts]
        return any(done)

    def _guarded(self, part: Callable[[], bool | None]) -> bool:
        try:
            return bool(part())
        except (EtlError, OSError, sqlite3.Error) as error:
            self._alarm(error.code if isinstance(error, EtlError) else "disk-error", error)
            return False

    def _feed_turns(self) -> bool:
        """A turn for every feed; what fails in one keeps no other one back."""
        done = False
        under_way = self._world.journal.batches.under_way()
        for feed in sorted({batch.feed or "" for batch in under_way}):
            done |= self._guarded(partial(self._feed_turn, feed))
        return done

    def _feed_turn(self, feed: str) -> bool:
        """Advance what may go on: what is only to be told, a dirty list, then from the newest on.

        An older drop has its turn only when every newer one waits for a release or has ended; over
        a list that a newer one left dirty it has none.
        """
        done, dirty = False, ""
        batches = [b for b in self._world.journal.batches.under_way() if (b.feed or "") == feed]
        for each in sorted(batches, key=lambda b: (RANK.get(b.place, 0), b.order, b.id))[::-1]:
            batch = self._world.journal.batches.get(each.id)
            if batch.place in ENDS:
                continue
            if batch.order < dirty:
                break
            if batch.held is not None and self._is_due(batch):
                batch = self._world.journal.batches.let_go(batch)
            if batch.held is None:
                self._advanced.add(batch.id)
                batch = self._pipeline.advance(batch)
                done = True
            waits_for_people = batch.held is not None and batch.held.code in WAITS_FOR_PEOPLE
            if batch.place is Place.REFILLING:
                dirty = batch.order
            elif batch.held and not waits_for_people and batch.place is not Place.REFILLED:
                break
        return done

    def _is_due(self, batch: Batch) -> bool:
        """Tell whether a held batch is tried again now, also after a clock went back."""
        held, now = batch.held, self._world.clock.wall()
        if held is None or held.next_try is None or (self._once and batch.id in self._advanced):
            return False
        return self._pipeline.crm.took(batch) or held.next_try <= now or held.last > now

    def _rollbacks(self) -> bool:
        """Take back what operators want back."""
        taken = take_rollbacks(self._world)
        self._trouble |= taken.refused > 0
        if taken.waiting is not None:
            raise taken.waiting
        return bool(taken.begun or taken.refused)

    def _discards(self) -> bool:
        """Discard what operators no longer want; done here, so no step is under way meanwhile."""
        world, done = self._world, False
        for request in world.journal.requests.waiting():
            if request.verb != "discard":
                continue
            batch = world.journal.batches.find(request.batch or "")
            outcome = "done"
            if batch is None:
                outcome = "no-such-batch"
            elif batch.place not in {Place.CLAIMED, Place.UPLOADED}:
                outcome = "not-allowed"
            else:
                self._pipeline.discard(batch, request.user, request.why)
                done = True
            world.journal.requests.taken(request, outcome, world.clock.wall())
        return done
