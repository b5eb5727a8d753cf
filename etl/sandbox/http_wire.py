"""HTTP/1.1 as bytes: reads one request from a stream, writes one answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

MAX_BODY = 64 * 1024 * 1024
_MAX_LINE = 65_536
_MAX_HEADERS = 100
_PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 500: "Internal Server Error"}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BadRequest(Exception):  # noqa: N818  # HTTP's own name for it
    """The bytes are no HTTP request that can be read; `status` says why."""

    def __init__(self, status: int) -> None:
        """Take the HTTP status to answer with."""
        super().__init__(f"HTTP {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """One request as read; header names in lower case."""

    verb: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool
    ip: str = ""
    connection: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. `fate` is what becomes of it: sent, dropped unsent, or cut off half way."""

    status: int
    body: bytes
    content_type: str = "text/xml;charset=utf-8"
    fate: str = "sent"
    headers: Mapping[str, str] = field(default_factory=dict)


def read_request(stream: BinaryIO, answer_stream: BinaryIO) -> Request | None:
    """Return the next request, None at the end of the connection; raises BadRequest."""
    line = stream.readline(_MAX_LINE)
    if not line.strip():
        return None
    words = line.decode("latin-1").split()
    if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004  # verb, target, version
        raise BadRequest(400)
    headers = _headers(stream)
    if headers.get("expect", "").lower() == "100-continue":
        answer_stream.write(_CONTINUE)
        answer_stream.flush()
    keep_alive = words[2] == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return Request(words[0], words[1], headers, _body(stream, headers), keep_alive)


def write_response(response: Response, *, phrase: bool, keep_alive: bool) -> bytes:
    """Return an answer's bytes, without a reason phrase unless one is wanted."""
    reason = _PHRASES.get(response.status, "") if phrase else ""
    lines = [
        f"HTTP/1.1 {response.status} {reason}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + response.body


def _headers(stream: BinaryIO) -> dict[str, str]:
    """Read the header lines up to the blank one."""
    headers: dict[str, str] = {}
    for _ in range(_MAX_HEADERS):
        line = stream.readline(_MAX_LINE)
        if line in (b"\r\n", b"\n"):
            return headers
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise BadRequest(400)
        headers[name.strip().lower()] = value.strip()
    raise BadRequest(431)


def _body(stream: BinaryIO, headers: Mapping[str, str]) -> bytes:
    """Read the body, by length or in chunks, within the bound."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _chunks(stream)
    length = headers.get("content-length", "0")
    if not length.isdecimal():
        raise BadRequest(400)
    return _exactly(stream, int(length), 0)


def _exactly(stream: BinaryIO, size: int, before: int) -> bytes:
    """Read so many bytes; `before` have been read already."""
    if before + size > MAX_BODY:
        raise BadRequest(413)
    data = stream.read(size)
    if len(data) != size:
        raise BadRequest(400)
    return data


def _chunks(stream: BinaryIO) -> bytes:
    """Read a body sent in chunks."""
    parts: list[bytes] = []
    total = 0
    while True:
        head = stream.readline(_MAX_LINE).split(b";")[0].strip()
        try:
            size = int(head, 16)
        except ValueError:
            raise BadRequest(400) from None
        if size <= 0:
            break
        parts.append(_exactly(stream, size, total))
        total += size
        stream.readline(_MAX_LINE)
    while stream.readline(_MAX_LINE) not in (b"\r\n", b"\n", b""):
        pass
    return b"".join(parts)
