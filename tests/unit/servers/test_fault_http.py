"""The HTTP fault proxy: every kind of fault is met by the request that was named, and no other."""

import contextlib
import errno
import http.client
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from tests.servers.answering import Answering, answered, envelope, returned
from tests.servers.answering import http as http_answer
from tests.servers.fault_answers import PAGE
from tests.servers.fault_gate import HOST
from tests.servers.fault_http import Fault, HttpProxy, Kind

ANSWER = returned("getName", "Kunden")
REQUEST = envelope("<ns0:getName><in0>1</in0></ns0:getName>")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("authority")


@pytest.fixture
def server() -> Iterator[Answering]:
    lock = threading.Lock()

    def answer(sock: socket.socket, _: bytes) -> None:
        with lock:
            sock.sendall(http_answer(ANSWER, 200, "Connection: keep-alive"))

    with Answering(answer) as made:
        yield made


@pytest.fixture
def proxy(server: Answering, authority: Path) -> Iterator[HttpProxy]:
    with HttpProxy(authority) as made:
        made.aim(server.url)
        yield made


class Client:
    """One kept connection, opened anew when it is gone."""

    def __init__(self, proxy: HttpProxy, seconds: float = 1) -> None:
        port = int(proxy.url.split(":")[2].split("/")[0])
        trusted = ssl.create_default_context(cafile=str(proxy.ca_file))
        self.line = http.client.HTTPSConnection(HOST, port, timeout=seconds, context=trusted)

    def post(self) -> tuple[int, bytes]:
        try:
            self.line.request("POST", "/soap11/RpcRecipientList", REQUEST)
            with self.line.getresponse() as response:
                return response.status, response.read()
        except BaseException:
            self.line.close()
            raise


@pytest.fixture
def client(proxy: HttpProxy) -> Iterator[Client]:
    made = Client(proxy)
    yield made
    made.line.close()


GOOD = (200, ANSWER)


def test_all_passes_and_is_counted(proxy: HttpProxy, client: Client) -> None:
    """Without a plan requests pass on one connection and are counted with their call's name."""
    for _ in range(3):
        assert client.post() == GOOD
    assert [(each.number, each.call, each.fault) for each in proxy.passed] == [
        (number, "getName", None) for number in (1, 2, 3)
    ]
    assert len({each.connection for each in proxy.passed}) == 1
    assert all(each.request_bytes > len(REQUEST) for each in proxy.passed)
    assert all(each.answer_bytes > len(ANSWER) for each in proxy.passed)


BROKEN: dict[Kind, tuple[type[Exception], int]] = {
    "reset-before": (ConnectionResetError, 0),
    "close-before": (http.client.RemoteDisconnected, 0),
    "reset-after": (ConnectionResetError, 1),
    "close-after": (http.client.RemoteDisconnected, 1),
    "cut": (http.client.IncompleteRead, 1),
    "hole": (TimeoutError, 0),
    "hole-after": (TimeoutError, 1),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_the_second_request_breaks(
    proxy: HttpProxy, server: Answering, client: Client, kind: Kind
) -> None:
    """The planned request alone ends as its kind says, with its effect or without."""
    error, forwarded = BROKEN[kind]
    proxy.plan(Fault(kind, at=2, after_bytes=300))
    client.line.close()
    assert client.post() == GOOD
    with pytest.raises(error):
        client.post()
    assert client.post() == GOOD
    assert len(server.requests) == 2 + forwarded
    assert [(each.number, each.fault) for each in proxy.faults] == [(2, kind)]


@pytest.mark.parametrize(
    ("kind", "number"),
    [("reset-before", errno.ECONNRESET), ("reset-after", errno.ECONNRESET), ("close-before", 0)],
)
def test_a_reset_is_one_on_the_wire(
    proxy: HttpProxy, client: Client, kind: Kind, number: int
) -> None:
    """A reset comes as RST, which Python's TLS does not tell from an end; a close does not."""
    proxy.plan(Fault(kind))
    client.line.request("POST", "/soap11/RpcSession", REQUEST)
    ended = select.poll()
    ended.register(client.line.sock, select.POLLRDHUP)
    assert ended.poll(2000)
    assert client.line.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == number


@pytest.mark.parametrize("status", [500, 502, 503, 200])
@pytest.mark.parametrize(("kind", "forwarded"), [("page", 0), ("page-after", 1)])
def test_a_page_in_html(
    proxy: HttpProxy, server: Answering, client: Client, kind: Kind, forwarded: int, status: int
) -> None:
    """A page of any status comes in place of the answer, before the effect or after it."""
    proxy.plan(Fault(kind, at=2, times=2, status=status))
    found = [client.post() for _ in range(4)]
    assert found == [GOOD, (status, PAGE), (status, PAGE), GOOD]
    assert len(server.requests) == 2 + 2 * forwarded


def test_a_page_until_the_next_plan(proxy: HttpProxy, client: Client) -> None:
    """Without a number of times the fault stays until the plan is lifted."""
    proxy.plan(Fault("page", at=1, times=None))
    assert [client.post()[0] for _ in range(5)] == [503] * 5
    proxy.plan()
    client.line.close()
    assert client.post() == GOOD


def test_truncated_with_a_right_end(proxy: HttpProxy, server: Answering, client: Client) -> None:
    """An answer without its middle has a fitting length and the end of an envelope."""
    proxy.plan(Fault("truncated"))
    status, body = client.post()
    assert status == 200
    assert len(body) < len(ANSWER)
    assert body.endswith(b"</soapenv:Body></soapenv:Envelope>")
    assert len(server.requests) == 1
    assert client.post() == GOOD


def test_thinned(proxy: HttpProxy, client: Client) -> None:
    """A thinned answer is well-formed and lacks one element; the next one lacks none."""
    numbers = "".join(f'<multiRef id="id{n}" xsi:type="xsd:int">{n}</multiRef>' for n in range(5))
    whole = answered("addAll3", "", numbers)

    def answer(sock: socket.socket, _: bytes) -> None:
        sock.sendall(http_answer(whole))

    with Answering(answer) as server:
        proxy.aim(server.url)
        proxy.plan(Fault("thinned"))
        status, body = client.post()
        assert status == 200
        assert [len(etree.fromstring(each)[0]) for each in (whole, body)] == [6, 5]
        assert client.post() == (200, whole)
        client.line.close()


def test_drip(proxy: HttpProxy, client: Client) -> None:
    """An answer in single bytes lets every wait be short and never becomes whole."""
    proxy.plan(Fault("drip", after_bytes=100, bytes_per_second=50))
    began = time.monotonic()
    stop = threading.Timer(0.7, lambda: client.line.sock.shutdown(socket.SHUT_RDWR))
    stop.start()
    with pytest.raises((http.client.HTTPException, OSError)):
        client.post()
    stop.join()
    assert 0.5 < time.monotonic() - began < 3


def test_redirect(proxy: HttpProxy, client: Client) -> None:
    """A redirect names the address that the plan gave."""
    proxy.plan(Fault("redirect", location="https://127.0.0.1:9/"))
    client.line.request("POST", "/soap11/RpcSession", REQUEST)
    with client.line.getresponse() as response:
        assert (response.status, response.headers["Location"]) == (307, "https://127.0.0.1:9/")
        response.read()


@pytest.mark.parametrize("at", [1, 2])
def test_refused_at_the_door(proxy: HttpProxy, server: Answering, client: Client, at: int) -> None:
    """Before the planned request the port closes for a while and then opens again."""
    proxy.plan(Fault("refuse", at=at, seconds=0.3))
    for _ in range(at - 1):
        assert client.post() == GOOD
    with pytest.raises(ConnectionRefusedError):
        client.post()
    until = time.monotonic() + 3
    found = None
    while found is None and time.monotonic() < until:
        with contextlib.suppress(ConnectionRefusedError):
            found = client.post()
    assert found == GOOD
    assert len(server.requests) == at


def test_hung_up_at_the_door(proxy: HttpProxy, server: Answering, client: Client) -> None:
    """The planned number of connections are closed before TLS begins."""
    proxy.plan(Fault("hang-up", at=2, times=2))
    assert client.post() == GOOD
    for _ in range(2):
        with pytest.raises(OSError, match=r"EOF|reset|closed"):
            client.post()
    assert client.post() == GOOD
    assert proxy.turned_away == 2
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("self-signed", "self-signed certificate"),
        ("other-authority", "unable to get local issuer"),
        ("other-name", "IP address mismatch"),
    ],
)
def test_another_certificate(
    proxy: HttpProxy, server: Answering, client: Client, kind: Kind, words: str
) -> None:
    """The certificate of the planned connection is the wrong one in the way its kind names."""
    proxy.plan(Fault(kind, at=2))
    assert client.post() == GOOD
    with pytest.raises(ssl.SSLCertVerificationError, match=words):
        client.post()
    assert client.post() == GOOD
    assert proxy.turned_away == 1
    assert len(server.requests) == 2
