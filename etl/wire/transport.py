"""One HTTP POST to Campaign: bounded in time and size, TLS verified, never redirected or proxied.

It may not know SOAP, log, or keep anything of a request or a reply.
"""

import http.client
import ipaddress
import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from etl.errors import FarSideRefused, FarSideUnavailable

_XML_TYPES = ("text/xml", "application/xml")
_READ_BYTES = 65536
# Campaign's Axis keeps idle connections about 20 s; a younger one is hardly ever found dead, so a
# call is not put in doubt just because an old connection was used for it.
_IDLE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for a connection, for one wait on the socket, and for a call from first to last."""

    connect_seconds: float
    read_seconds: float
    call_seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """An XML answer with status 200 or 500, in the shape in which zeep reads one."""

    status_code: int
    content: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/xml"})
    encoding: str = "utf-8"


class Post:
    """Posts to the services under one endpoint, on connections that are kept while fresh."""

    def __init__(self, endpoint: str, ca_file: Path | None, limits: Limits) -> None:
        """Check the endpoint and load the trusted authorities; ValueError when either is wrong."""
        parts = checked_endpoint(endpoint)
        self.host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._folder = parts.path.rstrip("/") + "/"
        self._context = tls_context(ca_file) if parts.scheme == "https" else None
        self._limits = limits
        self._idle: deque[tuple[http.client.HTTPConnection, float]] = deque()

    def __repr__(self) -> str:
        return f"Post(host={self.host!r}, port={self._port})"

    def send(self, path: str, body: bytes, call: str, limit_bytes: int) -> Reply:
        """Post `body`; return the answer if it is XML with status 200 or 500, else raise.

        FarSideRefused for a certificate that is not trusted and for a redirect;
        FarSideUnavailable for the rest, in doubt from the first byte sent on.
        """
        begin = time.monotonic()
        line = self._fresh() or self._connect()
        left = self._limits.call_seconds - (time.monotonic() - begin)
        keep = False
        try:
            with _cut_after(line.sock, max(left, 0.001)) as cut:
                try:
                    answer = self._exchange(line, path, body, call, limit_bytes)
                    broken = None
                except (OSError, http.client.HTTPException) as error:
                    broken = _why_broken(error, self._limits.read_seconds)
            if cut.is_set():
                broken = f"no whole answer within {self._limits.call_seconds:g} s"
            if broken is not None:
                raise FarSideUnavailable(
                    "campaign-unreachable", in_doubt=True, detail=broken, call=call, host=self.host
                )
            reply, keep = answer
        finally:
            if keep and line.sock is not None:
                self._idle.append((line, time.monotonic()))
            else:
                line.close()
        return reply

    def close(self) -> None:
        """Close the kept connections; the next post opens a new one."""
        while self._idle:
            self._idle.pop()[0].close()

    def _fresh(self) -> http.client.HTTPConnection | None:
        """Take a kept connection that is young and on which nothing lies (an end, for one)."""
        while self._idle:
            line, since = self._idle.pop()
            if time.monotonic() - since <= _IDLE_SECONDS and not _readable(line.sock):
                return line
            line.close()
        return None

    def _connect(self) -> http.client.HTTPConnection:
        """Open a connection; whatever fails here, nothing was sent."""
        wait = self._limits.connect_seconds
        line = (
            http.client.HTTPConnection(self.host, self._port, timeout=wait)
            if self._context is None
            else http.client.HTTPSConnection(
                self.host, self._port, timeout=wait, context=self._context
            )
        )
        # A closed connection must not open itself again behind the checks made here.
        line.auto_open = 0
        refused: FarSideRefused | FarSideUnavailable
        try:
            line.connect()
            _watch_peer(line.sock, self._limits.read_seconds)
            if self._context is None and not _is_loopback(line.sock.getpeername()[0]):
                raise ConnectionError  # a name that says loopback and leads elsewhere
        except ssl.SSLCertVerificationError:
            refused = FarSideRefused("campaign-certificate", host=self.host)
        except OSError as error:
            refused = FarSideUnavailable(
                "campaign-unreachable", detail=_why_unconnected(error, wait), host=self.host
            )
        else:
            return line
        line.close()
        raise refused

    def _exchange(
        self, line: http.client.HTTPConnection, path: str, body: bytes, call: str, limit_bytes: int
    ) -> tuple[Reply, bool]:
        """Send and read; return the reply and whether the connection may be used again."""
        line.request("POST", self._folder + path, body, _HEADERS)
        response = line.getresponse()
        with response:
            self._judge_head(response, call)
            content = self._content(response, call, limit_bytes)
            return Reply(response.status, content), not response.will_close

    def _judge_head(self, response: http.client.HTTPResponse, call: str) -> None:
        """Refuse by status and headers what must not be read as SOAP."""
        status = response.status
        if 300 <= status < 400:  # noqa: PLR2004 - the redirects of HTTP
            raise FarSideRefused("campaign-redirect", call=call, status=status, host=self.host)
        media_type = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        if status not in (200, 500) or media_type not in _XML_TYPES:
            # A gateway may say 502 to 504 after the call went through it: in doubt, as the rest.
            detail = f"HTTP {status}" + ("" if media_type in _XML_TYPES else ", not XML")
            raise FarSideUnavailable(
                "campaign-unreachable", in_doubt=True, detail=detail, call=call, host=self.host
            )
        if (response.getheader("Content-Encoding") or "identity").strip().lower() != "identity":
            raise _bad_answer(call, "compressed although not asked to be")

    def _content(self, response: http.client.HTTPResponse, call: str, limit_bytes: int) -> bytes:
        """Read the whole body, never more than the limit."""
        parts: list[bytes] = []
        size = 0
        while size <= limit_bytes and (part := response.read(_READ_BYTES)):
            parts.append(part)
            size += len(part)
        if size > limit_bytes:
            raise _bad_answer(call, f"longer than {limit_bytes} bytes")
        if response.length:  # http.client is silent about a body shorter than it was announced
            raise http.client.IncompleteRead(b"")
        return b"".join(parts)


_HEADERS = {
    "Content-Type": "text/xml; charset=utf-8",
    "SOAPAction": '""',
    "Accept": "text/xml",
    "Accept-Encoding": "identity",
    "User-Agent": "recipient-sync",
}


def checked_endpoint(endpoint: str) -> SplitResult:
    """Split an endpoint like https://host/soap11/; ValueError for one that may not be used."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the endpoint must be https://HOST/PATH/")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("the endpoint must hold no user, password, query or fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("the endpoint must be https; plain http goes to loopback addresses only")
    return parts


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or newer, names and certificates checked against `ca_file` or the system's store.

    Built bare, because ssl.create_default_context would log keys where SSLKEYLOGFILE says.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError:
        raise ValueError(f"ca_file {ca_file} cannot be read as PEM certificates") from None
    return context


@contextmanager
def _cut_after(sock: socket.socket, seconds: float) -> Iterator[threading.Event]:
    """Shut `sock` down after `seconds`, however busily the other side drips; the event tells."""
    cut = threading.Event()

    def shut() -> None:
        cut.set()
        with suppress(OSError):
            # The plain socket's method: SSLSocket.shutdown would drop the TLS layer under a read.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, shut)
    timer.daemon = True
    timer.start()
    try:
        yield cut
    finally:
        timer.cancel()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _watch_peer(sock: socket.socket, read_seconds: float) -> None:
    """Bound every wait, and notice a peer that is gone without a word."""
    sock.settimeout(read_seconds)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(read_seconds * 1000))


def _readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _bad_answer(call: str, detail: str) -> FarSideUnavailable:
    return FarSideUnavailable("campaign-answer", in_doubt=True, call=call, detail=detail)


def _why_unconnected(error: OSError, connect_seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no connection within {connect_seconds:g} s"
    if isinstance(error, socket.gaierror):
        return "its name is not found"
    if isinstance(error, ssl.SSLError):
        return "no TLS connection"
    return os.strerror(error.errno) if error.errno else "no connection"


def _why_broken(error: OSError | http.client.HTTPException, read_seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {read_seconds:g} s"
    if isinstance(error, http.client.IncompleteRead):
        return "the answer is cut off"
    if isinstance(error, OSError):
        return "the connection broke"
    return "the answer is not HTTP"
