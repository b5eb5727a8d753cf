"""HTTP messages as bytes: one read from a socket, and answers that are spoilt in one way."""

import re
import socket

from tests.servers.fault_gate import READ_BYTES

PAGE = b"<!DOCTYPE html><html><head><title>Sorry</title></head><body>Be back soon</body></html>"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ELEMENT = re.compile(rb"<(multiRef|item|[^<>/ ]*Item)\b[^<>]*(?:/>|>[^<>]*</\1>)")


def message(sock: socket.socket) -> bytes | None:
    """One whole request or answer with its length in the head; None when the other side left."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(READ_BYTES)
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    found = _LENGTH.search(head)
    left = int(found[1]) - len(body) if found else 0
    parts = [data]
    while left > 0:
        part = sock.recv(READ_BYTES)
        if not part:
            return None
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def page(status: int, *more: str) -> bytes:
    """A gateway's page in HTML."""
    head = [f"HTTP/1.1 {status} Whatever", "Content-Type: text/html", *more,
            f"Content-Length: {len(PAGE)}", "", ""]  # fmt: skip
    return "\r\n".join(head).encode() + PAGE


def shortened(answer: bytes) -> bytes:
    """An answer that lost a piece of its middle: its end and its length look right."""
    body = answer.partition(b"\r\n\r\n")[2]
    end = body.rindex(b"</", 0, body.rindex(b"</"))
    begin = body.index(b"Body>") + len(b"Body>")
    return _with_body(answer, body[: (begin + end) // 2] + body[end:])


def thinned(answer: bytes) -> bytes:
    """An answer that lost its last element and is well-formed; one without any is shortened."""
    body = answer.partition(b"\r\n\r\n")[2]
    found = list(_ELEMENT.finditer(body))
    if not found:
        return shortened(answer)
    return _with_body(answer, body[: found[-1].start()] + body[found[-1].end() :])


def _with_body(answer: bytes, body: bytes) -> bytes:
    head = answer.partition(b"\r\n\r\n")[0]
    length = f"\r\nContent-Length: {len(body)}".encode()
    return _LENGTH.sub(length, head, count=1) + b"\r\n\r\n" + body
