"""What only the whole file can tell of its rows: unique values and repeated recipients.

It may not look at a cell's rules; it compares what was made of the cells.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Literal

import polars as pl

from etl.transform.header import columns_of
from etl.transform.plan import CheckPlan
from etl.transform.rules import meanings

REPEATS = ("duplicate-recipient", "ambiguous-recipient")
"""Codes that do not count towards the threshold of rejected rows."""

_PLACE = ("record", "line", "last_line", "offset", "end")


@lru_cache(maxsize=64)
def unique_columns(plan: CheckPlan) -> Mapping[str, tuple[str, pl.Expr]]:
    """Give a column for each key of the schema: its name, the field's, and the key itself.

    A key is the canonical text; null where the cell is missing or not of its type, for such cells
    take no part. The names of a primary key of several fields are joined with a comma.
    """
    means = meanings(plan)

    def key(name: str) -> pl.Expr:
        _, missing, meant = means[name]
        return pl.when(~missing).then(meant.text)

    keys = {field.name: key(field.name) for field in columns_of(plan) if field.unique}
    primary = plan.schema.primary_key
    if len(primary) == 1:
        keys[primary[0]] = key(primary[0])
    elif primary:
        # The length in front keeps ("a", "bc") and ("ab", "c") apart.
        parts = [(key(n).str.len_bytes().cast(pl.String), pl.lit(":"), key(n)) for n in primary]
        keys[",".join(primary)] = pl.concat_str(part for triple in parts for part in triple)
    return {f"key {number}": (name, found) for number, (name, found) in enumerate(keys.items())}


def unique_repeats(sound: pl.DataFrame, plan: CheckPlan) -> Iterator[tuple[str, pl.DataFrame]]:
    """Give for each key the records that repeat an earlier one's, with its line."""
    for column, (field, _) in unique_columns(plan).items():
        keyed = sound.filter(pl.col(column).is_not_null())
        later = keyed.filter(~pl.col(column).is_first_distinct())
        if later.is_empty():
            continue
        first = keyed.filter(pl.col(column).is_first_distinct())
        lines = first.select(column, other_line="line")
        found = later.join(lines, on=column, how="left", maintain_order="left")
        yield field, found.select(*_PLACE, "other_line")


def recipient_repeats(
    sound: pl.DataFrame, fit: pl.DataFrame, policy: Literal["first", "reject-all"]
) -> tuple[str, pl.DataFrame]:
    """Give the records that are a recipient again, the code they get, and the other's line.

    Only fit rows can take a recipient's place, so a row that breaks a rule costs no other. With
    `first` every sound record behind the one that is kept is a repeat; with `reject-all` every
    fit row of a recipient that comes more than once.
    """
    if policy == "reject-all":
        groups = fit.group_by("recipient_id", maintain_order=True).agg(
            times=pl.len(), first=pl.col("line").first(), last=pl.col("line").last()
        )
        again = groups.filter(pl.col("times") > 1)
        found = fit.join(again, on="recipient_id", how="inner", maintain_order="left")
        other = pl.when(pl.col("line") == pl.col("first")).then("last").otherwise("first")
        return REPEATS[1], found.select(*_PLACE, other.alias("other_line"))
    kept = fit.filter(pl.col("recipient_id").is_first_distinct()).select(
        "recipient_id", kept_record="record", other_line="line"
    )
    found = sound.join(kept, on="recipient_id", how="inner", maintain_order="left")
    return REPEATS[0], found.filter(pl.col("record") > pl.col("kept_record")).select(
        *_PLACE, "other_line"
    )
