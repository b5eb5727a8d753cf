"""What every RecipientList does: the twin, and Campaign's SOAP services over TLS."""

from collections.abc import Iterator

import pytest

from etl.errors import FarSideRefused, FarSideUnavailable
from etl.ports import ListDescription, Purged, Recipients
from tests.contract.campaign_stage import STAGES, Stage, stage_named

SYSTEM = ("Created", "Modified", "Opt-in Source", "Opt-in Date")


@pytest.fixture(params=STAGES, scope="module")
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with stage_named(request.param, tmp_path_factory.mktemp("campaign")) as made:
        yield made


@pytest.fixture
def kunden(stage: Stage) -> int:
    return stage.new_list("Kunden Übersee", ["first", "last"])


def people(list_id: int, *names: str) -> Recipients:
    """Rows whose ids are of their own in every list, as unsubscriptions are client-wide."""
    ids = [f"{name}.{list_id}@example.org" for name in names]
    return Recipients(("first", "last"), ids, ids, [[name, None] for name in names])


def test_a_list_is_described(stage: Stage, kunden: int) -> None:
    """Name, test flag and attributes, the system's own in English and last."""
    description = ListDescription("Kunden Übersee", False, ("first", "last", *SYSTEM))
    assert stage.port.describe(kunden) == description


def test_a_test_list_says_so(stage: Stage) -> None:
    """The flag tells a test list from others."""
    assert stage.port.describe(stage.new_list("Test", ["first"], is_test=True)).is_test


def test_a_list_without_rows_counts_zero(stage: Stage, kunden: int) -> None:
    """An empty list holds nobody."""
    assert stage.port.count(kunden) == 0


def test_rows_arrive_as_they_are(stage: Stage, kunden: int) -> None:
    """Umlauts, markup, line ends, characters beyond the basic plane, empty and nil all survive."""
    values = ["Äöü ß", "& < > ]]> \"'", "a\r\nb\rc\n\t d ", "😀 🏳️‍🌈", "", None]
    ids = [f"{n}.{kunden}@example.org" for n in range(len(values))]
    addresses = [f"post+{n}@münchen.example.org" for n in range(len(values))]
    rows = [[value, "x"] for value in values]
    codes = stage.port.add(kunden, Recipients(("last", "first"), ids, addresses, rows))
    assert codes == [0] * len(values)
    assert stage.content(kunden) == {
        identity: (address, {"last": value, "first": "x"})
        for identity, address, value in zip(ids, addresses, values, strict=True)
    }
    assert stage.port.count(kunden) == len(values)


def test_every_row_gets_its_code(stage: Stage, kunden: int) -> None:
    """Eight rows, eight codes, in the order of the rows; only code 0 is new in the list."""
    rows = people(kunden, "new", "bad", "gone", "blocked", "bounced", "known", "filtered", "broken")
    ids = rows.ids
    stage.port.add(kunden, people(kunden, "known"))
    stage.code_for(kunden, ids[1], 1)
    stage.unsubscribe(ids[2])
    stage.block(f"blocked.{kunden}@*")
    stage.bounce_out(ids[4])
    stage.code_for(kunden, ids[6], 6)
    stage.code_for(kunden, ids[7], 7)
    assert stage.port.add(kunden, rows) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert set(stage.content(kunden)) == {ids[0], ids[5]}


def test_an_address_that_is_none_is_refused_alone(stage: Stage, kunden: int) -> None:
    """Code 1 for one row does not keep the next from being added."""
    rows = Recipients(("first",), ["1", "2"], ["no address", "b@example.org"], [["A"], ["B"]])
    assert stage.port.add(kunden, rows) == [1, 0]


def test_who_is_there_is_not_changed(stage: Stage, kunden: int) -> None:
    """A second row of the same recipient, in the same call or later, answers 5 and is dropped."""
    ids = ["1", "1"]
    addresses = ["a@example.org", "b@example.org"]
    rows = Recipients(("first",), ids, addresses, [["first"], ["second"]])
    assert stage.port.add(kunden, rows) == [0, 5]
    assert stage.port.add(kunden, rows) == [5, 5]
    ((address, values),) = stage.content(kunden).values()
    assert (address, values["first"]) == ("a@example.org", "first")


def test_a_full_chunk_is_added(stage: Stage, kunden: int) -> None:
    """Eight hundred rows in one call, codes in order."""
    names = [str(n) for n in range(800)]
    stage.unsubscribe(f"17.{kunden}@example.org", f"654.{kunden}@example.org")
    codes = stage.port.add(kunden, people(kunden, *names))
    assert [n for n, code in enumerate(codes) if code == 2] == [17, 654]
    assert codes.count(0) == 798
    assert stage.port.count(kunden) == 798


def test_no_rows_make_no_codes(stage: Stage, kunden: int) -> None:
    """Adding nothing is nothing."""
    assert stage.port.add(kunden, Recipients(("first",), [], [], [])) == []


def test_rows_that_differ_in_number_are_a_bug(stage: Stage, kunden: int) -> None:
    """A shifted row is never sent."""
    with pytest.raises(ValueError, match="differ"):
        stage.port.add(kunden, Recipients(("first",), ["1", "2"], ["a@example.org"], [["A"]]))
    assert stage.port.count(kunden) == 0


def test_clear_empties_one_list(stage: Stage, kunden: int) -> None:
    """Everybody leaves this list, nobody another; clearing again is no error."""
    other = stage.new_list("Andere", ["first", "last"])
    stage.port.add(kunden, people(kunden, "ann", "bob"))
    stage.port.add(other, people(other, "cy"))
    stage.port.clear(kunden)
    stage.port.clear(kunden)
    assert (stage.port.count(kunden), stage.port.count(other)) == (0, 1)


def test_clear_forgets_nobodys_no(stage: Stage, kunden: int) -> None:
    """Unsubscriptions survive a clear: the refill answers 2 for them."""
    rows = people(kunden, "ann")
    stage.port.add(kunden, rows)
    stage.unsubscribe(*rows.ids)
    stage.port.clear(kunden)
    assert stage.port.add(kunden, rows) == [2]


def test_one_poisonous_row_fails_the_whole_call(stage: Stage, kunden: int) -> None:
    """Nothing of the call is added, and the error names nobody."""
    rows = people(kunden, "ann", "canary", "bob")
    stage.poison(kunden, rows.ids[1])
    with pytest.raises(FarSideRefused) as caught:
        stage.port.add(kunden, rows)
    assert caught.value.code == "call-refused"
    assert "canary" not in str(caught.value) + repr(caught.value.facts)
    assert stage.port.count(kunden) == 0
    assert stage.port.add(kunden, people(kunden, "ann", "bob")) == [0, 0]


def test_an_unknown_attribute_fails_the_whole_call(stage: Stage, kunden: int) -> None:
    """A column the list does not have is refused before any row is added."""
    rows = Recipients(("shoe-size",), ["1"], ["a@example.org"], [["42"]])
    with pytest.raises(FarSideRefused, match="call-refused"):
        stage.port.add(kunden, rows)
    assert stage.port.count(kunden) == 0


@pytest.mark.parametrize(
    "verb",
    [
        lambda port: port.describe(99_999),
        lambda port: port.count(99_999),
        lambda port: port.clear(99_999),
        lambda port: port.purge(99_999),
        lambda port: port.add(99_999, people(99_999, "ann")),
    ],
    ids=["describe", "count", "clear", "purge", "add"],
)
def test_a_list_that_is_not_there_is_refused(stage: Stage, verb) -> None:
    """Every verb that names a list is refused for one that does not exist."""
    with pytest.raises(FarSideRefused, match="call-refused"):
        verb(stage.port)


def test_the_live_check_answers_position_by_position(stage: Stage, kunden: int) -> None:
    """Ids for unsubscriptions, addresses for the blocklist, each in its own length and order."""
    stage.unsubscribe(f"u.{kunden}")
    stage.block(f"*@bad{kunden}.test", f"exact.{kunden}@example.org", f"a?.{kunden}@example.org")
    answer = stage.port.suppressed(
        [f"x.{kunden}", f"u.{kunden}"],
        [
            f"anybody@bad{kunden}.test",
            f"exact.{kunden}@example.org",
            f"not.exact.{kunden}@example.org",
            f"ab.{kunden}@example.org",
            f"abc.{kunden}@example.org",
        ],
    )
    assert list(answer.unsubscribed) == [False, True]
    assert list(answer.blocklisted) == [True, True, False, True, False]


def test_a_live_check_of_nobody_is_empty(stage: Stage) -> None:
    """No ids and no addresses, no answers; one kind alone is fine."""
    assert not stage.port.suppressed([], []).unsubscribed
    answer = stage.port.suppressed([], ["nobody@example.org"])
    assert (list(answer.unsubscribed), list(answer.blocklisted)) == ([], [False])


def test_a_long_live_check_loses_nobody(stage: Stage, kunden: int) -> None:
    """More ids than fit into one call come back in order and complete."""
    ids = [f"{n}.{kunden}" for n in range(2_500)]
    gone = {0, 999, 1000, 1001, 2499}
    stage.unsubscribe(*(ids[n] for n in sorted(gone)))
    answer = stage.port.suppressed(ids, [])
    assert {n for n, flag in enumerate(answer.unsubscribed) if flag} == gone
    assert len(answer.unsubscribed) == 2_500


def test_the_bounce_limit_is_asked_id_by_id(stage: Stage, kunden: int) -> None:
    """One answer for each id, in order, whether it is in a list or not; nobody is not asked."""
    bounced = [f"{name}.{kunden}@example.org" for name in ("ann", "cy")]
    for identity in bounced:
        stage.bounce_out(identity)
    ids = [bounced[0], f"bob.{kunden}@example.org", bounced[1], f"contact:{kunden}"]
    assert stage.port.bounced_out(ids) == [True, False, True, False]
    assert stage.port.bounced_out(ids[1:2]) == [False]
    assert stage.port.bounced_out([]) == []


def test_purge_takes_out_who_said_no_meanwhile(stage: Stage, kunden: int) -> None:
    """Unsubscribed by id and blocklisted by address are removed, and counted apart."""
    rows = people(kunden, "ann", "bob", "cy", "dora")
    stage.port.add(kunden, rows)
    stage.unsubscribe(rows.ids[0])
    stage.block(f"b*{kunden}@example.org", rows.ids[2])
    assert stage.port.purge(kunden) == Purged(unsubscribed=1, blocklisted=2)
    assert set(stage.content(kunden)) == {rows.ids[3]}
    assert stage.port.purge(kunden) == Purged(0, 0)


@pytest.mark.parametrize("after_effect", [True, False], ids=["after", "before"])
def test_a_lost_add_is_in_doubt(stage: Stage, kunden: int, after_effect: bool) -> None:
    """The same error whether the rows are there or not; sent again, the codes are 5 or 0."""
    rows = people(kunden, "ann", "bob")
    stage.lose("add", after_effect=after_effect)
    with pytest.raises(FarSideUnavailable) as caught:
        stage.port.add(kunden, rows)
    assert caught.value.in_doubt
    assert stage.port.count(kunden) == (2 if after_effect else 0)
    assert stage.port.add(kunden, rows) == ([5, 5] if after_effect else [0, 0])


@pytest.mark.parametrize("after_effect", [True, False], ids=["after", "before"])
def test_a_lost_clear_is_in_doubt(stage: Stage, kunden: int, after_effect: bool) -> None:
    """The same error whether the list is empty or not; the count tells."""
    stage.port.add(kunden, people(kunden, "ann"))
    stage.lose("clear", after_effect=after_effect)
    with pytest.raises(FarSideUnavailable) as caught:
        stage.port.clear(kunden)
    assert caught.value.in_doubt
    assert stage.port.count(kunden) == (0 if after_effect else 1)


@pytest.mark.parametrize("verb", ["describe", "count", "suppressed", "bounced_out", "purge"])
def test_a_lost_question_can_be_asked_again(stage: Stage, kunden: int, verb: str) -> None:
    """A question whose answer is lost is unavailable once, and answered then."""
    ask = {
        "describe": lambda: stage.port.describe(kunden),
        "count": lambda: stage.port.count(kunden),
        "suppressed": lambda: stage.port.suppressed(["1"], []),
        "bounced_out": lambda: stage.port.bounced_out(["1"]),
        "purge": lambda: stage.port.purge(kunden),
    }[verb]
    stage.lose(verb, after_effect=True)
    with pytest.raises(FarSideUnavailable):
        ask()
    assert ask() is not None


def test_after_closing_it_goes_on(stage: Stage, kunden: int) -> None:
    """A closed port answers the next verb all the same."""
    stage.port.close()
    assert stage.port.count(kunden) == 0
