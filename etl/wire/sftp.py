"""The port FileDrop over SFTP: every answer is read, every step has a deadline.

Knows neither feeds nor batches and never repeats a verb by itself: that is the retry's business.
"""

import struct
from collections import deque
from pathlib import Path
from typing import BinaryIO, Final

from etl.errors import FarSideRefused, Mismatch
from etl.log import Event, log
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
from etl.wire.ssh_keys import SftpAccess, check_access

__all__ = ["SftpAccess", "SftpDrop", "check_access"]

WINDOW_BYTES: Final = 4 * 1024 * 1024
"""Bytes on their way without an answer. sshd's own window is 2 MiB, so more gains nothing."""

SMALL_WRITE_BYTES: Final = 32_675
"""Largest write that fits into one 32 KiB SSH packet with its 29 bytes of header."""

LARGEST_WRITE_BYTES: Final = 261_120
"""What OpenSSH allows (limits@openssh.com); fewer answers, fewer writes on the server."""

_WRITE_CREATE_TRUNCATE = 0x02 | 0x08 | 0x10
_NO_ATTRIBUTES = struct.pack(">I", 0)
_SIZE_IS_GIVEN = 0x01
# OpenSSH that was told to forbid a request (-P) answers "permission denied" and does not announce
# it. Some servers know one that they do not announce, so asking comes first.
_POSIX_RENAME = "posix-rename@openssh.com"
_STATVFS = "statvfs@openssh.com"


class SftpDrop:
    """A remote folder; connects at the first verb and anew after a loss. Not for two threads."""

    __slots__ = ("_access", "_clock", "_line", "plain_rename")

    def __init__(self, access: SftpAccess, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._line = SftpLine(access)
        self.plain_rename = False
        """True once the server turned out to have no posix-rename and the plain one was used."""

    def put(self, source: Path, name: str) -> int:
        """Write `source` to `name`, anew if it exists; the size by the server's word."""
        remote = self._line.path(name)
        until = self._clock.monotonic() + self._access.put_seconds
        # The local file is opened before the far side is asked, so its errors stay apart.
        with source.open("rb") as file, self._line.talk(self._access.put_seconds) as requests:
            try:
                handle = self._open(requests, remote)
                size_bytes = self._write(requests, handle, file, name, until)
            except BaseException:
                # Answers to writes may still be on their way; nobody would wait for them.
                self.close()
                raise
            remote_bytes = self._size(requests, remote)
        if remote_bytes != size_bytes:
            if remote_bytes is None:
                raise self._line.refusal("stat", "the file is gone after it was written")
            raise Mismatch("upload-size", remote_bytes=remote_bytes, size_bytes=size_bytes)
        return size_bytes

    def rename(self, temporary: str, final: str) -> None:
        """Give `temporary` its final name: posix-rename, else plain rename."""
        paths = text(self._line.path(temporary)) + text(self._line.path(final))
        with self._line.talk(self._access.answer_seconds) as requests:
            try:
                requests.ask(Kind.EXTENDED, text(_POSIX_RENAME), paths)
            except StatusError as error:
                announced = _POSIX_RENAME in requests.extensions
                if announced and error.code != Status.UNSUPPORTED:
                    raise self._line.refusal("rename", error.detail) from None
            else:
                return
            if not self.plain_rename:
                log(Event.FAR_SIDE, code="sftp-no-posix-rename", host=self._access.host)
            self.plain_rename = True
            try:
                requests.ask(Kind.RENAME, paths)
            except StatusError as error:
                raise self._line.refusal("rename", error.detail) from None

    def stat(self, name: str) -> int | None:
        """Size in bytes, None when it is not there."""
        remote = self._line.path(name)
        with self._line.talk(self._access.answer_seconds, changes=False) as requests:
            return self._size(requests, remote)

    def remove(self, name: str) -> None:
        """Take `name` away, if it is there."""
        remote = self._line.path(name)
        with self._line.talk(self._access.answer_seconds) as requests:
            try:
                requests.ask(Kind.REMOVE, text(remote))
            except StatusError as error:
                if error.code != Status.NO_SUCH_FILE:
                    raise self._line.refusal("remove", error.detail) from None

    def free(self) -> int | None:
        """Free bytes for us on the server's disk, None where it cannot tell."""
        with self._line.talk(self._access.answer_seconds, changes=False) as requests:
            try:
                return self._free_bytes(requests)
            except StatusError as error:
                if error.code == Status.UNSUPPORTED or _STATVFS not in requests.extensions:
                    return None
                raise self._line.refusal("statvfs", error.detail) from None

    def close(self) -> None:
        """End the connection."""
        self._line.close()

    def _open(self, requests: Requests, remote: str) -> bytes:
        """Open a file for writing, emptied."""
        flags = struct.pack(">I", _WRITE_CREATE_TRUNCATE)
        try:
            body = requests.ask(Kind.OPEN, text(remote), flags, _NO_ATTRIBUTES, wanted=Kind.HANDLE)
        except StatusError as error:
            detail = error.detail
            if error.code == Status.NO_SUCH_FILE:
                detail = "there is no such folder"
            elif error.code == Status.FAILURE:
                detail += self._disk_words(requests)
            raise self._line.refusal("open", detail) from None
        return take_text(body)[0]

    def _write(
        self, requests: Requests, handle: bytes, file: BinaryIO, name: str, until: float
    ) -> int:
        """Write all of `file` through a sliding window and close the handle; the bytes written."""
        waiting: deque[tuple[int, int]] = deque()
        on_the_way = offset = 0
        try:
            block_bytes = self._write_bytes(requests)
            while data := file.read(block_bytes):
                while waiting and on_the_way + len(data) > WINDOW_BYTES:
                    on_the_way -= self._settle(requests, waiting, until)
                place = struct.pack(">Q", offset)
                number = requests.send(Kind.WRITE, text(handle), place, text(data))
                waiting.append((number, len(data)))
                on_the_way += len(data)
                offset += len(data)
            while waiting:
                self._settle(requests, waiting, until)
            requests.ask(Kind.CLOSE, text(handle))
        except StatusError as error:
            detail = error.detail + self._disk_words(requests)
            raise FarSideRefused(
                "sftp-write-failed", host=self._access.host, call=name, detail=detail
            ) from None
        return offset

    def _settle(self, requests: Requests, waiting: deque[tuple[int, int]], until: float) -> int:
        """Read the answer of the oldest write; the bytes it was for. A stop ends the put."""
        self._clock.sleep(0)
        if self._clock.monotonic() >= until:
            raise ConnectionLostError(f"no end within {self._access.put_seconds:g} s")
        number, size_bytes = waiting.popleft()
        requests.answer(number)
        return size_bytes

    def _write_bytes(self, requests: Requests) -> int:
        """How much one write may carry: what the server allows, else what fits one packet."""
        if "limits@openssh.com" not in requests.extensions:
            return SMALL_WRITE_BYTES
        body = requests.ask(Kind.EXTENDED, text("limits@openssh.com"), wanted=Kind.EXTENDED_REPLY)
        # Four 64-bit numbers: longest packet, longest read, longest write, most handles.
        allowed = take_long(body, 16)
        return min(allowed, LARGEST_WRITE_BYTES) if allowed else SMALL_WRITE_BYTES

    def _size(self, requests: Requests, remote: str) -> int | None:
        try:
            body = requests.ask(Kind.STAT, text(remote), wanted=Kind.ATTRS)
        except StatusError as error:
            if error.code == Status.NO_SUCH_FILE:
                return None
            raise self._line.refusal("stat", error.detail) from None
        if not take_number(body) & _SIZE_IS_GIVEN:
            raise self._line.refusal("stat", "it tells no size")
        return take_long(body, 4)

    def _free_bytes(self, requests: Requests) -> int:
        body = requests.ask(
            Kind.EXTENDED,
            text(_STATVFS),
            text(self._access.folder),
            wanted=Kind.EXTENDED_REPLY,
        )
        # 64-bit numbers: block size, fragment size, blocks, free blocks, blocks free for us, …
        return take_long(body, 8) * take_long(body, 32)

    def _disk_words(self, requests: Requests) -> str:
        """What the server says of its disk, to be added to a failure; nothing if it cannot tell."""
        try:
            return f", {self._free_bytes(requests)} bytes are free on its disk"
        except (StatusError, ConnectionLostError):
            return ""
