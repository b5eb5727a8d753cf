"""Any history of events, failures, clock moves, deaths and restarts: each event is told once."""

import contextlib
import csv
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from etl.durable import KnownFolder
from etl.errors import FarSideUnavailable
from etl.extract.keyed import StoreKey
from etl.extract.layouts import configured
from etl.extract.outbox_rows import Handover, OutboxRow, OutboxRows
from etl.extract.responses import ClientPlan, fetch
from etl.extract.suppressions import Found, open_store
from etl.load.outbox import Form, hand_over
from etl.ports import SUPPRESSING, Stream
from tests.twins.clock import TwinClock
from tests.twins.responses import TwinResponses

HOUR_MS = 3_600_000
KEYS = [StoreKey("k", b"a key for tests.")]
EVENTS = (*SUPPRESSING, Stream.RESPONSES, Stream.OPENS, Stream.CLICKS)
PLAN = ClientPlan(
    "main",
    lifetime_days=14,
    streams=EVENTS,
    layouts={
        Stream.OPENS: configured(Stream.OPENS, ["recipient-id", "campaign-id", "time"]),
        Stream.CLICKS: configured(Stream.CLICKS, ["recipient-id", "campaign-id", "link"]),
    },
)
DOWN = FarSideUnavailable("campaign-unreachable", detail="made up")


class Killed(BaseException):
    """The process is no more."""


class MortalOutbox:
    """An outbox whose process dies at its nth call, before or after the call had its effect."""

    def __init__(self, rows: OutboxRows, dies_at: int, after: bool) -> None:
        self.inner = rows
        self.left = dies_at
        self.after = after

    def _step(self, after: bool) -> None:
        if after == self.after:
            self.left -= 1
            if self.left == 0:
                raise Killed

    def waiting(self, client: str, file: str) -> int:
        """How many rows wait."""
        return self.inner.waiting(client, file)

    def open_handovers(self, client: str) -> Sequence[Handover]:
        """Open intents."""
        return self.inner.open_handovers(client)

    def begin(self, client: str, file: str, name: str, temporary: str, at: datetime) -> Handover:
        """Note an intent, or die."""
        self._step(False)
        handover = self.inner.begin(client, file, name, temporary, at)
        self._step(True)
        return handover

    def rows(self, handover: Handover) -> Iterable[OutboxRow]:
        """The rows, or death in the middle of the file."""
        for row in self.inner.rows(handover):
            yield row
            self._step(False)

    def renaming(self, handover: Handover) -> None:
        """Note that the temporary file is there, or die."""
        self._step(False)
        self.inner.renaming(handover)
        self._step(True)

    def acknowledge(self, handover: Handover) -> None:
        """Forget the intent, or die."""
        self._step(False)
        self.inner.acknowledge(handover)
        self._step(True)


class ResponseHistory(RuleBasedStateMachine):
    """Campaign, the service and the CRM, each acting when it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="history-"))
        self.responses = self.folder / "responses"
        self.responses.mkdir()
        self.campaign = TwinResponses()
        self.latest_ms = self.campaign.now_ms
        self.clock = TwinClock()
        self.number = 0
        self.happened: list[tuple[int, tuple[str, str]]] = []
        self.owed: Counter[tuple[str, str]] = Counter()
        self.told: Counter[tuple[str, str]] = Counter()
        self.start()

    def start(self) -> None:
        """Open what a process opens."""
        self.store = open_store(self.folder / "suppressions.sqlite3", KEYS)
        self.crm = KnownFolder.at(self.responses)

    def teardown(self) -> None:
        """In the end all is well: whatever is owed is told, and suppressed."""
        try:
            self.clean_fetch()
            hand_over("main", self.store.outbox, self.crm, self.clock.wall())
            self.crm_takes()
            assert self.told == self.owed
            # Whoever was found blocklisted and is not on the next blocklist may be mailed again.
            nobody = {Stream.RESPONSES, Stream.OPENS, Stream.CLICKS, "live-check blocklisted"}
            people = {person for person, source in self.told if source not in nobody}
            tags = set(self.store.entries("main")["key"])
            assert {KEYS[0].tag(person).hex() for person in people} <= tags
        finally:
            self.store.close()
            shutil.rmtree(self.folder)

    @invariant()
    def nothing_is_told_twice_or_made_up(self) -> None:
        """At no time does the CRM hold a row twice, or one that nobody owes it."""
        assert all(times == 1 for times in self.told.values())
        assert self.told.keys() <= self.owed.keys()

    @rule(stream=st.sampled_from(EVENTS), late_hours=st.integers(0, 20), twice=st.booleans())
    def something_happens(self, stream: Stream, late_hours: int, twice: bool) -> None:
        """An export file holds a new event; it may come late, and hold it twice."""
        self.number += 1
        person = f"p{self.number}@example.org"
        row = {
            Stream.OUT_BOUNCES: [person],
            Stream.UNSUBSCRIBES: [person, "1795510800000"],
            Stream.MAILING_UNSUBSCRIBES: [person, "77", None],
            Stream.RESPONSES: [person, "77", "hardbounce", None],
            Stream.OPENS: [person, "spring", None],
            Stream.CLICKS: [person, "spring", "https://a.test/"],
        }[stream]
        export_ms = self.campaign.now_ms - 1 - late_hours * HOUR_MS
        for _ in range(1 + twice):
            self.campaign.happen(stream, *row, export_ms=export_ms)
        self.happened.append((export_ms, (person, stream.value)))

    @rule(hours=st.sampled_from([1, 5, 23, 25, 100, 400]))
    def time_passes(self, hours: int) -> None:
        """Campaign forgets after 14 days."""
        self.campaign.now_ms += hours * HOUR_MS
        self.latest_ms = max(self.latest_ms, self.campaign.now_ms)
        self.clock.advance(hours * 3600)

    @rule(hours=st.integers(1, 3))
    def campaigns_clock_is_put_back(self, hours: int) -> None:
        """It and the lateness of export files stay within the overlap together."""
        back_ms = max(self.campaign.now_ms - hours * HOUR_MS, self.latest_ms - 3 * HOUR_MS)
        self.campaign.now_ms = min(self.campaign.now_ms, back_ms)

    @rule()
    def clean_fetch(self) -> None:
        """Every source answers."""
        self.campaign.schedule.planned.clear()
        self.fetched()

    @rule(verb=st.sampled_from(["now", "page", "blocklist"]), skip=st.integers(0, 5))
    def broken_fetch(self, verb: str, skip: int) -> None:
        """One source fails."""
        self.campaign.fail_next(verb, DOWN, skip=skip if verb == "page" else 0)
        self.fetched()

    def fetched(self) -> None:
        """Fetch, and note what is owed from now on."""
        report = fetch(PLAN, self.campaign, self.store, self.clock)
        self.note(set(report.streams))
        suppressing = {each.value for each in SUPPRESSING} | {"blocklist", "getCurrentTime"}
        assert report.complete == (not suppressing & report.failures.keys())

    def note(self, streams: set[Stream]) -> None:
        """What Campaign held at a successful reading of a stream is owed, once."""
        now_ms = self.campaign.now_ms
        names = {stream.value for stream in streams}
        for export_ms, (person, source) in self.happened:
            if source in names and now_ms - PLAN.lifetime_days * 24 * HOUR_MS <= export_ms < now_ms:
                self.owed[person, source] = 1

    @rule(dies_at=st.integers(1, 8))
    def death_while_fetching(self, dies_at: int) -> None:
        """What was committed until then stays; the rest comes with the next fetch."""
        left = dies_at

        def die(_: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed

        self.campaign.schedule.planned.clear()
        self.campaign.before = die
        with contextlib.suppress(Killed):
            fetch(PLAN, self.campaign, self.store, self.clock)
        self.campaign.before = lambda _: None
        # One call for the clock, one page per stream.
        self.note(set(EVENTS[: max(0, dies_at - 2)]))
        self.restart()

    @rule(kind=st.sampled_from(["unsubscribed", "blocklisted", "bounced"]), back=st.integers(0, 3))
    def the_live_check_finds_somebody(self, kind: str, back: int) -> None:
        """Somebody new, or the same person once more."""
        self.number += 1
        person = f"f{max(1, self.number - back)}@example.org"
        source = f"live-check {kind}"
        self.store.add_found("main", [Found(person, kind, source, self.clock.wall())])
        self.owed[person, source] = 1

    @rule(empty=st.sampled_from(["header", "none"]))
    def files_are_handed_over(self, empty: str) -> None:
        """Without trouble."""
        hand_over("main", self.store.outbox, self.crm, self.clock.wall(), Form(empty=empty))

    @rule(dies_at=st.integers(1, 8), after=st.booleans())
    def death_while_handing_over(self, dies_at: int, after: bool) -> None:
        """At any step."""
        mortal = MortalOutbox(self.store.outbox, dies_at, after)
        with contextlib.suppress(Killed):
            hand_over("main", mortal, self.crm, self.clock.wall(), Form(empty="none"))
        self.restart()

    @rule()
    def restart(self) -> None:
        """Open the store once more."""
        self.store.close()
        self.start()

    @rule()
    def crm_takes(self) -> None:
        """The CRM reads what it can see, and takes it away."""
        for path in self.responses.glob("[!.]*"):
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file, delimiter=";"):
                    assert row["media-type"] == "EMAIL"
                    self.told[row["recipient-id"], row["source"]] += 1
            path.unlink()


TestResponseHistory = ResponseHistory.TestCase
TestResponseHistory.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
