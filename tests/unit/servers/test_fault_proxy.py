"""The TCP fault proxy: what is planned happens on the wire, at the byte that was named."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.servers.fault_gate import HOST
from tests.servers.fault_proxy import Cut, TcpProxy

SIZE = 1000


class Echo:
    """Answers every byte with itself; keeps how many came."""

    def __init__(self) -> None:
        self.received = 0
        self.delay_seconds = 0.0
        """How long it waits before it reads."""
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                thread = threading.Thread(target=self._echo, args=(sock,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _echo(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            time.sleep(self.delay_seconds)
            while data := sock.recv(65536):
                self.received += len(data)
                sock.sendall(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[TcpProxy]:
    with TcpProxy(HOST, echo.port) as made:
        yield made


def dial(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), 2)


def read(sock: socket.socket, size_bytes: int, seconds: float = 2) -> tuple[bytes, str]:
    """What comes up to a size, and how it ends: whole, end, reset, silence."""
    data = b""
    sock.settimeout(seconds)
    while len(data) < size_bytes:
        try:
            part = sock.recv(65536)
        except TimeoutError:
            return data, "silence"
        except ConnectionResetError:
            return data, "reset"
        if not part:
            return data, "end"
        data += part
    return data, "whole"


def seen(condition, seconds: float = 2) -> bool:
    """Whether something becomes true soon."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not condition():
        time.sleep(0.01)
    return bool(condition())


def test_everything_passes_and_is_counted(proxy: TcpProxy) -> None:
    """Without a plan every byte passes, and each direction's pieces are counted."""
    proxy.plan()
    with dial(proxy) as sock:
        for _ in range(3):
            sock.sendall(bytes(SIZE))
            assert read(sock, SIZE) == (bytes(SIZE), "whole")
    assert proxy.offsets("up") == proxy.offsets("down") == [0, SIZE, 2 * SIZE]
    assert proxy.fired == []


@pytest.mark.parametrize(("how", "end"), [("reset", "reset"), ("close", "end")])
def test_cut_in_the_answer(proxy: TcpProxy, how, end: str) -> None:
    """A reset or a close after N bytes of the answer lets exactly N through; the next passes."""
    proxy.plan(Cut(how, "down", 400))
    with dial(proxy) as sock:
        sock.sendall(bytes(SIZE))
        data, how_it_ended = read(sock, SIZE)
        # RST may overtake bytes that were sent before it.
        assert len(data) == 400 or (how == "reset" and len(data) < 400)
        assert how_it_ended == end
    assert [(step.way, step.size_bytes) for step in proxy.fired] == [("down", 400)]
    with dial(proxy) as sock:
        sock.sendall(bytes(SIZE))
        assert read(sock, SIZE)[1] == "whole"


@pytest.mark.parametrize(("how", "end"), [("reset", "reset"), ("close", "end")])
def test_cut_on_the_way_there(proxy: TcpProxy, echo: Echo, how, end: str) -> None:
    """A cut after N bytes of the client's lets exactly N reach the server."""
    proxy.plan(Cut(how, "up", 1400))
    with dial(proxy) as sock:
        sock.sendall(bytes(SIZE))
        assert read(sock, SIZE)[1] == "whole"
        sock.sendall(bytes(SIZE))
        assert read(sock, SIZE)[1] == end
    assert how == "reset" or seen(lambda: echo.received == 1400)
    assert SIZE <= echo.received <= 1400


def test_lost_answer(proxy: TcpProxy, echo: Echo) -> None:
    """With a lost answer the server has every byte, though it is slow, and the client none."""
    echo.delay_seconds = 0.2
    proxy.plan(Cut("lose-answer", "up", 0))
    with dial(proxy) as sock:
        sock.sendall(bytes(SIZE))
        assert read(sock, 1) == (b"", "reset")
    assert echo.received == SIZE


def test_black_hole(proxy: TcpProxy, echo: Echo) -> None:
    """From byte N on nothing passes either way, though the connection stays and takes bytes."""
    proxy.plan(Cut("hole", "up", SIZE))
    with dial(proxy) as sock:
        sock.sendall(bytes(SIZE))
        assert read(sock, SIZE)[1] == "whole"
        for _ in range(3):
            sock.sendall(bytes(SIZE))
            assert read(sock, 1, 0.1) == (b"", "silence")
    assert echo.received == SIZE


def test_hole_from_the_first_byte_for_all(proxy: TcpProxy, echo: Echo) -> None:
    """Without a number of times every later connection meets the same."""
    proxy.plan(Cut("hole", "up", 0, times=None))
    for _ in range(2):
        with dial(proxy) as sock:
            sock.sendall(bytes(SIZE))
            assert read(sock, 1, 0.1) == (b"", "silence")
    assert echo.received == 0
    proxy.plan()
    with dial(proxy) as sock:
        sock.sendall(bytes(SIZE))
        assert read(sock, SIZE)[1] == "whole"


def test_slow_drip(proxy: TcpProxy) -> None:
    """From byte N on so many bytes a second pass."""
    proxy.plan(Cut("drip", "down", 500, bytes_per_second=50))
    with dial(proxy) as sock:
        sock.sendall(bytes(SIZE))
        assert 500 <= len(read(sock, 500)[0]) < 510
        began = time.monotonic()
        data, how_it_ended = read(sock, 20)
        assert how_it_ended == "whole"
        assert len(data) < 25
        assert 0.3 < time.monotonic() - began < 2


def test_refused(proxy: TcpProxy) -> None:
    """A closed port refuses connections and ends the open one; the next plan opens it again."""
    proxy.plan()
    with dial(proxy) as sock:
        sock.sendall(bytes(SIZE))
        assert read(sock, SIZE)[1] == "whole"
        proxy.refuse()
        assert read(sock, 1)[1] in ("end", "reset")
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                dial(proxy)
    proxy.plan()
    with dial(proxy) as sock:
        sock.sendall(bytes(SIZE))
        assert read(sock, SIZE)[1] == "whole"


def test_hang_up(proxy: TcpProxy, echo: Echo) -> None:
    """So many connections are taken and closed at once, without a byte; the next one is served."""
    proxy.plan()
    proxy.hang_up(2)
    for _ in range(2):
        with dial(proxy) as sock:
            assert read(sock, 1) == (b"", "end")
    with dial(proxy) as sock:
        sock.sendall(bytes(SIZE))
        assert read(sock, SIZE)[1] == "whole"
    assert proxy.hung_up == 2
    assert echo.received == SIZE
