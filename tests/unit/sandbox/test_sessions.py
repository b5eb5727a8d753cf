"""Sessions, who may call, and how much at once."""

import re
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from tests.unit.sandbox.caller import Caller, SoapFault, envelope, understood


def test_session_ids_are_hexadecimal(sim):
    """A session id has 15 or 16 lower-case hexadecimal digits and is new for each login."""
    ids = {Caller(sim).login().session for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"[0-9a-f]{15,16}", session) for session in ids)


@pytest.mark.parametrize(
    "login", [(8, "api", "secret"), (7, "other", "secret"), (7, "api", "wrong")]
)
def test_bad_login_says_the_same_whatever_is_wrong(sim, login):
    """Wrong client, user or password: `Invalid credentials.` without a bracket."""
    with pytest.raises(SoapFault) as caught:
        Caller(sim).login(*login)
    assert caught.value.words.endswith("WebserviceImplException: Invalid credentials.")


def test_logout_ends_the_session(caller):
    """After logout the session is dead."""
    caller("RpcSession.logout")
    with pytest.raises(SoapFault, match="Invalid sessionId"):
        caller.count()


def test_an_unknown_session_is_refused(caller):
    """A session id nobody was given is refused."""
    caller.session = "0123456789abcdef"
    with pytest.raises(SoapFault, match="Invalid sessionId"):
        caller.count()


@pytest.mark.parametrize("sliding", [False, True])
def test_sliding_session(caller, control, sliding):
    """20 minutes count from login, or from the last use if the switch is on."""
    control.set_switches(sliding_session=sliding)
    control.advance(1100)
    assert caller.count() == 0
    control.advance(200)
    if sliding:
        assert caller.count() == 0
    else:
        with pytest.raises(SoapFault, match="Invalid sessionId"):
            caller.count()


@pytest.mark.parametrize(("seconds", "alive"), [(1200, True), (60, False)])
def test_session_seconds(caller, control, seconds, alive):
    """The time a session lives can be set."""
    control.set_switches(session_seconds=seconds)
    control.advance(61)
    if alive:
        assert caller.count() == 0
    else:
        with pytest.raises(SoapFault, match="Invalid sessionId"):
            caller.count()


def test_sessions_can_be_expired_from_outside(sim, caller, control):
    """The control interface ends sessions of one client and leaves the others."""
    control.add_client(8, "api", "secret")
    other = Caller(sim).login(8)
    control.expire_sessions(7)
    assert other("RpcSession.getLocale") == "en"
    with pytest.raises(SoapFault, match="Invalid sessionId"):
        caller.count()


@pytest.mark.parametrize("bound", [False, True])
def test_ip_binding(sim, control, caller, bound):
    """A session works from another address only while it is not bound to its own."""
    control.set_switches(ip_binding=bound)
    elsewhere = Caller(sim, source="127.0.0.2")
    elsewhere.session = caller.session
    if bound:
        with pytest.raises(SoapFault, match="Invalid sessionId"):
            elsewhere.count()
    else:
        assert elsewhere.count() == 0
    assert caller.count() == 0


def test_allowed_addresses_of_a_user(sim, control):
    """A user bound to an address can log in from there and from nowhere else."""
    control.add_client(7, "bound", "secret", allowed_ips=["127.0.0.2"])
    assert Caller(sim, source="127.0.0.2").login(7, "bound").session
    with pytest.raises(SoapFault, match="Invalid credentials"):
        Caller(sim).login(7, "bound")


def test_allowed_operations_of_a_user(sim, control):
    """A user may call what its patterns allow and nothing else."""
    control.add_client(7, "reader", "secret", operations=["RpcSession.*", "RpcRecipient.getCount"])
    reader = Caller(sim).login(7, "reader")
    assert reader.count() == 0
    with pytest.raises(SoapFault, match="Permission denied"):
        reader("RpcRecipient.clear", 100)


def test_locale_and_media_type(caller):
    """A session has a locale and a media type, which can be set."""
    assert caller("RpcSession.getMediaType") == "EMAIL"
    caller("RpcSession.setMediaType", "SMS")
    caller("RpcSession.setLocale", "de")
    assert caller("RpcSession.getMediaType") == "SMS"
    assert caller("RpcSession.getLocale") == "de"
    with pytest.raises(SoapFault):
        caller("RpcSession.setMediaType", "PIGEON")
    with pytest.raises(SoapFault):
        caller("RpcSession.setLocale", "fr")


def test_version_needs_no_session(caller):
    """GetVersion answers without a session, at every service."""
    assert caller.bare("RpcSession", "getVersion") == caller.bare("RpcUnsubscribe", "getVersion")


def test_a_client_sees_only_its_own_lists(sim, control):
    """Another client's list does not exist for the caller."""
    control.add_client(8, "api", "secret")
    with pytest.raises(SoapFault, match="Recipient list does not exist"):
        Caller(sim).login(8).count(100)


def _while_held(control, caller, method, names, check):
    """Run `check` while calls named are held before their effect."""
    rules = [control.hold(method, before=True)]
    threads = [threading.Thread(target=lambda: caller(*names)) for _ in rules]
    for thread in threads:
        thread.start()
    try:
        assert control.wait_held(rules[0], 10)
        check()
    finally:
        control.release(rules[0])
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("refusal", ["fault", "http-503"])
def test_connection_limit(caller, control, refusal):
    """A call beyond the parallel limit is refused by a fault or by 503, and works later."""
    control.set_switches(connection_limit=1, refusal=refusal)

    def check():
        body = envelope("RpcSession", "getLocale", caller.session)
        status, answer = caller.post("RpcSession", body)
        assert status == (500 if refusal == "fault" else 503)
        assert (b"Too many parallel connections" in answer) == (refusal == "fault")

    _while_held(control, caller, "contains", ("RpcRecipient.contains", 100, "x"), check)
    assert caller("RpcSession.getLocale") == "en"


@pytest.mark.parametrize(("limit", "refused"), [(1, True), (10, False)])
def test_count_limit(caller, control, limit, refused):
    """Simultaneous getCount calls of a client have a limit of their own."""
    control.set_switches(count_limit=limit)

    def check():
        assert caller("RpcSession.getLocale") == "en"
        if refused:
            with pytest.raises(SoapFault, match="Too many simultaneous"):
                caller.count()
        else:
            assert caller.count() == 0

    _while_held(control, caller, "getCount", ("RpcRecipient.getCount", 100, 0), check)


def _until_answered(connection, body):
    """Call on one connection until the server has seen that the earlier ones are closed."""
    for _ in range(200):
        connection.request("POST", "/soap11/RpcSession", body)
        answer = connection.getresponse().read()
        if b"Too many" not in answer:
            assert understood(answer) == "en"
            return
        time.sleep(0.02)
    raise AssertionError("the closed connections are still counted")


@pytest.mark.parametrize("counts", ["calls", "sockets"])
def test_connection_counts(caller, control, counts):
    """An idle open connection counts against the limit only if sockets are counted."""
    control.set_switches(connection_limit=1, connection_counts=counts)
    connection = caller.connect()
    try:
        body = envelope("RpcSession", "getLocale", caller.session)
        _until_answered(connection, body)
        if counts == "sockets":
            with pytest.raises(SoapFault, match="Too many parallel"):
                caller("RpcSession.getLocale")
        else:
            assert caller("RpcSession.getLocale") == "en"
    finally:
        connection.close()


def test_stopping_does_not_wait_for_idle_connections(sim, caller):
    """An open connection is closed when the simulator stops."""
    parts = urlsplit(sim.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        caller.count()
        sim.stop()
        assert connection.recv(1) == b""
