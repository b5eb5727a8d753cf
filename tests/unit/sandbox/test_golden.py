"""The bytes of answers and the reading of calls against hand-written examples."""

import pytest

from etl.sandbox.axis_read import read_call
from etl.sandbox.axis_write import write_answer, write_fault
from etl.sandbox.faults import Fault
from etl.sandbox.operations import services
from etl.sandbox.switches import changed, default_switches
from tests.unit.sandbox.caller import golden, understood

ORDERED = changed(default_switches(), {"multiref_order": "ordered"})


@pytest.mark.parametrize(
    ("service", "method", "value", "file"),
    [
        ("RpcSession", "login", "0f3a9c27d1b8e45a", "reply-login.xml"),
        ("RpcRecipient", "clear", None, "reply-clear.xml"),
        ("RpcRecipient", "getCount", 42, "reply-getCount.xml"),
        ("RpcRecipient", "getAttributes", ["Müller & Co", "", None], "reply-getAttributes.xml"),
        ("RpcRecipient", "getAll", [["Ann", "Meyer"], ["Cy", None]], "reply-getAll.xml"),
        (
            "RpcRecipientList",
            "getAllIds",
            [100000000001, 100000000002],
            "reply-getAllIds-ordered.xml",
        ),
    ],
)
def test_answers_are_the_recorded_bytes(service, method, value, file):
    """Strings inline, numbers as multiRef, nil apart from empty: byte for byte as recorded."""
    assert write_answer(services()[service][method], value, ORDERED) == golden(file)


def test_fault_before_login_is_the_recorded_bytes(sim, caller):
    """A bad login answers 500 with the recorded words and no bracket."""
    body = b"".join(
        [
            b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><login>',
            b"<in0>7</in0><in1>api</in1><in2>wrong</in2></login></s:Body></s:Envelope>",
        ]
    )
    assert caller.post("RpcSession", body) == (500, golden("fault-login.xml"))


def test_fault_with_session_is_the_recorded_bytes(caller):
    """A fault after login names session, client, user and the arguments, as recorded."""
    body = golden("call-by-position.xml").decode()
    body = body[: body.index("<ns0:")] + (
        '<ns0:remove xmlns:ns0="urn:api.broadmail.de/soap11/RpcRecipient"><in0>SESSION</in0>'
        "<in1>100</in1><in2>nobody@example.org</in2></ns0:remove>"
        "</soap-env:Body></soap-env:Envelope>"
    )
    status, answer = caller.post("RpcRecipient", body.replace("SESSION", caller.session).encode())
    expected = golden("fault-remove.xml").replace(b"0f3a9c27d1b8e45a", caller.session.encode())
    assert (status, answer) == (500, expected)


def test_call_by_name_with_session_last(caller, control):
    """Arguments by documented name are understood in any order, array items of any name."""
    caller.add(["ann@example.org"])
    body = golden("call-by-name-session-last.xml").replace(b"SESSION", caller.session.encode())
    assert caller.post("RpcRecipient", body)[0] == 200
    assert control.list_content(100)[0]["attributes"] == {"lastname": "Meyer"}


def test_call_by_position(caller, control):
    """in0 to inN are understood without array types; nil and empty stay apart."""
    body = golden("call-by-position.xml").replace(b"SESSION", caller.session.encode())
    assert understood(caller.post("RpcRecipient", body)[1]) == [0, 0]
    assert [person["attributes"] for person in control.list_content(100)] == [
        {"firstname": "Ann", "lastname": ""},
        {"firstname": "Bob", "lastname": None},
    ]


def test_call_with_array_types_and_no_namespace(caller, control):
    """String[][] with arrayType is understood, even in an operation without namespace."""
    body = golden("call-array-types-no-namespace.xml").replace(b"SESSION", caller.session.encode())
    assert understood(caller.post("RpcRecipient", body)[1]) == [0, 0]
    assert [person["attributes"] for person in control.list_content(100)] == [
        {"firstname": "Ann", "lastname": "Müller & Co"},
        {"firstname": "Cy", "lastname": None},
    ]


def test_arguments_may_stand_elsewhere_in_the_body():
    """An argument given as href to a multiRef is read there, as Axis clients send it."""
    body = (
        b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><clear>'
        b'<in0>sid</in0><in1 href="#id7"/></clear><multiRef id="id7">100</multiRef>'
        b"</s:Body></s:Envelope>"
    )
    assert read_call(body, services()["RpcRecipient"]).number("recipientListId") == 100


def test_fault_words_are_escaped():
    """Words of a fault cannot break out of their element."""
    written = write_fault(Fault("soapenv:Server", "a <b> & ö"), default_switches())
    assert b"a &lt;b&gt; &amp; &#xf6;" in written
