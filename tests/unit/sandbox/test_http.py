"""HTTP and TLS: addresses, service descriptions, connections, bounds."""

import http.client
import socket
import ssl
from urllib.parse import urlsplit

import pytest

from etl.sandbox import http_wire
from etl.sandbox.authority import open_authority
from etl.sandbox.campaign import Campaign
from etl.sandbox.operations import services
from tests.unit.sandbox.caller import Caller, SoapFault, envelope
from tests.unit.sandbox.conftest import furnish


def _raw(sim, data):
    parts = urlsplit(sim.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(data)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def _request(sim, verb, target):
    parts = urlsplit(sim.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    try:
        connection.request(verb, target)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("query", ["wsdl", "WSDL"])
@pytest.mark.parametrize("service", sorted(services()))
def test_service_descriptions_name_their_own_address(sim, service, query):
    """Each of the eight WSDLs is served with the simulator's address in it."""
    status, body = _request(sim, "GET", f"/soap11/{service}?{query}")
    assert status == 200
    assert f'location="{sim.url}/{service}"'.encode() in body
    assert b"episerver" not in body


def test_other_addresses_do_not_exist(sim):
    """An unknown path is 404, a GET without ?wsdl is 400."""
    assert _request(sim, "GET", "/soap11/RpcNothing?wsdl")[0] == 404
    assert _request(sim, "POST", "/elsewhere")[0] == 404
    assert _request(sim, "GET", "/soap11/RpcSession")[0] == 400


def test_one_connection_serves_many_calls(caller):
    """A connection is kept open from call to call."""
    connection = caller.connect()
    try:
        for _ in range(3):
            body = envelope("RpcSession", "getLocale", caller.session)
            connection.request("POST", "/soap11/RpcSession", body)
            answer = connection.getresponse()
            assert answer.getheader("Content-Type") == "text/xml;charset=utf-8"
            assert b">en<" in answer.read()
            assert connection.sock is not None
    finally:
        connection.close()


@pytest.mark.parametrize("seconds", [0.05, 60.0])
def test_keep_alive_ends_an_idle_connection(caller, control, seconds):
    """An idle connection is closed after the time set, and not before."""
    control.set_switches(keep_alive_seconds=seconds)
    parts = urlsplit(caller.sim.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=0.5) as connection:
        if seconds < 1:
            assert connection.recv(1) == b""
        else:
            with pytest.raises(TimeoutError):
                connection.recv(1)


def test_a_body_in_chunks_is_read(caller):
    """A request may come with Transfer-Encoding chunked."""
    body = envelope("RpcSession", "getLocale", caller.session)
    connection = caller.connect()
    try:
        connection.request(
            "POST",
            "/soap11/RpcSession",
            iter([body[:40], body[40:]]),
            encode_chunked=True,
            headers={"Transfer-Encoding": "chunked"},
        )
        assert b">en<" in connection.getresponse().read()
    finally:
        connection.close()


def test_a_body_beyond_the_bound_is_refused(sim):
    """More than the bound is answered 413 without being read."""
    head = f"POST /soap11/RpcSession HTTP/1.1\r\nContent-Length: {http_wire.MAX_BODY + 1}\r\n\r\n"
    assert _raw(sim, head.encode()).startswith(b"HTTP/1.1 413 ")


def test_what_is_no_http_is_refused(sim):
    """Bytes that are no request get 400 and the end of the connection."""
    assert _raw(sim, b"good morning\r\n\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("phrase", "line"), [(False, b"HTTP/1.1 200 \r\n"), (True, b"HTTP/1.1 200 OK\r\n")]
)
def test_reason_phrase(sim, control, phrase, line):
    """The status line has no reason phrase, unless the switch is on."""
    control.set_switches(reason_phrase=phrase)
    get = b"GET /soap11/RpcSession?wsdl HTTP/1.1\r\nConnection: close\r\n\r\n"
    assert _raw(sim, get).startswith(line)


def test_entities_and_document_types_are_refused(caller):
    """A document type is refused and nothing it names is loaded."""
    body = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>' + envelope(
        "RpcSession", "getLocale", caller.session
    )
    status, answer = caller.post("RpcSession", body)
    assert status == 500
    assert b"a document type is not allowed" in answer


@pytest.mark.parametrize("body", [b"<", b"", b"<a/>", envelope("RpcSession", "drop", "x")])
def test_what_is_no_call_gets_a_fault(caller, control, body):
    """Broken XML, no envelope and an unknown operation are faults, logged without a method."""
    assert caller.post("RpcSession", body)[0] == 500
    assert control.calls()[-1]["method"] == ""


@pytest.mark.parametrize("values", [("one",), ("one", 2, 3, 4)])
def test_a_wrong_number_of_arguments_is_no_operation(caller, values):
    """Axis finds operations by their number of arguments."""
    with pytest.raises(SoapFault, match="No such operation"):
        caller.bare("RpcRecipient", "clear", *values)


def test_a_number_that_is_none_is_refused(caller):
    """A long must be a number."""
    with pytest.raises(SoapFault, match="NumberFormatException"):
        caller("RpcRecipient.clear", "hundred")


def test_tls_with_the_test_authority(tmp_path):
    """With a folder for the authority the address is https and its certificate holds."""
    with Campaign(tls=tmp_path / "ca") as sim:
        assert sim.url.startswith("https://")
        assert Caller(furnish(sim)).login().session
        untrusted = open_authority(tmp_path / "other").ca_file
        parts = urlsplit(sim.url)
        context = ssl.create_default_context(cafile=str(untrusted))
        with (
            socket.create_connection((parts.hostname, parts.port), timeout=10) as raw,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            context.wrap_socket(raw, server_hostname="127.0.0.1")
        assert Caller(sim).login().session


def test_the_authority_outlives_the_server(tmp_path):
    """A second start in the same folder keeps the root certificate."""
    first = open_authority(tmp_path).ca_file.read_bytes()
    assert open_authority(tmp_path).ca_file.read_bytes() == first


def test_a_simulator_never_started_can_be_stopped():
    """Stopping frees the ports even if nothing was ever answered."""
    sim = Campaign()
    sim.stop()
    with pytest.raises(ConnectionRefusedError):
        Caller(sim).login()
