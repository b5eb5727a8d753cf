"""Requests and answers over a channel that says what the test tells it to."""

import struct
from typing import cast

import paramiko
import pytest

from etl.wire.sftp_requests import (
    ConnectionLostError,
    Kind,
    Requests,
    StatusError,
    take_long,
    take_number,
    take_text,
    text,
)


class ScriptedChannel:
    """The few methods of a channel that are used: gives out `answers`, keeps what is sent."""

    def __init__(self, answers: bytes, *, piece_bytes: int = 1 << 20) -> None:
        self.answers = answers
        self.piece_bytes = piece_bytes
        self.sent = b""
        self.closed = False

    def send(self, data: bytes) -> int:
        """Take a piece."""
        taken = data[: self.piece_bytes]
        self.sent += taken
        return len(taken)

    def recv(self, count: int) -> bytes:
        """Give a piece."""
        given = self.answers[: min(count, self.piece_bytes)]
        self.answers = self.answers[len(given) :]
        return given


def _packet(kind: int, body: bytes) -> bytes:
    return struct.pack(">IB", len(body) + 1, kind) + body


def _version(*names: str) -> bytes:
    pairs = b"".join(text(name) + text("1") for name in names)
    return _packet(Kind.VERSION, struct.pack(">I", 3) + pairs)


def _status(number: int, code: int) -> bytes:
    return _packet(Kind.STATUS, struct.pack(">II", number, code) + text("canary") + text(""))


def _requests(answers: bytes, **more: int) -> tuple[Requests, ScriptedChannel]:
    channel = ScriptedChannel(answers, **more)
    return Requests(cast("paramiko.Channel", channel)), channel


def test_greeting_names_the_extensions() -> None:
    """The server's extensions are known after the greeting."""
    requests, channel = _requests(_version("posix-rename@openssh.com", "limits@openssh.com"))
    assert requests.extensions == {"posix-rename@openssh.com", "limits@openssh.com"}
    assert channel.sent == bytes.fromhex("00000005 01 00000003")


@pytest.mark.parametrize("piece_bytes", [1, 3, 7])
def test_bytes_come_in_pieces(piece_bytes: int) -> None:
    """Packets are put together however the channel cuts them, both ways."""
    answers = _version("a@b") + _packet(Kind.HANDLE, struct.pack(">I", 1) + text(b"\x00h"))
    requests, channel = _requests(answers, piece_bytes=piece_bytes)
    body = requests.ask(Kind.OPEN, text("ü"), wanted=Kind.HANDLE)
    assert take_text(body) == (b"\x00h", b"")
    assert channel.sent.endswith(bytes.fromhex("0000000b 03 00000001 00000002 c3bc"))


def test_answers_in_another_order() -> None:
    """An answer is given to the request it belongs to, and no failure is lost by the order."""
    requests, _ = _requests(_version() + _status(3, 0) + _status(1, 4) + _status(2, 0))
    numbers = [requests.send(Kind.WRITE, b"") for _ in range(3)]
    with pytest.raises(StatusError) as caught:
        requests.answer(numbers[0])
    assert caught.value.code == 4
    requests.answer(numbers[1])
    requests.answer(numbers[2])


@pytest.mark.parametrize(("code", "words"), [(4, "failure"), (8, "unsupported"), (77, "status 77")])
def test_status_in_our_words(code: int, words: str) -> None:
    """A status is told in our own words, never the server's."""
    requests, _ = _requests(_version() + _status(1, code))
    with pytest.raises(StatusError) as caught:
        requests.ask(Kind.REMOVE, text("a"))
    assert str(caught.value) == words


@pytest.mark.parametrize(
    "answers",
    [
        b"",
        b"\x00\x00",
        _packet(Kind.STATUS, bytes(8)),
        b"HTTP/1.1 400 canary\r\n",
        b"\x00\x00\x00\x00",
        _packet(Kind.VERSION, struct.pack(">I", 3) + b"\x00\x00\xff\xffx"),
        _packet(Kind.VERSION, struct.pack(">I", 3) + text("name alone")),
    ],
)
def test_greeting_that_is_none(answers: bytes) -> None:
    """A greeting that is cut off, too long or of another protocol is a lost connection."""
    with pytest.raises(ConnectionLostError) as caught:
        _requests(answers)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        _packet(Kind.STATUS, b"\x00"),
        _packet(Kind.STATUS, struct.pack(">I", 1)),
        _packet(Kind.HANDLE, struct.pack(">I", 1) + text("h")),
        struct.pack(">I", 1 << 30),
    ],
)
def test_answer_that_is_none(answer: bytes) -> None:
    """An answer that is cut off, too long or of another kind is a lost connection."""
    requests, _ = _requests(_version() + answer)
    with pytest.raises(ConnectionLostError):
        requests.ask(Kind.STAT, text("a"), wanted=Kind.ATTRS)


def test_numbers_of_an_answer() -> None:
    """Numbers are read at their place; a place beyond the end is a lost connection."""
    body = struct.pack(">IQ", 7, 1 << 40)
    assert (take_number(body), take_long(body, 4)) == (7, 1 << 40)
    for read in (lambda: take_number(body, 9), lambda: take_long(body, 5)):
        with pytest.raises(ConnectionLostError):
            read()
