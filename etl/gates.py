"""The guards at their places in a drop's life: what is compared is fetched here, judged in guards.

Each raises GuardTripped, or the far side's error behind it, and the batch is held.
"""

from collections.abc import Iterator
from datetime import timedelta

import polars as pl

from etl.batch import Batch, Place
from etl.errors import EtlError, GuardTripped
from etl.extract.suppressions import SuppressionStore
from etl.guards import (
    Known,
    consent_problems,
    freshness_problems,
    list_guards,
    returning_problems,
    row_guards,
)
from etl.journal import Journal
from etl.settings import Feed
from etl.staging import read_staged
from etl.transform.compare import returning
from etl.world import World


def guard_freshness(world: World, feed: Feed, away: EtlError | None = None) -> None:
    """Before an upload and before every clear: the suppression data is there, whole and young.

    When it is not because Campaign could not be asked, it is that error, `away`, which is raised.
    """
    known = known_of(world.store, world.journal, feed.client)
    max_age = timedelta(hours=world.config.settings.suppression.max_age_hours)
    for problem in freshness_problems(known, world.clock.wall(), max_age):
        raise problem if problem.code == "store-shrunk" else (away or problem)


def known_of(store: SuppressionStore, journal: Journal, client: str) -> Known:
    """How much is known of who must not be mailed by a client."""
    fresh = store.freshness(client)
    return Known(
        completed_at=fresh.completed_at,
        entries=fresh.entries,
        counted=journal.requests.entries_counted(client),
        blocklist_entries=fresh.blocklist_entries,
        shrunk_from=fresh.shrunk_from,
    )


def guard_rows(world: World, batch: Batch, feed: Feed, rows: int) -> None:
    """Before an upload and before the first clear: so many rows may replace the last refill's."""
    row_guards(
        rows,
        batch.order,
        world.journal.batches.last_refill(feed.name),
        feed.guards.bounds,
        world.journal.requests.allowed(batch),
    )


def guard_consent(feed: Feed, staged: pl.DataFrame) -> None:
    """Before a refill begins: rows checked under another consent do not come into the list."""
    for problem in consent_against(feed, staged):
        raise problem


def consent_against(feed: Feed, staged: pl.DataFrame) -> Iterator[GuardTripped]:
    """What speaks against these rows: that they were checked under another consent."""
    consents = staged["opt_in_id"].str.strip_chars().unique().to_list()
    return consent_problems(consents, feed.consent.opt_in_id)


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
