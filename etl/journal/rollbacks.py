"""The journal's rows about rollbacks: what can go back into a list, and the batch that does it.

Whether the rows are still on disk is not known here; nothing is read or written but the journal.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from etl.batch import Batch, Place
from etl.journal.batches import Batches, stamp
from etl.journal.requests import Request
from etl.sqlite_file import SqliteFile

AFTER = "\x1f"
"""Between a drop's order and a rollback's number. It sorts before every character a file name may
have, so a rollback comes after the drop it undoes and before every later one."""


@dataclass(frozen=True, slots=True)
class Undo:
    """One way back."""

    source: Batch
    """Its rows go back into the list."""
    undone: Batch
    """What the list holds now, or is being filled with."""
    order: str
    """What a rollback comes after."""


class Rollbacks:
    """What a feed's list held before, and batches made of it."""

    def __init__(self, database: SqliteFile, batches: Batches) -> None:
        self._db = database
        self._batches = batches

    def find(self, feed: str, target: str) -> Undo | None:
        """The newest completed refill that is not what the list `target` holds now.

        None when there is none, or when it or what is there now was of another list.
        """
        completed = [self._batches.get(each) for each in self._batches.completed(feed, 2)]
        filling = self._filling(feed, "")
        undone = filling or next(iter(completed), None)
        source = next((each for each in completed if each != undone), None)
        if undone is None or source is None:
            return None
        if {self._target(source), self._target(undone)} != {target}:
            return None
        return Undo(source, undone, max(each.order for each in (*completed, undone)))

    def undone(self, batch: Batch) -> Batch | None:
        """What the list of a rollback that has not begun holds, or is being filled with."""
        feed = batch.feed or ""
        last = [self._batches.get(each) for each in self._batches.completed(feed, 1)]
        return self._filling(feed, batch.id) or next(iter(last), None)

    def _filling(self, feed: str, but: str) -> Batch | None:
        """The batch that left the feed's list partial."""
        for each in self._batches.under_way():
            if each.feed == feed and each.place is Place.REFILLING and each.id != but:
                return each
        return None

    def _target(self, batch: Batch) -> str | None:
        target: str | None = self._batches.detail(batch)["target"]
        return target

    def begin(self, request: Request, undo: Undo, at: datetime) -> Batch:
        """Make the batch of a rollback, take its request and allow its codes: all or nothing.

        It is in UPLOADED from the first, for the file of its drop stands at the server already.
        """
        batch_id = request.batch or ""
        detail = self._batches.detail(undo.source)
        order = f"{undo.order.partition(AFTER)[0]}{AFTER}{request.number:012d}"
        with self._db.write() as db:
            db.execute(
                "INSERT INTO batches (id, feed, name, place, size_bytes, sha256, mtime_ns,"
                " drop_order, claimed_at, check_json, staged_sha256, staged_rows, uploaded_at,"
                " rollback_of) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (batch_id, undo.source.feed, undo.source.name, Place.CLAIMED,
                 undo.source.size_bytes, undo.source.sha256, detail["mtime_ns"], order, stamp(at),
                 json.dumps(detail["check"] | {"notes": []}), detail["staged_sha256"],
                 detail["staged_rows"], stamp(at), undo.source.id),
            )  # fmt: skip
            self._batches.moved_in(db, batch_id, Place.CLAIMED, at)
            self._batches.move_in(db, self._batches.get(batch_id), Place.UPLOADED, at)
            db.executemany(
                "INSERT INTO allowed VALUES (?,?,?)",
                [(batch_id, code, request.number) for code in request.codes],
            )
            db.execute(
                "UPDATE requests SET taken_at=?, outcome='done' WHERE number=?",
                (stamp(at), request.number),
            )
        return self._batches.get(batch_id)
