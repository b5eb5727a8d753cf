"""Writing that is still there after a power cut: write beside, fsync, rename, fsync the folder.

It may not know what it writes, and it repeats nothing: an OSError passes through to the caller.
After a failed fsync nobody knows what reached the disk (the lost pages may already count as
clean), so the half-written file is thrown away and only a whole new one may follow.
"""

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from etl.errors import FarSideUnavailable

PRIVATE_FILE = 0o600
SHARED_FILE = 0o640
SHARED_FOLDER = 0o750

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class KnownFolder:
    """A folder known again by its identity: an unmounted share leaves an empty one in its place."""

    path: Path
    device: int
    inode: int

    @classmethod
    def at(cls, path: Path) -> "KnownFolder":
        """Take the folder that is at a path now for the right one."""
        found = path.stat()
        return cls(path, found.st_dev, found.st_ino)

    def check(self) -> Path:
        """Return the path; FarSideUnavailable (`folder-lost`) when another folder is there."""
        try:
            found = self.path.stat()
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != (self.device, self.inode):
            raise FarSideUnavailable("folder-lost", folder=self.path.name)
        return self.path


def write_file(path: Path, content: bytes | Iterable[bytes], mode: int = SHARED_FILE) -> str:
    """Put `content` at `path`, whole or not at all, and return its sha256 as hex.

    An earlier file of that name is replaced. Until then the bytes are in the dot file of
    `temporary_name`; what a crash left there is thrown away. One writer per path at a time.
    """
    temporary = path.with_name(temporary_name(path.name))
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, mode)
    try:
        try:
            _set_mode(descriptor, mode)
            digest = _write_all(descriptor, (content,) if isinstance(content, bytes) else content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    fsync_folder(path.parent)
    return digest


def temporary_name(name: str) -> str:
    """The dot file that holds a file's bytes until it is complete."""
    return f".{name}.partial"


def copy_private(
    descriptor: int, target: Path, progress: Callable[[], None] = lambda: None
) -> tuple[str, int]:
    """Copy an open file from its first byte into `target` (0600); return sha256 and size in bytes.

    Read is what the descriptor gives until its end, wherever it stands: its position is neither
    used nor moved. Whether the file changed meanwhile is for the caller to compare. `progress` is
    called for every MiB.
    """
    size_bytes = 0

    def pieces() -> Iterator[bytes]:
        nonlocal size_bytes
        while piece := os.pread(descriptor, _PIECE_BYTES, size_bytes):
            size_bytes += len(piece)
            progress()
            yield piece

    digest = write_file(target, pieces(), PRIVATE_FILE)
    return digest, size_bytes


def move(source: Path, target: Path) -> None:
    """Rename a file or a folder within one file system; both folders are made durable.

    A file that stands at `target` is replaced, a folder that is not empty is refused (OSError).
    """
    source.rename(target)
    fsync_folder(target.parent)
    if source.parent != target.parent:
        fsync_folder(source.parent)


def make_folder(path: Path, mode: int = SHARED_FOLDER) -> None:
    """Make one folder with exactly this mode, durably; one that is there already stays as it is."""
    try:
        path.mkdir(mode)
    except FileExistsError:
        if path.is_symlink() or not path.is_dir():
            raise
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _set_mode(descriptor, mode)
    finally:
        os.close(descriptor)
    fsync_folder(path.parent)


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable, where its file system can do that."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems answer so for every folder: they have nothing to fsync there.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(descriptor)


def _set_mode(descriptor: int, mode: int) -> None:
    """Set the mode whatever the umask says; a share that keeps modes of its own may refuse."""
    try:
        os.fchmod(descriptor, mode)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP}:
            raise


def _write_all(descriptor: int, content: Iterable[bytes]) -> str:
    """Write every byte, honouring short writes; return the sha256 of what was written."""
    digest = hashlib.sha256()
    for piece in content:
        digest.update(piece)
        left = memoryview(piece)
        while left:
            left = left[os.write(descriptor, left) :]
    return digest.hexdigest()
