"""When response data is fetched: by interval or schedule, missed runs once; and what is told."""

import csv
import io
import json
import sys
from datetime import UTC, datetime, timedelta

import pytest

from etl import show
from etl.errors import FarSideUnavailable
from etl.fetching import Fetching
from etl.log import configure
from etl.ports import Stopped, Stream
from tests.servers.service import people
from tests.twins.house import House

DOWN = FarSideUnavailable("campaign-unreachable", detail="down")
BERLIN = {"zone": "Europe/Berlin", "times": ["05:30", "12:00"]}


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    made.close()


def fetches(house):
    """How often a fetch began."""
    return len(house.responses.schedule.made("now"))


def told(house, file):
    """Every row of the CRM's files of one kind."""
    found = []
    for path in sorted((house.root / "responses").glob(f"{file}-main-*.csv")):
        with path.open(encoding="utf-8", newline="") as opened:
            found += list(csv.DictReader(opened, delimiter=";"))
    return found


def at(house, text):
    """Set both clocks to a moment in UTC; the monotonic one goes on only."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    house.clock.advance((moment - house.clock.now).total_seconds())
    house.responses.now_ms = int(moment.timestamp() * 1000)


def test_without_a_schedule_an_interval_decides(house):
    """At the start, and whenever an hour is over, also after a clock went back."""
    fetching = Fetching(house.open())
    counted = []
    for seconds in (0, 3599, 1, 10, -7200):
        house.clock.advance(seconds)
        fetching.turn()
        counted.append(fetches(house))
    assert counted == [1, 1, 2, 2, 3]


def test_a_schedule_decides_in_its_own_zone(house):
    """Half past five in Berlin is half past four in November; in between nothing is fetched."""
    house.client = {"schedule": BERLIN}
    fetching = Fetching(house.open())
    counted = []
    for moment in ("2026-11-24T09:00", "2026-11-24T10:59", "2026-11-24T11:00", "2026-11-25T04:29",
                   "2026-11-25T04:30", "2026-11-25T10:00"):  # fmt: skip
        at(house, moment)
        fetching.turn()
        counted.append(fetches(house))
    assert counted == [1, 1, 2, 2, 3, 3]


def test_missed_runs_are_caught_up_once(house):
    """A daemon that was away for days fetches once at its start, and not again for the same run."""
    house.client = {"schedule": BERLIN}
    Fetching(house.open()).turn()
    house.close()
    at(house, "2026-11-28T06:00")
    for _ in range(3):
        fetching = Fetching(house.open())
        fetching.turn()
        fetching.turn()
        house.close()
    assert fetches(house) == 2


def test_a_run_that_failed_is_tried_again(house):
    """Campaign is away at the time: tried again after some minutes, and done then."""
    house.client = {"schedule": BERLIN}
    fetching = Fetching(house.open())
    house.responses.fail_next("now", DOWN)
    counted = []
    for seconds in (0, 299, 1, 3600):
        house.clock.advance(seconds)
        fetching.turn()
        counted.append(fetches(house))
    assert counted == [1, 1, 2, 2]


@pytest.mark.parametrize("broken", ["a page", "the blocklist", "the folder"])
def test_a_run_that_is_not_whole_is_tried_again(house, broken):
    """A source that suppresses fails, or the folder is away: the run counts for nothing yet."""
    house.client = {"schedule": BERLIN}
    fetching = Fetching(house.open())
    if broken == "the folder":
        (house.root / "responses").rename(house.root / "away")
        with pytest.raises(FarSideUnavailable):
            fetching.turn()
        (house.root / "away").rename(house.root / "responses")
    else:
        house.responses.fail_next("page" if broken == "a page" else "blocklist", DOWN)
        fetching.turn()
    assert list((house.root / "responses").glob("*.csv")) == [], (
        "nothing is said of what is not known"
    )
    fetching.turn()
    house.clock.advance(300)
    fetching.turn()
    fetching.turn()
    assert fetches(house) == 2
    assert len(list((house.root / "responses").glob("*.csv"))) == 2


def test_a_stop_answers_no_request(house):
    """The service is told to stop during the fetch: whoever asked hears of the next one."""
    world = house.open()
    number = world.journal.requests.ask("fetch", "", (), "test", "me", house.clock.wall())
    house.responses.fail_next("page", Stopped())
    fetching = Fetching(world)
    with pytest.raises(Stopped):
        fetching.turn()
    assert world.journal.requests.outcome(number) is None
    fetching.turn()
    assert world.journal.requests.outcome(number) == "done"


def test_a_gap_is_alarmed_whatever_becomes_of_the_rest(house):
    """It is noted with the first window, and a later one fails: told all the same."""
    fetching = Fetching(house.open())
    fetching.turn()
    house.responses.now_ms += 40 * 86_400_000
    house.clock.advance(40 * 86_400)
    house.responses.fail_next("page", DOWN, skip=1)
    log = io.StringIO()
    configure(log, as_json=True)
    try:
        fetching.turn()
    finally:
        configure(sys.stderr)
    gaps = [entry for line in log.getvalue().splitlines()
            if (entry := json.loads(line)).get("code") == "response-gap"]  # fmt: skip
    assert {entry["source"] for entry in gaps} == {"getOutBounces", "getMailingUnsubscribes"}
    assert {entry["lost_hours"] for entry in gaps} == {240.0}


def test_a_run_of_a_wrong_clock_counts_for_nothing(house):
    """The clock was years ahead once: the schedule holds when it is right again."""
    house.client = {"schedule": BERLIN}
    fetching = Fetching(house.open())
    at(house, "2031-01-01T00:00")
    fetching.turn()
    at(house, "2026-11-25T05:00")
    fetching.turn()
    fetching.turn()
    assert fetches(house) == 2


def test_what_is_asked_for_is_fetched_at_once(house):
    """`etl responses fetch` does not wait for the schedule, and hears what came of it."""
    house.client = {"schedule": BERLIN}
    world = house.open()
    fetching = Fetching(world)
    fetching.turn()
    outcomes = []
    for away in (False, True):
        number = world.journal.requests.ask("fetch", "", (), "test", "me", house.clock.wall())
        if away:
            house.responses.fail_next("now", DOWN)
        fetching.turn()
        fetching.turn()
        outcomes.append(world.journal.requests.outcome(number))
    assert (fetches(house), outcomes) == (3, ["done", "campaign-unreachable"])


def test_a_folder_that_is_away_makes_no_endless_fetches(house):
    """What was asked for is answered with the reason, and not asked of Campaign every second."""
    world = house.open()
    number = world.journal.requests.ask("fetch", "", (), "test", "me", house.clock.wall())
    (house.root / "responses").rename(house.root / "away")
    fetching = Fetching(world)
    with pytest.raises(FarSideUnavailable):
        fetching.turn()
    fetching.turn()
    assert (fetches(house), world.journal.requests.outcome(number)) == (1, "folder-lost")


def test_the_status_tells_ages_without_a_key(house):
    """Every source with its age, and how long unsubscriptions took, out of the journal alone."""
    house.drop("a_1.csv", people(2))
    house.run()
    hours_ago = "2026-11-24T04:00:00+00:00"
    house.responses.happen(Stream.UNSUBSCRIBES, "p1@example.org", hours_ago)
    Fetching(house.open()).turn()
    now = house.clock.wall() + timedelta(hours=2)
    (told,) = show.status(house.world.journal, now)["response_data"]
    sources = {"getOutBounces", "getUnsubscribes", "getMailingUnsubscribes", "blocklist"}
    assert (told["client"], set(told["age_hours_by_source"])) == ("main", sources)
    assert all(1.9 < age < 2.1 for age in told["age_hours_by_source"].values())
    assert told["unsubscription_to_effect"] == {
        "events": 1, "median_hours": 5.0, "longest_hours": 5.0,
    }  # fmt: skip


def test_opens_and_clicks_are_told_of_the_crms_campaigns_alone(house):
    """A mailing without a campaign of the CRM is left out and counted, whoever opened it."""
    house.client = {"tell": ["opens", "clicks", "bounces"],
                    "campaign_pattern": r"#(?P<campaign>\d+)"}  # fmt: skip
    house.drop("a_1.csv", people(2))
    assert house.run() == 0
    happen = house.responses.happen
    happen(Stream.MAILINGS, "7", "Spring #4711", None, None)
    happen(Stream.MAILINGS, "8", "A test", None, None)
    for mailing in ("7", "8", "9"):
        happen(Stream.OPENS, "p1@example.org", mailing, "2026-11-24T08:00:00+00:00")
        happen(Stream.CLICKS, "p1@example.org", mailing, "https://shop.test/", None)
    happen(Stream.RESPONSES, "p2@example.org", "8", "softbounce", None)
    happen(Stream.RESPONSES, "p2@example.org", "8", "autoresponder", None)
    Fetching(house.open()).turn()
    (opened,), (clicked,), (bounced,) = (told(house, n) for n in ("opens", "clicks", "bounces"))
    of_person = {"entity-type": "contact", "entity-id": "00001", "recipient-id": "p1@example.org",
                 "mailing-id": "7", "campaign-id": "4711", "media-type": "EMAIL"}  # fmt: skip
    assert opened == of_person | {"kind": "opened", "source": "getOpens",
                                  "time": "2026-11-24T08:00:00Z"}  # fmt: skip
    assert clicked == of_person | {"kind": "clicked", "source": "getClicks", "time": "",
                                   "link": "https://shop.test/"}  # fmt: skip
    assert (bounced["kind"], bounced["recipient-id"]) == ("softbounce", "p2@example.org")
    (status,) = house.world.store.status()
    assert status.left_out == {
        Stream.OPENS: {"no-campaign": 2}, Stream.CLICKS: {"no-campaign": 2},
        Stream.RESPONSES: {"no-bounce": 1},
    }  # fmt: skip
    assert house.world.store.freshness("main").entries == 0, "a single bounce suppresses nobody"


def test_an_open_waits_for_its_mailing(house):
    """Its mailing is exported later than the open: the open is told then, once."""
    house.client = {"tell": ["opens"], "campaign_pattern": r"#(?P<campaign>\d+)"}
    house.drop("a_1.csv", people(2))
    assert house.run() == 0
    house.responses.happen(Stream.OPENS, "p1@example.org", "7", None)
    fetching = Fetching(house.open())
    fetching.turn()
    assert told(house, "opens") == []
    house.responses.now_ms += 3_600_000
    house.responses.happen(Stream.MAILINGS, "7", "Spring #4711", None, None)
    for _ in range(2):
        house.clock.advance(3600)
        fetching.turn()
    assert [row["campaign-id"] for row in told(house, "opens")] == ["4711"]
    assert house.world.store.status()[0].left_out == {}


def test_whoever_is_unknown_is_told_apart(house):
    """Nobody known carries the address: a file of its own, so that others lack no entity."""
    house.responses.happen(Stream.UNSUBSCRIBES, "stranger@example.org", None)
    Fetching(house.open()).turn()
    assert told(house, "unsubscriptions") == []
    (row,) = told(house, "unsubscriptions-unassigned")
    assert (row["recipient-id"], row["entity-id"]) == ("stranger@example.org", "")


def test_a_stream_for_the_crm_keeps_no_transfer_back(house):
    """Opens cannot be read: suppression data is complete all the same, the drop goes its way."""
    house.client = {"tell": ["opens"], "campaign_pattern": r"#(?P<campaign>\d+)"}
    house.responses.happen(Stream.OPENS, "not laid out like this")
    Fetching(house.open()).turn()
    house.close()
    house.drop("a_1.csv", people(2))
    assert house.run() == 0
    assert house.receipts()["a_1.csv"]["fate"] == "archived"
