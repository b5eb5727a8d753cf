"""One POST: what is refused, what is cut off, and whether the call is in doubt after it."""

import contextlib
import gzip
import socket
import ssl
import time
from pathlib import Path

import pytest

from etl.errors import EtlError, FarSideRefused, FarSideUnavailable
from etl.sandbox.authority import open_authority
from etl.wire.transport import Limits, Post, checked_endpoint, tls_context
from tests.servers.answering import Answer, Answering, http, returned

QUICK = Limits(connect_seconds=2, read_seconds=2, call_seconds=5)
BODY = b"<secret>erika.mustermann@example.org</secret>"
GOOD = http(returned("getName", "Kunden"))


def saying(*parts: bytes) -> Answer:
    def answer(sock: socket.socket, _: bytes) -> None:
        for part in parts:
            sock.sendall(part)

    return answer


def hanging_up(*parts: bytes) -> Answer:
    def answer(sock: socket.socket, request: bytes) -> None:
        saying(*parts)(sock, request)
        raise ConnectionError

    return answer


@contextlib.contextmanager
def posting(url: str, ca_file: Path | None = None, limits: Limits = QUICK):
    post = Post(url, ca_file, limits)
    try:
        yield post
    finally:
        post.close()


def failing(
    url: str, ca_file: Path | None = None, limits: Limits = QUICK, limit_bytes: int = 10_000
) -> EtlError:
    """Post once; return the error."""
    with posting(url, ca_file, limits) as post, pytest.raises(EtlError) as caught:
        post.send("RpcRecipient", BODY, "clear", limit_bytes)
    assert "erika" not in str(caught.value) + repr(caught.value)
    return caught.value


def failure(answer: Answer, limits: Limits = QUICK, limit_bytes: int = 10_000) -> EtlError:
    """Post once to a server that answers so; return the error."""
    with Answering(answer) as server:
        return failing(server.url, None, limits, limit_bytes)


def refused(error: EtlError, code: str) -> bool:
    return isinstance(error, FarSideRefused) and error.code == code


def in_doubt(error: EtlError) -> bool:
    assert isinstance(error, FarSideUnavailable)
    return error.in_doubt


def test_a_good_answer_comes_back_whole() -> None:
    """Status and body of an XML answer reach the caller, and the request is what was posted."""
    with Answering(saying(GOOD)) as server, posting(server.url) as post:
        reply = post.send("RpcRecipientList", BODY, "getName", 10_000)
    assert reply.status_code == 200
    assert reply.content == returned("getName", "Kunden")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /soap11/RpcRecipientList HTTP/1.1\r\n")
    assert b"Accept-Encoding: identity" in head
    assert body == BODY


def test_chunked_answers_are_read() -> None:
    """A chunked body is put together; Axis sends long answers so."""
    head = b"HTTP/1.1 200\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = saying(head, b"3\r\n<a>\r\n", b"4\r\n</a>\r\n0\r\n\r\n")
    with Answering(answer) as server, posting(server.url) as post:
        assert post.send("RpcSession", BODY, "login", 100).content == b"<a></a>"


def test_a_connection_is_used_again() -> None:
    """Two posts in a row go over one connection."""
    with Answering(saying(GOOD)) as server, posting(server.url) as post:
        post.send("RpcSession", BODY, "login", 10_000)
        post.send("RpcSession", BODY, "login", 10_000)
        assert server.connections == 1


def test_a_connection_the_server_has_closed_is_not_used() -> None:
    """A kept connection that has ended is noticed before a call is put on it."""
    with Answering(hanging_up(GOOD)) as server, posting(server.url) as post:
        for _ in range(2):
            post.send("RpcSession", BODY, "login", 10_000)
            time.sleep(0.05)
        assert server.connections == 2
        assert len(server.requests) == 2


def test_an_untrusted_authority_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """A certificate of another authority ends the call; no request reaches the server."""
    ours, other = open_authority(tmp_path / "ours"), open_authority(tmp_path / "other")
    with Answering(saying(GOOD), tls=other.server_context()) as server:
        assert refused(failing(server.url, ours.ca_file), "campaign-certificate")
    assert server.requests == []


def test_the_system_store_does_not_know_the_test_authority(tmp_path: Path) -> None:
    """Without ca_file the system's authorities count, and no others."""
    context = open_authority(tmp_path).server_context()
    with Answering(saying(GOOD), tls=context) as server:
        assert refused(failing(server.url), "campaign-certificate")


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    """The right authority does not help a server that its certificate does not name."""
    authority = open_authority(tmp_path)
    context = authority.server_context(("elsewhere.test",))
    with Answering(saying(GOOD), tls=context) as server:
        assert refused(failing(server.url, authority.ca_file), "campaign-certificate")
    assert server.requests == []


def test_a_trusted_authority_is_accepted(tmp_path: Path) -> None:
    """With its authority in ca_file the same server is talked to, over TLS 1.2 or newer."""
    authority = open_authority(tmp_path)
    server = Answering(saying(GOOD), tls=authority.server_context())
    with server, posting(server.url, authority.ca_file) as post:
        assert post.send("RpcSession", BODY, "login", 10_000).status_code == 200
    assert tls_context(authority.ca_file).minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_server_without_tls_gets_nothing(tmp_path: Path) -> None:
    """Plain HTTP where TLS is expected: no connection, nothing sent, no doubt."""
    ca_file = open_authority(tmp_path).ca_file
    with Answering(saying(GOOD)) as server:
        url = server.url.replace("http://", "https://")
        assert not in_doubt(failing(url, ca_file, Limits(0.5, 0.5, 1)))
    assert not any(BODY in request for request in server.requests)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused(status: int) -> None:
    """No redirect is followed: neither the body nor a bare request reaches the other server."""
    with Answering(saying(GOOD)) as second:
        moved = http(b"", status, f"Location: {second.url}RpcRecipient")
        error = failure(saying(moved))
        assert refused(error, "campaign-redirect")
        assert (second.connections, second.requests) == (0, [])


def test_a_compressed_answer_is_refused_unread() -> None:
    """A gzip bomb is refused by its header, whatever it would grow to."""
    bomb = gzip.compress(b"\0" * 5_000_000)
    error = failure(saying(http(bomb, 200, "Content-Encoding: gzip")), limit_bytes=10_000_000)
    assert in_doubt(error)
    assert error.code == "campaign-answer"
    assert "compressed" in str(error)


@pytest.mark.parametrize("announced", [True, False])
def test_an_answer_beyond_the_size_cap_is_refused(announced: bool) -> None:
    """Reading stops at the cap, whether the length is announced or the body just goes on."""
    head = b"HTTP/1.1 200\r\nContent-Type: text/xml\r\n"
    body = b" " * 30_000
    long = http(body) if announced else head + b"Connection: close\r\n\r\n" + body
    error = failure(hanging_up(long))
    assert in_doubt(error)
    assert error.code == "campaign-answer"


def drip(where: bytes) -> Answer:
    """Send a beginning, then one byte at a time for ever."""

    def answer(sock: socket.socket, _: bytes) -> None:
        sock.sendall(where)
        while True:
            time.sleep(0.05)
            sock.sendall(b" ")

    return answer


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200\r\nContent-Type: text/xml\r\nX-Slow: ",
        b"HTTP/1.1 200\r\nContent-Type: text/xml\r\nContent-Length: 9000\r\n\r\n",
    ],
    ids=["in the head", "in the body"],
)
def test_a_dripping_server_is_cut_at_the_deadline(begin: bytes) -> None:
    """A server that keeps every single wait short still cannot hold a call beyond its limit."""
    started = time.monotonic()
    error = failure(drip(begin), Limits(1, 1, 0.6))
    assert in_doubt(error)
    assert "within 0.6 s" in str(error)
    assert time.monotonic() - started < 5


def test_the_deadline_holds_over_tls(tmp_path: Path) -> None:
    """The cut reaches through the TLS layer."""
    authority = open_authority(tmp_path)
    begin = b"HTTP/1.1 200\r\nContent-Type: text/xml\r\nContent-Length: 9000\r\n\r\n"
    with Answering(drip(begin), tls=authority.server_context()) as server:
        error = failing(server.url, authority.ca_file, Limits(1, 1, 0.5))
    assert in_doubt(error)
    assert "within 0.5 s" in str(error)


def test_a_silent_server_is_left_after_the_read_limit() -> None:
    """No byte within read_seconds: given up, in doubt, because the request was taken."""

    def answer(sock: socket.socket, _: bytes) -> None:
        sock.recv(1)

    error = failure(answer, Limits(1, 0.3, 5))
    assert in_doubt(error)
    assert "within 0.3 s" in str(error)


CUT = b"HTTP/1.1 200\r\nContent-Type: text/xml\r\nContent-Length: 500\r\n\r\n<soapenv:Envelope"
CHUNK_CUT = b"HTTP/1.1 200\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n<a>"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (hanging_up(), "the connection broke"),
        (hanging_up(CUT), "the answer is cut off"),
        (hanging_up(CHUNK_CUT), "the answer is cut off"),
        (hanging_up(b"220 mail.test ESMTP\r\n"), "the answer is not HTTP"),
        (saying(http(b"<html/>", 503, media_type="text/html")), "HTTP 503, not XML"),
        (saying(http(b"<html/>", 200, media_type="text/html")), "HTTP 200, not XML"),
        (saying(http(b"", 404)), "HTTP 404"),
        (saying(http(b"<a/>", 429)), "HTTP 429"),
        (saying(http(b"<a/>", 502)), "HTTP 502"),
        (saying(http(b"x", 500, media_type="text/plain")), "HTTP 500, not XML"),
    ],
)
def test_whatever_follows_the_request_leaves_the_call_in_doubt(answer: Answer, words: str) -> None:
    """A lost, cut or foreign answer says nothing about the effect of the call."""
    error = failure(answer)
    assert in_doubt(error)
    assert error.code == "campaign-unreachable"
    assert words in str(error)


def test_a_reset_leaves_the_call_in_doubt() -> None:
    """A connection reset after the request is a lost answer."""

    def answer(sock: socket.socket, _: bytes) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        raise ConnectionError

    error = failure(answer)
    assert in_doubt(error)


def test_a_refused_connection_is_not_in_doubt() -> None:
    """Nobody listens: nothing was sent, so nothing can have happened."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = failing(f"http://127.0.0.1:{port}/soap11/")
    assert not in_doubt(error)
    assert "Connection refused" in str(error)


def test_an_unknown_name_is_not_in_doubt() -> None:
    """A host that is not found: nothing was sent."""
    error = failing("https://campaign.invalid/soap11/")
    assert not in_doubt(error)
    assert error.code == "campaign-unreachable"


def test_proxies_and_netrc_of_the_environment_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request goes straight to the endpoint, without anybody's credentials."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with Answering(saying(GOOD)) as proxy, Answering(saying(GOOD)) as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        with posting(server.url) as post:
            post.send("RpcSession", BODY, "login", 10_000)
        assert proxy.connections == 0
    assert b"authorization" not in server.requests[0].lower()


def test_tls_keys_are_not_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSLKEYLOGFILE in the environment does not make the session readable."""
    authority = open_authority(tmp_path)
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    assert tls_context(authority.ca_file).keylog_filename is None


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://api.example.org/soap11/",
        "http://10.0.0.1/soap11/",
        "ftp://127.0.0.1/",
        "api.example.org",
        "https://user:secret@api.example.org/soap11/",
        "https://api.example.org/soap11/?a=b",
    ],
)
def test_an_unsafe_endpoint_is_refused_at_construction(endpoint: str) -> None:
    """Plain http beyond loopback, other schemes, credentials in the address: never a client."""
    with pytest.raises(ValueError, match="the endpoint must") as caught:
        Post(endpoint, None, QUICK)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1:80", "[::1]:80", "localhost:1", "127.1.2.3"])
def test_plain_http_to_loopback_is_allowed(host: str) -> None:
    """The simulator may be talked to without TLS."""
    assert checked_endpoint(f"http://{host}/soap11/").scheme == "http"


def test_a_ca_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """A missing file or one without certificates is told at construction."""
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    for path in (broken, tmp_path / "missing.pem"):
        with pytest.raises(ValueError, match="ca_file"):
            Post("https://api.example.org/soap11/", path, QUICK)


def test_the_path_of_the_endpoint_is_kept() -> None:
    """With or without its last slash the endpoint leads to the same service."""
    with Answering(saying(GOOD)) as server:
        for url in (server.url, server.url.rstrip("/")):
            with posting(url) as post:
                post.send("RpcSession", BODY, "login", 10_000)
        assert [request.split(b" ")[1] for request in server.requests] == [
            b"/soap11/RpcSession"
        ] * 2
