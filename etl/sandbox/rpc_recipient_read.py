"""RpcRecipient, what only looks: presence, counts, attributes, whole lists and pages of them."""

from datetime import UTC, datetime

from etl.sandbox import blocklist
from etl.sandbox.axis_read import Call
from etl.sandbox.context import Context, Operate
from etl.sandbox.faults import Refused, absent
from etl.sandbox.state import RecipientList, Record
from etl.sandbox.values import SYSTEM_ATTRIBUTES


def iso(at_ms: int) -> str:
    """Return a time as the server writes it: seconds, with offset."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def page_of(
    rows: list[list[str | None]], start: int, size: int, counts: str
) -> list[list[str | None]]:
    """Return one page; `counts` says whether start counts rows or pages."""
    first = start * size if counts == "pages" else start
    return rows[max(first, 0) : max(first, 0) + max(size, 0)]


def _contains(context: Context, list_id: int, recipient_id: str) -> bool:
    records = context.recipient_list(list_id).records
    return context.world.key(recipient_id) in records


def _contains_valid(context: Context, list_id: int, recipient_id: str) -> bool:
    """Say whether somebody is in the list and nothing speaks against mailing them."""
    key = context.world.key(recipient_id)
    record = context.recipient_list(list_id).records.get(key)
    channel = context.channel
    return (
        record is not None
        and not record.pending
        and key not in channel.unsubscribed
        and blocklist.first_match(channel.blocklist, record.address) is None
        and not context.world.outbounced(channel, recipient_id)
    )


def _values(recipient_list: RecipientList, record: Record, names: list[str]) -> list[str | None]:
    """Return a recipient's values in the order asked; unset is None."""
    times = (iso(record.created_ms), iso(record.modified_ms), None, iso(record.created_ms))
    system = {
        name: times[place]
        for names in SYSTEM_ATTRIBUTES.values()
        for place, name in enumerate(names)
    }
    values: list[str | None] = []
    for name in names:
        if name not in recipient_list.attributes and name not in system:
            raise Refused("unknown-attribute", "Attribute does not exist")
        values.append(record.values.get(name, system.get(name)))
    return values


def _all(context: Context, call: Call) -> list[list[str | None]]:
    recipient_list = context.recipient_list(call.number("recipientListId"))
    names = call.texts("attributeNames")
    rows = [_values(recipient_list, record, names) for record in recipient_list.records.values()]
    return rows if context.switches.list_order == "inserted" else rows[::-1]


def _all_advanced(context: Context, call: Call) -> list[list[str | None]]:
    if call.number("filterId"):
        raise Refused("unknown-filter", "Filter does not exist")
    rows = _all(context, call)
    order = call.text_or_nil("orderByAttribute")
    if order is not None:
        column = (
            call.texts("attributeNames").index(order)
            if order in call.texts("attributeNames")
            else 0
        )
        rows.sort(key=lambda row: row[column] or "", reverse=not call.flag("ascending"))
    size, start = call.number("pageSize"), call.number("pageStart")
    return page_of(rows, start, size, context.switches.paging)


def _flat(rows: list[list[str | None]]) -> list[str | None]:
    return [value for row in rows for value in row]


def _get_attributes(context: Context, call: Call) -> list[str | None]:
    recipient_list = context.recipient_list(call.number("recipientListId"))
    record = recipient_list.records.get(context.world.key(call.text("recipientId")))
    if record is None:
        raise absent("Recipient does not exists")
    return _values(recipient_list, record, call.texts("attributeNames"))


def _get_count(context: Context, call: Call) -> int:
    recipient_list = context.recipient_list(call.number("recipientListId"))
    if call.number("filterId"):
        raise Refused("unknown-filter", "Filter does not exist")
    lag_ms = context.switches.count_lag_seconds * 1000
    if not lag_ms:
        return len(recipient_list.records)
    then = context.world.now_ms() - lag_ms
    older = [count for at_ms, count in recipient_list.counts if at_ms <= then]
    return older[-1] if older else 0


OPERATIONS: dict[str, Operate] = {
    "contains": lambda context, call: _contains(
        context, call.number("recipientListId"), call.text("recipientId")
    ),
    "containsMultiple": lambda context, call: [
        _contains(context, list_id, call.text("recipientId"))
        for list_id in call.numbers("recipientListIds")
    ],
    "containsValid": lambda context, call: _contains_valid(
        context, call.number("recipientListId"), call.text("recipientId")
    ),
    "containsValidMultiple": lambda context, call: [
        _contains_valid(context, list_id, call.text("recipientId"))
        for list_id in call.numbers("recipientListIds")
    ],
    "getAll": _all,
    "getAllFlat": lambda context, call: _flat(_all(context, call)),
    "getAllAdvanced": _all_advanced,
    "getAllAdvancedFlat": lambda context, call: _flat(_all_advanced(context, call)),
    "getAttributes": _get_attributes,
    "getCount": _get_count,
}
