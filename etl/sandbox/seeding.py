"""What can be put into the simulated Campaign from outside: clients, lists, people, their noes.

Written as somebody else would write it: nothing here is checked as a SOAP call is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etl.sandbox.rpc_blacklist import add_entries
from etl.sandbox.state import DEFAULT_MEDIA, Client, Event, RecipientList, Record, User, World
from etl.sandbox.values import TYPES

_KINDS = ("regular", "opt-in")
_EVENTS = ("opens", "clicks", "responses")


@dataclass(frozen=True, slots=True)
class Seeding:
    """The verbs that change what the simulator knows."""

    world: World

    def add_client(
        self,
        mandator: int,
        user: str,
        password: str,
        allowed_ips: Sequence[str] | None = None,
        operations: Sequence[str] | None = None,
    ) -> None:
        """Add a client, or one more user to it."""
        with self.world.lock:
            client = self.world.clients.setdefault(mandator, Client(mandator))
            client.users[user] = User(
                password,
                None if allowed_ips is None else tuple(allowed_ips),
                None if operations is None else tuple(operations),
            )

    def add_list(
        self,
        mandator: int,
        list_id: int,
        name: str,
        attributes: Mapping[str, str],
        *,
        kind: str = "regular",
        is_test: bool = False,
    ) -> None:
        """Add an empty recipient list."""
        _one_of(kind, _KINDS)
        for field_type in attributes.values():
            _one_of(field_type, TYPES)
        with self.world.lock:
            if any(list_id in client.lists for client in self.world.clients.values()):
                raise ValueError(f"list {list_id} exists already")
            found = RecipientList(list_id, name, dict(attributes), kind, is_test)
            self.world.client(mandator).lists[list_id] = found

    def set_list(
        self,
        list_id: int,
        name: str | None = None,
        is_test: bool | None = None,
        attributes: Mapping[str, str] | None = None,
        kind: str | None = None,
    ) -> None:
        """Change what a list is, not who is in it."""
        with self.world.lock:
            _, found = self.world.find_list(list_id)
            found.name = found.name if name is None else name
            found.is_test = found.is_test if is_test is None else is_test
            found.attributes = found.attributes if attributes is None else dict(attributes)
            found.kind = found.kind if kind is None else _one_of(kind, _KINDS)

    def add_mailing(
        self,
        mandator: int,
        mailing_id: int,
        name: str,
        list_id: int | None = None,
        start_ms: int | None = None,
    ) -> None:
        """Note that a mailing was sent, now or at a time in ms."""
        with self.world.lock:
            client, at_ms = self.world.client(mandator), start_ms or self.world.now_ms()
            client.dispatched_ms[mailing_id] = at_ms
            event = Event("mailings", at_ms, mailing_id=mailing_id, list_id=list_id, name=name)
            client.events.append(event)

    def add_event(
        self,
        mandator: int,
        stream: str,
        recipient_id: str,
        *,
        mailing_id: int | None = None,
        category: str = "",
        link: str = "",
    ) -> None:
        """Add an open, a click or a response."""
        _one_of(stream, _EVENTS)
        with self.world.lock:
            at_ms = self.world.now_ms()
            event = Event(stream, at_ms, recipient_id, mailing_id, category=category, link=link)
            self.world.client(mandator).events.append(event)

    # People

    def put_recipients(self, list_id: int, recipients: Sequence[Mapping[str, object]]) -> None:
        """Write people into a list as somebody else would, without any check."""
        with self.world.lock:
            _, found = self.world.find_list(list_id)
            for person in recipients:
                attributes = person.get("attributes")
                now_ms, recipient_id = self.world.now_ms(), str(person["id"])
                values = dict(attributes) if isinstance(attributes, dict) else {}
                address = str(person.get("address", recipient_id))
                record = Record(recipient_id, address, values, now_ms, now_ms)
                found.records[self.world.key(recipient_id)] = record
            self.world.note_count(found)

    def list_content(self, list_id: int) -> list[dict[str, object]]:
        """Return the people of a list in order of insertion."""
        with self.world.lock:
            _, found = self.world.find_list(list_id)
            return [
                {"id": r.recipient_id, "address": r.address, "attributes": dict(r.values)}
                for r in found.records.values()
            ]

    def unsubscribe(
        self,
        mandator: int,
        ids: Sequence[str],
        mailing_id: int | None = None,
        list_id: int | None = None,
    ) -> None:
        """Unsubscribe people, by a mailing's link if one is named."""
        with self.world.lock:
            client = self.world.client(mandator)
            self.world.unsubscribe(client, DEFAULT_MEDIA, ids, mailing_id, list_id)

    def resubscribe(self, mandator: int, ids: Sequence[str]) -> None:
        """Take unsubscriptions back."""
        with self.world.lock:
            for recipient_id in ids:
                store = self.world.client(mandator).channel().unsubscribed
                store.pop(self.world.key(recipient_id), None)

    def bounce(
        self, mandator: int, recipient_id: str, category: str = "hardbounce", times: int = 1
    ) -> None:
        """Count bounces; crossing the limit and every bounce become response data."""
        with self.world.lock:
            client = self.world.client(mandator)
            channel, at_ms = client.channel(), self.world.now_ms()
            before = self.world.outbounced(channel, recipient_id)
            counts = channel.bounces.setdefault(self.world.key(recipient_id), {})
            counts[category] = counts.get(category, 0) + times
            client.events += [
                Event("responses", at_ms, recipient_id, category=category) for _ in range(times)
            ]
            if not before and self.world.outbounced(channel, recipient_id):
                client.events.append(Event("outbounces", at_ms, recipient_id))

    def block(self, mandator: int, entries: Sequence[str], reason: str = "") -> None:
        """Put addresses or patterns on the blocklist."""
        with self.world.lock:
            store = self.world.client(mandator).channel().blocklist
            add_entries(self.world.now_ms(), store, dict.fromkeys(entries, reason))

    def unblock(self, mandator: int, entries: Sequence[str]) -> None:
        """Take entries off the blocklist."""
        with self.world.lock:
            for entry in entries:
                self.world.client(mandator).channel().blocklist.pop(entry, None)

    def poison(self, list_id: int, recipient_id: str) -> None:
        """Make every add call that holds the id fail as a whole."""
        with self.world.lock:
            self.world.find_list(list_id)[1].poisoned.add(self.world.key(recipient_id))

    def cure(self, list_id: int, recipient_id: str) -> None:
        """Take a poison or a forced code away."""
        with self.world.lock:
            _, found = self.world.find_list(list_id)
            found.poisoned.discard(self.world.key(recipient_id))
            found.forced.pop(self.world.key(recipient_id), None)

    def code_for(
        self, list_id: int, recipient_id: str, code: int, times: int | None = None
    ) -> None:
        """Make add calls answer a code for an id, so many times or for ever."""
        with self.world.lock:
            _, found = self.world.find_list(list_id)
            found.forced[self.world.key(recipient_id)] = (code, times)


def _one_of(word: str, words: Sequence[str]) -> str:
    """Return the word if it is among those known; ValueError if not."""
    if word not in words:
        raise ValueError(f"{word!r} is none of {tuple(words)}")
    return word
