"""The rows of the store: keyed entries, their origins, blocklist patterns, what the CRM is owed.

Plain statements over a connection; it opens no transaction, for its caller's holds it.
"""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from etl.extract import outbox_rows
from etl.extract.carriers import Carrier
from etl.extract.folding import folded_address
from etl.extract.keyed import StoreKey, entity_text
from etl.extract.learned import BLOCKLIST, FILE_OF, Found, Kind
from etl.extract.outbox_rows import Line

ADDRESS, ENTITY = "address", "entity"

_WILDCARD = re.compile(r"(?:[^\\*?]|\\.)*[*?]", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Tagged:
    """A person by keyed hash; `about` tells whether of the address or of an entity."""

    key_id: str
    tag: bytes
    about: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing learned of one person."""

    kind: Kind
    source: str
    recipient_id: str = field(repr=False)
    time: str
    mailing_id: str
    people: Sequence[Tagged]
    """Whom it suppresses."""
    carried_by: Sequence[Carrier] = field(repr=False)
    """Whom the CRM is told of; none when nobody is known to carry the address."""


def people_of(
    key: StoreKey, kind: Kind, folded: str, carried_by: Sequence[Carrier]
) -> list[Tagged]:
    """Whom something said of an address suppresses: an unsubscription its entities too.

    So it follows a person to a new address; a bounce and the blocklist concern the address only.
    """
    people = [Tagged(key.id, key.tag(folded), ADDRESS)]
    if kind == "unsubscribed":
        people += [
            Tagged(key.id, key.tag(entity_text(each.entity_type, each.entity_id)), ENTITY)
            for each in carried_by
            if each.entity_type and each.entity_id
        ]
    return people


def known(
    connection: sqlite3.Connection,
    keys: Sequence[StoreKey],
    client: str,
    find: Found,
    folded: str,
) -> bool:
    """Whether a find is in the store, asked with every key, for the entry may be older than one.

    A lifted bounce or blocklist entry counts again and was told. A lifted unsubscription is not
    known, for a person has lifted it: found once more, it is news to the CRM too.
    """
    there = False
    for key in keys:
        row = connection.execute(
            "SELECT id FROM origins WHERE (client, kind, source, about, key_id) = (?, ?, ?, ?, ?)",
            (client, find.kind, find.source, ADDRESS, key.id),
        ).fetchone()
        if row is not None:
            entry = (row[0], key.tag(folded))
            if find.kind != "unsubscribed":
                connection.execute(
                    "UPDATE entries SET lifted = NULL, since = ?"
                    " WHERE origin = ? AND key = ? AND lifted IS NOT NULL",
                    (int(find.at.timestamp()), *entry),
                )
            there |= bool(
                connection.execute(
                    "SELECT EXISTS (SELECT 1 FROM entries"
                    " WHERE origin = ? AND key = ? AND lifted IS NULL)",
                    entry,
                ).fetchone()[0]
            )
    return there


def learn(connection: sqlite3.Connection, client: str, fact: Fact, at: datetime) -> None:
    """Suppress the fact's people and put a line for each carrier into the outbox."""
    for person in fact.people:
        origin = _origin(connection, client, fact.kind, fact.source, person.about, person.key_id)
        connection.execute(
            "INSERT INTO entries (origin, key, since) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET lifted = NULL, since = excluded.since",
            (origin, person.tag, int(at.timestamp())),
        )
    line = Line(fact.recipient_id, fact.kind, fact.source, fact.time, fact.mailing_id)
    # A bounce concerns the address and no consent, so it names none.
    consents = fact.kind != "bounced"
    outbox_rows.owe(
        connection, client, FILE_OF[fact.kind], line, fact.carried_by, at, consents=consents
    )


def replace_blocklist(
    connection: sqlite3.Connection, key: StoreKey, client: str, written: set[str], at: datetime
) -> None:
    """Put a whole blocklist in place of the last one, and of what was found blocklisted before."""
    patterns = {entry for entry in written if _WILDCARD.match(entry)}
    connection.execute("DELETE FROM patterns WHERE client = ?", (client,))
    connection.executemany(
        "INSERT INTO patterns VALUES (?, ?)", ((client, entry) for entry in sorted(patterns))
    )
    tags = {key.tag(folded_address(_ESCAPED.sub(r"\1", entry))) for entry in written - patterns}
    ours = _origin(connection, client, "blocklisted", BLOCKLIST, ADDRESS, key.id)
    for origin, source in connection.execute(
        "SELECT id, source FROM origins WHERE client = ? AND kind = 'blocklisted'", (client,)
    ).fetchall():
        if source != BLOCKLIST:
            # Whoever was taken off the list since may be mailed again; told they were already.
            connection.execute(
                "UPDATE entries SET lifted = ?1 WHERE origin = ?2 AND since < ?1",
                (int(at.timestamp()), origin),
            )
        elif origin != ours:
            connection.execute("DELETE FROM entries WHERE origin = ?", (origin,))
    before = {
        tag for (tag,) in connection.execute("SELECT key FROM entries WHERE origin = ?", (ours,))
    }
    connection.executemany(
        "DELETE FROM entries WHERE origin = ? AND key = ?",
        ((ours, tag) for tag in sorted(before - tags)),
    )
    connection.executemany(
        "INSERT INTO entries (origin, key, since) VALUES (?, ?, ?)",
        ((ours, tag, int(at.timestamp())) for tag in sorted(tags - before)),
    )


def suppressing(
    connection: sqlite3.Connection, client: str, block_rows: int
) -> Iterator[tuple[str, str, str, list[str]]]:
    """Kind, source, about and a block of keys (32 hex digits) of everybody suppressed now."""
    for origin, kind, source, about in connection.execute(
        "SELECT id, kind, source, about FROM origins WHERE client = ? ORDER BY id", (client,)
    ).fetchall():
        cursor = connection.execute(
            "SELECT lower(hex(key)) FROM entries WHERE origin = ? AND lifted IS NULL", (origin,)
        )
        while block := cursor.fetchmany(block_rows):
            yield kind, source, about, [key for (key,) in block]


def among(
    connection: sqlite3.Connection, client: str, asked: Sequence[bytes]
) -> list[tuple[str, str, str, str]]:
    """Key (32 hex digits), kind, source and about of everybody suppressed now, of these keys alone.

    `asked` is sorted: so both tables are walked from page to page. Whichever of the two is smaller
    is walked, the other one looked up.
    """
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS asked (key BLOB PRIMARY KEY) WITHOUT ROWID")
    connection.execute("DELETE FROM temp.asked")
    connection.executemany("INSERT INTO temp.asked VALUES (?)", ((key,) for key in asked))
    found = []
    for origin, kind, source, about in connection.execute(
        "SELECT id, kind, source, about FROM origins WHERE client = ? ORDER BY id", (client,)
    ).fetchall():
        more = connection.execute(
            "SELECT 1 FROM entries WHERE origin = ? LIMIT 1 OFFSET ?", (origin, len(asked))
        ).fetchone()
        walked = (
            "temp.asked a CROSS JOIN entries e" if more else "entries e CROSS JOIN temp.asked a"
        )
        hits = connection.execute(
            f"SELECT lower(hex(e.key)) FROM {walked}"  # noqa: S608 - our own words
            " WHERE e.origin = ? AND e.key = a.key AND e.lifted IS NULL",
            (origin,),
        )
        found += [(key, kind, source, about) for (key,) in hits]
    connection.execute("DELETE FROM temp.asked")
    return found


def _origin(connection: sqlite3.Connection, *cells: str) -> int:
    """The number of an origin (client, kind, source, about, key id), given out if there is none."""
    asked = "SELECT id FROM origins WHERE (client, kind, source, about, key_id) = (?, ?, ?, ?, ?)"
    row = connection.execute(asked, cells).fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO origins (client, kind, source, about, key_id) VALUES (?, ?, ?, ?, ?)",
            cells,
        )
        row = connection.execute(asked, cells).fetchone()
    return int(row[0])
