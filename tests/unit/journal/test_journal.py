"""The journal: durable settings, versions, damage, moves that no road allows."""

import sqlite3
from datetime import UTC, datetime

import pytest

from etl.batch import ENDS, MOVES, IllegalMove, Place, check_move
from etl.errors import GuardTripped, Mismatch
from etl.journal import Journal
from etl.journal.batches import ClaimedDrop
from etl.journal.database import VERSION

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def journal(path):
    made = Journal(path)
    yield made
    made.close()


def claimed(journal, number=1, order="1"):
    identity = f"20261124T09000{number}Z-00000{number}"
    return journal.batches.claimed(
        [ClaimedDrop(identity, "f", f"a{number}.csv", 1, "x", 0, order)], NOW
    )[0]


def test_every_road_is_allowed_and_no_other():
    """A batch goes where MOVES says; every other move is a bug."""
    for origin in Place:
        for target in Place:
            if target in MOVES[origin]:
                check_move(origin, target)
            else:
                with pytest.raises(IllegalMove):
                    check_move(origin, target)


def test_a_dirty_list_is_left_forward_or_by_takeover_only():
    """No discard and no quarantine leads out of REFILLING; ends are ends."""
    assert MOVES[Place.REFILLING] == {Place.REFILLED, Place.SUPERSEDED}
    assert all(not MOVES[end] for end in ENDS)


def test_the_journal_is_durable(journal):
    """WAL with synchronous=FULL: a committed row survives a power cut."""
    connection = journal._database.connection
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_newer_journal_is_refused(journal, path):
    """A journal of a later release stops the start and is left as it is."""
    journal.close()
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA user_version={VERSION + 1}")
    raw.close()
    with pytest.raises(Mismatch) as caught:
        Journal(path)
    assert caught.value.code == "journal-damaged"
    assert (
        caught.value.facts["detail"]
        == f"it has version {VERSION + 1}, this release knows {VERSION}"
    )


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 300, b"SQLite format 3\0" + b"x" * 5000]
)
def test_a_damaged_journal_stops_the_start(path, content):
    """It is never replaced by an empty one."""
    path.write_bytes(content)
    with pytest.raises(Mismatch) as caught:
        Journal(path)
    assert caught.value.code == "journal-damaged"
    assert path.read_bytes() == content


def test_a_foreign_database_is_not_taken_over(path):
    """A file with tables but without our version is not ours."""
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE other (x)")
    raw.close()
    with pytest.raises(Mismatch) as caught:
        Journal(path)
    assert caught.value.code == "journal-damaged"


def test_a_failed_transaction_changes_nothing(journal):
    """An illegal move in the middle of a takeover leaves both batches where they were."""
    first, second = claimed(journal, 1), claimed(journal, 2)
    journal.uploads.uploaded(second, NOW)
    second = journal.batches.get(second.id)
    ended = journal.batches.move(first, Place.QUARANTINED, NOW, "empty-file")
    with pytest.raises(IllegalMove):
        journal.refills.begin(second, "1/7", [ended], NOW)
    assert journal.batches.get(second.id).place is Place.UPLOADED
    assert journal.refills.round(second) is None


def test_a_takeover_is_one_transaction(journal):
    """The older batch ends and the newer one is REFILLING, or neither."""
    first, second = (journal.uploads.uploaded(claimed(journal, n), NOW) for n in (1, 2))
    first = journal.refills.begin(first, "1/7", [], NOW)
    second = journal.refills.begin(second, "1/7", [first], NOW)
    assert journal.batches.get(first.id).place is Place.SUPERSEDED
    assert second.place is Place.REFILLING
    assert journal.refills.round(second).acknowledged is False


def test_a_dirty_list_is_not_begun_by_another_batch(journal):
    """A refill does not begin over a list that a batch left partial and that does not end by it."""
    first, second = (journal.uploads.uploaded(claimed(journal, n), NOW) for n in (1, 2))
    journal.refills.begin(first, "1/7", [], NOW)
    with pytest.raises(GuardTripped):
        journal.refills.begin(second, "1/7", [], NOW)
    assert journal.batches.get(second.id).place is Place.UPLOADED
    assert journal.refills.begin(second, "1/8", [], NOW).place is Place.REFILLING


def test_an_ended_batch_is_never_held(journal):
    """What has ended waits for nothing any more."""
    batch = journal.batches.move(claimed(journal), Place.QUARANTINED, NOW, "empty-file")
    assert journal.batches.hold(batch, "disk-error", NOW, NOW, {}).held is None


def test_a_batch_that_moved_meanwhile_is_not_moved_again(journal):
    """A move from a place the batch has left is refused: two hands cannot both have it."""
    batch = claimed(journal)
    journal.uploads.uploaded(batch, NOW)
    with pytest.raises(RuntimeError):
        journal.uploads.uploaded(batch, NOW)


def test_a_hold_keeps_its_beginning_and_counts_its_tries(journal):
    """The same code again keeps `since`; another code begins anew; a move ends all of it."""
    batch = claimed(journal)
    later = NOW.replace(hour=10)
    journal.batches.hold(batch, "shrunk", NOW, None, {})
    held = journal.batches.hold(journal.batches.get(batch.id), "shrunk", later, None, {})
    assert (held.held.since, held.held.tries) == (NOW, 2)
    other = journal.batches.hold(held, "grown", later, later, {})
    assert (other.held.since, other.held.next_try) == (later, later)
    moved = journal.uploads.uploaded(other, later)
    assert moved.held is None
    assert journal.batches.tries(moved) == 0


def test_a_hold_that_was_released_meanwhile_is_tried_at_once(journal):
    """A release that comes between the guard and its hold is not lost."""
    batch = claimed(journal)
    journal.requests.ask("release", batch.id, ["shrunk"], "checked", "ops", NOW)
    journal.requests.release(journal.requests.waiting()[0], batch, NOW)
    assert journal.batches.hold(batch, "shrunk", NOW, None, {}).held.next_try == NOW
    assert journal.batches.hold(batch, "grown", NOW, None, {}).held.next_try is None


def test_a_release_is_kept_for_its_batch_alone(journal):
    """Allowed codes belong to one batch; the hold ends with the release."""
    first, second = claimed(journal, 1), claimed(journal, 2)
    journal.batches.hold(first, "shrunk", NOW, None, {})
    journal.requests.ask("release", first.id, ["shrunk"], "checked", "ops", NOW)
    (request,) = journal.requests.waiting()
    journal.requests.release(request, first, NOW)
    assert journal.requests.allowed(first) == {"shrunk"}
    assert journal.requests.allowed(second) == frozenset()
    assert journal.batches.get(first.id).held is None
    assert journal.requests.waiting() == []


def test_calls_come_back_as_they_were_intended(journal):
    """Spans, skipped rows and codes survive; a call without an answer is open."""
    batch = journal.refills.begin(journal.uploads.uploaded(claimed(journal), NOW), "1/7", [], NOW)
    first = journal.refills.intend_call(batch, 1, (0, 4), [1, 9], again=False, at=NOW)
    journal.refills.answered(batch, 1, first, bytes([0, 5, 7]), NOW)
    journal.refills.intend_call(batch, 1, (4, 8), [], again=True, at=NOW)
    one, two = journal.refills.calls(batch, 1)
    assert (one.rows, one.codes, one.open) == ([0, 2, 3], bytes([0, 5, 7]), False)
    assert (two.rows, two.again, two.open) == ([4, 5, 6, 7], True, True)


def completed(journal, number, target="1/7"):
    """A batch whose refill of a list is complete."""
    batch = journal.uploads.uploaded(claimed(journal, number, f"{number}"), NOW)
    facts = {"rows_read": 1, "accepted": 1, "notes": [{"code": "same-content"}]}
    journal.batches.checked(batch, facts, 1, f"staged{number}", "a")
    batch = journal.refills.begin(batch, target, [], NOW)
    return journal.batches.refilled(batch, NOW, 1, {})


def wish(journal, batch, *codes):
    journal.requests.ask("rollback", batch, codes, "wrong", "ops", NOW, "f", "s")
    return journal.requests.waiting()[-1]


def test_a_rollback_begins_uploaded(journal):
    """It is made of its source, without notes, in UPLOADED, and has passed CLAIMED."""
    source, undone = completed(journal, 1), completed(journal, 2)
    undo = journal.rollbacks.find("f", "1/7")
    assert (undo.source.id, undo.undone.id, undo.order) == (source.id, undone.id, "2")
    batch = journal.rollbacks.begin(wish(journal, "20261124T100000Z-0000ff"), undo, NOW)
    detail = journal.batches.detail(batch)
    assert (batch.place, batch.rollback_of, batch.name) == (Place.UPLOADED, source.id, source.name)
    assert (detail["staged_sha256"], detail["staged_rows"]) == ("staged1", 1)
    assert detail["check"] == {"rows_read": 1, "accepted": 1, "notes": []}
    assert undone.order < batch.order < "3"
    moves = journal._database.connection.execute(
        "SELECT place FROM moves WHERE batch=? ORDER BY rowid", (batch.id,)
    )
    assert [row["place"] for row in moves] == ["CLAIMED", "UPLOADED"]
    assert journal.requests.waiting() == []


def test_a_rollback_is_one_transaction(journal):
    """Batch, allowed codes and the taken request come together, or none of them."""
    completed(journal, 1)
    completed(journal, 2)
    undo = journal.rollbacks.find("f", "1/7")
    identity = "20261124T100000Z-0000ff"
    request = wish(journal, identity, "returning")
    with journal._database.write() as db:
        db.execute("INSERT INTO allowed VALUES (?, 'returning', 0)", (identity,))
    with pytest.raises(Mismatch):
        journal.rollbacks.begin(request, undo, NOW)
    assert journal.batches.find(identity) is None
    assert journal.requests.waiting() == [request]
    moves = journal._database.connection.execute("SELECT * FROM moves WHERE batch=?", (identity,))
    assert moves.fetchall() == []


def test_what_was_in_another_list_is_no_way_back(journal):
    """Neither as what goes back nor as what is undone."""
    completed(journal, 1, "1/8")
    completed(journal, 2)
    assert journal.rollbacks.find("f", "1/7") is None
    completed(journal, 3)
    assert journal.rollbacks.find("f", "1/7") is not None
    assert journal.rollbacks.find("f", "1/8") is None
    assert journal.rollbacks.find("g", "1/7") is None


def test_a_list_left_partial_goes_back_to_the_last_completed_refill(journal):
    """What is being filled in is undone, and what a rollback comes after is the newer of both."""
    source = completed(journal, 5)
    stuck = journal.uploads.uploaded(claimed(journal, 2, "2"), NOW)
    stuck = journal.refills.begin(stuck, "1/7", [], NOW)
    undo = journal.rollbacks.find("f", "1/7")
    assert (undo.source.id, undo.undone.id, undo.order) == (source.id, stuck.id, "5")
    batch = journal.rollbacks.begin(wish(journal, "20261124T100000Z-0000ff"), undo, NOW)
    assert journal.rollbacks.undone(batch).id == stuck.id
