"""Why a list must not be cleared: the drop, its rows, the suppression data.

A case sets the stage and stops; the drop or wish is taken then, and nothing may be cleared. After
that it mends what was wrong, and the list is to be refilled. With the reason taken away the list is
refilled at once: so the case is about that reason and nothing else.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.faults.guard_stage import Rows, Stage, people
from tests.servers.house_on_campaign import MANDATOR

Course = Iterator[None]
Play = Callable[[Stage], Course]
ANY = {"max_shrink": 1.0}
"""A drop may be as small as it likes, so that one row is enough."""
DAY = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Case:
    """One reason."""

    name: str
    play: Play
    code: str
    """Of the receipt, or what a wish is told."""
    fate: str = "held"
    """`held` or `quarantined`; `refused` for a wish, `waits` for a drop that is not taken up."""
    place: str | None = None
    """Where a held batch waits."""
    before: int | None = 20
    """Rows of the good refill that the list holds; None when it holds others' people."""
    reaches: str = "clear"
    """The call that the reason keeps back."""
    mounts: bool = False
    """Only root may play it."""
    guards: dict[str, Any] = field(default_factory=dict)


CASES: list[Case] = []


def case(name: str, code: str, **facts: Any) -> Callable[[Play], Play]:
    """Enter a case."""

    def entered(play: Play) -> Play:
        CASES.append(Case(name, play, code, **facts))
        return play

    return entered


# --- drops that are wrong in themselves; the next one goes on -------------------------------------


def bytes_of(s: Stage, change: Callable[[bytes], bytes]) -> None:
    """A good drop, its bytes changed where the reason is there."""
    s.drop(people(20))
    path = s.house.root / "inbox" / s.name
    s.drop(s.pick(change(path.read_bytes()), path.read_bytes()), name=s.name)


def _wrong_bytes(name: str, code: str, change: Callable[[bytes], bytes], **facts: Any) -> None:
    @case(name, code, fate="quarantined", **facts)
    def play(s: Stage) -> Course:
        bytes_of(s, change)
        yield
        s.drop(people(20), day=3)


def _wrong_rows(name: str, code: str, wrong: Rows, right: Rows, **facts: Any) -> None:
    @case(name, code, fate="quarantined", **facts)
    def play(s: Stage) -> Course:
        s.drop(s.pick(wrong, right))
        yield
        s.drop(people(20), day=3)


_GOOD = people(20)
_wrong_bytes("empty file", "empty-file", lambda _: b"")
_wrong_bytes("cut off before the last line end", "truncated", lambda good: good[:-2])
_wrong_bytes("a header that is not UTF-8", "wrong-encoding",
             lambda good: good.replace(b"opt-in-id", b"opt-in-id\xff", 1))  # fmt: skip
_wrong_bytes("an archive", "not-csv", lambda good: b"PK\x03\x04" + good)
_wrong_bytes("a column is missing", "missing-column",
             lambda good: good.replace(b"lastname", b"surname", 1))  # fmt: skip
_wrong_bytes("a technical field is missing", "missing-technical-field",
             lambda good: good.replace(b"entity-id", b"entity", 1))  # fmt: skip
_wrong_bytes("a column named twice", "duplicate-column",
             lambda good: good.replace(b"lastname", b"firstname", 1)
             .replace(b"firstname", b"firstname;lastname", 1))  # fmt: skip
_wrong_bytes("an open quote in the header", "broken-header", lambda good: b'"' + good)
_wrong_rows("header only", "no-rows", [], people(1), guards=ANY)
_wrong_rows("every row rejected", "no-rows", people(5, email="nobody"),
            [*people(4, email="nobody"), *people(1, first=5)], guards=ANY)  # fmt: skip
_wrong_rows("two consents", "mixed-consents",
            [*people(19), *people(1, first=20, **{"opt-in-id": "consent-2"})], _GOOD)  # fmt: skip
_wrong_rows("two media", "mixed-consents",
            [*people(19), *people(1, first=20, **{"media-type": "SMS"})], _GOOD)  # fmt: skip
_wrong_rows("another consent", "wrong-consent",
            people(20, **{"opt-in-id": "consent-2"}), _GOOD)  # fmt: skip
_wrong_rows("another medium", "wrong-consent", people(20, **{"media-type": "SMS"}), _GOOD)
_wrong_rows("too great a share rejected", "too-many-rejected",
            [*_GOOD, *people(3, email="nobody")], [*_GOOD, *people(2, email="nobody")],
            guards={"rejected_floor": 2})  # fmt: skip
_wrong_rows("too many rejected", "too-many-rejected",
            [*_GOOD, *people(4, email="nobody")], [*_GOOD, *people(3, email="nobody")],
            guards={"rejected_rows": 3})  # fmt: skip


@case("a name that no feed has", "no-feed", fate="quarantined")
def _no_feed(s: Stage) -> Course:
    s.drop(people(20), name=s.pick("a-20300102.csv", "a_20300102.csv"))
    yield
    s.drop(people(20), day=3)


@case("everybody is unsubscribed", "no-rows", fate="quarantined", guards=ANY)
def _all_unsubscribed(s: Stage) -> Course:
    s.drop(people(5))
    s.says_no({f"p{n}@example.org" for n in range(1, s.pick(6, 5))})
    yield
    s.drop(people(20), day=3)


@case("everybody is blocked by one pattern", "no-rows", fate="quarantined", guards=ANY)
def _all_blocked(s: Stage) -> Course:
    s.drop(people(5, first=30))
    s.control.block(MANDATOR, [s.pick("p3?@example.org", "p3?@example.com")])
    yield
    s.drop(people(20), day=3)


# --- rows against the last refill; an operator lets them go ---------------------------------------


def _compared(name: str, code: str, wrong: int, right: int, **facts: Any) -> None:
    @case(name, code, place="CLAIMED", **facts)
    def play(s: Stage) -> Course:
        s.drop(people(s.pick(wrong, right)))
        yield
        s.release(code)


_compared("one row fewer than min_rows", "min-rows", 9, 10, before=10, guards={"min_rows": 10})
_compared("shrunk by one row too many", "shrunk", 39, 40, before=50)
_compared("grown by one row too many", "grown", 21, 20, before=10)


@case("shrunk by somebody unsubscribed", "shrunk", place="CLAIMED", before=25)
def _shrunk_by_a_no(s: Stage) -> Course:
    s.drop(people(20))
    s.says_no(s.pick({"p7@example.org"}, set()))
    yield
    s.release("shrunk")


@case("shrunk by somebody who says no after the upload", "shrunk", place="UPLOADED", before=25)
def _shrunk_late(s: Stage) -> Course:
    s.drop(people(20))
    if s.wrong:
        s.house.at("containsAll", 2, "unsubscribe", mandator=MANDATOR, ids=["p7@example.org"])
        s.expected -= {"p7@example.org"}
    yield
    s.release("shrunk")


@case("everybody says no after the upload", "no-rows", place="UPLOADED", guards=ANY)
def _nobody_is_left(s: Stage) -> Course:
    s.drop(people(5))
    ids = [f"p{n}@example.org" for n in range(1, s.pick(6, 5))]
    s.house.at("containsAll", 2, "unsubscribe", mandator=MANDATOR, ids=ids)
    s.gone |= set(ids)
    s.expected -= s.gone
    yield
    s.drop(people(20), day=3)


@case("no rows, and somebody wrote a release of that", "no-rows", place="UPLOADED", guards=ANY)
def _no_rows_released(s: Stage) -> Course:
    s.drop(people(5))
    s.held_before("name")
    s.release("no-rows", "shrunk", "min-rows")
    s.says_no({f"p{n}@example.org" for n in range(1, s.pick(6, 5))})
    yield
    s.drop(people(20), day=3)


@case("released for another guard", "shrunk", before=50)
def _another_release(s: Stage) -> Course:
    s.drop(people(39))
    s.run()
    s.release(s.pick("grown", "shrunk"))
    yield
    s.release("shrunk")


@case("a first refill without min_rows", "first-refill", before=None, place="CLAIMED")
def _first(s: Stage) -> Course:
    s.house.guards["min_rows"] = s.pick(None, 1)
    s.drop(people(20))
    yield
    s.release("first-refill")


@case("older than the last refill", "outdated", place="CLAIMED")
def _outdated(s: Stage) -> Course:
    s.refilled(people(20), day=3)
    s.drop(people(20, firstname="Old"), day=s.pick(2, 4))
    yield
    s.release("outdated")


@case("older than a drop that left the list partial", "", fate="waits", before=30)
def _older_than_partial(s: Stage) -> Course:
    s.drop(people(30, firstname="New"), day=4)
    s.left_partial()
    s.drop(people(30, firstname="Older"), day=s.pick(3, 5))
    yield
    s.drop(people(30, firstname="Newest"), day=5)


# --- suppression data -----------------------------------------------------------------------------


def _source_missing(source: str) -> None:
    @case(f"never complete: {source}", "suppression-missing", before=None, place="CLAIMED")
    def play(s: Stage) -> Course:
        s.control.schedule(source, "fault", times=s.pick(None, 0), text="out of order")
        s.drop(people(20))
        yield
        s.control.unschedule()


for _source in ("getOutBounces", "getUnsubscribes", "getMailingUnsubscribes", "getAllEntries"):
    _source_missing(_source)


@case("suppression data too old", "suppression-stale", place="CLAIMED")
def _stale(s: Stage) -> Course:
    s.control.schedule("getUnsubscribes", "fault", times=None, text="out of order")
    # The last complete fetch began a minute ago.
    s.clock.advance(DAY - 60 - 3600 * s.pick(0, 1) + s.pick(1, 0))
    s.drop(people(20))
    yield
    s.control.unschedule()


@case("suppression data too old at the clear", "suppression-stale", place="UPLOADED")
def _stale_late(s: Stage) -> Course:
    s.drop(people(20))
    s.held_before("name")
    s.control.schedule("getUnsubscribes", "fault", times=None, text="out of order")
    s.clock.advance(DAY - s.pick(0, 2 * 3600))
    yield
    s.control.unschedule()


@case("suppression data from the future", "suppression-stale", place="CLAIMED")
def _future(s: Stage) -> Course:
    s.control.schedule("getUnsubscribes", "fault", times=None, text="out of order")
    # The last complete fetch began a minute ago.
    s.clock.now -= timedelta(minutes=s.pick(7, 5))
    s.drop(people(20))
    yield
    s.control.unschedule()


@case("the blocklist shrunk", "suppression-shrunk", place="CLAIMED")
def _blocklist(s: Stage) -> Course:
    entries = [f"q{n}@example.com" for n in range(10)]
    s.control.block(MANDATOR, entries)
    s.refilled(people(20), day=2)
    s.control.unblock(MANDATOR, entries[: s.pick(6, 5)])
    s.drop(people(20), day=3)
    yield
    s.control.block(MANDATOR, entries[:6])


@case("the store has a row fewer than was counted", "store-shrunk", place="CLAIMED")
def _store(s: Stage) -> Course:
    s.says_no({"p1@example.org", "p2@example.org"})
    s.refilled(people(20), day=2)
    path = s.house.root / "state" / "store.sqlite3"
    kept = path.read_bytes()
    with closing(sqlite3.connect(path)) as store, store:
        few = "SELECT origin, key FROM entries LIMIT ?"
        sql = f"DELETE FROM entries WHERE (origin, key) IN ({few})"  # noqa: S608 - no value in it
        store.execute(sql, (s.pick(1, 0),))
    s.drop(people(20), day=3)
    yield
    path.write_bytes(kept)
