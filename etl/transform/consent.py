"""The consent rule: one drop carries one consent, and it is the feed's.

It may name values of the consent columns, with counts, and never whose they are.
"""

from collections.abc import Sequence

import polars as pl

from etl.transform.plan import Consent, Fact, Note, Refusal

_SHOWN_VALUES = 5
_SHOWN_CHARS = 80
_MANY_ROWS = 10
_MANY_SHARE = 0.9


def judge_consent(rows: pl.DataFrame, consent: Consent) -> tuple[Refusal | None, list[Note]]:
    """Judge the columns opt_in_id, media_type and description of all sound records.

    Empty cells take no part: where they are forbidden they cost their row.
    """
    found = {column: _counts(rows[column]) for column in ("opt_in_id", "media_type", "description")}
    notes = _notes(found, consent, rows.height)
    for column, values in found.items():
        if len(values) > 1:
            facts: dict[str, Fact] = {
                "field": _name(column), "count": len(values), "values": _listed(values),
            }  # fmt: skip
            return Refusal("mixed-consents", facts, field=_name(column)), notes
    expected = {"opt_in_id": consent.opt_in_id, "media_type": consent.media_type}
    for column, right in expected.items():
        for value, rows_with in found[column]:
            if right is not None and value != right:
                facts = {
                    "field": _name(column), "value": _shown(value), "expected": right,
                    "rows": rows_with,
                }  # fmt: skip
                return Refusal("wrong-consent", facts, field=_name(column)), notes
    return None, notes


def filled(cell: pl.Expr, missing_values: Sequence[str]) -> pl.Expr:
    """Tell whether a consent cell says anything."""
    return ~cell.is_in(list(missing_values)) & (cell.str.strip_chars() != "")


def _notes(found: dict[str, list[tuple[str, int]]], consent: Consent, rows: int) -> list[Note]:
    notes = []
    opt_in_ids, texts = len(found["opt_in_id"]), found["description"]
    if rows >= _MANY_ROWS and opt_in_ids >= _MANY_SHARE * rows:
        notes.append(Note("many-consents", {"distinct": opt_in_ids, "rows": rows}))
    if consent.description is not None and len(texts) == 1 and texts[0][0] != consent.description:
        facts = {"value": _shown(texts[0][0]), "expected": _shown(consent.description)}
        notes.append(Note("other-description", facts))
    return notes


def _counts(values: pl.Series) -> list[tuple[str, int]]:
    """Count the values that say something, most frequent first, then by text."""
    frame = values.alias("value").to_frame()
    counts = (
        frame.filter(pl.col("value").str.strip_chars() != "")
        .group_by("value")
        .len("count")
        .sort(["count", "value"], descending=[True, False])
    )
    return [(str(value), int(count)) for value, count in counts.iter_rows()]


def _listed(values: list[tuple[str, int]]) -> str:
    """Name the values, most frequent first; where there are many, another column got in here."""
    if len(values) > _SHOWN_VALUES:
        return "too many to be consents, so none is named"
    return ", ".join(f"{_shown(value)} ({count})" for value, count in values)


def _shown(value: str) -> str:
    """Make a value fit to be named: no control characters, not long, and never an address."""
    if "@" in value:
        return "(looks like an address)"
    plain = "".join(char if char.isprintable() else "?" for char in value)
    return plain if len(plain) <= _SHOWN_CHARS else plain[: _SHOWN_CHARS - 1] + "…"


def _name(column: str) -> str:
    return column.replace("_", "-")
