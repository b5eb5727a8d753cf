"""A whole fetch under each switch of the simulator that can matter to it.

More people say no than a page holds, and some do so while pages are read and at the very moment
that ends a window; three fetches later each of them is in the outbox once for each stream.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etl.extract.keyed import StoreKey
from etl.extract.layouts import configured
from etl.extract.responses import ClientPlan, FetchReport, fetch
from etl.extract.suppressions import SuppressionStore, open_store
from etl.ports import PAGE_ROWS, Stream
from tests.contract.campaign_stage import MANDATOR, OTHER_STYLE, CampaignStage, campaign_stage
from tests.servers.house_on_campaign import house_on_campaign
from tests.servers.service import as_csv, people
from tests.twins.clock import TwinClock

PLAN = ClientPlan("main")
DAY_SECONDS = 24 * 60 * 60
MAILING = 77
MANY = [f"many{number}@example.org" for number in range(PAGE_ROWS + 1)]
BY_MAILING = ["m1@example.org", "m2@example.org"]
BOUNCED = ["b1@example.org", "b2@example.org"]
MEANWHILE, AT_THE_EDGE, LATER = "meanwhile@example.org", "edge@example.org", "later@example.org"

OTHER_COLUMNS: dict[str, object] = {
    "out_bounce_columns": ["extra", "time", "nil", "recipient_id"],
    "unsubscribe_columns": ["list_id", "recipient_id", "time"],
    "mailing_unsubscribe_columns": ["time", "mailing_id", "recipient_id", "nil"],
}
OTHER_LAYOUTS = {
    stream: configured(stream, columns)
    for stream, columns in {
        Stream.OUT_BOUNCES: ["ignore", "time", "ignore", "recipient-id"],
        Stream.UNSUBSCRIBES: ["ignore", "recipient-id", "time"],
        Stream.MAILING_UNSUBSCRIBES: ["time", "mailing-id", "recipient-id", "ignore"],
    }.items()
}
SWITCHES: list[tuple[str, object]] = [
    ("closed_loop_order", "oldest-first"), ("closed_loop_order", "newest-first"),
    ("time_format", "iso"), ("unsubscribe_streams", "disjoint"), ("page_over", "fault"),
    ("paging", "pages"), ("since_inclusive", False), ("until_inclusive", True),
    ("closed_loop_header", True), ("job_interval_seconds", 60.0), ("response_days", 14.0),
    ("empty_array", "nil"), ("multiref", "shared"),
]  # fmt: skip


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificates, made once."""
    return tmp_path_factory.mktemp("authority")


class Desk:
    """A store, a Campaign, and how the one is filled from the other."""

    def __init__(self, stage: CampaignStage, store: SuppressionStore) -> None:
        self.stage, self.store, self.plan = stage, store, PLAN
        stage.control.add_mailing(MANDATOR, MAILING, "Newsletter")

    def fetch(self) -> FetchReport:
        """One fetch."""
        return fetch(self.plan, self.stage.responses, self.store, TwinClock())

    def waiting(self) -> list[tuple[str, str, str, str]]:
        """What the CRM will get: recipient id, source, mailing id and time of each line."""
        found = []
        for file in ("bounces-unassigned", "unsubscriptions-unassigned"):
            handover = self.store.outbox.begin("main", file, file, "t", datetime.now(UTC))
            found += [
                (row.recipient_id, row.source, row.mailing_id, row.time)
                for row in self.store.outbox.rows(handover)
            ]
        return found

    def story(self) -> None:
        """Let all of them say no, and fetch three times; every fetch must be complete."""
        control = self.stage.control
        control.unsubscribe(MANDATOR, MANY)
        control.unsubscribe(MANDATOR, BY_MAILING, mailing_id=MAILING)
        for identity in BOUNCED:
            control.bounce(MANDATOR, identity, times=4)
        self.stage.export()
        who = {"mandator": MANDATOR, "ids": [MEANWHILE]}
        control.schedule("getUnsubscribes", "verb-before", nth=2, verb="unsubscribe", arguments=who)
        control.schedule("getUnsubscribes", "verb-before", nth=2, verb="run_export_job")
        assert self.fetch().complete
        control.unsubscribe(MANDATOR, [AT_THE_EDGE], mailing_id=MAILING)
        control.schedule("getCurrentTime", "verb-before", verb="run_export_job")
        assert self.fetch().complete
        control.advance(DAY_SECONDS / 2)
        control.unsubscribe(MANDATOR, [LATER])
        self.stage.export()
        control.advance(1)
        assert self.fetch().complete


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def desk(stack: ExitStack, tmp_path: Path, authority: Path, **switches: object) -> Desk:
    """Open a desk; it is closed with the test."""
    stage = stack.enter_context(campaign_stage(authority, **switches))
    store = open_store(tmp_path / "suppressions.sqlite3", [StoreKey("k", b"a key for tests.")])
    return Desk(stage, stack.enter_context(closing(store)))


def check(opened: Desk) -> None:
    """Everybody is told once for each stream that lists them, and suppressed."""
    lines = opened.waiting()
    mailing = {*BY_MAILING, AT_THE_EDGE}
    plain = {*MANY, MEANWHILE, LATER}
    if opened.stage.control.switches()["unsubscribe_streams"] == "overlap":
        plain |= mailing
    expected = {
        *((identity, Stream.OUT_BOUNCES.value) for identity in BOUNCED),
        *((identity, Stream.UNSUBSCRIBES.value) for identity in plain),
        *((identity, Stream.MAILING_UNSUBSCRIBES.value) for identity in mailing),
    }
    told = Counter((identity, source) for identity, source, _, _ in lines)
    assert set(told) == expected
    assert set(told.values()) == {1}
    of_mailing = [row for row in lines if row[1] == Stream.MAILING_UNSUBSCRIBES]
    assert {row[2] for row in of_mailing} == {str(MAILING)}
    year = f"{datetime.now(UTC):%Y-}"
    assert all(row[3].startswith(year) and row[3].endswith("Z") for row in of_mailing)
    people = {*MANY, *mailing, *BOUNCED, MEANWHILE, LATER}
    assert opened.store.entries("main")["key"].n_unique() == len(people)


@pytest.mark.parametrize(("name", "value"), SWITCHES)
def test_a_fetch_under_each_switch(
    stack: ExitStack, tmp_path: Path, authority: Path, name: str, value: object
) -> None:
    """Every event is in the outbox exactly once, nobody is missed, no name of a column is told."""
    opened = desk(stack, tmp_path, authority, **{name: value})
    opened.plan = ClientPlan("main", header_row=name == "closed_loop_header", lifetime_days=14)
    opened.story()
    check(opened)


@pytest.mark.parametrize("header", [True, False])
def test_a_fetch_with_other_columns(
    stack: ExitStack, tmp_path: Path, authority: Path, header: bool
) -> None:
    """With the layouts configured to what Campaign gives, nothing else changes."""
    opened = desk(stack, tmp_path, authority, closed_loop_header=header, **OTHER_COLUMNS)
    opened.plan = ClientPlan("main", layouts=OTHER_LAYOUTS, header_row=header)
    opened.story()
    check(opened)


def test_a_fetch_under_every_other_setting(
    stack: ExitStack, tmp_path: Path, authority: Path
) -> None:
    """Settings that meet in one fetch do not spoil each other."""
    together = dict(SWITCHES) | OTHER_STYLE | OTHER_COLUMNS
    opened = desk(stack, tmp_path, authority, **together)
    opened.plan = ClientPlan("main", layouts=OTHER_LAYOUTS, header_row=True, lifetime_days=14)
    opened.story()
    check(opened)


@pytest.mark.parametrize(
    "switches",
    [
        {"closed_loop_header": True},
        {"unsubscribe_columns": ["mailing_id", "recipient_id"]},
        {"unsubscribe_columns": ["list_id", "time"]},
        {"unsubscribe_columns": ["recipient_id", "time", "extra"]},
        {"unsubscribe_columns": ["extra", "recipient_id"]},
    ],
)
def test_rows_that_are_not_laid_out_as_configured_are_nobody(
    stack: ExitStack, tmp_path: Path, authority: Path, switches: dict[str, object]
) -> None:
    """A header or another column is told as no person: the window stops until it is configured."""
    opened = desk(stack, tmp_path, authority, **switches)
    opened.stage.control.unsubscribe(MANDATOR, BY_MAILING, mailing_id=MAILING, list_id=5)
    opened.stage.export()
    opened.stage.control.advance(1)
    report = opened.fetch()
    failures = {source: error.code for source, error in report.failures.items()}
    assert failures["getUnsubscribes"] == "page-layout"
    assert set(failures.values()) == {"page-layout"}
    assert opened.store.read_until("main", Stream.UNSUBSCRIBES) is None
    assert [row for row in opened.waiting() if row[1] == Stream.UNSUBSCRIBES] == []


def test_a_stream_that_repeats_everybody(stack: ExitStack, tmp_path: Path, authority: Path) -> None:
    """Everybody over the limit is in every file: told once all the same, where it is configured."""
    opened = desk(stack, tmp_path, authority, out_bounces="all", job_interval_seconds=86_400.0)
    counted = []
    for repeating in (frozenset({Stream.OUT_BOUNCES}), frozenset[Stream]()):
        opened.plan = ClientPlan("main", repeating=repeating)
        for number in range(4):
            opened.stage.control.bounce(
                MANDATOR, f"b{number}-{len(repeating)}@example.org", times=3
            )
            opened.stage.control.advance(2 * DAY_SECONDS)
            assert opened.fetch().complete
        counted.append(opened.store.outbox.waiting("main", "bounces-unassigned"))
    assert counted[0] == 4
    assert counted[1] > 8, "the other setting would have told them again"


def test_the_key_header_row_reaches_the_fetch(tmp_path: Path, authority: Path) -> None:
    """Without it nothing leaves the house while names come first; with it the drop goes its way."""
    with house_on_campaign(tmp_path / "house", authority, {"closed_loop_header": True}) as house:
        house.drop("a_1.csv", as_csv([row | {"points": "1"} for row in people(5)], house.columns))
        house.run()
        held = house.receipts()["a_1.csv"]["held"]["code"]
        assert (held, house.content()) == ("suppression-missing", {})
        house.client["header_row"] = True
        house.clock.advance(3600)
        house.run()
        assert house.receipts()["a_1.csv"]["fate"] == "archived"
        assert len(house.content()) == 5
