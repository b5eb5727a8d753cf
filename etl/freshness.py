"""Response data before a transfer: fetched into the store, then handed to the CRM as files.

Whether what is there is fresh enough is the guards' question, not this module's.
"""

import json
import re
from collections.abc import Collection
from dataclasses import asdict
from datetime import time
from functools import partial
from zoneinfo import ZoneInfo

from etl.errors import EtlError
from etl.extract.layouts import configured
from etl.extract.responses import ClientPlan, fetch
from etl.load.outbox import FILES, Form, hand_over
from etl.log import Event, log
from etl.ports import SUPPRESSING, Stream
from etl.schedule import Schedule
from etl.settings import Client
from etl.world import World

PROGRESS_ROWS = 50_000
STATUS = "responses "
PROGRESS = "fetching "
"""With the client's name: entries in the daemon's pulse."""


def refresh(world: World, client: str, only: Collection[Stream] = SUPPRESSING) -> EtlError | None:
    """Fetch a client's response data and blocklist; return why nothing at all could be fetched.

    Before a transfer that is what suppresses. A source that fails is told in the log and leaves the
    data as old as it was.
    """
    report = fetch(
        client_plan(world, client), world.campaigns[client].responses, world.store, world.clock,
        only=only, progress=partial(_tell_progress, world, client),
    )  # fmt: skip
    for source, error in report.failures.items():
        event = Event.ALARM if error.code == "page-layout" else Event.FAR_SIDE
        log(event, client=client, source=source, code=error.code, sentence=error.sentence)
    for stream, found in report.streams.items():
        if found.lost_hours:
            log(Event.ALARM, client=client, source=stream.value, code="response-gap",
                lost_hours=round(found.lost_hours, 1))  # fmt: skip
    if report.blocklist is not None and report.blocklist.shrunk:
        log(Event.ALARM, client=client, code="suppression-shrunk",
            before=report.blocklist.before, now=report.blocklist.given)  # fmt: skip
    if report.complete:
        entries = world.store.freshness(client).entries
        world.journal.requests.count_entries(client, entries)
    log(Event.FETCHED, client=client, complete=report.complete, new_events=report.new_events)
    _tell_status(world, client)
    return report.unasked


def _tell_status(world: World, client: str) -> None:
    """Put into the journal what `etl status` says of response data: it has no key of the store."""
    lag = world.store.lag(client)
    told = {
        "read_until": {each: at.isoformat() for each, at in world.store.read_at(client).items()},
        "unsubscription_to_effect": None if lag is None else asdict(lag),
    }
    world.journal.requests.beat(f"{STATUS}{client}", json.dumps(told))


def _tell_progress(world: World, client: str, stream: Stream, rows: int) -> None:
    """Say now and then how far a long fetch is, in the log and for whoever waits for it."""
    if rows and rows % PROGRESS_ROWS == 0:
        log(Event.FETCHING, client=client, source=stream.value, rows=rows)
        world.journal.requests.beat(f"{PROGRESS}{client}", f"{stream.value}: {rows} rows")


def hand_over_now(world: World, client: str) -> None:
    """Write what waits for the CRM.

    FarSideUnavailable when its folder cannot be written: then there is no transfer either.
    """
    table = world.config.settings.responses
    told = world.config.settings.client[client].tell
    form = Form(table.delimiter, table.empty, tuple(each for each in told if each in FILES))
    at, outbox = world.clock.wall(), world.store.outbox
    done = hand_over(client, outbox, world.responses, at, form, world.token)
    for file in done:
        log(Event.HANDED_OVER, client=client, file=file.name)
    if table.taken == "not-asked" and done:
        outbox.taken(client, [file.name for file in done])


def client_plan(world: World, client: str) -> ClientPlan:
    """How a client's response data is read."""
    settings = world.config.settings
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
        repeating=frozenset(each for each, file in files.items() if file.content == "full"),
        campaign=re.compile(table.campaign_pattern) if table.campaign_pattern else None,
        max_shrink=settings.suppression.max_shrink,
    )


def schedule_of(table: Client) -> Schedule | None:
    """When a client's response data is fetched; None where it is by an interval."""
    if table.schedule is None:
        return None
    times = tuple(time.fromisoformat(each) for each in table.schedule.times)
    return Schedule(ZoneInfo(table.schedule.zone), times)
