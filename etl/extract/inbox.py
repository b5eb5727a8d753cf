"""The inbox: lists what the CRM dropped and claims a drop by renaming it into our own folder.

It decides nothing about content. What is no plain file of one link is never opened, moved or
followed; names are only ever entries of the folder itself.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from etl.batch import is_id
from etl.durable import copy_private, fsync_folder
from etl.extract.settle import Sighting

CLAIMED = ".claimed"
NAME_BYTES = 200
_JUNK_SUFFIXES = (
    ".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".swp", "~",
)  # fmt: skip
_JUNK_NAMES = frozenset({"thumbs.db", "desktop.ini", "@eadir", "#recycle", "#snapshot"})
_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "block device",
    stat.S_IFCHR: "character device",
}


def is_junk(name: str) -> bool:
    """Tell whether a name is litter of editors, copying tools or shares, to be ignored."""
    low = name.lower()
    return low.startswith((".", "~$")) or low.endswith(_JUNK_SUFFIXES) or low in _JUNK_NAMES


@dataclass(frozen=True, slots=True)
class Unfit:
    """An entry of the inbox that is left alone, and why."""

    name: str
    code: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Scan:
    """What one look into the inbox saw."""

    files: dict[str, Sighting]
    unfit: list[Unfit]


@dataclass(frozen=True, slots=True)
class Copy:
    """The private copy of a claimed drop."""

    size_bytes: int
    sha256: str
    mtime_ns: int


class InboxLost(OSError):  # noqa: N818 - a state of the world
    """The inbox is not the folder it was at start: unmounted, or mounted anew."""


def _sighting(found: os.stat_result) -> Sighting:
    return Sighting(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _judge(name: str, found: os.stat_result) -> Unfit | None:
    """Why an entry is no drop; None when it is one."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return Unfit(ascii(name), "bad-name")
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "special file")
        return Unfit(ascii(name), "not-a-file", kind)
    if not name.isprintable() or size > NAME_BYTES:
        return Unfit(ascii(name), "bad-name")
    if found.st_nlink != 1:
        return Unfit(ascii(name), "several-links")
    return None


class Inbox:
    """One inbox folder, seen by one instance of this service."""

    def __init__(self, folder: Path, instance: str) -> None:
        self.folder = folder
        self.instance = instance
        self._claims = folder / CLAIMED / instance
        self._identity = self._look()

    def _look(self) -> tuple[int, int]:
        found = self.folder.stat()
        return found.st_dev, found.st_ino

    def check_identity(self) -> None:
        """Raise InboxLost unless the inbox is the folder it was at start."""
        try:
            same = self._look() == self._identity
        except OSError:
            same = False
        if not same:
            raise InboxLost

    def scan(self) -> Scan:
        """Look at every entry; InboxLost or OSError when the share does not answer."""
        self.check_identity()
        files: dict[str, Sighting] = {}
        unfit: list[Unfit] = []
        with os.scandir(self.folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if is_junk(entry.name):
                    continue
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                reason = _judge(entry.name, found)
                if reason is None:
                    files[entry.name] = _sighting(found)
                else:
                    unfit.append(reason)
        return Scan(files, unfit)

    def claim(self, name: str, batch_id: str) -> bool:
        """Take a drop out of the inbox for good; False when it is gone or taken by another."""
        self.check_identity()
        place = self._claims / batch_id
        for folder in (self.folder / CLAIMED, self._claims, place):
            with suppress(FileExistsError):
                folder.mkdir(0o700)
                fsync_folder(folder.parent)
        try:
            (self.folder / name).rename(place / name)
        except FileNotFoundError:
            pass
        except OSError:
            place.rmdir()
            raise
        # Some shares answer "not found" to a rename that happened: our own place decides.
        if not _there(place / name):
            place.rmdir()
            return False
        fsync_folder(place)
        fsync_folder(self.folder)
        return True

    def remove_marker(self, name: str, suffix: str) -> None:
        """Take the done-marker of a claimed drop away, unless a new drop of that name is there."""
        if not _there(self.folder / name):
            (self.folder / f"{name}{suffix}").unlink(missing_ok=True)

    def claims(self) -> Iterator[tuple[str, str | None]]:
        """Every claim of this instance: batch id, and the file's name or None when it is gone.

        What a share or a desktop leaves in a claim folder is no drop.
        """
        if not self._claims.is_dir():
            return
        for place in sorted(self._claims.iterdir()):
            if is_id(place.name) and place.is_dir() and not place.is_symlink():
                try:
                    found = [e.name for e in os.scandir(place) if not is_junk(e.name)]
                except FileNotFoundError:
                    continue  # its batch has just ended
                yield place.name, min(found, default=None)

    def foreign(self) -> list[str]:
        """Names of other instances that have claims in this inbox."""
        root = self.folder / CLAIMED
        if not root.is_dir():
            return []
        return sorted(
            entry.name
            for entry in root.iterdir()
            if entry.name != self.instance and entry.is_dir() and any(entry.iterdir())
        )

    def sight(self, batch_id: str, name: str) -> Sighting | None:
        """What a claimed file looks like now; None when it is gone or no plain file."""
        try:
            found = (self._claims / batch_id / name).lstat()
        except FileNotFoundError:
            return None
        return _sighting(found) if _judge(name, found) is None else None

    def copy(
        self, batch_id: str, name: str, settled: Sighting, target: Path,
        progress: Callable[[], None] = lambda: None,
    ) -> Copy | None:  # fmt: skip
        """Copy a claimed file to `target`, durably; None when it is not what had settled.

        The rename itself changes ctime, so size, mtime and inode are compared, before and after.
        PermissionError when it may not be read, another OSError when a disk fails.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        try:
            descriptor = os.open(self._claims / batch_id / name, flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None  # a link has taken its place
            raise
        try:
            before = os.fstat(descriptor)
            if _judge(name, before) is not None or not _same(_sighting(before), settled):
                return None
            digest, size = copy_private(descriptor, target, progress)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if size != settled.size_bytes or not _same(_sighting(after), settled):
            target.unlink(missing_ok=True)
            return None
        return Copy(size, digest, after.st_mtime_ns)

    def drop_claim(self, batch_id: str, name: str | None) -> None:
        """Take a claimed file away: its content is safe elsewhere. May be repeated.

        Nothing else in the folder is touched; a folder that is not empty stays.
        """
        self.check_identity()
        place = self._claims / batch_id
        if name is not None:
            (place / name).unlink(missing_ok=True)
        with suppress(OSError):
            place.rmdir()
        if self._claims.is_dir():
            fsync_folder(self._claims)


def _there(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _same(one: Sighting, other: Sighting) -> bool:
    return (one.size_bytes, one.mtime_ns, one.inode) == (
        other.size_bytes, other.mtime_ns, other.inode,
    )  # fmt: skip
