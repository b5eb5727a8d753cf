"""The guards at their places in a drop's life: what is compared is fetched here, judged in guards.

Each raises GuardTripped, or the far side's error behind it, and the batch is held.
"""

from datetime import timedelta

import polars as pl

from etl.batch import Batch, Place
from etl.errors import EtlError, GuardTripped
from etl.guards import freshness_guard, list_guards, returning_problems, row_guards
from etl.settings import Feed
from etl.staging import read_staged
from etl.transform.compare import returning
from etl.world import World


def guard_freshness(world: World, feed: Feed, away: EtlError | None = None) -> None:
    """Before an upload and before every clear: the suppression data is there, whole and young.

    When it is not because Campaign could not be asked, it is that error, `away`, which is raised.
    """
    fresh = world.store.freshness(feed.client)
    counted = world.journal.requests.entries_counted(feed.client)
    if fresh.entries < counted:
        raise GuardTripped("store-shrunk", before=counted, now=fresh.entries)
    try:
        freshness_guard(
            fresh.completed_at,
            fresh.shrunk_from,
            fresh.blocklist_entries,
            world.clock.wall(),
            timedelta(hours=world.config.settings.suppression.max_age_hours),
        )
    except GuardTripped as tripped:
        raise (away or tripped) from None


def guard_rows(world: World, batch: Batch, feed: Feed, rows: int) -> None:
    """Before an upload and before the first clear: so many rows may replace the last refill's."""
    row_guards(
        rows,
        batch.order,
        world.journal.batches.last_refill(feed.name),
        feed.guards.bounds,
        world.journal.requests.allowed(batch),
    )


def guard_returning(world: World, batch: Batch, staged: pl.DataFrame) -> None:
    """Before the first clear of a rollback: who would return that the newer content left out."""
    if "returning" in world.journal.requests.allowed(batch):
        return
    newer = world.journal.rollbacks.undone(batch)
    if newer is None:
        raise GuardTripped("nothing-kept", feed=batch.feed)
    late = world.journal.refills.late(batch)
    sent = staged[[row for row in range(staged.height) if row not in late]]
    for problem in returning_problems(returning(sent, read_staged(world, newer))):
        raise problem


def guard_list(world: World, feed: Feed, attributes: tuple[str, ...]) -> None:
    """Before every clear: the list is the pinned one, no test list, and has every attribute."""
    if feed.list is None:
        raise AssertionError(feed.name)
    found = world.campaigns[feed.client].lists.describe(feed.list.id)
    list_guards(feed.list.id, feed.list.name, attributes, found)


def elders(world: World, batch: Batch, places: set[Place]) -> list[Batch]:
    """Older batches of the same feed in these places; the newer one takes their place."""
    return [
        other
        for other in world.journal.batches.under_way()
        if other.feed == batch.feed
        and other.id != batch.id
        and other.place in places
        and (other.order, other.id) < (batch.order, batch.id)
    ]
