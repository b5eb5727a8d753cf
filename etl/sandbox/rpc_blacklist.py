"""RpcBlacklist: addresses and patterns that are never mailed nor imported."""

from etl.sandbox import blocklist
from etl.sandbox.axis_read import Call
from etl.sandbox.context import Context, Operate
from etl.sandbox.faults import Refused
from etl.sandbox.rpc_recipient_read import iso, page_of
from etl.sandbox.state import Entry


def add_entries(context_now_ms: int, entries: dict[str, Entry], new: dict[str, str]) -> None:
    """Put entries with their reasons at the end; one that is there keeps its place and reason."""
    for text, reason in new.items():
        number = 1 + max((entry.number for entry in entries.values()), default=0)
        entries.setdefault(text, Entry(number, reason, context_now_ms))


def _add_all(context: Context, texts: list[str], reasons: list[str]) -> None:
    if len(texts) != len(reasons):
        raise Refused("length-mismatch", "Number of entries and reasons differ")
    new = dict(zip(texts, reasons, strict=True))
    add_entries(context.world.now_ms(), context.channel.blocklist, new)


def _entry(context: Context, call: Call) -> Entry:
    found = context.channel.blocklist.get(call.text("entry"))
    if found is None:
        raise Refused("absent-entry", "Blacklist entry does not exist")
    return found


def _remove(context: Context, call: Call) -> None:
    _entry(context, call)
    del context.channel.blocklist[call.text("entry")]


def _match(context: Context, address: str) -> str | None:
    return blocklist.first_match(context.channel.blocklist, address)


def _page(context: Context, call: Call) -> list[list[str | None]]:
    """Return entries as id, client, entry, reason, created; only the last three are known."""
    mandator = str(context.client.mandator)
    rows: list[list[str | None]] = [
        [str(entry.number), mandator, text, entry.reason, iso(entry.created_ms)]
        for text, entry in context.channel.blocklist.items()
    ]
    size, start = call.number("pageSize"), call.number("pageStart")
    return page_of(rows, start, size, context.switches.paging)


OPERATIONS: dict[str, Operate] = {
    "add": lambda context, call: _add_all(context, [call.text("entry")], [call.text("reason")]),
    "addAll": lambda context, call: _add_all(context, call.texts("entries"), call.texts("reasons")),
    "areBlacklisted": lambda context, call: [
        _match(context, address) is not None for address in call.texts("addresses")
    ],
    "contains": lambda context, call: call.text("entry") in context.channel.blocklist,
    "containsAll": lambda context, call: [
        text in context.channel.blocklist for text in call.texts("entries")
    ],
    "getAllAdvanced": _page,
    "getAllAdvancedFlat": lambda context, call: [
        value for row in _page(context, call) for value in row
    ],
    "getAllEntries": lambda context, _call: list(context.channel.blocklist),
    "getCount": lambda context, _call: len(context.channel.blocklist),
    "getFirstMatchingEntry": lambda context, call: _match(context, call.text("address")),
    "getReason": lambda context, call: _entry(context, call).reason,
    "isBlacklisted": lambda context, call: _match(context, call.text("address")) is not None,
    "remove": _remove,
}
