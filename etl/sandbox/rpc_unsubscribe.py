"""RpcUnsubscribe: who wants no mail of a client; one store for all its lists."""

from etl.sandbox.axis_read import Call
from etl.sandbox.context import Context, Operate
from etl.sandbox.faults import Refused


def _add(context: Context, call: Call) -> None:
    _add_ids(context, call, [call.text("recipientId")])


def _add_ids(context: Context, call: Call, ids: list[str]) -> None:
    """Unsubscribe people; the list id is ignored because the store is the client's."""
    list_id = call.number("recipientListId") or None
    media = context.session.media
    context.world.unsubscribe(context.client, media, ids, list_id=list_id)


def _holds(context: Context, recipient_id: str) -> bool:
    return context.world.key(recipient_id) in context.channel.unsubscribed


def _remove_ids(context: Context, ids: list[str]) -> None:
    if not all(_holds(context, recipient_id) for recipient_id in ids):
        raise Refused("no-unsubscribe", "No unsubscribe found")
    for recipient_id in ids:
        context.channel.unsubscribed.pop(context.world.key(recipient_id), None)


OPERATIONS: dict[str, Operate] = {
    "add": _add,
    "addAll": lambda context, call: _add_ids(context, call, call.texts("recipientIds")),
    "contains": lambda context, call: _holds(context, call.text("recipientId")),
    "containsAll": lambda context, call: [
        _holds(context, recipient_id) for recipient_id in call.texts("recipientIds")
    ],
    "getCount": lambda context, _call: len(context.channel.unsubscribed),
    "remove": lambda context, call: _remove_ids(context, [call.text("recipientId")]),
    "removeAll": lambda context, call: _remove_ids(context, call.texts("recipientIds")),
}
