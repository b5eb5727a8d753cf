"""`etl responses fetch --wait`: what came of it, how far it is, and no wait for nobody."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from etl.freshness import PROGRESS
from etl.journal.batches import stamp
from etl.responses_command import await_outcome
from tests.twins.house import House


@pytest.fixture
def journal(tmp_path):
    house = House(tmp_path)
    yield house.open().journal
    house.close()


def asked(journal):
    """A wish for a fetch, of now."""
    return journal.requests.ask("fetch", None, (), "test", "me", datetime.now(UTC))


def test_progress_and_outcome_are_told(journal, capsys):
    """What the daemon says of itself meanwhile is shown once, what it said before is not."""
    journal.requests.beat("scanned", stamp(datetime.now(UTC)))
    journal.requests.beat(f"{PROGRESS}main", "getOpens: 50000 rows")
    number = asked(journal)
    (request,) = journal.requests.waiting()

    def daemon():
        journal.requests.beat(f"{PROGRESS}main", "getOpens: 100000 rows")
        threading.Event().wait(1.2)
        journal.requests.taken(request, "campaign-unreachable", datetime.now(UTC))

    thread = threading.Thread(target=daemon)
    thread.start()
    assert await_outcome(journal, number) == "campaign-unreachable"
    thread.join()
    shown = capsys.readouterr().out
    assert shown.count("100000 rows") <= 1
    assert "50000 rows" not in shown.replace("100000", "")


def test_a_daemon_that_has_stopped_is_not_waited_for(journal):
    """Its last scan is long ago."""
    journal.requests.beat("scanned", stamp(datetime.now(UTC) - timedelta(minutes=3)))
    assert await_outcome(journal, asked(journal)) is None
