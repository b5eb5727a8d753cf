"""The step out of UPLOADED and REFILLING: the refill, put to work on one batch.

How a list is refilled is `etl.load.refill`'s; here it is given its rows, guards and suppression.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial

import polars as pl

from etl.batch import Batch, Place
from etl.cases import case_of_refused
from etl.errors import GuardTripped
from etl.extract.learned import Found
from etl.freshness import refresh
from etl.gates import elders, guard_freshness, guard_list, guard_rows
from etl.load.outcome import SUPPRESSION_CODES, Outcome, RefillPlan
from etl.load.refill import Refill
from etl.log import Event, log
from etl.settings import Feed, List
from etl.staging import read_staged, suppressed_now
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
    completed = world.store.freshness(feed.client).completed_at
    max_age = timedelta(hours=world.config.settings.suppression.max_age_hours)
    if completed is None or world.clock.wall() - completed > min(JUST_FETCHED, max_age):
        refresh(world, feed.client)
    world.journal.refills.pin_id_rule(feed.client, feed.list.id, feed.recipient.id)
    outcome = Refill(
        batch=batch,
        staged=staged,
        plan=_plan(world, feed, feed.list),
        campaign=world.campaigns[feed.client].lists,
        journal=world.journal,
        clock=world.clock,
        suppressed_now=partial(_suppressed_rows, world, feed, staged),
        guards=partial(_guards, world, batch, feed),
        elders=partial(elders, world, batch, {Place.CLAIMED, Place.UPLOADED, Place.REFILLING}),
    ).run()
    return _refilled(world, world.journal.batches.get(batch.id), feed.list, staged, outcome)


def _plan(world: World, feed: Feed, table: List) -> RefillPlan:
    far = world.config.settings.far_side
    pauses = [
        min(far.first_seconds * 4**number, far.most_seconds) for number in range(far.tries - 1)
    ]
    return RefillPlan(
        list_id=table.id,
        attributes=tuple(feed.attributes),
        chunk_rows=world.config.settings.client[feed.client].chunk_rows,
        max_shrink=feed.guards.max_shrink,
        poisoned_limit=feed.guards.poisoned_rows,
        believe_after_seconds=feed.guards.believe_count_after_seconds,
        pauses=tuple(pauses),
    )


def _suppressed_rows(
    world: World, feed: Feed, staged: pl.DataFrame, rows: Sequence[int]
) -> Mapping[int, str]:
    """Which staged rows must not be mailed by now, with a kind."""
    asked = staged[list(rows)]
    row_of = dict(zip(asked["record"], rows, strict=True))
    hits = suppressed_now(world, feed, asked)
    return {row_of[record]: kind for record, kind in hits.rows()}


def _guards(world: World, batch: Batch, feed: Feed, rows: int | None) -> None:
    """Directly before a clear: suppression data, rows left to send, the list itself."""
    guard_freshness(world, feed)
    if rows is not None:
        guard_rows(world, batch, feed, rows)
    guard_list(world, feed)


def _refilled(
    world: World, batch: Batch, table: List, staged: pl.DataFrame, outcome: Outcome
) -> Batch:
    """Take what the codes told to where it belongs, then say REFILLED."""
    at = world.clock.wall()
    feed = world.config.find_feed(batch.feed or "")
    if feed is None:
        raise AssertionError(batch.feed)
    addresses, ids = staged["address"], staged["recipient_id"]
    found = [
        Found(addresses[row], SUPPRESSION_CODES[code], f"code-{code}", at, ids[row])
        for row, code in outcome.suppressed_rows.items()
    ]
    if found:
        world.store.add_found(feed.client, found)
    if outcome.refused_rows or outcome.poisoned_rows:
        case_of_refused(world, batch, staged, outcome)
    refused = len(outcome.refused_rows) + outcome.poisoned
    facts = {
        "list_id": table.id,
        "name": table.name,
        "staged": staged.height,
        "suppressed_late": outcome.suppressed_late,
        "sent": outcome.sent,
        "listed": outcome.listed,
        "refused": dict(outcome.refused),
        "poisoned": outcome.poisoned,
        "count": outcome.count,
        "clears": outcome.clears,
        "purged": outcome.purged,
        "refilled_at": at.isoformat(),
        "many_refused": refused if refused > MANY_REFUSED * outcome.sent else 0,
    }
    done = world.journal.batches.refilled(batch, at, outcome.sent, facts)
    log(Event.PLACE, batch=batch.id, place=done.place)
    return done
