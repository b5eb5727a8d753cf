"""The fetch: windows by Campaign's clock, whole pages, whole sources, nothing guessed."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etl.errors import EtlError, FarSideUnavailable
from etl.extract.keyed import StoreKey
from etl.extract.layouts import assumed, configured
from etl.extract.responses import ClientPlan, FetchReport, fetch
from etl.extract.suppressions import SuppressionStore, open_store
from etl.ports import PAGE_ROWS, Stream, Window
from tests.twins.clock import TwinClock
from tests.twins.responses import Row, TwinResponses

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOW_MS = 1_795_510_800_000
PLAN = ClientPlan("main")
DOWN = FarSideUnavailable("campaign-unreachable", detail="made up")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SuppressionStore]:
    opened = open_store(tmp_path / "suppressions.sqlite3", [StoreKey("k", b"a key for tests.")])
    yield opened
    opened.close()


@pytest.fixture
def campaign() -> TwinResponses:
    return TwinResponses(now_ms=NOW_MS)


def run(store: SuppressionStore, campaign: TwinResponses, plan: ClientPlan = PLAN) -> FetchReport:
    return fetch(plan, campaign, store, TwinClock())


def windows(campaign: TwinResponses, stream: Stream) -> list[tuple[object, object, object]]:
    return [
        (call["since_ms"], call["until_ms"], call["start_row"])
        for call in campaign.schedule.made("page")
        if call["stream"] == stream
    ]


def waiting(store: SuppressionStore, file: str) -> list[tuple[str, str, str]]:
    """What waits for a file, and for its sister: nobody here was ever dropped."""
    rows = []
    for name in (file, f"{file}-unassigned"):
        handover = store.outbox.begin("main", name, name, "t", datetime(2026, 11, 24, tzinfo=UTC))
        rows += [(r.recipient_id, r.time, r.mailing_id) for r in store.outbox.rows(handover)]
        store.outbox.acknowledge(handover)
    return rows


def test_windows_overlap_and_follow_campaigns_clock(
    store: SuppressionStore, campaign: TwinResponses
) -> None:
    """The first window reaches back the lifetime, the next one a day behind the last."""
    run(store, campaign)
    campaign.now_ms += HOUR_MS
    run(store, campaign)
    assert windows(campaign, Stream.OUT_BOUNCES) == [
        (NOW_MS - 30 * DAY_MS, NOW_MS, 0), (NOW_MS - DAY_MS, NOW_MS + HOUR_MS, 0),
    ]  # fmt: skip


def test_every_page_has_the_same_window(store: SuppressionStore, campaign: TwinResponses) -> None:
    """Pages go on to one that is not full, with `until` fixed while Campaign's clock goes on."""
    for number in range(2 * PAGE_ROWS):
        campaign.happen(Stream.OUT_BOUNCES, f"{number}@example.org")

    def tick(_: str) -> None:
        campaign.now_ms += 1000

    campaign.before = tick
    report = run(store, campaign)
    assert {until for _, until, _ in windows(campaign, Stream.OUT_BOUNCES)} == {NOW_MS + 1000}
    assert [start for *_, start in windows(campaign, Stream.OUT_BOUNCES)] == [0, 1000, 2000]
    assert report.streams[Stream.OUT_BOUNCES].new == 2 * PAGE_ROWS


def test_rows_are_read_by_the_layout(store: SuppressionStore, campaign: TwinResponses) -> None:
    """Columns are taken as configured; times become UTC, and may be missing."""
    campaign.happen(Stream.MAILING_UNSUBSCRIBES, "a@example.org", "77", "1795510800000")
    campaign.happen(Stream.UNSUBSCRIBES, "b@example.org", "2026-11-24T10:00:00+01:00")
    campaign.happen(Stream.UNSUBSCRIBES, "d@example.org", None)
    run(store, campaign)
    assert waiting(store, "unsubscriptions") == [
        ("b@example.org", "2026-11-24T09:00:00Z", ""),
        ("d@example.org", "", ""),
        ("a@example.org", "2026-11-24T09:00:00Z", "77"),
    ]


def test_another_layout(store: SuppressionStore, campaign: TwinResponses) -> None:
    """A configured layout replaces the assumed one; an ignored column goes nowhere."""
    plan = ClientPlan(
        "main",
        layouts={
            Stream.OUT_BOUNCES: configured(Stream.OUT_BOUNCES, ["ignore", "recipient-id", "time"])
        },
    )
    campaign.happen(Stream.OUT_BOUNCES, "x", "a@example.org", "1795510800000")
    assert run(store, campaign, plan).complete
    assert waiting(store, "bounces") == [("a@example.org", "2026-11-24T09:00:00Z", "")]


@pytest.mark.parametrize(
    "row", [["x@example.org", "1"], [""], [None], [], ["recipientId"], ["4711"], [":4711"]]
)
def test_a_row_that_does_not_fit_stops_its_stream(
    store: SuppressionStore, campaign: TwinResponses, row: Row
) -> None:
    """Nothing of that window is taken, the other sources are, and the fetch is incomplete."""
    campaign.happen(Stream.OUT_BOUNCES, "a@example.org")
    campaign.happen(Stream.OUT_BOUNCES, *row)
    campaign.happen(Stream.UNSUBSCRIBES, "b@example.org", None)
    campaign.entries = ["c@example.org"]
    report = run(store, campaign)
    assert not report.complete
    assert [(source, error.code) for source, error in report.failures.items()] == [
        ("getOutBounces", "page-layout")
    ]
    assert "example.org" not in str(report.failures["getOutBounces"])
    assert store.freshness("main").completed_at is None
    assert store.read_until("main", Stream.OUT_BOUNCES) is None
    assert store.read_until("main", Stream.UNSUBSCRIBES) == NOW_MS
    assert waiting(store, "bounces") == []
    assert len(store.entries("main")) == 2


@pytest.mark.parametrize(("skip", "source"), [(0, "getOutBounces"), (3, "getUnsubscribes")])
def test_a_page_that_fails_leaves_its_window_undone(
    store: SuppressionStore, campaign: TwinResponses, skip: int, source: str
) -> None:
    """A failure between two pages costs that source this time; the next fetch brings all of it."""
    for number in range(PAGE_ROWS + 1):
        campaign.happen(Stream.OUT_BOUNCES, f"{number}@example.org")
        campaign.happen(Stream.UNSUBSCRIBES, f"u{number}@example.org", None)
    campaign.fail_next("page", DOWN, skip=skip)
    report = run(store, campaign)
    assert (report.complete, list(report.failures)) == (False, [source])
    assert run(store, campaign).complete
    assert store.entries("main").height == 2 * (PAGE_ROWS + 1)


def test_without_a_clock_nothing_is_asked(store: SuppressionStore, campaign: TwinResponses) -> None:
    """When Campaign does not tell its time, no window can be made."""
    campaign.fail_next("now", DOWN)
    report = run(store, campaign)
    assert (report.complete, list(report.failures)) == (False, ["getCurrentTime"])
    assert campaign.schedule.made("page") == []


def test_a_blocklist_that_fails_or_shrinks_makes_a_fetch_incomplete(
    store: SuppressionStore, campaign: TwinResponses
) -> None:
    """The last complete fetch stays what it was, and the old entries stand."""
    campaign.entries = [f"{number}@example.org" for number in range(10)]
    assert run(store, campaign).complete
    first = store.freshness("main").completed_at
    campaign.entries = []
    report = run(store, campaign)
    assert (report.complete, report.failures) == (False, {})
    assert report.blocklist is not None
    assert report.blocklist.shrunk
    campaign.fail_next("blocklist", DOWN)
    assert list(run(store, campaign).failures) == ["blocklist"]
    assert store.freshness("main").completed_at == first
    assert store.freshness("main").shrunk_from == 10
    assert store.entries("main").height == 10


def test_a_gap_longer_than_the_lifetime_is_told(
    store: SuppressionStore, campaign: TwinResponses
) -> None:
    """After 31 days away a day of events may be lost, and the report says so."""
    run(store, campaign)
    campaign.now_ms += 31 * DAY_MS
    report = run(store, campaign)
    assert report.streams[Stream.UNSUBSCRIBES].lost_hours == 24
    assert windows(campaign, Stream.UNSUBSCRIBES)[-1][0] == campaign.now_ms - 30 * DAY_MS
    assert run(store, campaign).streams[Stream.UNSUBSCRIBES].lost_hours == 0


def test_a_clock_that_goes_back(store: SuppressionStore, campaign: TwinResponses) -> None:
    """A little is met by the overlap; a clock that was far ahead loses nobody when it is right."""
    run(store, campaign)
    campaign.now_ms -= HOUR_MS
    assert run(store, campaign).complete
    assert store.read_until("main", Stream.OUT_BOUNCES) == NOW_MS
    campaign.now_ms += 10 * DAY_MS
    campaign.happen(Stream.OUT_BOUNCES, "a@example.org", export_ms=NOW_MS)
    assert run(store, campaign).new_events == 1
    campaign.now_ms = NOW_MS + HOUR_MS
    campaign.happen(Stream.OUT_BOUNCES, "b@example.org")
    assert run(store, campaign).new_events == 1
    campaign.now_ms += HOUR_MS
    campaign.happen(Stream.OUT_BOUNCES, "c@example.org")
    assert (run(store, campaign).new_events, run(store, campaign).new_events) == (1, 0)
    assert store.read_until("main", Stream.OUT_BOUNCES) == campaign.now_ms


def test_repeated_rows_are_one_event(store: SuppressionStore, campaign: TwinResponses) -> None:
    """A row given twice, in one window and again in the overlap, is told once."""
    campaign.happen(Stream.OUT_BOUNCES, "a@example.org")
    campaign.happen(Stream.OUT_BOUNCES, "a@example.org")
    assert run(store, campaign).new_events == 1
    campaign.now_ms += HOUR_MS
    assert run(store, campaign).new_events == 0


def test_a_second_bounce_is_a_second_event(
    store: SuppressionStore, campaign: TwinResponses
) -> None:
    """The same id again after the overlap is told again."""
    campaign.happen(Stream.OUT_BOUNCES, "a@example.org")
    run(store, campaign)
    campaign.now_ms += 3 * DAY_MS
    run(store, campaign)
    campaign.happen(Stream.OUT_BOUNCES, "a@example.org")
    assert run(store, campaign).new_events == 1


class Endless:
    """A far side whose pages are too long."""

    def now(self) -> int:
        """Some time."""
        return NOW_MS

    def page(self, stream: Stream, window: Window, start_row: int) -> list[Row]:
        """One row too many."""
        return [["a@example.org"]] * (PAGE_ROWS + 1)

    def blocklist(self) -> list[str]:
        """Nobody."""
        return []

    def close(self) -> None:
        """Nothing is open."""


def test_a_page_that_is_too_long_is_an_answer_refused(store: SuppressionStore) -> None:
    """More rows than a page may hold are not taken."""
    report = fetch(PLAN, Endless(), store, TwinClock())
    assert {error.code for error in report.failures.values()} == {"campaign-answer"}
    assert store.entries("main").height == 0


@pytest.mark.parametrize("identity", ["contact:4711", "2:4711", '"a@b"@example.org'])
def test_an_id_that_is_no_plain_address_is_kept_as_it_is(
    store: SuppressionStore, campaign: TwinResponses, identity: str
) -> None:
    """It is told to the CRM in Campaign's own words."""
    campaign.happen(Stream.OUT_BOUNCES, identity)
    assert run(store, campaign).complete
    assert waiting(store, "bounces") == [(identity, "", "")]


def test_a_header_row_is_no_person(store: SuppressionStore, campaign: TwinResponses) -> None:
    """Told that names come first, the first row of a window is skipped, of its first page only."""
    for stream in Stream:
        campaign.happen(stream, *(["recipientId", "mailingId", "time"][: width(stream)]))
    for number in range(PAGE_ROWS):
        campaign.happen(Stream.OUT_BOUNCES, f"{number}@example.org")
    report = run(store, campaign, ClientPlan("main", header_row=True))
    assert report.complete
    assert report.streams[Stream.OUT_BOUNCES].rows == PAGE_ROWS
    assert len(waiting(store, "bounces")) == PAGE_ROWS
    assert waiting(store, "unsubscriptions") == []


def test_a_header_row_that_is_a_person_is_refused(
    store: SuppressionStore, campaign: TwinResponses
) -> None:
    """Nobody is skipped where names were expected and did not come; an empty window is fine."""
    plan = ClientPlan("main", header_row=True)
    assert run(store, campaign, plan).complete
    campaign.now_ms += HOUR_MS
    campaign.happen(Stream.OUT_BOUNCES, "a@example.org")
    report = run(store, campaign, plan)
    assert {source: error.code for source, error in report.failures.items()} == {
        "getOutBounces": "page-layout"
    }


def width(stream: Stream) -> int:
    """How many columns a stream's rows have by default."""
    return len(assumed(stream).columns)


def test_reports_hold_no_person(store: SuppressionStore, campaign: TwinResponses) -> None:
    """A report's repr may be logged."""
    campaign.happen(Stream.OUT_BOUNCES, "canary@example.org")
    campaign.happen(Stream.UNSUBSCRIBES, "canary@example.org")
    report = run(store, campaign)
    assert isinstance(report.failures["getUnsubscribes"], EtlError)
    assert "canary" not in repr(report) + str(report.failures)
