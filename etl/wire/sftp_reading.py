"""What lies in a remote SFTP folder, and the bytes of one file of it.

It changes nothing on the server, decides nothing about what it reads and never repeats a verb by
itself. Attributes are read as draft-ietf-secsh-filexfer-02 writes them (version 3).
"""

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from etl.errors import FarSideUnavailable
from etl.ports import Clock
from etl.wire.sftp_line import SftpLine
from etl.wire.sftp_requests import (
    ConnectionLostError,
    Kind,
    Requests,
    Status,
    StatusError,
    take_long,
    take_number,
    take_text,
    text,
)
from etl.wire.ssh_keys import SftpAccess

MOST_FILES: Final = 100_000
"""More entries than this are no folder of exports."""

_READ = 0x01
_NO_ATTRIBUTES = struct.pack(">I", 0)
_SIZE, _OWNERS, _RIGHTS, _TIMES, _EXTENDED = 0x01, 0x02, 0x04, 0x08, 0x80000000
_SMALL_READ_BYTES = 32_768
"""What every server gives at once; one that knows limits@openssh.com gives up to 255 KiB."""
_LARGE_READ_BYTES = 261_120


class TooLargeError(Exception):
    """A file holds more bytes than it may."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A regular file as it lay in the folder when that was listed."""

    name: str
    """For people and patterns; bytes that are no UTF-8 are replaced."""
    size_bytes: int
    modified_ms: int
    """Whole seconds by the server's clock, as milliseconds since the epoch."""
    path: bytes
    """How the server itself writes it."""


@dataclass(frozen=True, slots=True)
class _Attributes:
    size_bytes: int | None
    rights: int | None
    modified_ms: int | None


class SftpFolder:
    """A remote folder that is only read; connects at the first verb. Not for two threads."""

    __slots__ = ("_access", "_clock", "_line")

    def __init__(self, access: SftpAccess, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._line = SftpLine(access)

    @property
    def host(self) -> str:
        """The server, for errors."""
        return self._access.host

    def files(self) -> list[RemoteFile]:
        """Every regular file in the folder; links are not followed."""
        with self._line.talk(self._access.answer_seconds, changes=False) as requests:
            try:
                return self._listed(requests)
            except StatusError as error:
                self.close()  # whatever is open there ends with the connection
                missing = error.code == Status.NO_SUCH_FILE
                detail = "there is no such folder" if missing else error.detail
                raise self._line.refusal("list", detail) from None

    def read(self, file: RemoteFile, most_bytes: int) -> bytes:
        """All bytes of a listed file; TooLargeError for more than `most_bytes`.

        FarSideUnavailable(`exports-changed`) when it is gone, or no longer what was listed.
        """
        if file.size_bytes > most_bytes:
            raise TooLargeError
        with self._line.talk(self._access.put_seconds, changes=False) as requests:
            try:
                data = self._content(requests, file.path, most_bytes)
                body = requests.ask(Kind.STAT, text(file.path), wanted=Kind.ATTRS)
            except StatusError as error:
                if error.code == Status.NO_SUCH_FILE:
                    raise self._changed(file) from None
                self.close()
                raise self._line.refusal("read", error.detail) from None
            except ConnectionLostError:
                raise
            except BaseException:
                # A file is open there, and nobody would close it.
                self.close()
                raise
        after, _ = _attributes(body)
        same = (after.size_bytes, after.modified_ms) == (file.size_bytes, file.modified_ms)
        if not same or len(data) != file.size_bytes:
            raise self._changed(file)
        return data

    def close(self) -> None:
        """End the connection; the next verb opens a new one."""
        self._line.close()

    def _listed(self, requests: Requests) -> list[RemoteFile]:
        folder = self._access.folder.rstrip("/") or "/"
        handle, _ = take_text(requests.ask(Kind.OPENDIR, text(folder), wanted=Kind.HANDLE))
        files: list[RemoteFile] = []
        entries = 0
        while True:
            try:
                body = requests.ask(Kind.READDIR, text(handle), wanted=Kind.NAME)
            except StatusError as error:
                if error.code != Status.EOF:
                    raise
                break
            for name, attributes in _entries(body):
                entries += 1
                if _is_regular(name, attributes):
                    files.append(self._file(name, attributes))
            if entries > MOST_FILES:
                self.close()
                raise self._line.refusal("list", f"more than {MOST_FILES} entries")
        requests.ask(Kind.CLOSE, text(handle))
        return files

    def _file(self, name: bytes, attributes: _Attributes) -> RemoteFile:
        if attributes.size_bytes is None or attributes.modified_ms is None:
            raise self._line.refusal("list", "it tells neither sizes nor times")
        path = f"{self._access.folder.rstrip('/')}/".encode() + name
        shown = name.decode("utf-8", "replace")
        return RemoteFile(shown, attributes.size_bytes, attributes.modified_ms, path)

    def _content(self, requests: Requests, path: bytes, most_bytes: int) -> bytes:
        large = "limits@openssh.com" in requests.extensions
        most = struct.pack(">I", _LARGE_READ_BYTES if large else _SMALL_READ_BYTES)
        flags = struct.pack(">I", _READ)
        opened = requests.ask(Kind.OPEN, text(path), flags, _NO_ATTRIBUTES, wanted=Kind.HANDLE)
        handle, _ = take_text(opened)
        data = bytearray()
        while True:
            # A stop ends the reading.
            self._clock.sleep(0)
            place = struct.pack(">Q", len(data))
            try:
                body = requests.ask(Kind.READ, text(handle), place, most, wanted=Kind.DATA)
            except StatusError as error:
                if error.code != Status.EOF:
                    raise
                break
            piece, _ = take_text(body)
            if not piece:
                raise ConnectionLostError("the answer is empty")
            data += piece
            if len(data) > most_bytes:
                raise TooLargeError
        requests.ask(Kind.CLOSE, text(handle))
        return bytes(data)

    def _changed(self, file: RemoteFile) -> FarSideUnavailable:
        return FarSideUnavailable("exports-changed", host=self._access.host, file=repr(file.name))


def _is_regular(name: bytes, attributes: _Attributes) -> bool:
    """Whether an entry is a file; a server that tells no rights tells nothing against it."""
    if name in (b".", b"..") or b"/" in name:
        return False
    return attributes.rights is None or stat.S_ISREG(attributes.rights)


def _entries(body: bytes) -> Iterator[tuple[bytes, _Attributes]]:
    """What one answer to READDIR names: name, a line for people, attributes, and so on."""
    rest = body[4:]
    for _ in range(take_number(body)):
        name, rest = take_text(rest)
        _, rest = take_text(rest)
        attributes, rest = _attributes(rest)
        yield name, attributes


def _attributes(data: bytes) -> tuple[_Attributes, bytes]:
    """Split attributes off the front of an answer."""
    flags, at = take_number(data), 4
    size_bytes = rights = modified_ms = None
    if flags & _SIZE:
        size_bytes, at = take_long(data, at), at + 8
    if flags & _OWNERS:
        take_number(data, at + 4)
        at += 8
    if flags & _RIGHTS:
        rights, at = take_number(data, at), at + 4
    if flags & _TIMES:
        # The last access comes before the last change.
        modified_ms, at = take_number(data, at + 4) * 1000, at + 8
    rest = data[at:]
    if flags & _EXTENDED:
        pairs, rest = take_number(rest), rest[4:]
        for _ in range(2 * pairs):
            _, rest = take_text(rest)
    return _Attributes(size_bytes, rights, modified_ms), rest
