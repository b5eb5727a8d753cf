"""The one place where a rule becomes an expression: named booleans over a drop's columns.

It may not decide about a row; it says which records a rule does not pass, and null is a no.
Columns are read as `c0`, `c1` ... in the order of `header.columns_of`, so that no header name can
mean something to polars; `address` and `recipient_id` stand beside them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import polars as pl

from etl.transform.address import fold, taken
from etl.transform.consent import filled
from etl.transform.fields import Field
from etl.transform.header import columns_of
from etl.transform.plan import TECHNICAL_FIELDS, CheckPlan
from etl.transform.values import Meaning, comparable, meaning

# What XML 1.0 cannot carry, not even escaped. Surrogates cannot be in a polars String.
_FORBIDDEN = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x{FFFE}\x{FFFF}]"


@dataclass(frozen=True, slots=True)
class Rule:
    """One named rule: a record passes where `passes` is true, and only there."""

    code: str
    field: str
    constraint: str | None
    passes: pl.Expr

    @property
    def name(self) -> tuple[str, str, str | None]:
        """What tells rules apart."""
        return (self.code, self.field, self.constraint)


@lru_cache(maxsize=64)
def compile_rules(plan: CheckPlan) -> tuple[Rule, ...]:
    """Give every rule of a feed, in the order in which reasons are listed."""
    rules: list[Rule] = []
    mapped = {attribute.column for attribute in plan.attributes.values()}
    sent = {*TECHNICAL_FIELDS, plan.address_column, *mapped}
    for index, field in enumerate(columns_of(plan)):
        cell = pl.col(f"c{index}")
        missing = cell.is_in(list(plan.schema.missing_values))
        rules.extend(_schema_rules(field, cell, missing, plan))
        rules.extend(_own_rules(field, cell, missing, plan))
        if field.name in sent:
            rules.append(
                Rule("control-character", field.name, None, ~cell.str.contains(_FORBIDDEN))
            )
    return tuple({rule.name: rule for rule in rules}.values())


def failures(frame: pl.DataFrame, rules: Sequence[Rule]) -> Iterator[tuple[Rule, pl.Series]]:
    """Give each rule that some record does not pass, with the numbers of those rows."""
    verdicts = frame.lazy().select(
        rule.passes.fill_null(value=False).alias(str(number)) for number, rule in enumerate(rules)
    )
    answers = verdicts.collect()
    for rule, passed in zip(rules, answers.iter_columns(), strict=True):
        if not passed.all():
            yield rule, (~passed).arg_true()


@lru_cache(maxsize=64)
def meanings(plan: CheckPlan) -> Mapping[str, tuple[Field, pl.Expr, Meaning]]:
    """Give, by column name, the field, whether its cell is missing, and what it means."""
    found = {}
    for index, field in enumerate(columns_of(plan)):
        cell = pl.col(f"c{index}")
        missing = cell.is_in(list(plan.schema.missing_values))
        found[field.name] = (field, missing, meaning(field, cell, plan.dialect.decimal))
    return found


def _schema_rules(field: Field, cell: pl.Expr, missing: pl.Expr, plan: CheckPlan) -> Iterable[Rule]:
    """Turn a field of the Table Schema into rules; a missing cell passes all but `required`."""
    means = meaning(field, cell, plan.dialect.decimal)
    fits = means.fits.fill_null(value=False)
    if field.required or field.name in plan.schema.primary_key:
        yield Rule("required", field.name, None, ~missing)
    if field.type != "string":
        shown = field.type if field.format == "default" else f"{field.type} ({field.format})"
        yield Rule("type", field.name, shown, missing | fits)
    for code, constraint, passes in _constraints(field, cell, means):
        # A cell that is no number is not also too small: it has the one reason `type`.
        text = None if constraint is None else str(constraint)
        yield Rule(code, field.name, text, missing | ~fits | passes.fill_null(value=False))


def _constraints(
    field: Field, cell: pl.Expr, means: Meaning
) -> Iterable[tuple[str, object, pl.Expr]]:
    """Give code, constraint and expression of each constraint a field has."""
    if field.format == "email":
        yield "email", None, taken(fold(cell))
    if field.enum is not None:
        yield "enum", None, means.text.is_in(list(field.enum))
    if (pattern := field.pattern) is not None:
        yield "pattern", pattern, cell.str.contains(f"^(?:{pattern})$")
    if (least := field.min_length) is not None:
        yield "min-length", least, cell.str.len_chars() >= least
    if (most := field.max_length) is not None:
        yield "max-length", most, cell.str.len_chars() <= most
    if (low := field.minimum) is not None:
        yield "minimum", low, means.value >= comparable(field, low)
    if (high := field.maximum) is not None:
        yield "maximum", high, means.value <= comparable(field, high)


def _own_rules(field: Field, cell: pl.Expr, missing: pl.Expr, plan: CheckPlan) -> Iterable[Rule]:
    """Give the rules that hold whatever the schema says."""
    if field.name == plan.address_column:
        yield Rule("required", field.name, None, ~missing)
        yield Rule("email", field.name, None, missing | taken(pl.col("address")))
    if field.name in ("opt-in-id", "media-type"):
        yield Rule("empty-consent", field.name, None, filled(cell, plan.schema.missing_values))
    if plan.recipient_id == "entity" and field.name in ("entity-type", "entity-id"):
        yield Rule("required", field.name, None, ~missing & (cell.str.strip_chars() != ""))
    if field.name == "entity-type" and plan.entity_types:
        yield Rule("entity-type", field.name, None, cell.is_in(list(plan.entity_types)))
