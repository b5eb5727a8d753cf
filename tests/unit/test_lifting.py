"""Who comes back: bounces by Campaign's own word at a drop, unsubscriptions by an operator's."""

import io
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etl import show
from etl.errors import FarSideRefused, FarSideUnavailable
from etl.extract.learned import Event, Found
from etl.extract.lifts import wishes
from etl.journal import Journal
from etl.lifting import ASKING_SECONDS, MOST_ASKED
from etl.log import configure
from etl.ports import Stream, Window
from tests.servers.service import people, person
from tests.twins.house import Death, House
from tests.unit.test_rollback import MEMORY

DOWN = FarSideUnavailable("campaign-unreachable", detail="down")
NO = FarSideRefused("call-refused", call="isBounceCounterThresholdExeeded", detail="no right")


@pytest.fixture
def house():
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        made = House(Path(name))
        yield made
        made.close()


def bounce(house, *numbers, now=True):
    """Campaign lists people as bounced out; `now` says whether they still are when it is asked."""
    for number in numbers:
        house.responses.happen(Stream.OUT_BOUNCES, f"p{number}@example.org")
        if now:
            house.lists.bounced.add(f"p{number}@example.org")
    house.responses.now_ms += 1000


def taken(house, name, rows):
    """Take a drop through; its receipt's check."""
    house.drop(name, rows)
    house.run()
    return house.receipts()[name]["check"]


def asked(house):
    """Every id that was asked about, question by question."""
    return [call["ids"] for call in house.lists.schedule.made("bounced_out")]


def entries(house):
    """Kinds of what suppresses people in the store."""
    kinds = house.open().store.entries("main")["kind"].to_list()
    house.close()
    return sorted(kinds)


def told(house, file, person):
    """Lines of the CRM's files that name a person."""
    paths = (house.root / "responses").glob(f"{file}-*.csv")
    return [line for path in paths for line in path.read_text().splitlines() if person in line]


def logged(house, event):
    """The log lines of an event while `once` runs."""
    out = io.StringIO()
    configure(out, as_json=True, strict=True)
    try:
        house.run()
    finally:
        configure(io.StringIO())
    return [line for line in map(json.loads, out.getvalue().splitlines()) if line["event"] == event]


# --- bounces -------------------------------------------------------------------------------------


def test_a_bounce_that_was_reset_comes_back(house):
    """Answered with no, the person is mailed by this drop, and nothing speaks against them more."""
    bounce(house, 2, now=False)
    bounce(house, 3)
    check = taken(house, "a_1.csv", people(5))
    assert (check["accepted"], check["suppressed"]) == (4, 1)
    assert check["suppressed_by"] == {"bounced": 1, "unsubscribed": 0, "blocklisted": 0}
    assert "p2@example.org" in house.ids()
    assert "p3@example.org" not in house.ids()
    assert sorted(asked(house)) == [("p2@example.org",), ("p3@example.org",)]
    assert entries(house) == ["bounced"]
    taken(house, "a_2.csv", people(5))
    assert sorted(asked(house))[2:] == [("p3@example.org",)]


def test_a_bounce_found_by_code_4_is_treated_alike(house):
    """It stays out while Campaign says so, comes back when it does not, and can be found again."""
    house.lists.bounced.add("p2@example.org")
    taken(house, "a_1.csv", people(5))
    assert taken(house, "a_2.csv", people(5))["suppressed_by"]["bounced"] == 1
    house.lists.bounced.clear()
    assert taken(house, "a_3.csv", people(5))["suppressed"] == 0
    assert len(house.ids()) == 5
    house.lists.bounced.add("p2@example.org")
    taken(house, "a_4.csv", people(5))
    assert taken(house, "a_5.csv", people(5))["suppressed_by"]["bounced"] == 1
    assert len(told(house, "bounces", "p2@example.org")) == 1


def test_nobody_is_asked_about_who_stays_out_anyway(house):
    """Not who is unsubscribed or blocked too, in our store or by Campaign's word of this minute."""
    bounce(house, 1, 2, 3, 4, now=False)
    house.responses.happen(Stream.UNSUBSCRIBES, "p1@example.org", "1795510800000")
    house.responses.entries.append("p2@*")
    house.responses.now_ms += 1000
    house.lists.unsubscribed.add("p3@example.org")
    check = taken(house, "a_1.csv", people(6))
    assert asked(house) == [("p4@example.org",)]
    assert (check["accepted"], check["suppressed"]) == (3, 3)
    assert check["suppressed_by"] == {"bounced": 3, "unsubscribed": 2, "blocklisted": 1}
    assert house.ids() == [f"p{number}@example.org" for number in (4, 5, 6)]


def test_the_address_as_dropped_is_asked_too(house):
    """One yes to any form keeps the person out."""
    bounce(house, 2, now=False)
    rows = [person(1), person(2, email="P2@Example.org")]
    house.lists.bounced.add("P2@Example.org")
    assert taken(house, "a_1.csv", rows)["suppressed"] == 1
    assert asked(house) == [("p2@example.org", "P2@Example.org")]
    house.lists.bounced.clear()
    assert taken(house, "a_2.csv", rows)["suppressed"] == 0


def test_whoever_shares_an_address_is_asked_together(house):
    """Where ids are entities, the address comes back when none of them is beyond the limit."""
    house.feeds[0]["recipient"] = {"id": "entity"}
    rows = [person(1), person(2, email="p1@example.org"), person(3)]
    taken(house, "a_1.csv", rows)
    house.responses.happen(Stream.OUT_BOUNCES, "contact:00002")
    house.responses.now_ms += 1000
    house.lists.bounced.add("contact:00002")
    assert taken(house, "a_2.csv", [*rows, *people(5, first=4)])["suppressed"] == 2
    assert asked(house) == [("contact:00001", "contact:00002")]
    house.lists.bounced.clear()
    assert taken(house, "a_3.csv", [*rows, *people(5, first=4)])["suppressed"] == 0
    assert entries(house) == []


def test_a_bounce_of_an_unknown_entity_comes_back_too(house):
    """Told of an entity that no drop had, it is asked about when a drop has it."""
    house.feeds[0]["recipient"] = {"id": "entity"}
    house.responses.happen(Stream.OUT_BOUNCES, "contact:00002")
    house.responses.now_ms += 1000
    house.run()
    assert entries(house) == ["bounced"]
    assert taken(house, "a_1.csv", people(3))["suppressed"] == 0
    assert asked(house) == [("contact:00002",)]
    assert entries(house) == []


@pytest.mark.parametrize("error", [DOWN, NO])
def test_a_failed_question_lifts_nobody_and_holds_nothing(house, error):
    """They stay suppressed, the drop goes on, a log line tells; the next drop asks again."""
    bounce(house, 2, 3, now=False)
    house.lists.fail_next("bounced_out", error)
    house.drop("a_1.csv", people(5))
    (line,) = logged(house, "far-side")
    assert (line["code"], line["client"], line["level"]) == (error.code, "main", "warning")
    receipt = house.receipts()["a_1.csv"]
    assert (receipt["fate"], receipt["check"]["suppressed_by"]["bounced"]) == ("archived", 2)
    assert len(asked(house)) == 1, "a far side that fails is not asked on"
    assert entries(house) == ["bounced", "bounced"]
    assert taken(house, "a_2.csv", people(5))["suppressed"] == 0


def test_what_was_answered_before_a_failure_counts(house):
    """The second question fails; the first one's person comes back all the same."""
    bounce(house, 2, 3, now=False)
    house.lists.fail_next("bounced_out", DOWN, skip=1)
    house.drop("a_1.csv", people(5))
    (line,) = logged(house, "lifted")
    assert {key: line[key] for key in ("kind", "people", "asked", "not_asked")} == {
        "kind": "bounced", "people": 1, "asked": 1, "not_asked": 1,
    }  # fmt: skip
    check = house.receipts()["a_1.csv"]["check"]
    assert (check["accepted"], check["suppressed"]) == (4, 1)


def test_slow_answers_do_not_hold_a_drop(house):
    """After some minutes no question is begun any more."""
    bounce(house, *range(1, 9), now=False)
    house.lists.before = lambda verb: (
        verb == "bounced_out" and house.clock.advance(ASKING_SECONDS / 3 + 1)
    )
    assert taken(house, "a_1.csv", people(12))["suppressed_by"]["bounced"] == 5
    assert len(asked(house)) == 3


def test_five_hundred_a_drop_and_others_at_the_next(house):
    """Of more than can be asked, every drop asks others; who was not asked stays out."""
    house.client["chunk_rows"] = 800
    world = house.open()
    everybody = people(1300)
    at = datetime(2026, 11, 1, tzinfo=UTC)
    world.store.add_found(
        "main", [Found(row["email"], "bounced", "code-4", at) for row in everybody[:1200]]
    )
    house.close()
    house.lists.bounced = {row["email"] for row in everybody[:1200]}
    seen = []
    for day in (1, 2):
        check = taken(house, f"a_{day}.csv", everybody)
        assert (check["accepted"], check["suppressed"]) == (100, 1200)
        seen.append({each for ids in asked(house) for each in ids})
        assert len(asked(house)) == len(seen[-1]) == MOST_ASKED
        house.lists.schedule.calls.clear()
    # By chance about 208 of them are the same.
    assert 100 < len(seen[0] & seen[1]) < 320
    house.lists.bounced.clear()
    assert taken(house, "a_3.csv", everybody)["accepted"] == 600


def test_no_more_ids_than_allowed_are_asked(house):
    """Somebody with two forms counts twice."""
    world = house.open()
    rows = [person(n, email=f"P{n}@example.org") for n in range(1, 302)]
    world.store.add_found(
        "main", [Found(row["email"], "bounced", "code-4", house.clock.now) for row in rows[:300]]
    )
    house.close()
    house.lists.bounced = {row["email"] for row in rows}
    taken(house, "a_1.csv", rows)
    assert len(asked(house)) == MOST_ASKED / 2
    assert {len(ids) for ids in asked(house)} == {2}


def test_a_drop_asks_once_however_often_it_is_checked(house):
    """Neither a check that is repeated after a hold nor the refill asks again."""
    taken(house, "a_1.csv", people(10))
    bounce(house, 2)
    house.drop("a_2.csv", people(5))
    house.run()
    assert house.receipts()["a_2.csv"]["held"]["code"] == "shrunk"
    assert len(asked(house)) == 1
    house.lists.lists[100].name = "Renamed"
    house.ask("release", house.receipts()["a_2.csv"]["batch"], "shrunk")
    house.run()
    held = house.receipts()["a_2.csv"]
    assert (held["place"], held["held"]["code"]) == ("UPLOADED", "wrong-list")
    house.lists.lists[100].name = "List 0"
    house.clock.advance(3600)
    house.run()
    assert house.receipts()["a_2.csv"]["fate"] == "archived"
    assert len(asked(house)) == 1
    assert len(house.ids()) == 4


@pytest.mark.parametrize("after", [True, False])
def test_a_death_among_the_questions_is_made_good(house, after):
    """The next start asks again and ends with the right list."""
    bounce(house, 2, 3, now=False)
    bounce(house, 4)
    house.drop("a_1.csv", people(6))
    house.lists.fail_next("bounced_out", Death(), skip=1, after_effect=after)
    house.run_until_it_lives()
    assert sorted(house.ids()) == [f"p{number}@example.org" for number in (1, 2, 3, 5, 6)]
    assert entries(house) == ["bounced"]


# --- an operator's lift --------------------------------------------------------------------------


def wish(house, who):
    """What `etl suppression lift` writes."""
    store = house.open().store
    codes = [each.text for each in wishes(store.lifts.speaking_against("main", who))]
    house.close()
    journal = Journal(house.root / "state" / "journal.sqlite3")
    at = house.clock.wall()
    journal.requests.ask("lift", None, codes, "asked by letter", "ops", at, client="main")
    journal.close()
    return codes


def outcome(house):
    """What `etl status` tells of the last request."""
    with_journal = Journal(house.root / "state" / "journal.sqlite3")
    found = show.status(with_journal, house.clock.wall())["requests"][0]
    with_journal.close()
    return found


def unsubscribe(house, number, at="1795510800000"):
    house.responses.happen(Stream.UNSUBSCRIBES, f"p{number}@example.org", at)
    house.responses.now_ms += 1000


def test_a_lifted_unsubscription_is_mailed_again(house):
    """Address and entity alike; the journal keeps who and why, and names nobody."""
    taken(house, "a_1.csv", people(5))
    unsubscribe(house, 2)
    assert taken(house, "a_2.csv", people(5))["suppressed_by"]["unsubscribed"] == 1
    assert len(wish(house, "p2@example.org")) == 2
    (line,) = logged(house, "lifted")
    assert (line["client"], line["user"], line["entries"], line["left"]) == ("main", "ops", 2, 0)
    found = outcome(house)
    assert {key: found[key] for key in ("verb", "feed", "client", "user", "outcome")} == {
        "verb": "lift", "feed": None, "client": "main", "user": "ops", "outcome": "done",
    }  # fmt: skip
    assert taken(house, "a_3.csv", people(5))["suppressed"] == 0
    assert "p2@example.org" in house.ids()
    for path in (house.root / "state").glob("journal.sqlite3*"):
        assert b"p2@example.org" not in path.read_bytes()


def test_a_lift_waits_for_no_drop_and_is_taken_once(house):
    """`etl once` without a drop takes it, ends with 0, and a second run has nothing to do."""
    taken(house, "a_1.csv", people(5))
    unsubscribe(house, 2)
    taken(house, "a_2.csv", people(5))
    wish(house, "p2@example.org")
    assert house.run() == 0
    assert entries(house) == []
    journal = Journal(house.root / "state" / "journal.sqlite3")
    assert journal.requests.waiting() == []
    journal.close()
    assert logged(house, "lifted") == []


def test_what_campaign_still_says_counts_anew(house):
    """The live check finds the person unsubscribed: suppressed again, and the CRM told again."""
    house.lists.unsubscribed.add("p2@example.org")
    taken(house, "a_1.csv", people(5))
    assert len(told(house, "unsubscriptions", "p2@example.org")) == 1
    wish(house, "p2@example.org")
    house.run()
    assert entries(house) == []
    for name in ("a_2.csv", "a_3.csv"):
        assert taken(house, name, people(5))["suppressed_by"]["unsubscribed"] == 1
    assert "p2@example.org" not in house.ids()
    assert len(told(house, "unsubscriptions", "p2@example.org")) == 2


def test_only_a_new_event_suppresses_again(house):
    """The old one is in the next fetch's window once more and changes nothing."""
    unsubscribe(house, 2)
    taken(house, "a_1.csv", people(5))
    wish(house, "p2@example.org")
    house.run()
    assert taken(house, "a_2.csv", people(5))["suppressed"] == 0
    unsubscribe(house, 2, "1795514400000")
    assert taken(house, "a_3.csv", people(5))["suppressed_by"]["unsubscribed"] == 1
    assert len(told(house, "unsubscriptions", "p2@example.org")) == 2


def test_what_came_between_wish_and_lift_stands(house):
    """The outcome says so; nobody had seen it when the wish was made."""
    unsubscribe(house, 2)
    taken(house, "a_1.csv", people(5))
    wish(house, "p2@example.org")
    house.clock.advance(60)
    store = house.open().store
    again = Event("p2@example.org", None, "", b"second")
    store.commit_window(
        "main", Stream.UNSUBSCRIBES, Window(0, 1), [again], id_rule="email", at=house.clock.wall()
    )
    house.close()
    house.run()
    assert outcome(house)["outcome"] == "said-again"
    assert entries(house) != []


def test_a_death_before_the_journal_knows_is_made_good(house):
    """Lifted in the store, not yet taken in the journal: taken again, and still done."""
    unsubscribe(house, 2)
    taken(house, "a_1.csv", people(5))
    codes = wish(house, "p2@example.org")
    store = house.open().store
    found = store.lifts.speaking_against("main", "p2@example.org")
    assert store.lifts.lift("main", wishes(found), house.clock.wall()).entries == len(codes)
    house.close()
    house.run()
    assert outcome(house)["outcome"] == "done"
