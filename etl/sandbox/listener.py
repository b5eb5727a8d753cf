"""Listens on a loopback port, one thread per connection, with or without TLS.

Knows HTTP and sockets only; what is answered is a function given to it.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace

from etl.sandbox.http_wire import BadRequest, Request, Response, read_request, write_response

Answer = Callable[[Request], Response]
_HANDSHAKE_SECONDS = 10.0
_JOIN_SECONDS = 10.0


class Listener:
    """A port that answers requests until it is stopped."""

    def __init__(
        self,
        answer: Answer,
        *,
        port: int,
        tls: ssl.SSLContext | None = None,
        idle_seconds: Callable[[], float] = lambda: 60.0,
        phrase: Callable[[], bool] = lambda: True,
        closed: Callable[[int], None] = lambda _connection: None,
    ) -> None:
        """Bind the port (0: a free one); nothing is answered before `start`."""
        self._answer = answer
        self._tls = tls
        self._idle_seconds = idle_seconds
        self._phrase = phrase
        self._closed = closed
        self._lock = threading.Lock()
        self._open: dict[int, socket.socket] = {}
        self._threads: dict[int, threading.Thread] = {}
        self._last = 0
        self._stopping = False
        self._socket = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._accepting.start()

    def stop(self) -> None:
        """Close the port and every connection, and wait for their threads."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._accepting.ident is not None:
            self._accepting.join(_JOIN_SECONDS)
        self._socket.close()
        with self._lock:
            threads = list(self._threads.values())
            for connection in self._open.values():
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(_JOIN_SECONDS)

    def _accept(self) -> None:
        """Give every connection a thread of its own."""
        while not self._stopping:
            try:
                raw, peer = self._socket.accept()
            except OSError:
                return
            with self._lock:
                self._last += 1
                number = self._last
                self._open[number] = raw
                thread = threading.Thread(
                    target=self._converse, args=(number, raw, peer[0]), daemon=True
                )
                self._threads[number] = thread
            thread.start()

    def _converse(self, number: int, raw: socket.socket, ip: str) -> None:
        """Answer the requests of one connection; a peer that goes away is nobody's fault."""
        try:
            with contextlib.suppress(OSError, ValueError), self._secured(number, raw) as connection:
                connection.settimeout(self._idle_seconds())
                self._answer_all(number, connection, ip)
        finally:
            raw.close()
            self._closed(number)
            with self._lock:
                self._open.pop(number, None)
                self._threads.pop(number, None)

    def _secured(self, number: int, raw: socket.socket) -> socket.socket:
        """Return the connection after the TLS handshake, or as it is."""
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return raw
        raw.settimeout(_HANDSHAKE_SECONDS)
        secured = self._tls.wrap_socket(raw, server_side=True)
        with self._lock:
            self._open[number] = secured
        return secured

    def _answer_all(self, number: int, connection: socket.socket, ip: str) -> None:
        """Answer one request after the other until either side has enough."""
        with connection.makefile("rb") as stream, connection.makefile("wb") as out:
            while not self._stopping:
                try:
                    request = read_request(stream, out)
                except BadRequest as error:
                    refused = Response(error.status, b"", "text/plain")
                    out.write(write_response(refused, phrase=self._phrase(), keep_alive=False))
                    return
                if request is None:
                    return
                response = self._answer(replace(request, ip=ip, connection=number))
                if response.fate == "dropped":
                    return
                data = write_response(
                    response, phrase=self._phrase(), keep_alive=request.keep_alive
                )
                if response.fate == "cut":
                    out.write(data[: len(data) - len(response.body) // 2 - 1])
                    return
                out.write(data)
                out.flush()
                if not request.keep_alive:
                    return
