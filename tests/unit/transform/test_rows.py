"""Every reason a row can get, each from the smallest drop that earns it."""

import pytest

from etl.reasons import REASONS, About
from etl.transform.check import Limits, plan_problems
from etl.transform.split import CHUNK_RECORDS
from tests.unit.transform.drops import (
    COLUMNS,
    DESCRIPTOR,
    PLAN,
    checked,
    codes,
    drop,
    loaded,
    plan,
    record,
)

NARROW = plan(limits=Limits(line_bytes=200), entity_types=("contact",))

CASES = {
    "bad-bytes": (record(1).encode().replace(b"nichts", b"f\xfcr"), "notes"),
    "nul-byte": (record(1, notes="a\0b"), None),
    "control-character": (record(1, notes="a\x01b"), "notes"),
    "open-quote": (record(1, notes='"offen'), None),
    "text-after-quote": (record(1, notes='"zu" und mehr'), None),
    "quote-in-field": (record(1, notes='5" breit'), None),
    "lone-cr": (record(1, notes="a\rb"), None),
    "short-record": (record(1).rpartition(";")[0], None),
    "long-record": (record(1) + ";mehr", None),
    "blank-line": ("", None),
    "line-too-long": (record(1, notes="x" * 200), None),
    "required": (record(1, entity_id=""), "entity-id"),
    "type": (record(1, birthday="31.02.1980"), "birthday"),
    "enum": (record(1, firstname="Dora"), "firstname"),
    "pattern": (record(1, zip="1067"), "zip"),
    "min-length": (record(1, notes="x"), "notes"),
    "max-length": (record(1, notes="x" * 81), "notes"),
    "minimum": (record(1, birthday="31.12.1899"), "birthday"),
    "maximum": (record(1, birthday="01.01.2021"), "birthday"),
    "unique": (record(1, score="2"), "score"),
    "email": (record(1, email="nix@"), "email"),
    "empty-consent": (record(1, media_type=" "), "media-type"),
    "entity-type": (record(1, entity_type="lead"), "entity-type"),
    "duplicate-recipient": (record(1, email=" P2@Example.ORG"), None),
    "ambiguous-recipient": (record(1, email="p2@example.org"), None),
}


def test_every_row_code_has_its_case():
    """No code of a row exists that these tests do not earn, and none is earned that is unknown."""
    assert {code for code, reason in REASONS.items() if reason.about is About.ROW} == set(CASES)


@pytest.mark.parametrize("code", CASES)
def test_a_bad_row_gets_its_reason_and_costs_only_itself(code):
    """One bad record among good ones is the only one rejected, for the one reason it has."""
    bad, field = CASES[code]
    used = plan(
        limits=NARROW.limits,
        entity_types=NARROW.entity_types,
        duplicates="reject-all" if code == "ambiguous-recipient" else "first",
    )
    answer = checked(drop([record(0), record(2), bad, record(3)]), used)
    both = code == "ambiguous-recipient"
    assert codes(answer) == [(1, code, None)] * both + [(2, code, field)]
    assert answer.rows["record"].to_list() == ([0, 3] if both else [0, 1, 3])
    assert (answer.rows_read, answer.rejected_rows, answer.refusal) == (4, 1 + both, None)


def test_the_place_of_a_reject_is_exact():
    """Line, last line, offset and end name the record's own bytes, line breaks inside included."""
    bad = record(1, notes='"zwei\nZeilen"', zip="x")
    data = drop([record(0), bad, record(2)])
    answer = checked(data)
    line, last, offset, end, column = answer.rejected.select(
        "line", "last_line", "offset", "end", "column_number"
    ).row(0)
    assert (line, last, column) == (3, 4, 8)
    assert data[offset:end].decode() == bad + "\r\n"
    assert answer.rows["line"].to_list() == [2, 5]


def test_all_reasons_of_a_row_are_listed():
    """A row that breaks four rules lists four reasons, in the order of the columns."""
    bad = record(1, email="x@y", zip="x", birthday="morgen", notes="x")
    answer = checked(drop([record(0), bad]))
    assert codes(answer) == [
        (1, "email", "email"),
        (1, "pattern", "zip"),
        (1, "type", "birthday"),
        (1, "min-length", "notes"),
    ]
    assert answer.rejected_rows == 1


def test_broken_structure_also_tells_of_bad_bytes_and_nul():
    """A short record with a NUL and bytes that are no UTF-8 has all three reasons."""
    answer = checked(drop([record(0), b"a;\0;\xff"]))
    assert [code for _, code, _ in codes(answer)] == ["short-record", "nul-byte", "bad-bytes"]


def test_an_empty_address_has_the_one_reason_required():
    """A missing address is not also a wrong one."""
    assert codes(checked(drop([record(0), record(1, email="")]))) == [(1, "required", "email")]


def test_quoted_empty_is_empty():
    """`""` is a missing cell like an unquoted empty one."""
    answer = checked(drop([record(0), record(1, entity_id='""'), record(2, notes='""')]))
    assert codes(answer) == [(1, "required", "entity-id")]


def test_a_duplicate_of_a_rejected_row_is_kept():
    """Only a fit row takes a recipient's place: a bad row costs no other, and repeats behind the
    kept row are told of it beside their own faults.
    """
    first, kept, again = (
        record(n, email="same@example.org", zip=code)
        for n, code in ((1, "x"), (2, "01067"), (3, "y"))
    )
    answer = checked(drop([record(0), first, kept, again]))
    assert codes(answer) == [
        (1, "pattern", "zip"),
        (3, "pattern", "zip"),
        (3, "duplicate-recipient", None),
    ]
    assert answer.rejected["other_line"].to_list() == [None, None, 4]


def test_duplicates_by_entity():
    """With the entity as recipient id two people may share an address, but not an id."""
    rows = [record(0, email="a@example.org"), record(1, email="a@example.org")]
    used = plan(recipient_id="entity")
    assert checked(drop(rows), used).rows["recipient_id"].to_list() == [
        "contact:C-0",
        "contact:C-1",
    ]
    again = checked(drop([*rows, record(2, entity_id="C-0")]), used)
    assert codes(again) == [(2, "duplicate-recipient", None)]
    assert again.rejected["other_line"].to_list() == [2]


def test_unique_names_the_first_line_and_ignores_empty_cells():
    """The first holder of a value passes; empty cells are no value; 02 is 2."""
    rows = [record(0, score="2"), record(1, score=""), record(2, score=""), record(3, score="02")]
    answer = checked(drop(rows))
    assert codes(answer) == [(3, "unique", "score")]
    assert answer.rejected["other_line"].to_list() == [2]


def test_repeats_are_found_across_chunks():
    """The last of more records than are judged at once repeats the first one of all."""
    rows = [record(n) for n in range(CHUNK_RECORDS)]
    answer = checked(drop([*rows, record(0, entity_id="Z")]))
    assert codes(answer) == [
        (CHUNK_RECORDS, "unique", "score"),
        (CHUNK_RECORDS, "duplicate-recipient", None),
    ]
    assert answer.rejected["other_line"].to_list() == [2, 2]


def test_attributes_are_written_as_campaign_takes_them():
    """Dates in full ISO 8601, numbers with a point, empty ones nil, "" or the attribute's own."""
    rows = [record(0), record(1, firstname="", birthday="", revenue="", notes="")]
    answer = checked(drop(rows))
    got = answer.rows.select("^attribute:.*$").to_dict(as_series=False)
    assert got == {
        "attribute:Vorname": ["Änne", ""],
        "attribute:Geburtstag": ["1980-12-03T00:00:00+00:00", None],
        "attribute:Umsatz": ["1234.5", "0"],
        "attribute:Notiz": ["nichts", ""],
    }


def test_carriers_hold_rejected_people_too():
    """Who carries an address is known of rejected rows and duplicates, not of broken records."""
    rows = [
        record(0),
        record(1, zip="x"),
        record(2, email="p0@example.org"),
        "kaputt",
        record(4, email=""),
    ]
    answer = checked(drop(rows))
    assert answer.carriers.rows() == [
        ("p0@example.org", "contact", "C-0", "4711"),
        ("p1@example.org", "contact", "C-1", "4711"),
        ("p0@example.org", "contact", "C-2", "4711"),
    ]


def test_the_address_is_normalised_and_kept_as_dropped():
    """The id is trimmed, lower case, in IDNA's form; the address as dropped stands beside it."""
    answer = checked(
        drop([record(0, email=" Änne.Müller@Bücher.TEST ".replace("Änne.Müller", "Anne"))])
    )
    assert answer.rows.select("recipient_id", "address", "address_dropped").row(0) == (
        "anne@xn--bcher-kva.test",
        "anne@xn--bcher-kva.test",
        " Anne@Bücher.TEST ",
    )


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_line_ends_may_be_mixed(ending):
    """LF and CRLF are read alike, also in one file."""
    data = drop([record(0), record(1) + "\n" + record(2)], ending=ending)
    assert checked(data).rows.height == 3


def test_columns_may_come_in_another_order_and_have_any_name():
    """Columns are found by name, and a name that polars could read as a pattern is a plain name."""
    header = "^.*$;" + ";".join(reversed(PLAN.schema.fields[0:0])) + ";".join(_names()[::-1])
    row = "egal;" + ";".join(record(0).split(";")[::-1])
    answer = checked(drop([row], header), plan(extra_columns="ignore"))
    assert answer.rows["recipient_id"].to_list() == ["p0@example.org"]


def _names():
    return [field.name for field in PLAN.schema.fields]


def test_a_broken_line_does_not_take_its_neighbours():
    """A stray quote before lines with quotes of their own costs one physical line."""
    rows = [
        record(0),
        'x;"offen',
        record(1, notes='"a;b"'),
        record(2, notes='"mit ""Quote"""'),
        record(3),
    ]
    answer = checked(drop(rows))
    assert codes(answer) == [(1, "open-quote", None)]
    assert answer.rows["entity_id"].to_list() == ["C-0", "C-1", "C-2", "C-3"]


def test_a_quoted_field_that_outgrows_the_limit_costs_its_first_line():
    """A multi-line record beyond the limit is an open quote; the lines inside are looked at."""
    rows = [record(0, notes='"' + "\n".join(["z" * 50] * 4) + '"'), record(1)]
    answer = checked(drop(rows), NARROW)
    assert [code for _, code, _ in codes(answer)][:2] == ["open-quote", "short-record"]
    assert answer.rows["entity_id"].to_list() == ["C-1"]


def test_who_does_not_want_to_be_tracked_is_known():
    """A yes, and what is neither yes nor no, is kept from opens and clicks; empty is no opt-out."""
    fields = [*DESCRIPTOR["fields"], {"name": "quiet", "type": "boolean"}]
    with_column = plan(schema=loaded({"fields": fields}), tracking_opt_out="quiet")
    header = ";".join([*COLUMNS, "quiet"])
    said = ["true", "false", "", "perhaps"]
    rows = [f"{record(number)};{word}" for number, word in enumerate(said)]
    answer = checked(drop(rows, header), with_column)
    assert answer.carriers["untracked"].to_list() == [True, False, False, True]
    assert codes(answer) == [(3, "type", "quiet")]
    assert "untracked" not in checked(drop([record(0)])).carriers.columns
    assert checked(drop([f"{record(0)};x"], header), with_column).carriers.height == 1
    for column in ("nix", "email"):
        (problem,) = plan_problems(plan(tracking_opt_out=column))
        assert column in problem
