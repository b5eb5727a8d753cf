"""The inbox: what is a drop, what is left alone, how a drop is claimed and copied."""

import hashlib
import os
import socket

import pytest

from etl.batch import new_id
from etl.extract.inbox import Inbox, InboxLost, is_junk
from tests.twins.clock import TwinClock

NOW = TwinClock().wall()


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    return Inbox(folder, "one")


@pytest.mark.parametrize(
    "name",
    ["~$a.csv", "a.csv.part", "a.tmp", ".a.csv", "._a.csv", ".DS_Store", "Thumbs.db", "@eaDir",
     "a.csv.filepart", "a.csv~", ".a.csv.swp", "#recycle"],
)  # fmt: skip
def test_litter_is_ignored(inbox, name):
    """Names of copying tools, editors and shares are neither drops nor told."""
    (inbox.folder / name).write_text("x")
    seen = inbox.scan()
    assert (seen.files, seen.unfit) == ({}, [])
    assert is_junk(name)


def test_everything_but_a_plain_file_is_left_alone_and_told(inbox):
    """Links, FIFOs, sockets, devices and folders are unfit, each with its kind."""
    folder = inbox.folder
    (folder / "folder.csv").mkdir()
    (folder / "real.csv").write_text("x")
    (folder / "link.csv").symlink_to(folder / "real.csv")
    (folder / "dangling.csv").symlink_to("/nonexistent")
    os.mkfifo(folder / "fifo.csv")
    (folder / "hard.csv").write_text("x")
    (folder / "hard2.csv").hardlink_to(folder / "hard.csv")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket.csv"))
        seen = inbox.scan()
    assert set(seen.files) == {"real.csv"}
    told = {(unfit.name, unfit.code, unfit.kind) for unfit in seen.unfit}
    assert told == {
        ("'folder.csv'", "not-a-file", "folder"),
        ("'link.csv'", "not-a-file", "symbolic link"),
        ("'dangling.csv'", "not-a-file", "symbolic link"),
        ("'fifo.csv'", "not-a-file", "FIFO"),
        ("'socket.csv'", "not-a-file", "socket"),
        ("'hard.csv'", "several-links", ""),
        ("'hard2.csv'", "several-links", ""),
    }


@pytest.mark.parametrize("name", ["a\nb.csv", "a\x1bb.csv", "a\u202eb.csv", "x" * 201 + ".csv"])
def test_names_that_could_forge_a_line_are_refused(inbox, name):
    """Control characters, direction overrides and overlong names are unfit and shown escaped."""
    (inbox.folder / name).write_text("x")
    seen = inbox.scan()
    assert seen.files == {}
    assert [unfit.code for unfit in seen.unfit] == ["bad-name"]
    assert all(unfit.name.isascii() and unfit.name.isprintable() for unfit in seen.unfit)


def test_a_name_that_is_no_utf8_is_refused(inbox):
    """Bytes that decode to surrogates neither crash the scan nor become a drop."""
    (inbox.folder / os.fsdecode(b"\xff.csv")).write_text("x")
    assert [unfit.code for unfit in inbox.scan().unfit] == ["bad-name"]


def claimed(inbox, name="a.csv", content=b"x;y\n"):
    (inbox.folder / name).write_bytes(content)
    batch = new_id(NOW)
    assert inbox.claim(name, batch)
    return batch


def test_a_claim_moves_the_drop_into_our_own_folder(inbox):
    """After a claim the inbox is free of the name and the claim holds the file."""
    batch = claimed(inbox)
    assert inbox.scan().files == {}
    assert list(inbox.claims()) == [(batch, "a.csv")]


def test_a_drop_can_be_claimed_once(inbox):
    """Who comes second gets nothing and leaves nothing behind."""
    claimed(inbox)
    assert not inbox.claim("a.csv", "20261124T000000Z-abcdef")
    assert len(list(inbox.claims())) == 1


def test_the_copy_is_what_had_settled(inbox, tmp_path):
    """Size and sha256 of the private copy are those of the claimed bytes."""
    batch = claimed(inbox, content=b"1234\n")
    copy = inbox.copy(batch, "a.csv", inbox.sight(batch, "a.csv"), tmp_path / "original")
    assert (copy.size_bytes, copy.sha256) == (5, hashlib.sha256(b"1234\n").hexdigest())
    assert (tmp_path / "original").read_bytes() == b"1234\n"
    assert (tmp_path / "original").stat().st_mode & 0o777 == 0o600


def test_a_file_written_after_it_settled_is_not_copied(inbox, tmp_path):
    """A writer that still holds the claimed file makes it settle again."""
    (inbox.folder / "a.csv").write_bytes(b"1\n")
    with (inbox.folder / "a.csv").open("ab") as writer:
        batch = new_id(NOW)
        assert inbox.claim("a.csv", batch)
        settled = inbox.sight(batch, "a.csv")
        writer.write(b"2\n")
        writer.flush()
        assert inbox.copy(batch, "a.csv", settled, tmp_path / "original") is None
    assert not (tmp_path / "original").exists()


def test_a_link_in_place_of_a_claimed_file_is_never_followed(inbox, tmp_path):
    """Something swapped into the claim is not opened through a link."""
    batch = claimed(inbox)
    settled = inbox.sight(batch, "a.csv")
    place = inbox.folder / ".claimed" / "one" / batch / "a.csv"
    place.unlink()
    place.symlink_to("/etc/hostname")
    assert inbox.sight(batch, "a.csv") is None
    assert inbox.copy(batch, "a.csv", settled, tmp_path / "original") is None


def test_another_instances_claims_are_seen_and_not_ours(inbox):
    """Foreign claims are named, never listed as our own."""
    other = Inbox(inbox.folder, "two")
    batch = claimed(other)
    assert inbox.foreign() == ["two"]
    assert list(inbox.claims()) == []
    other.drop_claim(batch, "a.csv")
    assert inbox.foreign() == []


def test_an_inbox_that_was_replaced_is_lost(inbox, tmp_path):
    """An unmounted share is an empty folder: it is not believed, and nothing is claimed."""
    inbox.folder.rename(tmp_path / "away")
    inbox.folder.mkdir()
    (inbox.folder / "a.csv").write_text("x")
    with pytest.raises(InboxLost):
        inbox.scan()
    with pytest.raises(InboxLost):
        inbox.claim("a.csv", new_id(NOW))


def test_a_claim_taken_away_leaves_nothing(inbox):
    """drop_claim removes file and folder and may be repeated."""
    batch = claimed(inbox)
    inbox.drop_claim(batch, "a.csv")
    inbox.drop_claim(batch, "a.csv")
    assert list(inbox.claims()) == []


def test_litter_in_a_claim_is_neither_the_drop_nor_taken_with_it(inbox):
    """What a desktop or a share leaves in a claim folder does not stand for the drop."""
    batch = claimed(inbox)
    place = inbox.folder / ".claimed" / "one" / batch
    (place / ".DS_Store").write_text("x")
    (place / "@eaDir").mkdir()
    assert list(inbox.claims()) == [(batch, "a.csv")]
    inbox.drop_claim(batch, "a.csv")
    assert sorted(path.name for path in place.iterdir()) == [".DS_Store", "@eaDir"]
    assert list(inbox.claims()) == [(batch, None)]
