"""The upload of one batch: to a temporary name, verified, then renamed; never a second time.

Once the rename was intended, bytes and names are frozen: the far side is asked first, and a
temporary name that is gone means that the rename happened.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from etl.batch import Batch
from etl.errors import GuardTripped
from etl.journal import Journal
from etl.journal.uploads import UploadIntent
from etl.log import Event, log
from etl.ports import Clock, FileDrop


def remote_name(feed: str, batch: Batch) -> str:
    """The unique final name: feed, UTC time and batch id."""
    return f"{feed}-{batch.id}.csv"


@dataclass(frozen=True, slots=True)
class Upload:
    """One batch's upload. `run` may be called again after any error and after any crash."""

    batch: Batch
    account: str
    """user@host:port/folder: where files go, whatever the configuration calls it."""
    drop: FileDrop = field(repr=False)
    journal: Journal
    clock: Clock
    token: Callable[[int], str] = secrets.token_hex

    def happened(self) -> bool:
        """Tell whether a rename that was intended has happened: its temporary name is gone.

        While it is still there nothing is visible yet, and the upload begins anew with rows that
        are freshly suppressed.
        """
        intent = self.journal.uploads.upload_intent(self.batch)
        return (
            intent is not None
            and intent.account == self.account
            and self.drop.stat(intent.temporary) is None
        )

    def done(self) -> Batch:
        """Say in the journal that the remote file is complete under its final name."""
        batch = self.journal.uploads.uploaded(self.batch, self.clock.wall())
        intent = self.journal.uploads.upload_intent(batch)
        if intent is not None:
            log(Event.PLACE, batch=batch.id, place=batch.place, remote=intent.name,
                size_bytes=intent.size_bytes)  # fmt: skip
        return batch

    def run(self, source: Path, sha256: str) -> Batch:
        """Bring the bytes of `source` under their final name and say so in the journal.

        FarSideUnavailable, FarSideRefused, GuardTripped and Mismatch mean: held, and begun anew.
        """
        # A name of its own for every try: a rename that comes late moves no half-written file.
        name = remote_name(self.batch.feed or "", self.batch)
        temporary = f"{name}.{self.token(2)}.part"
        size = source.stat().st_size
        free = self.drop.free()
        if free is not None and free < size:
            raise GuardTripped("disk-floor", free_bytes=free, needed_bytes=size)
        self.journal.uploads.begin_upload(self.batch, self.account, temporary)
        self.drop.put(source, temporary)
        intent = UploadIntent(self.account, name, temporary, size, sha256)
        self.journal.uploads.intend_upload(self.batch, intent, self.clock.wall())
        self.drop.rename(temporary, name)
        return self.done()
