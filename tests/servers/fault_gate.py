"""A port on loopback that a fault proxy opens and closes, and ways to end what came through it."""

import contextlib
import select
import socket
import ssl
import struct
import threading
import traceback
from collections.abc import Callable

HOST = "127.0.0.1"
READ_BYTES = 65536
_LOOK_SECONDS = 0.02
"""How often a connection that waits looks whether the plan is still the same."""


def reset(*sockets: socket.socket) -> None:
    """Close with RST in the place of FIN."""
    for sock in sockets:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


def shut(sock: socket.socket) -> None:
    """End both directions of a connection, past any TLS in it; whoever reads it wakes up."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def readable(*sockets: socket.socket, seconds: float = _LOOK_SECONDS) -> list[socket.socket]:
    """Which of the sockets have something to read, or have ended, within some time."""
    poll = select.poll()
    for sock in sockets:
        poll.register(sock, select.POLLIN)
    ready = {number for number, _ in poll.poll(seconds * 1000)}
    return [sock for sock in sockets if sock.fileno() in ready]


def secured(
    context: ssl.SSLContext, plain: socket.socket, server: str | None = None
) -> ssl.SSLSocket:
    """TLS on a connection, as the client of a server or, with none, as the server.

    When the peer has reset it by then, the library has taken `plain` over, raises, and leaves its
    new socket open for the collector, which warns: it is found where it was made, and closed.
    """
    try:
        return context.wrap_socket(plain, server_side=server is None, server_hostname=server)
    except OSError as error:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            made = frame.f_locals.get("self")
            if isinstance(made, ssl.SSLSocket):
                made.close()
        raise


class Gate:
    """A port on loopback that can be open, or closed without anybody else getting it."""

    def __init__(self, serve: Callable[[socket.socket, int], None]) -> None:
        """`serve` has a thread for each connection, and its number; it closes the socket."""
        self._serve = serve
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._open: dict[int, socket.socket] = {}
        self._listener: socket.socket | None = None
        self.connections = 0
        # Bound but not listening: it keeps the port while nobody is to be let in.
        self._reserve = self._bound(0)
        self.port: int = self._reserve.getsockname()[1]

    def open(self) -> None:
        """Take connections."""
        if self._listener is None:
            self._listener = self._bound(self.port)
            self._listener.listen(64)
            thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Refuse every new connection; those that are open go on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            shut(listener)
            listener.close()

    def end(self) -> None:
        """Close the port and every connection, and wait for their threads."""
        self.close()
        self._reserve.close()
        self.cut_all()
        for thread in self._threads:
            thread.join(5)

    def cut_all(self) -> None:
        """End every connection that is open."""
        with self._lock:
            for sock in self._open.values():
                shut(sock)

    def watch(self, number: int, sock: socket.socket) -> None:
        """Say that a connection goes on in another socket, one with TLS."""
        with self._lock:
            self._open[number] = sock

    @staticmethod
    def _bound(port: int) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((HOST, port))
        return sock

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections += 1
                number = self.connections
                self._open[number] = sock
            thread = threading.Thread(target=self._talk, args=(sock, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, sock: socket.socket, number: int) -> None:
        try:
            with contextlib.suppress(OSError):
                self._serve(sock, number)
        finally:
            with self._lock:
                self._open.pop(number, None)
            sock.close()
