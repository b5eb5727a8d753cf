"""The journal: intents before every effect outside this process, acknowledgements after it.

It holds no personal data: batches, places, counts, row numbers, Campaign's codes.
"""

from contextlib import AbstractContextManager
from pathlib import Path

from etl.journal.batches import Batches
from etl.journal.database import open_database
from etl.journal.refills import Refills
from etl.journal.requests import Requests
from etl.journal.rollbacks import Rollbacks
from etl.journal.uploads import Uploads


class Journal:
    """The journal of one state directory (`journal.sqlite3`)."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open it, making it when it is not there; Mismatch when it is damaged or newer."""
        self._database = open_database(path, read_only=read_only)
        self.batches = Batches(self._database)
        self.uploads = Uploads(self._database, self.batches)
        self.refills = Refills(self._database, self.batches)
        self.requests = Requests(self._database)
        self.rollbacks = Rollbacks(self._database, self.batches)

    def snapshot(self) -> AbstractContextManager[object]:
        """One state of the journal for all that this thread asks inside."""
        return self._database.read()

    def close(self) -> None:
        """Close all connections."""
        self._database.close()
