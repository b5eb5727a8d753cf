"""The SOAP client against the simulator where time, limits and faults come into it."""

import threading
import traceback
from collections.abc import Iterator

import pytest

from etl.errors import EtlError, FarSideRefused, FarSideUnavailable
from etl.ports import Recipients
from etl.sandbox.authority import open_authority
from etl.sandbox.campaign import Campaign
from etl.wire.campaign import CampaignList
from etl.wire.retry import RetryingList
from etl.wire.session import CampaignAccess, CampaignSession
from etl.wire.soap import Call
from tests.contract.campaign_stage import MANDATOR, CampaignStage, campaign_stage
from tests.twins.clock import TwinClock

CANARY = "canary.erika@example.org"


@pytest.fixture
def clock() -> TwinClock:
    return TwinClock()


@pytest.fixture
def stage(tmp_path, clock: TwinClock) -> Iterator[CampaignStage]:
    with campaign_stage(tmp_path, clock) as stage:
        yield stage


@pytest.fixture
def kunden(stage: CampaignStage) -> int:
    return stage.new_list("Kunden", ["first"])


def rows(*names: str) -> Recipients:
    ids = [f"{name}@example.org" for name in names]
    return Recipients(("first",), ids, ids, [[name] for name in names])


def shown(error: BaseException) -> str:
    """Return everything an error could show, its whole chain included."""
    text = "".join(traceback.format_exception(error))
    following: BaseException | None = error
    while following is not None:
        text += repr(following) + str(following) + repr(vars(following))
        following = following.__cause__ or following.__context__
    return text


@pytest.mark.parametrize("verb", ["add", "clear", "purge", "count", "suppressed", "describe"])
def test_a_session_that_dies_in_the_middle_is_renewed(
    stage: CampaignStage, kunden: int, verb: str
) -> None:
    """Whichever call meets the dead session is carried out once, after a new login."""
    stage.port.add(kunden, rows("ann"))
    stage.control.expire_sessions()
    {
        "add": lambda: stage.port.add(kunden, rows("bob")),
        "clear": lambda: stage.port.clear(kunden),
        "purge": lambda: stage.port.purge(kunden),
        "count": lambda: stage.port.count(kunden),
        "suppressed": lambda: stage.port.suppressed(["1"], []),
        "describe": lambda: stage.port.describe(kunden),
    }[verb]()
    counts = stage.control.counts()
    assert counts["RpcSession.login"] == 2
    expected = {"add": {"ann@example.org", "bob@example.org"}, "clear": set()}
    assert set(stage.content(kunden)) == expected.get(verb, {"ann@example.org"})


def test_a_long_refill_outlives_its_sessions(
    stage: CampaignStage, kunden: int, clock: TwinClock
) -> None:
    """Renewed by our clock at fifteen minutes, no call ever meets a session of twenty."""
    for n in range(8):
        assert stage.port.add(kunden, rows(f"p{n}")) == [0]
        clock.advance(10 * 60)
        stage.control.advance(10 * 60)
    assert stage.port.count(kunden) == 8
    assert not any(call["fault"] for call in stage.control.calls())
    assert stage.control.counts()["RpcSession.login"] == 5


def test_a_slow_clock_of_ours_is_made_up_for(stage: CampaignStage, kunden: int) -> None:
    """When only Campaign's time goes on, the fault renews the session."""
    for n in range(4):
        assert stage.port.add(kunden, rows(f"p{n}")) == [0]
        stage.control.advance(21 * 60)
    assert stage.port.count(kunden) == 4


def test_a_fault_that_prints_its_arguments_shows_nobody(stage: CampaignStage, kunden: int) -> None:
    """Every address of a chunk is in the fault, and none in the error or its chain."""
    poisoned = rows("canary.ann", "canary.bob")
    stage.poison(kunden, poisoned.ids[1])
    with pytest.raises(FarSideRefused) as caught:
        stage.port.add(kunden, poisoned)
    session = stage.port._session
    login = session._login
    assert login is not None
    call = Call("Recipient", "addAll3", (login.id, kunden, 0), (poisoned.ids,) * 3, (), 0)
    message = session._soap._services["Recipient"].message(call, short_items=False)
    reply = session._soap._post.send("RpcRecipient", message, "addAll3", 100_000)
    assert b"canary.bob" in reply.content
    assert login.id.encode() in reply.content
    for secret in ("canary", login.id, "secret"):
        assert secret not in shown(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        "Cannot convert {value} for call: x='{value}'",
        "Value '{value}' refused",
        "{value} is unknown; caused by: [0123456789abcdef,1,u] {value} for call: y='{value}'",
    ],
)
def test_a_fault_with_odd_words_shows_nobody(stage: CampaignStage, kunden: int, words: str) -> None:
    """Wherever an address stands among the words, it does not reach the error."""
    stage.control.schedule("addAll3", "fault", text=words.format(value=CANARY))
    people = Recipients(("first",), [CANARY], [CANARY], [["Canary Straße"]])
    with pytest.raises(FarSideRefused) as caught:
        stage.port.add(kunden, people)
    assert "canary" not in shown(caught.value).lower()


@pytest.mark.parametrize(("user", "password"), [("api", "wrong-canary"), ("nobody", "secret")])
def test_a_wrong_login_is_refused(
    stage: CampaignStage, kunden: int, user: str, password: str
) -> None:
    """Wrong user or password: campaign-login, and the password shows nowhere."""
    access = stage.port._session.access
    wrong = CampaignAccess(MANDATOR, user, password, access.endpoint, access.ca_file)
    session = CampaignSession(wrong, TwinClock())
    with pytest.raises(FarSideRefused) as caught:
        CampaignList(session).count(kunden)
    session.close()
    assert caught.value.code == "campaign-login"
    assert "canary" not in shown(caught.value)


def test_an_untrusted_authority_gets_no_password(tmp_path) -> None:
    """With another authority in ca_file not even the login is sent."""
    other = open_authority(tmp_path / "other").ca_file
    with Campaign(tls=tmp_path / "theirs") as sim:
        session = CampaignSession(CampaignAccess(1, "api", "secret", sim.url, other), TwinClock())
        with pytest.raises(FarSideRefused, match="campaign-certificate"):
            CampaignList(session).clear(12)
        session.close()
        assert sim.control.calls() == []


def test_an_operation_that_is_not_allowed_is_refused(stage: CampaignStage, kunden: int) -> None:
    """A user without the right to clear is told so, by the operation's name."""
    stage.control.add_client(
        12, "reader", "secret", operations=["RpcSession.*", "RpcRecipientList.*"]
    )
    stage.control.add_list(12, 9000, "Andere", attributes={})
    access = stage.port._session.access
    reader = CampaignAccess(12, "reader", "secret", access.endpoint, access.ca_file)
    session = CampaignSession(reader, TwinClock())
    with pytest.raises(FarSideRefused, match="call-refused") as caught:
        CampaignList(session).clear(9000)
    session.close()
    assert caught.value.facts["call"] == "clear"


@pytest.mark.parametrize("refusal", ["fault", "http-503"])
def test_a_crowd_is_waited_for(stage: CampaignStage, kunden: int, refusal: str) -> None:
    """Refused at the limit of calls, by fault or by 503, a question is asked again later."""
    stage.port.count(kunden)
    stage.control.set_switches(count_limit=1, refusal=refusal)
    rule = stage.control.hold("getCount")
    access = stage.port._session.access
    other = CampaignSession(access, TwinClock())
    holder = threading.Thread(target=CampaignList(other).count, args=(kunden,))
    holder.start()
    assert stage.control.wait_held(rule)
    with pytest.raises(FarSideUnavailable, match="campaign-unreachable") as caught:
        stage.port.count(kunden)
    assert caught.value.in_doubt

    class Patient(TwinClock):
        """Let the other one go while it waits."""

        def sleep(self, seconds: float) -> None:
            """Release the held call, then wait; a mere look for a stop is no wait."""
            if not seconds:
                return
            stage.control.release(rule)
            holder.join()
            super().sleep(seconds)

    waiting = Patient()
    assert RetryingList(stage.port, waiting).count(kunden) == 0
    assert waiting.sleeps == [1.0]
    other.close()


@pytest.mark.parametrize(
    ("what", "facts"),
    [
        ("truncated", {}),
        ("drop-before", {}),
        ("drop-after", {}),
        ("http", {"status": 503, "body": "<html>busy</html>"}),
        ("http", {"status": 502, "body": ""}),
    ],
)
def test_whatever_happens_to_the_answer_clear_is_in_doubt(
    stage: CampaignStage, kunden: int, what: str, facts: dict[str, object]
) -> None:
    """Cut off, dropped or replaced by a gateway's page: unavailable, in doubt, called once."""
    stage.control.schedule("clear", what, **facts)
    with pytest.raises(FarSideUnavailable) as caught:
        RetryingList(stage.port, TwinClock()).clear(kunden)
    assert caught.value.in_doubt
    assert stage.control.counts()["RpcRecipient.clear"] == 1


def test_an_answer_that_comes_too_late_is_in_doubt(tmp_path) -> None:
    """The effect happens, the answer is awaited no longer than a call may take."""
    with campaign_stage(tmp_path) as stage:
        kunden = stage.new_list("Kunden", ["first"])
        access = stage.port._session.access
        hasty = CampaignAccess(
            MANDATOR, "api", "secret", access.endpoint, access.ca_file, call_seconds=2
        )
        session = CampaignSession(hasty, TwinClock())
        stage.control.schedule("addAll3", "delay-answer", seconds=6)
        with pytest.raises(FarSideUnavailable, match=r"within 2 s") as caught:
            CampaignList(session).add(kunden, rows("ann"))
        assert caught.value.in_doubt
        assert stage.port.count(kunden) == 1
        session.close()


def test_a_server_that_is_gone_leaves_no_doubt(tmp_path, clock: TwinClock) -> None:
    """After the simulator's end, clear finds nobody to talk to, tries five times and gives up."""
    with campaign_stage(tmp_path) as stage:
        access = stage.port._session.access
    session = CampaignSession(access, TwinClock())
    with pytest.raises(FarSideUnavailable) as caught:
        RetryingList(CampaignList(session), clock).clear(12)
    session.close()
    assert isinstance(caught.value, EtlError)
    assert not caught.value.in_doubt
    assert clock.sleeps == [1, 2, 4, 8]
