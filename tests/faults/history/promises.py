"""What is true after every step of any history, and what it means that everything is at rest."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.faults.history.drops import Dropped
from tests.faults.history.seen import Seen

FEEDS = ("a", "b")
ENDS = {"ARCHIVED", "QUARANTINED", "SUPERSEDED", "DISCARDED"}
ROW_GUARDS = {"shrunk", "grown", "min-rows", "first-refill", "outdated", "returning"}
ID = len("20261124T091500Z-1a2b3c")


class Promises:
    """Looks at folders, lists, server and journal, and compares them with what was seen."""

    def __init__(self, seen: Seen, folder: Callable[[str], Path]) -> None:
        """`folder` tells where a share is by its name, also while it is away from us."""
        self.seen = seen
        self.folder = folder
        self.carried_out: dict[str, str] = {}
        """Batches whose end was seen to be carried out, with it."""
        self.latest = seen.clock.now
        self.batches: list[sqlite3.Row] = []

    def check(self) -> None:
        """Every promise, now."""
        self.latest = max(self.latest, self.seen.clock.now)
        self.batches = self.seen.rows("SELECT * FROM batches ORDER BY rowid")
        receipts = self.receipts()
        self.every_row_has_one_fate(receipts)
        self.a_drop_ends_once(receipts)
        self.lists_are_what_was_last_refilled()
        self.clears_are_few()
        self.one_remote_file_for_a_batch()

    def receipts(self) -> dict[str, dict[str, Any]]:
        """Every receipt by its batch."""
        found = [json.loads(p.read_text()) for p in self.folder("receipts").glob("[!.]*.json")]
        assert len({each["batch"] for each in found}) == len(found)
        return {each["batch"]: each for each in found}

    def every_row_has_one_fate(self, receipts: dict[str, dict[str, Any]]) -> None:
        """Receipts account for every row of a drop, and for every row that was staged."""
        contents = {row["id"]: self.seen.content_of(row) for row in self.batches}
        for batch, receipt in receipts.items():
            drop, check, listed = contents[batch], receipt["check"], receipt["list"]
            if check is not None:
                fates = check["accepted"] + check["rejected"] + check["suppressed"]
                assert check["rows_read"] == fates
                if drop.fit:
                    assert check["rejected"] == drop.rejected
                    assert check["rows_read"] == len(drop.good) + drop.rejected
            if listed is not None:
                assert listed["staged"] == listed["sent"] + listed["suppressed_late"]
                assert check is not None
                assert listed["staged"] == check["accepted"]
                told = listed["listed"] + sum(listed["refused"].values()) + listed["poisoned"]
                assert told <= listed["sent"]
                if receipt["place"] in ("REFILLED", "ARCHIVED"):
                    assert told == listed["sent"]

    def a_drop_ends_once(self, receipts: dict[str, dict[str, Any]]) -> None:
        """Every batch walks one road to at most one end, and is in order when it is there."""
        roads: dict[str, list[str]] = {}
        for move in self.seen.rows("SELECT batch, place FROM moves ORDER BY rowid"):
            roads.setdefault(move["batch"], []).append(move["place"])
        for row in self.batches:
            road = roads[row["id"]]
            assert road[0] == "CLAIMED"
            assert road[-1] == row["place"]
            assert not ENDS & set(road[:-1]), "an ended batch moved"
            assert len(set(road)) == len(road)
            drop = self.seen.content_of(row)
            if not drop.fit or row["feed"] is None:
                assert not {"UPLOADED", "REFILLING", "ARCHIVED"} & set(road)
            elif row["place"] == "QUARANTINED":
                self._check_quarantined(row, drop)
            if row["place"] not in ENDS:
                self._check_kept(row)
            elif row["id"] not in self.carried_out:
                self._check_carried_out(row, receipts)

    def _check_kept(self, row: sqlite3.Row) -> None:
        """What has not ended is there twice: as it was claimed, and as our own copy."""
        if not row["rollback_of"]:
            claim = self.folder("inbox") / ".claimed" / "one" / row["id"] / row["name"]
            assert claim.exists(), "a claimed file is gone before its batch has ended"
            copy = self.seen.state / "batches" / row["id"] / "original"
            assert copy.exists(), "our copy of a drop is gone before its batch has ended"

    def _check_quarantined(self, row: sqlite3.Row, drop: Dropped) -> None:
        """A sound drop is quarantined for two reasons only."""
        if row["end_code"] == "crashed-checking":
            assert self.seen.deaths >= 3
        else:
            assert row["end_code"] == "no-rows"
            assert all(self.seen.may_be_missing(address) for address in drop.good)

    def _check_carried_out(self, row: sqlite3.Row, receipts: dict[str, dict[str, Any]]) -> None:
        """Once the claim is gone, the bytes are in the archive or a case, and the CRM knows."""
        claim = self.folder("inbox") / ".claimed" / "one" / row["id"]
        if row["rollback_of"]:
            if row["finished_at"] is not None:
                self.carried_out[row["id"]] = row["place"]
                assert receipts[row["id"]]["fate"] == row["place"].lower()
                assert not claim.exists()
                assert not list(self.seen.state.glob(f"archive/*/{row['id']}*"))
            return
        if (claim / row["name"]).exists():
            assert row["finished_at"] is None, "finished with its claim still there"
            return
        self.carried_out[row["id"]] = row["place"]
        assert receipts[row["id"]]["fate"] == row["place"].lower()
        if datetime.fromisoformat(row["ended_at"]) < self.latest - timedelta(days=29):
            return  # what is kept is kept so long from the end
        content = self.seen.content_of(row).content
        archive = self.seen.state / "archive"
        root = self.folder("quarantine") if row["place"] == "QUARANTINED" else archive
        kept = [p for p in root.rglob("*") if row["id"] in str(p) and p.is_file()]
        assert any(path.read_bytes() == content for path in kept), "the bytes are gone"

    def lists_are_what_was_last_refilled(self) -> None:
        """A list differs from its last completed refill only while a batch is REFILLING it."""
        seen = self.seen
        for number, feed in enumerate(FEEDS):
            list_id = 100 + number
            refilling = [
                row for row in self.batches
                if row["place"] == "REFILLING" and row["target"] == f"1/{list_id}"
            ]  # fmt: skip
            assert len(refilling) <= 1
            if refilling:
                continue
            rows = seen.twin.lists[list_id].rows
            last = seen.rows(
                "SELECT b.* FROM completed c JOIN batches b ON b.id = c.batch WHERE c.feed=?"
                " ORDER BY number DESC LIMIT 1", feed,
            )  # fmt: skip
            if not last:
                assert list(rows) == ["old@example.org"] or list_id in seen.others
                continue
            if self._unseen(list_id, last[0]):
                continue
            good = seen.content_of(last[0]).good
            assert set(rows) <= set(good), "somebody is in who was not in the drop"
            assert not set(rows) & seen.purged_for[list_id], "somebody is in who said no"
            lost = {a for a in good if a not in rows and not seen.may_be_missing(a)}
            assert not lost, "somebody is missing whom nothing speaks against"
            assert all(values["firstname"] == good[a] for a, (_, values) in rows.items())

    def _unseen(self, list_id: int, batch: sqlite3.Row) -> bool:
        """Whether counts cannot show what others did to the list.

        What comes after the count; what makes up for each other; and one row more, where a row
        may be there or not: after a call without an answer, and where Campaign refused somebody.
        """
        did = self.seen.others.get(list_id, set())
        if "late" in did or did == {"wipe", "write"}:
            return True
        if "write" not in did:
            return False
        refused = json.loads(batch["list_json"] or "{}").get("refused", {})
        return bool(refused) or bool(
            self.seen.rows("SELECT 1 FROM calls WHERE batch=? AND codes IS NULL", batch["id"])
        )

    def clears_are_few(self) -> None:
        """One clear for a batch, one for each answer in doubt, two more when counts are wrong.

        And two more for every time that people allowed it.
        """
        seen, batches = self.seen, {row["id"]: row for row in self.batches}
        for batch, times in seen.clears.items():
            assert times <= 1 + 2 * (1 + seen.released[batch]), "cleared too often"
            if times > 1 and batches[batch]["target"] not in seen.touched:
                assert self._bounced_after_doubt(batch), "cleared again, and nobody wrote"

    def _bounced_after_doubt(self, batch: str) -> bool:
        """Whether a row may be there from a call in doubt that was left out as bounced since.

        The remove calls leave it: a clear more settles it.
        """
        return bool(
            self.seen.rows(
                "SELECT 1 FROM late JOIN calls USING (batch) WHERE batch=? AND codes IS NULL"
                " AND row >= first AND row < last AND kind='bounced'", batch,
            )
        )  # fmt: skip

    def one_remote_file_for_a_batch(self) -> None:
        """Every batch is on the server once, with accepted rows of its drop alone."""
        files = self.seen.remote.files
        finals = Counter(name[2 : 2 + ID] for name in files if not name.endswith(".part"))
        assert all(times == 1 for times in finals.values())
        for row in self.batches:
            if row["uploaded_at"] is None or row["rollback_of"]:
                assert row["id"] not in finals or not row["rollback_of"]
                continue
            lines = files[row["upload_name"]].decode().splitlines()
            assert len(lines) - 1 == row["staged_rows"]
            good = self.seen.content_of(row).good
            assert all(line.split(";")[5] in good for line in lines[1:])

    # --- at rest ---------------------------------------------------------------------------------

    def at_rest(self) -> None:
        """Whatever has not ended waits for people; nothing is left anywhere."""
        receipts = self.receipts()
        taken = {row["sha256"] for row in self.batches}
        assert all(contents & taken for contents in self.seen.owed.values()), "a drop is lost"
        open_batches, claimed = set(), set()
        for row in self.batches:
            if row["place"] in ENDS:
                assert self.carried_out[row["id"]] == row["place"], "an end is not carried out"
                assert row["finished_at"] is not None, "an end is not said to be carried out"
                continue
            open_batches.add(row["id"])
            if not row["rollback_of"]:
                claimed.add(row["id"])
            if self._has_no_turn(row):
                continue
            assert row["held_code"] is not None, "a batch neither rests nor has ended"
            assert row["id"] in receipts, "a batch waits and the CRM was not told"
            receipt = receipts[row["id"]]
            assert (receipt["fate"], receipt["held"]["code"]) == ("held", row["held_code"])
            self._check_hold(row)
        inbox = self.folder("inbox")
        assert [p.name for p in inbox.iterdir() if p.name != ".claimed"] == []
        assert {p.name for p in inbox.glob(".claimed/one/*")} == claimed
        copies = self.seen.state.glob("batches/*/original")
        assert {path.parent.name for path in copies} == claimed
        kept = {
            row["batch"]
            for feed in FEEDS
            for row in self.seen.rows(
                "SELECT batch FROM completed WHERE feed=? ORDER BY number DESC LIMIT 2", feed
            )
        }
        folders = {path.name for path in self.seen.state.glob("batches/*")}
        assert folders == open_batches | kept, "rows of people are kept too long, or not"
        parts = [name for name in self.seen.remote.files if name.endswith(".part")]
        assert parts == [], "people's rows are left under a temporary name"
        litter = [p.name for p in self.folder("responses").glob(".*")]
        assert litter == [], "people's rows are left half handed over"

    def _has_no_turn(self, row: sqlite3.Row) -> bool:
        """Whether a newer drop, held for what is no row guard, keeps this older one waiting.

        Then it has neither a hold of its own nor a receipt until that one has ended.
        """
        newer = self.seen.rows(
            "SELECT held_code FROM batches WHERE feed=? AND drop_order >= ? AND id <> ?"
            " AND held_code IN ('no-rows', 'staged-old', 'list-short', 'list-mismatch')",
            row["feed"],
            row["drop_order"],
            row["id"],
        )
        return row["place"] == "CLAIMED" and row["held_code"] is None and bool(newer)

    def _check_hold(self, row: sqlite3.Row) -> None:
        """A batch may wait for people, or for a newer drop, and for nothing else."""
        code, list_id = row["held_code"], 100 + FEEDS.index(row["feed"])
        if code == "list-mismatch":
            assert list_id in self.seen.others
        elif code == "call-failing":
            good = self.seen.content_of(row).good
            assert all(self.seen.may_be_missing(a) for a in good), "not every row can fail"
        else:
            assert code in ROW_GUARDS | {"no-rows", "staged-old", "list-short"}, code
        if row["place"] == "REFILLING":
            assert code in ("list-mismatch", "list-short", "call-failing")
