"""What a refill is to do, and what came of it: values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from etl.load.ledger import (
    ADDRESS_REFUSED,
    ALREADY,
    BLOCKLISTED,
    BOUNCED,
    FAILED,
    FILTERED,
    INSERTED,
    LATE,
    POISONED,
    REFUSALS,
    UNSUBSCRIBED,
    Ledger,
)

Kind = Literal["bounced", "unsubscribed", "blocklisted"]
SUPPRESSION_CODES: dict[int, Kind] = {
    UNSUBSCRIBED: "unsubscribed",
    BLOCKLISTED: "blocklisted",
    BOUNCED: "bounced",
}
REFUSAL_CODES = (ADDRESS_REFUSED, FILTERED, FAILED)


@dataclass(frozen=True, slots=True)
class RefillPlan:
    """Which list, filled how."""

    target: str
    """The list for all time: mandator and list id, whatever the configuration calls them."""
    list_id: int
    attributes: tuple[str, ...]
    chunk_rows: int
    poisoned_limit: int
    """More rows than this that fail alone, and the refill is held instead."""
    believe_after_seconds: float
    """getCount may lag: a mismatch is believed only after this long."""
    pauses: tuple[float, ...]
    """Seconds between the tries of one run, while Campaign does not answer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A refill that is complete and proved."""

    sent: int
    listed: int
    suppressed_late: int
    refused: Mapping[str, int]
    poisoned: int
    count: int
    clears: int
    purged: int
    refused_rows: Mapping[int, int] = field(repr=False)
    """Staged row -> code 1, 6 or 7."""
    poisoned_rows: Mapping[int, str] = field(repr=False)
    """Staged row -> Campaign's redacted words."""
    suppressed_rows: Mapping[int, int] = field(repr=False)
    """Staged row -> code 2, 3 or 4."""


def outcome(
    ledger: Ledger, words: Mapping[int, str], count: int, clears: int, purged: int
) -> Outcome:
    """Sum up a ledger; `words` are Campaign's on poisonous rows, `count` what it counted."""
    counts = ledger.counts()
    refused = {f"code-{code}": counts[code] for code in REFUSALS if counts[code]}
    return Outcome(
        sent=len(ledger.fates) - counts[LATE],
        listed=counts[INSERTED] + counts[ALREADY],
        suppressed_late=counts[LATE],
        refused=refused,
        poisoned=counts[POISONED],
        count=count,
        clears=clears,
        purged=purged,
        refused_rows=ledger.rows_with(*REFUSAL_CODES),
        poisoned_rows=words,
        suppressed_rows=ledger.rows_with(*SUPPRESSION_CODES),
    )
