"""Durable writing: whole or not at all, whatever a crash or the disk does."""

import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from etl.durable import (
    copy_private,
    fsync_folder,
    make_folder,
    move,
    temporary_name,
    write_file,
)

CONTENT = b"0123456789" * 1000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def in_python(program: str, *arguments: object, under: tuple[str, ...] = ()) -> str:
    """Run a program in its own process, as a limit or strace needs it; return what it printed."""
    command = [*under, sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("content", [CONTENT, iter([CONTENT[:7], b"", CONTENT[7:]])])
def test_a_file_is_written_whole_with_its_digest_and_mode(tmp_path: Path, content) -> None:
    """Bytes or pieces of bytes arrive in full, under the mode asked for whatever the umask says."""
    before = os.umask(0o077)
    try:
        digest = write_file(tmp_path / "a.csv", content)
    finally:
        os.umask(before)
    assert digest == sha256(CONTENT)
    assert (tmp_path / "a.csv").read_bytes() == CONTENT
    assert mode_of(tmp_path / "a.csv") == 0o640
    assert names_in(tmp_path) == ["a.csv"]


def test_what_a_crash_left_is_thrown_away(tmp_path: Path) -> None:
    """A half-written temporary file of an earlier life does not get into the file."""
    (tmp_path / temporary_name("a.csv")).write_bytes(b"half" * 5000)
    write_file(tmp_path / "a.csv", b"whole")
    assert (tmp_path / "a.csv").read_bytes() == b"whole"
    assert names_in(tmp_path) == ["a.csv"]


def test_a_link_planted_under_the_temporary_name_is_not_followed(tmp_path: Path) -> None:
    """Whoever can write beside the file cannot have another file overwritten."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    (tmp_path / temporary_name("a.csv")).symlink_to(victim)
    write_file(tmp_path / "a.csv", b"whole")
    assert victim.read_bytes() == b"untouched"
    assert not (tmp_path / "a.csv").is_symlink()


def test_a_source_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """An error while the pieces are made leaves the earlier file as it was and nothing beside."""
    write_file(tmp_path / "a.csv", b"old")

    def pieces():
        yield b"new"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_file(tmp_path / "a.csv", pieces())
    assert (tmp_path / "a.csv").read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.csv"]


def test_a_short_write_goes_on_and_a_full_disk_is_seen(tmp_path: Path) -> None:
    """At a limit the kernel first writes a part, then refuses: the file never appears."""
    printed = in_python(
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from etl.durable import write_file\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_file(Path(sys.argv[1]), b'x' * 1500)\n"
        "except OSError as error: print(error.errno)\n",
        tmp_path / "a.csv",
    )
    assert printed == str(errno.EFBIG)
    assert names_in(tmp_path) == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_failed_fsync_keeps_the_old_file_and_is_not_repeated(tmp_path: Path) -> None:
    """When fsync fails once the new bytes are given up, though a second try would succeed."""
    write_file(tmp_path / "a.csv", b"old")
    printed = in_python(
        "import sys\n"
        "from pathlib import Path\n"
        "from etl.durable import write_file\n"
        "try: write_file(Path(sys.argv[1]), b'new')\n"
        "except OSError as error: print(error.errno)\n",
        tmp_path / "a.csv",
        under=("strace", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO:when=1"),
    )
    assert printed == str(errno.EIO)
    assert (tmp_path / "a.csv").read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.csv"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_file_is_durable_before_its_name_and_the_name_before_the_return(tmp_path: Path) -> None:
    """The order of the system calls is fsync of the file, rename, fsync of the folder."""
    trace = tmp_path / "trace"
    in_python(
        "import sys\n"
        "from pathlib import Path\n"
        "from etl.durable import write_file\n"
        "write_file(Path(sys.argv[1]), b'new')\n",
        tmp_path / "a.csv",
        under=("strace", "-qq", "-y", "-o", str(trace), "-e", "trace=fsync,rename,renameat"),
    )
    calls = [line for line in trace.read_text().splitlines() if str(tmp_path) in line]
    assert [line.split("(")[0] for line in calls] == ["fsync", "rename", "fsync"]
    assert ".partial" in calls[0]
    assert f"<{tmp_path}>" in calls[2]


def test_a_private_copy_begins_at_the_first_byte(tmp_path: Path) -> None:
    """The copy is the whole file wherever the descriptor stands, for our eyes only."""
    (tmp_path / "drop").write_bytes(CONTENT)
    descriptor = os.open(tmp_path / "drop", os.O_RDONLY)
    try:
        os.lseek(descriptor, 5, os.SEEK_SET)
        digest, size_bytes = copy_private(descriptor, tmp_path / "copy")
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 5
    finally:
        os.close(descriptor)
    assert (digest, size_bytes) == (sha256(CONTENT), len(CONTENT))
    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert mode_of(tmp_path / "copy") == 0o600


def test_moving_renames_and_never_drops_a_folder_that_is_in_use(tmp_path: Path) -> None:
    """A file goes to its new place; a folder with something in it is not replaced."""
    for name in ("one", "two"):
        make_folder(tmp_path / name)
        write_file(tmp_path / name / "a.csv", name.encode())
    move(tmp_path / "one" / "a.csv", tmp_path / "two" / "b.csv")
    assert names_in(tmp_path / "two") == ["a.csv", "b.csv"]
    assert names_in(tmp_path / "one") == []
    with pytest.raises(OSError, match="not empty"):
        move(tmp_path / "one", tmp_path / "two")


def test_a_folder_has_its_mode_and_may_be_there_already(tmp_path: Path) -> None:
    """Making a folder twice is no error; what stands there and is no folder is one."""
    before = os.umask(0o077)
    try:
        make_folder(tmp_path / "cases")
    finally:
        os.umask(before)
    make_folder(tmp_path / "cases", 0o700)
    assert mode_of(tmp_path / "cases") == 0o750
    (tmp_path / "link").symlink_to(tmp_path / "cases")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(FileExistsError):
            make_folder(tmp_path / name)


def test_the_fsync_of_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """Only what a file system cannot do is forgiven, nothing else."""
    with pytest.raises(FileNotFoundError):
        fsync_folder(tmp_path / "missing")
