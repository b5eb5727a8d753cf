"""Wishes of operators: written into the journal, where the daemon takes them.

Whether a wish can be granted is seen when it is taken; nothing is done here.
"""

import getpass
from collections.abc import Sequence
from datetime import UTC, datetime

from etl.journal import Journal
from etl.show import is_heard


def ask(
    journal: Journal, verb: str, batch: str | None, codes: Sequence[str], why: str,
    feed: str | None = None, source: str | None = None, undone: str | None = None,
) -> str:  # fmt: skip
    """Write a request; returns words on its number and on who takes it."""
    now = datetime.now(UTC)
    number = journal.requests.ask(verb, batch, codes, why, _user(), now, feed, source, undone)
    heard = is_heard(journal, now)
    taken = (
        "the daemon takes it at its next scan" if heard else "no daemon runs: `etl once` takes it"
    )
    return f"request {number} is written; {taken}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
