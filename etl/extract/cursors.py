"""How far each stream of a client was read, and the gaps that Campaign left in it.

Plain statements over a connection; it opens no transaction, for its caller's holds it.
"""

import sqlite3
from datetime import UTC, datetime, timedelta

from etl.extract.learned import Gap
from etl.ports import Stream, Window

GAPS_TOLD = timedelta(days=90)
"""A gap is told for so long."""


def read_until(connection: sqlite3.Connection, client: str, stream: Stream) -> int | None:
    """Where the last committed window of a stream ended (ms), None before the first."""
    row = connection.execute(
        "SELECT until_ms FROM cursors WHERE client = ? AND stream = ?", (client, stream.value)
    ).fetchone()
    return None if row is None else int(row[0])


def put_back(connection: sqlite3.Connection, client: str, stream: Stream, until_ms: int) -> None:
    """Let a stream be read up to an earlier moment: the clock that said the later one was wrong."""
    connection.execute(
        "UPDATE cursors SET until_ms = ? WHERE client = ? AND stream = ?",
        (until_ms, client, stream.value),
    )


def move_on(
    connection: sqlite3.Connection,
    client: str,
    stream: Stream,
    window: Window,
    gap: Window | None,
    at: datetime,
) -> None:
    """Say that a stream is read up to the window's end, and what was forgotten before its start."""
    connection.execute(
        "INSERT INTO cursors VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
        " SET until_ms = max(until_ms, excluded.until_ms)",
        (client, stream.value, window.until_ms),
    )
    oldest = (at - GAPS_TOLD).isoformat()
    connection.execute("DELETE FROM gaps WHERE client = ? AND noticed_at < ?", (client, oldest))
    if gap is not None:
        connection.execute(
            "INSERT OR REPLACE INTO gaps VALUES (?, ?, ?, ?, ?)",
            (client, stream.value, gap.since_ms, gap.until_ms, at.isoformat()),
        )


def gaps(connection: sqlite3.Connection, client: str) -> list[Gap]:
    """Every gap noticed of late, oldest first."""
    return [
        Gap(Stream(stream), _moment(since_ms), _moment(until_ms), datetime.fromisoformat(at))
        for stream, since_ms, until_ms, at in connection.execute(
            "SELECT stream, since_ms, until_ms, noticed_at FROM gaps WHERE client = ?"
            " ORDER BY since_ms, stream",
            (client,),
        )
    ]


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
