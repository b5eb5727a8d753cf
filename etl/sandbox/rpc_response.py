"""RpcResponse and RpcOptinProcess: bounce counters of a client; its opt-in processes (none)."""

from etl.sandbox.axis_read import Call
from etl.sandbox.context import Context, Operate
from etl.sandbox.faults import Refused
from etl.sandbox.state import THRESHOLDS

CATEGORIES = ("hardbounce", "softbounce", "autoresponder", "unknown")


def _category(call: Call) -> str:
    if call.text("category") not in CATEGORIES:
        raise Refused("bad-argument", "Response category does not exist")
    return call.text("category")


def _counter(context: Context, call: Call) -> int:
    counts = context.channel.bounces.get(context.world.key(call.text("recipientId")), {})
    return counts.get(_category(call), 0)


def _reset(context: Context, call: Call) -> None:
    context.channel.bounces.pop(context.world.key(call.text("recipientId")), None)


OPERATIONS: dict[str, Operate] = {
    "getBounceCounter": _counter,
    "getBounceCounterThreshold": lambda _context, call: THRESHOLDS.get(_category(call), 0),
    "isBounceCounterThresholdExeeded": lambda context, call: context.world.outbounced(
        context.channel, call.text("recipientId")
    ),
    "resetBounceCounter": _reset,
}

OPTIN_OPERATIONS: dict[str, Operate] = {"getIds": lambda _context, _call: []}
