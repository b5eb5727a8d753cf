"""The journal's rows about refills: every clear, every addAll3 call; intent before, answer after.

Rows of a batch are known here by their number in the staged table alone; no person is named.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from etl.batch import Batch, Place
from etl.errors import GuardTripped
from etl.journal.batches import Batches, stamp
from etl.sqlite_file import SqliteFile


@dataclass(frozen=True, slots=True)
class Round:
    """One clear of a refill and all that is added after it."""

    number: int
    counted: bool
    """Whether it is one of the further clears that a refill is allowed."""
    acknowledged: bool
    count_before: int | None
    """The list's count once all was sent, before the remove calls; None until then."""


@dataclass(frozen=True, slots=True)
class Call:
    """One addAll3 call: staged rows first <= row < last without `skipped`."""

    number: int
    first: int
    last: int
    skipped: frozenset[int]
    again: bool
    """Rows of it may have been sent before, so code 5 means present."""
    codes: bytes | None
    """One code per row sent, None while no answer is known."""
    refused: bool
    """Campaign answered the whole call with a fault."""

    @property
    def rows(self) -> list[int]:
        """The staged rows sent."""
        return [row for row in range(self.first, self.last) if row not in self.skipped]

    @property
    def open(self) -> bool:
        """In doubt: sent, and no answer known."""
        return self.codes is None and not self.refused


class Refills:
    """Intents and acknowledgements of refills."""

    def __init__(self, database: SqliteFile, batches: Batches) -> None:
        self._db = database
        self._batches = batches

    def begin(self, batch: Batch, target: str, superseded: Iterable[Batch], at: datetime) -> Batch:
        """Intend the first clear: the list `target` is dirty from here on.

        In the same transaction older batches of the list end, so dirtiness is never forgotten.
        GuardTripped (`outdated`) while a batch that does not end here has left the list dirty.
        """
        with self._db.write() as db:
            for old in superseded:
                self._batches.move_in(db, old, Place.SUPERSEDED, at, "superseded", {"by": batch.id})
            dirty = db.execute(
                "SELECT count(*) FROM batches WHERE place=? AND target=?",
                (Place.REFILLING, target),
            ).fetchone()[0]
            if dirty:
                raise GuardTripped("outdated")
            self._batches.move_in(db, batch, Place.REFILLING, at)
            db.execute("UPDATE batches SET target=? WHERE id=?", (target, batch.id))
            self._intend(db, batch, counted=False, at=at)
        return self._batches.get(batch.id)

    @staticmethod
    def _intend(db: sqlite3.Connection, batch: Batch, *, counted: bool, at: datetime) -> None:
        sql = "SELECT coalesce(max(round), 0) + 1 FROM rounds WHERE batch=?"
        number = db.execute(sql, (batch.id,)).fetchone()[0]
        db.execute(
            "INSERT INTO rounds VALUES (?,?,?,?,NULL,NULL)", (batch.id, number, counted, stamp(at))
        )

    def intend_clear(self, batch: Batch, *, counted: bool, at: datetime) -> None:
        """Intend a further clear; `counted` says whether it is one of the allowed two."""
        with self._db.write() as db:
            self._intend(db, batch, counted=counted, at=at)

    def cleared(self, batch: Batch, round_number: int, at: datetime) -> None:
        """The clear of a round is acknowledged: the list is empty."""
        with self._db.write() as db:
            db.execute(
                "UPDATE rounds SET ack_at=? WHERE batch=? AND round=?",
                (stamp(at), batch.id, round_number),
            )

    def counted_before(self, batch: Batch, round_number: int, count: int) -> None:
        """Everything is sent and the count is right; the remove calls come next."""
        with self._db.write() as db:
            db.execute(
                "UPDATE rounds SET count_before=? WHERE batch=? AND round=?",
                (count, batch.id, round_number),
            )

    def target(self, batch: Batch) -> str | None:
        """The list a batch began to refill, None before it did."""
        row = self._db.connection.execute(
            "SELECT target FROM batches WHERE id=?", (batch.id,)
        ).fetchone()
        return row["target"] if row else None

    def round(self, batch: Batch) -> Round | None:
        """The round under way."""
        row = self._db.connection.execute(
            "SELECT * FROM rounds WHERE batch=? ORDER BY round DESC LIMIT 1", (batch.id,)
        ).fetchone()
        if row is None:
            return None
        return Round(
            row["round"], bool(row["counted"]), row["ack_at"] is not None, row["count_before"]
        )

    def clears(self, batch: Batch) -> tuple[int, int]:
        """How many clears were intended, and how many of them count among the allowed two."""
        row = self._db.connection.execute(
            "SELECT count(*), coalesce(sum(counted), 0) FROM rounds WHERE batch=?", (batch.id,)
        ).fetchone()
        return int(row[0]), int(row[1])

    def intend_call(
        self, batch: Batch, round_number: int, span: tuple[int, int], skipped: Iterable[int],
        *, again: bool, at: datetime,
    ) -> Call:  # fmt: skip
        """Intend one addAll3 call with the staged rows of `span` without `skipped`."""
        kept = sorted(row for row in skipped if span[0] <= row < span[1])
        with self._db.write() as db:
            number = db.execute(
                "SELECT coalesce(max(number), 0) + 1 FROM calls WHERE batch=? AND round=?",
                (batch.id, round_number),
            ).fetchone()[0]
            db.execute(
                "INSERT INTO calls (batch, round, number, first, last, skipped, again, intent_at)"
                " VALUES (?,?,?,?,?,?,?,?)",
                (batch.id, round_number, number, *span, json.dumps(kept), again, stamp(at)),
            )
        return Call(number, *span, frozenset(kept), again, None, refused=False)

    def answered(
        self, batch: Batch, round_number: int, call: Call, codes: bytes | None, at: datetime
    ) -> None:
        """Campaign answered: one code per row sent, or None for a fault for the whole call."""
        with self._db.write() as db:
            db.execute(
                "UPDATE calls SET ack_at=?, codes=?, refused=?"
                " WHERE batch=? AND round=? AND number=?",
                (stamp(at), codes, codes is None, batch.id, round_number, call.number),
            )

    def calls(self, batch: Batch, round_number: int) -> list[Call]:
        """Every call of a round in order."""
        rows = self._db.connection.execute(
            "SELECT * FROM calls WHERE batch=? AND round=? ORDER BY number",
            (batch.id, round_number),
        )
        return [
            Call(
                row["number"], row["first"], row["last"], frozenset(json.loads(row["skipped"])),
                bool(row["again"]), row["codes"], bool(row["refused"]),
            )
            for row in rows
        ]  # fmt: skip

    def add_late(self, batch: Batch, kinds: Mapping[int, str]) -> None:
        """Staged rows found suppressed after the upload: never sent."""
        with self._db.write() as db:
            db.executemany(
                "INSERT OR IGNORE INTO late VALUES (?,?,?)",
                [(batch.id, row, kind) for row, kind in kinds.items()],
            )

    def late(self, batch: Batch) -> dict[int, str]:
        """Staged rows suppressed after the upload, with their kind."""
        sql = "SELECT row, kind FROM late WHERE batch=?"
        return {row["row"]: row["kind"] for row in self._db.connection.execute(sql, (batch.id,))}

    def poison(self, batch: Batch, row: int, words: str) -> None:
        """A staged row makes every call fail that holds it; `words` are Campaign's, redacted."""
        with self._db.write() as db:
            db.execute("INSERT OR REPLACE INTO poisoned VALUES (?,?,?)", (batch.id, row, words))

    def forget_poisoned(self, batch: Batch) -> None:
        """So many rows failed alone that the fault is not theirs: they are all sent again."""
        with self._db.write() as db:
            db.execute("DELETE FROM poisoned WHERE batch=?", (batch.id,))

    def poisoned(self, batch: Batch) -> dict[int, str]:
        """Staged rows that make a call fail, with Campaign's redacted words."""
        sql = "SELECT row, words FROM poisoned WHERE batch=?"
        return {row["row"]: row["words"] for row in self._db.connection.execute(sql, (batch.id,))}

    def id_rule(self, client: str, list_id: int) -> str | None:
        """The recipient id rule a list was first filled by."""
        row = self._db.connection.execute(
            "SELECT id_rule FROM lists WHERE client=? AND list_id=?", (client, list_id)
        ).fetchone()
        return row["id_rule"] if row else None

    def pin_id_rule(self, client: str, list_id: int, rule: str) -> None:
        """Remember the rule before the list is filled by it."""
        with self._db.write() as db:
            db.execute("INSERT OR IGNORE INTO lists VALUES (?,?,?)", (client, list_id, rule))
