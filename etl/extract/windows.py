"""One window of a stream, taken into the store: repetitions apart, people suppressed, the CRM told.

Plain statements over a connection; it opens no transaction, for its caller's holds it.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from etl.extract import carriers, entries, lags, outbox_rows
from etl.extract.carriers import KEPT_DAYS, Carried, Carrier
from etl.extract.entries import ADDRESS, ENTITY, Fact, Tagged
from etl.extract.folding import folded_address
from etl.extract.keyed import StoreKey, entity_text
from etl.extract.learned import (
    BOUNCES,
    CLICKS,
    KIND_OF,
    OPENS,
    UNSUBSCRIBED,
    Event,
    IdRule,
    Kind,
    Mailing,
    iso,
)
from etl.ports import Stream, Window

BOUNCE_CATEGORIES = ("hardbounce", "softbounce")
"""Campaign's words for an answer that is a bounce (docs.developers.optimizely.com, responsews)."""
NO_BOUNCE, NO_CAMPAIGN = "no-bounce", "no-campaign"
OPTED_OUT, OPT_OUT_UNKNOWN = "tracking-opt-out", "tracking-opt-out-unknown"
"""Why an event is not told to the CRM."""
WAITING = {NO_CAMPAIGN, OPT_OUT_UNKNOWN}
"""What may be told later: a mailing, or a drop, may say more."""
_TOLD: Mapping[Stream, tuple[str, str]] = {
    Stream.OPENS: (OPENS, "opened"),
    Stream.CLICKS: (CLICKS, "clicked"),
}
"""File and kind of what is told without suppressing anybody."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a window comes from, and how it is taken in."""

    client: str
    stream: Stream
    window: Window
    id_rule: IdRule
    repeats: bool = False
    """Whether every export repeats all rows of the one before: then a row is new only once."""
    opt_outs: bool = False
    """Whether drops say who does not want to be tracked: then nobody is told of who did not say."""
    first: bool = False
    """Whether it is the first window of the stream: how long its events took says nothing."""


def take_in(
    connection: sqlite3.Connection,
    keys: Sequence[StoreKey],
    source: Source,
    events: Sequence[Event],
    at: datetime,
) -> int:
    """Take in a whole window's events; return how many are new.

    A row is a repetition only if an equal one was first seen in a window that reaches into this
    one; the export file of any other lies before this window's start. What cannot be told yet,
    because its mailing is not known, is looked at again while it is seen.
    """
    if not source.repeats:
        _forget_seen(connection, source)
    lags.forget(connection, source.client, at)
    ids = (event.recipient_id for event in events)
    entities = [each for each in ids if _is_entity(each, source.id_rule)]
    carried = carriers.of_entities(connection, source.client, entities)
    new = 0
    for event in events:
        where = (source.client, source.stream.value, _seen_as(connection, keys, source, event))
        fresh = connection.execute(
            "INSERT OR IGNORE INTO seen (client, stream, digest, until_ms) VALUES (?, ?, ?, ?)",
            (*where, source.window.until_ms),
        ).rowcount
        new += fresh
        if not fresh and source.repeats:
            connection.execute(
                "UPDATE seen SET until_ms = ? WHERE (client, stream, digest) = (?, ?, ?)",
                (source.window.until_ms, *where),
            )
        if source.stream in KIND_OF:
            if fresh:
                _suppress(connection, keys, source, event, carried, at)
        elif fresh or _may_be_told_now(connection, where):
            left_out = _tell(connection, keys, source, event, carried, at)
            if left_out or not fresh:
                connection.execute(
                    "UPDATE seen SET left_out = ? WHERE (client, stream, digest) = (?, ?, ?)",
                    (left_out, *where),
                )
    if source.repeats and events:
        _forget_seen(connection, source)
    return new


def take_in_mailings(
    connection: sqlite3.Connection, client: str, mailings: Sequence[Mailing], at: datetime
) -> None:
    """Note which campaign of the CRM each mailing belongs to, for as long as events may come."""
    oldest = int((at - timedelta(days=KEPT_DAYS)).timestamp())
    connection.execute("DELETE FROM mailings WHERE client = ? AND seen < ?", (client, oldest))
    connection.executemany(
        "INSERT INTO mailings VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET campaign_id = excluded.campaign_id, seen = excluded.seen",
        ((client, each.mailing_id, each.campaign_id, int(at.timestamp())) for each in mailings),
    )


def left_out(connection: sqlite3.Connection, client: str) -> dict[Stream, dict[str, int]]:
    """How many events were not told to the CRM, by stream and reason."""
    found: dict[Stream, dict[str, int]] = {}
    for stream, why, events in connection.execute(
        "SELECT stream, why, sum(events) FROM ("
        " SELECT stream, why, events FROM left_out WHERE client = ?1"
        " UNION ALL SELECT stream, left_out, 1 FROM seen"
        "  WHERE client = ?1 AND left_out IS NOT NULL"
        ") GROUP BY stream, why ORDER BY stream, why",
        (client,),
    ):
        found.setdefault(Stream(stream), {})[why] = int(events)
    return found


def _seen_as(
    connection: sqlite3.Connection, keys: Sequence[StoreKey], source: Source, event: Event
) -> bytes:
    """The keyed hash under which a row is, or will be, remembered: a row may be an address alone.

    One that was remembered under an earlier key, or by the first release without any, stays so.
    """
    first, *others = [key.tag(event.digest.hex()) for key in keys]
    for earlier in (*others, event.digest):
        if connection.execute(
            "SELECT 1 FROM seen WHERE (client, stream, digest) = (?, ?, ?)",
            (source.client, source.stream.value, earlier),
        ).fetchone():
            return earlier
    return first


def _forget_seen(connection: sqlite3.Connection, source: Source) -> None:
    """Forget rows that no later window can hold; what was left out for good is counted now."""
    where = (source.client, source.stream.value, source.window.since_ms)
    over = "client = ? AND stream = ? AND until_ms <= ?"
    if source.repeats:
        # Forgotten is who is not in the newest export, however old the one before is.
        where, over = (*where[:2], source.window.until_ms), over.replace("<=", "<")
    connection.execute(
        "INSERT INTO left_out SELECT client, stream, left_out, count(*) FROM seen"  # noqa: S608 - our own words
        f" WHERE {over} AND left_out IS NOT NULL GROUP BY left_out"
        " ON CONFLICT DO UPDATE SET events = left_out.events + excluded.events",
        where,
    )
    connection.execute(f"DELETE FROM seen WHERE {over}", where)  # noqa: S608 - our own words


def _may_be_told_now(connection: sqlite3.Connection, where: tuple[str, str, bytes]) -> bool:
    (left_out,) = connection.execute(
        "SELECT left_out FROM seen WHERE (client, stream, digest) = (?, ?, ?)", where
    ).fetchone()
    return left_out in WAITING


def _suppress(
    connection: sqlite3.Connection,
    keys: Sequence[StoreKey],
    source: Source,
    event: Event,
    carried: Mapping[str, Carried],
    at: datetime,
) -> None:
    """Suppress whom the event is about, and owe the CRM a line."""
    kind = KIND_OF[source.stream]
    people, carried_by = _people(connection, keys, source, event, carried, kind)
    if kind == UNSUBSCRIBED and event.time is not None and not source.first:
        lags.note(connection, source.client, people, event.time, at)
    fact = Fact(
        kind=kind,
        source=source.stream.value,
        recipient_id=event.recipient_id,
        time=_iso(event),
        mailing_id=event.mailing_id,
        people=people,
        carried_by=carried_by,
    )
    entries.learn(connection, source.client, fact, at)


def _people(
    connection: sqlite3.Connection,
    keys: Sequence[StoreKey],
    source: Source,
    event: Event,
    carried: Mapping[str, Carried],
    kind: Kind,
) -> tuple[list[Tagged], list[Carrier]]:
    """Whom an event suppresses, and who carried the address."""
    carried_by = _carriers(connection, keys, source, event, carried)
    if not _is_entity(event.recipient_id, source.id_rule):
        folded = folded_address(event.recipient_id)
        return entries.people_of(keys[0], kind, folded, carried_by), carried_by
    there = carried.get(event.recipient_id.lower())
    people = [Tagged(*address, ADDRESS) for address in (there.addresses if there else ())]
    if kind == UNSUBSCRIBED or not people:
        key = keys[0]
        texts = {
            event.recipient_id,
            *(entity_text(each.entity_type, each.entity_id) for each in carried_by),
        }
        people += [Tagged(key.id, key.tag(text), ENTITY) for text in sorted(texts)]
    return people, carried_by


def _carriers(
    connection: sqlite3.Connection,
    keys: Sequence[StoreKey],
    source: Source,
    event: Event,
    carried: Mapping[str, Carried],
) -> list[Carrier]:
    """Every entity that last carried the event's address, or the entity that the event names."""
    if _is_entity(event.recipient_id, source.id_rule):
        entity_type, _, entity_id = event.recipient_id.partition(":")
        there = carried.get(event.recipient_id.lower())
        return there.by if there else [Carrier(entity_type, entity_id, "")]
    return carriers.of_address(connection, keys, source.client, folded_address(event.recipient_id))


def _tell(
    connection: sqlite3.Connection,
    keys: Sequence[StoreKey],
    source: Source,
    event: Event,
    carried: Mapping[str, Carried],
    at: datetime,
) -> str | None:
    """Owe the CRM a line for each carrier; or the reason why it is not told."""
    campaign_id = ""
    if source.stream is Stream.RESPONSES:
        if event.category not in BOUNCE_CATEGORIES:
            return NO_BOUNCE
        file, kind = BOUNCES, event.category
    else:
        file, kind = _TOLD[source.stream]
        campaign_id = event.campaign_id or _campaign_of(connection, source.client, event)
        if not campaign_id:
            return NO_CAMPAIGN
    carried_by = _carriers(connection, keys, source, event, carried)
    if source.stream is not Stream.RESPONSES:
        # The open is the address's; who of its entities it was nobody knows.
        said = {each.untracked for each in carried_by}
        if True in said:
            return OPTED_OUT
        if source.opt_outs and said != {False}:
            return OPT_OUT_UNKNOWN
    line = outbox_rows.Line(
        recipient_id=event.recipient_id, kind=kind, source=source.stream.value, time=_iso(event),
        mailing_id=event.mailing_id, campaign_id=campaign_id, link=event.link,
    )  # fmt: skip
    outbox_rows.owe(connection, source.client, file, line, carried_by, at)
    return None


def _campaign_of(connection: sqlite3.Connection, client: str, event: Event) -> str:
    """The CRM's campaign of the event's mailing; empty where none is known."""
    row = connection.execute(
        "SELECT campaign_id FROM mailings WHERE client = ? AND mailing_id = ?",
        (client, event.mailing_id),
    ).fetchone()
    return str(row[0]) if row else ""


def _iso(event: Event) -> str:
    return iso(event.time) if event.time else ""


def _is_entity(recipient_id: str, id_rule: IdRule) -> bool:
    """Whether an id is `entity-type:entity-id`; a client may have lists of both rules."""
    return ":" in recipient_id and (id_rule == "entity" or "@" not in recipient_id)
