"""What commands beside a running daemon ask of it, and what the daemon tells them of itself."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from etl.batch import Batch
from etl.journal.batches import stamp
from etl.sqlite_file import SqliteFile


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


class Requests:
    """Requests are written by any command and taken by the daemon at its next scan."""

    def __init__(self, database: SqliteFile) -> None:
        self._db = database

    def ask(
        self, verb: str, batch: str | None, codes: Sequence[str], why: str, user: str, at: datetime,
        feed: str | None = None, source: str | None = None,
    ) -> int:  # fmt: skip
        """Write a request; returns its number.

        A rollback names the feed, the source of the rows and the batch that will be made.
        """
        with self._db.write() as db:
            number = db.execute(
                "INSERT INTO requests (verb, batch, feed, source, codes, why, user, at)"
                " VALUES (?,?,?,?,?,?,?,?)",
                (verb, batch, feed, source, json.dumps(list(codes)), why, user, stamp(at)),
            ).lastrowid
        return int(number or 0)

    def waiting(self) -> list[Request]:
        """Requests nobody has taken yet."""
        sql = "SELECT * FROM requests WHERE taken_at IS NULL ORDER BY number"
        return [
            Request(row["number"], row["verb"], row["batch"], tuple(json.loads(row["codes"])),
                    row["why"], row["user"], row["feed"], row["source"])
            for row in self._db.connection.execute(sql)
        ]  # fmt: skip

    def outcome(self, number: int) -> str | None:
        """What came of a request; None while it waits."""
        row = self._db.connection.execute(
            "SELECT outcome FROM requests WHERE number=?", (number,)
        ).fetchone()
        return row["outcome"] if row else None

    def taken(self, request: Request, outcome: str, at: datetime) -> None:
        """The request was acted on or refused."""
        with self._db.write() as db:
            db.execute(
                "UPDATE requests SET taken_at=?, outcome=? WHERE number=?",
                (stamp(at), outcome, request.number),
            )

    def release(self, request: Request, batch: Batch, at: datetime) -> None:
        """Allow the request's guard codes for this one batch, and end its hold."""
        with self._db.write() as db:
            db.executemany(
                "INSERT OR IGNORE INTO allowed VALUES (?,?,?)",
                [(batch.id, code, request.number) for code in request.codes],
            )
            db.execute(
                "UPDATE batches SET held_code=NULL, held_since=NULL, held_next=NULL,"
                " held_facts=NULL WHERE id=?",
                (batch.id,),
            )
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
