"""What would happen to a file: the check alone, without effect and without network."""

from pathlib import Path
from typing import Any

import polars as pl

from etl.config import Config
from etl.errors import ConfigError, Problem
from etl.reasons import REASONS
from etl.shipped import shipped
from etl.transform.check import TECHNICAL_FIELDS, CheckPlan, Consent, Refusal, check
from etl.transform.schema import TableSchema, load_schema


class NoFeed(Exception):  # noqa: N818 - a wrong call, told by the command line
    """No feed is named, and the file's name does not tell which one."""


def try_file(
    path: Path, config: Config | None, feed: str | None, schema: str | None
) -> dict[str, Any]:
    """Judge a file by a feed or by a schema alone; fates, reasons and first lines, no cells.

    OSError when it cannot be read, NoFeed when no feed is meant.
    """
    plan = _plan(path, config, feed, schema)
    found = check(path.read_bytes(), plan)
    answer: dict[str, Any] = {
        "file": path.name, "refusal": None, "rows_read": 0, "accepted": 0, "rejected": 0,
        "reasons": [], "notes": [],
    }  # fmt: skip
    refusal = found if isinstance(found, Refusal) else found.refusal
    if refusal is not None:
        reason = REASONS[refusal.code]
        answer["refusal"] = {
            "code": refusal.code, "sentence": reason.words(refusal.facts), "hint": reason.hint,
            "line": refusal.line, "column": refusal.column, "field": refusal.field,
        }  # fmt: skip
    if isinstance(found, Refusal):
        return answer
    groups = (
        found.rejected.group_by("code", "field", "constraint")
        .agg(
            pl.col("record").n_unique().alias("rows"),
            pl.col("line").unique().sort().head(10).alias("lines"),
        )
        .sort("rows", descending=True)
    )
    return answer | {
        "rows_read": found.rows_read,
        "accepted": found.rows.height,
        "rejected": found.rejected_rows,
        "reasons": [
            {
                **row,
                "sentence": _words(row["code"], row["field"], row["constraint"]),
                "hint": REASONS[row["code"]].hint,
            }
            for row in groups.iter_rows(named=True)
        ],
        "notes": [
            {"code": note.code, "sentence": REASONS[note.code].words(note.facts)}
            for note in found.notes
        ],
    }


def _words(code: str, field: str | None, constraint: str | None) -> str:
    facts = {"field": field, **dict.fromkeys(("constraint", "limit", "encoding"), constraint)}
    return REASONS[code].words({**facts, "other_line": "of the first one"})


def _plan(path: Path, config: Config | None, feed: str | None, schema: str | None) -> CheckPlan:
    if schema is not None:
        return _schema_alone(schema)
    if config is None:
        raise NoFeed("name a feed or a schema")
    if feed is None:
        fitting = config.feeds_for(path.name)
        if len(fitting) != 1:
            raise NoFeed(f"{len(fitting)} feeds fit this file name: say which with --feed")
        feed = fitting[0].name
    if feed not in config.plans:
        raise NoFeed(f"there is no feed {feed}")
    return config.plans[feed]


def _schema_alone(name: str) -> CheckPlan:
    """A plan without a feed: any one consent will do."""
    path = Path(name) if name.endswith(".json") else shipped("schemas") / f"{name}.json"
    try:
        schema = load_schema(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        what = f"cannot be read ({type(error).__name__})"
        raise ConfigError([Problem(str(path), what)]) from None
    if not isinstance(schema, TableSchema):
        raise ConfigError([Problem(str(path), text) for text in schema])
    columns = [field.name for field in schema.fields]
    missing = [each for each in TECHNICAL_FIELDS if each not in columns]
    address = next((field.name for field in schema.fields if field.format == "email"), None)
    if missing or address is None:
        what = "has no column of format email" if address is None else f"lacks {missing}"
        raise ConfigError([Problem(str(path), what)])
    return CheckPlan(schema=schema, consent=Consent(None, None, None), address_column=address)
