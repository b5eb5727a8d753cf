"""What commands beside a running daemon ask of it, and what the daemon tells them of itself."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from etl.batch import Batch
from etl.journal.batches import Batches, stamp
from etl.sqlite_file import SqliteFile

MISMATCH = "list-mismatch"


@dataclass(frozen=True, slots=True)
class Request:
    """One wish of an operator: release or discard a batch, roll a feed back, or fetch now."""

    number: int
    verb: str
    batch: str | None
    codes: tuple[str, ...]
    why: str
    user: str
    feed: str | None = None
    source: str | None = None
    """The batch whose rows are to go back, as it was told to whoever asked."""
    undone: str | None = None
    """The batch that is undone by it, as it was told."""


class Requests:
    """Requests are written by any command and taken by the daemon at its next scan."""

    def __init__(self, database: SqliteFile) -> None:
        self._db = database

    def ask(
        self, verb: str, batch: str | None, codes: Sequence[str], why: str, user: str, at: datetime,
        feed: str | None = None, source: str | None = None, undone: str | None = None,
    ) -> int:  # fmt: skip
        """Write a request; returns its number.

        A rollback names the feed, the source of the rows, what it undoes, and the batch that will
        be made.
        """
        with self._db.write() as db:
            number = db.execute(
                "INSERT INTO requests (verb, batch, feed, source, undone, codes, why, user, at)"
                " VALUES (?,?,?,?,?,?,?,?,?)",
                (verb, batch, feed, source, undone, json.dumps(list(codes)), why, user, stamp(at)),
            ).lastrowid
        return int(number or 0)

    def waiting(self) -> list[Request]:
        """Requests nobody has taken yet."""
        sql = "SELECT * FROM requests WHERE taken_at IS NULL ORDER BY number"
        return [
            Request(row["number"], row["verb"], row["batch"], tuple(json.loads(row["codes"])),
                    row["why"], row["user"], row["feed"], row["source"], row["undone"])
            for row in self._db.connection.execute(sql)
        ]  # fmt: skip

    def latest(self, count: int) -> list[dict[str, Any]]:
        """The last requests of people, newest first: what was asked and what came of it."""
        sql = (
            "SELECT number, verb, batch, feed, at, user, outcome FROM requests"
            " WHERE verb <> 'fetch' ORDER BY number DESC LIMIT ?"
        )
        return [dict(row) for row in self._db.connection.execute(sql, (count,))]

    def taken(self, request: Request, outcome: str, at: datetime) -> None:
        """The request was acted on or refused."""
        with self._db.write() as db:
            db.execute(
                "UPDATE requests SET taken_at=?, outcome=? WHERE number=?",
                (stamp(at), outcome, request.number),
            )

    def release(self, request: Request, batch: Batch, at: datetime) -> None:
        """Allow the request's guard codes for this one batch, and end its hold.

        A released `list-mismatch` allows two further clears once more, and no mismatch for ever.
        """
        with self._db.write() as db:
            if MISMATCH in request.codes:
                db.execute("UPDATE rounds SET counted=0 WHERE batch=?", (batch.id,))
            db.executemany(
                "INSERT OR IGNORE INTO allowed VALUES (?,?,?)",
                [(batch.id, code, request.number) for code in request.codes if code != MISMATCH],
            )
            Batches.let_go_in(db, batch)
            db.execute(
                "UPDATE requests SET taken_at=?, outcome=? WHERE number=?",
                (stamp(at), "done", request.number),
            )

    def allowed(self, batch: Batch) -> frozenset[str]:
        """Guard codes released for this batch."""
        sql = "SELECT code FROM allowed WHERE batch=?"
        return frozenset(row["code"] for row in self._db.connection.execute(sql, (batch.id,)))

    def beat(self, name: str, value: str) -> None:
        """Tell something of the daemon: when it last scanned, since when it runs."""
        with self._db.write() as db:
            db.execute("INSERT OR REPLACE INTO pulse VALUES (?,?)", (name, value))

    def count_entries(self, client: str, entries: int) -> None:
        """Remember how many entries the suppression store had at most, apart from the store."""
        if entries > self.entries_counted(client):
            self.beat(f"entries {client}", str(entries))

    def entries_counted(self, client: str) -> int:
        """How many entries the store once had after a complete fetch; they never get fewer."""
        return int(self.pulse().get(f"entries {client}", "0"))

    def pulse(self) -> dict[str, str]:
        """All that the daemon told of itself."""
        return dict(self._db.connection.execute("SELECT name, value FROM pulse").fetchall())
