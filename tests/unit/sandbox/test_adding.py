"""addAll3 and its codes, clear, and what makes a whole call fail."""

import pytest

from tests.unit.sandbox.caller import SoapFault

ANN, BOB, CY = "ann@example.org", "bob@example.org", "cy@example.org"


def _ids(control, list_id=100):
    return [person["id"] for person in control.list_content(list_id)]


def test_codes_come_in_the_order_of_the_rows(caller, control):
    """One bad row costs itself; every row gets its code at its place."""
    control.unsubscribe(7, ["unsub@example.org"])
    control.block(7, ["*@blocked.test"])
    control.bounce(7, "gone@example.org", times=3)
    control.code_for(100, "odd@example.org", 6)
    control.code_for(100, "hurt@example.org", 7)
    ids = [ANN, "no address", "unsub@example.org", "x@blocked.test", "gone@example.org"]
    ids += [ANN, "odd@example.org", "hurt@example.org", BOB]
    assert caller.add(ids) == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    assert _ids(control) == [ANN, BOB]


@pytest.mark.parametrize(
    "address", ["a@b@example.org", "example.org", "a@", "@b.test", "a@b", "a b@c.de", ""]
)
def test_unfit_addresses_get_code_1(caller, address):
    """An address without exactly one @ and a dotted domain is refused."""
    assert caller.add([ANN], addresses=[address]) == [1]


def test_an_empty_id_gets_code_1(caller):
    """A recipient needs an id."""
    assert caller.add([""], addresses=[ANN]) == [1]


def test_code_5_leaves_the_record_alone(caller, control):
    """Somebody listed already is not changed, in the same call or a later one."""
    assert caller.add([ANN, ANN], [["Ann"], ["Other"]], ["firstname"]) == [0, 5]
    assert caller.add([ANN], [["Other"]], ["firstname"]) == [5]
    assert control.list_content(100)[0]["attributes"] == {"firstname": "Ann"}


@pytest.mark.parametrize(("first", "code"), [(True, 5), (False, 2)])
def test_known_before_suppressed(caller, control, first, code):
    """Somebody listed and unsubscribed answers 5 or 2 by the switch, and stays listed."""
    caller.add([ANN])
    control.unsubscribe(7, [ANN])
    control.set_switches(known_before_suppressed=first)
    assert caller.add([ANN]) == [code]
    assert _ids(control) == [ANN]


def test_storing_code_2_leaves_a_listed_record_alone(caller, control):
    """Somebody listed and unsubscribed who is added again keeps the old values."""
    caller.add([ANN], [["Ann"]], ["firstname"])
    control.unsubscribe(7, [ANN])
    control.set_switches(known_before_suppressed=False, code2_stores=True)
    assert caller.add([ANN], [["Other"]], ["firstname"]) == [2]
    assert control.list_content(100)[0]["attributes"] == {"firstname": "Ann"}


@pytest.mark.parametrize("stores", [False, True])
def test_code2_stores(caller, control, stores):
    """An unsubscribed person answers 2 on a regular list and is stored only by the switch."""
    control.unsubscribe(7, [ANN])
    control.set_switches(code2_stores=stores)
    assert caller.add([ANN, BOB]) == [2, 0]
    assert _ids(control) == ([ANN, BOB] if stores else [BOB])
    assert caller("RpcUnsubscribe.contains", ANN) is True
    assert caller("RpcRecipient.removeUnsubscribed", 100) == int(stores)


def test_an_opt_in_list_re_activates(caller, control):
    """On an opt-in list an unsubscribed person answers 0 and is no longer unsubscribed."""
    control.unsubscribe(7, [ANN])
    assert caller.add([ANN], list_id=200) == [0]
    assert caller("RpcUnsubscribe.contains", ANN) is False


def test_the_blocklist_wins_over_an_opt_in(caller, control):
    """A blocklisted person is not added, whatever the list."""
    control.unsubscribe(7, [ANN])
    control.block(7, [ANN])
    assert caller.add([ANN], list_id=200) == [3]
    assert caller.add([ANN]) == [3]


def test_an_unfinished_opt_in_is_begun_again(caller, control):
    """With an opt-in process the person waits for it, and adding again starts it anew."""
    assert caller.add([ANN], list_id=200, process=9) == [0]
    assert caller("RpcRecipient.containsValid", 200, ANN) is False
    assert caller.add([ANN], list_id=200, process=9) == [0]
    assert caller.add([ANN], list_id=200) == [5]


@pytest.mark.parametrize("reaches", [True, False])
def test_bounce_reaches(caller, control, reaches):
    """Three hard bounces are over the limit, or only the fourth is."""
    control.set_switches(bounce_reaches=reaches)
    control.bounce(7, ANN, times=3)
    control.bounce(7, BOB, "softbounce", 4)
    assert caller.add([ANN, BOB]) == [4 if reaches else 0, 0]
    control.bounce(7, ANN)
    assert caller("RpcResponse.isBounceCounterThresholdExeeded", ANN) is True


def test_a_reset_counter_lets_somebody_in_again(caller, control):
    """After resetBounceCounter the person can be added."""
    control.bounce(7, ANN, times=3)
    assert caller.add([ANN]) == [4]
    caller("RpcResponse.resetBounceCounter", ANN)
    assert caller.add([ANN]) == [0]


@pytest.mark.parametrize(("over", "codes"), [("fault", None), ("cut", [0, 0])])
def test_batch_over(caller, control, over, codes):
    """A batch over the limit fails as a whole, or only its first rows are added and answered."""
    control.set_switches(batch_limit=2, batch_over=over)
    if codes is None:
        with pytest.raises(SoapFault, match="More than 2"):
            caller.add([ANN, BOB, CY])
        assert _ids(control) == []
    else:
        assert caller.add([ANN, BOB, CY]) == codes
        assert _ids(control) == [ANN, BOB]


@pytest.mark.parametrize(("limit", "taken"), [(1000, True), (999, False)])
def test_batch_limit(caller, control, limit, taken):
    """A thousand recipients pass by default, and not when the limit is lower."""
    control.set_switches(batch_limit=limit)
    ids = [f"p{number}@example.org" for number in range(1000)]
    if taken:
        assert caller.add(ids) == [0] * 1000
        with pytest.raises(SoapFault):
            caller.add([*ids, ANN])
    else:
        with pytest.raises(SoapFault):
            caller.add(ids)


@pytest.mark.parametrize(
    ("ids", "addresses", "rows"),
    [([ANN, BOB], [ANN], [["x"], ["y"]]), ([ANN], [ANN], []), ([ANN], [ANN], [["x", "y"]])],
)
def test_lengths_that_differ_fail_the_call(caller, control, ids, addresses, rows):
    """Ids, addresses, rows and columns must be equally many."""
    with pytest.raises(SoapFault):
        caller("RpcRecipient.addAll3", 100, 0, ids, addresses, ["firstname"], rows)
    with pytest.raises(SoapFault):
        caller("RpcRecipient.addAll3Flat", 100, 0, ids, addresses, ["firstname"], ["x", "y", "z"])
    assert _ids(control) == []


@pytest.mark.parametrize("reaction", ["fault", "ignored"])
@pytest.mark.parametrize("name", ["Created", "Modified", "Opt-in Source", "Erstellt am"])
def test_system_attributes(caller, control, name, reaction):
    """Writing a system attribute, in either language, fails the call or is ignored."""
    control.set_switches(system_attributes=reaction)
    if reaction == "fault":
        with pytest.raises(SoapFault, match="may not be written"):
            caller.add([ANN], [["A", "x"]], ["firstname", name])
    else:
        assert caller.add([ANN], [["A", "x"]], ["firstname", name]) == [0]
        assert control.list_content(100)[0]["attributes"] == {"firstname": "A"}


@pytest.mark.parametrize("reaction", ["fault", "ignored"])
def test_unknown_attribute(caller, control, reaction):
    """Writing an attribute that the list lacks fails the call or is ignored."""
    control.set_switches(unknown_attribute=reaction)
    if reaction == "fault":
        with pytest.raises(SoapFault):
            caller.add([ANN], [["x"]], ["shoe size"])
    else:
        assert caller.add([ANN], [["x"]], ["shoe size"]) == [0]


@pytest.mark.parametrize("reaction", ["fault", "code-1"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("age", "x"),
        ("age", "1.5"),
        ("age", "2147483648"),
        ("revenue", "1,5"),
        ("born", "31.12.1999"),
        ("born", "1999-02-30"),
        ("vip", "maybe"),
    ],
)
def test_bad_value(caller, control, name, value, reaction):
    """A text that is not of the attribute's type fails the call, or its row answers 1."""
    control.set_switches(bad_value=reaction)
    rows = [["1" if name == "age" else None], [value]]
    if reaction == "fault":
        with pytest.raises(SoapFault):
            caller.add([ANN, BOB], rows, [name])
        assert _ids(control) == []
    else:
        assert caller.add([ANN, BOB], rows, [name]) == [0, 1]


@pytest.mark.parametrize("reaction", ["fault", "unset"])
@pytest.mark.parametrize("name", ["age", "revenue", "born", "vip"])
def test_empty_number(caller, control, name, reaction):
    """An empty string for a number or date fails the whole call, or is taken as unset."""
    control.set_switches(empty_number=reaction)
    if reaction == "fault":
        with pytest.raises(SoapFault):
            caller.add([ANN, BOB], [[""], [None]], [name])
        assert _ids(control) == []
    else:
        assert caller.add([ANN], [[""]], [name]) == [0]
        assert control.list_content(100)[0]["attributes"] == {name: None}


@pytest.mark.parametrize("reaction", ["unset", "fault"])
def test_nil_number(caller, control, reaction):
    """Nil for a number is taken as unset, or fails the whole call; for a text it is no matter."""
    control.set_switches(nil_number=reaction)
    assert caller.add([BOB], [[None]], ["firstname"]) == [0]
    if reaction == "fault":
        with pytest.raises(SoapFault):
            caller.add([ANN], [[None]], ["age"])
    else:
        assert caller.add([ANN], [[None]], ["age"]) == [0]


@pytest.mark.parametrize("reaction", ["accepted", "fault"])
@pytest.mark.parametrize("value", ["1999-12-31", "1999-12-31T08:00:00"])
def test_short_dates(caller, control, value, reaction):
    """A date without time or offset is taken or not; a full one always is."""
    control.set_switches(short_dates=reaction)
    assert caller.add([BOB], [["1999-12-31T08:00:00+01:00"]], ["born"]) == [0]
    if reaction == "fault":
        with pytest.raises(SoapFault):
            caller.add([ANN], [[value]], ["born"])
    else:
        assert caller.add([ANN], [[value]], ["born"]) == [0]


@pytest.mark.parametrize("ignore", [False, True])
def test_ids_ignore_case(caller, control, ignore):
    """Ids that differ by case are two people, or one by the switch."""
    control.set_switches(ids_ignore_case=ignore)
    assert caller.add([ANN, ANN.upper()]) == [0, 5 if ignore else 0]
    control.unsubscribe(7, [ANN.upper()])
    assert caller("RpcUnsubscribe.contains", ANN) is ignore


def test_a_poisoned_id_fails_every_call_that_holds_it(caller, control):
    """Nothing of the batch is added, and without the id the rest is."""
    control.poison(100, BOB)
    with pytest.raises(SoapFault, match="Error adding recipients"):
        caller.add([ANN, BOB, CY])
    assert _ids(control) == []
    assert caller.add([ANN, CY]) == [0, 0]
    control.cure(100, BOB)
    assert caller.add([BOB]) == [0]


def test_a_forced_code_can_run_out(caller, control):
    """A code forced twice is answered twice."""
    control.code_for(100, ANN, 7, times=2)
    assert [caller.add([ANN])[0] for _ in range(3)] == [7, 7, 0]


def test_add2_adds_one(caller, control):
    """add2 answers one code by the same rules."""
    args = ("RpcRecipient.add2", 100, 0, ANN, ANN, ["firstname"], ["Ann"])
    assert [caller(*args), caller(*args)] == [0, 5]
    assert control.list_content(100)[0]["attributes"] == {"firstname": "Ann"}


def test_clear_empties_one_list_and_nothing_else(caller, control):
    """Clear takes all recipients out; unsubscriptions, blocklist and bounces stay."""
    caller.add([ANN, BOB])
    caller.add([ANN], list_id=200)
    control.unsubscribe(7, [CY])
    control.block(7, ["x@blocked.test"])
    control.bounce(7, "gone@example.org", times=3)
    assert caller("RpcRecipient.clear", 100) is None
    assert (caller.count(), caller.count(200)) == (0, 1)
    assert caller.add([CY, "x@blocked.test", "gone@example.org", ANN]) == [2, 3, 4, 0]


def test_the_count_is_that_of_code_0(caller):
    """GetCount after adding equals the number of zeros."""
    codes = caller.add([ANN, ANN, "unfit", BOB])
    assert caller.count() == codes.count(0) == 2


@pytest.mark.parametrize("lag", [0.0, 60.0])
def test_count_lag_seconds(caller, control, lag):
    """GetCount answers at once, or the older number for a while."""
    control.set_switches(count_lag_seconds=lag)
    caller.add([ANN, BOB])
    assert caller.count() == (0 if lag else 2)
    control.advance(61)
    assert caller.count() == 2
    caller("RpcRecipient.clear", 100)
    assert caller.count() == (2 if lag else 0)
