"""The upload of one batch: to a temporary name, verified, then renamed; never a second time.

Once the rename was intended, bytes and names are frozen: the far side is asked first, and a
temporary name that is gone means that the rename happened.
"""

from pathlib import Path

from etl.batch import Batch
from etl.errors import GuardTripped
from etl.journal import Journal
from etl.journal.batches import UploadIntent
from etl.log import Event, log
from etl.ports import Clock, FileDrop


def remote_name(feed: str, batch: Batch) -> str:
    """The unique final name: feed, UTC time and batch id."""
    return f"{feed}-{batch.id}.csv"


def upload(
    batch: Batch, source: Path, sha256: str, drop: FileDrop, journal: Journal, clock: Clock
) -> Batch:
    """Bring the bytes of `source` to the server under their final name and say so in the journal.

    FarSideUnavailable, FarSideRefused and Mismatch mean: held, and tried again by this same code.
    """
    intent = journal.batches.upload_intent(batch)
    if intent is None:
        intent = _put(batch, source, sha256, drop)
        journal.batches.intend_upload(batch, intent, clock.wall())
        drop.rename(intent.temporary, intent.name)
    elif drop.stat(intent.temporary) is not None:
        drop.rename(intent.temporary, intent.name)
    done = journal.batches.uploaded(batch, clock.wall())
    log(Event.PLACE, batch=batch.id, place=done.place, remote=intent.name,
        size_bytes=intent.size_bytes)  # fmt: skip
    return done


def _put(batch: Batch, source: Path, sha256: str, drop: FileDrop) -> UploadIntent:
    name = remote_name(batch.feed or "", batch)
    temporary = f"{name}.part"
    size = source.stat().st_size
    free = drop.free()
    if free is not None and free < size:
        raise GuardTripped("disk-floor", free_bytes=free, needed_bytes=size)
    drop.put(source, temporary)
    return UploadIntent(name, temporary, size, sha256)
