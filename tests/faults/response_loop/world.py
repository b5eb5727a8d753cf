"""The whole service against a simulated Campaign, with a watched door at every port.

It lets things happen and dies when told to; what must be true is not known here.
"""

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from etl.daemon import Daemon
from etl.freshness import refresh
from etl.ports import Stream
from etl.sandbox import closed_loop
from etl.sandbox.campaign import Campaign as Simulator
from etl.world import Campaign, World
from tests.faults.history.ports import Trap, Watched, die
from tests.faults.response_loop.happened import Records
from tests.faults.response_loop.model import Entities, Model
from tests.faults.response_loop.people import People, pattern
from tests.servers.house_on_campaign import LIST, MANDATOR, HouseOnCampaign
from tests.servers.service import as_csv, person
from tests.twins.house import Death

HOUR = 3600
CORE, STRANGERS, FAITHFUL = range(1, 11), range(11, 15), range(15, 23)
"""Who is in every drop and may say no; who is in some drops; who never says no."""
OUTSIDE = [f"out{number}@example.net" for number in range(12)]
"""Entries of the blocklist that stay, so that it never shrinks much."""
BACK_MS = 3 * HOUR * 1000
"""Campaign's clock is never further behind what it once was."""


def address(number: int) -> str:
    """The address, and recipient id, of a person."""
    return f"p{number}@example.org"


class House(HouseOnCampaign):
    """A house on Campaign whose ports, and the store's own writing, have a door."""

    def __init__(self, root: Path, simulator: Simulator, door: Any, **guards: Any) -> None:
        super().__init__(root, simulator, **guards)
        self.door = door

    def open(self) -> World:
        """With a door at each port."""
        made = super().open()
        far, door = made.campaigns["main"], self.door
        made.store.outbox = Watched(made.store.outbox, "outbox", door)
        made.store._file = Watched(made.store._file, "store", door)
        self.world = replace(
            made,
            campaigns={"main": Campaign(Watched(far.lists, "lists", door),
                                        Watched(far.responses, "responses", door))},
            drops={name: Watched(drop, "drop", door) for name, drop in made.drops.items()},
        )  # fmt: skip
        return self.world


class Loop:
    """Everybody around the service, and the service; also who stands at its doors."""

    def __init__(
        self, root: Path, simulator: Simulator, days: tuple[int, int], taken: str, empty: str
    ) -> None:
        """`days` is how long Campaign keeps response data, as configured and in truth."""
        guards = {"max_shrink": 1, "max_growth": 1000}
        self.house = House(root, simulator, self, **guards)
        house, self.clock, self.control = self.house, self.house.clock, simulator.control
        numbers = itertools.count(1)
        house.token = lambda size: f"{next(numbers):0{2 * size}x}"[-2 * size :]
        house.client |= {
            "lifetime_days": days[0], "tell": ["bounces", "clicks", "opens"],
            "campaign_pattern": r"^(?P<campaign>C\d+) ",
        }  # fmt: skip
        house.response_keys |= {"taken": taken, "empty": empty}
        self.taken = taken
        self.records = Records(simulator, MANDATOR)
        self.seen = self.model = Model(self.records, self.clock, root / "responses")
        self.traps: list[Trap] = []
        self.daemon: Daemon | None = None
        self.drops: list[tuple[str, dict[str, Entities]]] = []
        self.latest_ms = self.records.now_ms
        self.deaths = 0
        self.control.block(MANDATOR, OUTSIDE)
        self.people = People(house, self.records, campaigns=self.model.campaigns)
        for name in ("C17 spring", "C18 summer", "no campaign"):
            self.people.mailing(name)

    # --- doors -----------------------------------------------------------------------------------

    def note(self, *_: object) -> None:
        """Nothing is written down of a call."""

    def spring(self, port: str, verb: str, after: bool, args: tuple[Any, ...]) -> None:
        """Let due traps happen; a call to a far side shows that the one before was taken in."""
        if not after and port != "store":
            self.model.settle()
        for trap in list(self.traps):
            if trap.times > 0 and trap.strikes(port, verb, after):
                trap.act()
        self.traps = [trap for trap in self.traps if trap.times > 0]

    def dies_at(self, port: str, verb: str, skip: int, *, after: bool) -> None:
        """Let the process die at a call to come."""
        self.traps.append(Trap(port, verb, skip, 1, after, die))

    # --- the process -----------------------------------------------------------------------------

    def mortal(self, act: Callable[[], object]) -> bool:
        """Do something that a death may cut off; whether it came to its end."""
        self.model.asked.clear()
        try:
            act()
        except Death:
            self.deaths += 1
            self.model.died()
            self.end_process()
            return False
        self.model.settle()
        return True

    def end_process(self) -> None:
        """No process any more."""
        self.daemon = None
        self.house.close()

    def once(self) -> bool:
        """`etl once`; whether it came to its end."""
        self.end_process()
        done = self.mortal(self.house.run)
        self._note_decoded()
        return done

    def go(self) -> None:
        """The daemon's ordinary course for a while; it lives on."""

        def course() -> None:
            if self.daemon is None:
                self.daemon = Daemon(self.house.open(), threading.Event(), threading.Event())
                self.daemon._begin()
            for _ in range(2):
                self.clock.advance(2)
                self.daemon._scan()
            for _ in range(3):
                if not self.daemon._turn():
                    break

        self.mortal(course)
        self._note_decoded()

    def fetch(self) -> None:
        """A fetch of everything, and no hand-over after it."""
        self.end_process()
        self.mortal(lambda: refresh(self.house.open(), "main", tuple(Stream)))
        self.end_process()

    def ask_for_fetch(self) -> None:
        """`etl responses fetch`."""
        self.house.ask("fetch", None)

    def _note_decoded(self) -> None:
        name, content = self.drops[-1] if self.drops else ("", {})
        if self.house.receipts().get(name, {}).get("fate") == "archived":
            self.model.decoded(content)

    # --- the CRM ---------------------------------------------------------------------------------

    def drop(self, *, honours: bool, wide: bool, twins: bool) -> None:
        """A drop arrives, with or without whom the CRM's files name."""
        numbers = [*CORE, *(STRANGERS if wide else ()), *FAITHFUL]
        left_out = self.model.crm_knows() if honours else set()
        rows = [person(number) for number in numbers if address(number) not in left_out]
        if twins:
            rows += [
                row | {"entity-type": "lead", "entity-id": f"9{row['entity-id']}"}
                for row in rows[::4]
            ]
        content: dict[str, Entities] = {}
        for row in rows:
            entity = frozenset({(row["entity-type"], row["entity-id"])})
            content[row["email"]] = content.get(row["email"], frozenset()) | entity
        name = f"a_{len(self.drops) + 1:03}.csv"
        full = [row | {"points": "1"} for row in rows]
        self.house.drop(name, as_csv(full, self.house.columns))
        self.drops.append((name, content))
        self.model.dropped(content)

    def crm_takes(self) -> None:
        """The CRM reads its files; it takes them away, or says that it has them."""
        self.model.look()
        for path in self.model.folder.glob("[!.]*.csv"):
            if self.taken == "receipt":
                path.with_name(f"{path.name}.taken").touch()
            else:
                path.unlink()
                self.model.taken.add(path.name)

    # --- Campaign --------------------------------------------------------------------------------

    def campaign_jumps(self, seconds: float) -> float:
        """How far Campaign's clock may jump when it is to jump so far."""
        self.latest_ms = max(self.latest_ms, self.records.now_ms)
        back_ms = self.latest_ms - BACK_MS - self.records.now_ms
        return max(seconds, back_ms / 1000)

    def file_comes_late(self, most_hours: int) -> None:
        """The export file of everything that waits was begun after the last event, long ago."""
        world = self.records.simulator._world
        with world.lock:
            closed_loop.run_due_exports(world)
            now_ms = world.now_ms()
            waiting = [event for event in self.records.client.events if event.exported_ms is None]
            made_ms = max((event.at_ms for event in waiting), default=0) + 1000
            if now_ms - most_hours * HOUR * 1000 <= made_ms < now_ms:
                for event in waiting:
                    event.exported_ms = made_ms

    # --- the end ---------------------------------------------------------------------------------

    def come_to_rest(self) -> None:
        """One clean day: the job has run, the CRM takes its files, a last drop has everybody."""
        self.traps.clear()
        self.control.unschedule()
        self.house.drop_twin._faults.clear()
        self.clock.advance(25 * HOUR)
        self.drop(honours=False, wide=True, twins=False)
        for _ in range(3):
            assert self.once(), "nothing kills it any more"
            self.crm_takes()
            self.clock.advance(61 * 60)
        self.model.look()
        self.model.everything_is_told()
        _, everybody = self.drops[-1]
        refused = self.records.bounced_out() | self.records.unsubscribed() | self.blocked()
        receipt = self.house.receipts()[self.drops[-1][0]]
        assert receipt["fate"] == "archived", receipt.get("held")
        assert {row["id"] for row in self.control.list_content(LIST)} == everybody.keys() - refused
        self._nothing_waits()

    def blocked(self) -> set[str]:
        """Everybody whom the blocklist covers."""
        entries = self.records.blocked
        people = (address(number) for number in (*CORE, *STRANGERS))
        return {who for who in people if {who, pattern(who)} & entries}

    def _nothing_waits(self) -> None:
        litter = [path.name for path in self.model.folder.glob(".*")]
        assert litter == [], "something is left half handed over"
        (status,) = self.house.open().store.status()
        self.house.close()
        assert not any(status.waiting.values()), "something waits in the outbox"

    def close(self) -> None:
        """Let everything go."""
        self.end_process()
