"""How answers look on the wire under each switch."""

import re

import pytest
from lxml import etree

from tests.unit.sandbox.caller import SoapFault, envelope, understood

ANN = "ann@example.org"


def _bytes(caller, name, *values):
    service, method = name.split(".")
    return caller.post(service, envelope(service, method, caller.session, *values))[1]


def _add(caller, ids):
    return _bytes(caller, "RpcRecipient.addAll3", 100, 0, ids, ids, [], [[] for _ in ids])


@pytest.mark.parametrize("prefix", ["soapenc", "xsd"])
def test_string_type(caller, control, prefix):
    """Strings and arrays of strings are of soapenc's or of xsd's type."""
    control.set_switches(string_type=prefix)
    assert f'xsi:type="{prefix}:string"'.encode() in _bytes(caller, "RpcSession.getLocale")
    names = _bytes(caller, "RpcRecipientList.getAttributeNames", 100, "en")
    assert f'soapenc:arrayType="{prefix}:string[11]"'.encode() in names


@pytest.mark.parametrize(("sharing", "references"), [("each", 4), ("shared", 2)])
def test_multiref(caller, control, sharing, references):
    """Each number has a multiRef of its own, or equal ones share it."""
    control.set_switches(multiref=sharing)
    answer = _add(caller, [ANN, "bad", "bad", "bob@example.org"])
    assert answer.count(b"<multiRef") == references
    assert understood(answer) == [0, 1, 1, 0]


@pytest.mark.parametrize("order", ["shuffled", "ordered"])
def test_multiref_order(caller, control, order):
    """MultiRef elements come in another order than their ids, or in the same."""
    control.set_switches(multiref_order=order)
    answer = _bytes(caller, "RpcUnsubscribe.containsAll", ["a", "b", "c", "d", "e"])
    numbers = [int(number) for number in re.findall(rb'<multiRef id="id(\d+)"', answer)]
    assert sorted(numbers) == [0, 1, 2, 3, 4]
    assert (numbers == [0, 1, 2, 3, 4]) == (order == "ordered")


@pytest.mark.parametrize("style", ["multiref", "inline"])
def test_add_codes(caller, control, style):
    """addAll3's codes stand in multiRefs or inline; other numbers always in multiRefs."""
    control.set_switches(add_codes=style)
    answer = _add(caller, [ANN, "bad"])
    assert (b"<multiRef" in answer) == (style == "multiref")
    assert (b'<addAll3Return xsi:type="xsd:int">1<' in answer) == (style == "inline")
    assert understood(answer) == [0, 1]
    assert b"<multiRef" in _bytes(caller, "RpcRecipient.getCount", 100, 0)


@pytest.mark.parametrize("style", ["array", "nil"])
def test_empty_array(caller, control, style):
    """An answer without rows is an empty array, or nil."""
    control.set_switches(empty_array=style)
    answer = _bytes(caller, "RpcBlacklist.getAllEntries")
    assert (b'"soapenc:string[0]"' in answer) == (style == "array")
    assert understood(answer) == ([] if style == "array" else None)


@pytest.mark.parametrize("pairs", [False, True])
def test_surrogate_pairs(caller, control, pairs):
    """A character beyond U+FFFF is one entity, or two that no XML parser takes."""
    control.set_switches(surrogate_pairs=pairs)
    control.put_recipients(100, [{"id": ANN, "attributes": {"firstname": "ä😀"}}])
    answer = _bytes(caller, "RpcRecipient.getAll", 100, ["firstname"])
    assert answer.isascii()
    if pairs:
        assert b"&#xe4;&#xd83d;&#xde00;" in answer
        with pytest.raises(etree.XMLSyntaxError):
            understood(answer)
    else:
        assert b"&#xe4;&#x1f600;" in answer
        assert understood(answer) == [["ä😀"]]


@pytest.mark.parametrize("trace", [False, True])
def test_fault_stack_trace(caller, control, trace):
    """A fault's detail holds the host name, and a stack trace as in 2015 by the switch."""
    control.set_switches(fault_stack_trace=trace)
    answer = _bytes(caller, "RpcRecipient.remove", 100, "x")
    assert (b"stackTrace" in answer) is trace
    assert b">api.broadmail.de</ns1:hostname>" in answer
    with pytest.raises(SoapFault, match="does not exist"):
        understood(answer)
