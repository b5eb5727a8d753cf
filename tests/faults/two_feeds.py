"""One run with two feeds, whatever becomes of it, and what must be true when it has come to rest.

What must be true is known from the drops, from what Campaign was told, from the moment at which
somebody unsubscribed, and from the far sides' own records. From the journal only places and times
are read, with plain SQL.
"""

import csv
import io
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.servers.aftermath import (
    claims,
    handed_over,
    is_settled,
    remains,
    rows_of,
    uploaded_ids,
)
from tests.servers.far_sides import FarSides
from tests.servers.nursery import Child, Nursery
from tests.servers.service import Setting, as_csv, people, person

MEMORY = Path("/dev/shm")
LEAVES = "p7@example.org"
"""Says no after the first life."""
TOLD = "p3@example.org"
"""Unsubscribed from the start."""
BLOCKED = "p4@example.org"
DROPS = {
    "a.csv": as_csv([*people(25), person(99, email="no-address")]),
    "b.csv": as_csv(people(12, first=200)),
}
ACCEPTED = {
    "a.csv": [row["email"] for row in people(25) if row["email"] not in {TOLD, BLOCKED}],
    "b.csv": [row["email"] for row in people(12, first=200)],
}
REJECTED = {"a.csv": 1, "b.csv": 0}
OLD = [f"old{number}@example.org" for number in range(30)]
LIFE = ["CLAIMED", "UPLOADED", "REFILLING", "REFILLED", "ARCHIVED"]


class Servers:
    """What many runs share: far sides, and a nursery for the processes."""

    def __init__(
        self, root: Path, *, tree: Path | None = None, options: Sequence[str] = ()
    ) -> None:
        self.root = root
        self.far = FarSides(root, options)
        self.nursery = Nursery() if tree is None else Nursery(tree=tree)
        self.runs = 0

    def __enter__(self) -> Self:
        self.far.__enter__()
        self.nursery.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.nursery.__exit__()
        self.far.__exit__()


class TwoFeeds:
    """Folders, lists and drops of one run; everything is taken away with the block."""

    def __init__(
        self,
        servers: Servers,
        root: Path | None = None,
        elsewhere: Mapping[str, Path] | None = None,
    ) -> None:
        """In memory, or below `root`, but for folders that are `elsewhere`."""
        servers.runs += 1
        self.servers = servers
        self.number = servers.runs
        made = tempfile.mkdtemp(prefix="two-feeds-", dir=MEMORY if MEMORY.is_dir() else None)
        self.outside = Path(made)
        self.root = root or self.outside
        self.elsewhere = elsewhere or {}
        self.killed = 0
        """Lives that a fault ended."""
        self.at_rest = 0
        """Daemons that no fault ended."""
        self.left_at: dict[str, Any] | None = None
        """How far the drop of LEAVES was when she said no."""
        self.codes: list[int] = []

    def __enter__(self) -> Self:
        for name, folder in self.elsewhere.items():
            folder.mkdir()
            (self.root / name).symlink_to(folder)
        self.made = Setting(
            self.root, 2, far=self.servers.far, mandator=10_000 + self.number,
            first_list=100 * self.number,
        )  # fmt: skip
        made = self.made
        made.log = self.outside / "etl.log"
        made.scan = 'every_seconds = 0.02\nsightings = 2\nwatch = "off"'
        made.again = "again_minutes = 0.001\nlater_minutes = 0.001"
        made.__enter__()
        self.first_call = len(made.control.calls())
        for number in range(2):
            old = [{"id": each, "address": each, "attributes": {}} for each in OLD]
            made.control.put_recipients(list_id=made.first_list + number, recipients=old)
        made.control.unsubscribe(mandator=made.mandator, ids=[TOLD])
        made.control.block(mandator=made.mandator, entries=["p4@example*"])
        for name, content in DROPS.items():
            made.drop(name, content)
        return self

    def __exit__(self, *_: object) -> None:
        self.made.__exit__()
        shutil.rmtree(self.made.files, ignore_errors=True)
        shutil.rmtree(self.outside, ignore_errors=True)

    # --- lives -----------------------------------------------------------------------------------

    def born(self, verb: str = "once", *, stopped: bool = False) -> Child:
        """A process of this instance."""
        arguments = [verb, "--config", str(self.made.config)]
        return self.servers.nursery.born(
            arguments, self.made.log, self.made.environment(), stopped=stopped
        )

    def life(self, strace: Sequence[str] = (), *, verb: str = "once", seconds: float = 60) -> int:
        """One process from birth to its end, traced or not; its exit code, negative if killed."""
        lived = self._traced if strace else self._untraced
        at_rest = self.at_rest
        code = lived(strace, verb, seconds)
        self.codes.append(code)
        self.killed += code < 0 and self.at_rest == at_rest
        return code

    def _untraced(self, _: Sequence[str], verb: str, seconds: float) -> int:
        return self.born(verb).wait(seconds)

    def _traced(self, strace: Sequence[str], verb: str, seconds: float) -> int:
        """Of `once` the thread that does it all, of `run` every thread."""
        child = self.born(verb, stopped=True)
        command = ["strace", "-p", str(child.pid), *(["-f"] if verb == "run" else []), *strace]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
            assert tracer.stderr is not None
            try:
                said = tracer.stderr.readline()
                assert b"attached" in said, said
                child.go()
                if verb == "run":
                    self._until_settled(child, seconds)
                return child.wait(seconds)
            finally:
                child.kill()
                tracer.terminate()

    def _until_settled(self, child: Child, seconds: float) -> None:
        """A daemon that nothing kills is killed when everything has come to rest."""
        until = time.monotonic() + seconds
        while child.poll() is None and not is_settled(self.made, len(DROPS)):
            assert time.monotonic() < until, self.words()
            time.sleep(0.03)
        self.at_rest += child.poll() is None
        child.kill()

    def somebody_leaves(self) -> None:
        """LEAVES says no, between two lives."""
        made = self.made
        place = self.place("a.csv")
        self.left_at = {
            "proved": place in {"REFILLED", "ARCHIVED"},
            "uploaded": self._is_uploaded(),
            "sent": LEAVES in made.list_ids(0),
        }
        made.control.unsubscribe(mandator=made.mandator, ids=[LEAVES])

    def consumer_takes(self) -> None:
        """Whoever the files are for takes away what is complete."""
        for path in sorted(self.made.files.glob("*.csv")):
            shutil.move(path, self.outside / f"taken-{path.name}")

    def _delivered(self) -> dict[str, bytes]:
        """Every complete or other file that was ever on the server at the end of a life."""
        taken = {p.name.removeprefix("taken-"): p.read_bytes()
                 for p in sorted(self.outside.glob("taken-*"))}  # fmt: skip
        there = self.made.remote()
        assert not taken.keys() & there.keys(), "delivered again after it was taken away"
        return taken | there

    def place(self, name: str) -> str | None:
        """Where the journal says that a drop is."""
        found = self.rows(f"SELECT place FROM batches WHERE name='{name}'")  # noqa: S608 - our own names
        return found[0][0] if found else None

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the journal."""
        return rows_of(self.made, sql)

    def _is_uploaded(self) -> bool:
        """Whether the bytes of the drop of LEAVES are final: visible under their name."""
        return any(name.startswith("a-") and name.endswith(".csv") for name in self.made.remote())

    # --- what must be true -----------------------------------------------------------------------

    def comes_to_rest(self, lives: int = 3) -> None:
        """Lives without any fault, until nothing is left to do; one must do.

        More only when something is held for a moment: after three deaths in one step.
        """
        for _ in range(lives):
            code = self.life()
            assert code in (0, 1), f"exit {code}: {self.words()}"
            held = self.rows("SELECT held_code FROM batches WHERE held_code NOTNULL")
            if not held:
                return
            assert self.killed >= 3, f"held after a clean life: {held}"
            time.sleep(0.1)
        raise AssertionError(f"held after {lives} clean lives: {held}")

    def words(self) -> str:
        """The last words in the log."""
        return self.made.log.read_text(errors="replace")[-2500:]

    def must_be_true(self, *, deaths: int = 0) -> None:
        """Assert all that this service promises of the two drops."""
        receipts = self.made.receipts()
        crashed = [r[0] for r in self.rows("SELECT name FROM batches WHERE end_code NOTNULL")]
        for number, name in enumerate(DROPS):
            if name in crashed:
                self._never_went_out(number, name, receipts)
                continue
            self._drop_ended_once(name, receipts)
            self._list_is_right(number, name, receipts[name][0])
            self._file_is_right(name, receipts[name][0])
            self._cleared_once(number, deaths)
        self._crm_is_told(crashed)
        self._nothing_is_left(crashed)
        assert self.rows("PRAGMA integrity_check") == [("ok",)]
        assert "Traceback" not in self.made.log.read_text(errors="replace"), self.words()

    def _drop_ended_once(self, name: str, receipts: dict[str, list[dict[str, Any]]]) -> None:
        (receipt,) = receipts[name]
        assert receipt["fate"] == "archived", receipt
        check = receipt["check"]
        assert check["rows_read"] == len(DROPS[name].splitlines()) - 1
        assert check["rejected"] == REJECTED[name]
        assert check["rows_read"] == check["accepted"] + check["rejected"] + check["suppressed"]
        table = receipt["list"]
        assert table["staged"] == check["accepted"] == table["sent"] + table["suppressed_late"]
        assert table["sent"] == (
            table["listed"] + sum(table["refused"].values()) + table["poisoned"]
        )
        road = self.rows(
            f"SELECT m.place FROM moves m JOIN batches b ON b.id = m.batch WHERE b.name='{name}'"  # noqa: S608 - our own names
            " ORDER BY m.rowid"
        )
        assert road == [(place,) for place in LIFE]

    def _never_went_out(
        self, number: int, name: str, receipts: dict[str, list[dict[str, Any]]]
    ) -> None:
        """Three deaths in a drop's check end it: quarantined whole, nothing uploaded or cleared."""
        assert self.killed >= 3
        (receipt,) = receipts[name]
        assert (receipt["fate"], receipt["reason"]["code"]) == ("quarantined", "crashed-checking")
        assert self.made.list_ids(number) == OLD
        assert not [each for each in self.made.remote() if each.startswith(name[0])]
        original = self.made.quarantine / receipt["case"] / name
        assert original.read_bytes() == DROPS[name]

    def _expected(self, name: str) -> set[str]:
        expected = set(ACCEPTED[name])
        if self.left_at is not None and not self.left_at["proved"]:
            expected.discard(LEAVES)
        return expected

    def _list_is_right(self, number: int, name: str, receipt: dict[str, Any]) -> None:
        listed = self.made.list_ids(number)
        assert len(listed) == len(set(listed))
        assert set(listed) == self._expected(name)
        assert receipt["list"]["count"] == len(listed)

    def _file_is_right(self, name: str, receipt: dict[str, Any]) -> None:
        letter = name[0]
        files = {n: c for n, c in self._delivered().items() if n.startswith(f"{letter}-")}
        assert list(files) == [receipt["upload"]["name"]] == [f"{letter}-{receipt['batch']}.csv"]
        (content,) = files.values()
        expected = set(ACCEPTED[name])
        if self.left_at is not None and not self.left_at["uploaded"]:
            expected.discard(LEAVES)
        assert sorted(uploaded_ids(content)) == sorted(expected)

    def _cleared_once(self, number: int, deaths: int) -> None:
        calls = self.made.control.calls(since=self.first_call)
        clears = [
            call for call in calls
            if call["method"] == "clear" and call["list_id"] == self.made.first_list + number
        ]  # fmt: skip
        assert 1 <= len(clears) <= 1 + deaths
        assert self.rows("SELECT count(*) FROM rounds WHERE counted") == [(0,)]

    def _crm_is_told(self, crashed: Sequence[str]) -> None:
        told = handed_over(self.made)
        assert len(told) == len(set(told))
        assert TOLD in told
        # Sent before, she is removed without being asked for; her drop ended in its check, nobody
        # is asked for any more. The streams tell of her in time.
        asked = "a.csv" not in crashed
        late = asked and self.left_at is not None and not self.left_at["sent"]
        assert not late or LEAVES in told

    def _nothing_is_left(self, crashed: Sequence[str]) -> None:
        made = self.made
        assert [path.name for path in made.inbox.iterdir()] == [".claimed"]
        assert claims(made) == []
        assert remains(made) == []
        archived = {
            path.name.split("-", 2)[2]: path.read_bytes()
            for path in (made.state / "archive").rglob("*") if path.is_file()
        }  # fmt: skip
        assert archived == {n: content for n, content in DROPS.items() if n not in crashed}
        kept = [p for p in (made.state / "batches").rglob("*") if p.is_file()]
        assert sorted(path.name for path in kept) == ["staged.arrow"] * len(archived)
        if crashed:
            return
        (case,) = made.quarantine.iterdir()
        assert sorted(path.name for path in case.iterdir()) == [
            "rejected.csv", "report.html", "report.json",
        ]  # fmt: skip
        rejected = list(csv.reader(io.StringIO((case / "rejected.csv").read_text("utf-8-sig"))))
        assert len(rejected) == 2
