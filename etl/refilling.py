"""The step out of UPLOADED and REFILLING: the refill, put to work on one batch.

How a list is refilled is `etl.load.refill`'s; here it is given its rows, guards and suppression.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import polars as pl

from etl.batch import Batch, Place
from etl.cases import case_of_refused
from etl.errors import GuardTripped, Mismatch
from etl.extract.learned import Found
from etl.freshness import refresh
from etl.gates import (
    elders,
    guard_consent,
    guard_freshness,
    guard_list,
    guard_returning,
    guard_rows,
)
from etl.load.outcome import SUPPRESSION_CODES, Outcome, RefillPlan
from etl.load.refill import Refill
from etl.log import Event, log
from etl.settings import Feed, List
from etl.staging import read_staged, refused_live, suppressed_now
from etl.transform.check import ATTRIBUTE
from etl.world import World

JUST_FETCHED = timedelta(minutes=5)
"""A complete fetch younger than this is the one before this refill."""
MANY_REFUSED = 0.01


def refill(world: World, batch: Batch) -> Batch:
    """Refill the batch's list, or do nothing for a feed without one; the batch is REFILLED then."""
    feed = world.config.find_feed(batch.feed or "")
    if feed is None:
        raise GuardTripped("feed-gone", feed=batch.feed)
    staged = read_staged(world, batch)
    if feed.list is None:
        return world.journal.batches.refilled(batch, world.clock.wall(), staged.height, None)
    plan = _plan(world, feed, feed.list, staged)
    _guard_batch(world, batch, feed, plan)
    if batch.place is Place.UPLOADED:
        guard_consent(feed, staged)
    completed = world.store.freshness(feed.client).completed_at
    max_age = timedelta(hours=world.config.settings.suppression.max_age_hours)
    age = None if completed is None else world.clock.wall() - completed
    if age is None or not timedelta(0) <= age <= min(JUST_FETCHED, max_age):
        refresh(world, feed.client)
    world.journal.refills.pin_id_rule(feed.client, feed.list.id, feed.recipient.id)
    outcome = Refill(
        batch=batch,
        staged=staged,
        plan=plan,
        campaign=world.campaigns[feed.client].lists,
        journal=world.journal,
        clock=world.clock,
        suppressed_now=partial(_suppressed_rows, world, feed, staged),
        refused_live=partial(_refused_rows, world, feed, staged),
        guards=partial(_guards, world, batch, feed, staged, plan.attributes),
        elders=partial(elders, world, batch, {Place.CLAIMED, Place.UPLOADED, Place.REFILLING}),
    ).run()
    return _refilled(world, world.journal.batches.get(batch.id), feed, staged, outcome)


def _plan(world: World, feed: Feed, table: List, staged: pl.DataFrame) -> RefillPlan:
    far = world.config.settings.far_side
    client = world.config.settings.client[feed.client]
    pauses = [
        min(far.first_seconds * 4**number, far.most_seconds) for number in range(far.tries - 1)
    ]
    return RefillPlan(
        target=f"{client.mandator}/{table.id}",
        list_id=table.id,
        # Those of the staged rows: the configuration may have changed since.
        attributes=tuple(
            name.removeprefix(ATTRIBUTE) for name in staged.columns if name.startswith(ATTRIBUTE)
        ),
        chunk_rows=client.chunk_rows,
        poisoned_limit=feed.guards.poisoned_rows,
        believe_after_seconds=feed.guards.believe_count_after_seconds,
        pauses=tuple(pauses),
    )


def _guard_batch(world: World, batch: Batch, feed: Feed, plan: RefillPlan) -> None:
    """A list left partial is the one to go on with; rows that waited too long are not sent."""
    was = world.journal.refills.target(batch)
    if was is not None and was != plan.target:
        raise GuardTripped("list-changed", was=was, now=plan.target)
    age = world.clock.wall() - batch.claimed_at
    limit = feed.guards.max_staged_hours
    if batch.place is Place.UPLOADED and age > timedelta(hours=limit):
        raise GuardTripped("staged-old", hours=round(age.total_seconds() / 3600), limit=limit)


def _suppressed_rows(
    world: World, feed: Feed, staged: pl.DataFrame, rows: Sequence[int]
) -> Mapping[int, str]:
    """Which staged rows must not be mailed by now, with a kind."""
    asked = staged[list(rows)]
    row_of = dict(zip(asked["record"], rows, strict=True))
    hits = suppressed_now(world, feed, asked)
    return {row_of[record]: kind for record, kind in hits.rows()}


def _refused_rows(
    world: World, feed: Feed, staged: pl.DataFrame, rows: Sequence[int]
) -> frozenset[int]:
    """Which staged rows Campaign itself would not mail now."""
    asked = staged[list(rows)]
    row_of = dict(zip(asked["record"], rows, strict=True))
    return frozenset(row_of[record] for record in refused_live(world, feed, asked)["record"])


def _guards(
    world: World, batch: Batch, feed: Feed, staged: pl.DataFrame, attributes: tuple[str, ...],
    rows: int | None,
) -> None:  # fmt: skip
    """Directly before a clear: suppression data, rows left to send, the list itself."""
    guard_freshness(world, feed)
    if rows is not None:
        guard_rows(world, batch, feed, rows)
        if batch.rollback_of is not None:
            guard_returning(world, batch, staged)
    guard_list(world, feed, attributes)


def _refilled(
    world: World, batch: Batch, feed: Feed, staged: pl.DataFrame, outcome: Outcome
) -> Batch:
    """Take what the codes told to where it belongs, then say REFILLED.

    A list that took too few is kept as it is: Mismatch `list-short`, no further clear.
    """
    at = world.clock.wall()
    addresses, ids = staged["address"], staged["recipient_id"]
    found = [
        Found(addresses[row], SUPPRESSION_CODES[code], f"code-{code}", at, ids[row])
        for row, code in outcome.suppressed_rows.items()
    ]
    if found:
        world.store.add_found(feed.client, found)
    if outcome.refused_rows or outcome.poisoned_rows:
        case_of_refused(world, batch, staged, outcome)
    present = min(outcome.listed, outcome.count)
    short = present < (1 - feed.guards.max_shrink) * outcome.sent
    facts = _facts(feed, staged, outcome, None if short else at)
    if short:
        world.journal.batches.listed(batch, facts)
        raise Mismatch("list-short", listed=present, sent=outcome.sent)
    done = world.journal.batches.refilled(batch, at, outcome.sent, facts)
    log(Event.PLACE, batch=batch.id, place=done.place)
    return done


def _facts(
    feed: Feed, staged: pl.DataFrame, outcome: Outcome, refilled_at: datetime | None
) -> dict[str, Any]:
    """The receipt's block for the list: numbers and codes."""
    if feed.list is None:
        raise AssertionError(feed.name)
    refused = len(outcome.refused_rows) + outcome.poisoned
    return {
        "list_id": feed.list.id,
        "name": feed.list.name,
        "staged": staged.height,
        "suppressed_late": outcome.suppressed_late,
        "sent": outcome.sent,
        "listed": outcome.listed,
        "refused": dict(outcome.refused),
        "poisoned": outcome.poisoned,
        "count": outcome.count,
        "clears": outcome.clears,
        "purged": outcome.purged,
        "refilled_at": refilled_at.isoformat() if refilled_at else None,
        "many_refused": refused if refused > MANY_REFUSED * outcome.sent else 0,
    }
