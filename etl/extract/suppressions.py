"""The suppression store: who must not be mailed, per Campaign client, and what the CRM is owed.

It holds people as keyed hashes (addresses in the clear wait in the outbox only) and asks nobody:
what Campaign said is brought to it. Whatever belongs together is one transaction.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from etl.extract import carriers, cursors, entries, lags, windows
from etl.extract.entries import Fact
from etl.extract.folding import folded_address
from etl.extract.keyed import StoreKey
from etl.extract.learned import (
    BLOCKLIST,
    BOUNCES,
    UNSUBSCRIPTIONS,
    Blocklist,
    ClientStatus,
    Event,
    Found,
    Freshness,
    Gap,
    IdRule,
    Kind,
    Lag,
    Mailing,
    iso,
)
from etl.extract.lifts import Lifts
from etl.extract.outbox_rows import OutboxRows
from etl.extract.store_file import open_file
from etl.extract.unfit import UnfitPages
from etl.ports import Stream, Window
from etl.sqlite_file import SqliteFile

__all__ = [
    "Blocklist", "ClientStatus", "Event", "Found", "Freshness", "IdRule", "Kind", "StoreKey",
    "SuppressionStore", "open_store",
]  # fmt: skip

_SCHEMA = {"key": pl.String, "kind": pl.String, "source": pl.String, "about": pl.String}
_BLOCK_ROWS = 100_000


def open_store(
    path: Path, keys: Sequence[StoreKey], *, read_only: bool = False
) -> "SuppressionStore":
    """Open `suppressions.sqlite3`; new rows are made with the first key, all serve look-ups.

    Raises what `open_file` raises.
    """
    return SuppressionStore(open_file(path, keys, read_only=read_only), keys)


class SuppressionStore:
    """The store of one state directory, for all clients of its configuration."""

    def __init__(self, file: SqliteFile, keys: Sequence[StoreKey]) -> None:
        self._file = file
        self.keys = tuple(keys)
        self.outbox = OutboxRows(file)
        self.lifts = Lifts(file, keys)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def unfit(self, client: str) -> UnfitPages:
        """Where pages of response data are kept that do not fit their layout."""
        return UnfitPages(self._file.path.parent / "unfit", client)

    def entries(self, client: str) -> pl.DataFrame:
        """Every suppressed key of a client: `key` (32 hex digits), `kind`, `source`, `about`."""
        parts = [pl.DataFrame(schema=_SCHEMA)]
        with self._file.read() as connection:
            for kind, source, about, keys in entries.suppressing(connection, client, _BLOCK_ROWS):
                said = {"kind": pl.lit(kind), "source": pl.lit(source), "about": pl.lit(about)}
                parts.append(pl.DataFrame({"key": keys}).with_columns(**said))
        return pl.concat(parts)

    def among(self, client: str, keys: pl.Series) -> pl.DataFrame:
        """What `entries` gives, of these keys (32 hex digits) alone."""
        asked = sorted({bytes.fromhex(key) for key in keys.unique()})
        with self._file.read() as connection:
            found = entries.among(connection, client, asked)
        return pl.DataFrame(found, schema=_SCHEMA, orient="row")

    def patterns(self, client: str) -> list[str]:
        """The client's blocklist entries with wildcards, as Campaign writes them."""
        with self._file.read() as connection:
            rows = connection.execute(
                "SELECT pattern FROM patterns WHERE client = ? ORDER BY pattern", (client,)
            ).fetchall()
        return [pattern for (pattern,) in rows]

    def remember_carriers(
        self, client: str, feed: str, batch: str, rows: pl.DataFrame, at: datetime | None = None
    ) -> None:
        """Note who carries which address by a decoded drop; once per batch.

        `rows` has the columns address (normalised), entity_type, entity_id, opt_in_id, all text.
        """
        with self._file.write() as connection:
            feed_batch = (client, feed, batch)
            carriers.remember(connection, self.keys, feed_batch, rows, at or datetime.now(UTC))

    def add_found(self, client: str, found: Iterable[Found]) -> int:
        """Take in finds, once per address, kind and source; return how many were new."""
        new = 0
        key = self.keys[0]
        with self._file.write() as connection:
            for find in found:
                folded = folded_address(find.address)
                if entries.known(connection, self.keys, client, find, folded):
                    continue
                carried_by = carriers.of_address(connection, self.keys, client, folded)
                fact = Fact(
                    kind=find.kind,
                    source=find.source,
                    recipient_id=find.recipient_id or find.address,
                    time=iso(find.at),
                    mailing_id="",
                    people=entries.people_of(key, find.kind, folded, carried_by),
                    carried_by=carried_by,
                )
                entries.learn(connection, client, fact, find.at)
                new += 1
        return new

    def read_until(self, client: str, stream: Stream) -> int | None:
        """Where the last committed window of a stream ended (ms), None before the first."""
        with self._file.read() as connection:
            return cursors.read_until(connection, client, stream)

    def put_back(self, client: str, stream: Stream, until_ms: int) -> None:
        """Let a stream be read up to an earlier moment, after a clock that was far ahead."""
        with self._file.write() as connection:
            cursors.put_back(connection, client, stream, until_ms)

    def commit_window(
        self,
        client: str,
        stream: Stream,
        window: Window,
        events: Sequence[Event],
        *,
        id_rule: IdRule,
        at: datetime,
        repeats: bool = False,
        opt_outs: bool = False,
        gap: Window | None = None,
    ) -> int:
        """Take in a whole window and move the stream's cursor, together; return the new events.

        `gap` is time that Campaign had forgotten already; the others are as in windows.Source.
        """
        with self._file.write() as connection:
            first = cursors.read_until(connection, client, stream) is None
            source = windows.Source(client, stream, window, id_rule, repeats, opt_outs, first)
            new = windows.take_in(connection, self.keys, source, events, at)
            cursors.move_on(connection, client, stream, window, gap, at)
        return new

    def commit_mailings(
        self,
        client: str,
        window: Window,
        mailings: Sequence[Mailing],
        at: datetime,
        gap: Window | None = None,
    ) -> None:
        """Take in a window of mailings and move their cursor, together."""
        with self._file.write() as connection:
            windows.take_in_mailings(connection, client, mailings, at)
            cursors.move_on(connection, client, Stream.MAILINGS, window, gap, at)

    def replace_blocklist(
        self, client: str, written: Iterable[str], *, at: datetime, max_shrink: float = 0.5
    ) -> Blocklist:
        """Put a fetched blocklist in place of the last one, unless it has shrunk beyond the bound.

        Then the old entries stand and the shrink is remembered until a later fetch, or a higher
        bound, lets a list through. `at` is a time before the list was asked for.
        """
        distinct = {entry.strip() for entry in written} - {""}
        with self._file.write() as connection:
            row = connection.execute(
                "SELECT kept FROM blocklists WHERE client = ?", (client,)
            ).fetchone()
            before = None if row is None else int(row[0])
            shrunk = before is not None and len(distinct) < before * (1 - max_shrink)
            kept = before if shrunk else len(distinct)
            connection.execute(
                "INSERT INTO blocklists VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET kept = excluded.kept, given = excluded.given,"
                " at = iif(excluded.kept = excluded.given, excluded.at, at)",
                (client, kept, len(distinct), at.isoformat()),
            )
            if not shrunk:
                entries.replace_blocklist(connection, self.keys[0], client, distinct, at)
        return Blocklist(before, len(distinct), shrunk)

    def read_at(self, client: str) -> dict[str, datetime]:
        """Up to when each source of a client was read, by Campaign's clock; blocklist by ours."""
        with self._file.read() as connection:
            found = {
                stream: datetime.fromtimestamp(until_ms / 1000, UTC)
                for stream, until_ms in connection.execute(
                    "SELECT stream, until_ms FROM cursors WHERE client = ? ORDER BY stream",
                    (client,),
                )
            }
            blocklist = _blocklist_at(connection, client)
        return found | ({BLOCKLIST: blocklist} if blocklist else {})

    def gaps(self, client: str) -> list[Gap]:
        """Time that Campaign may have forgotten before it was read, noticed of late."""
        with self._file.read() as connection:
            return cursors.gaps(connection, client)

    def lag(self, client: str) -> Lag | None:
        """How long unsubscriptions took of late to have their effect; None without any."""
        with self._file.read() as connection:
            return lags.of(connection, client)

    def complete_fetch(self, client: str, at: datetime) -> None:
        """Note that a fetch of every source is in the store; `at` is when it began."""
        with self._file.write() as connection:
            fresh = _freshness(connection, client)
            connection.execute(
                "INSERT INTO fetches (client, completed_at, blocklist_entries, entries)"
                " VALUES (?, ?, ?, ?)",
                (client, at.isoformat(), fresh.blocklist_entries, fresh.entries),
            )

    def freshness(self, client: str) -> Freshness:
        """How old, how large and how whole the knowledge of a client is."""
        with self._file.read() as connection:
            return _freshness(connection, client)

    def status(self) -> list[ClientStatus]:
        """Every client the store knows of."""
        with self._file.read() as connection:
            read = connection.execute("SELECT client, stream, until_ms FROM cursors").fetchall()
            waiting = connection.execute(
                "SELECT client, file, count(*) FROM outbox GROUP BY client, file"
            ).fetchall()
            clients = connection.execute(
                "SELECT client FROM cursors UNION SELECT client FROM origins"
                " UNION SELECT client FROM blocklists UNION SELECT client FROM outbox ORDER BY 1"
            ).fetchall()
            return [
                ClientStatus(
                    client,
                    _freshness(connection, client),
                    {
                        Stream(stream): datetime.fromtimestamp(until_ms / 1000, UTC)
                        for name, stream, until_ms in read
                        if name == client
                    },
                    {BOUNCES: 0, UNSUBSCRIPTIONS: 0}
                    | {file: rows for name, file, rows in waiting if name == client},
                    _blocklist_at(connection, client),
                    cursors.gaps(connection, client),
                    windows.left_out(connection, client),
                    lags.of(connection, client),
                )
                for (client,) in clients
            ]


def _blocklist_at(connection: sqlite3.Connection, client: str) -> datetime | None:
    row = connection.execute("SELECT at FROM blocklists WHERE client = ?", (client,)).fetchone()
    return None if row is None else datetime.fromisoformat(row[0])


def _freshness(connection: sqlite3.Connection, client: str) -> Freshness:
    """Read a client's freshness inside a transaction."""
    completed = connection.execute(
        "SELECT completed_at FROM fetches WHERE client = ? ORDER BY id DESC LIMIT 1", (client,)
    ).fetchone()
    kept, given = connection.execute(
        "SELECT kept, given FROM blocklists WHERE client = ?", (client,)
    ).fetchone() or (0, 0)
    learned = connection.execute(
        "SELECT count(*) FROM entries e JOIN origins o ON o.id = e.origin"
        " WHERE o.client = ? AND o.source <> ?",
        (client, BLOCKLIST),
    ).fetchone()[0]
    return Freshness(
        completed_at=None if completed is None else datetime.fromisoformat(completed[0]),
        entries=int(learned),
        blocklist_entries=int(given),
        shrunk_from=int(kept) if kept != given else None,
    )
