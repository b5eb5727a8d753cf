"""Response data as Campaign holds it and as the CRM reads it: one value for both, made by neither.

It knows the simulator's own records and the columns of its rows; nothing of the service.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from etl.sandbox.campaign import Campaign as Simulator
from etl.sandbox.state import Client, Event

DAY_MS = 24 * 60 * 60 * 1000
OUT_BOUNCES, UNSUBSCRIBES, BY_MAILING = (
    "getOutBounces", "getUnsubscribes", "getMailingUnsubscribes",
)  # fmt: skip
RESPONSES, OPENS, CLICKS, MAILINGS = "getResponses", "getOpens", "getClicks", "getMailings"
KIND_OF_NO = {OUT_BOUNCES: "bounced", UNSUBSCRIBES: "unsubscribed", BY_MAILING: "unsubscribed"}
FILE_OF = {
    OUT_BOUNCES: "bounces", RESPONSES: "bounces", UNSUBSCRIBES: "unsubscriptions",
    BY_MAILING: "unsubscriptions", OPENS: "opens", CLICKS: "clicks",
}  # fmt: skip
COLUMNS = {
    OUT_BOUNCES: ("who",),
    UNSUBSCRIBES: ("who", "time"),
    BY_MAILING: ("who", "mailing", "time"),
    RESPONSES: ("who", "mailing", "category", "time"),
    OPENS: ("who", "mailing", "time"),
    CLICKS: ("who", "mailing", "link", "time"),
}
"""The columns of the simulator's rows, as its switches name them unless told otherwise."""


@dataclass(frozen=True)
class Happened:
    """One row of one stream: what the CRM is told once, of each entity that carried the address."""

    stream: str
    who: str
    time: str = ""
    mailing: str = ""
    category: str = ""
    link: str = ""

    @property
    def kind(self) -> str:
        """The word for it in the CRM's file."""
        told = {OPENS: "opened", CLICKS: "clicked"} | KIND_OF_NO
        return told.get(self.stream, self.category)


def second(at_ms: float) -> str:
    """A moment as the CRM's files write it."""
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def of_row(stream: str, row: Sequence[str | None]) -> Happened:
    """A row as Campaign answered it; the cells it lacks are empty."""
    cells = dict(zip(COLUMNS[stream], (cell or "" for cell in row), strict=True))
    if time := cells.get("time"):
        at = float(time) if time.isdigit() else datetime.fromisoformat(time).timestamp() * 1000
        cells["time"] = second(at)
    return Happened(stream, **cells)


def of_event(stream: str, event: Event) -> Happened:
    """A record of the simulator, as a row of a stream has it."""
    every = {
        "who": event.recipient_id, "mailing": str(event.mailing_id or ""),
        "time": second(event.at_ms), "category": event.category, "link": event.link,
    }  # fmt: skip
    return Happened(stream, **{column: every[column] for column in COLUMNS[stream]})


def of_line(line: dict[str, str]) -> Happened:
    """A line of the CRM's files."""
    stream = line["source"]
    return Happened(
        stream, line["recipient-id"], line["time"], line["mailing-id"],
        line["kind"] if stream == RESPONSES else "", line.get("link", ""),
    )  # fmt: skip


@dataclass(frozen=True)
class Records:
    """What one simulated Campaign has on record."""

    simulator: Simulator
    mandator: int

    @property
    def client(self) -> Client:
        """Everything of the one client."""
        return self.simulator._world.client(self.mandator)

    @property
    def now_ms(self) -> int:
        """Campaign's clock."""
        return self.simulator._world.now_ms()

    def of(self, stream: str) -> list[tuple[Event, Happened]]:
        """Every event that belongs to a stream, visible or not, gone or not."""
        switches = self.simulator._world.switches
        disjoint = switches.unsubscribe_streams == "disjoint"
        kept = {
            OUT_BOUNCES: lambda event: event.stream == "outbounces",
            UNSUBSCRIBES: lambda event: (
                event.stream == "unsubscribes" and not (disjoint and event.mailing_id)
            ),
            BY_MAILING: lambda event: event.stream == "unsubscribes" and event.mailing_id,
            RESPONSES: lambda event: event.stream == "responses",
            OPENS: lambda event: event.stream == "opens",
            CLICKS: lambda event: event.stream == "clicks",
        }[stream]
        return [(event, of_event(stream, event)) for event in self.client.events if kept(event)]

    def held(self, stream: str, until_ms: int) -> Iterable[Happened]:
        """What Campaign could show of a stream until a moment: exported before it, and not gone."""
        client = self.client
        oldest_ms = self.now_ms - self.simulator._world.switches.response_days * DAY_MS
        for event, happened in self.of(stream):
            sent_ms = client.dispatched_ms.get(event.mailing_id or 0, event.at_ms)
            exported = event.exported_ms is not None and event.exported_ms < until_ms
            if exported and sent_ms >= oldest_ms:
                yield happened

    @property
    def blocked(self) -> set[str]:
        """The blocklist as it is now."""
        return set(self.client.channel().blocklist)

    def bounced_out(self) -> set[str]:
        """Everybody who bounced out."""
        return {happened.who for _, happened in self.of(OUT_BOUNCES)}

    def unsubscribed(self) -> set[str]:
        """Everybody who is unsubscribed."""
        return {each.recipient_id for each in self.client.channel().unsubscribed.values()}
