"""The way back over twins: what returns, who does not, and deaths at every moment of it."""

import json
import tempfile
from contextlib import closing
from pathlib import Path

import jsonschema
import polars as pl
import pytest

from etl import show
from etl.batch import Place, new_id
from etl.errors import FarSideUnavailable
from etl.intake import drop_order
from etl.journal import Journal
from etl.journal.rollbacks import AFTER
from tests.servers.service import people, person
from tests.twins.clock import TwinClock
from tests.twins.house import Death, House

MEMORY = Path("/dev/shm")
DOWN = FarSideUnavailable("campaign-unreachable", detail="down")
SCHEMA = json.loads(
    (Path(__file__).resolve().parents[2] / "schemas" / "receipt.schema.json").read_text()
)


def ids(rows):
    return [row["email"] for row in rows]


def content(house, number=0):
    """Recipient id -> first name, as the list has it."""
    rows = house.lists.lists[100 + number].rows
    return {key: values["firstname"] for key, (_, values) in rows.items()}


def named(rows):
    return {row["email"]: row["firstname"] for row in rows}


@pytest.fixture
def root():
    """A folder in memory where that can be: fsync is called often, and no power is lost here."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture
def house(root):
    made = House(root)
    yield made
    made.close()


RIGHT = people(10)
WRONG = [person(n, firstname="Wrong") for n in range(1, 11)]


def refill(house, name, rows):
    """One drop taken through; time passes, so that ids of batches sort by it."""
    house.drop(name, rows)
    code = house.run()
    house.clock.advance(60)
    return code


@pytest.fixture
def wronged(house):
    """A house whose list was refilled by a right drop, then by a wrong one of the same people."""
    refill(house, "a_1.csv", RIGHT)
    refill(house, "a_2.csv", WRONG)
    assert content(house) == named(WRONG)
    return house


def opened(house):
    """The journal beside the house."""
    return closing(Journal(house.root / "state" / "journal.sqlite3"))


def change(house, sql, *values):
    """Something happens to the journal behind everybody's back."""
    with opened(house) as journal, journal._database.write() as db:
        db.execute(sql, values)


def ask(house, *codes):
    """What `etl refill rollback` writes; returns the id of the batch to be."""
    now = house.clock.wall()
    batch = new_id(now)
    with opened(house) as journal:
        undo = journal.rollbacks.find("a", "1/100")
        source, undone = (undo.source.id, undo.undone.id) if undo else (None, None)
        journal.requests.ask("rollback", batch, codes, "wrong", "ops", now, "a", source, undone)
    return batch


def batches(house):
    """Every batch in the journal, oldest first."""
    with opened(house) as journal:
        return {each.id: each for each in reversed(journal.batches.latest(100))}


def outcome(house, number=1):
    with opened(house) as journal:
        asked = {each["number"]: each["outcome"] for each in journal.requests.latest(100)}
        return asked[number]


def receipt(house, batch):
    (path,) = (house.root / "receipts").glob(f"*.{batch}.receipt.json")
    return json.loads(path.read_text())


def folders(house):
    """The folders of batches and what lies in them."""
    return {
        each.name: sorted(path.name for path in each.iterdir())
        for each in (house.root / "state" / "batches").iterdir()
    }


def test_the_former_content_goes_back(wronged):
    """The list holds what it held before; nothing is uploaded; the receipt names the source."""
    files = dict(wronged.drop_twin.files)
    first = receipt(wronged, next(iter(batches(wronged))))
    batch = ask(wronged)
    assert wronged.run() == 0
    assert content(wronged) == named(RIGHT)
    assert wronged.count("clear") == 3
    assert wronged.drop_twin.files == files
    told = receipt(wronged, batch)
    jsonschema.validate(told, SCHEMA)
    assert (told["fate"], told["rollback_of"]) == ("archived", first["batch"])
    assert (told["drop"]["name"], told["drop"]["sha256"]) == ("a_1.csv", first["drop"]["sha256"])
    assert (told["check"], told["upload"]) == (first["check"], None)
    assert told["list"]["listed"] == 10
    assert [note["code"] for note in told["notes"]] == ["rollback"]
    assert outcome(wronged) == "done"
    with opened(wronged) as journal:
        newest, *others = show.status(journal, wronged.clock.wall())["ended"]
    assert (newest["batch"], newest["rollback_of"]) == (batch, first["batch"])
    assert [each["rollback_of"] for each in others] == [None, None]


def test_ordinary_receipts_name_no_rollback(wronged):
    """The field is there and null."""
    for told in wronged.receipts().values():
        jsonschema.validate(told, SCHEMA)
        assert told["rollback_of"] is None


def test_its_rows_are_kept_like_those_of_any_refill(wronged):
    """After it its own rows are kept, and those of the refill it undid."""
    _, second = batches(wronged)
    batch = ask(wronged)
    wronged.run()
    assert folders(wronged) == {second: ["staged.arrow"], batch: ["staged.arrow"]}


def test_a_second_rollback_goes_forth_again(wronged):
    """What was undone is the former content now, however often."""
    for expected in (RIGHT, WRONG, RIGHT, WRONG):
        ask(wronged)
        assert wronged.run() == 0
        assert content(wronged) == named(expected)
        wronged.clock.advance(60)
    orders = [each.order for each in batches(wronged).values()]
    assert orders == sorted(orders)
    assert all(order.count(AFTER) <= 1 for order in orders)


def test_the_same_wish_twice_refills_once(wronged):
    """Of two rollbacks that wait the later one runs, the other is superseded."""
    first = ask(wronged)
    wronged.clock.advance(1)
    second = ask(wronged)
    assert wronged.run() == 0
    assert receipt(wronged, first)["fate"] == "superseded"
    assert receipt(wronged, second)["fate"] == "archived"
    assert (content(wronged), wronged.count("clear")) == (named(RIGHT), 3)
    assert first not in folders(wronged)


def test_nobody_who_said_no_meanwhile_comes_back(wronged):
    """The rows that go back are suppressed afresh, by the store and by Campaign's own word."""
    wronged.lists.unsubscribed.add("p3@example.org")
    wronged.lists.blocklist.append("p4@example.org")
    sent = []
    add = wronged.lists.add

    def watched(list_id, recipients):
        sent.extend(recipients.ids)
        return add(list_id, recipients)

    wronged.lists.add = watched
    batch = ask(wronged)
    wronged.run()
    assert not {"p3@example.org", "p4@example.org"} & set(sent)
    assert len(sent) == len(content(wronged)) == 8
    assert receipt(wronged, batch)["list"]["suppressed_late"] == 2


def test_people_the_newer_drop_left_out_do_not_come_back_unseen(house):
    """`returning` holds the rollback; nothing is cleared; released, they come back."""
    refill(house, "a_1.csv", people(10))
    refill(house, "a_2.csv", people(9))
    batch = ask(house)
    assert house.run() == 1
    told = receipt(house, batch)
    assert (told["fate"], told["held"]["code"]) == ("held", "returning")
    assert told["reason"]["facts"] == {"returning": 1}
    assert told["held"]["next_try"] is None
    assert (house.count("clear"), house.ids()) == (2, ids(people(9)))
    house.clock.advance(7200)
    house.run()
    assert house.count("clear") == 2
    house.ask("release", batch, "returning")
    assert house.run() == 0
    assert house.ids() == ids(people(10))


def test_returning_can_be_allowed_with_the_wish(house):
    """The codes of the request are allowed for this one batch, and for no later one."""
    refill(house, "a_1.csv", people(10))
    refill(house, "a_2.csv", people(9))
    ask(house, "returning")
    assert house.run() == 0
    assert house.ids() == ids(people(10))
    house.clock.advance(60)
    ask(house)
    assert house.run() == 0
    assert house.ids() == ids(people(9))
    house.clock.advance(60)
    ask(house)
    assert house.run() == 1
    assert house.ids() == ids(people(9))


def test_who_is_suppressed_by_now_does_not_count_as_returning(house):
    """Counted are the rows that would be sent."""
    refill(house, "a_1.csv", people(10))
    refill(house, "a_2.csv", people(9))
    house.lists.unsubscribed.add("p10@example.org")
    ask(house)
    assert house.run() == 0
    assert house.ids() == ids(people(9))


def test_the_other_row_guards_are_asked_too(house):
    """A former content much larger or smaller than what is there is held; a discard ends it."""
    refill(house, "a_1.csv", people(10))
    house.drop("a_2.csv", people(30))
    house.ask("release", "x", "grown")
    house.run()
    house.ask("release", receipt_of(house, "a_2.csv")["batch"], "grown")
    house.run()
    batch = ask(house)
    assert house.run() == 1
    assert receipt(house, batch)["held"]["code"] == "shrunk"
    house.ask("discard", batch)
    house.run()
    assert receipt(house, batch)["fate"] == "discarded"
    assert house.ids() == ids(people(30))
    assert batch not in folders(house)


def receipt_of(house, name):
    return house.receipts()[name]


def test_it_takes_over_a_list_left_partial(house):
    """A refill that is stuck over a partial list is replaced in one transaction."""
    refill(house, "a_1.csv", RIGHT)
    house.drop("a_2.csv", WRONG)
    house.lists.fail_next("add", DOWN, times=9)
    house.run()
    assert receipt_of(house, "a_2.csv")["place"] == "REFILLING"
    house.lists.schedule.planned.clear()
    source, stuck = batches(house)
    house.clock.advance(1)
    batch = ask(house)
    house.run()
    assert content(house) == named(RIGHT)
    assert receipt(house, stuck)["fate"] == "superseded"
    assert receipt(house, stuck)["reason"]["facts"] == {"by": batch}
    assert receipt(house, batch)["rollback_of"] == source


def test_a_newer_drop_takes_its_place(house):
    """A drop that comes while the rollback waits supersedes it, whatever its name."""
    refill(house, "a_1.csv", people(10))
    refill(house, "a_2.csv", people(9))
    batch = ask(house)
    house.run()
    refill(house, "a_2.csv", people(12))
    assert receipt(house, batch)["fate"] == "superseded"
    assert house.ids() == ids(people(12))


def test_the_next_drop_is_measured_by_it(house):
    """Its rows are the base of the row guards once it is complete."""
    refill(house, "a_1.csv", people(10))
    refill(house, "a_2.csv", people(20))
    ask(house, "shrunk")
    assert house.run() == 0
    refill(house, "a_3.csv", people(9))
    assert house.ids() == ids(people(9))


@pytest.mark.parametrize("harm", ["missing", "changed"])
def test_kept_rows_that_are_not_as_written_are_not_sent(wronged, harm):
    """The wish is refused with a code, and nothing is changed or left."""
    source, _ = batches(wronged)
    path = wronged.root / "state" / "batches" / source / "staged.arrow"
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    before = folders(wronged)
    batch = ask(wronged)
    # An earlier try came as far as the copy.
    (wronged.root / "state" / "batches" / batch).mkdir()
    (wronged.root / "state" / "batches" / batch / "staged.arrow").write_bytes(b"copy")
    wronged.run()
    assert outcome(wronged) == "kept-damaged"
    assert batch not in batches(wronged)
    assert folders(wronged) == before
    assert content(wronged) == named(WRONG)


def test_a_wish_waits_while_the_journal_cannot_take_it(wronged):
    """Trouble that is not the wish's fault refuses nothing: it is taken later."""
    batch = ask(wronged, "returning")
    change(wronged, "INSERT INTO allowed VALUES (?, 'returning', 0)", batch)
    assert wronged.run() == 1
    assert outcome(wronged) is None
    assert content(wronged) == named(WRONG)
    change(wronged, "DELETE FROM allowed WHERE batch=?", batch)
    assert wronged.run() == 0
    assert content(wronged) == named(RIGHT)


def test_where_nothing_is_kept_there_is_no_way_back(house):
    """One refill, none, or a list that was another one then: refused, and nothing is changed."""
    refill(house, "a_1.csv", people(10))
    batch = ask(house)
    house.run()
    assert outcome(house) == "nothing-kept"
    assert batch not in batches(house)


def test_another_list_has_no_way_back_to_the_old_ones_content(wronged):
    """What was in one list is not put into another."""
    wronged.feeds[0]["list"] = {"id": 101, "name": "List 1"}
    wronged.lists.lists[101] = wronged.lists.lists[100]
    ask(wronged)
    wronged.run()
    assert outcome(wronged) == "nothing-kept"


def test_a_feed_without_a_list_has_no_way_back(wronged):
    """There is nothing to put anything into."""
    ask(wronged)
    del wronged.feeds[0]["list"], wronged.feeds[0]["attributes"]
    wronged.run()
    assert outcome(wronged) == "no-list"


def test_a_wish_is_for_what_was_seen(wronged):
    """When a drop was refilled after the wish was written, the wish is refused."""
    batch = ask(wronged)
    change(wronged, "UPDATE requests SET taken_at='later' WHERE batch=?", batch)
    refill(wronged, "a_3.csv", people(10, first=2))
    change(wronged, "UPDATE requests SET taken_at=NULL WHERE batch=?", batch)
    wronged.run()
    assert outcome(wronged) == "refilled-since"
    assert wronged.ids() == ids(people(10, first=2))


def test_a_wish_is_for_what_was_to_be_undone(house):
    """A corrected drop that took over since the wish is not undone by it, though the way is one."""
    refill(house, "a_1.csv", RIGHT)
    house.lists.fail_next("add", DOWN, times=50)
    refill(house, "a_2.csv", WRONG)
    house.lists.schedule.planned.clear()
    asked = []

    def before(verb):
        if verb == "suppressed" and not asked:
            asked.append(ask(house, "returning"))

    house.lists.before = before
    corrected = [person(n, firstname="Corrected") for n in range(2, 11)]
    refill(house, "a_3.csv", corrected)
    assert outcome(house) == "refilled-since"
    assert content(house) == named(corrected)


def test_a_refused_wish_is_told(wronged):
    """`etl once` ends with 1, and `etl status` shows what was asked and what came of it."""
    batch = ask(wronged)
    change(wronged, "UPDATE requests SET source='another' WHERE batch=?", batch)
    assert wronged.run() == 1
    with opened(wronged) as journal:
        (told,) = show.status(journal, wronged.clock.wall())["requests"]
    assert (told["batch"], told["outcome"]) == (batch, "refilled-since")


def test_rows_of_another_consent_do_not_go_back(house):
    """When the feed's consent changed since, its list gets no rows that gave another one."""
    refill(house, "a_1.csv", RIGHT)
    house.feeds[0]["consent"] = {"opt-in-id": "consent-2", "description": "Newsletter"}
    now = [row | {"opt-in-id": "consent-2", "firstname": "New"} for row in RIGHT]
    refill(house, "a_2.csv", now)
    batch = ask(house)
    house.run()
    assert batches(house)[batch].held.code == "other-consent"
    assert content(house) == named(now)
    house.feeds[0]["consent"] = {"opt-in-id": "consent-1", "description": "Newsletter"}
    house.clock.advance(3600)
    house.run()
    assert content(house) == named(RIGHT)


def test_rows_rejected_long_ago_are_no_trouble_now(house):
    """`etl once` ends with 0 though the drop whose rows go back had a rejected row."""
    house.drop("a_1.csv", [*RIGHT, person(77, email="nobody")])
    assert house.run() == 1
    refill(house, "a_2.csv", WRONG)
    ask(house)
    assert house.run() == 0
    assert content(house) == named(RIGHT)


class Mortal(TwinClock):
    """A clock at one look of which the process dies."""

    def __init__(self, clock, looks):
        super().__init__(clock.now, clock.seconds)
        self.left = looks

    def _look(self):
        self.left -= 1
        if self.left == 0:
            raise Death

    def wall(self):
        self._look()
        return super().wall()

    def monotonic(self):
        self._look()
        return super().monotonic()

    def sleep(self, seconds):
        self._look()
        super().sleep(seconds)


@pytest.mark.parametrize("how", ["goes", "is held", "takes over"])
def test_a_death_at_any_look_at_the_clock_is_made_good(root, how):
    """One batch, one former content, nothing left over, wherever the process dies."""
    for look in range(1, 200, 1 if how == "goes" else 2):
        (root / f"{look}").mkdir()
        house = House(root / f"{look}")
        refill(house, "a_1.csv", RIGHT)
        if how == "takes over":
            house.lists.fail_next("add", DOWN, times=9)
        refill(house, "a_2.csv", people(9) if how == "is held" else WRONG)
        house.lists.schedule.planned.clear()
        before = house.count("clear")
        batch = ask(house)
        house.clock = Mortal(house.clock, look)
        try:
            house.run()
        except Death:
            house.run()
        else:
            assert house.clock.left > 0
            break
        assert [key for key, each in batches(house).items() if each.rollback_of] == [batch]
        assert outcome(house) == "done"
        if how == "is held":
            assert receipt(house, batch)["held"]["code"] == "returning"
            assert (house.count("clear"), house.ids()) == (before, ids(people(9)))
        else:
            assert receipt(house, batch)["fate"] == "archived"
            assert content(house) == named(RIGHT)
            assert house.count("clear") - before <= 2
            assert len(folders(house)) == 2
            assert {each.place for each in batches(house).values()} <= {
                Place.ARCHIVED, Place.SUPERSEDED,
            }  # fmt: skip
    assert 15 < look < 199


def test_a_copy_without_a_row_in_the_journal_is_taken_up(wronged):
    """Dying between the copy and the journal leaves a folder that the next start uses."""
    batch = ask(wronged)
    folder = wronged.root / "state" / "batches" / batch
    folder.mkdir()
    (folder / ".staged.arrow.partial").write_bytes(b"half")
    (folder / "staged.arrow").write_bytes(b"half")
    wronged.run()
    assert content(wronged) == named(RIGHT)
    assert folders(wronged)[batch] == ["staged.arrow"]


@pytest.mark.parametrize("name", ["a_1.csv", "a_1.csv.gz", "a_1.csv 2", "a_2.csv", "b.csv"])
@pytest.mark.parametrize("later_ns", [0, 1])
def test_its_order_is_right_after_what_it_undoes(name, later_ns):
    """After that drop and every rollback of it, before every drop that is later than that drop."""
    undone = drop_order(None, "a_1.csv", 1_700_000_000_000_000_000)
    back = [f"{undone}{AFTER}{number:012d}" for number in (1, 2, 10)]
    assert [undone, *back] == sorted([undone, *back])
    later = drop_order(None, name, 1_700_000_000_000_000_000 + later_ns)
    if later > undone:
        assert later > back[-1]


def test_its_kept_rows_are_those_of_the_source(wronged):
    """The copy is byte for byte the source's, so the source may be forgotten."""
    source, _ = batches(wronged)
    root = wronged.root / "state" / "batches"
    before = (root / source / "staged.arrow").read_bytes()
    batch = ask(wronged)
    wronged.run()
    assert (root / batch / "staged.arrow").read_bytes() == before
    assert pl.read_ipc(before).height == 10
