"""Receipts: the small JSON file that tells the CRM job the fate of its drop.

It may not hold a cell, an address or anything else about a person, and it decides nothing: it
writes down what the caller knows, and refuses sums that do not come out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from etl.batch import ENDS, Held, Place
from etl.durable import write_file
from etl.errors import Fact
from etl.load.names import portable_facts, portable_text, safe_file_name
from etl.reasons import REASONS

VERSION = 1


class Fate(StrEnum):
    """What became of a drop; `held` is no end, a later receipt replaces it."""

    ARCHIVED = "archived"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"
    DISCARDED = "discarded"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Told:
    """A code with the facts of this case; sentence and hint come from `etl.reasons`."""

    code: str
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReceivedDrop:
    """The file as it was claimed."""

    name: str
    size_bytes: int
    sha256: str
    dropped_at: datetime
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class SuppressedBy:
    """Rows by why they were suppressed; a row with two reasons counts under both."""

    bounced: int = 0
    unsubscribed: int = 0
    blocklisted: int = 0


@dataclass(frozen=True, slots=True)
class Checked:
    """The fates of the rows: accepted + rejected + suppressed = rows_read."""

    rows_read: int
    accepted: int
    rejected: int
    suppressed: int
    suppressed_by: SuppressedBy = SuppressedBy()
    rejected_by: Mapping[str, int] = field(default_factory=dict)
    """Rows by code; a row with two reasons counts under both."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The remote file."""

    name: str
    size_bytes: int
    sha256: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Listed:
    """What became of the accepted rows in the list: staged = sent + suppressed_late.

    Once `refilled_at` is set, sent = listed + all refused + poisoned; before, it is not less.
    """

    list_id: int
    name: str
    staged: int
    suppressed_late: int
    sent: int
    listed: int
    refused: Mapping[str, int] = field(default_factory=dict)
    """Rows by code."""
    poisoned: int = 0
    count: int | None = None
    """Recipients in the list as Campaign counted at the end."""
    clears: int = 0
    refilled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """All that the CRM is told of one drop."""

    batch: str
    feed: str | None
    drop: ReceivedDrop
    fate: Fate
    place: Place
    written_at: datetime
    reason: Told | None = None
    held: Held | None = None
    check: Checked | None = None
    upload: Uploaded | None = None
    list: Listed | None = None
    notes: tuple[Told, ...] = ()
    case: str | None = None
    """The folder's name in `quarantine/`."""
    rollback_of: str | None = None
    """The batch of this drop whose rows went back into the list."""


def receipt_name(name: str, batch: str) -> str:
    """The receipt's file name: the drop's name, at most 150 bytes of it, then the batch."""
    return f"{safe_file_name(name)}.{batch}.receipt.json"


def write_receipt(root: Path, receipt: Receipt) -> Path:
    """Write the receipt into the folder `root`, in place of an earlier one of the same batch.

    Raises ValueError when its numbers contradict each other: that is a bug, never a drop's fault.
    """
    check_sums(receipt)
    path = root / receipt_name(receipt.drop.name, receipt.batch)
    text = json.dumps(as_json(receipt), indent=2, allow_nan=False)
    write_file(path, text.encode("ascii") + b"\n")
    return path


def check_sums(receipt: Receipt) -> None:
    """Raise ValueError unless every row is accounted for and fate and place agree."""
    fate, place, check, listed = receipt.fate, receipt.place, receipt.check, receipt.list
    _demand((fate is Fate.HELD) == (receipt.held is not None), "held without a reason, or not held")
    end = place.value.lower() if place in ENDS else Fate.HELD.value
    _demand(fate.value == end, f"fate {fate} in {place}")
    if check is not None:
        total = check.accepted + check.rejected + check.suppressed
        _demand(total == check.rows_read, f"{total} fates of {check.rows_read} rows")
        _demand_parts("rejected", check.rejected, list(check.rejected_by.values()))
        by = check.suppressed_by
        parts = [by.bounced, by.unsubscribed, by.blocklisted]
        _demand_parts("suppressed", check.suppressed, parts)
    if listed is not None:
        _check_list(listed)
        staged_all = check is None or check.accepted == listed.staged
        _demand(staged_all, f"{listed.staged} rows staged are not those accepted")


def _check_list(listed: Listed) -> None:
    """Raise ValueError unless every staged row has one fate in the list."""
    total = listed.sent + listed.suppressed_late
    _demand(total == listed.staged, f"{total} sent or suppressed late of {listed.staged} staged")
    answered = listed.listed + sum(listed.refused.values()) + listed.poisoned
    complete = listed.refilled_at is not None
    fits = answered == listed.sent if complete else answered <= listed.sent
    _demand(fits, f"{answered} rows answered for {listed.sent} sent")


def _demand_parts(what: str, whole: int, parts: list[int]) -> None:
    """A row may have two reasons: the parts together are no less, each alone no more."""
    fits = max(parts, default=0) <= whole <= sum(parts)
    _demand(fits, f"{whole} rows {what}, {sum(parts)} reasons")


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(f"receipt: {otherwise}")


def as_json(receipt: Receipt) -> dict[str, object]:
    """The receipt as `schemas/receipt.schema.json` lays it out."""
    drop, held, check, upload = receipt.drop, receipt.held, receipt.check, receipt.upload
    return {
        "version": VERSION,
        "batch": receipt.batch,
        "feed": receipt.feed,
        "drop": {
            "name": portable_text(drop.name),
            "size_bytes": drop.size_bytes,
            "sha256": drop.sha256,
            "dropped_at": drop.dropped_at.isoformat(),
            "claimed_at": drop.claimed_at.isoformat(),
        },
        "fate": receipt.fate.value,
        "place": receipt.place.value,
        "written_at": receipt.written_at.isoformat(),
        "reason": None if receipt.reason is None else _told(receipt.reason, receipt.batch),
        "held": held
        and {
            "code": held.code,
            "since": held.since.isoformat(),
            "next_try": held.next_try and held.next_try.isoformat(),
        },
        "check": check
        and {
            "rows_read": check.rows_read,
            "accepted": check.accepted,
            "rejected": check.rejected,
            "suppressed": check.suppressed,
            "suppressed_by": {
                "bounced": check.suppressed_by.bounced,
                "unsubscribed": check.suppressed_by.unsubscribed,
                "blocklisted": check.suppressed_by.blocklisted,
            },
            "rejected_by": dict(check.rejected_by),
        },
        "upload": upload
        and {
            "name": upload.name,
            "size_bytes": upload.size_bytes,
            "sha256": upload.sha256,
            "at": upload.at.isoformat(),
        },
        "list": None if receipt.list is None else _list_as_json(receipt.list),
        "notes": [{"code": note.code, "sentence": _sentence(note)} for note in receipt.notes],
        "case": receipt.case,
        "rollback_of": receipt.rollback_of,
    }


def _told(told: Told, batch: str) -> dict[str, object]:
    return {
        "code": told.code,
        "sentence": _sentence(told),
        "hint": REASONS[told.code].hint.replace("BATCH", batch),
        "facts": portable_facts(told.facts),
    }


def _sentence(told: Told) -> str:
    return REASONS[told.code].words(portable_facts(told.facts))


def _list_as_json(listed: Listed) -> dict[str, object]:
    return {
        "list_id": listed.list_id,
        "name": listed.name,
        "staged": listed.staged,
        "suppressed_late": listed.suppressed_late,
        "sent": listed.sent,
        "listed": listed.listed,
        "refused": dict(listed.refused),
        "poisoned": listed.poisoned,
        "count": listed.count,
        "clears": listed.clears,
        "refilled_at": listed.refilled_at and listed.refilled_at.isoformat(),
    }
