"""Response data before a transfer: fetched into the store, then handed to the CRM as files.

Whether what is there is fresh enough is the guards' question, not this module's.
"""

from etl.errors import EtlError
from etl.extract.responses import ClientPlan, fetch
from etl.load.outbox import Form, hand_over
from etl.log import Event, log
from etl.world import World


def refresh(world: World, client: str) -> EtlError | None:
    """Fetch a client's response data and blocklist; return why nothing at all could be fetched.

    A source that fails is told in the log and leaves the data as old as it was.
    """
    report = fetch(client_plan(world, client), world.campaigns[client].responses, world.store,
                   world.clock)  # fmt: skip
    for source, error in report.failures.items():
        log(Event.FAR_SIDE, client=client, source=source, code=error.code, sentence=error.sentence)
    for stream, found in report.streams.items():
        if found.lost_hours:
            log(Event.ALARM, client=client, source=stream.value, lost_hours=found.lost_hours)
    if report.blocklist is not None and report.blocklist.shrunk:
        log(Event.ALARM, client=client, code="suppression-shrunk",
            before=report.blocklist.before, now=report.blocklist.given)  # fmt: skip
    if report.complete:
        entries = world.store.freshness(client).entries
        world.journal.requests.count_entries(client, entries)
    log(Event.FETCHED, client=client, complete=report.complete, new_events=report.new_events)
    return report.unasked


def hand_over_now(world: World, client: str) -> None:
    """Write what waits for the CRM.

    FarSideUnavailable when its folder cannot be written: then there is no transfer either.
    """
    table = world.config.settings.responses
    form = Form(table.delimiter, table.empty)
    at, outbox = world.clock.wall(), world.store.outbox
    for file in hand_over(client, outbox, world.responses, at, form, world.token):
        log(Event.HANDED_OVER, client=client, file=file.name)


def client_plan(world: World, client: str) -> ClientPlan:
    """How a client's response data is read."""
    settings = world.config.settings
    table = settings.client[client]
    rules = {feed.recipient.id for feed in settings.feed if feed.client == client}
    return ClientPlan(
        name=client,
        id_rule="entity" if rules == {"entity"} else "email",
        lifetime_days=table.lifetime_days,
        overlap_hours=table.overlap_hours,
        layouts={stream: tuple(columns) for stream, columns in table.layouts.items()},
        header_row=table.header_row,
        max_shrink=settings.suppression.max_shrink,
    )
