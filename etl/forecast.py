"""What a refill or a rollback would change, and what would speak against it: counts and codes.

It reads the journal, the store and kept rows of one state directory and asks nobody; nothing is
written, and no person is named.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from etl.batch import Batch, Place
from etl.config import Config
from etl.errors import EtlError, GuardTripped, Mismatch
from etl.extract.suppressions import SuppressionStore
from etl.gates import consent_against, known_of
from etl.guards import freshness_problems, returning_problems, row_problems
from etl.intake import drop_order
from etl.journal import Journal
from etl.load.ledger import ALREADY, INSERTED, Ledger
from etl.reasons import REASONS, About
from etl.rollback import find_undo, kept_rows
from etl.settings import Feed
from etl.staging import suppressed_by_store
from etl.transform.check import Refusal, check
from etl.transform.compare import compare, returning

NOT_ASKED = "Campaign is not asked here; everybody is asked about again before the refill"


@dataclass(frozen=True, slots=True)
class Memory:
    """What one state directory knows, to be read."""

    config: Config
    journal: Journal
    store: SuppressionStore
    now: datetime

    @property
    def batches(self) -> Path:
        """The folder of kept rows."""
        return self.config.settings.folders.state / "batches"


@dataclass(frozen=True, slots=True)
class _Then:
    """The rows that would be sent, before suppression, and where they come in the order."""

    rows: pl.DataFrame
    order: str
    newer: pl.DataFrame | None = None
    """What a rollback undoes."""


def forecast(memory: Memory, feed: Feed, file: Path | None) -> dict[str, Any]:
    """Tell what `file` would change in the feed's list, or without one what a rollback would.

    OSError when the file cannot be read.
    """
    with memory.journal.snapshot():
        answer = _empty(memory, feed, file)
        try:
            then = _rollback(memory, feed, answer) if file is None else _file(
                memory, feed, file, answer
            )  # fmt: skip
            if then is not None:
                _compare(memory, feed, then, answer)
        except (GuardTripped, Mismatch) as refusal:
            answer["refusal"] = _told(refusal)
    return answer


def _empty(memory: Memory, feed: Feed, file: Path | None) -> dict[str, Any]:
    """The answer's shape, with what is known whatever would be done."""
    dirty = [
        each.id for each in memory.journal.batches.under_way()
        if each.feed == feed.name and each.place is Place.REFILLING
    ]  # fmt: skip
    last = memory.journal.batches.completed(feed.name, 1)
    return {
        "feed": feed.name,
        "list_id": feed.list.id if feed.list else None,
        "file": file.name if file else None,
        "rollback_of": None,
        "undoes": None,
        "last_refill": last[0] if last else None,
        "dirty_list": bool(dirty),
        "dirty_batch": dirty[0] if dirty else None,
        "refusal": None,
        "rows_read": None, "rejected": None, "suppressed": None, "to_send": None,
        "listed_now": None, "joiners": None, "leavers": None, "changed": None, "unchanged": None,
        "returning": None,
        "guards": [],
        "note": NOT_ASKED,
    }  # fmt: skip


def _rollback(memory: Memory, feed: Feed, answer: dict[str, Any]) -> _Then:
    """The kept rows that a rollback would put back."""
    mandator = memory.config.settings.client[feed.client].mandator
    undo = find_undo(memory.journal, feed, mandator)
    answer |= {"rollback_of": undo.source.id, "undoes": undo.undone.id}
    return _Then(_kept(memory, undo.source), undo.order, _kept(memory, undo.undone))


def _file(memory: Memory, feed: Feed, file: Path, answer: dict[str, Any]) -> _Then | None:
    """The fit rows of a file; None when it would be refused as a whole."""
    found = check(file.read_bytes(), memory.config.plans[feed.name])
    refusal = found if isinstance(found, Refusal) else found.refusal
    if refusal is not None:
        reason = REASONS[refusal.code]
        answer["refusal"] = {
            "code": refusal.code, "sentence": reason.words(refusal.facts), "hint": reason.hint,
        }  # fmt: skip
    if isinstance(found, Refusal):
        return None
    answer |= {"rows_read": found.rows_read, "rejected": found.rejected_rows}
    if refusal is not None:
        return None
    return _Then(found.rows, drop_order(feed, file.name, file.stat().st_mtime_ns))


def _compare(memory: Memory, feed: Feed, then: _Then, answer: dict[str, Any]) -> None:
    """Suppress by the store, compare with what the list holds, and ask the guards."""
    store = memory.store
    hits = suppressed_by_store(store, feed.client, then.rows)
    sent = then.rows.join(hits, on="record", how="anti")
    now = _listed_now(memory, feed)
    answer |= {
        "suppressed": then.rows.height - sent.height,
        "to_send": sent.height,
        "listed_now": now.height,
        **asdict(compare(now, sent)),
    }
    if then.newer is not None:
        answer["returning"] = returning(sent, then.newer)
    tripped = [
        *_guards(memory, feed, sent.height, then.order),
        *returning_problems(answer["returning"] or 0),
    ]
    if then.newer is not None:
        tripped += consent_against(feed, then.rows)
    answer["guards"] = [_told(each, feed if then.newer is not None else None) for each in tripped]


def _guards(memory: Memory, feed: Feed, rows: int, order: str) -> Iterator[GuardTripped]:
    """Every guard that can be asked without a far side."""
    journal, settings = memory.journal, memory.config.settings
    yield from row_problems(
        rows, order, journal.batches.last_refill(feed.name), feed.guards.bounds
    )  # fmt: skip
    known = known_of(memory.store, journal, feed.client)
    max_age = timedelta(hours=settings.suppression.max_age_hours)
    yield from freshness_problems(known, memory.now, max_age)


def _told(problem: EtlError, rollback: Feed | None = None) -> dict[str, Any]:
    """A code with its sentence and what to type, of a rollback what it allows beforehand."""
    hint = problem.hint
    of_rows = REASONS[problem.code].about is About.GUARD
    if rollback is not None and of_rows:
        hint = (
            f"look at the counts; `etl refill rollback {rollback.name} --allow {problem.code}"
            " --why TEXT` if it is right"
        )
    return {"code": problem.code, "sentence": problem.sentence, "hint": hint}


def _kept(memory: Memory, batch: Batch) -> pl.DataFrame:
    return pl.read_ipc(io.BytesIO(kept_rows(memory.batches, memory.journal, batch)))


def _listed_now(memory: Memory, feed: Feed) -> pl.DataFrame:
    """The rows of the last completed refill that Campaign took; all of a feed without a list.

    No row when nothing was refilled yet, or when it was another list.
    """
    journal, last = memory.journal, memory.journal.batches.completed(feed.name, 1)
    if not last:
        return pl.DataFrame(schema={"recipient_id": pl.String, "address": pl.String})
    batch = journal.batches.get(last[0])
    staged = _kept(memory, batch)
    if feed.list is None:
        return staged
    mandator = memory.config.settings.client[feed.client].mandator
    if journal.refills.target(batch) != f"{mandator}/{feed.list.id}":
        return staged.clear()
    return staged[_taken(journal, batch, staged.height)]


def _taken(journal: Journal, batch: Batch, staged: int) -> Sequence[int]:
    """The staged rows that Campaign answered with 0 or 5 in the last round."""
    under_way = journal.refills.round(batch)
    calls = journal.refills.calls(batch, under_way.number) if under_way else []
    late, poisoned = journal.refills.late(batch), journal.refills.poisoned(batch)
    return sorted(Ledger(staged, late, poisoned, calls).rows_with(INSERTED, ALREADY))
