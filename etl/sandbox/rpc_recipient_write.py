"""RpcRecipient, what changes a list: adding with codes 0 to 7, clearing, removing, attributes."""

from dataclasses import dataclass

from etl.sandbox import blocklist
from etl.sandbox.axis_read import Call
from etl.sandbox.context import Context, Operate
from etl.sandbox.faults import Refused, absent
from etl.sandbox.state import RecipientList, Record
from etl.sandbox.values import address_passes, taken, writable

INSERTED, UNFIT, UNSUBSCRIBED, BLOCKED, OUTBOUNCED, KNOWN = range(6)


@dataclass(frozen=True, slots=True)
class _Row:
    """One recipient of an add call; values is None when a value does not fit its type."""

    recipient_id: str
    address: str
    values: dict[str, str | None] | None


def _add_all(context: Context, call: Call, rows: list[list[str | None]]) -> list[int]:
    """Add a batch; refuses it as a whole before anything is stored."""
    recipient_list = context.recipient_list(call.number("recipientListId"))
    ids, addresses = call.texts("recipientIds"), call.texts("addresses")
    names = call.texts("attributeNames")
    if not len(ids) == len(addresses) == len(rows) or any(len(r) != len(names) for r in rows):
        raise Refused("length-mismatch", "Number of ids, addresses and values differ")
    switches = context.switches
    if len(ids) > switches.batch_limit:
        if switches.batch_over == "fault":
            raise Refused("batch-limit", f"More than {switches.batch_limit} recipients")
        ids, rows = ids[: switches.batch_limit], rows[: switches.batch_limit]
    if any(context.world.key(recipient_id) in recipient_list.poisoned for recipient_id in ids):
        words = f"Error adding recipients to userlist #{recipient_list.list_id}"
        raise Refused("poison", words)
    kept = writable(recipient_list, names, switches)
    batch = [
        _Row(recipient_id, address, _values(context, recipient_list, kept, row))
        for recipient_id, address, row in zip(ids, addresses, rows, strict=False)
    ]
    process = call.number("optinProcessId")
    codes = [_add(context, recipient_list, row, process) for row in batch]
    context.world.note_count(recipient_list)
    return codes


def _values(
    context: Context, recipient_list: RecipientList, names: list[str], row: list[str | None]
) -> dict[str, str | None] | None:
    """Return a row's values by attribute, None when a text does not fit (by switch a fault)."""
    values: dict[str, str | None] = {}
    for name, text in zip(names, row, strict=True):
        if not name:
            continue
        try:
            values[name] = taken(text, recipient_list.attributes[name], context.switches)
        except ValueError:
            if context.switches.bad_value == "fault":
                raise Refused("bad-value", f"Value does not fit attribute {name}") from None
            return None
    return values


def _add(context: Context, recipient_list: RecipientList, row: _Row, process: int) -> int:
    """Add one recipient if nothing speaks against it; return the code."""
    key = context.world.key(row.recipient_id)
    forced = _forced(recipient_list, key)
    if forced is not None:
        return forced
    if not row.recipient_id or row.values is None or not address_passes(row.address):
        return UNFIT
    present = recipient_list.records.get(key)
    restart = present is not None and present.pending and process != 0
    known = present is not None and not restart
    verdict = _verdict(context, recipient_list, row)
    if known and (context.switches.known_before_suppressed or verdict == INSERTED):
        return KNOWN
    stored = verdict == INSERTED or (verdict == UNSUBSCRIBED and context.switches.code2_stores)
    if stored and not known:
        if recipient_list.kind == "opt-in":
            context.channel.unsubscribed.pop(key, None)
        recipient_list.records.pop(key, None)
        pending = process != 0 and recipient_list.kind == "opt-in"
        now_ms = context.world.now_ms()
        recipient_list.records[key] = Record(
            row.recipient_id, row.address, row.values, now_ms, now_ms, pending
        )
    return verdict


def _forced(recipient_list: RecipientList, key: str) -> int | None:
    """Return the code a test wants for an id, and use it up once."""
    code, left = recipient_list.forced.get(key, (None, 0))
    if code is None or left == 0:
        return None
    recipient_list.forced[key] = (code, None if left is None else left - 1)
    return code


def _verdict(context: Context, recipient_list: RecipientList, row: _Row) -> int:
    """Return 3, 2 or 4 if the person may get no mail, else 0; the blocklist wins."""
    channel = context.channel
    if blocklist.first_match(channel.blocklist, row.address) is not None:
        return BLOCKED
    unsubscribed = context.world.key(row.recipient_id) in channel.unsubscribed
    if unsubscribed and recipient_list.kind == "regular":
        return UNSUBSCRIBED
    return OUTBOUNCED if context.world.outbounced(channel, row.recipient_id) else INSERTED


def _add_all3(context: Context, call: Call) -> list[int]:
    return _add_all(context, call, call.rows("attributeValues"))


def _add_all3_flat(context: Context, call: Call) -> list[int]:
    flat, width = call.items("flatAttributeValues"), len(call.items("attributeNames"))
    count = len(call.items("recipientIds"))
    if len(flat) != width * count:
        raise Refused("length-mismatch", "Number of ids and values differ")
    return _add_all(context, call, [flat[n * width : (n + 1) * width] for n in range(count)])


def _add2(context: Context, call: Call) -> int:
    one = dict(call.arguments)
    one["recipientIds"], one["addresses"] = [call.text("recipientId")], [call.text("address")]
    return _add_all(context, Call(call.operation, one), [call.items("attributeValues")])[0]


def _clear(context: Context, call: Call) -> None:
    recipient_list = context.recipient_list(call.number("recipientListId"))
    recipient_list.records.clear()
    context.world.note_count(recipient_list)


def _remove(context: Context, call: Call) -> None:
    recipient_list = context.recipient_list(call.number("recipientListId"))
    if recipient_list.records.pop(context.world.key(call.text("recipientId")), None) is None:
        raise absent()
    context.world.note_count(recipient_list)


def _remove_all(context: Context, call: Call) -> list[bool]:
    recipient_list = context.recipient_list(call.number("recipientListId"))
    keys = [context.world.key(recipient_id) for recipient_id in call.texts("recipientIds")]
    gone = [recipient_list.records.pop(key, None) is not None for key in keys]
    context.world.note_count(recipient_list)
    return gone


def _purge(context: Context, call: Call, reason: int) -> int:
    """Take out everybody for whom a reason against mailing holds; return how many."""
    recipient_list = context.recipient_list(call.number("recipientListId"))
    channel = context.channel
    doomed = [
        key
        for key, record in recipient_list.records.items()
        if (reason == UNSUBSCRIBED and key in channel.unsubscribed)
        or (reason == BLOCKED and blocklist.first_match(channel.blocklist, record.address))
        or (reason == OUTBOUNCED and context.world.outbounced(channel, record.recipient_id))
    ]
    for key in doomed:
        del recipient_list.records[key]
    context.world.note_count(recipient_list)
    return len(doomed)


def _set_attributes(context: Context, call: Call) -> None:
    recipient_list = context.recipient_list(call.number("recipientListId"))
    record = recipient_list.records.get(context.world.key(call.text("recipientId")))
    if record is None:
        raise absent("Recipient does not exists")
    names, row = call.texts("attributeNames"), call.items("attributeValues")
    if len(names) != len(row):
        raise Refused("length-mismatch", "Number of names and values differ")
    kept = writable(recipient_list, names, context.switches)
    values = _values(context, recipient_list, kept, row)
    if values is None:
        raise Refused("bad-value", "Value does not fit an attribute")
    record.values.update(values)
    record.modified_ms = context.world.now_ms()


OPERATIONS: dict[str, Operate] = {
    "add2": _add2,
    "addAll3": _add_all3,
    "addAll3Flat": _add_all3_flat,
    "clear": _clear,
    "remove": _remove,
    "removeAll": _remove_all,
    "removeBlacklisted": lambda context, call: _purge(context, call, BLOCKED),
    "removeBounced": lambda context, call: _purge(context, call, OUTBOUNCED),
    "removeUnsubscribed": lambda context, call: _purge(context, call, UNSUBSCRIBED),
    "setAttributes": _set_attributes,
}
