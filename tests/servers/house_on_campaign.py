"""The whole House with the real wire adapters in it, talking to a simulated Campaign over TLS."""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etl.sandbox.campaign import Campaign as Simulator
from etl.sandbox.control import Control
from etl.wire.campaign import CampaignList, CampaignResponses
from etl.wire.retry import RetryingList, RetryingResponses
from etl.wire.session import CampaignAccess, CampaignSession
from etl.world import Campaign, World
from tests.servers.service import SCHEMA
from tests.twins.clock import TwinClock
from tests.twins.house import House

MANDATOR, LIST = 4711, 100
NAME = "Empfänger 😀"
"""Holds a character beyond U+FFFF, which Axis may write as no XML."""
TYPES = {"firstname": "STRING", "points": "INTEGER", "revenue": "DECIMAL",
         "since": "DATE", "seen": "TIMESTAMP"}  # fmt: skip
TYPED = [
    {"name": "points", "type": "string"},
    {"name": "revenue", "type": "number", "decimalChar": ","},
    {"name": "since", "type": "date", "format": "%d.%m.%Y"},
    {"name": "seen", "type": "datetime"},
]
"""Columns behind those of every test drop; `points` is a text here and a number in the list."""


@dataclass
class SharedClock(TwinClock):
    """The client's clock; Campaign's own goes on with it."""

    control: Control | None = None
    idle_seconds: float = 0.0
    """Seconds that every wait takes in truth, even one of no length."""

    def sleep(self, seconds: float) -> None:
        """Let the time pass, and be idle."""
        time.sleep(self.idle_seconds)
        super().sleep(seconds)

    def advance(self, seconds: float) -> None:
        """Let the same time pass on both sides."""
        super().advance(seconds)
        if self.control is not None:
            self.control.advance(seconds)


class HouseOnCampaign(House):
    """A House whose list and response data are Campaign's; each `run` logs in anew."""

    def __init__(self, root: Path, simulator: Simulator, **guards: Any) -> None:
        super().__init__(root, 1, **({"believe_count_after_seconds": 60} | guards))
        self.simulator, self.control = simulator, simulator.control
        self.clock = SharedClock(control=self.control)
        self.short_items = False
        self.client: dict[str, Any] = {"chunk_rows": 10}
        """Changes to the client's table."""
        fields = [*SCHEMA["fields"], *TYPED]
        (root / "schema.json").write_text(json.dumps({"fields": fields}))
        self.columns = [str(field["name"]) for field in fields]
        self.feeds[0]["attributes"] = {name: name for name in TYPES}
        self.feeds[0]["list"] = {"id": LIST, "name": NAME}
        self.control.add_client(MANDATOR, "api", "secret")
        self.control.add_list(MANDATOR, LIST, NAME, TYPES)
        self._session: CampaignSession | None = None

    def config_table(self) -> dict[str, Any]:
        """With this house's client."""
        table = super().config_table()
        table["client"]["main"] |= self.client
        return table

    def open(self) -> World:
        """With the real adapters in the place of the twins."""
        access = CampaignAccess(
            MANDATOR, "api", "secret", self.simulator.url, self.simulator.ca_file,
            short_items=self.short_items,
        )  # fmt: skip
        if self._session is None or self._session.access != access:
            # The service descriptions are read once; a closed session logs in anew.
            self._session = CampaignSession(access, self.clock)
        ports = Campaign(
            RetryingList(CampaignList(self._session), self.clock),
            RetryingResponses(CampaignResponses(self._session), self.clock),
        )
        self.world = replace(super().open(), campaigns={"main": ports})
        return self.world

    def close(self) -> None:
        """End the process, its connections too."""
        super().close()
        if self._session is not None:
            self._session.close()

    def at(self, method: str, nth: int, verb: str, *, after: bool = False, **facts: object) -> None:
        """Let something happen in Campaign at the nth call of a method from now."""
        what = "verb-after" if after else "verb-before"
        self.control.schedule(method, what, nth=nth, verb=verb, arguments=facts)

    def content(self) -> dict[str, dict[str, Any]]:
        """The list's rows by recipient id."""
        return {row["id"]: row for row in self.control.list_content(LIST)}


@contextlib.contextmanager
def house_on_campaign(
    root: Path, authority: Path, switches: dict[str, object] | None = None, **guards: Any
) -> Iterator[HouseOnCampaign]:
    """A house in `root` and its own Campaign; `authority` holds the certificates, made once."""
    root.mkdir(exist_ok=True)
    with Simulator(tls=authority) as simulator:
        simulator.control.set_switches(**(switches or {}))
        house = HouseOnCampaign(root, simulator, **guards)
        try:
            yield house
        finally:
            house.close()
