"""When response data is fetched besides the fetch before every transfer, and handed to the CRM.

By an interval, or by a schedule of local times; a missed run is caught up once. What a fetch does
is not known here.
"""

import sqlite3
from datetime import datetime, timedelta

from etl.errors import EtlError
from etl.freshness import hand_over_now, refresh, schedule_of
from etl.journal.batches import moment, stamp
from etl.ports import Stream
from etl.world import World

CLOCK_STEP = timedelta(minutes=5)
"""A run that lies further in the future is one of a clock that was wrong."""


class Fetching:
    """One daemon's fetches, in one life of it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tried: dict[str, datetime] = {}

    def turn(self) -> None:
        """Fetch what is due, and everything when an operator asked for it."""
        world = self._world
        asked = [each for each in world.journal.requests.waiting() if each.verb == "fetch"]
        outcome = None
        try:
            due = [each for each in world.campaigns if asked or self._is_due(each)]
            failed = [code for client in due for code in self._fetch(client)]
            outcome = failed[0] if failed else "done"
        except (EtlError, OSError, sqlite3.Error) as error:
            outcome = error.code if isinstance(error, EtlError) else "disk-error"
            raise
        finally:
            # None when the service is told to stop meanwhile: then the next one takes it.
            if outcome is not None:
                for each in asked:
                    world.journal.requests.taken(each, outcome, world.clock.wall())

    def _fetch(self, client: str) -> list[str]:
        """Fetch and hand over; codes of what failed. Only what is whole counts as a run."""
        world, now = self._world, self._world.clock.wall()
        self._tried[client] = now
        report = refresh(world, client, tuple(Stream))
        hand_over_now(world, client, fetched=report.complete)
        if report.complete:
            world.journal.requests.beat(f"fetched {client}", stamp(now))
        return [error.code for error in report.failures.values()]

    def _is_due(self, client: str) -> bool:
        settings, now = self._world.config.settings, self._world.clock.wall()
        schedule = schedule_of(settings.client[client])
        tried = self._tried.get(client)
        if schedule is None:
            every = timedelta(minutes=settings.suppression.fetch_every_minutes)
            return tried is None or not timedelta(0) <= now - tried < every
        again = timedelta(minutes=settings.far_side.again_minutes)
        if tried is not None and timedelta(0) <= now - tried < again:
            return False
        done = self._world.journal.requests.pulse().get(f"fetched {client}")
        if done is None:
            return True
        return moment(done) < schedule.last(now) or moment(done) > now + CLOCK_STEP
