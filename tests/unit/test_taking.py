"""The order of the day: nothing is sent before the CRM has taken its files, within limits."""

import shutil
import threading

import pytest

from etl.daemon import Daemon
from etl.errors import FarSideUnavailable
from etl.ports import Stream
from tests.servers.service import people
from tests.twins.house import House

MINUTES = 30


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    made.response_keys = {"taken": "moved", "wait_minutes": MINUTES}
    yield made
    made.close()


@pytest.fixture
def daemon(house):
    """A daemon with a drop that waits for the CRM."""
    house.drop("a_1.csv", people(3))
    made = Daemon(house.open(), threading.Event(), threading.Event())
    made.once()
    return made


def files(house):
    """What the CRM sees."""
    return sorted(path for path in (house.root / "responses").glob("*.csv"))


def turn(daemon, times=3):
    """Some rounds of the daemon, a second after each other."""
    for _ in range(times):
        daemon._world.clock.advance(1)
        daemon._once = False
        daemon._turn()


def held(house):
    """Why the one drop is held; None when it is not."""
    (batch,) = house.world.journal.batches.latest(10)
    return batch.held.code if batch.held else None


def test_nothing_is_sent_before_the_crm_has_taken_its_files(house, daemon):
    """Held before the upload, with a reason; taken away, it goes on in the next round."""
    assert (held(house), house.drop_twin.files, house.ids()) == ("crm-not-taken", {}, [])
    assert house.receipts()["a_1.csv"]["held"]["code"] == "crm-not-taken"
    first, *others = files(house)
    for path in others:
        path.unlink()
    turn(daemon)
    assert held(house) == "crm-not-taken", "all but one are not all"
    first.unlink()
    turn(daemon)
    assert (held(house), len(house.drop_twin.files), len(house.ids())) == (None, 1, 3)


def test_what_comes_later_is_not_waited_for(house, daemon):
    """Every try hands new files over; only those from before the first keep the drop back."""
    first = files(house)
    house.clock.advance(5 * 60 + 1)
    turn(daemon)
    assert held(house) == "crm-not-taken"
    assert len(files(house)) > len(first)
    for path in first:
        path.unlink()
    turn(daemon)
    assert (held(house), len(house.ids())) == (None, 3)


def test_a_crm_that_takes_nothing_is_waited_for_only_so_long(house, daemon, capsys):
    """When the limit is over the drop goes on, and the file that nobody took is alarmed."""
    house.clock.advance(MINUTES * 60 - 5)
    turn(daemon)
    assert held(house) == "crm-not-taken"
    house.clock.advance(5)
    turn(daemon)
    assert (held(house), len(house.ids())) == (None, 3)
    assert len(files(house)) >= 2


def test_a_receipt_of_the_crm_counts_where_it_is_agreed(house):
    """The file stays, and one beside it says that it was taken."""
    house.response_keys = {"taken": "receipt", "taken_suffix": ".done"}
    house.drop("a_1.csv", people(3))
    daemon = Daemon(house.open(), threading.Event(), threading.Event())
    daemon.once()
    assert held(house) == "crm-not-taken"
    for path in files(house):
        path.with_name(f"{path.name}.done").touch()
    turn(daemon)
    assert (held(house), len(house.ids())) == (None, 3)


def test_without_the_key_nobody_waits(house):
    """The default asks nothing of the CRM, and remembers no file for ever."""
    house.response_keys = {}
    house.drop("a_1.csv", people(3))
    assert house.run() == 0
    assert len(house.ids()) == 3
    assert house.open().store.outbox.handed("main") == []


def test_an_empty_mount_point_is_no_crm_that_took_everything(house, daemon):
    """The share goes away: the drop stays where it is, and waits for the folder."""
    shutil.move(house.root / "responses", house.root / "away")
    (house.root / "responses").mkdir()
    turn(daemon)
    house.clock.advance(5 * 60 + 1)
    turn(daemon)
    assert held(house) in {"crm-not-taken", "folder-lost"}
    assert house.ids() == []
    (house.root / "responses").rmdir()
    shutil.move(house.root / "away", house.root / "responses")
    for path in files(house):
        path.unlink()
    house.clock.advance(5 * 60 + 1)
    turn(daemon)
    assert (held(house), len(house.ids())) == (None, 3)


def test_suppression_is_asked_again_after_the_wait(house, daemon):
    """Whoever says no while the CRM is waited for is not sent."""
    house.lists.unsubscribed.add("p1@example.org")
    house.responses.happen(Stream.OUT_BOUNCES, "p2@example.org")
    house.responses.now_ms += 1000
    for path in files(house):
        path.unlink()
    turn(daemon)
    assert (held(house), house.ids()) == (None, ["p3@example.org"])


def test_an_upload_that_fails_does_not_wait_anew(house, daemon):
    """The CRM took what it was given first; each further try hands over files it need not take."""
    for path in files(house):
        path.unlink()
    down = FarSideUnavailable("sftp-unreachable", detail="down")
    house.drop_twin.fail_next("put", down)
    turn(daemon)
    assert held(house) == "sftp-unreachable"
    house.clock.advance(5 * 60 + 1)
    turn(daemon)
    assert (held(house), len(house.ids())) == (None, 3)


def test_a_restart_forgets_no_wait(house):
    """The process ends while it waits: the next one waits for the same files."""
    house.drop("a_1.csv", people(3))
    house.run()
    house.run()
    assert house.ids() == []
    for path in files(house):
        path.unlink()
    house.clock.advance(5 * 60 + 1)
    daemon = Daemon(house.open(), threading.Event(), threading.Event())
    daemon._fetching.turn()
    for path in files(house):
        path.unlink()
    turn(daemon)
    assert (held(house), len(house.ids())) == (None, 3)
