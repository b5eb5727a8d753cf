"""RpcClosedLoop: response data by the time of the export file that holds it.

An event is invisible until the next export; afterwards it is found by the export's time, not by
its own, and is gone some days after the mailing was sent.
"""

import math
from collections.abc import Callable

from etl.sandbox.axis_read import Call
from etl.sandbox.context import Context, Operate
from etl.sandbox.faults import Refused
from etl.sandbox.rpc_recipient_read import iso
from etl.sandbox.state import Client, Event, World
from etl.sandbox.switches import Switches

MAX_ROWS = 1000
_DAY_MS = 86_400_000

COLUMNS: dict[str, Callable[[Event, Switches], str | None]] = {
    "recipient_id": lambda event, _switches: event.recipient_id,
    "mailing_id": lambda event, _switches: _text(event.mailing_id),
    "list_id": lambda event, _switches: _text(event.list_id),
    "time": lambda event, switches: _time(event.at_ms, switches),
    "end": lambda event, switches: _time(event.at_ms + _DAY_MS, switches),
    "category": lambda event, _switches: event.category,
    "link": lambda event, _switches: event.link,
    "name": lambda event, _switches: event.name,
    "extra": lambda _event, _switches: "-",
    "nil": lambda _event, _switches: None,
}
"""What a column of a row can hold; the real columns are not known, so switches name them."""


def run_due_exports(world: World) -> None:
    """Write the export files whose time has come since the last look."""
    interval_ms = max(1, int(world.switches.job_interval_seconds * 1000))
    now_ms = world.now_ms()
    passed = (now_ms - world.last_export_ms) // interval_ms
    if passed < 1:
        return
    first, world.last_export_ms = world.last_export_ms, world.last_export_ms + passed * interval_ms
    for event in _pending(world):
        files = max(1, math.ceil((event.at_ms - first) / interval_ms))
        exported_ms = first + files * interval_ms
        if exported_ms <= now_ms:
            event.exported_ms = exported_ms
    _repeat(world, world.last_export_ms)


def export_now(world: World) -> int:
    """Write an export file now; return how many events it holds."""
    run_due_exports(world)
    events = _pending(world)
    for event in events:
        event.exported_ms = world.now_ms()
    _repeat(world, world.now_ms())
    return len(events)


def _repeat(world: World, exported_ms: int) -> None:
    """Let the newest file hold everybody of the ones before, where that is how it is."""
    if world.switches.out_bounces == "all":
        for event in (e for c in world.clients.values() for e in c.events):
            if event.stream == "outbounces" and event.exported_ms is not None:
                event.exported_ms = max(event.exported_ms, exported_ms)


def _pending(world: World) -> list[Event]:
    """Return the events no export file holds yet."""
    return [e for c in world.clients.values() for e in c.events if e.exported_ms is None]


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _time(at_ms: int, switches: Switches) -> str:
    return iso(at_ms) if switches.time_format == "iso" else str(at_ms)


def _kept(client: Client, event: Event, oldest_ms: float) -> bool:
    """Say whether an event is young enough, by the dispatch of its mailing if it has one."""
    dispatched = client.dispatched_ms.get(event.mailing_id or 0, event.at_ms)
    return dispatched >= oldest_ms


def _in_window(exported_ms: int, call: Call, switches: Switches) -> bool:
    since, until = call.number("since"), call.number("until")
    after = exported_ms > since or (switches.since_inclusive and exported_ms == since)
    before = exported_ms < until or (switches.until_inclusive and exported_ms == until)
    return after and before


def _events(context: Context, call: Call, stream: str) -> list[Event]:
    """Return a stream's events of the window, in the order of the export files."""
    run_due_exports(context.world)
    switches = context.switches
    oldest_ms = context.world.now_ms() - switches.response_days * _DAY_MS
    found = [
        event
        for event in context.client.events
        if belongs(event, stream, switches)
        and event.exported_ms is not None
        and _in_window(event.exported_ms, call, switches)
        and _kept(context.client, event, oldest_ms)
    ]
    found.sort(key=lambda event: (event.exported_ms or 0, event.at_ms))
    return found if switches.closed_loop_order == "oldest-first" else found[::-1]


def belongs(event: Event, stream: str, switches: Switches) -> bool:
    """Say whether an event is listed in a stream."""
    if stream == "mailing-unsubscribes":
        return event.stream == "unsubscribes" and event.mailing_id is not None
    if stream == "unsubscribes" and switches.unsubscribe_streams == "disjoint":
        return event.stream == "unsubscribes" and event.mailing_id is None
    return event.stream == stream


def _rows(
    context: Context, call: Call, stream: str, columns: tuple[str, ...]
) -> list[list[str | None]]:
    """Return one page of a stream as rows of the configured columns."""
    switches = context.switches
    size, start = call.number("numberOfRows"), call.number("startRow")
    if size < 0 or start < 0 or (size > MAX_ROWS and switches.page_over == "fault"):
        raise Refused("bad-argument", f"numberOfRows must not exceed {MAX_ROWS}")
    rows = [
        [COLUMNS[column](event, switches) for column in columns]
        for event in _events(context, call, stream)
    ]
    if switches.closed_loop_header:
        rows.insert(0, list(columns))
    return rows[start : start + min(size, MAX_ROWS)]


OPERATIONS: dict[str, Operate] = {
    "getCurrentTime": lambda context, _call: context.world.now_ms(),
    "getOutBounces": lambda context, call: _rows(
        context, call, "outbounces", context.switches.out_bounce_columns
    ),
    "getUnsubscribes": lambda context, call: _rows(
        context, call, "unsubscribes", context.switches.unsubscribe_columns
    ),
    "getMailingUnsubscribes": lambda context, call: _rows(
        context, call, "mailing-unsubscribes", context.switches.mailing_unsubscribe_columns
    ),
    "getResponses": lambda context, call: _rows(
        context, call, "responses", context.switches.response_columns
    ),
    "getOpens": lambda context, call: _rows(context, call, "opens", context.switches.open_columns),
    "getClicks": lambda context, call: _rows(
        context, call, "clicks", context.switches.click_columns
    ),
    "getMailings": lambda context, call: _rows(
        context, call, "mailings", context.switches.mailing_columns
    ),
}
