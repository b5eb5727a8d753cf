"""What the store is told and what it answers: values only, no person in their reprs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from etl.ports import Stream

Kind = Literal["bounced", "unsubscribed", "blocklisted"]
IdRule = Literal["email", "entity"]
"""What Campaign's recipient id is: the address, or `entity-type:entity-id`."""

BOUNCES = "bounces"
UNSUBSCRIPTIONS = "unsubscriptions"
BLOCKLIST = "blocklist"

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
    time: str
    """ISO 8601 in UTC, or what Campaign wrote; empty where the row has none."""
    mailing_id: str
    digest: bytes = field(repr=False)
    """Hash of the whole row: equal rows of overlapping windows are one event."""


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


def iso(moment: datetime) -> str:
    """A moment for the CRM: ISO 8601 in UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
