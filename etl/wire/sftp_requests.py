"""SFTP version 3 requests and answers over one channel, matched by number, in any order.

Knows no protocol of ours (temporary names, sizes) and opens no connection. Used instead of
paramiko's SFTPClient because that drops the answers of pipelined writes at close (a full disk goes
unseen) and does not hand on the status codes. Source: draft-ietf-secsh-filexfer-02 and OpenSSH's
PROTOCOL file.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

import paramiko

from etl.wire.ssh import words

_VERSION = 3
_LONGEST_ANSWER_BYTES = 256 * 1024
_RECEIVE_BYTES = 64 * 1024


class Kind(IntEnum):
    """Packet types used here."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    STAT = 17
    RENAME = 18
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED = 200
    EXTENDED_REPLY = 201


class Status(IntEnum):
    """Status codes a version 3 server may send."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    NO_CONNECTION = 6
    CONNECTION_LOST = 7
    UNSUPPORTED = 8


class ConnectionLostError(Exception):
    """The connection, or sense in it, is gone; the text is in our own words."""


class StatusError(Exception):
    """The server answered no. Its own text is not kept; it may hold anything."""

    def __init__(self, code: int) -> None:
        self.code = code
        known = code in Status.__members__.values()
        self.detail = Status(code).name.lower().replace("_", " ") if known else f"status {code}"
        super().__init__(self.detail)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its type and what follows the request's number."""

    kind: int
    body: bytes


def text(value: str | bytes) -> bytes:
    """A string as SFTP writes it: length, then bytes (UTF-8)."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(">I", len(data)) + data


class Requests:
    """The talk on one channel. Not for two threads."""

    __slots__ = ("_arrived", "_channel", "_number", "_received", "extensions")

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._received = bytearray()
        self._arrived: dict[int, Answer] = {}
        self._number = 0
        self.extensions = self._greet()

    def _greet(self) -> frozenset[str]:
        """Exchange versions; the answer names the server's extensions."""
        self._put(bytes([Kind.INIT]) + struct.pack(">I", _VERSION))
        packet = self._packet()
        if packet[0] != Kind.VERSION:
            raise ConnectionLostError("the answer is not SFTP")
        names = set()
        rest = packet[5:]
        while rest:
            name, rest = take_text(rest)
            _, rest = take_text(rest)
            names.add(name.decode("ascii", "replace"))
        return frozenset(names)

    def alive(self) -> bool:
        """Whether the channel is open, as far as is known without asking."""
        return not self._channel.closed

    def send(self, kind: Kind, *fields: bytes) -> int:
        """Send a request and return its number, without waiting for the answer."""
        self._number = (self._number + 1) & 0xFFFF_FFFF
        self._put(b"".join((bytes([kind]), struct.pack(">I", self._number), *fields)))
        return self._number

    def answer(self, number: int) -> Answer:
        """Wait for the answer to a request; others that arrive before it are kept.

        A status other than OK is raised as StatusError.
        """
        while number not in self._arrived:
            packet = self._packet()
            if len(packet) < 5:  # noqa: PLR2004 - one byte of type, four of number
                raise ConnectionLostError("the answer is cut off")
            (of,) = struct.unpack(">I", packet[1:5])
            self._arrived[of] = Answer(packet[0], packet[5:])
        found = self._arrived.pop(number)
        if found.kind == Kind.STATUS:
            code = take_number(found.body)
            if code != Status.OK:
                raise StatusError(code)
        return found

    def ask(self, kind: Kind, *fields: bytes, wanted: Kind = Kind.STATUS) -> bytes:
        """Send a request, wait, and return the body of an answer of the type `wanted`."""
        found = self.answer(self.send(kind, *fields))
        if found.kind != wanted:
            raise ConnectionLostError("the answer is of another kind")
        return found.body

    def _put(self, packet: bytes) -> None:
        data = struct.pack(">I", len(packet)) + packet
        at = 0
        try:
            while at < len(data):
                # A slice no longer than the largest SSH packet, so that little is copied twice.
                sent = self._channel.send(data[at : at + _RECEIVE_BYTES])
                if sent == 0:
                    raise ConnectionLostError("the connection was lost")
                at += sent
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise ConnectionLostError(words(error)) from None

    def _packet(self) -> bytes:
        (length,) = struct.unpack(">I", self._take(4))
        if not 1 <= length <= _LONGEST_ANSWER_BYTES:
            raise ConnectionLostError("the answer is not SFTP")
        return self._take(length)

    def _take(self, count: int) -> bytes:
        try:
            while len(self._received) < count:
                data = self._channel.recv(_RECEIVE_BYTES)
                if not data:
                    raise ConnectionLostError("the connection was lost")
                self._received += data
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise ConnectionLostError(words(error)) from None
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken


def take_text(data: bytes) -> tuple[bytes, bytes]:
    """Split a string off the front of an answer."""
    end = 4 + take_number(data)
    if end > len(data):
        raise ConnectionLostError("the answer is cut off")
    return data[4:end], data[end:]


def take_number(data: bytes, at: int = 0) -> int:
    """An unsigned 32-bit number of an answer."""
    if len(data) < at + 4:
        raise ConnectionLostError("the answer is cut off")
    return int.from_bytes(data[at : at + 4], "big")


def take_long(data: bytes, at: int = 0) -> int:
    """An unsigned 64-bit number of an answer."""
    if len(data) < at + 8:
        raise ConnectionLostError("the answer is cut off")
    return int.from_bytes(data[at : at + 8], "big")
