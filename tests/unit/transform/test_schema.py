"""Table Schemas are read whole or refused by name; cells mean what docs/table-schema.md says."""

import json

import polars as pl
import pytest

from etl.shipped import shipped
from etl.transform.plan import TECHNICAL_FIELDS
from etl.transform.rules import Rule, failures
from etl.transform.schema import Field, TableSchema, load_schema
from etl.transform.values import meaning
from tests.unit.transform.drops import DESCRIPTOR, checked, codes, drop, plan, record


def problems(**field):
    """Load a schema of one field and give its problems."""
    answer = load_schema(json.dumps({"fields": [{"name": "x", **field}]}))
    return answer if isinstance(answer, list) else []


UNSUPPORTED = [
    ({"type": "object"}, "x: type 'object' is not supported"),
    ({"type": "geopoint"}, "x: type 'geopoint' is not supported"),
    ({"format": "uri"}, "x: format 'uri' is not supported for type string"),
    ({"type": "date", "format": "any"}, "x: format 'any' is not supported for type date"),
    ({"type": "date", "format": "%d.%m.%y"}, "x: format '%d.%m.%y' %y is not supported in a date"),
    ({"type": "date", "format": "%d.%m"}, "x: format '%d.%m' lacks %Y"),
    ({"type": "date", "format": "%d.%m.%Y %d"}, "x: format '%d.%m.%Y %d' names a part twice"),
    (
        {"type": "number", "format": "currency"},
        "x: format 'currency' is not supported for type number",
    ),
    ({"rdfType": "z"}, "x: rdfType is not supported for type string"),
    ({"decimalChar": ","}, "x: decimalChar is not supported for type string"),
    ({"missingValues": ["-"]}, "x: missingValues is not supported for type string"),
    (
        {"type": "number", "decimalChar": "e"},
        "x: decimalChar must be one character that is no digit, sign or e",
    ),
    (
        {"type": "number", "decimalChar": ",", "groupChar": ","},
        "x: decimalChar and groupChar are the same",
    ),
    ({"type": "integer", "bareNumber": "no"}, "x: bareNumber must be true or false"),
    ({"type": "boolean", "trueValues": "ja"}, "x: trueValues: must be a list of texts"),
    (
        {"type": "boolean", "trueValues": ["0"]},
        "x: a value stands in trueValues and in falseValues",
    ),
    ({"constraints": []}, "x: constraints must be an object"),
    ({"constraints": {"jsonSchema": {}}}, "x: constraint jsonSchema is not supported"),
    ({"constraints": {"exclusiveMinimum": 1}}, "x: constraint exclusiveMinimum is not supported"),
    ({"constraints": {"minimum": 1}}, "x: constraint minimum is not supported for type string"),
    (
        {"type": "integer", "constraints": {"pattern": "1"}},
        "x: constraint pattern is not supported for type integer",
    ),
    ({"type": "integer", "constraints": {"minimum": "eins"}}, "x: minimum 'eins' is not a integer"),
    (
        {"type": "date", "constraints": {"maximum": "01.01.2020"}},
        "x: maximum '01.01.2020' is not a date",
    ),
    ({"constraints": {"pattern": "("}}, "x: pattern '(' is no regular expression of Rust's regex"),
    (
        {"constraints": {"pattern": "a)|(?:b"}},
        "x: pattern 'a)|(?:b' is no regular expression of Rust's regex",
    ),
    (
        {"constraints": {"pattern": "(?=a)"}},
        "x: pattern '(?=a)' is no regular expression of Rust's regex",
    ),
    ({"constraints": {"pattern": 1}}, "x: pattern must be a text"),
    ({"constraints": {"enum": []}}, "x: enum must be a list of at least one value"),
    ({"type": "year", "constraints": {"enum": ["20"]}}, "x: enum value '20' is not a year"),
    ({"constraints": {"required": "yes"}}, "x: required must be true or false"),
    ({"constraints": {"maxLength": -1}}, "x: maxLength must be a whole number from 0"),
]


@pytest.mark.parametrize(("field", "problem"), UNSUPPORTED)
def test_what_is_not_supported_is_refused_by_name(field, problem):
    """Each unsupported type, format, word or constraint is exactly one problem, in words."""
    assert problems(**field) == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "not a JSON object"),
        ('{"fields": []}', "fields: must be a list of at least one field"),
        ('{"fields": [{"name": "a"}, {"name": "a"}]}', "fields: a stands there twice"),
        ('{"fields": [{"name": "a", "name": "b"}]}', "name: stands twice in one object"),
        ('{"fields": [{"type": "string"}]}', "field 1: must be an object with a name"),
        ('{"fields": [{"name": "a"}], "foreignKeys": []}', "foreignKeys: not supported"),
        ('{"fields": [{"name": "a"}], "uniqueKeys": []}', "uniqueKeys: not supported"),
        (
            '{"fields": [{"name": "a"}], "fieldsMatch": ["subset"]}',
            "fieldsMatch: only equal is supported",
        ),
        ('{"fields": [{"name": "a"}], "primaryKey": "b"}', "primaryKey: there is no field b"),
        (
            '{"fields": [{"name": "a"}], "primaryKey": 1}',
            "primaryKey: must be a name or a list of names",
        ),
        (
            '{"fields": [{"name": "a"}], "missingValues": [{"value": "-"}]}',
            "missingValues: must be a list of texts",
        ),
    ],
)
def test_a_schema_that_is_wrong_as_a_whole_says_why(text, problem):
    """Mistakes outside a field are one problem each too."""
    assert load_schema(text) == [problem]


def test_no_json_and_all_problems_at_once():
    """What is no JSON is told so, and of several problems none is left out."""
    assert str(load_schema("{")).startswith("['not JSON")
    fields = [{"name": "a", "type": "any"}, {"name": "b", "constraints": {"x": 1, "y": 2}}]
    assert len(load_schema(json.dumps({"fields": fields, "z": 1}))) == 4


@pytest.mark.parametrize("name", ["contacts", "leads", "accounts"])
def test_the_shipped_schemas_load_and_have_the_technical_fields(name):
    """The three shipped schemas are right and begin with the technical fields."""
    schema = load_schema((shipped("schemas") / f"{name}.json").read_text(encoding="utf-8"))
    assert isinstance(schema, TableSchema), schema
    assert tuple(field.name for field in schema.fields[:5]) == TECHNICAL_FIELDS


MEANINGS = [
    (
        Field("x", "integer"),
        {
            "7": "7",
            "007": "7",
            "+5": "5",
            "-0": "0",
            "1.0": None,
            "": None,
            " 7": None,
            "9223372036854775807": "9223372036854775807",
            "9223372036854775808": None,
            "1e3": None,
            "٣": None,
        },
    ),
    (
        Field("x", "integer", group_char="."),
        {"1.234": "1234", "1234": "1234", "12.34": None, "1.2345": None},
    ),
    (
        Field("x", "integer", bare_number=False),
        {"12 Stück": "12", "ca. 7": "7", "5-": None, "-5 %": "-5", "1 2": None},
    ),
    (
        Field("x", "number"),
        {
            "1.5": "1.5",
            "1,5": None,
            ".5": "0.5",
            "5.": "5",
            "-0.50": "-0.5",
            "1e3": "1000",
            "2.5E-2": "0.025",
            "007": "7",
            "NaN": None,
            "INF": None,
            "9" * 400: None,
            "1e100": None,
            "-0": "0",
            "100": "100",
        },
    ),
    (
        Field("x", "number", decimal_char=",", group_char="."),
        {
            "1.234,50": "1234.5",
            "1.5": None,
            "1234,5": "1234.5",
            "1.234.567": "1234567",
            "1,2,3": None,
        },
    ),
    (
        Field("x", "number", decimal_char=",", bare_number=False),
        {"95,5 %": "95.5", "EUR 3": "3", "3-": None},
    ),
    (Field("x", "boolean"), {"true": "true", "1": "true", "FALSE": "false", "ja": None}),
    (
        Field("x", "boolean", true_values=("ja",), false_values=("nein",)),
        {"ja": "true", "nein": "false", "1": None},
    ),
    (
        Field("x", "date"),
        {
            "2024-02-29": "2024-02-29T00:00:00+00:00",
            "2023-02-29": None,
            "2024-2-9": None,
            "0000-01-01": None,
            "2024-01-01 ": None,
            "24-01-01": None,
        },
    ),
    (
        Field("x", "date", "%d.%m.%Y"),
        {
            "1.2.2020": "2020-02-01T00:00:00+00:00",
            "01.02.20": None,
            "01.02.+2020": None,
            "01.02.12020": None,
            "31.04.2020": None,
            "01x02x2020": None,
        },
    ),
    (
        Field("x", "time"),
        {
            "23:59:59": "23:59:59",
            "24:00:00": None,
            "23:59:60": None,
            "1:2:3": None,
            "12:00:00.5": "12:00:00",
        },
    ),
    (Field("x", "time", "%H:%M"), {"7:05": "07:05:00", "25:00": None}),
    (
        Field("x", "datetime"),
        {
            "2020-01-02T03:04:05": "2020-01-02T03:04:05+00:00",
            "2020-01-02T03:04:05Z": "2020-01-02T03:04:05+00:00",
            "2020-01-02T03:04:05.5+02:00": "2020-01-02T01:04:05+00:00",
            "2020-01-02 03:04:05": None,
            "2020-01-02T03:04:60": None,
        },
    ),
    (
        Field("x", "datetime", "%d.%m.%Y %H:%M"),
        {"2.1.2020 3:04": "2020-01-02T03:04:00+00:00", "2.1.2020  3:04": None},
    ),
    (
        Field("x", "datetime", "%Y-%m-%d %H:%M:%S%z"),
        {"2020-01-02 03:04:05+0200": "2020-01-02T01:04:05+00:00", "2020-01-02 03:04:05": None},
    ),
    (Field("x", "year"), {"2020": "2020", "20": None, "0001": "1", "02020": None}),
    (Field("x"), {"": "", " a ": " a "}),
]


@pytest.mark.parametrize(("field", "cells"), MEANINGS)
def test_cells_mean_what_the_type_says(field, cells):
    """Fits, value and text agree: a text of the type has all three, any other none."""
    frame = pl.DataFrame({"c": list(cells)})
    means = meaning(field, pl.col("c"), ".")
    got = frame.select(
        fits=means.fits.fill_null(value=False), value=means.value.is_not_null(), text=means.text
    )
    assert dict(zip(cells, got["text"], strict=True)) == cells
    assert got["fits"].to_list() == got["value"].to_list() == got["text"].is_not_null().to_list()


def test_the_dialect_gives_the_decimal_mark_a_schema_leaves_open():
    """Without decimalChar the feed's mark counts; with it the schema's does."""
    frame = pl.DataFrame({"c": ["1,5"]})
    assert frame.select(meaning(Field("x", "number"), pl.col("c"), ",").text).item() == "1.5"
    marked = Field("x", "number", decimal_char=".")
    assert frame.select(meaning(marked, pl.col("c"), ",").text).item() is None


def judged(constraints: dict, kind: dict, *values: str) -> list[int]:
    """Give the records of which the value of `zip` breaks a rule."""
    fields = [dict(field) for field in DESCRIPTOR["fields"]]
    fields[7] = {"name": "zip", **kind, "constraints": constraints}
    schema = load_schema(json.dumps({"fields": fields, "missingValues": ["", "-"]}))
    assert isinstance(schema, TableSchema), schema
    rows = [record(number, zip=value) for number, value in enumerate(values)]
    return [number for number, _, _ in codes(checked(drop(rows), plan(schema=schema)))]


@pytest.mark.parametrize(
    ("constraints", "kind", "values", "bad"),
    [
        ({"required": True}, {}, ("a", "", "-", '"-"', " "), [1, 2, 3]),
        (
            {"minimum": 2, "maximum": 3},
            {"type": "integer"},
            ("1", "2", "3", "4", "-", "x"),
            [0, 3, 5],
        ),
        ({"minimum": "0,5"}, {"type": "number", "decimalChar": ","}, ("0,4", "0,5"), [0]),
        ({"minimum": 0.5}, {"type": "number", "decimalChar": ","}, ("0,4", "0,5"), [0]),
        ({"maximum": "12:00:00"}, {"type": "time"}, ("12:00:00", "12:00:01"), [1]),
        (
            {"minimum": "2020-01-01T00:00:00+01:00"},
            {"type": "datetime"},
            ("2019-12-31T23:00:00Z", "2019-12-31T22:59:59Z"),
            [1],
        ),
        ({"maximum": "2000"}, {"type": "year"}, ("2000", "2001"), [1]),
        ({"enum": [1, "2"]}, {"type": "integer"}, ("01", "2", "3"), [2]),
        (
            {"enum": ["ja"]},
            {"type": "boolean", "trueValues": ["ja", "j"], "falseValues": ["n"]},
            ("j", "n"),
            [1],
        ),
        ({"enum": ["a"]}, {}, ("a", "A", "-"), [1]),
        ({"pattern": "a|b"}, {}, ("a", "b", "ab", "ba", '"a\n"'), [2, 3, 4]),
        ({"minLength": 2, "maxLength": 2}, {}, ("ä", "äö", "äöü", "-"), [0, 2]),
        ({"unique": True}, {"type": "number"}, ("1", "1,0", "-", "-", "x", "x"), [1, 4, 5]),
    ],
)
def test_constraints(constraints, kind, values, bad):
    """A constraint refuses exactly the cells outside it; a missing cell breaks only `required`."""
    assert judged(constraints, kind, *values) == bad


def test_a_primary_key_is_required_and_unique_together():
    """Each part of the key must be there, and only the whole key must not come twice."""
    schema = load_schema(json.dumps(DESCRIPTOR | {"primaryKey": ["zip", "notes"]}))
    rows = [
        record(0, zip="00001", notes="aa"),
        record(1, zip="00001", notes="bb"),
        record(2, zip="00001", notes="aa"),
        record(3, zip=""),
        record(4, zip=""),
    ]
    assert codes(checked(drop(rows), plan(schema=schema))) == [
        (2, "unique", "zip,notes"),
        (3, "required", "zip"),
        (4, "required", "zip"),
    ]


def test_a_null_verdict_is_a_no():
    """A rule whose expression gives null has not been passed."""
    frame = pl.DataFrame({"c0": ["a", "b", "c"]})
    verdict = pl.when(pl.col("c0") != "b").then(pl.col("c0") == "a")
    rules = [Rule("enum", "x", None, verdict), Rule("type", "x", None, pl.lit(value=True))]
    assert [(rule.code, rows.to_list()) for rule, rows in failures(frame, rules)] == [
        ("enum", [1, 2])
    ]
