"""The daemon: scans, takes requests, and takes batches through their lives, one at a time.

Two threads: the scan, which feeds the systemd watchdog, and the work. What they share is the
journal. A stop finishes the chunk under way, journals, and ends.
"""

import threading
from datetime import datetime, timedelta

from etl import notify
from etl.batch import ENDS, Batch, Place
from etl.errors import FarSideUnavailable
from etl.extract.inbox import InboxLost
from etl.extract.watch import Watch
from etl.freshness import hand_over_now, refresh
from etl.guards import RELEASABLE
from etl.intake import Intake
from etl.journal.batches import stamp
from etl.journal.requests import Request
from etl.load.archive import forget_cases, forget_drops
from etl.log import Event, log
from etl.pipeline import Pipeline
from etl.ports import Stopped
from etl.telling import is_trouble
from etl.world import World


class Daemon:
    """One instance at work on one inbox."""

    def __init__(self, world: World, stop: threading.Event, wake: threading.Event) -> None:
        self._world = world
        self._stop = stop
        self._wake = wake
        self._work = threading.Event()
        self._intake = Intake(world)
        self._pipeline = Pipeline(world)
        self._fetched: dict[str, datetime] = {}
        self._forgotten: datetime | None = None
        self._bug: BaseException | None = None
        self._lost = False

    # --- the two ways to run -----------------------------------------------------------------

    def run(self) -> int:
        """Work until told to stop; 0, or 70 after a bug."""
        settings = self._world.config.settings
        watch = Watch(settings.folders.inbox, settings.scan.watch, self._wake)
        self._begin()
        watching = watch.start()
        log(Event.STARTED, watch=settings.scan.watch if watching else "off")
        self._scan()
        worker = threading.Thread(target=self._work_until_stopped, name="work")
        worker.start()
        notify.ready()
        try:
            while not self._stop.is_set():
                self._wake.wait(settings.scan.every_seconds)
                self._wake.clear()
                if not self._stop.is_set():
                    self._scan()
        finally:
            self._stop.set()
            notify.stopping()
            self._work.set()
            watch.stop()
            worker.join()
        log(Event.STOPPED)
        return 0 if self._bug is None else 70

    def once(self) -> int:
        """Take what is there through, then end: 0, or 1 when something is not as wished."""
        self._begin()
        before = {batch.id for batch in self._world.journal.batches.under_way()}
        every = self._world.config.settings.scan.every_seconds
        try:
            while self._intake.scan():
                self._world.clock.sleep(every)
            self._requests()
            while self._turn():
                pass
        except Stopped:
            log(Event.STOPPED)
        journal = self._world.journal.batches
        mine = before | {batch.id for batch in journal.latest(1000) if self._is_new(batch)}
        return int(any(is_trouble(self._world, journal.get(each)) for each in mine))

    def _begin(self) -> None:
        self._started = self._world.clock.wall()
        self._world.journal.requests.beat("started", stamp(self._started))

    def _is_new(self, batch: Batch) -> bool:
        return batch.claimed_at >= self._started

    # --- scan --------------------------------------------------------------------------------

    def _scan(self) -> None:
        """One completed scan feeds the watchdog; a share that does not answer is waited for."""
        try:
            waiting = self._intake.scan()
        except (InboxLost, OSError) as error:
            if not self._lost:
                log(Event.ALARM, code="inbox-lost", error=error)
            self._lost = True
            waiting = 0
        else:
            self._lost = False
        self._requests()
        self._world.journal.requests.beat("scanned", stamp(self._world.clock.wall()))
        self._work.set()
        notify.watchdog()
        notify.status(f"{waiting} files settling" + (", inbox lost" if self._lost else ""))

    def _requests(self) -> None:
        requests = self._world.journal.requests
        for request in requests.waiting():
            if request.verb == "fetch":
                self._fetched.clear()
                requests.taken(request, "done", self._world.clock.wall())
            elif request.verb == "release":
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
        """One round over all feeds; True when something was done."""
        self._fetch_due()
        self._pipeline.finish_ended()
        done = self._discards()
        under_way = self._world.journal.batches.under_way()
        for feed in sorted({batch.feed or "" for batch in under_way}):
            done |= self._feed_turn([b for b in under_way if (b.feed or "") == feed])
        self._forget_old()
        return done

    def _feed_turn(self, batches: list[Batch]) -> bool:
        """Advance what may go on: a dirty list first, then the newest drop, then older ones.

        An older drop has its turn only when every newer one waits for a release or has ended; over
        a list that a newer one left dirty it has none.
        """
        done, dirty = False, ""
        order = sorted(batches, key=lambda b: (b.place is Place.REFILLING, b.order), reverse=True)
        for each in order:
            batch = self._world.journal.batches.get(each.id)
            if batch.place in ENDS:
                continue
            if batch.order < dirty:
                break
            if batch.held is not None and self._is_due(batch):
                batch = self._world.journal.batches.let_go(batch)
            if batch.held is None:
                batch = self._pipeline.advance(batch)
                done = True
            waits_for_people = batch.held is not None and batch.held.code in RELEASABLE
            if batch.place is Place.REFILLING:
                dirty = batch.order
            elif batch.held is not None and not waits_for_people:
                break
        return done

    def _is_due(self, batch: Batch) -> bool:
        held = batch.held
        return (
            held is not None
            and held.next_try is not None
            and (held.next_try <= self._world.clock.wall())
        )

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

    def _fetch_due(self) -> None:
        """Fetch response data on its interval, besides the fetch before every transfer."""
        world = self._world
        every = timedelta(minutes=world.config.settings.suppression.fetch_every_minutes)
        for client in world.campaigns:
            last = self._fetched.get(client)
            if last is None or world.clock.wall() - last >= every:
                self._fetched[client] = world.clock.wall()
                try:
                    refresh(world, client)
                    hand_over_now(world, client)
                except FarSideUnavailable as error:
                    log(Event.FAR_SIDE, client=client, code=error.code, sentence=error.sentence)

    def _forget_old(self) -> None:
        """Once an hour, remove archived drops and cases whose time is over."""
        now, settings = self._world.clock.wall(), self._world.config.settings
        if self._forgotten is not None and now - self._forgotten < timedelta(hours=1):
            return
        self._forgotten = now
        forget_drops(self._world.archive, now - timedelta(days=settings.archive.days))
        forget_cases(
            settings.folders.quarantine, now - timedelta(days=settings.archive.quarantine_days)
        )
