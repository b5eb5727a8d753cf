"""The upload of one batch: to a temporary name, verified, then renamed; never a second time.

Once the rename was intended, bytes and names are frozen: the far side is asked first, and a
temporary name that is gone means that the rename happened.
"""

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
    drop: FileDrop = field(repr=False)
    journal: Journal
    clock: Clock

    @property
    def in_doubt(self) -> bool:
        """Whether the rename was intended, so that bytes and names are frozen."""
        return self._intent() is not None

    def _intent(self) -> UploadIntent | None:
        intent = self.journal.uploads.upload_intent(self.batch)
        # On another account nothing of it can be there: it begins anew.
        return intent if intent is not None and intent.account == self.account else None

    def run(self, source: Path, sha256: str) -> Batch:
        """Bring the bytes of `source` under their final name and say so in the journal.

        FarSideUnavailable, FarSideRefused, GuardTripped and Mismatch mean: held, and run again.
        """
        intent = self._intent()
        if intent is None:
            intent = self._put(source, sha256)
            self.journal.uploads.intend_upload(self.batch, intent, self.clock.wall())
            self.drop.rename(intent.temporary, intent.name)
        elif self.drop.stat(intent.temporary) is not None:
            self.drop.rename(intent.temporary, intent.name)
        done = self.journal.uploads.uploaded(self.batch, self.clock.wall())
        log(Event.PLACE, batch=done.id, place=done.place, remote=intent.name,
            size_bytes=intent.size_bytes)  # fmt: skip
        return done

    def _put(self, source: Path, sha256: str) -> UploadIntent:
        name = remote_name(self.batch.feed or "", self.batch)
        temporary = f"{name}.part"
        size = source.stat().st_size
        free = self.drop.free()
        if free is not None and free < size:
            raise GuardTripped("disk-floor", free_bytes=free, needed_bytes=size)
        self.journal.uploads.begin_upload(self.batch, self.account, temporary)
        self.drop.put(source, temporary)
        return UploadIntent(self.account, name, temporary, size, sha256)
