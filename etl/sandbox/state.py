"""What the simulated Campaign knows: clients, sessions, lists, people, response data, its clock.

Only holds and finds; the rules of each operation stand in the rpc_ modules. Whoever changes
anything holds `World.lock`.
"""

import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from etl.sandbox.faults import Refused, no_such_list
from etl.sandbox.switches import Switches, default_switches

THRESHOLDS = {"hardbounce": 3, "softbounce": 5}
"""Bounces of a category after which somebody gets no mail; others have no threshold."""
DEFAULT_MEDIA = "EMAIL"


@dataclass(slots=True)
class Record:
    """One recipient in one list."""

    recipient_id: str
    address: str
    values: dict[str, str | None]
    created_ms: int
    modified_ms: int
    pending: bool = False
    """Whether an opt-in was begun and not finished."""


@dataclass(slots=True)
class RecipientList:
    """A recipient list, its people in order of insertion."""

    list_id: int
    name: str
    attributes: dict[str, str]
    """Field types by attribute name, in order."""
    kind: str = "regular"
    is_test: bool = False
    description: str = ""
    records: dict[str, Record] = field(default_factory=dict)
    counts: list[tuple[int, int]] = field(default_factory=list)
    """Every number of recipients with the time in ms from which it was true."""
    poisoned: set[str] = field(default_factory=set)
    forced: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    """Code to answer for an id and how often still (None: for ever)."""


@dataclass(frozen=True, slots=True)
class Unsubscription:
    """Somebody wants no mail of this client."""

    recipient_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the blocklist."""

    number: int
    reason: str
    created_ms: int


@dataclass(slots=True)
class Channel:
    """What a client keeps per media type, across all lists."""

    unsubscribed: dict[str, Unsubscription] = field(default_factory=dict)
    bounces: dict[str, dict[str, int]] = field(default_factory=dict)
    blocklist: dict[str, Entry] = field(default_factory=dict)


@dataclass(slots=True)
class Event:
    """One piece of response data; exported_ms is None until an export file holds it."""

    stream: str
    at_ms: int
    recipient_id: str = ""
    mailing_id: int | None = None
    list_id: int | None = None
    category: str = ""
    link: str = ""
    name: str = ""
    exported_ms: int | None = None


@dataclass(frozen=True, slots=True)
class User:
    """An API user: where it may call from and what it may call (None: anything)."""

    password: str
    allowed_ips: tuple[str, ...] | None = None
    operations: tuple[str, ...] | None = None


@dataclass(slots=True)
class Client:
    """A client of Campaign, which its API calls mandator."""

    mandator: int
    users: dict[str, User] = field(default_factory=dict)
    lists: dict[int, RecipientList] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    dispatched_ms: dict[int, int] = field(default_factory=dict)
    """When each mailing was sent."""
    exported: dict[str, int] = field(default_factory=dict)
    """How many of the events each scheduled export job has gone through, by method."""

    def channel(self, media: str = DEFAULT_MEDIA) -> Channel:
        """Return the client's stores for a media type."""
        return self.channels.setdefault(media, Channel())


@dataclass(slots=True)
class Session:
    """A login and the time its 20 minutes count from."""

    session_id: str
    mandator: int
    user: str
    ip: str
    since_ms: int
    locale: str = "en"
    media: str = DEFAULT_MEDIA


@dataclass(slots=True)
class World:
    """Everything there is, with one lock around it."""

    switches: Switches = field(default_factory=default_switches)
    clients: dict[int, Client] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    offset_ms: int = 0
    last_export_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def now_ms(self) -> int:
        """Return the simulator's own time in milliseconds since the epoch."""
        return time.time_ns() // 1_000_000 + self.offset_ms

    def key(self, recipient_id: str) -> str:
        """Return what two recipient ids share exactly when they are one person."""
        return recipient_id.lower() if self.switches.ids_ignore_case else recipient_id

    def client(self, mandator: int) -> Client:
        """Return a client by number; KeyError when there is none."""
        return self.clients[mandator]

    def find_list(self, list_id: int) -> tuple[Client, RecipientList]:
        """Return a list of any client with its owner; refuses an unknown number."""
        for client in self.clients.values():
            if list_id in client.lists:
                return client, client.lists[list_id]
        raise no_such_list()

    def open_session(self, mandator: int, user: str, ip: str) -> Session:
        """Return a new session; its id is 16 hexadecimal digits, rarely 15."""
        session_id = ""
        while len(session_id) < 15 or session_id in self.sessions:  # noqa: PLR2004  # seen: 15, 16
            session_id = f"{secrets.randbits(64):x}"
        session = Session(session_id, mandator, user, ip, self.now_ms())
        self.sessions[session_id] = session
        return session

    def live_session(self, session_id: str, ip: str) -> Session:
        """Return a session that is alive; refuses any other."""
        session = self.sessions.get(session_id)
        limit_ms = self.switches.session_seconds * 1000
        alive = session is not None and self.now_ms() - session.since_ms < limit_ms
        if session is None or not alive or (self.switches.ip_binding and session.ip != ip):
            raise Refused("invalid-session", f"Invalid sessionId '{session_id}'", bare=True)
        if self.switches.sliding_session:
            session.since_ms = self.now_ms()
        return session

    def note_count(self, recipient_list: RecipientList) -> None:
        """Remember how many recipients the list has from now on."""
        recipient_list.counts.append((self.now_ms(), len(recipient_list.records)))

    def outbounced(self, channel: Channel, recipient_id: str) -> bool:
        """Say whether somebody is over the bounce limit of any category."""
        counts = channel.bounces.get(self.key(recipient_id), {})
        grace = 0 if self.switches.bounce_reaches else 1
        return any(counts.get(name, 0) >= limit + grace for name, limit in THRESHOLDS.items())

    def unsubscribe(
        self,
        client: Client,
        media: str,
        ids: Iterable[str],
        mailing_id: int | None = None,
        list_id: int | None = None,
    ) -> None:
        """Note that people want no more mail; each becomes response data once."""
        channel = client.channel(media)
        for recipient_id in ids:
            if self.key(recipient_id) in channel.unsubscribed:
                continue
            at_ms = self.now_ms()
            channel.unsubscribed[self.key(recipient_id)] = Unsubscription(recipient_id, at_ms)
            client.events.append(
                Event("unsubscribes", at_ms, recipient_id, mailing_id=mailing_id, list_id=list_id)
            )
