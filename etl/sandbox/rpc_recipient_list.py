"""RpcRecipientList: which lists a client has, their names, attributes and test flag."""

from dataclasses import replace

from etl.sandbox.axis_read import Call
from etl.sandbox.context import Context, Operate
from etl.sandbox.faults import Refused
from etl.sandbox.state import RecipientList
from etl.sandbox.values import SYSTEM_ATTRIBUTES

_COLUMNS = ("id", "name", "description", "testRecipientList", "size")


def _asked(context: Context, call: Call) -> RecipientList:
    return context.recipient_list(call.number("recipientListId"))


def _attribute_names(context: Context, call: Call) -> list[str]:
    """Return all attribute names, the four system attributes last in the locale's language."""
    locale = call.text("locale")
    if locale not in SYSTEM_ATTRIBUTES:
        raise Refused("bad-argument", "Unsupported locale")
    return [*_asked(context, call).attributes, *SYSTEM_ATTRIBUTES[locale]]


def _copy(context: Context, call: Call) -> int:
    """Make a new list of the same structure, without its people."""
    original = _asked(context, call)
    number = max(list_id for client in context.world.clients.values() for list_id in client.lists)
    context.client.lists[number + 1] = replace(
        original,
        list_id=number + 1,
        name=f"Copy of {original.name}",
        attributes=dict(original.attributes),
        records={},
        counts=[],
        poisoned=set(),
        forced={},
    )
    return number + 1


def _data_set(context: Context, _call: Call) -> list[list[str]]:
    """Return one row per list under a row of column names."""
    rows = [
        [
            str(found.list_id),
            found.name,
            found.description,
            str(found.is_test).lower(),
            str(len(found.records)),
        ]
        for found in context.client.lists.values()
    ]
    return [list(_COLUMNS), *rows]


def _count(context: Context, call: Call) -> int:
    with_tests = call.flag("includeTestLists")
    return sum(1 for found in context.client.lists.values() if with_tests or not found.is_test)


def _set_name(context: Context, call: Call) -> None:
    _asked(context, call).name = call.text("name")


OPERATIONS: dict[str, Operate] = {
    "copy": _copy,
    "getAllIds": lambda context, _call: list(context.client.lists),
    "getAttributeNames": _attribute_names,
    "getColumnNames": lambda _context, _call: list(_COLUMNS),
    "getCount": _count,
    "getDataSet": _data_set,
    "getDescription": lambda context, call: _asked(context, call).description,
    "getName": lambda context, call: _asked(context, call).name,
    "isTestRecipientList": lambda context, call: _asked(context, call).is_test,
    "setName": _set_name,
}
