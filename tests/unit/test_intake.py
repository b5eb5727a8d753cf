"""Intake over a real folder: which file becomes a batch, when, and what is left alone."""

import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from etl.batch import new_id
from etl.extract.inbox import InboxLost
from etl.intake import Intake, drop_order
from etl.log import configure
from tests.servers.service import as_csv, people
from tests.twins.house import House


class Gate:
    """An instance of which only the intake runs."""

    def __init__(self, root: Path, feeds: int = 1, **changes: Any) -> None:
        self.house = House(root, feeds)
        for feed in self.house.feeds:
            feed.update(changes)
        self.inbox = root / "inbox"
        self.start()

    def start(self) -> None:
        """A start of the process: what was observed is forgotten."""
        self.house.close()
        self.world = self.house.open()
        self.intake = Intake(self.world)

    def names(self) -> list[str]:
        """Names of the batches in the journal, oldest first."""
        return [batch.name for batch in reversed(self.world.journal.batches.latest(100))]

    def scans(self, times: int) -> int:
        """Scan so often; what the last scan told."""
        waiting = 0
        for _ in range(times):
            waiting = self.intake.scan()
            self.house.clock.advance(1)
        return waiting


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path)
    yield made
    made.house.close()


class Told:
    """What the log says since the last look."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        configure(self.stream, strict=True)

    def events(self) -> list[dict[str, Any]]:
        """Every event."""
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return [json.loads(line) for line in text.splitlines()]

    def refused(self) -> list[tuple[str, str]]:
        """Names and codes of what was refused."""
        return [(one["name"], one["code"]) for one in self.events() if one["event"] == "refused"]


@pytest.fixture
def told() -> Iterator[Told]:
    yield Told()
    structlog.reset_defaults()


def test_a_file_is_claimed_when_it_has_settled(gate: Gate):
    """Two equal sightings: it leaves the inbox, its copy has its bytes, the journal knows it."""
    gate.house.drop("a_1.csv", people(3), mtime=1_700_000_000)
    assert gate.scans(1) == 1
    assert (gate.names(), (gate.inbox / "a_1.csv").exists()) == ([], True)
    assert gate.scans(1) == 0
    (batch,) = gate.world.journal.batches.latest(10)
    assert (batch.name, batch.feed, batch.order) == (
        "a_1.csv", "a", "1/01700000000000000000/a_1.csv"
    )  # fmt: skip
    copy = gate.world.batches / batch.id / "original"
    assert copy.read_bytes() == as_csv(people(3))
    assert copy.stat().st_mode & 0o777 == 0o600
    assert not (gate.inbox / "a_1.csv").exists()
    assert (gate.inbox / ".claimed" / "one" / batch.id / "a_1.csv").exists()


def test_a_file_that_grows_is_waited_for(gate: Gate):
    """Each change begins the count anew, however often it is looked at."""
    path = gate.inbox / "a_1.csv"
    for size in range(5):
        path.write_bytes(b"x" * size)
        os.utime(path, ns=(size, size))
        assert gate.intake.scan() == 1
    assert gate.names() == []
    gate.scans(2)
    assert gate.names() == ["a_1.csv"]


def test_a_writer_that_goes_on_after_the_claim(gate: Gate):
    """A file still written to after its claim is copied only when that has ended."""
    path = gate.inbox / "a_1.csv"
    path.write_bytes(b"one\n")
    with path.open("ab", buffering=0) as writer:
        gate.intake.scan()
        rename = gate.world.inbox.claim
        assert rename("a_1.csv", new_id(gate.world.clock.wall()))
        for _ in range(3):
            writer.write(b"more\n")
            assert gate.intake.scan() == 1
            assert gate.names() == []
    gate.scans(2)
    (batch,) = gate.world.journal.batches.latest(10)
    assert batch.size_bytes == len(b"one\nmore\nmore\nmore\n")


def test_junk_is_ignored_and_silent(gate: Gate, told: Told):
    """Dot files, half copies and litter of shares are neither claimed nor told."""
    for name in (".a_1.csv", "~$a_1.csv", "a_1.csv.part", "a_1.csv.tmp", "Thumbs.db", ".DS_Store"):
        (gate.inbox / name).write_bytes(b"x")
    (gate.inbox / "@eaDir").mkdir()
    assert gate.scans(3) == 0
    assert gate.names() == []
    assert told.refused() == []


def test_what_is_no_file_is_left_alone_and_told_once(gate: Gate, tmp_path: Path, told: Told):
    """Links, FIFOs, sockets, folders and hard links stay where they are, as they are."""
    outside = tmp_path / "outside.csv"
    outside.write_bytes(b"secret")
    (gate.inbox / "link.csv").symlink_to(outside)
    os.mkfifo(gate.inbox / "fifo.csv")
    (gate.inbox / "folder.csv").mkdir()
    os.link(outside, gate.inbox / "twice.csv")
    os.mknod(gate.inbox / "s", stat.S_IFSOCK | 0o600)
    (gate.inbox / "new\nline.csv").write_bytes(b"x")
    before = sorted(gate.inbox.iterdir())
    assert gate.scans(4) == 0
    found = told.refused()
    assert sorted(found) == sorted(
        [("'link.csv'", "not-a-file"), ("'fifo.csv'", "not-a-file"), ("'s'", "not-a-file"),
         ("'folder.csv'", "not-a-file"), ("'twice.csv'", "several-links"),
         (r"'new\nline.csv'", "bad-name")]
    )  # fmt: skip
    assert sorted(gate.inbox.iterdir()) == before
    assert gate.names() == []
    # Gone and come back, it is told again.
    (gate.inbox / "twice.csv").unlink()
    gate.scans(1)
    os.link(outside, gate.inbox / "twice.csv")
    gate.scans(2)
    assert told.refused() == [("'twice.csv'", "several-links")]


def test_a_done_marker_alone_decides(tmp_path: Path):
    """Without it a file is never complete and nobody waits for it; with it, at once."""
    gate = Gate(tmp_path, done_marker=".done")
    gate.house.drop("a_1.csv", people(1))
    assert gate.scans(5) == 0
    assert gate.names() == []
    (gate.inbox / "a_1.csv.done").touch()
    (gate.inbox / "a_2.csv.done").touch()
    gate.scans(2)
    assert gate.names() == ["a_1.csv"]
    # Its own marker is gone; one that came before its drop waits for it.
    assert sorted(p.name for p in gate.inbox.glob("*.done")) == ["a_2.csv.done"]
    gate.house.close()


def test_a_claim_the_journal_does_not_know_is_adopted(gate: Gate):
    """A death between the rename and the journal: the next start takes the file up."""
    gate.house.drop("a_1.csv", people(2))
    assert gate.world.inbox.claim("a_1.csv", new_id(gate.world.clock.wall()))
    gate.start()
    assert gate.scans(1) == 1
    gate.scans(2)
    assert gate.names() == ["a_1.csv"]
    gate.start()
    gate.scans(3)
    assert gate.names() == ["a_1.csv"]


def test_an_empty_claim_is_removed(gate: Gate):
    """A death between the folder and the rename leaves a folder, which goes."""
    place = gate.inbox / ".claimed" / "one" / new_id(gate.world.clock.wall())
    place.mkdir(parents=True)
    gate.scans(1)
    assert not place.exists()


def test_claims_of_another_instance_are_told_and_left(gate: Gate, told: Told):
    """They are not ours, but somebody must know: alarmed once."""
    place = gate.inbox / ".claimed" / "two" / new_id(gate.world.clock.wall())
    place.mkdir(parents=True)
    (place / "a_1.csv").write_bytes(b"x")
    gate.scans(4)
    assert [(one["event"], one["code"]) for one in told.events()] == [("alarm", "foreign-claim")]
    assert (place / "a_1.csv").exists()
    assert gate.names() == []


def test_an_inbox_that_goes_away_forgets_nothing(gate: Gate):
    """An unmounted share looks like another, empty folder: nothing is decided, nothing lost."""
    gate.house.drop("a_1.csv", people(1))
    gate.scans(1)
    gate.inbox.rename(gate.inbox.with_name("away"))
    gate.inbox.mkdir()
    with pytest.raises(InboxLost):
        gate.intake.scan()
    gate.inbox.rmdir()
    gate.inbox.with_name("away").rename(gate.inbox)
    gate.scans(1)
    assert gate.names() == ["a_1.csv"]


def test_a_name_of_no_feed_or_two_is_claimed_without_feed(tmp_path: Path):
    """Whose drop it is cannot be told; the pipeline quarantines it."""
    gate = Gate(tmp_path, feeds=2, pattern=r"both_\d+\.csv")
    gate.house.drop("both_1.csv", people(1))
    gate.house.drop("none.csv", people(1))
    gate.scans(2)
    batches = gate.world.journal.batches.latest(10)
    assert sorted((batch.name, batch.feed) for batch in batches) == [
        ("both_1.csv", None), ("none.csv", None),
    ]  # fmt: skip
    gate.house.close()


def test_the_same_name_again_is_another_drop(gate: Gate):
    """A second file of that name, while the first is claimed, gets a batch of its own."""
    gate.house.drop("a_1.csv", people(1))
    gate.scans(2)
    gate.house.drop("a_1.csv", people(2))
    gate.scans(2)
    assert gate.names() == ["a_1.csv", "a_1.csv"]
    assert len({batch.id for batch in gate.world.journal.batches.latest(10)}) == 2


def test_order_of_drops(gate: Gate):
    """The pattern's date goes before the file's time, that before the name."""
    feed = gate.world.config.settings.feed[0]
    ordered = [
        drop_order(feed, "a_20300101.csv", 9), drop_order(feed, "a_20300102.csv", 5),
        drop_order(feed, "a_20300102.csv", 10), drop_order(feed, "a_20300103.csv", 1),
    ]  # fmt: skip
    assert ordered == sorted(ordered)
    assert drop_order(None, "x", 1) < drop_order(None, "y", 1) < drop_order(None, "x", 2)
