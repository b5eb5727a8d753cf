"""Unsubscriptions, blocklist and bounce counters of a client."""

import pytest

from tests.unit.sandbox.caller import SoapFault

ANN, BOB = "ann@example.org", "bob@example.org"


def test_unsubscriptions(caller):
    """People are unsubscribed for all lists, asked for one by one or together, and taken back."""
    caller("RpcUnsubscribe.add", 100, ANN)
    caller("RpcUnsubscribe.addAll", 0, [BOB, "cy"])
    assert caller("RpcUnsubscribe.containsAll", [ANN, "x", BOB]) == [True, False, True]
    assert caller("RpcUnsubscribe.getCount") == 3
    caller("RpcUnsubscribe.remove", ANN)
    caller("RpcUnsubscribe.removeAll", [BOB])
    assert caller("RpcUnsubscribe.contains", ANN) is False
    assert caller("RpcUnsubscribe.getCount") == 1
    with pytest.raises(SoapFault, match="No unsubscribe found"):
        caller("RpcUnsubscribe.remove", ANN)


def test_unsubscribing_leaves_people_in_their_list(caller, control):
    """Somebody who unsubscribes stays visible in the list."""
    caller.add([ANN])
    control.unsubscribe(7, [ANN])
    assert caller.count() == 1
    control.resubscribe(7, [ANN])
    assert caller("RpcUnsubscribe.contains", ANN) is False


def test_stores_are_kept_per_media_type(caller, control):
    """An unsubscription from e-mail is none from text messages."""
    control.unsubscribe(7, [ANN])
    caller("RpcSession.setMediaType", "SMS")
    assert caller("RpcUnsubscribe.contains", ANN) is False


def test_blocklist_contains_is_exact_and_is_blacklisted_matches(caller):
    """Contains asks for the entry itself, isBlacklisted for what it covers."""
    caller("RpcBlacklist.add", "*@blocked.test", "asked")
    assert caller("RpcBlacklist.contains", "x@blocked.test") is False
    assert caller("RpcBlacklist.contains", "*@blocked.test") is True
    assert caller("RpcBlacklist.isBlacklisted", "x@blocked.test") is True
    assert caller("RpcBlacklist.areBlacklisted", ["x@blocked.test", ANN]) == [True, False]
    assert caller("RpcBlacklist.containsAll", ["*@blocked.test", ANN]) == [True, False]
    assert caller("RpcBlacklist.getFirstMatchingEntry", "x@blocked.test") == "*@blocked.test"
    assert caller("RpcBlacklist.getFirstMatchingEntry", ANN) is None
    assert caller("RpcBlacklist.getReason", "*@blocked.test") == "asked"


@pytest.mark.parametrize(
    ("entry", "address", "hit"),
    [
        ("a?c@x.test", "abc@x.test", True),
        ("a?c@x.test", "ac@x.test", False),
        ("*", "anybody@x.test", True),
        (r"a\*@x.test", "a*@x.test", True),
        (r"a\*@x.test", "ab@x.test", False),
        ("a.b@x.test", "aXb@x.test", False),
        ("Ann@X.test", "ann@x.TEST", True),
    ],
)
def test_wildcards(caller, entry, address, hit):
    """`*` and `?` match, a backslash makes them plain, case does not count."""
    caller("RpcBlacklist.add", entry, "")
    assert caller("RpcBlacklist.isBlacklisted", address) is hit


def test_blocklist_as_a_whole(caller, control):
    """All entries can be listed, counted, paged and removed."""
    caller("RpcBlacklist.addAll", ["a@x.test", "b@x.test", "c@x.test"], ["r1", "r2", "r3"])
    assert caller("RpcBlacklist.getAllEntries") == ["a@x.test", "b@x.test", "c@x.test"]
    assert caller("RpcBlacklist.getCount") == 3
    page = caller("RpcBlacklist.getAllAdvanced", 1, 2)
    assert [row[2:4] for row in page] == [["b@x.test", "r2"], ["c@x.test", "r3"]]
    flat = caller("RpcBlacklist.getAllAdvancedFlat", 1, 2)
    assert flat == [value for row in page for value in row]
    control.set_switches(paging="pages")
    assert len(caller("RpcBlacklist.getAllAdvanced", 1, 2)) == 1
    caller("RpcBlacklist.remove", "b@x.test")
    control.unblock(7, ["a@x.test"])
    assert caller("RpcBlacklist.getAllEntries") == ["c@x.test"]
    with pytest.raises(SoapFault):
        caller("RpcBlacklist.remove", "b@x.test")
    with pytest.raises(SoapFault):
        caller("RpcBlacklist.getReason", "b@x.test")
    with pytest.raises(SoapFault):
        caller("RpcBlacklist.addAll", ["d@x.test"], [])


def test_bounce_counters(caller, control):
    """Counters are kept per category; thresholds are 3 hard and 5 soft."""
    control.bounce(7, ANN, "hardbounce", 2)
    control.bounce(7, ANN, "softbounce", 1)
    assert caller("RpcResponse.getBounceCounter", ANN, "hardbounce") == 2
    assert caller("RpcResponse.getBounceCounter", ANN, "autoresponder") == 0
    assert caller("RpcResponse.getBounceCounterThreshold", "hardbounce") == 3
    assert caller("RpcResponse.getBounceCounterThreshold", "softbounce") == 5
    assert caller("RpcResponse.isBounceCounterThresholdExeeded", ANN) is False
    control.bounce(7, ANN)
    assert caller("RpcResponse.isBounceCounterThresholdExeeded", ANN) is True
    with pytest.raises(SoapFault):
        caller("RpcResponse.getBounceCounter", ANN, "no category")


def test_there_are_no_opt_in_processes(caller):
    """GetIds of RpcOptinProcess answers an empty array."""
    assert caller("RpcOptinProcess.getIds") == []
