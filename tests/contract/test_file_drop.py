"""What every FileDrop does: the twin, the embedded server with and without posix-rename, sshd."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from etl.errors import FarSideRefused
from etl.ports import FileDrop
from etl.sandbox.sftp import EmbeddedSftp, Switches, make_key
from tests.servers.access import drop_to
from tests.servers.sshd import Sshd
from tests.twins.file_drop import TwinDrop


@dataclass(frozen=True, slots=True)
class Subject:
    """A drop, and a look at what it holds from behind."""

    drop: FileDrop
    content: Callable[[str], bytes | None]
    replaces: bool


def _folder_content(folder: Path) -> Callable[[str], bytes | None]:
    def content(name: str) -> bytes | None:
        path = folder / name
        return path.read_bytes() if path.exists() else None

    return content


@contextlib.contextmanager
def _twin(_: Path, *, replaces: bool) -> Iterator[Subject]:
    twin = TwinDrop()
    twin.posix_rename = replaces
    yield Subject(twin, twin.files.get, replaces)


@contextlib.contextmanager
def _embedded(work: Path, *, replaces: bool) -> Iterator[Subject]:
    key = make_key(work / "key")
    folder = work / "remote"
    folder.mkdir()
    with EmbeddedSftp(folder, [key], switches=Switches(no_posix_rename=not replaces)) as server:
        drop = drop_to(server, work / "key")
        yield Subject(drop, _folder_content(folder), replaces)
        drop.close()


@contextlib.contextmanager
def _sshd(work: Path, *, replaces: bool) -> Iterator[Subject]:
    key = make_key(work / "key")
    with Sshd([key]) as server:
        drop = drop_to(server, work / "key")
        yield Subject(drop, _folder_content(server.folder), replaces)
        drop.close()


_MAKERS = {
    "twin": (_twin, True),
    "twin without posix-rename": (_twin, False),
    "embedded": (_embedded, True),
    "embedded without posix-rename": (_embedded, False),
    "sshd": (_sshd, True),
}


@pytest.fixture(params=_MAKERS, scope="module")
def subject(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Subject]:
    make, replaces = _MAKERS[request.param]
    with make(tmp_path_factory.mktemp("drop"), replaces=replaces) as made:
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes("Anrede;Straße\r\nFrau;Übersee\r\n".encode())
    return path


def test_bytes_arrive_as_they_are(subject: Subject, source: Path) -> None:
    """What is put is there, byte for byte, and its size is returned."""
    assert subject.drop.put(source, "same.part") == source.stat().st_size
    assert subject.content("same.part") == source.read_bytes()


def test_put_again_starts_anew(subject: Subject, source: Path, tmp_path: Path) -> None:
    """A second put to a name leaves nothing of a longer first one."""
    longer = tmp_path / "longer"
    longer.write_bytes(source.read_bytes() * 3)
    subject.drop.put(longer, "again.part")
    subject.drop.put(source, "again.part")
    assert subject.content("again.part") == source.read_bytes()


def test_empty_file(subject: Subject, tmp_path: Path) -> None:
    """A file of 0 bytes is put as one."""
    empty = tmp_path / "empty"
    empty.touch()
    assert subject.drop.put(empty, "empty.part") == 0
    assert subject.content("empty.part") == b""
    assert subject.drop.stat("empty.part") == 0


def test_big_file(subject: Subject, tmp_path: Path) -> None:
    """20 MB, many windows of writes, arrive with the same digest."""
    big = tmp_path / "big"
    # No block equals another, so a write at a wrong place changes the digest.
    big.write_bytes(b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(655_360)))
    assert subject.drop.put(big, "big.part") == 20_971_520
    content = subject.content("big.part")
    assert content is not None
    assert hashlib.sha256(content).digest() == hashlib.sha256(big.read_bytes()).digest()
    subject.drop.remove("big.part")


def test_rename_moves(subject: Subject, source: Path) -> None:
    """After a rename the final name holds the bytes and the temporary one is gone."""
    subject.drop.put(source, ".r.part")
    subject.drop.rename(".r.part", "r.csv")
    assert subject.content("r.csv") == source.read_bytes()
    assert subject.drop.stat(".r.part") is None


def test_rename_onto_a_file(subject: Subject, source: Path, tmp_path: Path) -> None:
    """posix-rename replaces an existing file; without it the rename is refused, both stay."""
    other = tmp_path / "other"
    other.write_bytes(b"old")
    subject.drop.put(other, "onto.csv")
    subject.drop.put(source, "onto.part")
    if subject.replaces:
        subject.drop.rename("onto.part", "onto.csv")
        assert subject.content("onto.csv") == source.read_bytes()
        assert subject.content("onto.part") is None
    else:
        with pytest.raises(FarSideRefused) as caught:
            subject.drop.rename("onto.part", "onto.csv")
        assert caught.value.code == "sftp-refused"
        assert subject.content("onto.csv") == b"old"
        assert subject.content("onto.part") == source.read_bytes()


def test_rename_of_nothing(subject: Subject) -> None:
    """A temporary name that is not there cannot be renamed."""
    with pytest.raises(FarSideRefused) as caught:
        subject.drop.rename("nothing.part", "nothing.csv")
    assert caught.value.code == "sftp-refused"
    assert subject.content("nothing.csv") is None


def test_stat(subject: Subject, source: Path) -> None:
    """Stat tells the size, None when there is no such file."""
    subject.drop.put(source, "Straße 1.csv")
    assert subject.drop.stat("Straße 1.csv") == source.stat().st_size
    assert subject.drop.stat("missing.csv") is None


def test_remove(subject: Subject, source: Path) -> None:
    """Remove takes a file away and is content when it is gone already."""
    subject.drop.put(source, "gone.csv")
    subject.drop.remove("gone.csv")
    assert subject.content("gone.csv") is None
    subject.drop.remove("gone.csv")


def test_free(subject: Subject) -> None:
    """Free is a number of bytes, or None where the server cannot tell."""
    free = subject.drop.free()
    assert free is None or free > 0


def test_close_is_not_the_end(subject: Subject, source: Path) -> None:
    """A verb after close works; close may be repeated."""
    subject.drop.put(source, "after.csv")
    subject.drop.close()
    subject.drop.close()
    assert subject.drop.stat("after.csv") == source.stat().st_size


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/x", "../x", "a\0b", "x" * 256])
def test_names_are_plain(subject: Subject, source: Path, name: str) -> None:
    """Every verb refuses a name that is not a plain file name."""
    verbs: list[Callable[[], object]] = [
        lambda: subject.drop.put(source, name),
        lambda: subject.drop.rename(name, "final"),
        lambda: subject.drop.rename("temporary", name),
        lambda: subject.drop.stat(name),
        lambda: subject.drop.remove(name),
    ]
    for verb in verbs:
        with pytest.raises(ValueError, match="plain file name"):
            verb()


def test_local_file_missing(subject: Subject, tmp_path: Path) -> None:
    """A source that is not there is a local error and leaves nothing behind."""
    with pytest.raises(FileNotFoundError):
        subject.drop.put(tmp_path / "no-source", "local.part")
    assert subject.content("local.part") is None
