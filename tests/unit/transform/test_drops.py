"""Every reason for which the check refuses a drop as a whole."""

import bz2
import gzip
import lzma

import pytest

from etl.reasons import REASONS
from etl.transform.check import (
    Consent,
    Dialect,
    Limits,
    Note,
    Refusal,
    check,
    content,
    plan_problems,
)
from tests.unit.transform.drops import COLUMNS, cells, checked, codes, drop, plan, record

HEADER = ";".join(COLUMNS)
GOOD = drop([record(0), record(1)])

REFUSED = {
    "empty": (b"", {}, "empty-file"),
    "only a mark": (b"\xef\xbb\xbf", {}, "empty-file"),
    "too large": (GOOD, {"limits": Limits(file_bytes=99)}, "too-large"),
    "zip": (b"PK\x03\x04" + GOOD, {}, "not-csv"),
    "gzip": (gzip.compress(GOOD), {}, "not-csv"),
    "bzip2": (bz2.compress(GOOD), {}, "not-csv"),
    "xz": (lzma.compress(GOOD), {}, "not-csv"),
    "zstd": (b"\x28\xb5\x2f\xfd" + GOOD, {}, "not-csv"),
    "pdf": (b"%PDF-1.7\n", {}, "not-csv"),
    "ole": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", {}, "not-csv"),
    "cr only": (GOOD.replace(b"\r\n", b"\r"), {}, "broken-header"),
    "blank header": (b"\r\n" + GOOD, {}, "broken-header"),
    "header open quote": (b'"' + GOOD, {}, "broken-header"),
    "header with nul": (b"\0" + GOOD, {}, "broken-header"),
    "long header": (GOOD, {"limits": Limits(line_bytes=9)}, "broken-header"),
    "cp1252 header": (
        drop([], HEADER.replace("zip", "Größe")).decode().encode("cp1252"),
        {},
        "wrong-encoding",
    ),
    "utf-16 in utf-8": (GOOD.decode().encode("utf-16"), {}, "wrong-encoding"),
    "utf-16 without mark": (GOOD, {"dialect": Dialect("utf-16")}, "wrong-encoding"),
    "utf-16 cut": (
        GOOD.decode().encode("utf-16")[:-1],
        {"dialect": Dialect("utf-16")},
        "truncated",
    ),
    "cut": (GOOD[:-4], {}, "truncated"),
    "columns": (GOOD, {"limits": Limits(columns=11)}, "too-many-columns"),
    "missing": (drop([], HEADER.replace(";zip", "")), {}, "missing-column"),
    "technical": (drop([], HEADER.replace("entity-id;", "")), {}, "missing-technical-field"),
    "twice": (drop([], HEADER + ";zip"), {}, "duplicate-column"),
    "nameless": (drop([], HEADER + ";"), {}, "empty-column-name"),
    "extra": (drop([], HEADER + ";IBAN"), {}, "extra-column"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_drop_that_cannot_be_read_is_refused(name):
    """The code is the expected one, exists, and its sentence finds every fact it names."""
    data, changes, code = REFUSED[name]
    answer = check(data, plan(**changes))
    assert isinstance(answer, Refusal)
    assert answer.code == code
    assert "?" not in REASONS[code].words(answer.facts).removesuffix("?")


def test_a_file_with_carriage_returns_only_is_told_so():
    """It is not read as one long header without rows, and the refusal says what to mend."""
    answer = check(GOOD.replace(b"\r\n", b"\r"), plan())
    assert isinstance(answer, Refusal)
    assert "carriage returns alone" in str(answer.facts["detail"])


def test_header_only_is_no_rows():
    """A header without records is a drop without rows, with empty lists to show."""
    answer = checked(drop([]))
    assert answer.refusal == Refusal("no-rows", {"rows": 0})
    assert (answer.rows_read, answer.rows.height, answer.rejected.height) == (0, 0, 0)


def test_a_drop_of_bad_rows_only_is_no_rows_and_lists_them():
    """When nobody is left the drop is refused and the reasons are there to read."""
    answer = checked(drop([record(0, zip="x")]))
    assert answer.refusal == Refusal("no-rows", {"rows": 1})
    assert codes(answer) == [(0, "pattern", "zip")]


@pytest.mark.parametrize(
    ("header", "field", "hint"),
    [
        (
            HEADER.replace("birthday", "Birth_day"),
            "birthday",
            "did you mean 'Birth_day' for 'birthday'?",
        ),
        (HEADER.replace(";zip", ""), "zip", None),
        (HEADER.replace(";", ","), "opt-in-id", "is the delimiter a comma?"),
        (
            HEADER.replace("entity-id", "entity id"),
            "entity-id",
            "did you mean 'entity id' for 'entity-id'?",
        ),
    ],
)
def test_a_missing_column_is_named_with_a_suggestion(header, field, hint):
    """The refusal names the column and, where a name comes close, what it may be called."""
    answer = check(drop([record(0)], header), plan())
    assert isinstance(answer, Refusal)
    assert answer.field == field
    assert answer.facts.get("detail") == hint


def test_a_first_line_of_data_is_not_repeated():
    """A file without a header has somebody's data there: the refusal says none of it."""
    answer = check(drop([record(1)], record(0, email="canary@example.org")), plan())
    assert isinstance(answer, Refusal)
    assert answer.code == "missing-technical-field"
    assert "canary" not in repr(answer)


@pytest.mark.parametrize(
    ("encoding", "suggestion"), [("cp1252", "windows-1252"), ("utf-16", "utf-16")]
)
def test_a_wrong_encoding_is_suggested_but_not_used(encoding, suggestion):
    """What the encoding may be is said; the drop is refused all the same."""
    answer = check(drop([], HEADER + ";Größe").decode().encode(encoding), plan())
    assert isinstance(answer, Refusal)
    assert answer.facts == {"encoding": "utf-8", "suggestion": suggestion}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "windows-1252", "iso-8859-15"]
)
def test_every_encoding_is_read(encoding):
    """Text comes out as it went in, and offsets name the record in the content."""
    text = drop([record(0, notes="Gruß €"), record(1)]).decode()
    data, used = text.encode(encoding), plan(dialect=Dialect(encoding))
    answer = checked(data, used)
    assert answer.rows["attribute:Notiz"].to_list() == ["Gruß €", "nichts"]
    offset, end = answer.rows.select("offset", "end").row(1)
    assert (
        content(data, used.dialect)[offset:end]
        == record(1).encode(encoding if encoding in ("windows-1252", "iso-8859-15") else "utf-8")
        + b"\r\n"
    )


def test_a_mark_before_utf_8_is_dropped():
    """A byte order mark is no part of the first column's name."""
    assert checked(b"\xef\xbb\xbf" + GOOD).header == COLUMNS


def test_bytes_outside_an_encoding_cost_their_record():
    """Bytes without meaning in windows-1252, and half a pair in utf-16, are bad-bytes."""
    data = drop([record(0), record(1, notes="x\x81y")]).decode().encode("latin-1", "replace")
    assert codes(checked(data, plan(dialect=Dialect("windows-1252")))) == [
        (1, "bad-bytes", "notes")
    ]
    text = drop([record(0), record(1, notes="x~y")]).decode()
    data = text.replace("~", "\ud800").encode("utf-16", "surrogatepass")
    assert codes(checked(data, plan(dialect=Dialect("utf-16")))) == [(1, "bad-bytes", "notes")]


def test_the_last_line_end_may_be_missing_where_the_feed_says_so():
    """final_newline = optional takes the last record as it is."""
    assert checked(GOOD.removesuffix(b"\r\n"), plan(final_newline="optional")).rows.height == 2


@pytest.mark.parametrize("column", ["opt-in-id", "media-type", "description"])
def test_two_consents_refuse_the_drop(column):
    """Two values of a consent column are named with their counts, and the rows are still read."""
    rows = [record(0), record(1), ";".join((cells(2) | {column: "anders"}).values())]
    answer = checked(drop(rows))
    first = cells(0)[column]
    assert answer.refusal == Refusal(
        "mixed-consents",
        {"field": column, "count": 2, "values": f"{first} (2), anders (1)"},
        field=column,
    )
    assert answer.rows_read == 3


@pytest.mark.parametrize("column", ["opt-in-id", "media-type"])
def test_another_consent_refuses_the_drop(column):
    """One value that is not the feed's is named beside the feed's."""
    rows = [";".join((cells(n) | {column: "anders"}).values()) for n in range(2)]
    answer = checked(drop(rows))
    assert answer.refusal == Refusal(
        "wrong-consent",
        {"field": column, "value": "anders", "expected": cells(0)[column], "rows": 2},
        field=column,
    )


def test_named_consents_are_few_short_and_no_addresses():
    """At most five values, 80 characters each; what looks like an address is not said."""
    values = ["canary@example.org", "canary@example.org", "y" * 200, "a\x07b", "1", "2"]
    answer = checked(drop([record(n, opt_in_id=value) for n, value in enumerate(values)]))
    assert answer.refusal is not None
    named = str(answer.refusal.facts["values"])
    assert "canary" not in named
    assert "\x07" not in named
    assert named.startswith("(looks like an address) (2), ")
    assert named.count("(1)") == 4
    assert "y" * 81 not in named


def test_many_values_in_a_consent_column_are_not_named():
    """Where another column got in, the values are people's: only their number is said."""
    answer = checked(drop([record(n, opt_in_id=f"Canaryname{n}") for n in range(12)]))
    assert answer.refusal is not None
    assert answer.refusal.facts["count"] == 12
    assert "Canary" not in str(answer.refusal)


def test_rejected_rows_bear_witness_of_consent_and_broken_ones_do_not():
    """A row that breaks a rule still shows a second consent; a broken record shows nothing."""
    assert checked(drop([record(0), record(1, opt_in_id="1", zip="x")])).refusal is not None
    assert checked(drop([record(0), record(1, opt_in_id="1") + ";zu viel"])).refusal is None


def test_another_description_and_many_consents_are_notes():
    """A changed text is said and stops nothing; as many ids as rows gets the question."""
    answer = checked(drop([record(n, description="Neu") for n in range(2)]))
    assert answer.refusal is None
    assert answer.notes == (Note("other-description", {"value": "Neu", "expected": "Newsletter"}),)
    many = checked(drop([record(n, opt_in_id=f"id-{n}") for n in range(12)]))
    assert many.notes == (Note("many-consents", {"distinct": 12, "rows": 12}),)
    silent = plan(consent=Consent("4711", None, "EMAIL"))
    assert checked(drop([record(0, description="Neu")]), silent).notes == ()


@pytest.mark.parametrize(
    ("bad", "good", "refused"), [(20, 20, False), (21, 379, True), (21, 420, False)]
)
def test_too_many_rejected_by_share(bad, good, refused):
    """More than 5 % and more than 20 rows refuse the drop; both are needed."""
    rows = [record(n, zip="x" if n < bad else "01067") for n in range(bad + good)]
    answer = checked(drop(rows), plan(rejected_share_limit=0.05))
    expected = Refusal(
        "too-many-rejected",
        {"rejected": bad, "rows": bad + good, "top_code": "pattern", "top_count": bad},
    )
    assert answer.refusal == (expected if refused else None)


def test_too_many_rejected_by_number_and_without_duplicates():
    """The absolute limit counts rows, not reasons, and repeated recipients not at all."""
    used = plan(rejected_rows_limit=3)
    bad = [record(n, zip="x", birthday="y") for n in range(3)]
    same = [record(n, email="same@example.org") for n in range(10, 20)]
    assert checked(drop([*bad, *same]), used).refusal is None
    worse = checked(drop([*bad, record(4, zip="x"), *same]), used)
    assert worse.refusal is not None
    assert worse.refusal.code == "too-many-rejected"


def test_a_plan_that_cannot_be_right_is_told():
    """Every mistake of a plan is named at once, and the plan of these tests has none."""
    assert plan_problems(plan()) == []
    bad = plan(
        dialect=Dialect(delimiter="''", quote="ä", decimal="1"),
        address_column="mail",
        attributes=plan().attributes
        | {
            "A": type(plan().attributes["Umsatz"])("nirgends"),
            "B": type(plan().attributes["Umsatz"])("score", empty=""),
        },
    )
    assert len(plan_problems(bad)) == 6
