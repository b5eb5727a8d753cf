"""Rows by their layout, pages that do not fit, long windows, gaps, and how long an answer took."""

import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from etl.errors import EtlError
from etl.extract.keyed import StoreKey
from etl.extract.layouts import assumed, configured, read_event, read_mailing
from etl.extract.learned import Event, Found
from etl.extract.responses import ClientPlan, FetchReport, fetch
from etl.extract.suppressions import SuppressionStore, open_store
from etl.ports import NEEDED, PAGE_ROWS, Stream, Window
from tests.twins.clock import TwinClock
from tests.twins.responses import TwinResponses

AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
HOUR_MS = 3_600_000
NOW_MS = 1_795_510_800_000
PLAN = ClientPlan("main")
NAIVE = "2026-07-01T12:00:00"


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


# --- layouts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", Stream)
def test_every_method_has_a_layout_that_is_shipped(stream: Stream) -> None:
    """It names what the stream is good for nothing without, and says that it is only assumed."""
    layout = assumed(stream)
    assert set(NEEDED[stream]) <= set(layout.columns) & layout.required
    assert len(set(layout.columns)) == len(layout.columns)


def test_a_configured_layout_has_its_own_columns() -> None:
    """Columns as configured; what the stream needs is required, what is ignored goes nowhere."""
    layout = configured(Stream.CLICKS, ["ignore", "link", "recipient-id", "ignore", "campaign-id"])
    event = read_event(
        Stream.CLICKS, layout, ["x", "https://a.test/", " a@example.org ", None, "9"]
    )
    assert event == Event(
        "a@example.org", None, "", event.digest, link="https://a.test/", campaign_id="9"
    )


@pytest.mark.parametrize(
    ("text", "zone", "utc"),
    [
        ("1795510800000", None, "2026-11-24T09:00:00+00:00"),
        ("2026-11-24T10:00:00+01:00", None, "2026-11-24T09:00:00+00:00"),
        ("2026-11-24T09:00:00Z", None, "2026-11-24T09:00:00+00:00"),
        (NAIVE, "Europe/Berlin", "2026-07-01T10:00:00+00:00"),
        ("2026-11-24T10:00:00+01:00", "America/New_York", "2026-11-24T09:00:00+00:00"),
    ],
)
def test_times_are_moments(text: str, zone: str | None, utc: str) -> None:
    """Milliseconds, ISO 8601, and without a zone where one is configured."""
    layout = configured(Stream.UNSUBSCRIBES, None, ZoneInfo(zone) if zone else None)
    event = read_event(Stream.UNSUBSCRIBES, layout, ["a@example.org", text])
    assert event.time == datetime.fromisoformat(utc)


@pytest.mark.parametrize("text", [NAIVE, "24.11.2026 10:00", "yesterday", "17955", "9" * 20])
def test_what_is_no_moment_does_not_fit(text: str) -> None:
    """Nothing is guessed, and the error holds nothing of the row."""
    with pytest.raises(EtlError) as refused:
        read_event(Stream.UNSUBSCRIBES, assumed(Stream.UNSUBSCRIBES), ["a@example.org", text])
    assert refused.value.code == "page-layout"
    assert text not in str(refused.value)
    assert "example.org" not in str(refused.value)


def test_a_mailing_without_an_id_does_not_fit() -> None:
    """There is nothing to know it by."""
    with pytest.raises(EtlError):
        read_mailing(assumed(Stream.MAILINGS), ["", "Spring", None, None], None)


# --- pages that do not fit -----------------------------------------------------------------------


def test_a_page_that_does_not_fit_is_kept_as_it_came(
    store: SuppressionStore, campaign: TwinResponses, tmp_path: Path
) -> None:
    """Its rows, its place and what is wrong; private; gone when the window fits."""
    for number in range(PAGE_ROWS + 1):
        campaign.happen(Stream.UNSUBSCRIBES, f"{number}@example.org", None)
    campaign.happen(Stream.UNSUBSCRIBES, "ä@example.org", "soon")
    report = run(store, campaign)
    assert report.failures["getUnsubscribes"].code == "page-layout"
    kept = tmp_path / "unfit" / "main-getUnsubscribes.json"
    assert store.unfit("main").kept() == [kept.name]
    page = json.loads(kept.read_text("utf-8"))
    assert (page["version"], page["start_row"], page["until_ms"]) == (1, PAGE_ROWS, NOW_MS)
    assert page["rows"] == [[f"{PAGE_ROWS}@example.org", None], ["ä@example.org", "soon"]]
    assert "time" in page["why"]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    layout = configured(Stream.UNSUBSCRIBES, ["recipient-id", "ignore"])
    again = run(store, campaign, replace(PLAN, layouts={Stream.UNSUBSCRIBES: layout}))
    assert (again.complete, again.new_events) == (True, PAGE_ROWS + 2)
    assert store.unfit("main").kept() == []
    assert list(kept.parent.iterdir()) == []


# --- long windows --------------------------------------------------------------------------------


def test_a_window_of_many_rows_is_cut(store: SuppressionStore, campaign: TwinResponses) -> None:
    """What is read at once is bounded; every event is taken once, and the cursor goes along."""
    plan = replace(PLAN, rows_at_once=2 * PAGE_ROWS)
    count = 5 * PAGE_ROWS
    for number in range(count):
        at = NOW_MS - 1 - number * 20 * 24 * HOUR_MS // count
        campaign.happen(Stream.OUT_BOUNCES, f"{number}@example.org", export_ms=at)
    told: list[int] = []
    report = fetch(
        plan, campaign, store, TwinClock(), progress=lambda stream, rows: told.append(rows)
    )
    assert (report.complete, report.streams[Stream.OUT_BOUNCES].new) == (True, count)
    assert store.entries("main").height == count
    assert store.read_until("main", Stream.OUT_BOUNCES) == NOW_MS
    assert max(told) >= count, "progress is told over all windows"
    most = max(
        call["start_row"] for call in campaign.schedule.made("page")
        if call["stream"] == Stream.OUT_BOUNCES
    )  # fmt: skip
    assert most < 2 * PAGE_ROWS


def test_a_cut_window_that_fails_keeps_what_was_read(
    store: SuppressionStore, campaign: TwinResponses
) -> None:
    """The next fetch goes on from there; nobody is told twice."""
    plan = replace(PLAN, rows_at_once=PAGE_ROWS)
    count = 3 * PAGE_ROWS
    for number in range(count):
        at = NOW_MS - 1 - (count - number) * 20 * 24 * HOUR_MS // count
        campaign.happen(Stream.OUT_BOUNCES, f"{number}@example.org", export_ms=at)
    lost = EtlError("page-layout", call="x", detail="made up")
    campaign.fail_next("page", lost, skip=5)
    first = run(store, campaign, plan)
    assert "getOutBounces" in first.failures
    cursor = store.read_until("main", Stream.OUT_BOUNCES)
    assert cursor is not None
    assert cursor < NOW_MS
    before = store.entries("main").height
    assert 0 < before < count
    again = run(store, campaign, plan)
    assert again.streams[Stream.OUT_BOUNCES].new == count - before
    assert store.outbox.waiting("main", "bounces-unassigned") == count


def test_an_event_on_the_cut_is_read_once(store: SuppressionStore, campaign: TwinResponses) -> None:
    """An export file of the moment at which a window is cut is in both halves, and told once."""
    plan = replace(PLAN, rows_at_once=PAGE_ROWS)
    middle = NOW_MS - 15 * 24 * HOUR_MS
    for number in range(PAGE_ROWS + 5):
        campaign.happen(Stream.OUT_BOUNCES, f"{number}@example.org", export_ms=middle - 500)
    campaign.happen(Stream.OUT_BOUNCES, "edge@example.org", export_ms=middle)
    assert run(store, campaign, plan).new_events == PAGE_ROWS + 6


# --- repeating exports ---------------------------------------------------------------------------


def test_an_export_that_repeats_everybody_tells_of_them_once(
    store: SuppressionStore, campaign: TwinResponses
) -> None:
    """A full export every day: who is in it stays told; who left it and comes back is new."""
    plan = replace(PLAN, repeating=frozenset({Stream.OUT_BOUNCES}), overlap_hours=1)
    new = []
    for day in range(10):
        campaign.now_ms += 24 * HOUR_MS
        campaign.happen(Stream.OUT_BOUNCES, "a@example.org")
        if day in {0, 7}:
            campaign.happen(Stream.OUT_BOUNCES, "b@example.org")
        new.append(run(store, campaign, plan).new_events)
    assert new == [2, 0, 0, 0, 0, 0, 0, 1, 0, 0]


# --- gaps and lags -------------------------------------------------------------------------------


def test_a_gap_stays_told(store: SuppressionStore, campaign: TwinResponses) -> None:
    """Longer away than response data lives: the time that is lost stands in the status."""
    run(store, campaign)
    campaign.now_ms += 31 * 24 * HOUR_MS
    report = run(store, campaign)
    assert {found.lost_hours for found in report.streams.values()} == {24.0}
    run(store, campaign)
    (status,) = store.status()
    began = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    assert [(gap.stream, gap.since, gap.until) for gap in status.gaps] == sorted(
        (stream, began, began + timedelta(days=1)) for stream in PLAN.streams
    )


def test_the_way_from_a_no_to_its_effect_is_measured(
    store: SuppressionStore, campaign: TwinResponses
) -> None:
    """From the event's own time to the fetch, or to the live check that knew it before."""
    rows = {"address": ["b@example.org"], "entity_type": ["contact"], "entity_id": ["1"],
            "opt_in_id": ["7"]}  # fmt: skip
    store.remember_carriers("main", "f", "b", pl.DataFrame(rows), AT)
    store.add_found(
        "main", [Found("b@example.org", "unsubscribed", "live-check", AT - timedelta(hours=2))]
    )
    events = [
        Event("a@example.org", AT - timedelta(hours=20), "", b"1"),
        Event("b@example.org", AT - timedelta(hours=3), "", b"2"),
        Event("c@example.org", None, "", b"3"),
        Event("d@example.org", AT + timedelta(hours=3), "", b"4"),
    ]
    window = Window(0, NOW_MS)
    store.commit_window("main", Stream.UNSUBSCRIBES, window, events, id_rule="email", at=AT)
    (status,) = store.status()
    assert status.lag is not None
    measured = (status.lag.events, status.lag.median_hours, status.lag.longest_hours)
    assert measured == (3, 1.0, 20.0)


# --- tracking opt-out ----------------------------------------------------------------------------


def test_whoever_does_not_want_to_be_tracked_is_not_told(store: SuppressionStore) -> None:
    """Opens of such a person are left out and counted; her bounces and unsubscriptions are told."""
    rows = {"address": ["a@example.org", "b@example.org", "b@example.org"],
            "entity_type": "contact", "entity_id": ["1", "2", "3"], "opt_in_id": "7",
            "untracked": [True, True, False]}  # fmt: skip
    store.remember_carriers("main", "f", "b", pl.DataFrame(rows), AT)
    events = [
        Event(f"{who}@example.org", None, "", who.encode(), campaign_id="9", category="hardbounce")
        for who in "ab"
    ]
    for stream in (Stream.OPENS, Stream.UNSUBSCRIBES, Stream.RESPONSES):
        store.commit_window("main", stream, Window(0, 1), events, id_rule="email", at=AT)
    waiting = {file: store.outbox.waiting("main", file) for file in
               ("opens", "unsubscriptions", "bounces")}  # fmt: skip
    assert waiting == {"opens": 1, "unsubscriptions": 3, "bounces": 3}
    (status,) = store.status()
    assert status.left_out == {Stream.OPENS: {"tracking-opt-out": 1}}


def test_what_was_left_out_stays_counted(store: SuppressionStore, campaign: TwinResponses) -> None:
    """Also when its window is long over and the row forgotten."""
    plan = replace(PLAN, streams=(*PLAN.streams, Stream.OPENS))
    campaign.happen(Stream.OPENS, "a@example.org", "7", None)
    for _ in range(5):
        run(store, campaign, plan)
        campaign.now_ms += 40 * HOUR_MS
    (status,) = store.status()
    assert status.left_out == {Stream.OPENS: {"no-campaign": 1}}
