"""Reading lists back, removing from them, and what lists there are."""

import pytest

from tests.unit.sandbox.caller import SoapFault

ANN, BOB, CY = "ann@example.org", "bob@example.org", "cy@example.org"
NAMES = ["firstname", "age"]


@pytest.fixture
def filled(caller):
    caller.add([ANN, BOB, CY], [["Ann", "3"], ["", "1"], [None, "2"]], NAMES)
    return caller


def test_contains(filled):
    """Contains says who is in a list, for one list or several."""
    assert filled("RpcRecipient.contains", 100, ANN) is True
    assert filled("RpcRecipient.contains", 100, "x") is False
    assert filled("RpcRecipient.containsMultiple", [100, 200], ANN) == [True, False]


def test_contains_valid_knows_every_reason_against(filled, control):
    """ContainsValid is true only for somebody whom nothing speaks against."""
    people = [ANN, BOB, CY, "dan@example.org"]
    filled.add(["dan@example.org"])
    control.unsubscribe(7, [ANN])
    control.block(7, ["bob@*"])
    control.bounce(7, CY, times=3)
    valid = [filled("RpcRecipient.containsValid", 100, person) for person in people]
    assert valid == [False, False, False, True]
    assert filled("RpcRecipient.containsValidMultiple", [100, 200], people[3]) == [True, False]


def test_attributes_keep_nil_and_empty_apart(filled):
    """GetAttributes and getAll give nil for unset and an empty string for empty."""
    assert filled("RpcRecipient.getAttributes", 100, BOB, NAMES) == ["", "1"]
    assert filled("RpcRecipient.getAttributes", 100, CY, NAMES) == [None, "2"]
    assert filled("RpcRecipient.getAll", 100, NAMES) == [["Ann", "3"], ["", "1"], [None, "2"]]
    assert filled("RpcRecipient.getAllFlat", 100, NAMES) == ["Ann", "3", "", "1", None, "2"]


def test_reading_an_attribute_that_is_not_there_is_refused(filled):
    """Unknown names are refused, system attributes can be read."""
    with pytest.raises(SoapFault):
        filled("RpcRecipient.getAll", 100, ["shoe size"])
    assert filled("RpcRecipient.getAttributes", 100, ANN, ["Created"])[0].endswith("+00:00")


@pytest.mark.parametrize(("paging", "start"), [("rows", 2), ("pages", 1)])
def test_paging(filled, control, paging, start):
    """PageStart counts rows or pages."""
    control.set_switches(paging=paging)
    args = (100, ["age"], 0, "age", True, start, 2)
    assert filled("RpcRecipient.getAllAdvanced", *args) == [["3"]]
    assert filled("RpcRecipient.getAllAdvancedFlat", *args) == ["3"]


def test_sorting(filled):
    """OrderBy sorts by an attribute, up or down."""
    down = filled("RpcRecipient.getAllAdvanced", 100, ["age"], 0, "age", False, 0, 10)
    assert down == [["3"], ["2"], ["1"]]


@pytest.mark.parametrize(("order", "ages"), [("inserted", "312"), ("reversed", "213")])
def test_list_order(filled, control, order, ages):
    """Without an order rows come as inserted, or otherwise."""
    control.set_switches(list_order=order)
    assert "".join(filled("RpcRecipient.getAllFlat", 100, ["age"])) == ages
    page = filled("RpcRecipient.getAllAdvanced", 100, ["age"], 0, None, True, 0, 1)
    assert page == [[ages[0]]]


def test_filters_do_not_exist(filled):
    """Any filter but 0 is unknown."""
    with pytest.raises(SoapFault):
        filled("RpcRecipient.getCount", 100, 5)
    with pytest.raises(SoapFault):
        filled("RpcRecipient.getAllAdvanced", 100, ["age"], 5, None, True, 0, 1)


def test_faults_for_absent_people_keep_their_spelling(filled):
    """`does not exist` for remove, `does not exists` for attributes, as recorded."""
    with pytest.raises(
        SoapFault, match=r"Recipient does not exist for call: recipientListId='100'"
    ):
        filled("RpcRecipient.remove", 100, "x")
    with pytest.raises(SoapFault, match="Recipient does not exists for call"):
        filled("RpcRecipient.getAttributes", 100, "x", NAMES)
    with pytest.raises(SoapFault, match="Recipient does not exists for call"):
        filled("RpcRecipient.setAttributes", 100, "x", ["age"], ["1"])


def test_a_fault_prints_all_its_arguments(filled):
    """Ids, addresses and values of a batch stand in the fault's words."""
    with pytest.raises(SoapFault) as caught:
        filled.add([ANN, BOB], [["", None]] * 2, ["age", "vip"])
    assert f"recipientIds='[{ANN}, {BOB}]'" in caught.value.words
    assert "attributeValues='[[, null], [, null]]'" in caught.value.words
    assert caught.value.words.count(f"[{filled.session},7,api]") == 1


def test_remove_and_remove_all(filled, control):
    """Remove takes one out, removeAll says of each whether it was there."""
    filled("RpcRecipient.remove", 100, ANN)
    assert filled("RpcRecipient.removeAll", 100, [ANN, BOB]) == [False, True]
    assert [person["id"] for person in control.list_content(100)] == [CY]


def test_purges_count_what_they_take(filled, control):
    """The three remove calls take out exactly those they name."""
    control.unsubscribe(7, [ANN])
    control.block(7, [BOB])
    control.bounce(7, CY, "softbounce", 5)
    for method in ("removeUnsubscribed", "removeBlacklisted", "removeBounced"):
        assert filled(f"RpcRecipient.{method}", 100) == 1
        assert filled(f"RpcRecipient.{method}", 100) == 0
    assert filled.count() == 0


def test_set_attributes_changes_one_record(filled, control):
    """SetAttributes writes the named attributes only."""
    filled("RpcRecipient.setAttributes", 100, ANN, ["age"], ["4"])
    assert control.list_content(100)[0]["attributes"] == {"firstname": "Ann", "age": "4"}
    with pytest.raises(SoapFault):
        filled("RpcRecipient.setAttributes", 100, ANN, ["age"], ["4", "5"])


@pytest.mark.parametrize(
    ("locale", "last"),
    [
        ("en", ["Created", "Modified", "Opt-in Source", "Opt-in Date"]),
        ("de", ["Erstellt am", "Geändert am", "Opt-in-Quelle", "Opt-in-Datum"]),
    ],
)
def test_attribute_names_end_with_the_system_ones(caller, locale, last):
    """The four system attributes come last, in the locale's language."""
    names = caller("RpcRecipientList.getAttributeNames", 100, locale)
    assert names[:3] == ["firstname", "lastname", "age"]
    assert names[-4:] == last


def test_lists_and_their_facts(caller, control):
    """Ids, names, test flags, numbers and the data set tell of a client's lists."""
    control.add_list(7, 300, "Trial", {}, is_test=True)
    assert caller("RpcRecipientList.getAllIds") == [100, 200, 300]
    assert caller("RpcRecipientList.getName", 100) == "Newsletter"
    assert caller("RpcRecipientList.isTestRecipientList", 300) is True
    assert caller("RpcRecipientList.isTestRecipientList", 100) is False
    assert caller("RpcRecipientList.getCount", False) == 2
    assert caller("RpcRecipientList.getCount", True) == 3
    table = caller("RpcRecipientList.getDataSet")
    assert table[0] == caller("RpcRecipientList.getColumnNames")
    assert [row[0] for row in table[1:]] == ["100", "200", "300"]
    caller("RpcRecipientList.setName", 100, "Letters")
    assert caller("RpcRecipientList.getName", 100) == "Letters"
    assert caller("RpcRecipientList.getDescription", 100) == ""
    with pytest.raises(SoapFault):
        caller("RpcRecipientList.getName", 999)


def test_copy_takes_the_structure_only(filled):
    """A copied list has the attributes and none of the people."""
    number = filled("RpcRecipientList.copy", 100)
    assert filled.count(number) == 0
    names = filled("RpcRecipientList.getAttributeNames", number, "en")
    assert names == filled("RpcRecipientList.getAttributeNames", 100, "en")


def test_somebody_else_writes_into_a_list(filled, control):
    """People put in and lists changed from outside are seen by the caller."""
    control.put_recipients(100, [{"id": "x", "address": "x@example.org", "attributes": {}}])
    control.set_list(100, name="Changed", is_test=True, attributes={"age": "LONG"})
    assert filled.count() == 4
    assert filled("RpcRecipientList.getName", 100) == "Changed"
    assert filled("RpcRecipientList.getAttributeNames", 100, "en")[0] == "age"
