"""A drop's life over twins: order, holds, takeover, release, deaths at every call of a port."""

import contextlib
import io
import json
import shutil
import sqlite3
import threading
from dataclasses import replace

import pytest

from etl.batch import Place
from etl.daemon import Daemon
from etl.errors import FarSideRefused, FarSideUnavailable
from etl.extract.inbox import Inbox
from etl.log import configure
from etl.ports import Stream
from tests.servers.service import as_csv, people, person
from tests.twins.house import Death, House
from tests.twins.recipient_list import OneList

DOWN = FarSideUnavailable("campaign-unreachable", detail="down")


def ids(rows):
    return [row["email"] for row in rows]


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    made.close()


def rest(house):
    """What is left in the inbox, its claims and among the copies."""
    inbox = [path.name for path in (house.root / "inbox").iterdir() if path.name != ".claimed"]
    claims = [p.name for p in (house.root / "inbox").glob(".claimed/*/*")]
    copies = [p.name for p in (house.root / "state" / "batches").glob("*/original")]
    return inbox + claims + copies


def test_a_drop_goes_all_the_way(house):
    """List, remote file, receipt and archive hold the drop; nothing is left anywhere else."""
    house.drop("a_1.csv", people(10))
    assert house.run() == 0
    assert house.ids() == ids(people(10))
    assert house.receipts()["a_1.csv"]["fate"] == "archived"
    assert len(house.drop_twin.files) == 1
    assert len(list((house.root / "state" / "archive").rglob("*-a_1.csv"))) == 1
    assert rest(house) == []


@pytest.mark.parametrize("skip", range(4))
@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize(
    ("port", "verb"),
    [
        ("lists", "suppressed"), ("lists", "describe"), ("lists", "clear"), ("lists", "add"),
        ("lists", "count"), ("lists", "purge"), ("responses", "page"), ("responses", "blocklist"),
    ],
)  # fmt: skip
def test_a_death_at_any_call_ends_in_the_right_list(house, port, verb, skip, after):
    """Whatever call the process dies at, the next start brings everything to its end."""
    house.lists.unsubscribed.add("p3@example.org")
    house.drop("a_1.csv", people(10))
    getattr(house, port).fail_next(verb, Death(), after_effect=after, skip=skip)
    house.run_until_it_lives()
    assert sorted(house.ids()) == sorted(set(ids(people(10))) - {"p3@example.org"})
    assert house.receipts()["a_1.csv"]["fate"] == "archived"
    assert [name for name in house.drop_twin.files if not name.endswith(".part")].__len__() == 1
    assert house.count("clear") <= 2
    assert rest(house) == []


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("verb", ["put", "rename"])
def test_a_death_in_the_upload_leaves_one_remote_file(house, verb, after):
    """The file is there once, complete, whether the dying call had its effect or not."""
    house.drop("a_1.csv", people(10))
    house.drop_twin.fail_next(verb, Death(), after_effect=after)
    house.run_until_it_lives()
    assert len(house.drop_twin.files) == 1
    (name,) = house.drop_twin.files
    assert not name.endswith(".part")
    assert house.ids() == ids(people(10))


def test_the_newest_of_several_drops_runs(house):
    """Of twenty waiting drops the newest refills; the others end superseded with a receipt."""
    for day in range(1, 21):
        house.drop(f"a_{day:02}.csv", people(10, first=day))
    house.run()
    fates = {name: receipt["fate"] for name, receipt in house.receipts().items()}
    assert fates.pop("a_20.csv") == "archived"
    assert set(fates.values()) == {"superseded"}
    assert len(fates) == 19
    assert house.count("clear") == 1
    assert house.ids() == ids(people(10, first=20))
    assert rest(house) == []


def test_a_bad_newest_drop_lets_the_next_one_run(house):
    """What is quarantined or waits for a release does not stand in the way of an older drop."""
    house.drop("a_1.csv", people(10))
    house.run()
    house.drop("a_2.csv", people(10, first=2))
    house.drop("a_3.csv", people(3))
    house.drop("a_4.csv", b"")
    assert house.run() == 1
    fates = {name: receipt["fate"] for name, receipt in house.receipts().items()}
    assert fates == {
        "a_1.csv": "archived", "a_2.csv": "archived", "a_3.csv": "held", "a_4.csv": "quarantined",
    }  # fmt: skip
    assert house.ids() == ids(people(10, first=2))


def test_a_release_lets_a_shrunk_drop_pass_once(house):
    """After a release the drop refills; the release does not help the next one."""
    house.drop("a_1.csv", people(10))
    house.run()
    house.drop("a_2.csv", people(3))
    house.run()
    held = house.receipts()["a_2.csv"]
    assert (held["fate"], held["held"]["code"]) == ("held", "shrunk")
    house.ask("release", held["batch"], "shrunk")
    house.run()
    assert house.receipts()["a_2.csv"]["fate"] == "archived"
    assert house.ids() == ids(people(3))
    house.drop("a_3.csv", people(1))
    house.run()
    assert house.receipts()["a_3.csv"]["held"]["code"] == "shrunk"


def test_an_older_drop_after_a_newer_one_is_outdated_and_can_be_discarded(house):
    """It is held, the list stays; discarding ends it with a receipt and keeps the bytes."""
    house.drop("a_2.csv", people(10))
    house.run()
    house.drop("a_1.csv", people(10, first=5))
    house.run()
    held = house.receipts()["a_1.csv"]
    assert held["held"]["code"] == "outdated"
    house.ask("discard", held["batch"])
    house.run()
    assert house.receipts()["a_1.csv"]["fate"] == "discarded"
    assert house.ids() == ids(people(10))
    assert rest(house) == []


def test_a_newer_drop_takes_over_a_held_refill(house):
    """A list left partial by one batch is made whole by the next; its dirtiness is never lost."""
    house.drop("a_1.csv", people(10))
    refused = FarSideRefused("campaign-login")
    house.lists.fail_next("add", refused, skip=1)
    house.run()
    held = house.receipts()["a_1.csv"]
    assert (held["fate"], held["place"]) == ("held", "REFILLING")
    house.drop("a_2.csv", people(12))
    house.run()
    fates = {name: receipt["fate"] for name, receipt in house.receipts().items()}
    assert fates == {"a_1.csv": "superseded", "a_2.csv": "archived"}
    assert house.ids() == ids(people(12))
    assert rest(house) == []


def test_a_refill_that_is_held_cannot_be_discarded(house):
    """A dirty list is never left alone."""
    house.drop("a_1.csv", people(10))
    house.lists.fail_next("add", FarSideRefused("campaign-login"), skip=1)
    house.run()
    house.ask("discard", house.receipts()["a_1.csv"]["batch"])
    house.run()
    assert house.receipts()["a_1.csv"]["fate"] == "held"


def test_a_held_batch_goes_on_by_itself(house):
    """When the far side is back and the time has come, the batch goes on without anybody."""
    house.drop("a_1.csv", people(10))
    house.lists.fail_next("suppressed", DOWN)
    assert house.run() == 1
    assert house.receipts()["a_1.csv"]["held"]["code"] == "campaign-unreachable"
    house.run()
    assert house.receipts()["a_1.csv"]["fate"] == "held"
    house.clock.advance(301)
    assert house.run() == 0
    assert house.receipts()["a_1.csv"]["fate"] == "archived"


def test_nothing_is_sent_on_suppression_data_that_was_never_complete(house):
    """A source that always fails holds everything before the upload."""
    house.responses.fail_next("page", DOWN, times=99)
    house.drop("a_1.csv", people(10))
    house.run()
    assert house.receipts()["a_1.csv"]["held"]["code"] == "suppression-missing"
    assert (house.drop_twin.files, house.count("clear")) == ({}, 0)


def test_who_unsubscribes_between_upload_and_clear_is_not_sent(house):
    """The live check is asked again directly before the clear."""

    def late(verb):
        if verb == "describe":
            house.lists.unsubscribed.discard("nobody")
        if verb == "suppressed" and house.drop_twin.files:
            house.lists.unsubscribed.add("p7@example.org")

    house.lists.before = late
    house.drop("a_1.csv", people(10))
    house.run()
    receipt = house.receipts()["a_1.csv"]
    assert receipt["list"]["suppressed_late"] == 1
    assert "p7@example.org" not in house.ids()
    assert b"p7@example.org" in next(iter(house.drop_twin.files.values()))


def test_an_unsubscription_follows_the_person_to_a_new_address(house):
    """Known by its entity, a person who said no stays out under another address."""
    house.drop("a_1.csv", people(10))
    house.run()
    house.responses.happen(Stream.UNSUBSCRIBES, "p4@example.org", "1795510800000")
    house.responses.now_ms += 1000
    changed = people(10)
    changed[3] = person(4, email="new-address@example.org")
    house.drop("a_2.csv", changed)
    house.run()
    receipt = house.receipts()["a_2.csv"]
    assert receipt["check"]["suppressed_by"]["unsubscribed"] == 1
    assert "new-address@example.org" not in house.ids()
    assert len(house.ids()) == 9


def test_what_campaign_refuses_is_known_at_the_next_drop(house):
    """Codes 3 and 4 go into the store and into the CRM's files exactly once."""
    house.lists.bounced.add("p2@example.org")
    house.drop("a_1.csv", people(10))
    house.run()
    house.drop("a_2.csv", people(10))
    house.run()
    receipt = house.receipts()["a_2.csv"]
    assert receipt["check"]["suppressed_by"] == {"bounced": 1, "unsubscribed": 0, "blocklisted": 0}
    files = sorted((house.root / "responses").glob("bounces-*.csv"))
    lines = [line for path in files for line in path.read_text().splitlines() if "p2@" in line]
    assert len(lines) == 1
    assert ";code-4;" in lines[0]


def test_a_drop_of_no_feed_or_two_is_quarantined(tmp_path):
    """A name that fits no pattern, or several, ends in a case with its bytes."""
    house = House(tmp_path, feeds=2)
    house.feeds[1]["pattern"] = r"(b_|a_9)\d*(?P<date>)\.csv"
    house.drop("x.csv", people(3))
    house.drop("a_9.csv", people(3))
    house.run()
    codes = {name: receipt["reason"]["code"] for name, receipt in house.receipts().items()}
    assert codes == {"x.csv": "no-feed", "a_9.csv": "two-feeds"}
    reports = [json.loads(p.read_text()) for p in house.root.glob("quarantine/*/report.json")]
    assert len(reports) == 2
    assert len(list(house.root.glob("quarantine/*/x.csv"))) == 1


def test_a_check_that_kills_the_process_three_times_is_quarantined(house):
    """The fourth attempt is not made: the drop goes to a case instead of ending the daemon."""
    house.drop("a_1.csv", people(10))
    house.responses.before = lambda verb: (_ for _ in ()).throw(KeyboardInterrupt)
    journal_deaths = 0
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            house.run()
        world = house.open()
        batches = world.journal.batches.under_way()
        if batches:
            # An interrupt in Python still runs the clean-up; a SIGKILL does not.
            world.journal.batches.step_begins(batches[0], "checking")
            journal_deaths += 1
        house.close()
    house.responses.before = lambda _: None
    house.run()
    receipt = house.receipts()["a_1.csv"]
    assert receipt["reason"]["code"] == "crashed-checking"


def test_everybody_suppressed_is_no_rows_and_quarantined(house):
    """Nobody left to send never becomes an empty list."""
    house.drop("a_1.csv", people(10))
    house.run()
    house.lists.blocklist.append("*@example.org")
    house.drop("a_2.csv", people(10))
    house.run()
    receipt = house.receipts()["a_2.csv"]
    assert receipt["reason"]["code"] == "no-rows"
    assert receipt["check"]["suppressed"] == 10
    assert len(house.ids()) == 10


def test_the_staged_rows_of_the_last_two_refills_stay(house):
    """Three refills leave the staged rows of the last two."""
    for day in (1, 2, 3):
        house.drop(f"a_{day}.csv", people(10))
        house.run()
    batches = [house.receipts()[f"a_{day}.csv"]["batch"] for day in (2, 3)]
    kept = sorted(p.parent.name for p in house.root.glob("state/batches/*/staged.arrow"))
    assert kept == sorted(batches)


def test_another_feed_goes_on_while_one_is_held(tmp_path):
    """Feeds do not wait for each other."""
    house = House(tmp_path, feeds=2)
    house.lists.lists[100].name = "Renamed"
    house.drop("a_1.csv", people(5))
    house.drop("b_1.csv", people(5))
    house.run()
    fates = {name: receipt["fate"] for name, receipt in house.receipts().items()}
    assert fates == {"a_1.csv": "held", "b_1.csv": "archived"}


def test_a_column_that_is_ignored_does_not_leave(house):
    """Where extra columns are ignored the uploaded file lacks them, and the list too."""
    house.feeds[0]["csv"] = {"extra_columns": "ignore"}
    head, *records = as_csv(people(5)).decode().splitlines()
    lines = [f"{head};salary", *(f"{record};12345" for record in records), ""]
    house.drop("a_1.csv", "\r\n".join(lines).encode())
    house.run()
    (content,) = house.drop_twin.files.values()
    assert content == as_csv(people(5))


def test_a_lost_suppression_store_holds_everything(house):
    """A store with fewer rows than the journal counted sends nothing, however fresh its fetch."""
    house.responses.happen(Stream.UNSUBSCRIBES, "p4@example.org", "1795510800000")
    house.responses.now_ms += 1000
    house.drop("a_1.csv", people(10))
    house.run()
    for path in (house.root / "state").glob("store.sqlite3*"):
        path.unlink()
    house.responses.events.clear()
    house.drop("a_2.csv", people(10))
    house.run()
    assert house.receipts()["a_2.csv"]["held"]["code"] == "store-shrunk"
    assert house.count("clear") == 1


def test_the_configuration_may_change_while_a_batch_waits(house):
    """The staged rows know their attributes: a new one in the feed neither clears nor crashes."""
    house.drop("a_1.csv", people(10))
    house.lists.lists[100].name = "Renamed"
    house.run()
    assert house.receipts()["a_1.csv"]["place"] == "UPLOADED"
    house.lists.lists[100].name = "List 0"
    house.feeds[0]["attributes"]["entity-id"] = "entity-id"
    house.clock.advance(600)
    house.run()
    assert house.receipts()["a_1.csv"]["fate"] == "archived"
    assert house.ids() == ids(people(10))


def test_a_partial_list_is_not_left_for_another_one(house):
    """When the feed names another list meanwhile, both lists are left alone and the batch held."""
    house.drop("a_1.csv", people(10))
    house.lists.fail_next("add", FarSideRefused("campaign-login"), skip=1)
    house.run()
    house.lists.lists[200] = OneList("Other", ("firstname", "lastname"))
    house.lists.lists[200].rows["x@example.org"] = ("x@example.org", {})
    house.feeds[0]["list"] = {"id": 200, "name": "Other"}
    house.clock.advance(600)
    before = len(house.ids())
    house.run()
    assert house.receipts()["a_1.csv"]["held"]["code"] == "list-changed"
    assert list(house.lists.lists[200].rows) == ["x@example.org"]
    house.feeds[0]["list"] = {"id": 100, "name": "List 0"}
    house.clock.advance(3600)
    house.run()
    assert (before, len(house.ids())) == (4, 10)


def test_a_list_emptied_by_somebody_else_is_not_called_complete(house):
    """Whoever empties the list between the last chunk and the proof is noticed."""
    house.drop("a_1.csv", people(10))
    house.lists.fail_next("purge", DOWN, times=99)
    house.run()
    assert house.receipts()["a_1.csv"]["place"] == "REFILLING"
    house.lists.lists[100].rows.clear()
    house.lists.schedule.planned.clear()
    house.clock.advance(600)
    house.run()
    receipt = house.receipts()["a_1.csv"]
    assert (receipt["fate"], receipt["held"]["code"]) == ("held", "list-short")


def test_a_short_list_has_a_case_and_feeds_the_store(house):
    """What Campaign refused is in the case, the store and the receipt though the batch is held."""
    house.lists.bounced |= {f"p{n}@example.org" for n in range(1, 4)}
    house.lists.codes["p4@example.org"] = 6
    house.drop("a_1.csv", people(10))
    house.run()
    receipt = house.receipts()["a_1.csv"]
    assert receipt["held"]["code"] == "list-short"
    assert receipt["list"]["refused"] == {"code-4": 3, "code-6": 1}
    assert receipt["list"]["listed"] == 6
    assert (house.root / "quarantine" / receipt["case"] / "refused.csv").exists()
    house.drop("a_2.csv", people(10, first=5))
    house.run()
    assert house.receipts()["a_2.csv"]["fate"] == "archived"
    assert house.receipts()["a_1.csv"]["fate"] == "superseded"


@pytest.mark.parametrize("folder", ["receipts", "quarantine", "responses"])
@pytest.mark.parametrize("away", ["gone", "empty"])
def test_a_folder_that_goes_away_ends_nothing(house, folder, away):
    """A share that is unmounted is waited for; nothing is written into the mount point."""
    house.drop("a_1.csv", people(10))
    house.drop("a_2.csv", b"")
    world = house.open()
    daemon = Daemon(world, threading.Event(), threading.Event())
    path = house.root / folder
    path.rename(house.root / "away")
    if away == "empty":
        path.mkdir()
    for _ in range(6):
        daemon._scan()
        daemon._turn()
        house.clock.advance(400)
    if away == "empty":
        assert list(path.iterdir()) == []
        path.rmdir()
    (house.root / "away").rename(path)
    for _ in range(6):
        daemon._scan()
        daemon._turn()
        house.clock.advance(2000)
    fates = {name: receipt["fate"] for name, receipt in house.receipts().items()}
    assert fates == {"a_1.csv": "archived", "a_2.csv": "quarantined"}
    assert len(house.ids()) == 10
    assert rest(house) == []


def test_every_drop_ends_with_one_canonical_line(house):
    """Archived, superseded, quarantined or discarded: one `drop` event each."""
    out = io.StringIO()
    configure(out, as_json=True, strict=True)
    try:
        house.drop("a_2.csv", people(10))
        house.drop("a_1.csv", people(10))
        house.drop("a_9.csv", b"")
        house.run()
        house.drop("a_0.csv", people(10))
        house.run()
        house.ask("discard", house.receipts()["a_0.csv"]["batch"])
        house.run()
    finally:
        configure(io.StringIO())
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    ends = sorted((line["name"], line["place"]) for line in lines if line["event"] == "drop")
    assert ends == [
        ("a_0.csv", "DISCARDED"), ("a_1.csv", "SUPERSEDED"), ("a_2.csv", "ARCHIVED"),
        ("a_9.csv", "QUARANTINED"),
    ]  # fmt: skip


def test_an_upload_on_another_account_begins_anew(house):
    """A rename intended on one account proves nothing about another one."""
    house.drop("a_1.csv", people(10))
    house.drop_twin.fail_next("rename", Death())
    with pytest.raises(Death):
        house.run()
    house.feeds[0]["sftp"] = "other"
    house.run()
    assert house.receipts()["a_1.csv"]["fate"] == "archived"
    assert len(house.other_drop.files) == 1


def test_a_superseded_upload_leaves_no_people_on_the_server(house):
    """The temporary file of a drop that a newer one replaced is taken away."""
    house.drop("a_1.csv", people(10))
    house.drop_twin.fail_next("rename", FarSideRefused("sftp-refused", call="rename", detail="no"))
    house.run()
    assert [name.endswith(".part") for name in house.drop_twin.files] == [True]
    house.drop("a_2.csv", people(10))
    house.run()
    assert house.receipts()["a_1.csv"]["fate"] == "superseded"
    assert [name.endswith(".part") for name in house.drop_twin.files] == [False]


def test_a_bug_in_a_check_is_counted(house):
    """Three starts that end in a bug of ours quarantine the drop instead of looping for ever."""
    house.drop("a_1.csv", people(10))
    house.responses.fail_next("blocklist", RuntimeError("bug"), times=3)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            house.run()
    house.run()
    assert house.receipts()["a_1.csv"]["reason"]["code"] == "crashed-checking"


def test_a_bug_in_a_refill_holds_it_after_three_deaths(house):
    """A dirty list is never quarantined away: held, alarmed, tried again."""
    house.drop("a_1.csv", people(10))
    house.lists.fail_next("count", RuntimeError("bug"), times=3)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            house.run()
    assert house.run() == 1
    assert house.receipts()["a_1.csv"]["held"]["code"] == "crashed-refilling"
    house.clock.advance(600)
    house.run()
    assert house.receipts()["a_1.csv"]["fate"] == "archived"


def test_a_file_taken_away_is_not_uploaded_again(house):
    """Whoever the files are for may be quicker than the answer to our rename."""
    lost = FarSideUnavailable("sftp-unreachable", in_doubt=True)
    house.drop_twin.fail_next("rename", lost, after_effect=True)
    house.drop("a_1.csv", people(10))
    house.run()
    (name,) = house.drop_twin.files
    assert name.endswith(".csv")
    del house.drop_twin.files[name]
    house.clock.advance(600)
    house.run()
    assert house.receipts()["a_1.csv"]["fate"] == "archived"
    assert house.drop_twin.files == {}
    assert [call[0] for call in house.drop_twin.calls].count("put") == 1


@pytest.mark.parametrize("what", ["answers are lost", "the process dies"])
def test_a_temporary_name_that_we_took_away_proves_no_rename(house, what):
    """An upload whose rename never came is made anew, whatever happens while it is cleaned up."""
    lost = FarSideUnavailable("sftp-unreachable", in_doubt=True)
    trouble = Death() if what == "the process dies" else lost
    house.drop_twin.fail_next("rename", trouble)
    house.drop_twin.fail_next("remove", trouble, after_effect=True)
    house.drop("a_1.csv", people(10))
    for _ in range(4):
        with contextlib.suppress(Death):
            house.run()
        house.clock.advance(3600)
    receipt = house.receipts()["a_1.csv"]
    assert receipt["fate"] == "archived"
    assert list(house.drop_twin.files) == [receipt["upload"]["name"]]


def test_a_journal_that_cannot_be_read_kills_nobody(house):
    """A page that cannot be read holds the batch; it is no death, and no fault of the drop."""
    house.drop("a_1.csv", people(10))
    world = house.open()
    daemon = Daemon(world, threading.Event(), threading.Event())
    connection = world.journal._database.connection
    refused = []

    def authorize(action, table, *_):
        bad = action == sqlite3.SQLITE_READ and table == "completed"
        refused.extend([1] * bad)
        return sqlite3.SQLITE_DENY if bad else sqlite3.SQLITE_OK

    connection.set_authorizer(authorize)
    for _ in range(12):
        daemon._scan()
        daemon._turn()
        house.clock.advance(400)
    assert len(refused) > 4
    assert house.receipts()["a_1.csv"]["held"]["code"] == "disk-error"
    connection.set_authorizer(None)
    for _ in range(2):
        house.clock.advance(2000)
        daemon._turn()
    assert house.receipts()["a_1.csv"]["fate"] == "archived"


def test_held_since_is_when_it_began(house):
    """However often a batch is tried again, it says since when it waits for the same thing."""
    house.lists.lists[100].name = "Renamed"
    house.drop("a_1.csv", people(10))
    house.run()
    since = house.receipts()["a_1.csv"]["held"]["since"]
    for _ in range(5):
        house.clock.advance(3600)
        house.run()
    assert house.receipts()["a_1.csv"]["held"]["since"] == since
    house.lists.lists[100].name = "List 0"
    house.lists.lists[100].is_test = True
    house.clock.advance(3600)
    house.run()
    held = house.receipts()["a_1.csv"]["held"]
    assert (held["code"], held["since"] > since) == ("test-list", True)


def test_rows_checked_under_another_consent_are_not_listed(house):
    """A batch that waited while its feed got another consent stays out of the list."""
    house.lists.lists[100].name = "Renamed"
    house.drop("a_1.csv", people(10))
    house.run()
    house.lists.lists[100].name = "List 0"
    house.feeds[0]["consent"] = {"opt-in-id": "consent-2", "description": "Newsletter"}
    house.clock.advance(3600)
    house.run()
    assert house.receipts()["a_1.csv"]["held"]["code"] == "other-consent"
    assert house.count("clear") == 0


def test_a_bug_in_an_upload_holds_it_after_three_deaths(house):
    """A drop that passed its check is held, not quarantined, when its upload kills the process."""
    house.drop("a_1.csv", people(10))
    for _ in range(3):
        house.drop_twin.fail_next("put", RuntimeError("bug"))
    for _ in range(3):
        with pytest.raises(RuntimeError):
            house.run()
    assert house.run() == 1
    assert house.receipts()["a_1.csv"]["held"]["code"] == "crashed-uploading"
    house.clock.advance(600)
    house.run()
    assert house.receipts()["a_1.csv"]["fate"] == "archived"


def test_a_bug_at_an_end_keeps_no_other_feed_back_for_ever(tmp_path):
    """After three deaths in carrying out an end it is left alone for a while; others go on."""
    house = House(tmp_path, feeds=2)
    house.drop_twin.fail_next("put", FarSideUnavailable("sftp-unreachable", in_doubt=True))
    house.drop("a_1.csv", people(10))
    house.run()
    house.ask("discard", house.receipts()["a_1.csv"]["batch"])
    for _ in range(3):
        house.drop_twin.fail_next("remove", RuntimeError("bug"))
    for _ in range(3):
        with pytest.raises(RuntimeError):
            house.run()
    house.drop("b_1.csv", people(10))
    assert house.run() == 1
    assert house.receipts()["b_1.csv"]["fate"] == "archived"
    assert rest(house) != []
    house.clock.advance(31 * 60)
    house.run()
    assert house.receipts()["a_1.csv"]["fate"] == "discarded"
    assert rest(house) == []
    house.close()


def test_rows_that_waited_too_long_are_not_sent(house):
    """After a week in UPLOADED the staged rows are too old; a newer drop takes their place."""
    house.drop("a_1.csv", people(10))
    house.lists.lists[100].name = "Renamed"
    house.run()
    house.lists.lists[100].name = "List 0"
    house.clock.advance(8 * 24 * 3600)
    house.responses.now_ms += 8 * 24 * 3600 * 1000
    house.run()
    assert house.receipts()["a_1.csv"]["held"]["code"] == "staged-old"
    assert house.count("clear") == 0


def test_a_feed_without_a_list_supersedes_too(house):
    """A feed that only uploads sends its newest drop alone."""
    del house.feeds[0]["list"], house.feeds[0]["attributes"]
    for day in (1, 2, 3):
        house.drop(f"a_{day}.csv", people(10))
    house.run()
    fates = {name: receipt["fate"] for name, receipt in house.receipts().items()}
    assert fates == {"a_1.csv": "superseded", "a_2.csv": "superseded", "a_3.csv": "archived"}
    assert len(house.drop_twin.files) == 1


def test_a_journal_that_cannot_be_written_ends_nothing(house):
    """While the journal cannot be written the daemon waits; then everything goes on."""
    house.drop("a_1.csv", people(10))
    world = house.open()
    daemon = Daemon(world, threading.Event(), threading.Event())
    other = sqlite3.connect(house.root / "state" / "journal.sqlite3", isolation_level=None)
    world.journal._database.connection.execute("PRAGMA busy_timeout=1")
    other.execute("BEGIN IMMEDIATE")
    for _ in range(4):
        daemon._scan()
        daemon._turn()
        house.clock.advance(2)
    other.execute("ROLLBACK")
    other.close()
    for _ in range(4):
        daemon._scan()
        daemon._turn()
        house.clock.advance(2000)
    assert house.receipts()["a_1.csv"]["fate"] == "archived"
    assert house.ids() == ids(people(10))


def test_a_stale_upload_is_not_renamed_into_sight(house):
    """While the temporary file is still there the upload begins anew, freshly suppressed."""
    house.drop("a_1.csv", people(10))
    house.drop_twin.fail_next("rename", FarSideRefused("sftp-refused", call="rename", detail="no"))
    house.run()
    assert house.receipts()["a_1.csv"]["fate"] == "held"
    house.lists.unsubscribed.add("p5@example.org")
    house.clock.advance(600)
    house.run()
    assert house.receipts()["a_1.csv"]["fate"] == "archived"
    ((name, content),) = house.drop_twin.files.items()
    assert not name.endswith(".part")
    assert b"p5@example.org" not in content


def test_a_receipt_of_a_hold_comes_when_its_folder_is_back(house):
    """A hold that waits for people is told later, though nothing else happens to the batch."""
    house.drop("a_1.csv", people(10))
    house.run()
    daemon = Daemon(house.open(), threading.Event(), threading.Event())
    daemon._begin()
    house.drop("a_2.csv", people(3))
    (house.root / "receipts").rename(house.root / "away")
    for _ in range(4):
        daemon._scan()
        daemon._turn()
        house.clock.advance(2)
    (house.root / "away").rename(house.root / "receipts")
    assert "a_2.csv" not in house.receipts()
    house.clock.advance(61)
    daemon._turn()
    assert house.receipts()["a_2.csv"]["held"]["code"] == "shrunk"


def test_the_same_name_and_time_again_is_newer(house):
    """Of two drops that nothing else tells apart the one claimed last runs."""
    house.drop("a_1.csv", people(10), mtime=1_700_000_000)
    house.responses.fail_next("now", DOWN, times=9)
    house.run()
    house.drop("a_1.csv", people(12), mtime=1_700_000_000)
    house.responses.schedule.planned.clear()
    house.clock.advance(600)
    house.run()
    assert len(house.ids()) == 12


def test_an_end_is_carried_through_without_its_claim(house):
    """A death after the end is journalled is made good even when somebody tidied the claims."""
    house.drop("a_1.csv", people(10))
    world = house.open()
    daemon = Daemon(world, threading.Event(), threading.Event())
    for _ in range(3):
        daemon._scan()
        house.clock.advance(2)
    (batch,) = world.journal.batches.under_way()
    world.journal.batches.move(batch, Place.DISCARDED, house.clock.wall(), "discarded")
    house.close()
    shutil.rmtree(house.root / "inbox" / ".claimed")
    house.run()
    assert house.receipts()["a_1.csv"]["fate"] == "discarded"
    assert rest(house) == []


def test_once_says_when_something_was_left(house):
    """A drop that could not be taken is no success, and keeps no other one back."""
    house.drop("a_1.csv", people(10))
    house.drop("a_2.csv", people(10))
    claim = Inbox.claim

    class Sticky(Inbox):
        def claim(self, name, batch_id):
            if name == "a_2.csv":
                raise PermissionError(1, "sticky")
            return claim(self, name, batch_id)

    world = house.open()
    sticky = Sticky(house.root / "inbox", "one")
    daemon = Daemon(replace(world, inbox=sticky), threading.Event(), threading.Event())
    assert daemon.once() == 1
    assert house.receipts()["a_1.csv"]["fate"] == "archived"
    assert (house.root / "inbox" / "a_2.csv").exists()
