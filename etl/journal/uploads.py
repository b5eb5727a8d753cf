"""The journal's rows about uploads: where bytes were put, what a rename will make visible."""

from dataclasses import dataclass
from datetime import datetime

from etl.batch import Batch, Place
from etl.journal.batches import Batches, stamp
from etl.sqlite_file import SqliteFile


@dataclass(frozen=True, slots=True)
class UploadIntent:
    """What a rename will make visible: frozen before the rename, kept when the answer is lost."""

    account: str
    """user@host:port/folder, whatever the configuration calls it."""
    name: str
    temporary: str
    size_bytes: int
    sha256: str


class Uploads:
    """Intents and acknowledgements of uploads."""

    def __init__(self, database: SqliteFile, batches: Batches) -> None:
        self._db = database
        self._batches = batches

    def intend_upload(self, batch: Batch, intent: UploadIntent, at: datetime) -> None:
        """Freeze what the rename will make visible, before the rename."""
        with self._db.write() as db:
            db.execute(
                "UPDATE batches SET upload_account=?, upload_name=?, upload_temporary=?,"
                " upload_size=?, upload_sha256=?, upload_intent_at=? WHERE id=?",
                (intent.account, intent.name, intent.temporary, intent.size_bytes, intent.sha256,
                 stamp(at), batch.id),
            )  # fmt: skip

    def upload_intent(self, batch: Batch) -> UploadIntent | None:
        """The intent to rename, if one was written."""
        row = self._db.connection.execute(
            "SELECT * FROM batches WHERE id=?", (batch.id,)
        ).fetchone()
        if row is None or row["upload_intent_at"] is None:
            return None
        return UploadIntent(
            row["upload_account"], row["upload_name"], row["upload_temporary"],
            row["upload_size"], row["upload_sha256"],
        )  # fmt: skip

    def begin_upload(self, batch: Batch, account: str, temporary: str) -> None:
        """Bytes go to an account under a temporary name: what an end has to take away there."""
        with self._db.write() as db:
            db.execute(
                "UPDATE batches SET upload_account=?, upload_temporary=?, upload_intent_at=NULL"
                " WHERE id=?",
                (account, temporary, batch.id),
            )

    def forget_upload(self, batch: Batch) -> None:
        """The temporary file of an upload that came to nothing is gone."""
        with self._db.write() as db:
            db.execute(
                "UPDATE batches SET upload_account=NULL, upload_name=NULL, upload_temporary=NULL,"
                " upload_intent_at=NULL WHERE id=?",
                (batch.id,),
            )

    def uploaded(self, batch: Batch, at: datetime) -> Batch:
        """The remote file is complete under its final name (or the feed uploads nothing)."""
        with self._db.write() as db:
            db.execute("UPDATE batches SET uploaded_at=? WHERE id=?", (stamp(at), batch.id))
            self._batches.move_in(db, batch, Place.UPLOADED, at)
        return self._batches.get(batch.id)
