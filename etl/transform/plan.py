"""What a check is given and what it gives back: values only, no judgement.

It may not know how a drop is split, judged or written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from etl.transform.fields import TableSchema

TECHNICAL_FIELDS = ("opt-in-id", "description", "media-type", "entity-type", "entity-id")

Fact = str | int | float | None


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a feed's drops are written. Line ends are CRLF or LF, mixed if need be."""

    encoding: Literal["utf-8", "utf-8-sig", "utf-16", "windows-1252", "iso-8859-15"] = "utf-8"
    """A byte order mark is accepted and dropped with both utf-8 names; utf-16 must have one."""
    delimiter: str = ";"
    quote: str = '"'
    decimal: str = ","
    """Decimal mark of number fields whose schema names no decimalChar."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a drop may cost."""

    file_bytes: int = 2_000_000_000
    line_bytes: int = 65_536
    columns: int = 512


@dataclass(frozen=True, slots=True)
class Consent:
    """The one consent a feed's drops carry; None means that any one value will do."""

    opt_in_id: str | None
    description: str | None
    media_type: str | None


@dataclass(frozen=True, slots=True)
class Attribute:
    """Where a Campaign attribute comes from.

    `empty` is sent for an empty cell; None sends nil, for a text column "".
    """

    column: str
    empty: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CheckPlan:
    """Everything a feed says about what its drops must be.

    Each is itself only, so that what is compiled of it can be kept.
    """

    schema: TableSchema
    consent: Consent
    address_column: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    """Campaign's attribute name -> column."""
    dialect: Dialect = Dialect()
    recipient_id: Literal["email", "entity"] = "email"
    extra_columns: Literal["reject", "ignore"] = "reject"
    duplicates: Literal["first", "reject-all"] = "first"
    final_newline: Literal["required", "optional"] = "required"
    entity_types: tuple[str, ...] = ()
    """Allowed entity types; empty allows any."""
    limits: Limits = Limits()
    tracking_opt_out: str | None = None
    """The boolean column that says who does not want opens and clicks to be told."""
    rejected_rows_limit: int = 1000
    rejected_share_limit: float = 0.05
    rejected_share_floor: int = 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the whole drop is refused. Facts hold no cells but values of the consent columns."""

    code: str
    facts: Mapping[str, Fact] = field(default_factory=dict)
    line: int | None = None
    column: int | None = None
    """Number of the column in the header, from 1."""
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth saying that stops nothing."""

    code: str
    facts: Mapping[str, Fact]


ATTRIBUTE = "attribute:"
"""Prefix of the columns of `Checked.rows` that hold Campaign's attribute values."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Every record of a drop with its fate. `rows` and `rejected` are disjoint and are all.

    Offsets count bytes of `content(data, dialect)`: the drop itself, byte order mark included,
    but for utf-16 its UTF-8 form. Lines are physical, from 1 (the header's); records from 0.
    """

    header: tuple[str, ...]
    header_end: int
    """Offset behind the header's line end; what `encode` needs."""
    rows_read: int
    rows: pl.DataFrame
    """record u32, line u32, offset u64, end u64, recipient_id, address, address_dropped,
    entity_type, entity_id, opt_in_id, and one column `attribute:NAME` each (null is nil)."""
    rejected: pl.DataFrame
    """One line per reason: record u32, line u32, last_line u32, offset u64, end u64, code, field,
    constraint, column_number u32, other_line u32; the last four and `field` may be null."""
    rejected_rows: int
    carriers: pl.DataFrame
    """Who carries an address, rejected records too: address, entity_type, entity_id, opt_in_id,
    and with `tracking_opt_out` also `untracked` (bool; what cannot be read is a yes)."""
    notes: tuple[Note, ...]
    refusal: Refusal | None
    """Set when the drop as a whole is refused although its rows could be read."""


def plan_problems(plan: CheckPlan) -> list[str]:
    """Say in words what of a plan can never be right, for the check of the configuration."""
    problems = _dialect_problems(plan.dialect)
    if plan.schema.field(plan.address_column) is None:
        problems.append(f"the schema has no column {plan.address_column!r} for the address")
    for name, attribute in plan.attributes.items():
        column = plan.schema.field(attribute.column)
        if column is None and attribute.column not in TECHNICAL_FIELDS:
            problems.append(f"attribute {name}: the schema has no column {attribute.column!r}")
        elif column is not None and column.type != "string" and attribute.empty == "":
            problems.append(f"attribute {name}: an empty {column.type} fails Campaign's whole call")
    if plan.tracking_opt_out is not None:
        column = plan.schema.field(plan.tracking_opt_out)
        if column is None or column.type != "boolean":
            problems.append(f"tracking_opt_out: {plan.tracking_opt_out!r} is no boolean column")
    for column in plan.schema.fields:
        mark = column.decimal_char or plan.dialect.decimal
        if column.type == "number" and column.group_char == mark:
            problems.append(f"{column.name}: decimal mark and groupChar are the same")
    return problems


def _dialect_problems(dialect: Dialect) -> list[str]:
    """Say what no record could be read by."""
    problems = [
        f"{name} must be one ASCII character that ends no line"
        for name, char in (("delimiter", dialect.delimiter), ("quote", dialect.quote))
        if len(char) != 1 or not char.isascii() or char in "\r\n\0"
    ]
    if dialect.delimiter == dialect.quote:
        problems.append("delimiter and quote are the same")
    if len(dialect.decimal) != 1 or dialect.decimal in "0123456789+-eE":
        problems.append("decimal must be one character that is no digit, sign or e")
    return problems
