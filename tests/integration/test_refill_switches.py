"""A whole refill under each switch of the simulator that can matter to it.

The people of the drop and what happens to them meanwhile are always the same; what the list must
hold in the end depends on two switches alone, where a value that Campaign takes or not is meant.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.campaign_stage import OTHER_STYLE
from tests.servers.house_on_campaign import LIST, MANDATOR, HouseOnCampaign, house_on_campaign
from tests.servers.service import as_csv, people

COUNT = 60
EMPTY, NO_POINTS, POISON, MIXED = 25, 26, 27, 10
"""Nothing in the typed columns; an empty text for a number; no number at all; odd case."""
LONG_GONE = {9, MIXED}
"""Unsubscribed before the drop came, longer ago than response data reaches."""
AT_CLEAR = {34}
"""Says no after the clear, is asked for live once more because an answer was lost."""
AT_ADD = {43: "unsubscribed", 44: "blocklisted", 45: "bounced"}
"""Say no between the last live check and the call that adds them."""
AT_RETRY = {3, 4}
"""In the chunk whose answer was lost: say no before it is sent again."""
AT_PURGE = {23}
"""Says no when everybody is in the list."""
NEVER = LONG_GONE | AT_CLEAR | AT_ADD.keys() | AT_RETRY | AT_PURGE | {POISON}

SWITCHES: list[tuple[str, object]] = [
    ("known_before_suppressed", True), ("known_before_suppressed", False),
    ("code2_stores", True), ("bad_value", "code-1"), ("empty_number", "unset"),
    ("nil_number", "fault"), ("short_dates", "fault"), ("ids_ignore_case", True),
    ("count_lag_seconds", 20.0), ("sliding_session", True), ("ip_binding", True),
    ("refusal", "http-503"), ("connection_counts", "sockets"),
    ("bounce_reaches", False), ("list_order", "reversed"), ("batch_over", "cut"),
    ("system_attributes", "ignored"), ("unknown_attribute", "ignored"), *OTHER_STYLE.items(),
]  # fmt: skip
TOGETHER: dict[str, dict[str, object]] = {
    "every other setting": dict(SWITCHES),
    "one call at a time": {"connection_limit": 1, "count_limit": 1},
    "one socket": {"connection_limit": 1, "count_limit": 1, "connection_counts": "sockets"},
    "stored though unsubscribed, and known last": {
        "code2_stores": True, "known_before_suppressed": False, "count_lag_seconds": 20.0,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificates, made once."""
    return tmp_path_factory.mktemp("authority")


def dropped() -> list[dict[str, str]]:
    """The people of the drop."""
    rows = people(COUNT)
    for number, row in enumerate(rows, 1):
        row |= {"points": str(number), "revenue": "12,50", "since": "01.02.2024",
                "seen": "2024-05-06T07:08:09Z"}  # fmt: skip
    rows[EMPTY - 1] |= {"revenue": "", "since": "", "seen": ""}
    rows[NO_POINTS - 1]["points"] = ""
    rows[POISON - 1]["points"] = "abc"
    rows[MIXED - 1]["email"] = f"P{MIXED}@Example.org"
    return rows


def ids(numbers: set[int] | range) -> set[str]:
    """Recipient ids of people by number."""
    return {f"p{number}@example.org" for number in numbers}


def let_people_say_no(house: HouseOnCampaign) -> None:
    """Schedule what happens in Campaign while the drop is on its way."""
    control = house.control
    old = {"id": "old@example.org", "address": "old@example.org", "attributes": {}}
    control.put_recipients(LIST, [old])
    control.unsubscribe(MANDATOR, ["p9@example.org", f"P{MIXED}@Example.org"])
    house.at("clear", 1, "unsubscribe", after=True, mandator=MANDATOR, ids=["p34@example.org"])
    control.schedule("addAll3", "drop-after")
    house.at("addAll3", 2, "unsubscribe", mandator=MANDATOR, ids=["p43@example.org"])
    house.at("addAll3", 2, "block", mandator=MANDATOR, entries=["p44@*"])
    house.at("addAll3", 2, "bounce", mandator=MANDATOR, recipient_id="p45@example.org", times=4)
    house.at("addAll3", 2, "unsubscribe", mandator=MANDATOR, ids=["p3@example.org"])
    house.at("addAll3", 2, "block", mandator=MANDATOR, entries=["p4@example.org"])
    house.at("removeUnsubscribed", 1, "unsubscribe", mandator=MANDATOR, ids=["p23@example.org"])


def drop_and_run(house: HouseOnCampaign) -> dict[str, Any]:
    """Let a drop come; its receipt, once it has ended or is held."""
    house.drop("a_1.csv", as_csv(dropped(), house.columns))
    let_people_say_no(house)
    house.run()
    return house.receipts()["a_1.csv"]


def check_sums(receipt: dict[str, Any], listed_now: int, *, lags: bool) -> None:
    """Every row has one fate, and the fates of the rows sent add up to the list."""
    rows, of_list = receipt["check"], receipt["list"]
    fates = rows["accepted"] + rows["rejected"] + rows["suppressed"]
    assert (rows["rows_read"], fates, rows["suppressed"]) == (COUNT, COUNT, len(LONG_GONE))
    assert of_list["staged"] == rows["accepted"]
    assert of_list["staged"] == of_list["sent"] + of_list["suppressed_late"]
    assert of_list["suppressed_late"] == len(AT_CLEAR)
    for code in ("code-2", "code-3", "code-4"):
        assert of_list["refused"][code] >= 1
    refused = sum(of_list["refused"].values())
    assert of_list["sent"] == of_list["listed"] + refused + of_list["poisoned"]
    # A count that lags may still be that of before the remove calls.
    assert listed_now <= of_list["count"] <= listed_now + (len(NEVER) if lags else 0)
    assert of_list["clears"] == 1


def told(house: HouseOnCampaign) -> Counter[tuple[str, str, str]]:
    """Every line the CRM has got: recipient id, kind, source."""
    found: Counter[tuple[str, str, str]] = Counter()
    for path in (house.root / "responses").glob("[!.]*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter=";"):
                found[row["recipient-id"], row["kind"], row["source"]] += 1
    return found


def check_told(house: HouseOnCampaign) -> None:
    """Who said no before the end is in the CRM's files, once for each source."""
    house.control.advance(1)
    house.control.run_export_job()
    house.clock.advance(3600)
    house.run()
    lines = told(house)
    assert set(lines.values()) == {1}
    kinds = {(identity, kind) for identity, kind, _ in lines}
    assert {(f"p{number}@example.org", kind) for number, kind in AT_ADD.items()} <= kinds
    gone = LONG_GONE | AT_CLEAR | AT_PURGE | {3}
    assert ids(gone) <= {i.lower() for i, kind in kinds if kind == "unsubscribed"}
    assert {i.lower() for i, _ in kinds} <= ids(NEVER)


@pytest.fixture
def build(tmp_path: Path, authority: Path) -> Iterator[Any]:
    """Open a house under switches; closed at the end."""
    opened = []

    def made(**switches: object) -> HouseOnCampaign:
        context = house_on_campaign(tmp_path / "house", authority, switches)
        opened.append(context)
        return context.__enter__()

    yield made
    for context in opened:
        context.__exit__(None, None, None)


def run_and_check(house: HouseOnCampaign) -> None:
    """The end state is the right one whatever the switches say."""
    switches = house.control.switches()
    receipt = drop_and_run(house)
    assert [call["outcome"] for call in house.control.calls()].count("lost") == 1
    missing = set(NEVER)
    if switches["empty_number"] == "fault":
        missing.add(NO_POINTS)
    if switches["nil_number"] == "fault":
        missing.add(EMPTY)
    assert receipt["fate"] == "archived", receipt
    assert set(house.content()) == ids(range(1, COUNT + 1)) - ids(missing)
    check_sums(receipt, len(house.content()), lags=switches["count_lag_seconds"] > 0)
    check_told(house)


@pytest.mark.parametrize(("name", "value"), SWITCHES)
def test_a_refill_under_each_switch(build: Any, name: str, value: object) -> None:
    """The list holds exactly who may be mailed, the sums come out, the CRM is told everybody."""
    run_and_check(build(**{name: value}))


@pytest.mark.parametrize("together", TOGETHER)
def test_a_refill_under_several_switches(build: Any, together: str) -> None:
    """Settings that meet in one refill do not spoil each other."""
    run_and_check(build(**TOGETHER[together]))


def test_connections_that_end_meanwhile(build: Any) -> None:
    """Before every chunk the connection is idle for longer than Campaign keeps it open."""
    house = build(keep_alive_seconds=0.01)
    house.clock.idle_seconds = 0.03
    run_and_check(house)


@pytest.mark.parametrize("sliding", [True, False])
def test_sessions_that_end_meanwhile(build: Any, sliding: bool) -> None:
    """Twelve minutes pass at Campaign alone before every call that adds."""
    house = build(sliding_session=sliding)
    house.control.schedule(
        "addAll3", "verb-before", times=None, verb="advance", arguments={"seconds": 720}
    )
    run_and_check(house)
    lost = [call for call in house.control.calls() if call["fault"] == "invalid-session"]
    assert bool(lost) is not sliding


def test_a_smaller_limit_of_a_call_is_found_by_halving(build: Any) -> None:
    """A chunk that is refused for its length arrives in parts; nobody is poisonous for it."""
    run_and_check(build(batch_limit=3, batch_over="fault"))


def test_a_call_that_is_cut_is_no_answer(build: Any) -> None:
    """Fewer codes than rows hold the refill, alarmed; a smaller chunk then makes the list right."""
    house = build(batch_limit=3, batch_over="cut")
    house.drop("a_1.csv", as_csv(dropped(), house.columns))
    house.run()
    held = house.receipts()["a_1.csv"]
    assert (held["place"], held["held"]["code"]) == ("REFILLING", "campaign-answer")
    house.client["chunk_rows"] = 3
    house.clock.advance(3600)
    house.run()
    receipt = house.receipts()["a_1.csv"]
    assert receipt["fate"] == "archived"
    assert set(house.content()) == ids(range(1, COUNT + 1)) - ids({NO_POINTS, POISON})
    assert receipt["list"]["count"] == len(house.content())


def test_a_value_for_what_is_empty(build: Any) -> None:
    """Where Campaign takes no nil, the feed says what to send, and nobody is left out."""
    house = build(nil_number="fault")
    day = "1900-01-01T00:00:00+00:00"
    for name, empty in (("revenue", "0"), ("since", day), ("seen", day), ("points", "0")):
        house.feeds[0]["attributes"][name] = {"column": name, "empty": empty}
    assert drop_and_run(house)["fate"] == "archived"
    assert set(house.content()) == ids(range(1, COUNT + 1)) - ids(NEVER)
    assert house.content()[f"p{EMPTY}@example.org"]["attributes"]["revenue"] == "0"


@pytest.mark.parametrize("short_dates", ["accepted", "fault"])
def test_values_arrive_in_full(build: Any, short_dates: str) -> None:
    """Numbers with a point, dates with time and offset: what both settings take."""
    house = build(short_dates=short_dates)
    drop_and_run(house)
    assert house.content()["p1@example.org"]["attributes"] == {
        "firstname": "Vorname1", "points": "1", "revenue": "12.5",
        "since": "2024-02-01T00:00:00+00:00", "seen": "2024-05-06T07:08:09+00:00",
    }  # fmt: skip


@pytest.mark.parametrize("unknown", ["fault", "ignored"])
def test_an_attribute_the_list_lacks_clears_nothing(build: Any, unknown: str) -> None:
    """Whatever Campaign would do with it, the list stays as it is."""
    house = build(unknown_attribute=unknown)
    house.control.set_list(LIST, attributes={"firstname": "STRING"})
    assert drop_and_run(house)["held"]["code"] == "missing-attribute"
    assert set(house.content()) == {"old@example.org"}
    assert "RpcRecipient.clear" not in house.control.counts()
