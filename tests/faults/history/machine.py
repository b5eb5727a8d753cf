"""One instance with two feeds, everything that may happen to it, and the model beside it.

The real daemon and pipeline over twins; every name, time and order in it follows from the steps.
"""

import itertools
import os
import shutil
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from etl.batch import new_id
from etl.daemon import Daemon
from etl.errors import EtlError
from etl.journal import Journal
from tests.faults.history.drops import POOL, Dropped, first_half, make_drop
from tests.faults.history.ground import empty_state, new_house, root_folder
from tests.faults.history.ports import Trap, Watched, die, full_disk
from tests.faults.history.promises import FEEDS, Promises
from tests.faults.history.seen import Seen
from tests.twins.house import Death

MOST_DEATHS = 3
SHARES = ("inbox", "receipts", "quarantine", "responses")


class NotStarted(Exception):  # noqa: N818 - a state of the world
    """Nobody starts the service while a share is away: its unit requires the mounts."""


class History:
    """What steps act on; at the end of a `with` block everything comes to rest.

    One after the other in a process: they share a folder.
    """

    def __init__(self) -> None:
        empty, self.root = empty_state(), root_folder()
        shutil.rmtree(self.root, ignore_errors=True)
        self.house = new_house(self.root)
        shutil.copytree(empty, self.root / "state", dirs_exist_ok=True)
        counter = itertools.count(1)
        self.house.token = lambda size: f"{next(counter):0{2 * size}x}"[-2 * size :]
        for number in range(len(FEEDS)):
            row = ("old@example.org", {})
            self.house.lists.lists[100 + number].rows["old@example.org"] = row
        self.clock, self.twin = self.house.clock, self.house.lists
        self.remote, self.responses = self.house.drop_twin, self.house.responses
        self.seen = Seen(self.house)
        self.promises = Promises(self.seen, self.folder)
        self.house.lists = Watched(self.twin, "lists", self)
        self.house.responses = Watched(self.responses, "responses", self)
        self.house.drop_twin = Watched(self.remote, "drop", self)
        self.house.clock = Watched(self.clock, "clock", self)
        self.traps: list[Trap] = []
        self.daemon: Daemon | None = None
        self.half: tuple[Any, bytes] | None = None
        self.away: dict[str, bool] = {}
        """Shares that are away, and whether an empty mount point is in their place."""
        self.made = 0
        self.at_name: dict[str, str] = {}
        """Which of the CRM's writings was the last one under a name."""
        self.newest = 50
        self.written = 0
        self.disk_filled = False
        self.noted: list[str] | None = None
        """Every call of every port, for who wants to know."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.come_to_rest()
        finally:
            self.close()

    # --- the doors -------------------------------------------------------------------------------

    def note(self, port: str, verb: str, args: tuple[Any, ...]) -> None:
        """A call is made."""
        if self.noted is not None:
            self.noted.append(f"{port} {verb} {args}".replace(str(self.root), ""))

    def spring(self, port: str, verb: str, after: bool, args: tuple[Any, ...]) -> None:
        """Let due traps happen."""
        if not self.traps:
            return
        for trap in list(self.traps):
            if trap.times > 0 and trap.strikes(port, verb, after):
                try:
                    trap.act()
                except BaseException as error:
                    self.seen.call_failed(port, verb, args, error)
                    raise
        self.traps = [trap for trap in self.traps if trap.times > 0]

    # --- the process -----------------------------------------------------------------------------

    def alive(self) -> Daemon:
        """The daemon, started if it is not running."""
        if self.daemon is None:
            if self.away:
                raise NotStarted
            daemon = Daemon(self.house.open(), threading.Event(), threading.Event())
            daemon._begin()
            self.daemon = daemon
        return self.daemon

    def end_process(self) -> None:
        """No process any more; what it knew is gone."""
        self.daemon = None
        self.house.close()
        self.seen.asked = set()

    def mortal(self, act: Callable[[], object]) -> None:
        """Do something that a death may cut off."""
        self.seen.asked = set()
        try:
            act()
        except Death:
            self.seen.deaths += 1
            self.seen.troubles += 1
            self.end_process()
            self.promises.check()
        except NotStarted:
            pass
        except EtlError as error:
            # Its start, or `etl once`, cannot go on without the journal: the command ends.
            if error.code != "disk-error" or not self.disk_filled:
                raise
            self.seen.troubles += 1
            self.end_process()

    def scan(self) -> None:
        """One scan, two seconds after whatever was before."""
        self.clock.advance(2)
        self.alive()._scan()

    def go(self) -> None:
        """The daemon's ordinary course for a while."""

        def course() -> None:
            for _ in range(2):
                self.scan()
            for _ in range(3):
                if not self.alive()._turn():
                    break

        self.mortal(course)

    def once(self) -> None:
        """`etl once`, with no daemon beside it."""
        self.end_process()
        if not self.away:
            self.mortal(self.house.run)

    def ask(self, verb: str, batch: str, *codes: str, **facts: str) -> None:
        """An operator's command writes a request."""
        world = self.house.world
        journal = world.journal if world else Journal(self.root / "state" / "journal.sqlite3")
        journal.requests.ask(verb, batch, codes, "test", "tester", self.clock.wall(), **facts)
        if not world:
            journal.close()

    def ask_back(self, feed: str, source: str, undone: str, codes: tuple[str, ...]) -> None:
        """An operator's command asks that the rows of `source` go back."""
        batch = new_id(self.clock.now, self.house.token)
        self.ask("rollback", batch, *codes, feed=feed, source=source, undone=undone)

    def then(self, what: str) -> None:
        """What follows a disturbance at once: disturbances alone would show little."""
        if what == "drop":
            self.ordinary_drop("ab"[self.made % 4 == 3], 10 + self.made % 3, self.made % 7)
        if what in ("drop", "go"):
            self.go()
        elif what == "once":
            self.once()

    # --- drops and shares ------------------------------------------------------------------------

    def folder(self, name: str) -> Path:
        """Where a share is, also while it is away from us."""
        return self.root / ".away" / name if name in self.away else self.root / name

    def take_away(self, share: str, *, mount_point: bool) -> None:
        """A share is away: what is at its place is empty, or nothing."""
        if share not in self.away:
            (self.root / ".away").mkdir(exist_ok=True)
            (self.root / share).rename(self.root / ".away" / share)
            self.away[share] = mount_point
            if mount_point:
                (self.root / share).mkdir()

    def bring_back(self) -> None:
        """Every share is there again, and nothing was written in its place."""
        for share, mount_point in self.away.items():
            if mount_point:
                (self.root / share).rmdir()
            (self.root / ".away" / share).rename(self.root / share)
        self.away.clear()

    def new_drop(self, kind: str, size: int, first: int, moved: int | None) -> Dropped:
        """A drop that nobody has seen before."""
        self.made += 1
        numbers = [(first + each) % POOL + 1 for each in range(size)]
        made = make_drop(kind, numbers, f"V{self.made}", moved)
        self.seen.drops[sha256(made.content).hexdigest()] = made
        return made

    def drop_path(self, feed: str, step: int) -> Path:
        """A name in the inbox, `step` days after the newest drop's."""
        date = self.newest + step
        self.newest = max(self.newest, date)
        return self.folder("inbox") / f"{feed}_{max(date, 1):03}.csv"

    def stamp(self, file: Path | int) -> None:
        """Give a file the time it is, and no other file's."""
        self.written += 1
        at = int(self.clock.now.timestamp()) * 10**9 + self.written
        os.utime(file, ns=(at, at))

    def put(self, path: Path, content: bytes) -> None:
        """The CRM writes a drop, under a new name or in place of one that waits.

        Nobody goes on writing what is written anew.
        """
        if (
            self.half
            and path.exists()
            and os.path.samestat(os.fstat(self.half[0].fileno()), path.stat())
        ):
            self.half[0].close()
            self.half = None
        self.owe(path, content)
        path.write_bytes(content)
        self.stamp(path)

    def owe(self, path: Path, *contents: bytes) -> None:
        """Note that what is written here must come to an end; what it overwrites is no more.

        Of a drop that is written with a pause, the half may be taken for it.
        """
        if path.exists():
            self.seen.owed.pop(self.at_name.get(path.name, ""), None)
        self.at_name[path.name] = f"{path.name} {self.written}"
        self.seen.owed[self.at_name[path.name]] = frozenset(
            sha256(content).hexdigest() for content in contents
        )

    def ordinary_drop(self, feed: str, size: int = 11, first: int = 0, step: int = 1) -> None:
        """A sound drop comes."""
        made = self.new_drop("good", size, first, None)
        self.put(self.drop_path(feed, step), made.content)

    def begin_to_write(self, path: Path) -> None:
        """A drop is written half, and the writer pauses."""
        self.finish_writing()
        made = self.new_drop("good", 11, 3, None)
        half = first_half(made.content)
        self.seen.drops[sha256(half).hexdigest()] = Dropped(half, fit=False)
        self.owe(path, half, made.content)
        file = path.open("wb", buffering=0)
        file.write(half)
        self.stamp(file.fileno())
        self.half = (file, made.content[len(half) :])

    def finish_writing(self) -> None:
        """The writer goes on and ends."""
        if self.half:
            file, rest = self.half
            file.write(rest)
            self.stamp(file.fileno())
            file.close()
            self.half = None

    # --- faults to come --------------------------------------------------------------------------

    def trap(
        self, at: tuple[str, str | None], skip: int, times: int, act: Callable[[], None],
        *, after: bool = False,
    ) -> Trap:  # fmt: skip
        """Let something happen at a call to come."""
        made = Trap(*at, skip, times, after, act)
        self.traps.append(made)
        return made

    def dies_at(self, at: tuple[str, str | None], skip: int, times: int = 1, *,
                after: bool = False) -> None:  # fmt: skip
        """Let the process die at a call to come."""
        self.trap(at, skip, times, die, after=after)

    def disk_fills(self, skip: int, times: int) -> Trap:
        """Let the journal's disk be full at rows to come."""
        self.disk_filled = True
        return self.trap(("clock", "wall"), skip, times, full_disk)

    # --- the end ---------------------------------------------------------------------------------

    def come_to_rest(self) -> None:
        """Let everything go on undisturbed, then look at all of it."""
        self.finish_writing()
        self.traps.clear()
        self.bring_back()
        for number in range(len(FEEDS)):
            self.twin.lists[100 + number].name = f"List {number}"
        # Longer than any pause between two tries: everything that waits has its turn, once. After
        # three deaths in one step that turn may be the one in which it is held for them.
        for _ in range(2 if self.seen.deaths >= MOST_DEATHS else 1):
            self.clock.advance(31 * 60)
            self.go()
        self.promises.check()
        self.promises.at_rest()

    def close(self) -> None:
        """Let everything go."""
        if self.half:
            self.half[0].close()
        self.house.close()
        self.seen.close()
        shutil.rmtree(self.root, ignore_errors=True)
