"""Steps that are accidents: deaths, far sides that fail, full disks, shares that are away."""

from tests.faults.history.drops import NUMBERS
from tests.faults.history.machine import SHARES, History
from tests.faults.history.ports import VERBS, die, fail, refuse, refuse_call
from tests.faults.history.step import NEXT, Steps

ACCIDENTS = Steps()
PORT_VERBS = [(port, verb) for port, verbs in VERBS.items() for verb in verbs]
# What changes something is disturbed more often.
PORT_VERBS += [("lists", "add")] * 8 + [("lists", "clear"), ("drop", "put"), ("drop", "rename")] * 3
WAYS = ("away", "doubt", "lost", "lost", "refused", "fault", "fault-after")


@ACCIDENTS.add(at=PORT_VERBS, skip=range(5), times=[1, 1, 3], after=[True, False], then=NEXT)
def dies(h: History, at, skip, times, after, then):
    """The process dies at some call of a far side to come, perhaps after a start again."""
    h.dies_at(at, skip, times, after=after)
    h.then(then)
    for _ in range(times - 1):
        h.go()


@ACCIDENTS.add(
    first=range(13), skip=range(61), again=[None, None, *range(61)], third=[None] * 3 + [5, 30]
)
def dies_nearly_anywhere(h: History, first, skip, again, third):
    """The process dies between any two effects on a drop: a clock is asked everywhere."""
    h.ordinary_drop("a", 11, first)
    for each in (skip, again, third):
        if each is not None:
            h.dies_at(("clock", None), each)
            h.go()


@ACCIDENTS.add(first=range(13), calls=range(4), skip=range(16, 40), then=["wait", "go"])
def dies_at_takeover(h: History, first, calls, skip, then):
    """A refill stops midway, and the process dies while a newer drop takes over its list."""
    trap = h.trap(("lists", "add"), calls, 12, lambda: fail("lists", in_doubt=False))
    h.ordinary_drop("a", 11, first)
    h.go()
    trap.times = 0
    h.dies_at(("clock", None), skip)
    h.ordinary_drop("a", 11, first)
    h.go()
    h.then(then)


@ACCIDENTS.add(at=PORT_VERBS, skip=range(4), times=range(1, 13), way=WAYS, then=NEXT)
def fails(h: History, at, skip, times, way, then):
    """A far side is away, says no, or its answer is lost."""
    port, verb = at

    def act() -> None:
        if way == "refused":
            refuse(port)
        if way.startswith("fault"):
            refuse_call(verb) if port == "lists" else refuse(port)
        fail(port, in_doubt=way != "away")

    h.trap(at, skip, times, act, after=way in ("lost", "fault-after"))
    h.then(then)


@ACCIDENTS.add(
    renamed=[True, False, False], dies=[True, False], skip=range(2),
    verb=["stat", "remove", "remove"], after=[True, False], then=NEXT,
)  # fmt: skip
def upload_is_cut_off(h: History, renamed, dies, skip, verb, after, then):
    """The answer to a rename is lost, and something goes wrong when the upload is taken up."""

    def trouble() -> None:
        die() if dies else fail("drop", in_doubt=True)

    h.trap(("drop", "rename"), 0, 1, trouble, after=renamed)
    h.ordinary_drop("a", 11)
    h.go()
    h.trap(("drop", verb), skip, 1, trouble, after=after)
    h.clock.advance(400)
    h.go()
    h.then(then)


@ACCIDENTS.add(skip=range(30), times=[1, 1, 2, 40], then=NEXT)
def disk_fills(h: History, skip, times, then):
    """The journal's disk is full for a while."""
    h.disk_fills(skip, times)
    h.then(then)


@ACCIDENTS.add(share=SHARES, mount_point=[True, False], then=["wait", "go", "go", "drop"])
def share_goes(h: History, share, mount_point, then):
    """A share is away from a running service."""
    h.take_away(share, mount_point=mount_point)
    h.then(then)


@ACCIDENTS.add(then=["wait", "go"])
def shares_return(h: History, then):
    """Whatever was away is there again."""
    h.bring_back()
    h.then(then)


@ACCIDENTS.add(
    verb=[*VERBS["lists"], "add", "add", "count"], skip=range(4), times=[1, 1, 4],
    after=[True, False],
    what=["no", "no", "no", "block", "scan", "wipe", "wipe", "write", "write", "drop"],
    number=NUMBERS, list_id=[100, 100, 101], then=NEXT,
)  # fmt: skip
def meanwhile(h: History, verb, skip, times, after, what, number, list_id, then):
    """Somebody does something in the middle of a call to come."""

    def look() -> None:
        if h.daemon is not None:
            h.scan()

    def comes() -> None:
        h.ordinary_drop("a", 11, number % 13)
        for _ in range(3):
            look()

    late = after and verb in ("count", "purge")
    acts = {
        "no": lambda: h.seen.say_no(number),
        "block": lambda: h.seen.block(f"p{number}@example.org"),
        "wipe": lambda: h.seen.others_write(list_id, number, wipe=True, late=late),
        "write": lambda: h.seen.others_write(list_id, number, wipe=False, late=late),
        "scan": look,
        "drop": comes,
    }
    h.trap(("lists", verb), skip, times, acts[what], after=after)
    h.then(then)
