"""A raw HTTP server on loopback whose every answer, or refusal to answer, a test writes itself."""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

Answer = Callable[[socket.socket, bytes], None]
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass
class Answering:
    """Reads one request after another on each connection and gives it to `answer`.

    A connection ends when the client leaves or `answer` closes it (it raises or shuts down).
    """

    answer: Answer
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> Self:
        self._ending = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(5)

    @property
    def url(self) -> str:
        """The endpoint of the services it plays."""
        return f"http{'s' if self.tls else ''}://{self.host}:{self.port}/soap11/"

    def _accept(self) -> None:
        while not self._ending.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._talk, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, plain: socket.socket) -> None:
        sock = plain
        self._open.append(sock)
        with contextlib.suppress(OSError):
            if self.tls is not None:
                sock = self.tls.wrap_socket(plain, server_side=True)
                self._open.append(sock)
            while request := _read_request(sock):
                self.requests.append(request)
                self.answer(sock, request)
        sock.close()
        plain.close()


def _read_request(sock: socket.socket) -> bytes:
    """Read one request whole; nothing when the client has left."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(found[1]) if (found := _LENGTH.search(head)) else 0
    while len(body) < length:
        part = sock.recv(65536)
        if not part:
            return b""
        body += part
    return head + b"\r\n\r\n" + body


def http(
    body: bytes, status: int = 200, *more: str, media_type: str = "text/xml;charset=utf-8"
) -> bytes:
    """Return a whole HTTP answer; without a reason phrase, as Campaign sends it."""
    head = [f"HTTP/1.1 {status}", f"Content-Type: {media_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join((*head, *more, "", "")).encode() + body


def envelope(inner: str) -> bytes:
    """Return a SOAP envelope in the style of Axis 1.4 around the content of its body."""
    return (
        '<?xml version="1.0" encoding="utf-8"?><soapenv:Envelope'
        ' xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
        ' xmlns:xsd="http://www.w3.org/2001/XMLSchema"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        f"><soapenv:Body>{inner}</soapenv:Body></soapenv:Envelope>"
    ).encode()


def returned(operation: str, value: str, kind: str = "soapenc:string") -> bytes:
    """Return the envelope of a single value, written inline."""
    return answered(operation, f'<{operation}Return xsi:type="{kind}">{value}</{operation}Return>')


def answered(operation: str, result: str = "", multirefs: str = "") -> bytes:
    """Return the envelope of an operation's answer around its result element."""
    return envelope(
        f'<ns1:{operation}Response xmlns:ns1="urn:x" xmlns:soapenc='
        f'"http://schemas.xmlsoap.org/soap/encoding/">{result}</ns1:{operation}Response>{multirefs}'
    )


def fault(words: str) -> bytes:
    """Return the envelope of a fault as Axis 1.4 writes it."""
    return envelope(
        "<soapenv:Fault><faultcode>soapenv:Server.userException</faultcode><faultstring>"
        f"{words}</faultstring><detail><ns1:hostname xmlns:ns1="
        '"http://xml.apache.org/axis/">api.test</ns1:hostname></detail></soapenv:Fault>'
    )
