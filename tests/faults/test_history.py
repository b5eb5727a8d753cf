"""Any history of drops, faults, deaths, releases and other people's doings keeps every promise.

The real daemon and pipeline over twins, step by step, against a model of its own: what the model
knows comes from what it dropped, from the twins' calls and content, from receipts, and from the
journal's rows read with plain SQL.
"""

import fnmatch
import json
import shutil
import sqlite3
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from etl.daemon import Daemon
from etl.errors import FarSideRefused, FarSideUnavailable
from etl.ports import Stream
from tests.servers.service import COLUMNS, as_csv, person
from tests.twins.house import Death, House

POOL = 40
FEEDS = ("a", "b")
MEMORY = Path("/dev/shm")
STRANGER = "stranger@example.org"
ENDS = {"ARCHIVED", "QUARANTINED", "SUPERSEDED", "DISCARDED"}
ROW_GUARDS = {"shrunk", "grown", "min-rows", "first-refill", "outdated"}
VERBS = {
    "lists": ("describe", "count", "clear", "add", "suppressed", "purge"),
    "responses": ("now", "page", "blocklist"),
    "drop": ("put", "rename", "stat", "remove", "free"),
}
PORT_VERBS = [(port, verb) for port, verbs in VERBS.items() for verb in verbs]
# What changes something is disturbed more often.
PORT_VERBS += [("lists", "add")] * 8 + [("lists", "clear"), ("drop", "put"), ("drop", "rename")] * 3
NUMBERS = st.integers(1, POOL)
THEN = st.sampled_from(["wait", "drop", "drop", "go", "once"])
"""What follows a disturbance at once: histories of disturbances alone would show little."""
ENTRIES = st.one_of(
    NUMBERS.map("p{}@example.org".format), st.sampled_from(["p1?@example.org", "*7@example.org"])
)


# --- ports that can be watched and disturbed ----------------------------------------------------


@dataclass
class Trap:
    """Something that happens at a call to come: before it, or after its effect."""

    port: str
    verb: str | None
    """None for any."""
    skip: int
    times: int
    after: bool
    act: Callable[[], None]
    """Raises, or does something to the world."""

    def strikes(self, port: str, verb: str, after: bool) -> bool:
        """Tell whether it is due at this call."""
        if (self.port, self.after) != (port, after) or self.verb not in (None, verb):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class Watched:
    """A port whose every call can be seen and disturbed."""

    def __init__(self, inner: Any, port: str, history: "History") -> None:
        self.inner = inner
        self.port = port
        self.history = history

    def __getattr__(self, verb: str) -> Any:
        found = getattr(self.inner, verb)
        if not callable(found):
            return found

        def call(*args: Any) -> Any:
            name = f"{self.port}_{verb}"
            self.history.spring(self.port, verb, False)
            getattr(self.history, f"before_{name}", lambda *_: None)(*args)
            answer = found(*args)
            getattr(self.history, f"done_{name}", lambda *_: None)(*args)
            self.history.spring(self.port, verb, True)
            getattr(self.history, f"told_{name}", lambda *_: None)(answer, *args)
            return answer

        return call


# --- what the model knows of a drop -------------------------------------------------------------


@dataclass(frozen=True)
class Dropped:
    """The bytes of one drop and what must come of them."""

    content: bytes
    good: dict[str, str] = field(default_factory=dict)
    """Recipient id -> first name, which differs from drop to drop."""
    rejected: int = 0
    fit: bool = True
    """False: it must never be uploaded or listed."""


KINDS = ("good", "good", "good", "bad", "repeats", "both", "empty", "header", "consents", "cut")


def make_drop(kind: str, numbers: list[int], stamp: str, moved: int | None) -> Dropped:
    """A drop of these people; `moved` is one of them under a new address."""
    rows, good, rejected = [], {}, 0
    for number in numbers:
        letter = "q" if number == moved else "p"
        address = f"{letter}{number}@example.org"
        rows.append(person(number, email=address, firstname=stamp))
        good[address] = stamp
    if kind in ("bad", "both"):
        rows.insert(1, person(91, email="nobody", firstname=stamp))
        rows.append(person(92, email="", firstname=stamp))
        rejected += 2
    if kind in ("repeats", "both"):
        rows.insert(3, rows[0] | {"firstname": "again"})
        rejected += 1
    if kind == "consents":
        rows[-1] |= {"opt-in-id": "consent-2"}
    if kind == "empty":
        return Dropped(b"", fit=False)
    if kind == "header":
        return Dropped(as_csv([], COLUMNS), fit=False)
    content = as_csv(rows, COLUMNS)
    if kind == "cut":
        content = content[:-9]
    return Dropped(content, good, rejected, kind not in ("consents", "cut"))


def covers(entry: str, address: str) -> bool:
    """Whether a blocklist entry covers an address."""
    return fnmatch.fnmatchcase(address, entry)


def refuse(port: str) -> None:
    """A far side says no."""
    raise FarSideRefused("sftp-refused" if port == "drop" else "campaign-login")


def fail(port: str, *, in_doubt: bool) -> None:
    """A far side does not answer."""
    code = "sftp-unreachable" if port == "drop" else "campaign-unreachable"
    raise FarSideUnavailable(code, in_doubt=in_doubt, detail="made up")


# --- the history --------------------------------------------------------------------------------


class History(RuleBasedStateMachine):
    """One instance with two feeds, and everything that may happen to it."""

    def __init__(self) -> None:
        super().__init__()
        # In memory where that can be: fsync is called often, and no power is lost here.
        self.root = Path(
            tempfile.mkdtemp(prefix="history", dir=MEMORY if MEMORY.is_dir() else None)
        )
        self.house = House(self.root, feeds=2)
        self.twin, self.responses = self.house.lists, self.house.responses
        self.clock, self.remote = self.house.clock, self.house.drop_twin
        for number in range(len(FEEDS)):
            self.twin.lists[100 + number].rows["old@example.org"] = ("old@example.org", {})
        self.house.lists = Watched(self.twin, "lists", self)
        self.house.responses = Watched(self.responses, "responses", self)
        self.house.drop_twin = Watched(self.remote, "drop", self)
        self.house.clock = Watched(self.clock, "clock", self)
        self.traps: list[Trap] = []
        self.daemon: Daemon | None = None
        self.in_turn = False
        self.db: sqlite3.Connection | None = None
        self.drops: dict[str, Dropped] = {}
        self.half: tuple[Any, bytes] | None = None
        self.made = 0
        self.newest = 50
        self.deaths = 0
        self.started = self.clock.seconds
        self.now_ms = self.responses.now_ms
        # People and what may keep them out of a list, ever.
        self.reasons: set[int] = set()
        self.entries: list[str] = []
        # What the calls told.
        self.refused_people: set[str] = set()
        self.refused_at_answer: set[str] = set()
        self.asked: set[str] = set()
        self.purged_for: dict[int, set[str]] = {}
        self.others: dict[int, set[str]] = {}
        """What somebody else did to a list since it was cleared last."""
        self.touched: set[str] = set()
        self.clears: Counter[str] = Counter()
        self.lost_clears: Counter[str] = Counter()
        self.places: dict[str, str] = {}

    # --- the machinery of one step ---------------------------------------------------------------

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Read the journal as anybody could."""
        if self.db is None:
            path = self.root / "state" / "journal.sqlite3"
            if not path.exists():
                return []
            self.db = sqlite3.connect(path, isolation_level=None)
            self.db.row_factory = sqlite3.Row
        return self.db.execute(sql, values).fetchall()

    def spring(self, port: str, verb: str, after: bool) -> None:
        """Let due traps happen."""
        for trap in list(self.traps):
            if trap.times > 0 and trap.strikes(port, verb, after):
                try:
                    trap.act()
                except BaseException:
                    self._lost(port, verb)
                    raise
        self.traps = [trap for trap in self.traps if trap.times > 0]

    def _lost(self, port: str, verb: str) -> None:
        """A call failed: what was asked before is to be asked again."""
        if port == "lists":
            self.asked = set()
            if verb == "clear":
                self.lost_clears.update(batch["id"] for batch in self._refilling())

    def alive(self) -> Daemon:
        """The daemon, started if it is not running."""
        if self.daemon is None:
            world = self.house.open()
            self.daemon = Daemon(world, threading.Event(), threading.Event())
            self.daemon._begin()
        return self.daemon

    def end_process(self) -> None:
        """No process any more; what it knew is gone."""
        self.daemon = None
        self.house.close()
        self.asked = set()

    def mortal(self, act: Callable[[], object]) -> object:
        """Do something that a death may cut off."""
        self.asked = set()
        self.in_turn = True
        try:
            return act()
        except Death:
            self.deaths += 1
            self.end_process()
            return None
        finally:
            self.in_turn = False

    def no_mail(self) -> set[str]:
        """Everybody of the pool whom Campaign would not mail now."""
        addresses = {f"{c}{n}@example.org" for c in "pq" for n in range(1, POOL + 1)}
        blocked = {a for a in addresses if any(covers(e, a) for e in self.twin.blocklist)}
        return set(self.twin.unsubscribed) | blocked

    def may_be_missing(self, address: str) -> bool:
        """Whether anything ever happened that may keep a person out."""
        both = (address, address.replace("p", "q", 1) if address[0] == "p" else f"p{address[1:]}")
        return int(address[1:].partition("@")[0]) in self.reasons or any(
            covers(entry, each) for entry in self.entries for each in both
        )

    # --- what is seen at the calls ---------------------------------------------------------------

    def before_responses_now(self) -> None:
        """Campaign's clock goes on steadily."""
        self.responses.now_ms = self.now_ms + int((self.clock.seconds - self.started) * 1000)

    def done_lists_suppressed(self, *_: object) -> None:
        """Somebody may say no while the answer is on its way: it cannot tell."""
        self.refused_at_answer = self.no_mail()

    def told_lists_suppressed(self, _: Any, ids: list[str], addresses: list[str]) -> None:
        """From here on nobody who is refused now may be added."""
        self.refused_people = self.refused_at_answer
        self.asked |= set(ids) & set(addresses)

    def _refilling(self, list_id: int | None = None) -> list[sqlite3.Row]:
        rows = self.rows("SELECT * FROM batches WHERE place='REFILLING'")
        return [r for r in rows if list_id is None or r["target"] == f"1/{list_id}"]

    def before_lists_clear(self, list_id: int) -> None:
        """A clear has its intent, its replacement, its upload and its guards before it."""
        (batch,) = self._refilling(list_id)
        rounds = self.rows("SELECT * FROM rounds WHERE batch=? ORDER BY round", batch["id"])
        assert rounds, "a clear without an intent"
        assert rounds[-1]["ack_at"] is None, "a clear whose intent is acknowledged"
        assert (self.root / "state" / "batches" / batch["id"] / "staged.arrow").exists()
        assert batch["upload_name"] in self.remote.files, "cleared before the upload"
        assert self._has_its_name(list_id), "the wrong list is cleared"
        self.clears[batch["id"]] += 1
        if len(rounds) == 1:
            self._check_guards(batch)

    def _check_guards(self, batch: sqlite3.Row) -> None:
        """Rows and order fit the last completed refill, or somebody allowed it."""
        allowed = {
            r["code"] for r in self.rows("SELECT code FROM allowed WHERE batch=?", batch["id"])
        }
        late = self.rows("SELECT count(*) n FROM late WHERE batch=?", batch["id"])[0]["n"]
        rows = batch["staged_rows"] - late
        last = self.rows(
            "SELECT * FROM completed WHERE feed=? ORDER BY number DESC LIMIT 1", batch["feed"]
        )
        assert rows > 0
        if last:
            assert (
                rows >= 0.8 * last[0]["rows_sent"]
                or "shrunk" in allowed
                or self.clears[batch["id"]] > 1
            )
            assert rows <= 2 * last[0]["rows_sent"] or "grown" in allowed
            assert batch["drop_order"] >= last[0]["drop_order"] or "outdated" in allowed

    def done_lists_clear(self, list_id: int) -> None:
        """Whatever others wrote is gone."""
        self.others.pop(list_id, None)

    def _has_its_name(self, list_id: int) -> bool:
        """Lists are renamed between steps only, so a step that looks sees it in time."""
        return self.twin.lists[list_id].name == f"List {list_id - 100}"

    def before_lists_add(self, list_id: int, recipients: Any) -> None:
        """An add has its intent before it, and nobody in it whom Campaign refused when asked."""
        (batch,) = self._refilling(list_id)
        last = self.rows("SELECT * FROM rounds WHERE batch=? ORDER BY round DESC", batch["id"])[0]
        assert last["ack_at"] is not None, "added before the clear was known to have happened"
        calls = self.rows(
            "SELECT * FROM calls WHERE batch=? AND round=? AND ack_at IS NULL",
            batch["id"], last["round"],
        )  # fmt: skip
        assert len(calls) == 1, "an add without an intent"
        assert self._has_its_name(list_id), "the wrong list is filled"
        ids = set(recipients.ids)
        assert len(ids) == len(recipients.ids)
        assert ids <= set(self.drops[batch["sha256"]].good), "rows of no such drop"
        assert not ids & self.refused_people, "somebody is added whom Campaign refused when asked"
        assert ids <= self.asked, "somebody is added without being asked for again"

    def done_lists_purge(self, list_id: int) -> None:
        """Whoever is refused now is out."""
        self.purged_for[list_id] = self.no_mail()

    def before_drop_put(self, _: Path, name: str) -> None:
        """Bytes go to a temporary name that the journal knows."""
        (batch,) = self.rows("SELECT * FROM batches WHERE upload_temporary=?", name)
        final = f"{batch['feed']}-{batch['id']}.csv"
        assert final not in self.remote.files, "uploaded a second time"

    def before_drop_rename(self, temporary: str, final: str) -> None:
        """A rename has its intent before it."""
        (batch,) = self.rows("SELECT * FROM batches WHERE upload_name=?", final)
        assert batch["upload_temporary"] == temporary
        assert batch["upload_intent_at"] is not None
        assert batch["place"] == "CLAIMED"

    # --- rules: drops ----------------------------------------------------------------------------

    def _new(self, kind: str, size: int, first: int, moved: int | None) -> Dropped:
        self.made += 1
        numbers = [(first + each) % POOL + 1 for each in range(size)]
        made = make_drop(kind, numbers, f"V{self.made}", moved)
        self.drops[sha256(made.content).hexdigest()] = made
        return made

    def _name(self, feed: str, step: int) -> str:
        date = self.newest + step
        self.newest = max(self.newest, date)
        return f"{feed}_{max(date, 1):03}.csv"

    @rule(
        feed=st.sampled_from("aaabx"), kind=st.sampled_from(KINDS),
        size=st.sampled_from([10, 11, 12, 9, 5, 30]), first=st.integers(0, 12),
        moved=st.none() | NUMBERS, step=st.sampled_from([1, 1, 1, 0, -1, -20]),
        then=st.sampled_from(["wait", "go", "go", "once"]),
    )  # fmt: skip
    def drop(self, feed, kind, size, first, moved, step, then):
        """A drop comes, under a new name or in place of one that waits."""
        made = self._new(kind, size, first, moved)
        (self.root / "inbox" / self._name(feed, step)).write_bytes(made.content)
        self._then(then)

    @rule(
        size=st.sampled_from([10, 11, 12]),
        first=st.integers(0, 12),
        step=st.sampled_from([1, 1, 1, -3]),
        once=st.booleans(),
    )
    def ordinary_day(self, size, first, step, once):
        """A sound drop comes, on time or too late, and is worked on."""
        self._ordinary_drop("a", size, first, step)
        self._then("once" if once else "go")

    def _ordinary_drop(self, feed: str, size: int = 11, first: int = 0, step: int = 1) -> None:
        made = self._new("good", size, first, None)
        (self.root / "inbox" / self._name(feed, step)).write_bytes(made.content)

    def _then(self, then: str) -> None:
        if then == "drop":
            self._ordinary_drop("ab"[self.made % 4 == 3], 10 + self.made % 3, self.made % 7)
        if then in ("drop", "go"):
            self.go()
        elif then == "once":
            self.once()

    @rule(feed=st.sampled_from(FEEDS), step=st.sampled_from([1, -1]), seen=st.booleans())
    def begin_to_write(self, feed, step, seen):
        """A drop is written half, and the writer pauses."""
        self.finish_writing()
        made = self._new("good", 11, 3, None)
        half = made.content[: len(made.content) // 2 + 3]
        self.drops[sha256(half).hexdigest()] = Dropped(half, fit=False)
        file = (self.root / "inbox" / self._name(feed, step)).open("wb", buffering=0)
        file.write(half)
        self.half = (file, made.content[len(half) :])
        if seen:
            self.scan()

    @rule()
    def finish_writing(self):
        """The writer goes on and ends."""
        if self.half:
            file, rest = self.half
            file.write(rest)
            file.close()
            self.half = None

    # --- rules: the service ----------------------------------------------------------------------

    def _scan(self) -> None:
        self.clock.advance(2)
        self.alive()._scan()

    @rule()
    def scan(self):
        """One scan, two seconds after whatever was before."""
        self.mortal(self._scan)

    @rule()
    def turn(self):
        """One round of work."""
        self.mortal(lambda: self.alive()._turn())

    @rule()
    def go(self):
        """The daemon's ordinary course for a while."""

        def course() -> None:
            for _ in range(3):
                self._scan()
            for _ in range(3):
                if not self.alive()._turn():
                    break

        self.mortal(course)

    @rule()
    def once(self):
        """`etl once`, with no daemon beside it."""
        self.end_process()
        self.mortal(self.house.run)

    @rule(lets_go=st.booleans())
    def restart(self, lets_go):
        """The daemon is stopped and started."""
        self.end_process()
        if lets_go:
            self.mortal(lambda: self.alive()._let_go_at_start())

    @rule(seconds=st.sampled_from([60, 400, 400, 2000, 2000, 90_000, 8 * 86_400]), then=THEN)
    def time_passes(self, seconds, then):
        """Minutes or days go by."""
        self.clock.advance(seconds)
        self._then(then)

    @rule(hours=st.sampled_from([-3, -1, 1]), then=THEN)
    def wall_jumps(self, hours, then):
        """Somebody sets the wall clock."""
        self.clock.now += timedelta(hours=hours)
        self._then(then)

    # --- rules: faults ---------------------------------------------------------------------------

    def _dies_at(
        self, port: str, verb: str | None, skip: int, times: int = 1, *, after: bool
    ) -> None:
        def die() -> None:
            raise Death

        self.traps.append(Trap(port, verb, skip, times, after, die))

    @rule(
        at=st.sampled_from(PORT_VERBS), skip=st.integers(0, 4), times=st.sampled_from([1, 1, 3]),
        after=st.booleans(), then=THEN,
    )  # fmt: skip
    def dies(self, at, skip, times, after, then):
        """The process dies at some call of a far side to come, perhaps after a start again."""
        self._dies_at(*at, skip, times, after=after)
        self._then(then)
        for _ in range(times - 1):
            self._then("go")

    @rule(skips=st.lists(st.integers(0, 60), min_size=1, max_size=4), first=st.integers(0, 12))
    def dies_nearly_anywhere(self, skips, first):
        """The process dies between any two effects on a drop: a clock is asked everywhere."""
        self._ordinary_drop("a", 11, first)
        for skip in skips:
            self._dies_at("clock", None, skip, after=False)
            self.go()

    @rule(
        at=st.sampled_from(PORT_VERBS), skip=st.integers(0, 3), times=st.integers(1, 12),
        how=st.sampled_from(["away", "doubt", "lost", "lost", "refused"]), then=THEN,
    )  # fmt: skip
    def fails(self, at, skip, times, how, then):
        """A far side is away, says no, or its answer is lost."""
        port, verb = at

        def act() -> None:
            if how == "refused":
                refuse(port)
            fail(port, in_doubt=how != "away")

        self.traps.append(Trap(port, verb, skip, times, how == "lost", act))
        self._then(then)

    @rule(
        verb=st.sampled_from(VERBS["lists"]), skip=st.integers(0, 5),
        times=st.sampled_from([1, 1, 4]), after=st.booleans(),
        what=st.sampled_from(["no", "no", "no", "block", "scan", "scan", "wipe", "write", "drop"]),
        number=NUMBERS, list_id=st.sampled_from([100, 101]), then=THEN,
    )  # fmt: skip
    def meanwhile(self, verb, skip, times, after, what, number, list_id, then):
        """Somebody does something in the middle of a call to come."""

        def scan() -> None:
            if self.daemon is not None:
                self.clock.advance(2)
                self.daemon._scan()

        def drop() -> None:
            made = self._new("good", 11, number % 13, None)
            (self.root / "inbox" / self._name("a", 1)).write_bytes(made.content)
            for _ in range(3):
                scan()

        late = after and verb in ("count", "purge")
        acts = {
            "no": lambda: self._say_no(number, told=False),
            "block": lambda: self._block(f"p{number}@example.org"),
            "wipe": lambda: self._others_write(list_id, number, wipe=True, late=late),
            "write": lambda: self._others_write(list_id, number, wipe=False, late=late),
            "scan": scan,
            "drop": drop,
        }
        self.traps.append(Trap("lists", verb, skip, times, after, acts[what]))
        self._then(then)

    # --- rules: people and operators -------------------------------------------------------------

    def _say_no(self, number: int, *, told: bool) -> None:
        self.reasons.add(number)
        self.twin.unsubscribed |= {f"p{number}@example.org"}
        if told:
            self.before_responses_now()
            row = (f"p{number}@example.org", "1795510800000")
            self.responses.happen(Stream.UNSUBSCRIBES, *row)
            self.clock.advance(1)

    def _block(self, entry: str) -> None:
        self.entries.append(entry)
        self.twin.blocklist.append(entry)
        self.responses.entries.append(entry)

    def _others_write(self, list_id: int, number: int, *, wipe: bool, late: bool = True) -> None:
        """Somebody writes a person, of ours or a stranger, or takes everybody out."""
        rows = self.twin.lists[list_id].rows
        address = f"p{number}@example.org" if number % 2 else STRANGER
        if wipe:
            rows.clear()
        else:
            rows.setdefault(address, (address, {"firstname": "not ours"}))
        told = {"wipe" if wipe else "write"}
        self.touched.add(f"1/{list_id}")
        refilling = self._refilling(list_id)
        if late or not refilling or self._last_round(refilling[0]["id"])["count_before"]:
            told.add("late")
        self.others[list_id] = self.others.get(list_id, set()) | told

    def _last_round(self, batch: str) -> sqlite3.Row:
        return self.rows("SELECT * FROM rounds WHERE batch=? ORDER BY round DESC", batch)[0]

    def _unseen(self, list_id: int, batch: sqlite3.Row) -> bool:
        """Whether counts cannot show what others did to the list.

        What comes after the count; what makes up for each other; and one row more, where a row
        may be there or not: after a lost answer, and where Campaign refused somebody.
        """
        did = self.others.get(list_id, set())
        if "late" in did or did == {"wipe", "write"}:
            return True
        refused = json.loads(batch["list_json"] or "{}").get("refused", {})
        again = self.rows("SELECT 1 FROM calls WHERE batch=? AND again=1", batch["id"])
        return "write" in did and bool(again or refused)

    @rule(number=NUMBERS, told=st.booleans(), then=THEN)
    def unsubscribes(self, number, told, then):
        """Somebody says no, in Campaign and perhaps in a stream."""
        self._say_no(number, told=told)
        self._then(then)

    @rule(number=NUMBERS, many=st.sampled_from([1, 1, 4]), told=st.booleans(), then=THEN)
    def bounces(self, number, many, told, then):
        """One address is beyond the bounce limit, or so many that a list gets short."""
        for each in range(number, min(number + many, POOL + 1)):
            self.reasons.add(each)
            self.twin.bounced.add(f"p{each}@example.org")
            if told:
                self.before_responses_now()
                self.responses.happen(Stream.OUT_BOUNCES, f"p{each}@example.org")
        self.clock.advance(1)
        self._then(then)

    @rule(entry=ENTRIES, then=THEN)
    def blocks(self, entry, then):
        """An entry comes onto the blocklist."""
        self._block(entry)
        self._then(then)

    @rule(number=NUMBERS, what=st.sampled_from([6, 7, "poisoned", "well"]), then=THEN)
    def is_odd(self, number, what, then):
        """Campaign filters somebody, fails on somebody, or on any call with somebody in it."""
        address = f"p{number}@example.org"
        self.reasons.add(number)
        self.twin.poisoned.discard(address)
        self.twin.codes.pop(address, None)
        if what == "poisoned":
            self.twin.poisoned.add(address)
        elif what != "well":
            self.twin.codes[address] = what
        self._then(then)

    @rule(list_id=st.sampled_from([100, 101]), number=NUMBERS, wipe=st.booleans(), then=THEN)
    def others_write(self, list_id, number, wipe, then):
        """Somebody else writes into a list, or empties it."""
        self._others_write(list_id, number, wipe=wipe, late=False)
        self._then(then)

    @rule(list_id=st.sampled_from([100, 101]), wrong=st.booleans(), then=THEN)
    def is_renamed(self, list_id, wrong, then):
        """A list is called otherwise in Campaign, or named back."""
        self.twin.lists[list_id].name = "Renamed" if wrong else f"List {list_id - 100}"
        self._then(then)

    @rule(pick=st.integers(0, 5), own=st.booleans(), then=THEN)
    def is_released(self, pick, own, then):
        """An operator releases a held batch by its code, or by a code that does not help."""
        held = self.rows("SELECT * FROM batches WHERE held_code IS NOT NULL ORDER BY rowid")
        if held:
            batch = held[pick % len(held)]
            self.house.ask("release", batch["id"], batch["held_code"] if own else "grown")
        self._then(then)

    @rule(pick=st.integers(0, 5), then=THEN)
    def is_discarded(self, pick, then):
        """An operator wants a batch discarded, whether that is allowed or not."""
        batches = self.rows("SELECT * FROM batches WHERE ended_at IS NULL ORDER BY rowid")
        if batches:
            self.house.ask("discard", batches[pick % len(batches)]["id"])
        self._then(then)

    # --- what is always true ---------------------------------------------------------------------

    def receipts(self) -> dict[str, dict[str, Any]]:
        """Every receipt by its batch."""
        found = [json.loads(p.read_text()) for p in (self.root / "receipts").glob("[!.]*.json")]
        assert len({each["batch"] for each in found}) == len(found)
        return {each["batch"]: each for each in found}

    @invariant()
    def every_row_has_one_fate(self):
        """Receipts account for every row of a drop, and for every row that was staged."""
        shas = {r["id"]: r["sha256"] for r in self.rows("SELECT id, sha256 FROM batches")}
        for batch, receipt in self.receipts().items():
            drop, check, listed = self.drops[shas[batch]], receipt["check"], receipt["list"]
            if check is not None:
                fates = check["accepted"] + check["rejected"] + check["suppressed"]
                assert check["rows_read"] == fates
                if drop.fit:
                    assert check["rejected"] == drop.rejected
                    assert check["rows_read"] == len(drop.good) + drop.rejected
            if listed is not None:
                assert listed["staged"] == listed["sent"] + listed["suppressed_late"]
                assert check is not None
                assert listed["staged"] == check["accepted"]
                told = listed["listed"] + sum(listed["refused"].values()) + listed["poisoned"]
                assert told <= listed["sent"]
                if receipt["place"] in ("REFILLED", "ARCHIVED"):
                    assert told == listed["sent"]

    @invariant()
    def a_drop_ends_once(self):
        """Every batch walks one road to at most one end, and is in order when it is there."""
        roads: dict[str, list[str]] = {}
        for move in self.rows("SELECT batch, place FROM moves ORDER BY rowid"):
            roads.setdefault(move["batch"], []).append(move["place"])
        for row in self.rows("SELECT * FROM batches"):
            road = roads[row["id"]]
            assert road[0] == "CLAIMED"
            assert road[-1] == row["place"]
            assert not ENDS & set(road[:-1]), "an ended batch moved"
            assert len(set(road)) == len(road)
            drop = self.drops[row["sha256"]]
            if not drop.fit or row["feed"] is None:
                assert not {"UPLOADED", "REFILLING", "ARCHIVED"} & set(road)
            elif row["place"] == "QUARANTINED":
                self._check_quarantined(row, drop)
            if row["place"] in ENDS and self.places.get(row["id"]) != row["place"]:
                self._check_carried_out(row)

    def _check_quarantined(self, row: sqlite3.Row, drop: Dropped) -> None:
        """A sound drop is quarantined for two reasons only."""
        if row["end_code"] == "crashed-checking":
            assert self.deaths >= 3
        else:
            assert row["end_code"] == "no-rows"
            assert all(self.may_be_missing(address) for address in drop.good)

    def _check_carried_out(self, row: sqlite3.Row) -> None:
        """Once the claim is gone, the bytes are in the archive or a case, and the CRM knows."""
        if (self.root / "inbox" / ".claimed" / "one" / row["id"] / row["name"]).exists():
            return
        self.places[row["id"]] = row["place"]
        assert self.receipts()[row["id"]]["fate"] == row["place"].lower()
        if datetime.fromisoformat(row["claimed_at"]) < self.clock.now - timedelta(days=29):
            return  # what is kept is kept so long from the claim
        content = self.drops[row["sha256"]].content
        root = self.root / ("quarantine" if row["place"] == "QUARANTINED" else "state/archive")
        kept = [p for p in root.rglob("*") if row["id"] in str(p) and p.is_file()]
        assert any(path.read_bytes() == content for path in kept), "the bytes are gone"

    @invariant()
    def lists_are_what_was_last_refilled(self):
        """A list differs from its last completed refill only while a batch is REFILLING it."""
        for number, feed in enumerate(FEEDS):
            list_id = 100 + number
            refilling = self._refilling(list_id)
            assert len(refilling) <= 1
            if refilling:
                continue
            rows = self.twin.lists[list_id].rows
            last = self.rows(
                "SELECT b.* FROM completed c JOIN batches b ON b.id = c.batch WHERE c.feed=?"
                " ORDER BY number DESC LIMIT 1", feed,
            )  # fmt: skip
            if not last:
                assert list(rows) == ["old@example.org"] or list_id in self.others
                continue
            if self._unseen(list_id, last[0]):
                continue
            good = self.drops[last[0]["sha256"]].good
            assert set(rows) <= set(good)
            assert not set(rows) & self.purged_for[list_id], "somebody is in who said no"
            lost = {a for a in good if a not in rows and not self.may_be_missing(a)}
            assert not lost, "somebody is missing whom nothing speaks against"
            assert all(values["firstname"] == good[a] for a, (_, values) in rows.items())

    @invariant()
    def clears_are_few(self):
        """One clear for a batch, one for each answer in doubt, two more when counts are wrong."""
        for row in self.rows("SELECT batch, sum(counted) n, count(*) m FROM rounds GROUP BY batch"):
            assert row["n"] <= 2
            (batch,) = self.rows("SELECT * FROM batches WHERE id=?", row["batch"])
            if batch["target"] not in self.touched and not self._odd_after_doubt(row["batch"]):
                assert row["n"] == 0, "cleared again though nobody else wrote"
            assert self.clears[row["batch"]] <= row["m"] + self.lost_clears[row["batch"]]

    def _odd_after_doubt(self, batch: str) -> bool:
        """Whether a row may be there from a call in doubt that was refused when it was sent again.

        Refused as filtered, failing or poisoned it is not one to count: a clear more settles it.
        """
        again = self.rows("SELECT codes FROM calls WHERE batch=? AND again=1", batch)
        poisoned = self.rows("SELECT 1 FROM poisoned WHERE batch=?", batch)
        return bool(again) and (
            bool(poisoned) or any({6, 7} & set(r["codes"] or b"") for r in again)
        )

    @invariant()
    def one_remote_file_for_a_batch(self):
        """Every batch is on the server once, with accepted rows of its drop alone."""
        finals = Counter(n[2 : 2 + 23] for n in self.remote.files if not n.endswith(".part"))
        assert all(times == 1 for times in finals.values())
        for row in self.rows("SELECT * FROM batches WHERE uploaded_at IS NOT NULL"):
            lines = self.remote.files[row["upload_name"]].decode().splitlines()
            assert len(lines) - 1 == row["staged_rows"]
            good = self.drops[row["sha256"]].good
            assert {line.split(";")[5] for line in lines[1:]} <= set(good)

    # --- and in the end --------------------------------------------------------------------------

    def teardown(self) -> None:
        """Without faults everything comes to rest, and rest means what it says."""
        try:
            if sys.exc_info()[0] is None:
                self.come_to_rest()
        finally:
            if self.half:
                self.half[0].close()
            self.house.close()
            if self.db is not None:
                self.db.close()
            shutil.rmtree(self.root)

    def come_to_rest(self) -> None:
        """Let everything go on undisturbed, then look at all of it."""
        self.finish_writing()
        self.traps.clear()
        for number in range(len(FEEDS)):
            self.twin.lists[100 + number].name = f"List {number}"
        for _ in range(8):
            self.go()
            self.clock.advance(31 * 60)
        self.go()
        for check in (
            self.every_row_has_one_fate, self.a_drop_ends_once,
            self.lists_are_what_was_last_refilled, self.clears_are_few,
            self.one_remote_file_for_a_batch,
        ):  # fmt: skip
            check()
        receipts = self.receipts()
        open_batches = set()
        for row in self.rows("SELECT * FROM batches"):
            if row["place"] in ENDS:
                assert self.places[row["id"]] == row["place"], "an end is not carried out"
                continue
            open_batches.add(row["id"])
            if self._has_no_turn(row):
                continue
            receipt = receipts[row["id"]]
            assert row["held_code"] is not None, "a batch neither rests nor has ended"
            assert (receipt["fate"], receipt["held"]["code"]) == ("held", row["held_code"])
            self._check_rest(row)
        inbox = self.root / "inbox"
        assert [p.name for p in inbox.iterdir() if p.name != ".claimed"] == []
        assert {p.name for p in inbox.glob(".claimed/one/*")} == open_batches
        assert {p.parent.name for p in self.root.glob("state/batches/*/original")} == open_batches
        parts = [name for name in self.remote.files if name.endswith(".part")]
        assert parts == [], "people's rows are left under a temporary name"

    def _has_no_turn(self, row: sqlite3.Row) -> bool:
        """Whether a newer drop, held for what is no row guard, keeps this older one waiting.

        Then it has neither a hold of its own nor a receipt until that one has ended.
        """
        newer = self.rows(
            "SELECT held_code FROM batches WHERE feed=? AND drop_order >= ? AND id <> ?"
            " AND held_code IN ('no-rows', 'staged-old', 'list-short', 'list-mismatch')",
            row["feed"],
            row["drop_order"],
            row["id"],
        )
        return row["place"] == "CLAIMED" and row["held_code"] is None and bool(newer)

    def _check_rest(self, row: sqlite3.Row) -> None:
        """A batch may wait for people, or for a newer drop, and for nothing else."""
        code, list_id = row["held_code"], 100 + FEEDS.index(row["feed"])
        if code == "list-mismatch":
            assert list_id in self.others
        else:
            assert code in ROW_GUARDS | {"no-rows", "staged-old", "list-short"}
        if row["place"] == "REFILLING":
            assert code in ("list-mismatch", "list-short")


def test_a_death_at_any_look_at_the_clock():
    """The clock is asked between any two effects: dying at each of these calls keeps all promises.

    One drop has refilled the list; of two more the newer one refills it again.
    """
    for skip in range(500):
        history = History()
        try:
            history._ordinary_drop("a")
            history.go()
            history._dies_at("clock", None, skip, after=False)
            history._ordinary_drop("a", 12, 2)
            history._ordinary_drop("a", 10, 1, -1)
            history.go()
        finally:
            history.teardown()
        if not history.deaths:
            break
    assert 40 < skip < 499


def rename_and_refuse(history: History) -> None:
    """The list is called otherwise by the time the refill can go on."""
    history.twin.lists[100].name = "Renamed"
    refuse("lists")


HARM = {
    "away": lambda h: fail("lists", in_doubt=False),
    "doubt": lambda h: fail("lists", in_doubt=True),
    "lost": lambda h: fail("lists", in_doubt=True),
    "refused": lambda h: refuse("lists"),
    "refused-then-renamed": rename_and_refuse,
    "wipe": lambda h: h._others_write(100, 0, wipe=True, late=False),
    "write-a-stranger": lambda h: h._others_write(100, 0, wipe=False, late=False),
    "write-the-first": lambda h: h._others_write(100, 3, wipe=False, late=False),
    "write-the-last": lambda h: h._others_write(100, 11, wipe=False, late=False),
    "no": lambda h: h._say_no(11, told=False),
}


@pytest.mark.parametrize("harm", HARM)
def test_harm_at_any_call_of_the_list(harm):
    """Whatever one call of the list's port meets, all promises are kept."""
    for skip in range(100):
        history = History()
        try:
            history._ordinary_drop("a", 12, 5)
            history.go()
            act = partial(HARM[harm], history)
            trap = Trap("lists", None, skip, 1, harm == "lost", act)
            history.traps.append(trap)
            history._ordinary_drop("a", 12)
            history.go()
            history.clock.advance(400)
            history.go()
        finally:
            history.teardown()
        if trap.times:
            break
    assert 8 < skip < 99


# --- how long -----------------------------------------------------------------------------------


def profile(examples: int, steps: int) -> settings:
    """The same histories each time; what fails is printed so that it can be run again."""
    return settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True,
        print_blob=True, database=None, phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


# Batch ids are random and files have times of their own, so hypothesis may see one history differ
# from its repeat and stop: too seldom to mend, too often for every run.
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_any_history():
    """Whatever happens in whatever order, every promise is kept and everything comes to rest."""
    run_state_machine_as_test(History, settings=profile(30, 25))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_any_long_history():
    """The same, for many and longer histories."""
    run_state_machine_as_test(History, settings=profile(400, 60))
