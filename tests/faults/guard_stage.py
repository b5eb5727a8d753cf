"""A stage for one reason not to clear a list: a house on a Campaign of its own, and its witnesses.

What must be true is told by Campaign's call log and content and by the folders; the journal is
written to as an operator's command does, and not asked.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from etl.batch import new_id
from etl.journal import Journal
from tests.servers.house_on_campaign import LIST, MANDATOR, NAME, HouseOnCampaign, house_on_campaign
from tests.servers.service import as_csv, person

T = TypeVar("T")
Rows = list[dict[str, str]]
OTHER = 101
TYPED = {"points": "1", "revenue": "1,50", "since": "01.02.2024", "seen": "2024-05-06T07:08:09Z"}
LATER_SECONDS = 31 * 60.0
"""After this long everything that goes on by itself was tried again."""
_CHANGES = ("clear", "add", "remove")


def people(count: int, first: int = 1, **changed: str) -> Rows:
    """Made-up people for a drop of this house."""
    return [person(number, **changed) | TYPED for number in range(first, first + count)]


class Stage:
    """One house; `wrong` says whether the reason is there or was just taken away."""

    def __init__(self, house: HouseOnCampaign, stack: contextlib.ExitStack, *, wrong: bool) -> None:
        self.house, self.control, self.clock = house, house.control, house.clock
        self.wrong = wrong
        self.lists = [LIST]
        self.gone: set[str] = set()
        """Who says no in the course of the case."""
        self.expected: set[str] = set()
        """Who is in the list once it goes on rightly."""
        self.name = ""
        """The drop it is about."""
        self.batch = ""
        """The batch of a rollback, where it is about one."""
        self._stack = stack
        self._dropped: dict[str, bytes] = {}
        self._seen = 0
        self._content: list[list[dict[str, Any]]] = []

    def pick(self, wrong: T, right: T) -> T:
        """The one value where the reason is there, the other where it is not."""
        return wrong if self.wrong else right

    # --- what happens -----------------------------------------------------------------------------

    def filled_by_others(self, list_id: int = LIST) -> None:
        """Put people into a list who came by no refill of ours."""
        old = [
            {"id": f"old{n}@example.org", "address": f"old{n}@example.org", "attributes": {}}
            for n in range(20)
        ]
        self.control.put_recipients(list_id, old)

    def second_list(self, name: str) -> None:
        """Another list of the client, with people in it."""
        self.control.add_list(MANDATOR, OTHER, name, dict.fromkeys(self.attributes, "STRING"))
        self.filled_by_others(OTHER)
        self.lists.append(OTHER)

    @property
    def attributes(self) -> Sequence[str]:
        """The list's attributes that the feed fills."""
        names: dict[str, str] = self.house.feeds[0]["attributes"]
        return list(names)

    def drop(
        self, content: Rows | bytes, day: int = 2, name: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        """Put a drop of a day into the inbox."""
        if not isinstance(content, bytes):
            self.expected = {row["email"] for row in content if "@" in row["email"]} - self.gone
            kept = list(columns or self.house.columns)
            rows = [{name: row[name] for name in kept} for row in content]
            content = as_csv(rows, kept)
        self.name = name or f"a_2030010{day}.csv"
        self._dropped[self.name] = content
        self.house.drop(self.name, content)

    def refilled(self, rows: Rows, day: int = 1) -> None:
        """A good drop goes all the way."""
        self.drop(rows, day)
        self.run()
        assert self.receipt()["fate"] == "archived", self.receipt()
        assert self.ids() == self.expected

    def says_no(self, ids: set[str]) -> None:
        """Campaign hears of people who unsubscribed."""
        self.gone |= ids
        self.expected -= ids
        self.control.unsubscribe(MANDATOR, sorted(ids))

    def run(self) -> None:
        """`etl once`, and some time after it."""
        self.house.run()
        self.clock.advance(60)

    def later(self) -> None:
        """So much time passes that what waits for it is tried again."""
        self.clock.advance(LATER_SECONDS)

    def held_before(self, cause: str) -> None:
        """The last drop is held for a cause of its own, which is over by now.

        `away`: before the check; `name`: uploaded and before the clear.
        """
        if cause == "away":
            self.control.schedule("*", "drop-before", times=None)
        else:
            self.control.set_list(LIST, name="Another list")
        self.run()
        self.control.unschedule()
        self.control.set_list(LIST, name=NAME)
        assert self.receipt()["fate"] == "held"
        assert self.receipt()["place"] == {"away": "CLAIMED", "name": "UPLOADED"}[cause]
        self.later()

    def left_partial(self) -> None:
        """The last drop is cut off in the middle of its refill, and tried again in some minutes."""
        rule = self.control.schedule("addAll3", "http", nth=2, times=None, status=503)
        self.house.run()
        self.control.unschedule(rule)
        assert self.receipt()["place"] == "REFILLING"

    def release(self, *codes: str) -> None:
        """An operator looked at it."""
        self.house.ask("release", self.batch or self.receipt()["batch"], *codes)

    def roll_back(self, *codes: str, stale: bool = False) -> None:
        """An operator wants the former content back; `stale` names what is in the list already."""
        with contextlib.closing(self._journal()) as journal:
            undo = journal.rollbacks.find("a", f"1/{LIST}")
            now = self.clock.wall()
            self.batch = new_id(now)
            source = None if undo is None else (undo.undone if stale else undo.source).id
            undone = None if undo is None else undo.undone.id
            journal.requests.ask(
                "rollback", self.batch, codes, "wrong", "ops", now, "a", source, undone
            )

    def file_of(self, batch: str, name: str) -> Path:
        """A file of a batch's private folder."""
        return self.house.root / "state" / "batches" / batch / name

    def claim(self) -> Path:
        """The claimed file of the last drop."""
        (found,) = (self.house.root / "inbox" / ".claimed").rglob(self.name)
        return found

    def small_disk(self) -> None:
        """The state folder lies on a disk of 8 MB."""
        state = self.house.root / "state"
        options = ["-t", "tmpfs", "-o", "size=8m,mode=0700"]
        subprocess.run(["mount", *options, "tmpfs", state], check=True)
        self._stack.callback(subprocess.run, ["umount", "-l", state], check=True)
        for name in ("batches", "archive"):
            (state / name).mkdir()

    def fill_disk(self, left_bytes: int) -> Path:
        """Take all but so much of the state folder's disk."""
        filler = self.house.root / "state" / ".filler"
        free = os.statvfs(filler.parent)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - left_bytes)
        return filler

    def _journal(self) -> Journal:
        return Journal(self.house.root / "state" / "journal.sqlite3")

    # --- what is looked at ------------------------------------------------------------------------

    def look(self) -> None:
        """Remember calls and content as they are now."""
        calls = self.control.calls()
        self._seen = calls[-1]["seq"] if calls else 0
        self._content = [self.control.list_content(each) for each in self.lists]

    def ids(self) -> set[str]:
        """Who is in the list."""
        return {row["id"] for row in self.control.list_content(LIST)}

    def receipt(self) -> dict[str, Any]:
        """The receipt of the drop or rollback that it is about; empty when there is none."""
        folder = self.house.root / "receipts"
        if not self.batch:
            return self.house.receipts().get(self.name, {})
        found = [json.loads(path.read_text()) for path in folder.glob(f"*.{self.batch}.*.json")]
        return found[-1] if found else {}

    def refusal(self) -> str | None:
        """What became of the last wish for a rollback."""
        with contextlib.closing(self._journal()) as journal:
            waiting = journal.requests.waiting()
            assert waiting == []
            outcome: str | None = journal.requests.latest(1)[0]["outcome"]
            return outcome

    def changes(self) -> list[tuple[int, str]]:
        """Calls since the last look that were to change a list."""
        calls = self.control.calls(since=self._seen)
        return [(c["list_id"], c["method"]) for c in calls if c["method"].startswith(_CHANGES)]

    def nothing_is_changed(self) -> None:
        """No call was to change any list, and each holds in full what it held."""
        assert self.changes() == []
        assert [self.control.list_content(each) for each in self.lists] == self._content
        assert all(self._content)

    def nothing_is_lost(self) -> None:
        """Every drop's bytes lie where its newest receipt says, or where it was put."""
        root, receipts = self.house.root, self.house.receipts()
        for name, content in self._dropped.items():
            receipt = receipts.get(name)
            if receipt is None:
                found = list((root / "inbox").rglob(name))
            elif receipt["fate"] == "held":
                # Rows that go back after an end have the name of a drop that is archived.
                found = [
                    *(root / "inbox").rglob(name),
                    *(root / "state" / "archive").rglob(f"*-{name}"),
                ]
            elif receipt["fate"] == "quarantined":
                found = [root / "quarantine" / receipt["case"] / name]
            else:
                found = list((root / "state" / "archive").rglob(f"*-{name}"))
            assert [path.read_bytes() for path in found] == [content], (name, found)

    def goes_on(self, reaches: str) -> None:
        """The call that the reason kept back comes, and the list is what it should be."""
        assert (LIST, reaches) in self.changes(), self.receipt()
        assert self.ids() == self.expected
        assert self.receipt()["fate"] == "archived", self.receipt()
        self.nothing_is_lost()


@contextlib.contextmanager
def stage(
    root: Path, authority: Path, *, wrong: bool, before: int | None, guards: dict[str, Any]
) -> Iterator[Stage]:
    """A stage below `root`, its list with a good refill of `before` people, or others' people."""
    with (
        contextlib.ExitStack() as stack,
        house_on_campaign(root, authority, **guards) as house,
    ):
        made = Stage(house, stack, wrong=wrong)
        if before is None:
            made.filled_by_others()
        else:
            made.refilled(people(before))
        yield made
