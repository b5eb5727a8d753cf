"""What the store is told and what it answers: values only, no person in their reprs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from etl.ports import Stream

Kind = Literal["bounced", "unsubscribed", "blocklisted"]
IdRule = Literal["email", "entity"]
"""What Campaign's recipient id is: the address, or `entity-type:entity-id`."""

BOUNCES = "bounces"
UNSUBSCRIPTIONS = "unsubscriptions"
OPENS = "opens"
CLICKS = "clicks"
BLOCKLIST = "blocklist"

UNSUBSCRIBED: Kind = "unsubscribed"
KIND_OF: Mapping[Stream, Kind] = {
    Stream.OUT_BOUNCES: "bounced",
    Stream.UNSUBSCRIBES: "unsubscribed",
    Stream.MAILING_UNSUBSCRIBES: "unsubscribed",
}
FILE_OF: Mapping[Kind, str] = {
    "bounced": BOUNCES,
    "unsubscribed": UNSUBSCRIPTIONS,
    "blocklisted": UNSUBSCRIPTIONS,
}


@dataclass(frozen=True, slots=True)
class Found:
    """Somebody who must not be mailed, as the live check or a code of addAll3 told."""

    address: str = field(repr=False)
    kind: Kind
    source: str
    """`live-check`, `code-2`, `code-3` or `code-4`."""
    at: datetime
    recipient_id: str = field(default="", repr=False)
    """Campaign's key of the person where it is not the address."""


@dataclass(frozen=True, slots=True)
class Event:
    """One row of a stream, read as configured."""

    recipient_id: str = field(repr=False)
    time: datetime | None
    mailing_id: str
    digest: bytes = field(repr=False)
    """Hash of the whole row: equal rows of overlapping windows are one event."""
    category: str = ""
    """Of an answer to a mailing: `hardbounce`, `softbounce`, `autoresponder`, …"""
    link: str = field(default="", repr=False)
    campaign_id: str = ""
    """The CRM's campaign, where the row itself names one."""


@dataclass(frozen=True, slots=True)
class Mailing:
    """A mailing, and the CRM's campaign it belongs to; empty where none is known."""

    mailing_id: str
    campaign_id: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Time whose response data Campaign may have forgotten before we read it."""

    stream: Stream
    since: datetime
    until: datetime
    noticed_at: datetime


@dataclass(frozen=True, slots=True)
class Lag:
    """How long unsubscriptions took from the click to their effect here."""

    events: int
    median_hours: float
    longest_hours: float


@dataclass(frozen=True, slots=True)
class Blocklist:
    """What became of a fetched blocklist; `shrunk` means the old entries stand."""

    before: int | None
    given: int
    shrunk: bool


@dataclass(frozen=True, slots=True)
class Freshness:
    """How much the store may be trusted for a client."""

    completed_at: datetime | None
    """The last fetch in which every source answered and the blocklist was taken over."""
    entries: int
    """Entries ever learned of bounces, unsubscriptions and finds; fewer than before is a loss."""
    blocklist_entries: int
    """Entries of the blocklist as last fetched."""
    shrunk_from: int | None
    """Blocklist entries still kept because the last fetch gave far fewer; else None."""


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """What `etl responses status` tells of one client."""

    client: str
    freshness: Freshness
    read_until: Mapping[Stream, datetime]
    """Up to where each stream was read, by Campaign's clock."""
    waiting: Mapping[str, int]
    """Rows not handed over yet, by file."""
    blocklist_at: datetime | None
    """When the blocklist was last fetched."""
    gaps: Sequence[Gap]
    left_out: Mapping[Stream, Mapping[str, int]]
    """Events that were not told to the CRM, by reason."""
    lag: Lag | None
    """Of the unsubscriptions of the last 30 days; None without any."""


def iso(moment: datetime) -> str:
    """A moment for the CRM: ISO 8601 in UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
