"""What the CRM has not been told yet, and the intents of its hand-over, inside the store.

Addresses stand here in the clear until the CRM's file is there, nowhere else, and are overwritten
then. It writes no file itself.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from etl.extract.carriers import Carrier
from etl.sqlite_file import SqliteFile

UNASSIGNED = "-unassigned"
"""Ending of the files that hold what nobody is known to be meant by."""
MEDIA_TYPE = "EMAIL"
_BLOCK_ROWS = 10_000
_CELLS = (
    "recipient_id", "entity_type", "entity_id", "opt_in_id", "derived", "media_type", "kind",
    "source", "time", "mailing_id", "campaign_id", "link",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One line for the CRM: a person, an entity that carried the address, what happened."""

    recipient_id: str = field(repr=False)
    entity_type: str
    entity_id: str = field(repr=False)
    opt_in_id: str
    derived: str
    media_type: str
    kind: str
    source: str
    time: str
    mailing_id: str
    campaign_id: str = ""
    link: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Line:
    """What happened, before it is told of each entity that carried the address."""

    recipient_id: str = field(repr=False)
    kind: str
    source: str
    time: str
    mailing_id: str
    campaign_id: str = ""
    link: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Handover:
    """An intent: these rows go into the file of this name, by way of that temporary one."""

    number: int
    client: str
    file: str
    name: str
    temporary: str
    last_row: int
    renaming: bool


def owe(
    connection: sqlite3.Connection,
    client: str,
    file: str,
    line: Line,
    carried_by: Sequence[Carrier],
    at: datetime,
    *,
    consents: bool = False,
) -> None:
    """Add a line for each carrier, in the caller's transaction; without any it is unassigned.

    With `consents` the line names the consent the carrier was last delivered under.
    """
    if not carried_by:
        file, carried_by = f"{file}{UNASSIGNED}", [Carrier("", "", "")]
    for carrier in carried_by:
        opt_in_id = carrier.opt_in_id if consents else ""
        row = OutboxRow(
            recipient_id=line.recipient_id,
            entity_type=carrier.entity_type,
            entity_id=carrier.entity_id,
            opt_in_id=opt_in_id,
            derived="yes" if opt_in_id else "",
            media_type=MEDIA_TYPE,
            kind=line.kind,
            source=line.source,
            time=line.time,
            mailing_id=line.mailing_id,
            campaign_id=line.campaign_id,
            link=line.link,
        )
        connection.execute(
            f"INSERT INTO outbox (client, file, {', '.join(_CELLS)}, created_at)"  # noqa: S608 - our own names
            f" VALUES ({', '.join('?' * (len(_CELLS) + 3))})",
            (client, file, *(getattr(row, cell) for cell in _CELLS), at.isoformat()),
        )


class OutboxRows:
    """The rows that wait for the CRM; what `etl.load.outbox` asks for."""

    def __init__(self, store: SqliteFile) -> None:
        self._store = store

    def waiting(self, client: str, file: str) -> int:
        """How many rows wait for the next file of this kind."""
        with self._store.read() as connection:
            return int(
                connection.execute(
                    "SELECT count(*) FROM outbox WHERE client = ? AND file = ?", (client, file)
                ).fetchone()[0]
            )

    def open_handovers(self, client: str) -> list[Handover]:
        """Intents that were not acknowledged, oldest first."""
        with self._store.read() as connection:
            return [
                Handover(number, client, file, name, temporary, last_row, bool(renaming))
                for number, file, name, temporary, last_row, renaming in connection.execute(
                    "SELECT id, file, name, temporary, last_row, renaming FROM handovers"
                    " WHERE client = ? ORDER BY id",
                    (client,),
                )
            ]

    def begin(self, client: str, file: str, name: str, temporary: str, at: datetime) -> Handover:
        """Note the intent to hand over the rows there are now; at most one per client and file."""
        with self._store.write() as connection:
            last_row = int(
                connection.execute(
                    "SELECT coalesce(max(id), 0) FROM outbox WHERE client = ? AND file = ?",
                    (client, file),
                ).fetchone()[0]
            )
            number = connection.execute(
                "INSERT INTO handovers (client, file, name, temporary, last_row, intent_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (client, file, name, temporary, last_row, at.isoformat()),
            ).lastrowid
        return Handover(number or 0, client, file, name, temporary, last_row, renaming=False)

    def rows(self, handover: Handover) -> Iterator[OutboxRow]:
        """The intent's rows, always the same ones in the same order until it is acknowledged."""
        after = 0
        while True:
            with self._store.read() as connection:
                block = connection.execute(
                    f"SELECT id, {', '.join(_CELLS)} FROM outbox WHERE client = ? AND file = ?"  # noqa: S608 - our own names
                    " AND id > ? AND id <= ? ORDER BY id LIMIT ?",
                    (handover.client, handover.file, after, handover.last_row, _BLOCK_ROWS),
                ).fetchall()
            if not block:
                return
            after = block[-1][0]
            for _, *cells in block:
                yield OutboxRow(*cells)

    def renaming(self, handover: Handover) -> None:
        """Note that the temporary file is complete and durable: from now on a rename may happen."""
        with self._store.write() as connection:
            connection.execute("UPDATE handovers SET renaming = 1 WHERE id = ?", (handover.number,))

    def acknowledge(self, handover: Handover) -> None:
        """Forget the intent and its rows: the file was there under its final name."""
        with self._store.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO handed SELECT client, name, intent_at FROM handovers"
                " WHERE id = ?",
                (handover.number,),
            )
            connection.execute(
                "DELETE FROM outbox WHERE client = ? AND file = ? AND id <= ?",
                (handover.client, handover.file, handover.last_row),
            )
            connection.execute("DELETE FROM handovers WHERE id = ?", (handover.number,))
        # The log still holds the rows' pages; a reader in the way leaves them to the next time.
        self._store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def handed(self, client: str) -> list[tuple[str, datetime]]:
        """Files of the CRM that it is not known to have taken, with their times, oldest first."""
        with self._store.read() as connection:
            found = connection.execute(
                "SELECT name, at FROM handed WHERE client = ? ORDER BY at, name", (client,)
            ).fetchall()
        return [(str(name), datetime.fromisoformat(at)) for name, at in found]

    def taken(self, client: str, names: Sequence[str]) -> None:
        """Note that the CRM has taken these files, or that nobody waits for them any more."""
        with self._store.write() as connection:
            connection.executemany(
                "DELETE FROM handed WHERE client = ? AND name = ?",
                ((client, name) for name in names),
            )
