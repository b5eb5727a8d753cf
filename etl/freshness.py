"""Response data before a transfer: fetched into the store, then handed to the CRM as files.

Whether what is there is fresh enough is the guards' question, not this module's.
"""

import json
import re
from collections.abc import Collection
from dataclasses import asdict
from datetime import time
from zoneinfo import ZoneInfo

from etl.extract.layouts import configured
from etl.extract.responses import ROWS_AT_ONCE, ClientPlan, FetchReport, fetch
from etl.load.outbox import FILES, Form, hand_over
from etl.log import Event, log
from etl.ports import SUPPRESSING, Stream
from etl.schedule import Schedule
from etl.settings import Client, Settings
from etl.world import World

ALARMS = ("page-layout", "exports-missing")
"""Failures that do not pass by themselves."""
PROGRESS_ROWS = 50_000
STATUS = "responses "
PROGRESS = "fetching "
"""With the client's name: entries in the daemon's pulse."""


def refresh(world: World, client: str, only: Collection[Stream] = SUPPRESSING) -> FetchReport:
    """Fetch a client's response data and blocklist; before a transfer that is what suppresses.

    A source that fails is told in the log and leaves the data as old as it was.
    """
    before = world.store.gaps(client)
    report = fetch(
        client_plan(world.config.settings, client),
        world.campaigns[client].responses, world.store, world.clock,
        only=only, progress=_Progress(world, client),
    )  # fmt: skip
    for source, error in report.failures.items():
        event = Event.ALARM if error.code in ALARMS else Event.FAR_SIDE
        log(event, client=client, source=source, code=error.code, sentence=error.sentence)
    # Noted with the window that has it, whatever became of the rest of the fetch.
    for gap in world.store.gaps(client):
        if gap not in before:
            hours = round((gap.until - gap.since).total_seconds() / 3600, 1)
            log(Event.ALARM, client=client, source=gap.stream.value, code="response-gap",
                lost_hours=hours)  # fmt: skip
    if report.blocklist is not None and report.blocklist.shrunk:
        log(Event.ALARM, client=client, code="suppression-shrunk",
            before=report.blocklist.before, now=report.blocklist.given)  # fmt: skip
    if report.complete:
        entries = world.store.freshness(client).entries
        world.journal.requests.count_entries(client, entries)
    log(Event.FETCHED, client=client, complete=report.complete, new_events=report.new_events)
    _tell_status(world, client, report)
    return report


def _tell_status(world: World, client: str, report: FetchReport) -> None:
    """Put into the journal what `etl status` says of response data: it has no key of the store."""
    lag = world.store.lag(client)
    completed = world.store.freshness(client).completed_at
    told = {
        "completed_at": completed.isoformat() if completed else None,
        "failing": {source: error.code for source, error in report.failures.items()},
        "read_until": {each: at.isoformat() for each, at in world.store.read_at(client).items()},
        "unsubscription_to_effect": None if lag is None else asdict(lag),
    }
    world.journal.requests.beat(f"{STATUS}{client}", json.dumps(told))


class _Progress:
    """Says now and then how far a long fetch is, in the log and for whoever waits for it."""

    def __init__(self, world: World, client: str) -> None:
        self._world = world
        self._client = client
        self._told: dict[Stream, int] = {}

    def __call__(self, stream: Stream, rows: int) -> None:
        """Told after every page."""
        if rows // PROGRESS_ROWS > self._told.get(stream, 0):
            self._told[stream] = rows // PROGRESS_ROWS
            log(Event.FETCHING, client=self._client, source=stream.value, rows=rows)
            words = f"{stream.value}: {rows} rows"
            self._world.journal.requests.beat(f"{PROGRESS}{self._client}", words)


def hand_over_now(world: World, client: str, *, fetched: bool = True) -> None:
    """Write what waits for the CRM; files without rows only after a fetch that says so.

    FarSideUnavailable when its folder cannot be written: then there is no transfer either.
    """
    table = world.config.settings.responses
    told = world.config.settings.client[client].tell
    empty = table.empty if fetched else "none"
    form = Form(table.delimiter, empty, tuple(each for each in told if each in FILES))
    at, outbox = world.clock.wall(), world.store.outbox
    done = hand_over(client, outbox, world.responses, at, form, world.token)
    for file in done:
        log(Event.HANDED_OVER, client=client, file=file.name)
    if table.taken == "not-asked" and done:
        outbox.taken(client, [file.name for file in done])


def client_plan(settings: Settings, client: str) -> ClientPlan:
    """How a client's response data is read."""
    table = settings.client[client]
    rules = {feed.recipient.id for feed in settings.feed if feed.client == client}
    zone = ZoneInfo(table.time_zone) if table.time_zone else None
    files = table.exports.files if table.exports else {}
    return ClientPlan(
        name=client,
        id_rule="entity" if rules == {"entity"} else "email",
        streams=table.streams,
        lifetime_days=table.lifetime_days,
        overlap_hours=table.overlap_hours,
        layouts={each: configured(each, table.layouts.get(each), zone) for each in table.streams},
        header_row=table.header_row,
        repeating=frozenset(table.repeating)
        | {each for each, file in files.items() if file.content == "full"},
        opt_outs=any(feed.tracking_opt_out for feed in settings.feed if feed.client == client),
        any_id=table.other_ids == "unassigned",
        job_interval_hours=table.job_interval_hours,
        rows_at_once=None if table.exports else ROWS_AT_ONCE,
        campaign=re.compile(table.campaign_pattern) if table.campaign_pattern else None,
        max_shrink=settings.suppression.max_shrink,
    )


def schedule_of(table: Client) -> Schedule | None:
    """When a client's response data is fetched; None where it is by an interval."""
    if table.schedule is None:
        return None
    times = tuple(time.fromisoformat(each) for each in table.schedule.times)
    return Schedule(ZoneInfo(table.schedule.zone), times)
