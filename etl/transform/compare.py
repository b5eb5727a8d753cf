"""What a refill would change: two tables of staged rows compared by recipient id.

It counts and names nobody; who may be mailed is decided elsewhere.
"""

from dataclasses import dataclass

import polars as pl

from etl.transform.check import ATTRIBUTE

KEY, ADDRESS = "recipient_id", "address"


@dataclass(frozen=True, slots=True)
class Changes:
    """How many recipients come, go, are written anew or stay as they are."""

    joiners: int
    leavers: int
    changed: int
    unchanged: int


def compare(now: pl.DataFrame, then: pl.DataFrame) -> Changes:
    """Count what differs between what a list holds and what it would hold.

    A recipient has changed when its address or an attribute has another value; an attribute that
    only one of the tables has is null in the other. Of rows with one id the first counts, as it
    does in the list.
    """
    columns = sorted(
        {name for frame in (now, then) for name in frame.columns if name.startswith(ATTRIBUTE)}
        | {ADDRESS}
    )
    before, after = _only(now, columns), _only(then, columns)
    both = before.join(after, on=KEY, how="inner", suffix=":then")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}:then")) for name in columns)
    changed = both.filter(differs).height
    return Changes(
        joiners=after.height - both.height,
        leavers=before.height - both.height,
        changed=changed,
        unchanged=both.height - changed,
    )


def returning(sent: pl.DataFrame, newer: pl.DataFrame) -> int:
    """How many recipients of `sent` are absent from the newer content."""
    return sent.join(newer, on=KEY, how="anti").select(KEY).n_unique()


def _only(frame: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """One row an id, with exactly these columns."""
    missing = [pl.lit(None, pl.String).alias(name) for name in columns if name not in frame.columns]
    return (
        frame.with_columns(missing)
        .select(KEY, *columns)
        .unique(KEY, keep="first", maintain_order=True)
    )
