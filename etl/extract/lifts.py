"""Lifting: entries of the store that suppress no more, though it stays known that they were told.

Bounces and unsubscriptions alone, never the blocklist, which is Campaign's. It changes nothing at
Campaign, and it hands nobody on but as a keyed hash.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from etl.extract import carriers
from etl.extract.entries import ADDRESS, ENTITY, Tagged
from etl.extract.folding import folded_address
from etl.extract.keyed import StoreKey, entity_text
from etl.extract.learned import Kind
from etl.sqlite_file import SqliteFile

LIFTED: tuple[Kind, ...] = ("bounced", "unsubscribed")
"""The kinds that can be lifted."""
_BOUNCED: tuple[Kind, ...] = ("bounced",)
_EVER = 2**62


@dataclass(frozen=True, slots=True)
class Entry:
    """One reason of the store why somebody is not mailed."""

    kind: Kind
    source: str
    person: Tagged
    since: datetime
    """When it was last said, to the second."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Somebody by keyed hash, and up to when what was said of them is to be lifted.

    What is said later stands, for nobody had seen it when the wish was made.
    """

    key_id: str
    tag: bytes
    until: int

    @classmethod
    def read(cls, text: str) -> Self:
        """The wish behind `text`."""
        key_id, tag, until = text.rsplit(":", 2)
        return cls(key_id, bytes.fromhex(tag), int(until))

    @property
    def text(self) -> str:
        """`KEY-ID:HASH:SECONDS`."""
        return f"{self.key_id}:{self.tag.hex()}:{self.until}"


@dataclass(frozen=True, slots=True)
class Lifted:
    """What came of wishes: entries that suppress no more by them, and entries that still do."""

    entries: int
    left: int


def wishes(found: Iterable[Entry]) -> list[Wish]:
    """What to ask for, so that everything that was found and can be lifted is lifted."""
    until: dict[tuple[str, bytes], int] = {}
    for entry in found:
        if entry.kind in LIFTED:
            person = (entry.person.key_id, entry.person.tag)
            until[person] = max(until.get(person, 0), int(entry.since.timestamp()))
    return [Wish(*person, last) for person, last in sorted(until.items())]


class Lifts:
    """Who speaks against somebody in the store, and what is lifted of it."""

    def __init__(self, file: SqliteFile, keys: Sequence[StoreKey]) -> None:
        self._file = file
        self._keys = tuple(keys)

    def speaking_against(self, client: str, person: str) -> list[Entry]:
        """Every entry that keeps a person out, an address or `entity-type:entity-id`.

        Of an address also those of the entities that carry it, of an entity those of its addresses:
        one event may have made them all. Looked up with every key.
        """
        with self._file.read() as connection:
            people = sorted(_people(connection, self._keys, client, person.strip()))
            return [
                Entry(kind, source, Tagged(key_id, tag, about), datetime.fromtimestamp(since, UTC))
                for about, key_id, tag in people
                for kind, source, since in connection.execute(
                    "SELECT o.kind, o.source, e.since FROM origins o"
                    " JOIN entries e ON e.origin = o.id AND e.key = ?"
                    " WHERE (o.client, o.about, o.key_id) = (?, ?, ?) AND e.lifted IS NULL"
                    " ORDER BY o.id",
                    (tag, client, about, key_id),
                )
            ]

    def lift(self, client: str, wanted: Iterable[Wish], at: datetime) -> Lifted:
        """Grant wishes, all in one transaction; once more does no harm."""
        done = left = 0
        with self._file.write() as connection:
            for wish in wanted:
                person = (wish.key_id, wish.tag)
                done += _lift(connection, client, LIFTED, person, at, wish.until)
                left += _left(connection, client, person)
        return Lifted(done, left)

    def lift_bounces(self, client: str, people: Iterable[str], at: datetime) -> int:
        """Lift every bounce of folded addresses and entities, in one transaction; how many."""
        texts = sorted(set(people))
        with self._file.write() as connection:
            return sum(
                _lift(connection, client, _BOUNCED, (key.id, key.tag(text)), at)
                for text in texts
                for key in self._keys
            )


def _people(
    connection: sqlite3.Connection, keys: Sequence[StoreKey], client: str, person: str
) -> Iterator[tuple[str, str, bytes]]:
    """(about, key id, keyed hash) of a person and of whom drops linked with them, each once."""
    addresses: set[tuple[str, bytes]] = set()
    entities: set[str] = set()
    if "@" in person:
        folded = folded_address(person)
        addresses |= {(key.id, key.tag(folded)) for key in keys}
        carried_by = carriers.of_address(connection, keys, client, folded)
        entities |= {entity_text(each.entity_type, each.entity_id) for each in carried_by}
    if ":" in person:
        entities.add(person)
        there = carriers.of_entities(connection, client, [person]).get(person.lower())
        if there is not None:
            addresses |= set(there.addresses)
            entities |= {entity_text(each.entity_type, each.entity_id) for each in there.by}
    yield from ((ADDRESS, *address) for address in addresses)
    yield from ((ENTITY, key.id, key.tag(text)) for key in keys for text in entities)


def _lift(
    connection: sqlite3.Connection, client: str, kinds: Sequence[Kind], person: tuple[str, bytes],
    at: datetime, until: int = _EVER,
) -> int:  # fmt: skip
    """Lift what suppresses a person, said not later than `until`; how many entries."""
    now = int(at.timestamp())
    key_id, tag = person
    return sum(
        connection.execute(
            "UPDATE entries SET lifted = ? WHERE key = ? AND lifted IS NULL AND since <= ?"
            " AND origin IN (SELECT id FROM origins WHERE (client, kind, key_id) = (?, ?, ?))",
            (now, tag, until, client, kind, key_id),
        ).rowcount
        for kind in kinds
    )


def _left(connection: sqlite3.Connection, client: str, person: tuple[str, bytes]) -> int:
    """How many entries that can be lifted still suppress a person."""
    key_id, tag = person
    (left,) = connection.execute(
        "SELECT count(*) FROM entries e JOIN origins o ON o.id = e.origin"
        " WHERE o.client = ? AND o.key_id = ? AND o.kind <> 'blocklisted'"
        " AND e.key = ? AND e.lifted IS NULL",
        (client, key_id, tag),
    ).fetchone()
    return int(left)
