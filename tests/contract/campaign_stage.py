"""The world behind both Campaign suites: the twins, the simulator over TLS, its export files."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from etl.errors import FarSideUnavailable
from etl.ports import Clock, RecipientList, Responses, Stream, Window
from etl.sandbox.campaign import Campaign
from etl.sandbox.control import Control
from etl.wire.campaign import CampaignList, CampaignResponses
from etl.wire.session import CampaignAccess, CampaignSession
from tests.servers.export_desk import ExportDesk
from tests.twins.clock import TwinClock
from tests.twins.recipient_list import OneList, TwinList
from tests.twins.responses import TwinResponses

MANDATOR = 4711
METHODS = {
    "describe": "getName",
    "count": "getCount",
    "clear": "clear",
    "add": "addAll3",
    "suppressed": "containsAll",
    "bounced_out": "isBounceCounterThresholdExeeded",
    "purge": "removeUnsubscribed",
    "now": "getCurrentTime",
    "page": "getUnsubscribes",
    "blocklist": "getAllEntries",
}
Content = dict[str, tuple[str, dict[str, str | None]]]


class Stage(Protocol):
    """What a test does behind the port's back."""

    port: RecipientList
    responses: Responses
    asked: frozenset[str]
    """Verbs of Responses that ask somebody, so that an answer can be lost."""

    def new_list(self, name: str, attributes: Sequence[str], *, is_test: bool = False) -> int:
        """Make a list; return its id."""

    def content(self, list_id: int) -> Content:
        """Rows of a list by recipient id."""

    def unsubscribe(self, *ids: str) -> None:
        """Somebody unsubscribes, client-wide."""

    def block(self, *entries: str) -> None:
        """Somebody writes blocklist entries."""

    def bounce_out(self, identity: str) -> None:
        """Somebody's address bounces beyond the limit."""

    def code_for(self, list_id: int, identity: str, code: int) -> None:
        """Let a recipient be answered with a code."""

    def poison(self, list_id: int, identity: str) -> None:
        """Let every add that holds a recipient fail as a whole."""

    def lose(self, verb: str, *, after_effect: bool) -> None:
        """Lose the next call of a verb, before or after its effect."""

    def export(self) -> None:
        """Let what happened become visible in response data."""


class TwinStage:
    """The twins."""

    asked = frozenset({"now", "page", "blocklist"})

    def __init__(self) -> None:
        self.port = TwinList()
        self.responses = TwinResponses(entries=self.port.blocklist)
        self._ids = itertools.count(100)
        self._due: list[tuple[Stream, str]] = []

    def new_list(self, name: str, attributes: Sequence[str], *, is_test: bool = False) -> int:
        """Make a list; return its id."""
        list_id = next(self._ids)
        self.port.lists[list_id] = OneList(name, tuple(attributes), is_test)
        return list_id

    def content(self, list_id: int) -> Content:
        """Rows of a list by recipient id."""
        return dict(self.port.lists[list_id].rows)

    def unsubscribe(self, *ids: str) -> None:
        """Somebody unsubscribes, client-wide."""
        self.port.unsubscribed.update(ids)
        self._due += [(Stream.UNSUBSCRIBES, identity) for identity in ids]

    def block(self, *entries: str) -> None:
        """Somebody writes blocklist entries."""
        self.port.blocklist += entries

    def bounce_out(self, identity: str) -> None:
        """Somebody's address bounces beyond the limit."""
        self.port.bounced.add(identity)
        self._due.append((Stream.OUT_BOUNCES, identity))

    def code_for(self, list_id: int, identity: str, code: int) -> None:
        """Let a recipient be answered with a code."""
        self.port.codes[identity] = code

    def poison(self, list_id: int, identity: str) -> None:
        """Let every add that holds a recipient fail as a whole."""
        self.port.poisoned.add(identity)

    def lose(self, verb: str, *, after_effect: bool) -> None:
        """Lose the next call of a verb, before or after its effect."""
        error = FarSideUnavailable("campaign-unreachable", in_doubt=True, detail="lost")
        twin = self.responses if verb in ("now", "page", "blocklist") else self.port
        twin.fail_next(verb, error, after_effect=after_effect)

    def export(self) -> None:
        """Let what happened become visible in response data."""
        self.responses.now_ms += 1000
        for stream, identity in self._due:
            self.responses.happen(stream, identity)
        self._due.clear()


class CampaignStage:
    """The real adapter, talking to the simulator over TLS."""

    asked = frozenset({"now", "page", "blocklist"})

    def __init__(self, sim: Campaign, session: CampaignSession) -> None:
        self.port = CampaignList(session)
        self.responses = CampaignResponses(session)
        self.control: Control = sim.control
        self._ids = itertools.count(100)

    def new_list(self, name: str, attributes: Sequence[str], *, is_test: bool = False) -> int:
        """Make a list; return its id."""
        list_id = next(self._ids)
        types = dict.fromkeys(attributes, "STRING")
        self.control.add_list(MANDATOR, list_id, name, attributes=types, is_test=is_test)
        return list_id

    def content(self, list_id: int) -> Content:
        """Rows of a list by recipient id."""
        rows = self.control.list_content(list_id)
        return {row["id"]: (row["address"], row["attributes"]) for row in rows}

    def unsubscribe(self, *ids: str) -> None:
        """Somebody unsubscribes, client-wide."""
        self.control.unsubscribe(MANDATOR, list(ids))

    def block(self, *entries: str) -> None:
        """Somebody writes blocklist entries."""
        self.control.block(MANDATOR, list(entries))

    def bounce_out(self, identity: str) -> None:
        """Somebody's address bounces beyond the limit."""
        self.control.bounce(MANDATOR, identity, times=3)

    def code_for(self, list_id: int, identity: str, code: int) -> None:
        """Let a recipient be answered with a code."""
        self.control.code_for(list_id, identity, code)

    def poison(self, list_id: int, identity: str) -> None:
        """Let every add that holds a recipient fail as a whole."""
        self.control.poison(list_id, identity)

    def lose(self, verb: str, *, after_effect: bool) -> None:
        """Lose the next call of a verb, before or after its effect."""
        self.control.schedule(METHODS[verb], "drop-after" if after_effect else "drop-before")

    def export(self) -> None:
        """Let what happened become visible in response data."""
        self.control.advance(1)
        self.control.run_export_job()


class ExportStage:
    """The adapter for export files, fed by the simulator's jobs; Responses only."""

    # The clock of export files is our own: nobody is asked, so no answer can be lost.
    asked = frozenset({"page", "blocklist"})

    def __init__(self, behind: CampaignStage, desk: ExportDesk) -> None:
        self._desk = desk
        self.responses = desk.responses(behind.responses)
        # What happens in Campaign is no other than with the closed loop.
        self.port, self.control = behind.port, behind.control
        self.unsubscribe, self.block, self.bounce_out = (
            behind.unsubscribe, behind.block, behind.bounce_out,
        )  # fmt: skip
        self._lose_call = behind.lose
        # Without any file the job is taken for dead.
        desk.run_jobs()

    def lose(self, verb: str, *, after_effect: bool) -> None:
        """Lose the next answer of a verb."""
        if verb == "page":
            # Connected already, so that it is no greeting that is lost.
            self.responses.page(Stream.UNSUBSCRIBES, Window(0, 1), 0)
            self._desk.lose_answer()
        else:
            self._lose_call(verb, after_effect=after_effect)

    def export(self) -> None:
        """Let what happened become visible in response data."""
        self._desk.control.advance(1)
        self._desk.run_jobs()


@contextlib.contextmanager
def campaign_stage(
    folder: Path,
    clock: Clock | None = None,
    *,
    short_items: bool = False,
    operations: Sequence[str] | None = None,
    **switches: object,
) -> Iterator[CampaignStage]:
    """Start a simulator and log in to it; `operations` are those allowed, None for all."""
    with Campaign(tls=folder) as sim:
        sim.control.add_client(MANDATOR, "api", "secret", operations=operations)
        sim.control.set_switches(**switches)
        access = CampaignAccess(
            MANDATOR, "api", "secret", sim.url, sim.ca_file, short_items=short_items
        )
        with contextlib.closing(CampaignSession(access, clock or TwinClock())) as session:
            yield CampaignStage(sim, session)


# Every way of writing an answer that is not documented, turned to its other setting.
OTHER_STYLE = {
    "multiref": "shared",
    "multiref_order": "ordered",
    "add_codes": "inline",
    "empty_array": "nil",
    "surrogate_pairs": True,
    "string_type": "xsd",
    "reason_phrase": True,
    "fault_stack_trace": True,
}
STAGES = ("twin", "campaign over TLS", "campaign in its other style")
EXPORTS = ("exports", "exports in gzip")
NO_CLOSED_LOOP = [f"Rpc{name}.*" for name in ("Session", "Recipient*", "Unsubscribe", "Blacklist")]


@contextlib.contextmanager
def export_stage(name: str, folder: Path) -> Iterator[ExportStage]:
    """Return one of EXPORTS: for a client to whom every call of the closed loop is forbidden."""
    with contextlib.ExitStack() as stack:
        behind = stack.enter_context(campaign_stage(folder, operations=NO_CLOSED_LOOP))
        gzip = name == "exports in gzip"
        desk = stack.enter_context(ExportDesk(behind.control, MANDATOR, folder, gzip=gzip))
        stage = ExportStage(behind, desk)
        stack.callback(stage.responses.close)
        yield stage


@contextlib.contextmanager
def stage_named(name: str, folder: Path) -> Iterator[Stage]:
    """Return one of STAGES."""
    if name == "twin":
        yield TwinStage()
    elif name == "campaign over TLS":
        with campaign_stage(folder) as stage:
            yield stage
    else:
        with campaign_stage(folder, short_items=True, **OTHER_STYLE) as stage:
            yield stage
