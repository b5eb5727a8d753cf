"""The journal's rows about batches: where each stands, why it waits, what its check found."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from etl.batch import ENDS, Batch, Held, Place, check_move
from etl.guards import LastRefill
from etl.sqlite_file import SqliteFile


def stamp(moment: datetime) -> str:
    """A moment as text that sorts: ISO 8601 in UTC with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def moment(text: str) -> datetime:
    """The moment that `stamp` wrote."""
    return datetime.fromisoformat(text)


@dataclass(frozen=True, slots=True)
class ClaimedDrop:
    """A claimed file as its private copy is: what makes a new batch."""

    batch: str
    feed: str | None
    name: str
    size_bytes: int
    sha256: str
    mtime_ns: int
    order: str


def _batch(row: sqlite3.Row) -> Batch:
    held = None
    if row["held_code"] is not None:
        next_try = moment(row["held_next"]) if row["held_next"] else None
        held = Held(
            row["held_code"], moment(row["held_since"]), next_try, row["held_tries"],
            moment(row["held_at"]),
        )  # fmt: skip
    return Batch(
        id=row["id"],
        feed=row["feed"],
        name=row["name"],
        place=Place(row["place"]),
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        dropped_at=datetime.fromtimestamp(row["mtime_ns"] / 1e9, UTC),
        order=row["drop_order"],
        claimed_at=moment(row["claimed_at"]),
        held=held,
        rollback_of=row["rollback_of"],
    )


class Batches:
    """Places of batches. Every change is one transaction."""

    def __init__(self, database: SqliteFile) -> None:
        self._db = database

    def claimed(self, drops: Iterable[ClaimedDrop], at: datetime) -> list[Batch]:
        """These drops are ours alone, their bytes and hashes known; all of them or none."""
        new = list(drops)
        with self._db.write() as db:
            for drop in new:
                db.execute(
                    "INSERT INTO batches (id, feed, name, place, size_bytes, sha256, mtime_ns,"
                    " drop_order, claimed_at) VALUES (?,?,?,?,?,?,?,?,?)",
                    (drop.batch, drop.feed, drop.name, Place.CLAIMED, drop.size_bytes,
                     drop.sha256, drop.mtime_ns, drop.order, stamp(at)),
                )  # fmt: skip
                self.moved_in(db, drop.batch, Place.CLAIMED, at)
        return [self.get(drop.batch) for drop in new]

    @staticmethod
    def moved_in(db: sqlite3.Connection, batch_id: str, place: Place, at: datetime) -> None:
        """Note when a batch came to a place."""
        db.execute("INSERT INTO moves VALUES (?,?,?)", (batch_id, place, stamp(at)))

    def find(self, batch_id: str) -> Batch | None:
        """The batch, or None when the journal does not know it."""
        row = self._row(batch_id)
        return None if row is None else _batch(row)

    def get(self, batch_id: str) -> Batch:
        """The batch; KeyError when the journal does not know it."""
        found = self.find(batch_id)
        if found is None:
            raise KeyError(batch_id)
        return found

    def _row(self, batch_id: str) -> sqlite3.Row | None:
        sql = "SELECT * FROM batches WHERE id = ?"
        row: sqlite3.Row | None = self._db.connection.execute(sql, (batch_id,)).fetchone()
        return row

    def under_way(self) -> list[Batch]:
        """Every batch that has not ended, oldest claim first."""
        ends = ",".join("?" * len(ENDS))
        rows = self._db.connection.execute(
            f"SELECT * FROM batches WHERE place NOT IN ({ends}) ORDER BY claimed_at, id",  # noqa: S608 - only question marks
            sorted(ENDS),
        )
        return [_batch(row) for row in rows]

    def unfinished(self) -> list[Batch]:
        """Batches that have ended and whose end is not carried through, oldest first."""
        sql = "SELECT * FROM batches WHERE ended_at IS NOT NULL AND finished_at IS NULL ORDER BY id"
        return [_batch(row) for row in self._db.connection.execute(sql)]

    def finished(self, batch: Batch, at: datetime) -> None:
        """The end is carried through: archived, told, nothing left anywhere."""
        self._set(batch, "finished_at", stamp(at))

    def latest(self, count: int) -> list[Batch]:
        """The batches claimed last, newest first."""
        sql = "SELECT * FROM batches ORDER BY claimed_at DESC, id DESC LIMIT ?"
        return [_batch(row) for row in self._db.connection.execute(sql, (count,))]

    def move(
        self, batch: Batch, target: Place, at: datetime, code: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Batch:  # fmt: skip
        """Put the batch into `target`; a hold ends with it. IllegalMove when no road leads there.

        `code` and `facts` say why, for the ends.
        """
        with self._db.write() as db:
            self.move_in(db, batch, target, at, code, facts)
        return self.get(batch.id)

    def move_in(
        self, db: sqlite3.Connection, batch: Batch, target: Place, at: datetime,
        code: str | None = None, facts: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """`move` inside a transaction of the caller's."""
        check_move(batch.place, target)
        changed = db.execute(
            "UPDATE batches SET place=?, held_code=NULL, held_was=NULL, held_since=NULL,"
            " held_next=NULL, held_at=NULL, held_tries=0, held_facts=NULL,"
            " end_code=?, end_facts=?, ended_at=?"
            " WHERE id=? AND place=?",
            (target, code, json.dumps(dict(facts or {})),
             stamp(at) if target in ENDS else None, batch.id, batch.place),
        ).rowcount  # fmt: skip
        if changed != 1:
            raise RuntimeError("a batch moved behind our back")
        self.moved_in(db, batch.id, target, at)

    def hold(
        self, batch: Batch, code: str, at: datetime, next_try: datetime | None,
        facts: Mapping[str, Any],
    ) -> Batch:  # fmt: skip
        """Let the batch wait where it is; the same code again keeps its `since`.

        One that was released while it was looked at is tried again at once.
        """
        with self._db.write() as db:
            released = db.execute(
                "SELECT 1 FROM allowed WHERE batch=? AND code=?", (batch.id, code)
            ).fetchone()
            then = at if released else next_try
            db.execute(
                "UPDATE batches SET held_since = CASE WHEN held_was=?1 THEN held_since ELSE ?2 END,"
                " held_code=?1, held_was=?1, held_at=?2, held_next=?3, held_facts=?4,"
                " held_tries=held_tries+1 WHERE id=?5 AND ended_at IS NULL",
                (code, stamp(at), stamp(then) if then else None, json.dumps(dict(facts)), batch.id),
            )
        return self.get(batch.id)

    def let_go(self, batch: Batch) -> Batch:
        """End a hold; since when, for what and how often it was held stays until it moves."""
        with self._db.write() as db:
            self.let_go_in(db, batch)
        return self.get(batch.id)

    @staticmethod
    def let_go_in(db: sqlite3.Connection, batch: Batch) -> None:
        """`let_go` inside a transaction of the caller's."""
        db.execute(
            "UPDATE batches SET held_code=NULL, held_next=NULL, held_facts=NULL WHERE id=?",
            (batch.id,),
        )

    def tries(self, batch: Batch) -> int:
        """How often the batch was held since it came to its place."""
        row = self._row(batch.id)
        return int(row["held_tries"]) if row else 0

    def step_begins(self, batch: Batch, step: str) -> int:
        """Count one more life in which a step begins; returns how many it never ended in."""
        with self._db.write() as db:
            db.execute(
                "INSERT INTO steps VALUES (?,?,1)"
                " ON CONFLICT (batch, step) DO UPDATE SET begun=begun+1",
                (batch.id, step),
            )
            row = db.execute(
                "SELECT begun FROM steps WHERE batch=? AND step=?", (batch.id, step)
            ).fetchone()
        return int(row["begun"]) - 1

    def step_ends(self, batch: Batch, step: str) -> None:
        """The step came to an end of any kind: the process lives."""
        with self._db.write() as db:
            db.execute("DELETE FROM steps WHERE batch=? AND step=?", (batch.id, step))

    def checked(
        self, batch: Batch, facts: Mapping[str, Any], rows: int, staged_sha256: str,
        accepted_sha256: str,
    ) -> None:  # fmt: skip
        """Rejected rows and staged bytes are durable; `facts` are the counts for the receipt."""
        with self._db.write() as db:
            db.execute(
                "UPDATE batches SET check_json=?, staged_rows=?, staged_sha256=?,"
                " accepted_sha256=? WHERE id=?",
                (json.dumps(dict(facts)), rows, staged_sha256, accepted_sha256, batch.id),
            )

    def counted(self, batch: Batch, facts: Mapping[str, Any]) -> None:
        """Keep the counts of a check that refused the drop."""
        self._set(batch, "check_json", json.dumps(dict(facts)))

    def has_case(self, batch: Batch, case: str) -> None:
        """Ops find the batch's rejected or refused rows in this case."""
        self._set(batch, "case_name", case)

    def _set(self, batch: Batch, column: str, value: str) -> None:
        with self._db.write() as db:
            db.execute(f"UPDATE batches SET {column}=? WHERE id=?", (value, batch.id))  # noqa: S608 - our own names

    def detail(self, batch: Batch) -> dict[str, Any]:
        """Every column of the batch's row, JSON columns read."""
        row = self._row(batch.id)
        if row is None:
            raise KeyError(batch.id)
        found = dict(row)
        for column in ("check_json", "list_json", "held_facts", "end_facts"):
            text = found.pop(column)
            found[column.removesuffix("_json")] = json.loads(text) if text else None
        return found

    def last_refill(self, feed: str) -> LastRefill | None:
        """The feed's last completed refill."""
        row = self._db.connection.execute(
            "SELECT * FROM completed WHERE feed=? ORDER BY number DESC LIMIT 1", (feed,)
        ).fetchone()
        return LastRefill(row["rows_sent"], row["drop_order"], row["sha256"]) if row else None

    def last_refilled_at(self, feed: str) -> str | None:
        """When the feed's last refill was complete, ISO 8601 in UTC."""
        row = self._db.connection.execute(
            "SELECT at FROM completed WHERE feed=? ORDER BY number DESC LIMIT 1", (feed,)
        ).fetchone()
        return row["at"] if row else None

    def completed(self, feed: str, count: int) -> Sequence[str]:
        """Batch ids of the feed's last completed refills, newest first."""
        sql = "SELECT batch FROM completed WHERE feed=? ORDER BY number DESC LIMIT ?"
        return [row["batch"] for row in self._db.connection.execute(sql, (feed, count))]

    def listed(self, batch: Batch, facts: Mapping[str, Any]) -> None:
        """What the list took, for a refill that is not counted as complete."""
        self._set(batch, "list_json", json.dumps(dict(facts)))

    def refilled(
        self, batch: Batch, at: datetime, rows_sent: int, facts: Mapping[str, Any] | None
    ) -> Batch:
        """The refill is complete (or the feed refills nothing): the new base of the guards."""
        with self._db.write() as db:
            if facts is not None:
                text = json.dumps(dict(facts))
                db.execute("UPDATE batches SET list_json=? WHERE id=?", (text, batch.id))
            db.execute(
                "INSERT INTO completed (feed, batch, rows_sent, drop_order, sha256, at)"
                " VALUES (?,?,?,?,?,?)",
                (batch.feed, batch.id, rows_sent, batch.order, batch.sha256, stamp(at)),
            )
            self.move_in(db, batch, Place.REFILLED, at)
        return self.get(batch.id)
