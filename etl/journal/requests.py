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
LIFT = "lift"
# A lift is of a client's people, every other request of a feed or of none: one column holds both.
_WHOM = "iif(verb = 'lift', NULL, feed) AS feed, iif(verb = 'lift', feed, NULL) AS client"
_CELLS = f"number, verb, batch, {_WHOM}, codes, why, user, source, undone"


@dataclass(frozen=True, slots=True)
class Request:
    """One wish of an operator: of a batch, a feed's way back, a person of a client, or a fetch."""

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
    client: str | None = None
    """Whose people `codes` are wishes about, as keyed hashes."""


class Requests:
    """Requests are written by any command and taken by the daemon at its next scan."""

    def __init__(self, database: SqliteFile) -> None:
        self._db = database

    def ask(
        self, verb: str, batch: str | None, codes: Sequence[str], why: str, user: str, at: datetime,
        feed: str | None = None, source: str | None = None, undone: str | None = None,
        client: str | None = None,
    ) -> int:  # fmt: skip
        """Write a request; returns its number.

        A rollback names the feed, the source of the rows, what it undoes, and the batch that will
        be made; a lift names the client, which stands where others have the feed.
        """
        whom = client if verb == LIFT else feed
        with self._db.write() as db:
            number = db.execute(
                "INSERT INTO requests (verb, batch, feed, source, undone, codes, why, user, at)"
                " VALUES (?,?,?,?,?,?,?,?,?)",
                (verb, batch, whom, source, undone, json.dumps(list(codes)), why, user, stamp(at)),
            ).lastrowid
        return int(number or 0)

    def waiting(self) -> list[Request]:
        """Requests nobody has taken yet."""
        sql = f"SELECT {_CELLS} FROM requests WHERE taken_at IS NULL ORDER BY number"  # noqa: S608 - our own words
        return [
            Request(row["number"], row["verb"], row["batch"], tuple(json.loads(row["codes"])),
                    row["why"], row["user"], row["feed"], row["source"], row["undone"],
                    row["client"])
            for row in self._db.connection.execute(sql)
        ]  # fmt: skip

    def latest(self, count: int) -> list[dict[str, Any]]:
        """The last requests of people, newest first: what was asked and what came of it."""
        sql = (
            f"SELECT number, verb, batch, {_WHOM}, at, user, outcome FROM requests"  # noqa: S608 - as above
            " WHERE verb <> 'fetch' ORDER BY number DESC LIMIT ?"
        )
        return [dict(row) for row in self._db.connection.execute(sql, (count,))]

    def outcome(self, number: int) -> str | None:
        """What came of a request; None while nobody has taken it."""
        row = self._db.connection.execute(
            "SELECT outcome FROM requests WHERE number = ?", (number,)
        ).fetchone()
        return None if row["outcome"] is None else str(row["outcome"])

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
