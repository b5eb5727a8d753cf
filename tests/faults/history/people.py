"""Steps of people: who says no, who writes into a list, what operators ask."""

from etl.ports import Stream
from tests.faults.history.drops import NUMBERS, POOL
from tests.faults.history.machine import History
from tests.faults.history.ports import fail
from tests.faults.history.step import LISTS, NEXT, Steps

PEOPLE = Steps()
ENTRIES = [f"p{number}@example.org" for number in NUMBERS]
ENTRIES += ["p1?@example.org", "*7@example.org"] * 20


@PEOPLE.add(number=NUMBERS, told=[True, False], then=NEXT)
def unsubscribes(h: History, number, told, then):
    """Somebody says no, in Campaign and perhaps in a stream."""
    h.seen.say_no(number)
    if told:
        h.seen.before_responses_now()
        h.responses.happen(Stream.UNSUBSCRIBES, f"p{number}@example.org", "1795510800000")
    h.clock.advance(1)
    h.then(then)


@PEOPLE.add(number=NUMBERS, many=[1, 1, 4], told=[True, False], then=NEXT)
def bounces(h: History, number, many, told, then):
    """One address is beyond the bounce limit, or so many that a list gets short."""
    for each in range(number, min(number + many, POOL + 1)):
        h.seen.reasons.add(each)
        h.twin.bounced.add(f"p{each}@example.org")
        if told:
            h.seen.before_responses_now()
            h.responses.happen(Stream.OUT_BOUNCES, f"p{each}@example.org")
    h.clock.advance(1)
    h.then(then)


@PEOPLE.add(entry=ENTRIES, then=NEXT)
def blocks(h: History, entry, then):
    """An entry comes onto the blocklist."""
    h.seen.block(entry)
    h.then(then)


@PEOPLE.add(
    number=NUMBERS, many=[1, 1, 1, 5], what=[6, 7, "poisoned", "poisoned", "well"], then=NEXT
)
def is_odd(h: History, number, many, what, then):
    """Campaign filters somebody, fails on somebody, or on any call with somebody in it."""
    for each in range(number, min(number + many, POOL + 1)):
        address = f"p{each}@example.org"
        h.seen.reasons.add(each)
        h.twin.poisoned.discard(address)
        h.twin.codes.pop(address, None)
        if what == "poisoned":
            h.twin.poisoned.add(address)
        elif what != "well":
            h.twin.codes[address] = what
    h.then(then)


@PEOPLE.add(list_id=LISTS, number=NUMBERS, wipe=[True, False], then=NEXT)
def others_write(h: History, list_id, number, wipe, then):
    """Somebody else writes into a list, or empties it."""
    h.seen.others_write(list_id, number, wipe=wipe, late=False)
    h.then(then)


@PEOPLE.add(
    calls=range(3), after=[True, False], number=NUMBERS, wipe=[True, False], times=[1, 1, 6]
)
def others_write_midway(h: History, calls, after, number, wipe, times):
    """Somebody else writes into a list, or empties it, while it is refilled."""

    def act() -> None:
        h.seen.others_write(100, number, wipe=wipe, late=False)

    h.trap(("lists", "add"), calls, times, act, after=after)
    h.ordinary_drop("a", 11, number % 13)
    h.go()


@PEOPLE.add(list_id=LISTS, wrong=[True, False], then=NEXT)
def is_renamed(h: History, list_id, wrong, then):
    """A list is called otherwise in Campaign, or named back."""
    h.twin.lists[list_id].name = "Renamed" if wrong else f"List {list_id - 100}"
    h.then(then)


@PEOPLE.add(few=[True, False], pick=range(6), own=[True, True, False], then=NEXT)
def is_released(h: History, few, pick, own, then):
    """An operator releases a held batch by its code, or by a code that does not help."""
    if few:
        h.ordinary_drop("a", 5)
        h.go()
    held = h.seen.rows("SELECT * FROM batches WHERE held_code IS NOT NULL ORDER BY rowid")
    if held:
        batch = held[pick % len(held)]
        code = batch["held_code"] if own else "grown"
        h.seen.released[batch["id"]] += code == "list-mismatch"
        h.ask("release", batch["id"], code)
    h.then(then)


@PEOPLE.add(
    before=[0, 1, 2, 2], calls=[None, None, *range(12)],
    codes=[(), ("returning",), ("returning", "shrunk", "grown")], then=NEXT,
)  # fmt: skip
def is_rolled_back(h: History, before, calls, codes, then):
    """An operator wants back what the list held before, perhaps while Campaign goes away."""
    for number in range(before):
        h.ordinary_drop("a", 11 - number, number)
        h.go()
    way = h.seen.way_back("a")
    if way:
        if calls is not None:
            h.trap(("lists", None), calls, 9, lambda: fail("lists", in_doubt=True), after=True)
        h.ask_back("a", *way, codes)
        h.go()
    h.then(then)


@PEOPLE.add(
    verb=["suppressed", "clear", "add", "add", "count"], calls=range(3), after=[True, False],
    lost=[True, False], number=NUMBERS[:11], then=NEXT,
)  # fmt: skip
def says_no_midway(h: History, verb, calls, after, lost, number, then):
    """Somebody of a drop says no while the list is refilled, perhaps as an answer is lost."""

    def act() -> None:
        h.seen.say_no(number)
        if lost:
            fail("lists", in_doubt=True)

    h.trap(("lists", verb), calls, 1, act, after=after)
    h.ordinary_drop("a", 11)
    h.go()
    h.then(then)


@PEOPLE.add(calls=[None, 0, 1, 2, 6, 8], pick=range(6), then=NEXT)
def is_discarded(h: History, calls, pick, then):
    """An operator wants a batch discarded, whether that is allowed or not.

    Perhaps one that Campaign, away after some calls, keeps waiting.
    """
    if calls is not None:
        trap = h.trap(("lists", None), calls, 99, lambda: fail("lists", in_doubt=False))
        h.ordinary_drop("a", 10, 2)
        h.go()
        trap.times = 0
    batches = h.seen.rows("SELECT * FROM batches WHERE ended_at IS NULL ORDER BY rowid")
    if batches:
        h.ask("discard", batches[pick % len(batches)]["id"])
    h.then(then)
