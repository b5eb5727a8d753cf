"""The verbs as calls: batches, no call for nothing, and answers of the wrong kind."""

from collections.abc import Iterator

import pytest
from lxml import etree

from etl.errors import FarSideUnavailable
from etl.ports import Recipients, Stream, Window
from etl.wire.campaign import CampaignList, CampaignResponses
from etl.wire.session import CampaignAccess, CampaignSession
from tests.servers.answering import answered, http, returned
from tests.servers.scripted import Script, ok, playing
from tests.twins.clock import TwinClock


@pytest.fixture
def server():
    with playing(Script()) as server:
        yield server


@pytest.fixture
def session(server) -> Iterator[CampaignSession]:
    access = CampaignAccess(1, "api", "secret", server.url, read_seconds=2, live_check_rows=3)
    session = CampaignSession(access, TwinClock())
    yield session
    session.close()


def array(operation: str, kind: str, *values: object) -> bytes:
    items = "".join(f'<r xsi:type="{kind}">{value}</r>' for value in values)
    size = f'xsi:type="soapenc:Array" soapenc:arrayType="{kind}[{len(values)}]"'
    return http(answered(operation, f"<{operation}Return {size}>{items}</{operation}Return>"))


def items(request: bytes, part: str) -> list[str | None]:
    """Return the texts of an array a request carries."""
    root = etree.fromstring(request.partition(b"\r\n\r\n")[2])
    return [item.text for item in root.find(f".//{part}")]


def test_the_live_check_asks_in_batches(session: CampaignSession, server) -> None:
    """Both questions are cut into batches; the answers come back in one row each."""
    no, yes = "false", "true"
    kind = "xsd:boolean"
    server.answer.says(
        "containsAll", array("containsAll", kind, no, yes, no), array("containsAll", kind, yes)
    )
    server.answer.says("areBlacklisted", array("areBlacklisted", kind, no, yes))
    answer = CampaignList(session).suppressed(["1", "2", "3", "4"], ["a@x.test", "b@x.test"])
    assert answer.unsubscribed == [False, True, False, True]
    assert answer.blocklisted == [False, True]
    asked = [request for request in server.requests if b"<in1 " in request]
    assert [items(request, "in1") for request in asked] == [
        ["1", "2", "3"],
        ["4"],
        ["a@x.test", "b@x.test"],
    ]
    assert all(b'soapenc:arrayType="xsd:string[' in request for request in asked)


def test_the_bounce_limit_is_one_call_an_id(session: CampaignSession, server) -> None:
    """Under Campaign's own spelling, with the id as its one argument; a wrong answer is none."""
    name = "isBounceCounterThresholdExeeded"
    server.answer.says(name, ok(name, "true", "xsd:boolean"), ok(name, "false", "xsd:boolean"))
    assert CampaignList(session).bounced_out(["a@x.test", "b@x.test"]) == [True, False]
    asked = [request for request in server.requests if name.encode() in request]
    assert [request.partition(b"<in1>")[2].partition(b"<")[0] for request in asked] == [
        b"a@x.test", b"b@x.test",
    ]  # fmt: skip
    assert all(b"/RpcResponse " in request for request in asked)
    server.answer.says(name, ok(name, "maybe", "xsd:boolean"))
    with pytest.raises(FarSideUnavailable):
        CampaignList(session).bounced_out(["a@x.test"])


def test_nothing_to_ask_or_add_makes_no_call(session: CampaignSession, server) -> None:
    """Empty sequences are answered here; not even a login is made."""
    campaign = CampaignList(session)
    assert campaign.suppressed([], []).unsubscribed == []
    assert campaign.bounced_out([]) == []
    assert campaign.add(12, Recipients(("name",), [], [], [])) == []
    assert server.requests == []


def test_too_few_answers_are_no_answer(session: CampaignSession, server) -> None:
    """A live check with a boolean missing is not believed at all."""
    server.answer.says("containsAll", array("containsAll", "xsd:boolean", "false"))
    with pytest.raises(FarSideUnavailable, match="1 values for 2 asked"):
        CampaignList(session).suppressed(["1", "2"], [])


def test_rows_that_do_not_match_their_ids_are_never_sent(session: CampaignSession, server) -> None:
    """Ids, addresses and values must be as many; nothing is called with a shifted row."""
    for rows in (
        Recipients(("n",), ["1"], [], [["a"]]),
        Recipients(("n",), ["1"], ["a@x.test"], []),
        Recipients(("n",), ["1"], ["a@x.test"], [["a", "b"]]),
        Recipients(("n",), ["1"], ["a@x.test"], [["\x0b"]]),
    ):
        with pytest.raises(ValueError, match=r"differ|hold"):
            CampaignList(session).add(12, rows)
    assert "addAll3" not in server.answer.calls


def test_add_all_3_is_sent_as_documented(session: CampaignSession, server) -> None:
    """List, no opt-in process, ids, addresses, attribute names, then a row of values each."""
    server.answer.says("addAll3", array("addAll3", "xsd:int", 0, 5))
    rows = Recipients(
        ("first", "last"),
        ["1", "2"],
        ["a@x.test", "b@x.test"],
        [["Ann", "Müller & Co"], ["", None]],
    )
    assert CampaignList(session).add(12, rows) == [0, 5]
    request = server.requests[-1]
    assert b"<in1>12</in1><in2>0</in2><in3 " in request
    assert items(request, "in3") == ["1", "2"]
    assert items(request, "in4") == ["a@x.test", "b@x.test"]
    assert items(request, "in5") == ["first", "last"]
    assert b'soapenc:arrayType="xsd:string[][2]"' in request
    assert request.count(b'xsi:nil="true"') == 1
    assert request.endswith(b"</in6></ns0:addAll3></soap-env:Body></soap-env:Envelope>")


@pytest.mark.parametrize(
    ("operation", "reply"),
    [
        ("getCount", ok("getCount", "many")),
        ("getCount", http(answered("getCount"))),
        ("getCount", ok("getCount", "true", "xsd:boolean")),
        ("getCount", returned("getName", "x")),
    ],
    ids=["no number", "nothing", "a boolean", "no HTTP"],
)
def test_a_count_that_is_no_number_is_no_answer(
    session: CampaignSession, server, operation: str, reply: bytes
) -> None:
    """Only an integer is a count; nothing is taken for zero."""
    server.answer.says(operation, reply)
    with pytest.raises(FarSideUnavailable):
        CampaignList(session).count(12)


@pytest.mark.parametrize(
    ("operation", "reply"),
    [
        ("getName", http(answered("getName", '<r xsi:nil="true"/>'))),
        ("isTestRecipientList", http(answered("isTestRecipientList"))),
        ("isTestRecipientList", ok("isTestRecipientList", "maybe", "xsd:boolean")),
        ("getAttributeNames", http(answered("getAttributeNames"))),
    ],
)
def test_a_list_that_cannot_be_described_is_not(
    session: CampaignSession, server, operation: str, reply: bytes
) -> None:
    """Name, test flag and attributes must be there: guards rest on them."""
    server.answer.says("getName", http(returned("getName", "Kunden")))
    server.answer.says("isTestRecipientList", ok("isTestRecipientList", "false", "xsd:boolean"))
    server.answer.says("getAttributeNames", array("getAttributeNames", "soapenc:string", "first"))
    assert CampaignList(session).describe(12).name == "Kunden"
    server.answer.says(operation, reply)
    with pytest.raises(FarSideUnavailable, match="campaign-answer"):
        CampaignList(session).describe(12)


def test_a_page_is_asked_for_with_window_and_rows(session: CampaignSession, server) -> None:
    """Since, until, first row and the most rows a page may hold."""
    size = 'xsi:type="soapenc:Array" soapenc:arrayType'
    server.answer.says(
        "getUnsubscribes",
        http(answered("getUnsubscribes", f'<r {size}="soapenc:string[][0]"/>')),
    )
    page = CampaignResponses(session).page(Stream.UNSUBSCRIBES, Window(5, 9), 2000)
    assert page == []
    assert b"<in1>5</in1><in2>9</in2><in3>2000</in3><in4>1000</in4>" in server.requests[-1]


def test_a_long_blocklist_is_read_and_other_answers_are_capped(
    session: CampaignSession, server
) -> None:
    """The blocklist alone may be longer than five megabytes."""
    long = ["x" * 60_000 + "@x.test"] * 100
    server.answer.says("getAllEntries", array("getAllEntries", "soapenc:string", *long))
    assert CampaignResponses(session).blocklist() == long
    server.answer.says("getAttributeNames", array("getAttributeNames", "soapenc:string", *long))
    server.answer.says("getName", http(returned("getName", "Kunden")))
    server.answer.says("isTestRecipientList", ok("isTestRecipientList", "false", "xsd:boolean"))
    with pytest.raises(FarSideUnavailable, match="longer than"):
        CampaignList(session).describe(12)
