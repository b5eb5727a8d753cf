"""The way back: a batch made of the kept rows of an earlier refill of the same feed.

What becomes of that batch is the pipeline's, under the same protocol as any other; nothing is
cleared or sent here.
"""

import hashlib
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path

from etl.batch import Batch
from etl.durable import PRIVATE_FILE, make_folder, write_file
from etl.errors import EtlError, GuardTripped, Mismatch
from etl.journal import Journal
from etl.journal.requests import Request
from etl.journal.rollbacks import Undo
from etl.load.archive import tidy
from etl.log import Event, log
from etl.settings import Feed
from etl.staging import STAGED
from etl.world import World

VERB = "rollback"
REFUSALS = frozenset({"feed-gone", "no-list", "nothing-kept", "refilled-since", "kept-damaged"})
"""Codes that end a wish. Any other trouble is waited for, and the wish with it."""


def find_undo(journal: Journal, feed: Feed, mandator: int) -> Undo:
    """What a rollback of the feed would put back now; GuardTripped when there is nothing."""
    if feed.list is None:
        raise GuardTripped("no-list", feed=feed.name)
    found = journal.rollbacks.find(feed.name, f"{mandator}/{feed.list.id}")
    if found is None:
        raise GuardTripped("nothing-kept", feed=feed.name)
    return found


def kept_rows(batches: Path, journal: Journal, batch: Batch) -> bytes:
    """The kept file of a batch's staged rows; Mismatch (`kept-damaged`) unless it is as written."""
    try:
        content = (batches / batch.id / STAGED).read_bytes()
    except FileNotFoundError:
        content = b""
    if hashlib.sha256(content).hexdigest() != journal.batches.detail(batch)["staged_sha256"]:
        raise Mismatch("kept-damaged", batch=batch.id)
    return content


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of the rollbacks that were asked."""

    begun: int = 0
    refused: int = 0
    waiting: Exception | None = None
    """Why one of them has to be taken later."""


def take_rollbacks(world: World) -> Taken:
    """Make a batch for every rollback that was asked; done where no step is under way meanwhile.

    One whose disk fails keeps no other back.
    """
    taken = Taken()
    for request in world.journal.requests.waiting():
        if request.verb != VERB:
            continue
        try:
            batch = _begin(world, request)
        except (EtlError, OSError, sqlite3.Error) as error:
            if isinstance(error, EtlError) and error.code in REFUSALS:
                _refuse(world, request, error)
                taken = replace(taken, refused=taken.refused + 1)
            else:
                taken = replace(taken, waiting=error)
        else:
            log(Event.ROLLBACK, batch=batch.id, feed=batch.feed, rollback_of=batch.rollback_of,
                codes=list(request.codes), user=request.user)  # fmt: skip
            taken = replace(taken, begun=taken.begun + 1)
    return taken


def _begin(world: World, request: Request) -> Batch:
    """The rows are copied durably before the journal's one transaction takes the request.

    The batch's id stands in the request, so a death in between is made good by doing it again.
    """
    if not request.batch:
        raise RuntimeError("a rollback without the batch that will be made")
    feed = world.config.find_feed(request.feed or "")
    if feed is None:
        raise GuardTripped("feed-gone", feed=request.feed)
    undo = find_undo(world.journal, feed, world.config.settings.client[feed.client].mandator)
    if (request.source, request.undone) != (undo.source.id, undo.undone.id):
        raise GuardTripped("refilled-since", feed=feed.name)
    content = kept_rows(world.batches, world.journal, undo.source)
    folder = world.batches / request.batch
    make_folder(folder, 0o700)
    write_file(folder / STAGED, content, PRIVATE_FILE)
    return world.journal.rollbacks.begin(request, undo, world.clock.wall())


def _refuse(world: World, request: Request, error: EtlError) -> None:
    """Nothing is changed; what an earlier try copied is taken away."""
    if request.batch:
        tidy(world.batches, request.batch, keep_staged=False)
    world.journal.requests.taken(request, error.code, world.clock.wall())
    log(Event.ALARM, feed=request.feed, code=error.code, sentence=error.sentence)
