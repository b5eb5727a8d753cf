"""A session's life: log in, renew by the clock and on its fault, log out; no secret in any text."""

import contextlib
import logging
import traceback
from collections.abc import Iterator

import pytest

from etl.errors import EtlError, FarSideRefused, FarSideUnavailable
from etl.ports import Recipients
from etl.wire.campaign import CampaignList, CampaignResponses
from etl.wire.session import CampaignAccess, CampaignSession
from tests.servers.answering import envelope, http
from tests.servers.scripted import Script, faulted, ok, playing
from tests.twins.clock import TwinClock

CLASS = "broadmail.api.soap11.impl.WebserviceImplException: "
SID = "0aaa0000bbbb0001"
LOST = faulted(f"{CLASS}[{SID},4711,api] Invalid sessionId for call: sessionId='{SID}'")


class Talk:
    """A session with a scripted server, its list and its clock."""

    def __init__(self, script: Script, url: str) -> None:
        self.script = script
        self.clock = TwinClock()
        self.access = CampaignAccess(4711, "api", "pass-canary", url, read_seconds=2)
        self.session = CampaignSession(self.access, self.clock)
        self.list = CampaignList(self.session)

    def sid_of(self, request: bytes) -> str:
        """Return the session id a request carries."""
        return request.partition(b"<in0>")[2].partition(b"</in0>")[0].decode()


@pytest.fixture
def server():
    with playing(Script()) as server:
        yield server


@pytest.fixture
def talk(server) -> Iterator[Talk]:
    talk = Talk(server.answer, server.url)
    talk.script.says("getCount", ok("getCount", 42))
    yield talk
    talk.script.says("logout", None)
    talk.session.close()


def error_of(talk: Talk, verb) -> EtlError:
    """Run a verb that fails; check that none of the secrets shows anywhere; return the error."""
    with pytest.raises(EtlError) as caught:
        verb()
    error = caught.value
    shown = "".join(traceback.format_exception(error, chain=True)) + repr(error) + str(error.facts)
    while error is not None:
        shown += repr(error) + str(error) + repr(error.args) + repr(vars(error))
        error = error.__cause__ or error.__context__
    for secret in (SID, "0aaa0000bbbb", "pass-canary", "canary", "CANARY"):
        assert secret not in shown
    return caught.value


def test_the_first_call_logs_in_and_chooses_the_channel(talk: Talk, server) -> None:
    """No call before it is needed; then login, media type, and the call with the session id."""
    assert server.requests == []
    assert talk.list.count(12) == 42
    assert talk.script.calls == ["login", "setMediaType", "getCount"]
    assert b"<in0>4711</in0><in1>api</in1><in2>pass-canary</in2>" in server.requests[0]
    assert f"<in0>{SID}</in0><in1>EMAIL</in1>".encode() in server.requests[1]
    assert f"<in0>{SID}</in0><in1>12</in1><in2>0</in2>".encode() in server.requests[2]


def test_a_session_is_shared_until_it_is_old(talk: Talk) -> None:
    """Up to fifteen minutes every call uses the same login, lists and responses alike."""
    talk.script.says("getCurrentTime", ok("getCurrentTime", 1795510800000, "xsd:long"))
    talk.list.count(12)
    talk.clock.advance(15 * 60 - 1)
    assert CampaignResponses(talk.session).now() == 1795510800000
    assert talk.script.calls.count("login") == 1


def test_a_session_is_renewed_at_fifteen_minutes(talk: Talk, server) -> None:
    """A quarter of an hour after its login a session is replaced, used or not."""
    for _ in range(3):
        talk.list.count(12)
        talk.clock.advance(5 * 60)
    talk.list.count(12)
    assert talk.script.calls.count("login") == 2
    assert talk.sid_of(server.requests[-1]) == "0aaa0000bbbb0002"


def test_a_call_with_a_dead_session_is_made_once_more(talk: Talk, server) -> None:
    """A refused session id means that nothing was done, so the call follows a new login."""
    talk.script.says("clear", LOST, http(envelope("<clearResponse/>")))
    talk.list.clear(12)
    assert talk.script.calls == ["login", "setMediaType", "clear"] * 2
    assert talk.sid_of(server.requests[-1]) == "0aaa0000bbbb0002"


def test_two_dead_sessions_are_enough(talk: Talk) -> None:
    """When the new session is refused as well, the far side is the trouble, with no doubt left."""
    talk.script.says("clear", LOST)
    error = error_of(talk, lambda: talk.list.clear(12))
    assert isinstance(error, FarSideUnavailable)
    assert not error.in_doubt
    assert talk.script.calls.count("clear") == 2


def test_a_recipient_named_like_the_fault_is_a_refusal(talk: Talk) -> None:
    """Words in an argument do not keep a chunk from being refused, and so halved."""
    words = f"{CLASS}[{SID},4711,api] Error adding for call: x='Invalid sessionId', y='canary'"
    talk.script.says("addAll3", faulted(words))
    rows = Recipients(("name",), ["a@example.org"], ["a@example.org"], [["Invalid sessionId"]])
    error = error_of(talk, lambda: talk.list.add(12, rows))
    assert isinstance(error, FarSideRefused)
    assert error.facts == {"call": "addAll3", "detail": "Error adding"}


@pytest.mark.parametrize(
    "words",
    ["Invalid credentials.", f"[{SID},1,api] User api not allowed from here for call: x='canary'"],
)
def test_a_refused_login_is_a_refusal(talk: Talk, words: str) -> None:
    """Whatever the words, this user cannot log in; nobody tries again by himself."""
    talk.script.says("login", faulted(CLASS + words))
    error = error_of(talk, lambda: talk.list.count(12))
    assert isinstance(error, FarSideRefused)
    assert error.code == "campaign-login"


@pytest.mark.parametrize("reply", [None, http(b"<html/>", 503, media_type="text/html")])
def test_a_lost_login_leaves_no_doubt_about_the_call(talk: Talk, reply: bytes | None) -> None:
    """Clear was never sent when its login got no answer."""
    talk.script.says("login", reply)
    error = error_of(talk, lambda: talk.list.clear(12))
    assert isinstance(error, FarSideUnavailable)
    assert not error.in_doubt
    assert "clear" not in talk.script.calls


def test_a_login_without_an_id_is_no_login(talk: Talk) -> None:
    """An empty session id is never used."""
    talk.script.says("login", http(envelope("<loginResponse><loginReturn/></loginResponse>")))
    error = error_of(talk, lambda: talk.list.count(12))
    assert error.code == "campaign-answer"
    assert talk.script.calls == ["login"]


def test_closing_logs_out_and_the_next_call_logs_in(talk: Talk) -> None:
    """After the log-out whoever shares the session gets a new one."""
    talk.list.count(12)
    talk.list.close()
    talk.list.close()
    talk.list.count(12)
    calls = [call for call in talk.script.calls if call in ("login", "logout")]
    assert calls == ["login", "logout", "login"]


@pytest.mark.parametrize("reply", [None, LOST, http(b"", 503)])
def test_a_log_out_never_fails(talk: Talk, reply: bytes | None) -> None:
    """Whatever the far side says to a log-out, closing is done."""
    talk.script.says("logout", reply)
    talk.list.count(12)
    talk.list.close()


GARBAGE = [
    None,
    http(b"<html>canary</html>", 503, media_type="text/html"),
    http(b"<html>canary</html>", 200),
    http(b"<soapenv:Envelope>canary"),
    http(b"canary"),
    http(b""),
    http(b"", 500),
    http(envelope("canary")),
    http(envelope("<clearResponse>"), 200),
    http(envelope("<x>canary</x>"), 500),
    http(b'<!DOCTYPE x [<!ENTITY a "canary">]><x>&a;</x>'),
]


@pytest.mark.parametrize("reply", GARBAGE, ids=range(len(GARBAGE)))
def test_a_lost_answer_to_clear_is_in_doubt(talk: Talk, reply: bytes | None) -> None:
    """Without an answer that can be read nobody knows whether the list is empty."""
    talk.script.says("clear", reply)
    error = error_of(talk, lambda: talk.list.clear(12))
    assert isinstance(error, FarSideUnavailable)
    assert error.in_doubt
    assert talk.script.calls.count("clear") == 1


@pytest.mark.parametrize("reply", GARBAGE, ids=range(len(GARBAGE)))
def test_a_lost_answer_to_add_is_in_doubt(talk: Talk, reply: bytes | None) -> None:
    """Without codes nobody knows which rows are in the list."""
    talk.script.says("addAll3", reply)
    rows = Recipients(("name",), ["canary@example.org"], ["canary@example.org"], [["CANARY"]])
    error = error_of(talk, lambda: talk.list.add(12, rows))
    assert isinstance(error, FarSideUnavailable)
    assert error.in_doubt
    assert talk.script.calls.count("addAll3") == 1


def test_a_fault_shows_nothing_personal(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    """Session id, address and values of a fault are in no text of the error and in no log."""
    words = (
        f"{CLASS}[{SID},4711,api] Cannot add canary@example.org (CANARY Straße 1) "
        f"for call: sessionId='{SID}', recipientIds='[canary@example.org]', values='[CANARY]'"
    )
    talk.script.says("addAll3", faulted(words))
    rows = Recipients(
        ("street",), ["canary@example.org"], ["canary@example.org"], [["CANARY Straße 1"]]
    )
    with caplog.at_level(logging.DEBUG):
        error = error_of(talk, lambda: talk.list.add(12, rows))
    assert error.facts["detail"] == "Cannot add … (…)"
    assert not any(secret in caplog.text for secret in (SID, "canary", "CANARY"))


def test_no_secret_in_any_repr(talk: Talk) -> None:
    """Access, session and list can be shown without giving anything away."""
    talk.list.count(12)
    shown = f"{talk.access!r} {talk.session!r} {talk.session._login!r} {talk.list!r}"
    assert "4711" in shown
    assert "canary" not in shown
    assert SID not in shown


def test_an_unsafe_endpoint_makes_no_session() -> None:
    """A session over plain http beyond loopback is refused at construction."""
    with pytest.raises(ValueError, match="https"):
        CampaignSession(CampaignAccess(1, "a", "b", "http://api.example.org/"), TwinClock())


def test_an_unreachable_server_is_not_in_doubt() -> None:
    """Nobody listens, so clear was not sent."""
    access = CampaignAccess(1, "a", "b", "http://127.0.0.1:9/", connect_seconds=1)
    session = CampaignSession(access, TwinClock())
    with contextlib.closing(session), pytest.raises(FarSideUnavailable) as caught:
        CampaignList(session).clear(1)
    assert not caught.value.in_doubt
