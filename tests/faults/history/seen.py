"""What the model learns at the calls, and what must be true at each of them.

It knows drops, the twins' content and the journal's rows read with plain SQL; nothing of the code.
"""

import fnmatch
import sqlite3
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from etl.errors import EtlError
from tests.faults.history.drops import Dropped, everybody, number_of
from tests.twins.house import House


def covers(entry: str, address: str) -> bool:
    """Whether a blocklist entry covers an address."""
    return fnmatch.fnmatchcase(address, entry)


class Seen:
    """What is known of one history from outside the service."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.state = house.root / "state"
        self.twin, self.remote = house.lists, house.drop_twin
        self.responses, self.clock = house.responses, house.clock
        self.started, self.now_ms = self.clock.seconds, self.responses.now_ms
        self.db: sqlite3.Connection | None = None
        self.drops: dict[str, Dropped] = {}
        """By the sha256 of their bytes."""
        self.owed: dict[str, frozenset[str]] = {}
        """What the CRM wrote, by a number of its own: one of these contents must have a batch."""
        self.deaths = 0
        # People and what may keep them out of a list, ever.
        self.reasons: set[int] = set()
        self.entries: list[str] = []
        # What the calls told.
        self.refused_people: set[str] = set()
        self.refused_at_answer: set[str] = set()
        self.asked: set[str] = set()
        self.purged_for: dict[int, set[str]] = {}
        self.others: dict[int, set[str]] = {}
        """What somebody else did to a list since it was cleared last."""
        self.touched: set[str] = set()
        self.clears: Counter[str] = Counter()
        """Of a batch's list, but for those that repeat one in doubt."""
        self.released: Counter[str] = Counter()
        """How often people allowed further clears."""
        self.all_clears = 0
        self.troubles = 0
        """Deaths and calls that failed."""
        self.troubles_at_clear: dict[tuple[str, int], int] = {}
        self.heard: list[tuple[str, int, str]] = []
        """Of every row a stream gave: the stream, the end of the window, the recipient id."""
        self.stored: set[str] = set()
        """Addresses whose bounce was in the store when people were asked for last."""
        self.store: sqlite3.Connection | None = None

    def close(self) -> None:
        """Let the journal go."""
        for connection in (self.db, self.store):
            if connection is not None:
                connection.close()
        self.db = self.store = None

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Read the journal as anybody could."""
        if self.db is None:
            path = self.state / "journal.sqlite3"
            if not path.exists():
                return []
            self.db = sqlite3.connect(path, isolation_level=None)
            self.db.row_factory = sqlite3.Row
        return self.db.execute(sql, values).fetchall()

    def journal(self) -> list[str]:
        """Every row of every table."""
        tables = [row["name"] for row in self.rows(
            "SELECT name FROM sqlite_schema WHERE type='table' ORDER BY name"
        )]  # fmt: skip
        return [
            f"{table} {tuple(row)}"
            for table in tables
            for row in self.rows(f"SELECT * FROM {table} ORDER BY rowid")  # noqa: S608 - its own names
        ]

    def happened(self) -> Counter[str]:
        """How much was at stake."""
        refills = self.rows("SELECT count(*) n FROM completed")
        return Counter(
            deaths=self.deaths, clears=self.all_clears,
            refills=refills[0]["n"] if refills else 0,
        )  # fmt: skip

    def refilling(self, list_id: int | None = None) -> list[sqlite3.Row]:
        """Batches that left their list dirty."""
        rows = self.rows("SELECT * FROM batches WHERE place='REFILLING'")
        return [r for r in rows if list_id is None or r["target"] == f"1/{list_id}"]

    def content_of(self, batch: sqlite3.Row) -> Dropped:
        """The drop whose rows a batch brings; for one that goes back, that of its source."""
        return self.drops[batch["sha256"]]

    def file_of(self, batch: sqlite3.Row) -> bytes | None:
        """The remote file with the rows of a batch; it may be that of an earlier one."""
        while batch["rollback_of"]:
            (batch,) = self.rows("SELECT * FROM batches WHERE id=?", batch["rollback_of"])
        return self.remote.files.get(batch["upload_name"])

    def ids_of(self, batch: sqlite3.Row) -> list[str]:
        """The recipients of a batch, in the order of its rows."""
        file = self.file_of(batch)
        assert file is not None
        return [line.split(";")[5] for line in file.decode().splitlines()[1:]]

    def way_back(self, feed: str) -> tuple[str, str] | None:
        """The newest completed refill that is not what the list holds now, and what it holds."""
        last = self.rows("SELECT batch FROM completed WHERE feed=? ORDER BY number DESC", feed)
        found = [row["id"] for row in self.refilling() if row["feed"] == feed]
        found += [row["batch"] for row in last]
        return (found[1], found[0]) if len(found) > 1 else None

    def no_mail(self) -> set[str]:
        """Everybody whom Campaign would not mail now."""
        entries = set(self.twin.blocklist)
        blocked = {a for a in everybody() if any(covers(e, a) for e in entries)} if entries else ()
        return self.twin.unsubscribed.union(blocked)

    def may_be_missing(self, address: str) -> bool:
        """Whether anything ever happened that may keep a person out."""
        both = (address, ("q" if address[0] == "p" else "p") + address[1:])
        return number_of(address) in self.reasons or any(
            covers(entry, each) for entry in self.entries for each in both
        )

    # --- at every call ---------------------------------------------------------------------------

    def call_failed(
        self, port: str, verb: str, args: tuple[Any, ...], error: BaseException
    ) -> None:
        """A call failed: what was asked before is asked again, a clear without an answer repeated.

        Not so for rows refused together, which are sent in halves at once; whoever is refused
        alone is not in the list.
        """
        if verb == "add" and isinstance(error, EtlError) and error.code == "call-refused":
            if len(args[1].ids) == 1:
                self.reasons.add(number_of(args[1].ids[0]))
        elif port == "lists":
            self.asked = set()
        self.troubles += 1

    def before_responses_now(self) -> None:
        """Campaign's clock goes on steadily."""
        self.responses.now_ms = self.now_ms + int((self.clock.seconds - self.started) * 1000)

    def done_lists_suppressed(self, *_: object) -> None:
        """Somebody may say no while the answer is on its way: it cannot tell."""
        self.refused_at_answer = self.no_mail()

    def told_lists_suppressed(self, _: Any, ids: list[str], addresses: list[str]) -> None:
        """From here on nobody who is refused now may be added, nor whose bounce is stored."""
        self.refused_people = self.refused_at_answer
        self.asked |= set(ids) & set(addresses)
        self.stored = self._bounces_stored()

    def told_responses_page(self, rows: Any, stream: Any, window: Any, *_: object) -> None:
        """What a stream gave; it counts as known once the store's cursor is past the window."""
        self.heard += [(stream.value, window.until_ms, row[0]) for row in rows]

    def _bounces_stored(self) -> set[str]:
        """Addresses that the streams gave as bounced, in windows that the store has committed."""
        bounced = "getOutBounces"
        if not any(stream == bounced for stream, _, _ in self.heard):
            return set()
        if self.store is None:
            path = self.state / "store.sqlite3"
            self.store = sqlite3.connect(path, isolation_level=None)
        row = self.store.execute(
            "SELECT until_ms FROM cursors WHERE stream = ?", (bounced,)
        ).fetchone()
        until = row[0] if row else 0
        return {who for stream, end, who in self.heard if stream == bounced and end <= until}

    def before_lists_clear(self, list_id: int) -> None:
        """A clear has its intent, its replacement, its upload and its guards before it."""
        (batch,) = self.refilling(list_id)
        rounds = self.rows("SELECT * FROM rounds WHERE batch=? ORDER BY round", batch["id"])
        assert rounds, "a clear without an intent"
        assert rounds[-1]["ack_at"] is None, "a clear whose intent is acknowledged"
        assert (self.state / "batches" / batch["id"] / "staged.arrow").exists()
        assert self.file_of(batch) is not None, "cleared before the upload"
        assert self.has_its_name(list_id), "the wrong list is cleared"
        ids = self._due(batch)
        assert ids <= self.asked, "cleared before its people were asked for"
        assert not ids & self.refused_people, "cleared for somebody whom Campaign refused"
        assert not ids & self.stored, "cleared for somebody who bounced"
        self._count_clear(batch, rounds[-1]["round"])
        if len(rounds) == 1 and datetime.fromisoformat(rounds[0]["intent_at"]) == self.clock.now:
            # Later the list may be half empty: whoever says no meanwhile stops nothing.
            self._check_guards(batch)

    def _due(self, batch: sqlite3.Row) -> set[str]:
        """The recipients of a batch that are to be in its list after a clear."""
        out = {
            row["row"]
            for table in ("late", "poisoned")
            for row in self.rows(f"SELECT row FROM {table} WHERE batch=?", batch["id"])  # noqa: S608 - our own names
        }
        return {each for row, each in enumerate(self.ids_of(batch)) if row not in out}

    def _count_clear(self, batch: sqlite3.Row, number: int) -> None:
        """Another clear, unless it repeats one whose answer nobody can have seen."""
        self.all_clears += 1
        key = (batch["id"], number)
        if key in self.troubles_at_clear:
            assert self.troubles > self.troubles_at_clear[key], "cleared again without a doubt"
        else:
            self.clears[batch["id"]] += 1
        self.troubles_at_clear[key] = self.troubles

    def _check_guards(self, batch: sqlite3.Row) -> None:
        """Rows and order fit the last completed refill, or somebody allowed it."""
        allowed = {
            r["code"] for r in self.rows("SELECT code FROM allowed WHERE batch=?", batch["id"])
        }
        late = self.rows("SELECT count(*) n FROM late WHERE batch=?", batch["id"])[0]["n"]
        rows = batch["staged_rows"] - late
        last = self.rows(
            "SELECT * FROM completed WHERE feed=? ORDER BY number DESC LIMIT 1", batch["feed"]
        )
        assert rows > 0
        if last:
            assert rows >= 0.8 * last[0]["rows_sent"] or "shrunk" in allowed
            assert rows <= 2 * last[0]["rows_sent"] or "grown" in allowed
            assert batch["drop_order"] >= last[0]["drop_order"] or "outdated" in allowed
        if batch["rollback_of"] and "returning" not in allowed:
            assert not self._returning(batch), "people return whom the newer drop left out"

    def _returning(self, batch: sqlite3.Row) -> set[str]:
        """Who would be in the list again by a rollback though what is there now left them out."""
        instead = self.rows(
            "SELECT b.* FROM batches b JOIN moves m ON m.batch = b.id AND m.place='REFILLING'"
            " WHERE b.place='SUPERSEDED' AND json_extract(b.end_facts, '$.by')=?", batch["id"],
        ) or self.rows(
            "SELECT b.* FROM completed c JOIN batches b ON b.id = c.batch WHERE c.feed=?"
            " ORDER BY number DESC LIMIT 1", batch["feed"],
        )  # fmt: skip
        late = {r["row"] for r in self.rows("SELECT row FROM late WHERE batch=?", batch["id"])}
        back = {each for row, each in enumerate(self.ids_of(batch)) if row not in late}
        return back - set(self.ids_of(instead[0]))

    def done_lists_clear(self, list_id: int) -> None:
        """Whatever others wrote is gone."""
        self.others.pop(list_id, None)

    def has_its_name(self, list_id: int) -> bool:
        """Lists are renamed between steps only, so a step that looks sees it in time."""
        return self.twin.lists[list_id].name == f"List {list_id - 100}"

    def before_lists_add(self, list_id: int, recipients: Any) -> None:
        """An add has its intent before it, and nobody in it whom Campaign refused when asked."""
        (batch,) = self.refilling(list_id)
        last = self.rows("SELECT * FROM rounds WHERE batch=? ORDER BY round DESC", batch["id"])[0]
        assert last["ack_at"] is not None, "added before the clear was known to have happened"
        calls = self.rows(
            "SELECT * FROM calls WHERE batch=? AND round=? AND ack_at IS NULL",
            batch["id"], last["round"],
        )  # fmt: skip
        assert len(calls) == 1, "an add without an intent"
        assert self.has_its_name(list_id), "the wrong list is filled"
        ids = set(recipients.ids)
        assert len(ids) == len(recipients.ids)
        assert ids <= set(self.content_of(batch).good), "rows of no such drop"
        assert not ids & self.refused_people, "somebody is added whom Campaign refused when asked"
        assert ids <= self.asked, "somebody is added without being asked for again"
        assert not ids & self.stored, "somebody is added whose bounce is stored"

    def done_lists_purge(self, list_id: int) -> None:
        """Whoever is refused now is out."""
        self.purged_for[list_id] = self.no_mail()

    def before_drop_put(self, _: Path, name: str) -> None:
        """Bytes go to a temporary name that the journal knows."""
        (batch,) = self.rows("SELECT * FROM batches WHERE upload_temporary=?", name)
        final = f"{batch['feed']}-{batch['id']}.csv"
        assert final not in self.remote.files, "uploaded a second time"

    def before_drop_rename(self, temporary: str, final: str) -> None:
        """A rename has its intent before it."""
        (batch,) = self.rows("SELECT * FROM batches WHERE upload_name=?", final)
        assert batch["upload_temporary"] == temporary
        assert batch["upload_intent_at"] is not None
        assert batch["place"] == "CLAIMED"

    # --- what others do --------------------------------------------------------------------------

    def say_no(self, number: int) -> None:
        """Somebody unsubscribes at Campaign."""
        self.reasons.add(number)
        self.twin.unsubscribed.add(f"p{number}@example.org")

    def block(self, entry: str) -> None:
        """An entry comes onto the blocklist."""
        self.entries.append(entry)
        self.twin.blocklist.append(entry)
        self.responses.entries.append(entry)

    def others_write(self, list_id: int, number: int, *, wipe: bool, late: bool = True) -> None:
        """Somebody writes a person, of ours or a stranger, or takes everybody out."""
        rows = self.twin.lists[list_id].rows
        address = f"p{number}@example.org" if number % 2 else "stranger@example.org"
        if wipe:
            rows.clear()
        else:
            rows.setdefault(address, (address, {"firstname": "not ours"}))
        told = {"wipe" if wipe else "write"}
        self.touched.add(f"1/{list_id}")
        refilling = self.refilling(list_id)
        if late or not refilling or self._last_round(refilling[0]["id"])["count_before"]:
            told.add("late")
        self.others[list_id] = self.others.get(list_id, set()) | told

    def _last_round(self, batch: str) -> sqlite3.Row:
        return self.rows("SELECT * FROM rounds WHERE batch=? ORDER BY round DESC", batch)[0]
