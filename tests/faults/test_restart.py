"""Lost answers, dead sessions, stops, restarts, takeovers: the list is right, the receipts too."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.two_feeds import Servers
from tests.servers.aftermath import claims, is_settled, rows_of, status, uploaded_ids
from tests.servers.service import MANDATOR, Setting, people, setting

SOON = "again_minutes = 0.02\nlater_minutes = 0.02"
NEVER_AGAIN = "again_minutes = 600\nlater_minutes = 600"


def ids(count: int, first: int = 1) -> list[str]:
    """Recipient ids of `people`."""
    return [row["email"] for row in people(count, first)]


def fill(made: Setting, count: int = 30) -> None:
    """Yesterday's people in the list."""
    old = [{"id": f"old{n}@example.org", "address": f"old{n}@example.org"} for n in range(count)]
    made.control.put_recipients(list_id=100, recipients=[o | {"attributes": {}} for o in old])


def fates(made: Setting) -> dict[str, list[str]]:
    """Every receipt's fate by the drop's name."""
    return {name: [each["fate"] for each in found] for name, found in made.receipts().items()}


def clears(made: Setting, number: int = 0) -> int:
    """How often the feed's list was cleared in fact."""
    found = made.calls("clear")
    return sum(call["list_id"] == 100 + number and call["applied"] for call in found)


# --- answers that are lost, sessions that die ----------------------------------------------------

LOST: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "session-dies-at-clear": ("clear", "expire-session", 1, {}),
    "session-dies-in-the-middle": ("addAll3", "expire-session", 2, {}),
    "clear-not-heard": ("clear", "drop-after", 1, {}),
    "clear-cut-off": ("clear", "truncated", 1, {}),
    "chunk-not-heard": ("addAll3", "drop-after", 2, {}),
    "last-chunk-not-heard": ("addAll3", "drop-after", 3, {}),
    "chunk-never-came": ("addAll3", "drop-before", 2, {}),
    "chunk-answer-cut-off": ("addAll3", "truncated", 1, {}),
    "chunk-gateway-error": ("addAll3", "http", 2, {"status": 503, "body": "busy"}),
    "purge-not-heard": ("removeUnsubscribed", "drop-after", 1, {}),
    "count-not-heard": ("getCount", "drop-after", 1, {}),
}


@pytest.mark.parametrize("how", LOST)
def test_lost_in_the_middle(tmp_path: Path, servers: Servers, how: str) -> None:
    """A session or an answer lost in a refill ends in the right list, cleared once."""
    method, what, nth, facts = LOST[how]
    with setting(tmp_path, nursery=servers.nursery) as made:
        fill(made)
        rule = made.control.schedule(method, what, nth=nth, **facts)
        made.start()
        made.drop("a.csv", people(25))
        receipt = made.wait_for("a.csv", "archived")
        assert made.list_ids() == ids(25)
        assert receipt["list"]["listed"] == receipt["list"]["count"] == 25
        assert receipt["list"]["clears"] == 1
        assert clears(made) == 1
        made.control.unschedule(rule)
        assert made.stop() == 0


@pytest.mark.parametrize("lost", ["clear", "addAll3"])
def test_lagging_count(tmp_path: Path, servers: Servers, lost: str) -> None:
    """A count that lags behind, and a lost answer besides, still end in the right list."""
    with setting(tmp_path, count_lag_seconds=1.0, nursery=servers.nursery) as made:
        made.extra["a"] = {"guards": "{min_rows = 1, believe_count_after_seconds = 2.5}"}
        made.write_config()
        fill(made)
        made.control.schedule(lost, "drop-after")
        made.start()
        made.drop("a.csv", people(25))
        receipt = made.wait_for("a.csv", "archived")
        assert made.list_ids() == ids(25)
        assert receipt["list"]["count"] == 25
        assert clears(made) <= 2
        assert made.stop() == 0


# --- many drops, many daemons --------------------------------------------------------------------


def test_twenty_drops_made_while_stopped(tmp_path: Path, servers: Servers) -> None:
    """Of drops that piled up the newest of each feed runs and clears its list once."""
    days = [f"202609{day:02}" for day in (4, 9, 2, 10, 7, 1, 6, 3, 8, 5)]
    with setting(tmp_path, 2, nursery=servers.nursery) as made:
        for number, day in enumerate(days):
            made.drop(f"a_{day}.csv", people(20 + number))
            made.drop(f"b_{day}.csv", people(20 + number, first=200))
        made.start()
        made.wait(lambda: is_settled(made, 20))
        found = fates(made)
        newest = {"a_20260910.csv", "b_20260910.csv"}
        assert found == {
            f"{feed}_{day}.csv": ["archived" if f"{feed}_{day}.csv" in newest else "superseded"]
            for feed in "ab"
            for day in days
        }
        assert [clears(made, 0), clears(made, 1)] == [1, 1]
        assert made.list_ids(0) == ids(23)
        assert made.list_ids(1) == ids(23, first=200)
        assert sorted(name[:2] for name in made.remote()) == ["a-", "b-"]
        assert [p.name for p in made.inbox.iterdir()] == [".claimed"]
        assert made.stop() == 0


def test_second_daemon_on_the_same_state(tmp_path: Path, servers: Servers) -> None:
    """A second daemon on the same state directory ends with 75 and disturbs nothing."""
    with setting(tmp_path, nursery=servers.nursery) as made:
        made.start()
        made.wait(lambda: "started" in made.log.read_text())
        for verb in ("run", "once"):
            second = made.etl(verb)
            assert second.returncode == 75, second.stderr
            assert "already-running" in second.stderr
        made.drop("a.csv", people(12))
        made.wait_for("a.csv", "archived")
        assert made.stop() == 0


def test_two_daemons_on_one_inbox(tmp_path: Path, servers: Servers) -> None:
    """Two instances on one inbox: one receipt for each drop, and nobody takes another's claim."""
    with setting(tmp_path, 10, nursery=servers.nursery) as made:
        uploads_only: dict[str, Any] = {"list": None, "attributes": None}
        made.extra = {made.feed(number): uploads_only for number in range(10)}
        made.write_config()
        other = tmp_path / "two.toml"
        (tmp_path / "two-responses").mkdir()
        text = made.config.read_text()
        text = text.replace(f'"{made.state}"', f'"{tmp_path}/two-state"')
        text = text.replace(f'"{made.responses}"', f'"{tmp_path}/two-responses"')
        other.write_text(f'instance = "two"\n{text}')
        third = made.inbox / ".claimed" / "three" / "20260101T000000Z-abcdef"
        third.mkdir(parents=True)
        (third / "a_20260101.csv").write_text("theirs")

        made.start()
        log = tmp_path / "two.log"
        command = [*made.command("run")[:-1], str(other)]
        with log.open("wb") as output, subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=made.environment()
        ) as two:  # fmt: skip
            try:
                made.wait(lambda: "started" in made.log.read_text())
                made.wait(lambda: "started" in log.read_text())
                names = [f"{made.feed(number)}.csv" for number in range(10)]
                for number, name in enumerate(names):
                    made.drop(name, people(5, first=10 * number + 1))
                made.wait(lambda: sorted(made.receipts()) == sorted(names))
                made.wait(lambda: not claims(made) and not claims(made, "two"))
            finally:
                two.terminate()
                assert two.wait(30) == 0
        assert made.stop() == 0

        assert fates(made) == {name: ["archived"] for name in names}
        assert sorted(uploaded_ids(c)[0] for c in made.remote().values()) == sorted(
            f"p{10 * number + 1}@example.org" for number in range(10)
        )
        assert [path.name for path in third.iterdir()] == ["a_20260101.csv"]
        for told in (made.log.read_text(), log.read_text()):
            lines = [json.loads(line) for line in told.splitlines()]
            assert any(line.get("folder") == ".claimed/three" for line in lines)
            assert not [line for line in lines if line["event"] == "adopted"]


# --- stop and go on ------------------------------------------------------------------------------


def test_stop_in_the_middle_of_a_refill(tmp_path: Path, servers: Servers) -> None:
    """SIGTERM ends the service after the chunk under way; the next start goes on from there."""
    with setting(tmp_path, nursery=servers.nursery) as made:
        fill(made)
        made.drop("a.csv", people(35))
        rule = made.control.hold("addAll3", nth=2)
        made.start()
        assert made.control.wait_held(rule)
        assert made.child is not None
        made.child.terminate()
        began = time.monotonic()
        made.control.release(rule)
        assert made.child.wait(30) == 0
        assert time.monotonic() - began < 10
        assert rows_of(made, "SELECT place FROM batches") == [("REFILLING",)]
        assert rows_of(made, "SELECT ack_at NOTNULL FROM calls") == [(1,), (1,)]
        assert made.list_ids() == ids(20)
        assert made.receipts() == {}
        made.start()
        made.wait_for("a.csv", "archived")
        assert made.list_ids() == ids(35)
        assert clears(made) == 1
        assert len(made.calls("addAll3")) == 4
        assert made.stop() == 0


# --- takeover, discard, release ------------------------------------------------------------------


def refilling_fails(made: Setting, name: str, count: int, again: str) -> tuple[str, int]:
    """A drop whose refill fails after its first chunk and is held; the batch and what to lift."""
    made.again = again
    made.write_config()
    fill(made)
    rule = made.control.schedule("addAll3", "http", nth=2, times=None, status=503, body="busy")
    made.start()
    made.drop(name, people(count))
    receipt = made.wait_for(name, "held")
    assert receipt["place"] == "REFILLING"
    assert receipt["list"]["clears"] == 1
    return str(receipt["batch"]), rule


def held_in_refilling(made: Setting, name: str, count: int) -> str:
    """A drop held in REFILLING for hours; Campaign is well again. Returns the batch."""
    batch, rule = refilling_fails(made, name, count, NEVER_AGAIN)
    made.control.unschedule(rule)
    return batch


def test_newer_drop_takes_a_dirty_list_over(tmp_path: Path, servers: Servers) -> None:
    """A newer drop takes over from one held in REFILLING, which ends superseded, with a receipt."""
    with setting(tmp_path, nursery=servers.nursery) as made:
        batch = held_in_refilling(made, "a_20260901.csv", 25)
        told = status(made)["under_way"]
        assert [(each["batch"], each["dirty_list"]) for each in told] == [(batch, True)]
        refused = made.etl("discard", batch, "--why", "not wanted")
        assert refused.returncode == 2
        assert "REFILLING" in refused.stderr
        made.drop("a_20260902.csv", people(22, first=5))
        made.wait_for("a_20260902.csv", "archived")
        assert made.list_ids() == ids(22, first=5)
        made.wait_for("a_20260901.csv", "superseded")
        made.wait(lambda: is_settled(made, 2))
        assert clears(made) == 2
        assert status(made)["under_way"] == []
        assert made.stop() == 0


def test_older_drop_waits_for_a_dirty_list(tmp_path: Path, servers: Servers) -> None:
    """A drop older than the one held in REFILLING neither clears nor fills its list."""
    with setting(tmp_path, nursery=servers.nursery) as made:
        _, rule = refilling_fails(made, "a_20260902.csv", 25, SOON)
        made.drop("a_20260901.csv", people(22, first=5))
        made.wait(lambda: rows_of(made, "SELECT 1 FROM batches WHERE name='a_20260901.csv'"))
        tries = rows_of(made, "SELECT held_tries FROM batches WHERE place='REFILLING'")[0][0]
        sql = "SELECT held_tries FROM batches WHERE name='a_20260902.csv'"
        made.wait(lambda: rows_of(made, sql)[0][0] > tries + 1)
        made.control.unschedule(rule)
        made.wait_for("a_20260902.csv", "archived")
        older = made.wait_for("a_20260901.csv", "held", "archived", "superseded")
        assert older["fate"] != "archived"
        assert made.list_ids() == ids(25)
        assert clears(made) == 1
        assert rows_of(made, "SELECT count(*) FROM moves WHERE place='REFILLING'") == [(1,)]
        assert made.stop() == 0


def test_takeover_survives_a_death(tmp_path: Path, servers: Servers) -> None:
    """A takeover cut off before the newer drop's clear was answered goes forward, never back."""
    with setting(tmp_path, nursery=servers.nursery) as made:
        held_in_refilling(made, "a_20260901.csv", 25)
        rule = made.control.hold("clear")
        made.drop("a_20260902.csv", people(22, first=5))
        assert made.control.wait_held(rule)
        made.kill()
        made.control.release(rule)
        places = dict(rows_of(made, "SELECT name, place FROM batches"))
        assert places == {"a_20260901.csv": "SUPERSEDED", "a_20260902.csv": "REFILLING"}
        made.start()
        made.wait(lambda: is_settled(made, 2))
        assert fates(made) == {"a_20260901.csv": ["superseded"], "a_20260902.csv": ["archived"]}
        assert made.list_ids() == ids(22, first=5)
        assert made.stop() == 0


def test_release_of_a_shrunk_drop(tmp_path: Path, servers: Servers) -> None:
    """A drop held as shrunk clears nothing until it is released, and is refilled then."""
    with setting(tmp_path, nursery=servers.nursery) as made:
        made.start()
        made.drop("a_20260901.csv", people(25))
        made.wait_for("a_20260901.csv", "archived")
        made.drop("a_20260902.csv", people(12))
        held = made.wait_for("a_20260902.csv", "held")
        assert held["held"]["code"] == "shrunk"
        assert held["held"]["next_try"] is None
        assert made.list_ids() == ids(25)
        batch = held["batch"]
        assert made.etl("release", batch, "--allow", "shrunk").returncode == 2
        done = made.etl("release", batch, "--allow", "shrunk", "--why", "half were moved")
        assert done.returncode == 0, done.stderr
        made.wait_for("a_20260902.csv", "archived")
        assert made.list_ids() == ids(12)
        assert rows_of(made, "SELECT batch, code FROM allowed") == [(batch, "shrunk")]
        assert rows_of(made, "SELECT why, outcome FROM requests") == [("half were moved", "done")]
        # One-shot: the next one is judged anew.
        made.drop("a_20260903.csv", people(4))
        assert made.wait_for("a_20260903.csv", "held", "archived")["fate"] == "held"
        assert made.stop() == 0


def test_world_guard_cannot_be_released(tmp_path: Path, servers: Servers) -> None:
    """A guard of the world is refused for release, holds the list as it is, and ends by itself."""
    with setting(tmp_path, nursery=servers.nursery) as made:
        fill(made)
        made.control.set_list(list_id=100, name="Somebody else's")
        made.start()
        made.drop("a.csv", people(25))
        held = made.wait_for("a.csv", "held")
        assert held["held"]["code"] == "wrong-list"
        for code in ("wrong-list", "shrunk,wrong-list", "suppression-stale"):
            refused = made.etl("release", held["batch"], "--allow", code, "--why", "trust me")
            assert refused.returncode == 2, code
        assert made.calls("clear") == []
        assert len(made.list_ids()) == 30
        made.control.set_list(list_id=100, name="List 0")
        made.wait_for("a.csv", "archived")
        assert made.list_ids() == ids(25)
        assert made.stop() == 0


def test_who_unsubscribes_while_held_is_left_out(tmp_path: Path, servers: Servers) -> None:
    """Who leaves while a refill is held is not sent when it goes on, and not in the list."""
    with setting(tmp_path, nursery=servers.nursery) as made:
        _, rule = refilling_fails(made, "a.csv", 25, SOON)
        gone = {"p2@example.org", "p24@example.org"}
        made.control.unsubscribe(mandator=MANDATOR, ids=sorted(gone))
        made.control.unschedule(rule)
        receipt = made.wait_for("a.csv", "archived")
        assert sorted(made.list_ids()) == sorted(set(ids(25)) - gone)
        assert receipt["list"]["suppressed_late"] >= 1
        assert clears(made) == 1
        assert made.stop() == 0


def test_receipts_folder_away_at_the_end(tmp_path: Path, servers: Servers) -> None:
    """A receipt that cannot be written is written once its folder is back; nothing is repeated."""
    with setting(tmp_path, nursery=servers.nursery) as made:
        rule = made.control.hold("getCount", nth=2)
        made.start()
        made.drop("a.csv", people(25))
        assert made.control.wait_held(rule)
        made.receipts_folder.rename(tmp_path / "away")
        made.control.release(rule)
        made.wait(lambda: rows_of(made, "SELECT place FROM batches") == [("ARCHIVED",)])
        made.wait(lambda: "folder-lost" in made.log.read_text())
        (tmp_path / "away").rename(made.receipts_folder)
        made.wait_for("a.csv", "archived")
        made.wait(lambda: is_settled(made))
        assert made.list_ids() == ids(25)
        assert clears(made) == 1
        assert made.stop() == 0


def test_quarantine_folder_away(tmp_path: Path, servers: Servers) -> None:
    """A case that cannot be written holds its drop; it is quarantined once the folder is back."""
    with setting(tmp_path, nursery=servers.nursery) as made:
        made.start()
        made.wait(lambda: "started" in made.log.read_text())
        made.quarantine.rename(tmp_path / "away")
        made.drop("stranger.csv", people(25))
        held = made.wait_for("stranger.csv", "held")
        assert held["held"]["code"] == "folder-lost"
        (tmp_path / "away").rename(made.quarantine)
        made.wait_for("stranger.csv", "quarantined")
        made.wait(lambda: is_settled(made))
        assert len(list(made.quarantine.iterdir())) == 1
        assert made.stop() == 0
