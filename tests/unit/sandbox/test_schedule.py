"""Faults and holds put between calls, the call log, and the control interface itself."""

import http.client
import json
import threading
import time

import pytest

from etl.sandbox.campaign import Campaign
from etl.sandbox.control import ControlError
from tests.unit.sandbox.caller import Caller, SoapFault, envelope
from tests.unit.sandbox.conftest import furnish

ANN, BOB = "ann@example.org", "bob@example.org"


def _people(control):
    return [person["id"] for person in control.list_content(100)]


def _in_thread(task):
    outcome = []

    def run():
        try:
            outcome.append(task())
        except (OSError, http.client.HTTPException, SoapFault) as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def test_a_fault_meets_the_nth_call_from_now(caller, control):
    """The second addAll3 faults without effect, those around it do not."""
    control.schedule("addAll3", "fault", nth=2, text="Database is busy")
    assert caller.add([ANN]) == [0]
    with pytest.raises(SoapFault, match="WebserviceImplException: Database is busy"):
        caller.add([BOB])
    assert caller.add([BOB]) == [0]
    assert [entry["outcome"] for entry in control.calls()[-3:]] == ["answer", "fault", "answer"]


def test_absolute_counts_from_the_start(caller, control):
    """A call number may count from the simulator's start."""
    caller.count()
    control.schedule("getCount", "fault", nth=2, absolute=True)
    with pytest.raises(SoapFault):
        caller.count()


def test_times_and_filters(caller, control):
    """A rule can last, and be for one list only; taking it away ends it."""
    rule = control.schedule("getCount", "fault", times=None, list_id=200)
    for _ in range(3):
        with pytest.raises(SoapFault):
            caller.count(200)
    assert caller.count(100) == 0
    control.unschedule(rule)
    assert caller.count(200) == 0
    control.schedule("getCount", "fault", times=2)
    for _ in range(2):
        with pytest.raises(SoapFault):
            caller.count()
    assert caller.count() == 0


def test_an_http_error_page(caller, control):
    """A proxy's error page takes the place of an answer."""
    control.schedule("clear", "http", status=502, body="<html>Bad gateway</html>")
    caller.add([ANN])
    body = envelope("RpcRecipient", "clear", caller.session, 100)
    assert caller.post("RpcRecipient", body) == (502, b"<html>Bad gateway</html>")
    assert _people(control) == [ANN]
    assert control.calls()[-1]["outcome"] == "http"


@pytest.mark.parametrize(
    ("what", "stored"), [("drop-before", False), ("drop-after", True), ("truncated", True)]
)
def test_lost_answers(caller, control, what, stored):
    """The connection ends before the effect, after it, or in the middle of the answer."""
    control.schedule("addAll3", what)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        caller.add([ANN])
    entry = control.calls()[-1]
    assert (entry["outcome"], entry["applied"]) == ("lost", stored)
    assert _people(control) == ([ANN] if stored else [])
    assert caller.add([ANN]) == [5 if stored else 0]


@pytest.mark.parametrize("what", ["delay", "delay-answer"])
def test_delays(caller, control, what):
    """An answer can be late, with the effect late too or not."""
    control.schedule("addAll3", what, seconds=0.3)
    started = time.time()
    assert caller.add([ANN]) == [0]
    ended, applied = time.time(), control.calls()[-1]["at_ms"] / 1000
    late = applied - started if what == "delay" else ended - applied
    assert late >= 0.299


def test_a_session_can_expire_at_a_call(caller, control):
    """A session dies in the middle of a series of calls."""
    control.schedule("addAll3", "expire-session", nth=2)
    assert caller.add([ANN]) == [0]
    with pytest.raises(SoapFault, match="Invalid sessionId"):
        caller.add([BOB])
    assert caller.login().add([BOB]) == [0]


@pytest.mark.parametrize(("what", "code"), [("verb-before", 2), ("verb-after", 0)])
def test_something_happens_around_a_call(caller, control, what, code):
    """A control verb runs just before or just after a call."""
    control.schedule("addAll3", what, verb="unsubscribe", arguments={"mandator": 7, "ids": [ANN]})
    assert caller.add([ANN]) == [code]
    assert caller("RpcUnsubscribe.contains", ANN) is True


@pytest.mark.parametrize("before", [True, False])
def test_a_call_can_be_held(caller, control, before):
    """A call stops before its effect, or after it and before its answer, until released."""
    caller.add([ANN])
    rule = control.hold("clear", before=before)
    assert control.wait_held(rule, timeout=0.05) is False
    thread, outcome = _in_thread(lambda: caller("RpcRecipient.clear", 100))
    assert control.wait_held(rule, timeout=10) is True
    assert _people(control) == ([ANN] if before else [])
    assert (control.counts().get("RpcRecipient.clear") == 1) is not before
    assert outcome == []
    control.release(rule)
    thread.join()
    assert outcome == [None]
    assert _people(control) == []


def test_stopping_lets_a_held_call_go():
    """A held call does not keep the simulator from stopping."""
    with Campaign() as sim:
        caller = Caller(furnish(sim)).login()
        rule = sim.control.hold("getCount")
        thread, outcome = _in_thread(caller.count)
        assert sim.control.wait_held(rule, timeout=10)
        started = time.monotonic()
    thread.join()
    assert time.monotonic() - started < 5
    assert len(outcome) == 1


def test_waiting_for_a_call(caller, control):
    """wait_for_call returns when the nth call is logged, and None when it is not in time."""
    thread, found = _in_thread(lambda: control.wait_for_call("getCount", nth=2, timeout=10))
    caller.count()
    assert control.wait_for_call("getCount", nth=2, timeout=0.05) is None
    caller.count(200)
    thread.join()
    assert found[0]["list_id"] == 200
    seq = found[0]["seq"]
    assert control.wait_for_call("getCount", since=seq, timeout=0.05) is None
    assert control.wait_for_call("getCount", list_id=200, timeout=1)["seq"] == seq


def test_the_log_tells_each_call_without_people(tmp_path):
    """The log holds number, time, method, client, list, rows and codes, and nobody's address."""
    path = tmp_path / "calls.jsonl"
    with Campaign(call_log=path) as sim:
        caller = Caller(furnish(sim)).login()
        caller.add([ANN, ANN, "bad"])
        with pytest.raises(SoapFault):
            caller("RpcRecipient.remove", 100, BOB)
        entries = sim.control.calls()
        assert [json.loads(line) for line in path.read_text().splitlines()] == entries
        assert sim.control.calls(since=2) == entries[2:]
    assert [entry["seq"] for entry in entries] == [1, 2, 3]
    assert all(abs(entry["at_ms"] - time.time() * 1000) < 60_000 for entry in entries)
    added = {"service": "RpcRecipient", "method": "addAll3", "mandator": 7, "list_id": 100}
    added |= {"rows": 3, "outcome": "answer", "applied": True, "fault": None}
    assert added | {"codes": {"0": 1, "1": 1, "5": 1}} == {
        name: value for name, value in entries[1].items() if name not in {"seq", "at_ms"}
    }
    assert (entries[2]["outcome"], entries[2]["fault"]) == ("fault", "absent-recipient")
    assert "example.org" not in path.read_text()
    assert caller.session not in path.read_text()


def test_bodies_are_kept_only_on_demand():
    """With `bodies` the log holds the requests' text."""
    with Campaign(bodies=True) as sim:
        Caller(furnish(sim)).login().add([ANN])
        assert ANN in sim.control.calls()[-1]["body"]


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("dance", {}),
        ("clock", {"faster": True}),
        ("list_content", {"list_id": 999}),
        ("add_list", {"mandator": 7, "list_id": 100, "name": "x", "attributes": {}}),
        ("add_list", {"mandator": 7, "list_id": 1, "name": "x", "attributes": {"a": "COLOUR"}}),
        ("add_list", {"mandator": 9, "list_id": 1, "name": "x", "attributes": {}}),
        ("set_list", {"list_id": 100, "kind": "odd"}),
        ("schedule", {"method": "clear", "what": "explode"}),
        ("schedule", {"method": "clear", "what": "verb-after"}),
        ("set_switches", {"no_such_switch": 1}),
        ("set_switches", {"refusal": "shouting"}),
        ("set_switches", {"sliding_session": "yes"}),
        ("set_switches", {"batch_limit": 1.5}),
        ("set_switches", {"open_columns": "time"}),
    ],
)
def test_what_the_control_interface_refuses(control, verb, arguments):
    """A verb that does not exist, or arguments that do not fit, are refused with words."""
    with pytest.raises(ControlError, match=verb):
        control.ask(verb, **arguments)


def test_switches_can_be_read_and_set(control):
    """Switches stand as set, all others as before."""
    before = control.switches()
    control.set_switches(code2_stores=True, count_lag_seconds=2)
    assert control.switches() == before | {"code2_stores": True, "count_lag_seconds": 2.0}
