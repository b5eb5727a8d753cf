"""Arrays of an answer: every shape Axis gives is read, everything else is Unreadable."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.wire import answers
from etl.wire.answers import Unreadable
from tests.servers.answering import answered, envelope, fault

ARRAY = 'xsi:type="soapenc:Array" soapenc:arrayType='


def numbers(values: list[object], kind: str, *, shared: bool = False, seed: int = 0) -> bytes:
    """Write values as Axis does: a reference each, the targets behind the answer, shuffled."""
    keys = [f"{value}" if shared else f"{n}" for n, value in enumerate(values)]
    items = "".join(f'<r href="#id{key}"/>' for key in keys)
    targets = [
        f'<multiRef id="id{key}" soapenc:root="0" xmlns:soapenc='
        f'"http://schemas.xmlsoap.org/soap/encoding/" xsi:type="{kind}">{value}</multiRef>'
        for key, value in dict(zip(keys, values, strict=True)).items()
    ]
    random.Random(seed).shuffle(targets)
    array = f'<r {ARRAY}"{kind}[{len(values)}]">{items}</r>'
    return answered("op", array, "".join(targets))


def opened(content: bytes) -> answers.Answer:
    return answers.opened(content, "op")


def texts(*items: str, length: int | None = None) -> bytes:
    count = len(items) if length is None else length
    return answered("op", f'<r {ARRAY}"xsd:string[{count}]">{"".join(items)}</r>')


@settings(deadline=None)
@given(st.lists(st.integers(0, 7), max_size=30), st.booleans(), st.integers(0, 9))
def test_codes_come_in_the_order_of_the_rows(codes: list[int], shared: bool, seed: int) -> None:
    """References are followed by name, so shuffled and shared targets change nothing."""
    content = numbers(list(codes), "xsd:int", shared=shared, seed=seed)
    assert answers.codes(opened(content), len(codes)) == codes


def test_inline_codes_are_read() -> None:
    """Integers written in place are as good as references."""
    content = answered("op", f'<r {ARRAY}"xsd:int[3]"><i>0</i><i> 5 </i><i>7</i></r>')
    assert answers.codes(opened(content), 3) == [0, 5, 7]


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=30), st.integers(0, 9))
def test_flags_come_in_the_order_asked(flags: list[bool], seed: int) -> None:
    """Booleans are references too, and keep their order."""
    words = ["true" if flag else "false" for flag in flags]
    content = numbers(list(words), "xsd:boolean", seed=seed)
    assert answers.flags(opened(content), len(flags)) == flags


def test_nil_and_empty_stay_apart() -> None:
    """A nil is None, an empty element is an empty string."""
    row = '<r xsi:nil="true"/><r></r><r/><r xsi:type="soapenc:string"> ä&#13; </r>'
    content = answered("op", f'<r {ARRAY}"xsd:string[][1]"><r {ARRAY}"xsd:string[4]">{row}</r></r>')
    assert answers.table(opened(content), 10) == [[None, "", "", " ä\r "]]


def test_rows_may_be_references() -> None:
    """A row that stands among the multiRefs is found there."""
    content = answered(
        "op",
        f'<r {ARRAY}"xsd:string[][2]"><r href="#a"/><r href="#b"/></r>',
        f'<multiRef xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/" id="b" {ARRAY}'
        f'"xsd:string[1]"><r>2</r></multiRef><multiRef xmlns:soapenc='
        f'"http://schemas.xmlsoap.org/soap/encoding/" id="a" {ARRAY}"xsd:string[1]"><r>1</r>'
        "</multiRef>",
    )
    assert answers.table(opened(content), 10) == [["1"], ["2"]]


@pytest.mark.parametrize("empty", [f'<r {ARRAY}"xsd:string[0]"/>', '<r xsi:nil="true"/>'])
def test_an_empty_array_is_empty(empty: str) -> None:
    """Without items, written as an array or as nil, there is nothing in it."""
    assert answers.texts(opened(answered("op", empty))) == []


LOL = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "lol"}">' for n in range(9))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no xml",
        texts("<r>a</r>")[:-20],
        texts("<r>a</r>").replace(b"opResponse", b"getNameResponse"),
        texts("<r>a</r>").replace(b"soapenv:Body", b"soapenv:Head"),
        texts("<r>a</r>", length=2),
        texts("<r>a</r>", "<r>b</r>", length=1),
        texts("<r>a<b/></r>"),
        texts('<r xsi:nil="true"/>'),
        texts('<r href="#nowhere"/>'),
        envelope(""),
        envelope("<ns1:opResponse xmlns:ns1='urn:x'/>"),
        fault("Error"),
        answered("op", f'<r {ARRAY}"xsd:string[1]">text<r>a</r></r>'),
        answered("op", f'<r {ARRAY}"xsd:string[5]" soapenc:offset="[4]"><r>a</r></r>'),
        answered("op", '<r href="#a"/>', '<m id="a" href="#a"/>'),
        texts("<r>a</r>").replace(b"?><", b"?><!DOCTYPE x><", 1),
        texts("<r>&l8;</r>").replace(b"?><", f"?><!DOCTYPE x [{LOL}]><".encode(), 1),
        texts("<r>&x;</r>").replace(
            b"?><", b'?><!DOCTYPE x [<!ENTITY x SYSTEM "/etc/hostname">]><', 1
        ),
        b"<a>" * 100_000,
    ],
)
def test_any_other_shape_is_unreadable(content: bytes) -> None:
    """Nothing is repaired, guessed or skipped, and no document type is accepted."""
    with pytest.raises(Unreadable):
        answers.texts(opened(content))


@pytest.mark.parametrize("values", [[0, 8], [-1, 0], [0], [0, 1, 2], [0, "x"], [0, ""], [0, "1.0"]])
def test_codes_that_do_not_fit_are_unreadable(values: list[object]) -> None:
    """Two rows need exactly two codes from 0 to 7."""
    with pytest.raises(Unreadable):
        answers.codes(opened(numbers(values, "xsd:int")), 2)


@pytest.mark.parametrize("values", [["true"], ["true", "maybe"], ["true", ""]])
def test_flags_that_do_not_fit_are_unreadable(values: list[object]) -> None:
    """A missing or odd boolean is never taken for a no."""
    with pytest.raises(Unreadable):
        answers.flags(opened(numbers(values, "xsd:boolean")), 2)


def test_a_page_beyond_its_size_is_unreadable() -> None:
    """More rows than were asked for do not fit the paging."""
    row = f'<r {ARRAY}"xsd:string[0]"/>'
    with pytest.raises(Unreadable, match="more than 1"):
        answers.table(opened(answered("op", f'<r {ARRAY}"xsd:string[][2]">{row}{row}</r>')), 1)


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=0x10000), min_size=1, max_size=5), st.booleans())
def test_surrogate_entities_are_mended(text: str, as_hex: bool) -> None:
    """A character beyond the basic plane written as two entities is read as that character."""
    units = text.encode("utf-16-be")
    pairs = [int.from_bytes(units[n : n + 2], "big") for n in range(0, len(units), 2)]
    written = "".join(f"&#x{unit:x};" if as_hex else f"&#{unit};" for unit in pairs)
    content = texts(f"<r>&#xe4;{written}&amp;</r>")
    assert answers.texts(opened(answers.mended(content))) == [f"ä{text}&"]


def test_a_lone_surrogate_is_left_and_unreadable() -> None:
    """Half a character is not guessed at."""
    for half in ("&#xd83d;", "&#xde00;&#xd83d;", "&#55357;x"):
        content = answers.mended(texts(f"<r>{half}</r>"))
        with pytest.raises(Unreadable):
            answers.texts(opened(content))


def test_other_entities_are_not_touched() -> None:
    """Decimal numbers near the surrogates' stay what they are."""
    content = texts("<r>&#55295;&#57344;&#65;&#x41;</r>")
    assert answers.mended(content) == content


def one(text: str, kind: str = "xsd:int") -> bytes:
    """Write a single value by reference."""
    target = f'<multiRef id="id0" xsi:type="{kind}">{text}</multiRef>'
    return answered("op", '<opReturn href="#id0"/>', target)


def test_single_values_are_read() -> None:
    """Numbers and booleans come by reference, texts in place, and nothing as no element."""
    assert answers.integer(opened(one("1795510800000", "xsd:long"))) == 1795510800000
    assert answers.flag(opened(one("true", "xsd:boolean"))) is True
    assert answers.flag(opened(one("0", "xsd:boolean"))) is False
    assert answers.text(opened(answered("op", "<opReturn>&#xe4; &amp;</opReturn>"))) == "ä &"
    assert answers.nothing(opened(answered("op"))) is None


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (answers.integer, one("many")),
        (answers.integer, one("")),
        (answers.integer, one("1.5")),
        (answers.integer, one("9" * 30)),
        (answers.integer, answered("op")),
        (answers.integer, answered("op", '<r xsi:nil="true"/>')),
        (answers.integer, answered("op", "<r>1</r><r>2</r>")),
        (answers.flag, one("maybe")),
        (answers.flag, one("TRUE")),
        (answers.flag, answered("op")),
        (answers.text, answered("op", '<r xsi:nil="true"/>')),
        (answers.text, answered("op", "<r><s>a</s></r>")),
        (answers.nothing, answered("op", "<r>1</r>")),
        (answers.nothing, envelope("text")),
        (answers.nothing, envelope("<html/>")),
        (answers.nothing, fault("Error")),
        (answers.nothing, b"<opResponse/>"),
    ],
)
def test_single_values_of_another_kind_are_unreadable(read, content: bytes) -> None:
    """An odd boolean is not false, a missing number not zero, a strange body not a success."""
    with pytest.raises(Unreadable):
        read(opened(content))
