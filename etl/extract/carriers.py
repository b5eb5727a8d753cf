"""Who carried an address: entities and consents of every decoded drop, by keyed hash.

It keeps, per feed and address, what the newest drop with that address said. An address that later
drops lack stays for as long as Campaign may still report an event of its last mailing. It never
stores an address, and opens no transaction: its caller's holds it.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from etl.extract.keyed import StoreKey, entity_text

# Campaign reports events for 30 days after a dispatch, plus its own delay and our time away.
KEPT_DAYS = 60
COLUMNS = ("address", "entity_type", "entity_id", "opt_in_id")
UNTRACKED = "untracked"


@dataclass(frozen=True, slots=True)
class Carrier:
    """An entity that carried an address, with the consent it was last delivered under."""

    entity_type: str
    entity_id: str
    opt_in_id: str
    untracked: bool | None = None
    """Whether the person does not want opens and clicks to be told; None where no drop said."""


def remember(
    connection: sqlite3.Connection,
    keys: Sequence[StoreKey],
    feed_batch: tuple[str, str, str],
    rows: pl.DataFrame,
    at: datetime,
) -> None:
    """Put a drop's carriers in place of what earlier drops of the feed said of its addresses.

    `rows` may have a column `untracked`: whether the person does not want opens and clicks told.
    `feed_batch` is client, feed and the batch, in a form that sorts by time: an older drop adds the
    addresses that no newer one had.
    """
    client, feed, batch = feed_batch
    (last,) = connection.execute(
        "SELECT max(batch) FROM carrier_feeds WHERE client = ? AND feed = ?", (client, feed)
    ).fetchone()
    if last == batch:
        return  # the same drop, checked once more after a crash or a wait
    older = last is not None and last > batch
    seen = int(at.timestamp())
    said = pl.lit(None)
    if UNTRACKED in rows.columns:
        said = pl.col(UNTRACKED).fill_null(value=True)
    rows = rows.select(pl.col(COLUMNS).fill_null(""), said.cast(pl.Int8).alias(UNTRACKED)).filter(
        pl.col("address") != ""
    )
    tags = {key.id: key.tags(rows["address"]) for key in keys}
    connection.execute(
        "INSERT INTO carrier_feeds (client, feed, key_id, batch) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET batch = max(batch, excluded.batch)",
        (client, feed, keys[0].id, batch),
    )
    feeds = dict(
        connection.execute(
            "SELECT key_id, id FROM carrier_feeds WHERE client = ? AND feed = ?", (client, feed)
        ).fetchall()
    )
    for key in keys if not older else ():
        if key.id in feeds:
            connection.executemany(
                "DELETE FROM carriers WHERE feed = ? AND key = ?",
                ((feeds[key.id], tag) for tag in sorted(tags[key.id].values())),
            )
    oldest = int((at - timedelta(days=KEPT_DAYS)).timestamp())
    for number in feeds.values():
        connection.execute("DELETE FROM carriers WHERE feed = ? AND seen < ?", (number, oldest))
    ours = feeds[keys[0].id]
    # In the order of the table's own tree, so that pages fill one after the other.
    first = tags[keys[0].id]
    known = _known(connection, ours) if older else frozenset[bytes]()
    tagged = sorted(
        (first[address], *cells)
        for address, *cells in rows.iter_rows()
        if first[address] not in known
    )
    connection.executemany(
        "INSERT INTO carriers"
        " (feed, key, entity_type, entity_id, opt_in_id, untracked, seen)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET untracked = max(untracked, excluded.untracked)",
        ((ours, *row, seen) for row in tagged),
    )


def _known(connection: sqlite3.Connection, feed: int) -> frozenset[bytes]:
    """Every address a feed's drops were heard of, as its keyed hash."""
    found = connection.execute("SELECT DISTINCT key FROM carriers WHERE feed = ?", (feed,))
    return frozenset(bytes(key) for (key,) in found)


def of_address(
    connection: sqlite3.Connection, keys: Sequence[StoreKey], client: str, folded: str
) -> list[Carrier]:
    """Every entity that last carried the address; of several consents that of the newest drop."""
    found: list[tuple[int, Carrier]] = []
    at_hand = {key.id: key for key in keys}
    for number, key_id in connection.execute(
        "SELECT id, key_id FROM carrier_feeds WHERE client = ?", (client,)
    ).fetchall():
        if key_id in at_hand:
            found += [
                (seen, Carrier(entity_type, entity_id, opt_in_id, _said(untracked)))
                for seen, entity_type, entity_id, opt_in_id, untracked in connection.execute(
                    "SELECT seen, entity_type, entity_id, opt_in_id, untracked FROM carriers"
                    " WHERE feed = ? AND key = ?",
                    (number, at_hand[key_id].tag(folded)),
                )
            ]
    return _newest(found)


@dataclass(frozen=True, slots=True)
class Carried:
    """What is known of an entity: its carriers, and its addresses as (key id, keyed hash)."""

    by: list[Carrier]
    addresses: list[tuple[str, bytes]]


def of_entities(
    connection: sqlite3.Connection, client: str, entities: Iterable[str]
) -> Mapping[str, Carried]:
    """Look `entity-type:entity-id` texts of a client up, all in one pass; the unknown are left out.

    Upper and lower case are one, for Campaign may not keep the case of a recipient id.
    """
    wanted = {entity.lower() for entity in entities}
    found: dict[str, list[tuple[int, Carrier]]] = {}
    addresses: dict[str, set[tuple[str, bytes]]] = {}
    if wanted:
        for key_id, tag, seen, entity_type, entity_id, opt_in_id, untracked in connection.execute(
            "SELECT f.key_id, c.key, c.seen, c.entity_type, c.entity_id, c.opt_in_id, c.untracked"
            " FROM carriers c JOIN carrier_feeds f ON f.id = c.feed WHERE f.client = ?",
            (client,),
        ):
            entity = entity_text(entity_type, entity_id).lower()
            if entity in wanted:
                carrier = Carrier(entity_type, entity_id, opt_in_id, _said(untracked))
                found.setdefault(entity, []).append((seen, carrier))
                addresses.setdefault(entity, set()).add((key_id, tag))
    return {
        entity: Carried(_newest(several), sorted(addresses[entity]))
        for entity, several in found.items()
    }


def _newest(found: Iterable[tuple[int, Carrier]]) -> list[Carrier]:
    """One carrier per entity, the one of the newest drop, in a fixed order.

    A yes to not being tracked stays one, whichever drop said it.
    """
    kept: dict[tuple[str, str], Carrier] = {}
    for _, carrier in sorted(found, key=lambda each: (each[0], each[1].opt_in_id)):
        entity = carrier.entity_type, carrier.entity_id
        before = kept[entity].untracked if entity in kept else None
        said = [each for each in (before, carrier.untracked) if each is not None]
        kept[entity] = replace(carrier, untracked=any(said) if said else None)
    return [kept[entity] for entity in sorted(kept)]


def _said(untracked: int | None) -> bool | None:
    return None if untracked is None else bool(untracked)
