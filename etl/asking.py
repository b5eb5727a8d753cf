"""Wishes of operators: written into the journal, where the daemon takes them.

Whether a wish can be granted is seen when it is taken; nothing is done here.
"""

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from etl.journal import Journal
from etl.show import is_heard


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is written."""

    number: int
    words: str
    """On its number and on who takes it."""
    heard: bool
    """Whether a daemon runs."""


def ask(
    journal: Journal, verb: str, batch: str | None, codes: Sequence[str], why: str,
    feed: str | None = None, source: str | None = None, undone: str | None = None,
    client: str | None = None,
) -> Asked:  # fmt: skip
    """Write a request."""
    now = datetime.now(UTC)
    number = journal.requests.ask(
        verb, batch, codes, why, _user(), now, feed, source, undone, client
    )
    heard = is_heard(journal, now)
    taken = (
        "the daemon takes it at its next scan" if heard else "no daemon runs: `etl once` takes it"
    )
    return Asked(number, f"request {number} is written; {taken}", heard)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
