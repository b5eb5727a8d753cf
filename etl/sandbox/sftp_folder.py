"""The folder that the embedded SFTP server serves: its files, its records and its switches.

Nothing here listens or lets anybody in.
"""

import os
import posixpath
import socket
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from paramiko.sftp import SFTP_CONNECTION_LOST, SFTP_FAILURE, SFTP_OK, SFTP_OP_UNSUPPORTED

_ABORT_AT_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing a client did: open, write, close, stat, remove, rename or posix-rename."""

    verb: str
    name: str
    size_bytes: int = 0


@dataclass(slots=True)
class Switches:
    """How the server misbehaves; may be changed while it runs."""

    no_posix_rename: bool = False
    """posix-rename is answered with "operation unsupported"."""
    byte_limit: int | None = None
    """The disk's size: a write that makes the folder's files larger fails ("failure")."""
    write_delay_seconds: float = 0
    """Wait before each write."""
    drop_after_bytes: int | None = None
    """Reset the connection once this many bytes were written on it."""
    lose_answer_to: str | None = None
    """Reset the connection after this verb (remove, rename, posix-rename) had its effect."""
    size_error_bytes: int = 0
    """Added to every size the server tells."""


@dataclass(slots=True)
class Shared:
    """What all connections of one server share."""

    folder: Path
    user: str
    client_keys: frozenset[bytes]
    switches: Switches
    records: list[Operation] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)


class OpenFile(paramiko.SFTPHandle):
    """One open file."""

    def __init__(self, folder: "ServedFolder", name: str, descriptor: int) -> None:
        super().__init__()
        self._folder = folder
        self._name = name
        self._descriptor = descriptor

    def read(self, offset: int, length: int) -> bytes | int:
        """Bytes at an offset."""
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError as error:
            return _status(error)

    # paramiko documents bytes here; its stubs allow any buffer, which is more than ever comes.
    def write(self, offset: int, data: bytes) -> int:  # type: ignore[override]  # see above
        """Bytes at an offset, or what the switches say instead."""
        shared = self._folder.shared
        shared.records.append(Operation("write", self._name, len(data)))
        if shared.stopped.wait(shared.switches.write_delay_seconds):
            return SFTP_FAILURE
        if self._folder.dropped(len(data)):
            return SFTP_CONNECTION_LOST
        try:
            size = os.fstat(self._descriptor).st_size
            growth_bytes = max(0, offset + len(data) - size)
            if self._folder.full(growth_bytes):
                return SFTP_FAILURE
            os.pwrite(self._descriptor, data, offset)
        except OSError as error:
            return _status(error)
        return SFTP_OK

    def stat(self) -> paramiko.SFTPAttributes | int:
        """Attributes of the open file."""
        try:
            return self._folder.attributes(os.fstat(self._descriptor))
        except OSError as error:
            return _status(error)

    def close(self) -> None:
        """Close it; called again when the session ends."""
        if self._descriptor >= 0:
            self._folder.shared.records.append(Operation("close", self._name))
            os.close(self._descriptor)
            self._descriptor = -1


class ServedFolder(paramiko.SFTPServerInterface):
    """The served folder, as one connection sees it."""

    def __init__(
        self, server: paramiko.ServerInterface, shared: Shared, client: socket.socket
    ) -> None:
        super().__init__(server)
        self.shared = shared
        self._client = client
        self._written_bytes = 0

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> OpenFile | int:  # noqa: ARG002 - paramiko's signature
        """Open a file; links are not followed."""
        self.shared.records.append(Operation("open", posixpath.basename(path)))
        try:
            descriptor = os.open(self._local(path), flags | os.O_NOFOLLOW, 0o640)
        except OSError as error:
            return _status(error)
        return OpenFile(self, posixpath.basename(path), descriptor)

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes] | int:
        """The entries of a folder."""
        try:
            return [
                paramiko.SFTPAttributes.from_stat(entry.stat(follow_symlinks=False), entry.name)
                for entry in os.scandir(self._local(path))
            ]
        except OSError as error:
            return _status(error)

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        """Attributes; links are not followed."""
        self.shared.records.append(Operation("stat", posixpath.basename(path)))
        try:
            return self.attributes(self._local(path).lstat())
        except OSError as error:
            return _status(error)

    lstat = stat

    def remove(self, path: str) -> int:
        """Take a file away."""
        self.shared.records.append(Operation("remove", posixpath.basename(path)))
        try:
            self._local(path).unlink()
        except OSError as error:
            return _status(error)
        return self._done("remove")

    def rename(self, oldpath: str, newpath: str) -> int:
        """Plain rename: an existing target is a failure."""
        self.shared.records.append(Operation("rename", posixpath.basename(newpath)))
        if self._local(newpath).exists():
            return SFTP_FAILURE
        return self._replace(oldpath, newpath, "rename")

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        """Rename that replaces an existing target."""
        self.shared.records.append(Operation("posix-rename", posixpath.basename(newpath)))
        if self.shared.switches.no_posix_rename:
            return SFTP_OP_UNSUPPORTED
        return self._replace(oldpath, newpath, "posix-rename")

    def attributes(self, found: os.stat_result) -> paramiko.SFTPAttributes:
        """Attributes as told to the client."""
        told = paramiko.SFTPAttributes.from_stat(found)
        told.st_size = found.st_size + self.shared.switches.size_error_bytes
        return told

    def full(self, growth_bytes: int) -> bool:
        """Whether so many bytes more exceed the disk."""
        limit = self.shared.switches.byte_limit
        if limit is None:
            return False
        files = (path for path in self.shared.folder.rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files) + growth_bytes > limit

    def dropped(self, size_bytes: int) -> bool:
        """Count written bytes and reset the connection when it is time."""
        self._written_bytes += size_bytes
        limit = self.shared.switches.drop_after_bytes
        if limit is None or self._written_bytes <= limit:
            return False
        self._reset()
        return True

    def _replace(self, oldpath: str, newpath: str, verb: str) -> int:
        try:
            self._local(oldpath).replace(self._local(newpath))
        except OSError as error:
            return _status(error)
        return self._done(verb)

    def _done(self, verb: str) -> int:
        if self.shared.switches.lose_answer_to == verb:
            self._reset()
        return SFTP_OK

    def _reset(self) -> None:
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_AT_CLOSE)
        self._client.close()

    def _local(self, path: str) -> Path:
        """The local path; nothing leads out of the folder."""
        # Made absolute and normal first, so that no ".." is left to climb with.
        inside = posixpath.normpath("/" + path).lstrip("/")
        local = self.shared.folder / inside
        if inside and not local.parent.resolve().is_relative_to(self.shared.folder.resolve()):
            raise PermissionError(13, "outside of the served folder")
        return local


def _status(error: OSError) -> int:
    """The SFTP status for a local error."""
    return paramiko.SFTPServer.convert_errno(error.errno or 0)
