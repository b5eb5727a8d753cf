"""Drops made by hand for the tests of the check: a small schema, a plan, records."""

import json
from collections.abc import Iterable
from dataclasses import replace

from etl.transform.check import Attribute, Checked, CheckPlan, Consent, check
from etl.transform.schema import TableSchema, load_schema

COLUMNS = (
    "opt-in-id", "description", "media-type", "entity-type", "entity-id", "email", "firstname",
    "zip", "birthday", "revenue", "score", "notes",
)  # fmt: skip

DESCRIPTOR = {
    "fields": [
        {"name": "opt-in-id"},
        {"name": "description"},
        {"name": "media-type"},
        {"name": "entity-type", "constraints": {"required": True}},
        {"name": "entity-id", "constraints": {"required": True}},
        {"name": "email", "format": "email", "constraints": {"required": True}},
        {"name": "firstname", "constraints": {"enum": ["Änne", "Bo", "Cem"]}},
        {"name": "zip", "constraints": {"pattern": "[0-9]{5}"}},
        {
            "name": "birthday",
            "type": "date",
            "format": "%d.%m.%Y",
            "constraints": {"minimum": "01.01.1900", "maximum": "31.12.2020"},
        },
        {"name": "revenue", "type": "number", "decimalChar": ",", "groupChar": "."},
        {"name": "score", "type": "integer", "constraints": {"unique": True}},
        {"name": "notes", "constraints": {"minLength": 2, "maxLength": 80}},
    ]
}


def loaded(descriptor: object = None) -> TableSchema:
    """Load a descriptor that must be right."""
    schema = load_schema(json.dumps(DESCRIPTOR if descriptor is None else descriptor))
    assert isinstance(schema, TableSchema), schema
    return schema


PLAN = CheckPlan(
    schema=loaded(),
    consent=Consent("4711", "Newsletter", "EMAIL"),
    address_column="email",
    attributes={
        "Vorname": Attribute("firstname"),
        "Geburtstag": Attribute("birthday"),
        "Umsatz": Attribute("revenue", empty="0"),
        "Notiz": Attribute("notes"),
    },
    rejected_share_limit=1.0,
)


def plan(**changes: object) -> CheckPlan:
    """Change the plan of these tests."""
    return replace(PLAN, **changes)


def cells(number: int, **changes: str) -> dict[str, str]:
    """Give the cells of a good record; `changes` by column name, `_` for `-`."""
    made = {
        "opt-in-id": "4711",
        "description": "Newsletter",
        "media-type": "EMAIL",
        "entity-type": "contact",
        "entity-id": f"C-{number}",
        "email": f"p{number}@example.org",
        "firstname": "Änne",
        "zip": "01067",
        "birthday": "03.12.1980",
        "revenue": "1.234,50",
        "score": str(number),
        "notes": "nichts",
    }
    return made | {name.replace("_", "-"): value for name, value in changes.items()}


def record(number: int, **changes: str) -> str:
    """Write a record as a CRM does, fields as they are given: quotes are the caller's."""
    return ";".join(cells(number, **changes).values())


def drop(records: Iterable[str | bytes], header: str | None = None, ending: str = "\r\n") -> bytes:
    """Put records under a header."""
    lines = [";".join(COLUMNS) if header is None else header, *records]
    joined = (line if isinstance(line, bytes) else line.encode() for line in lines)
    return b"".join(line + ending.encode() for line in joined)


def checked(data: bytes, used: CheckPlan = PLAN) -> Checked:
    """Check a drop whose rows can be listed."""
    answer = check(data, used)
    assert isinstance(answer, Checked), answer
    return answer


def codes(answer: Checked) -> list[tuple[int, str, str | None]]:
    """Give record, code and field of every reason."""
    return list(answer.rejected.select("record", "code", "field").iter_rows())
