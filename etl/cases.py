"""Cases for ops: which rows or which drop could not go on, and why.

How a case is laid out is `etl.load.quarantine`'s; here it is filled from a batch.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from etl.batch import Batch
from etl.load.outcome import Outcome
from etl.load.quarantine import (
    CaseReport,
    Refusal,
    RefusedRow,
    RejectedRows,
    RowCounts,
    add_refused,
    write_case,
)
from etl.settings import Feed
from etl.staging import ORIGINAL, Unfit, counts
from etl.transform.check import Checked, content
from etl.transform.decode import codec
from etl.world import World


def case_of_rows(
    world: World, batch: Batch, feed: Feed, drop: bytes, checked: Checked, facts: Mapping[str, Any]
) -> None:
    """Write the rows that broke a rule, of a drop that goes on without them."""
    report = _report(world, batch, None, facts)
    root = world.quarantine.check()
    write_case(root, report, _rejected(world, feed, drop, checked), None)
    world.journal.batches.has_case(batch, report.case)


def case_of_refused(world: World, batch: Batch, staged: pl.DataFrame, outcome: Outcome) -> None:
    """Write the rows that Campaign refused (codes 1, 6, 7, poisoned) into the batch's case."""
    codes = {row: f"code-{code}" for row, code in outcome.refused_rows.items()}
    codes |= dict.fromkeys(outcome.poisoned_rows, "poisoned")
    lines, ids = staged["line"], staged["recipient_id"]
    report = _report(world, batch, None, world.journal.batches.detail(batch)["check"])
    root = world.quarantine.check()
    rows = [RefusedRow(lines[row], ids[row], code) for row, code in sorted(codes.items())]
    add_refused(root, report, rows)
    world.journal.batches.has_case(batch, report.case)


def case_of_drop(world: World, batch: Batch, error: Unfit) -> None:
    """Write a drop that can never be right, with what the check saw of its rows."""
    checked, found = error.checked, error.refusal
    facts = None
    if checked is not None:
        # Refused after the suppression, its counts are in the journal already.
        staged = world.journal.batches.detail(batch)["check"]
        facts = counts(checked, None) if checked.refusal is not None else staged
    refusal = Refusal(found.code, found.facts, found.line, found.column, found.field)
    report = _report(world, batch, refusal, facts)
    feed = world.config.find_feed(batch.feed or "")
    rejected = None
    if checked is not None and feed is not None:
        rejected = _rejected(world, feed, error.content, checked)
    original = world.batches / batch.id / ORIGINAL
    write_case(world.quarantine.check(), report, rejected, original)
    if facts is not None:
        world.journal.batches.counted(batch, facts)
    world.journal.batches.has_case(batch, report.case)


def _rejected(world: World, feed: Feed, drop: bytes, checked: Checked) -> RejectedRows:
    """Offsets of a check count in the drop's bytes as `content` gives them."""
    dialect = world.config.plans[feed.name].dialect
    return RejectedRows(
        checked.rejected, content(drop, dialect), checked.header, codec(dialect),
        dialect.delimiter, dialect.quote,
    )  # fmt: skip


def _report(
    world: World, batch: Batch, refusal: Refusal | None, facts: Mapping[str, Any] | None
) -> CaseReport:
    """What a case says of the drop it is about."""
    rows = None
    if facts is not None:
        rows = RowCounts(
            facts["rows_read"], facts["accepted"], facts["rejected"], facts["suppressed"]
        )
    return CaseReport(
        batch=batch.id,
        feed=batch.feed,
        name=batch.name,
        size_bytes=batch.size_bytes,
        sha256=batch.sha256,
        dropped_at=batch.dropped_at,
        claimed_at=batch.claimed_at,
        written_at=world.clock.wall(),
        refusal=refusal,
        rows=rows,
    )
