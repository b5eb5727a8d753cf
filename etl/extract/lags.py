"""How long unsubscriptions take from the click to their effect here: measured, not promised.

Numbers alone, of nobody; plain statements over a connection, inside the caller's transaction.
"""

import sqlite3
import statistics
from collections.abc import Sequence
from datetime import datetime, timedelta

from etl.extract.entries import Tagged
from etl.extract.learned import UNSUBSCRIBED, Lag

TOLD = timedelta(days=30)
"""What is told covers so much."""
HOUR = 3600


def note(
    connection: sqlite3.Connection,
    client: str,
    people: Sequence[Tagged],
    time: datetime,
    at: datetime,
) -> None:
    """Measure one unsubscription; it may have had its effect before this event.

    The live check or a code of addAll3 may have told of the person earlier.
    """
    now = int(at.timestamp())
    happened = int(time.timestamp())
    effects = [now]
    for person in people:
        effects += [
            since
            for (since,) in connection.execute(
                "SELECT e.since FROM entries e JOIN origins o ON o.id = e.origin"
                " WHERE o.client = ? AND o.kind = ? AND o.key_id = ? AND e.key = ?"
                " AND e.lifted IS NULL AND e.since >= ?",
                (client, UNSUBSCRIBED, person.key_id, person.tag, happened),
            )
        ]
    seconds = max(0, min(effects) - happened)
    connection.execute("INSERT INTO lags VALUES (?, ?, ?)", (client, now, seconds))


def forget(connection: sqlite3.Connection, client: str, at: datetime) -> None:
    """Forget what is no longer told."""
    oldest = int((at - TOLD).timestamp())
    connection.execute("DELETE FROM lags WHERE client = ? AND at < ?", (client, oldest))


def of(connection: sqlite3.Connection, client: str) -> Lag | None:
    """What was measured of late; None when there is nothing."""
    seconds = [
        each
        for (each,) in connection.execute("SELECT seconds FROM lags WHERE client = ?", (client,))
    ]
    if not seconds:
        return None
    median, longest = statistics.median(seconds) / HOUR, max(seconds) / HOUR
    return Lag(len(seconds), round(median, 2), round(longest, 2))
