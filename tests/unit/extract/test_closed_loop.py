"""Rows by their layout, pages that do not fit, long windows, gaps, and how long an answer took."""

import json
import re
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


def test_a_single_export_file_is_not_cut(store: SuppressionStore, campaign: TwinResponses) -> None:
    """All its rows share one moment: reading it in parts would read it again and again."""
    plan = replace(PLAN, rows_at_once=PAGE_ROWS)
    for number in range(5 * PAGE_ROWS):
        campaign.happen(Stream.OUT_BOUNCES, f"{number}@example.org", export_ms=NOW_MS - HOUR_MS)
    assert run(store, campaign, plan).new_events == 5 * PAGE_ROWS
    first = len(campaign.schedule.made("page"))
    assert first < 30
    campaign.now_ms += HOUR_MS
    assert run(store, campaign, plan).new_events == 0
    assert len(campaign.schedule.made("page")) - first <= 6 + 2


def test_a_long_fetch_of_unsubscriptions_grows_with_its_rows_alone(
    store: SuppressionStore, campaign: TwinResponses
) -> None:
    """Statements a row, not rows times rows: counted, for time is the machine's."""
    asked = []
    for number in range(4000):
        campaign.happen(Stream.UNSUBSCRIBES, f"{number}@example.org", "2026-11-24T08:00:00Z")
    run(store, TwinResponses(now_ms=NOW_MS - HOUR_MS))
    connection = store._file.connection
    connection.set_progress_handler(lambda: asked.append(1) and None, 1000)
    run(store, campaign)
    connection.set_progress_handler(None, 0)
    assert store.lag("main").events == 4000
    assert len(asked) < 10_000


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
    """From the event's own time to the fetch, or to the live check that knew it before.

    What the first window holds is history, and no delay of ours.
    """
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
    first = Event("old@example.org", AT - timedelta(days=900), "", b"0")
    for window, found in ((Window(0, 1), [first]), (Window(1, NOW_MS), events)):
        store.commit_window("main", Stream.UNSUBSCRIBES, window, found, id_rule="email", at=AT)
    (status,) = store.status()
    assert status.lag is not None
    measured = (status.lag.events, status.lag.median_hours, status.lag.longest_hours)
    assert measured == (3, 1.0, 20.0)


# --- tracking opt-out ----------------------------------------------------------------------------


def tell_opens(store: SuppressionStore, *who: str, opt_outs: bool = True) -> int:
    """Somebody opens a mailing of a campaign, always the same; how many lines the CRM is owed."""
    events = [
        Event(f"{each}@example.org", None, "", each.encode(), campaign_id="9") for each in who
    ]
    store.commit_window(
        "main", Stream.OPENS, Window(0, 1), events, id_rule="email", at=AT, opt_outs=opt_outs
    )
    return store.outbox.waiting("main", "opens")


def carry(store: SuppressionStore, feed: str, batch: str, **said: bool | None) -> None:
    """A drop of a feed names people, and what they say of being tracked; None: nothing."""
    rows = {"address": [f"{who}@example.org" for who in said], "entity_type": "contact",
            "entity_id": list(said), "opt_in_id": "7"}  # fmt: skip
    frame = pl.DataFrame(rows)
    if None not in said.values():
        frame = frame.with_columns(untracked=pl.Series(list(said.values())))
    store.remember_carriers("main", feed, batch, frame, AT)


def test_whoever_does_not_want_to_be_tracked_is_not_told(store: SuppressionStore) -> None:
    """Her opens are left out and counted; her bounces and unsubscriptions are told."""
    carry(store, "f", "b", a=True, b=False)
    assert tell_opens(store, "a", "b") == 1
    events = [Event("a@example.org", None, "", b"x", category="hardbounce")]
    for stream in (Stream.UNSUBSCRIBES, Stream.RESPONSES):
        store.commit_window("main", stream, Window(0, 1), events, id_rule="email", at=AT)
    assert [store.outbox.waiting("main", each) for each in ("unsubscriptions", "bounces")] == [1, 1]
    (status,) = store.status()
    assert status.left_out == {Stream.OPENS: {"tracking-opt-out": 1}}


@pytest.mark.parametrize("later", [False, None])
def test_a_no_to_tracking_is_not_overheard_in_another_drop(
    store: SuppressionStore, later: bool | None
) -> None:
    """Another feed says yes, or nothing, of the same person afterwards: the no stays one."""
    carry(store, "f", "b1", a=True)
    carry(store, "g", "b2", a=later)
    assert tell_opens(store, "a") == 0
    assert store.status()[0].left_out == {Stream.OPENS: {"tracking-opt-out": 1}}


def test_two_rows_of_one_record_that_differ_mean_no(store: SuppressionStore) -> None:
    """The same record twice in a drop, once with a yes to not being tracked."""
    rows = {"address": ["a@example.org"] * 2, "entity_type": "contact", "entity_id": "1",
            "opt_in_id": "7", "untracked": [True, False]}  # fmt: skip
    store.remember_carriers("main", "f", "b", pl.DataFrame(rows), AT)
    assert tell_opens(store, "a") == 0


def test_nobody_is_told_before_a_drop_has_said(store: SuppressionStore) -> None:
    """Where drops say who opts out, an open of somebody who did not say yet waits for a drop."""
    carry(store, "f", "b1", a=None)
    assert tell_opens(store, "a", "stranger") == 0
    assert store.outbox.waiting("main", "opens-unassigned") == 0
    assert store.status()[0].left_out == {Stream.OPENS: {"tracking-opt-out-unknown": 2}}
    carry(store, "f", "b2", a=False)
    assert tell_opens(store, "a", "stranger") == 1
    assert tell_opens(store, "a", "stranger") == 1
    assert store.status()[0].left_out == {Stream.OPENS: {"tracking-opt-out-unknown": 1}}


def test_without_opt_outs_everybody_is_told(store: SuppressionStore) -> None:
    """No feed of the client names such a column."""
    carry(store, "f", "b", a=None)
    assert tell_opens(store, "a", "stranger", opt_outs=False) == 1
    assert store.outbox.waiting("main", "opens-unassigned") == 1


# --- people by address where ids are entities ----------------------------------------------------


def test_an_address_suppresses_also_where_ids_are_entities(store: SuppressionStore) -> None:
    """Response data is of the whole client: another of its lists knows people by address."""
    carry(store, "f", "b", a=None)
    events = [Event("a@example.org", None, "", b"1")]
    store.commit_window("main", Stream.UNSUBSCRIBES, Window(0, 1), events, id_rule="entity", at=AT)
    key = StoreKey("k", b"a key for tests.")
    keys = {key.tag("a@example.org").hex(): "address", key.tag("contact:a").hex(): "entity"}
    assert dict(store.entries("main").select("key", "about").rows()) == keys
    handover = store.outbox.begin("main", "unsubscriptions", "n", "t", AT)
    (row,) = store.outbox.rows(handover)
    assert (row.entity_type, row.entity_id) == ("contact", "a")


def test_ids_of_other_lists_can_be_let_through(
    store: SuppressionStore, campaign: TwinResponses
) -> None:
    """A number that is nobody here stops the window, unless it is known that there are such."""
    campaign.happen(Stream.UNSUBSCRIBES, "4711", None)
    campaign.happen(Stream.UNSUBSCRIBES, "a@example.org", None)
    assert run(store, campaign).failures["getUnsubscribes"].code == "page-layout"
    report = run(store, campaign, replace(PLAN, any_id=True))
    assert (report.complete, report.new_events) == (True, 2)
    assert store.outbox.waiting("main", "unsubscriptions-unassigned") == 2


# --- rows are remembered as keyed hashes ---------------------------------------------------------


def test_a_row_is_remembered_by_a_keyed_hash_also_when_the_key_changes(tmp_path: Path) -> None:
    """A row may be an address alone; a new key tells nobody twice."""
    old, new = StoreKey("old", b"an older key...."), StoreKey("new", b"a newer key.....")
    events = [Event("a@example.org", None, "", b"0123456789abcdef")]
    path, told = tmp_path / "store.sqlite3", []
    for number, keys in enumerate(([old], [new, old], [new, old])):
        store = open_store(path, keys)
        window = Window(0, 10 + number)
        told.append(
            store.commit_window("main", Stream.OUT_BOUNCES, window, events, id_rule="email", at=AT)
        )
        store.close()
    assert told == [1, 0, 0]
    assert b"0123456789abcdef" not in path.read_bytes()


# --- what depends on another stream --------------------------------------------------------------


def test_opens_wait_for_a_stream_of_mailings_that_fails(
    store: SuppressionStore, campaign: TwinResponses
) -> None:
    """Read without their mailings they would be left out, in the end for good."""
    pattern = re.compile(r"#(?P<campaign>\d+)")
    plan = replace(PLAN, streams=(*PLAN.streams, Stream.MAILINGS, Stream.OPENS), campaign=pattern)
    campaign.happen(Stream.OPENS, "a@example.org", "7", None)
    campaign.happen(Stream.MAILINGS, "7", "Spring #9", "soon", None)
    for _ in range(3):
        report = run(store, campaign, plan)
        assert (report.complete, set(report.failures)) == (True, {"getMailings"})
        assert Stream.OPENS not in report.streams
        campaign.now_ms += 40 * HOUR_MS
    campaign.events[Stream.MAILINGS] = [(NOW_MS - 1, ["7", "Spring #9", None, None])]
    assert run(store, campaign, plan).streams[Stream.OPENS].new == 1
    assert store.outbox.waiting("main", "opens-unassigned") == 1


def test_what_was_left_out_stays_counted(store: SuppressionStore, campaign: TwinResponses) -> None:
    """Also when its window is long over and the row forgotten."""
    plan = replace(PLAN, streams=(*PLAN.streams, Stream.OPENS))
    campaign.happen(Stream.OPENS, "a@example.org", "7", None)
    for _ in range(5):
        run(store, campaign, plan)
        campaign.now_ms += 40 * HOUR_MS
    (status,) = store.status()
    assert status.left_out == {Stream.OPENS: {"no-campaign": 1}}
