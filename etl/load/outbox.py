"""The CRM's files: what waits in the outbox becomes `bounces-….csv`, `unsubscriptions-….csv`, ….

Every row is handed over exactly once, whenever the machine dies. The final name is never asked for,
because the CRM may have taken the file away already: that the temporary one is gone tells it.
"""

import contextlib
import csv
import errno
import io
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol, TypeVar

from etl.durable import KnownFolder, fsync_folder, move, write_file
from etl.errors import FarSideUnavailable

COLUMNS = (
    "recipient-id", "entity-type", "entity-id", "opt-in-id", "derived", "media-type", "kind",
    "source", "time", "mailing-id",
)  # fmt: skip
_OF_CAMPAIGNS = (
    "recipient-id", "entity-type", "entity-id", "media-type", "kind", "source", "time",
    "mailing-id", "campaign-id",
)  # fmt: skip
FILES: Mapping[str, tuple[str, ...]] = {
    "bounces": COLUMNS,
    "unsubscriptions": COLUMNS,
    "opens": _OF_CAMPAIGNS,
    "clicks": (*_OF_CAMPAIGNS, "link"),
}
"""The files and their columns; each has a sister for what nobody is known to be meant by."""
ALWAYS = ("bounces", "unsubscriptions")
"""What the CRM may expect of every hand-over."""
UNASSIGNED = "-unassigned"
BLOCK_ROWS = 1000


class Row(Protocol):
    """One line for the CRM."""

    @property
    def recipient_id(self) -> str:
        """Campaign's key of the person, as Campaign or the drop wrote it."""

    @property
    def entity_type(self) -> str:
        """Kind of CRM record; empty when nobody is known to carry the address."""

    @property
    def entity_id(self) -> str:
        """The CRM's id of the record."""

    @property
    def opt_in_id(self) -> str:
        """The consent; empty for a bounce, which concerns the address."""

    @property
    def derived(self) -> str:
        """`yes` where the consent is that of the last delivered row, not Campaign's word."""

    @property
    def media_type(self) -> str:
        """The channel."""

    @property
    def kind(self) -> str:
        """`bounced`, `unsubscribed` or `blocklisted`."""

    @property
    def source(self) -> str:
        """Who said so: a stream's method, `live-check`, or a code of addAll3."""

    @property
    def time(self) -> str:
        """When it happened, ISO 8601 in UTC; empty where Campaign does not say."""

    @property
    def mailing_id(self) -> str:
        """The mailing it came from, if Campaign says."""

    @property
    def campaign_id(self) -> str:
        """The CRM's campaign; of opens and clicks."""

    @property
    def link(self) -> str:
        """What was clicked."""


class Handover(Protocol):
    """An intent that stands: certain rows go into the file of a certain name."""

    @property
    def file(self) -> str:
        """Which of FILES, or its sister."""

    @property
    def name(self) -> str:
        """The final name."""

    @property
    def temporary(self) -> str:
        """The name while it is written."""

    @property
    def renaming(self) -> bool:
        """Whether the temporary file was complete and durable, so that a rename may have been."""


H = TypeVar("H", bound=Handover)


class Outbox(Protocol[H]):
    """What waits for the CRM, and the memory of handing it over."""

    def waiting(self, client: str, file: str) -> int:
        """How many rows wait."""

    def open_handovers(self, client: str) -> Sequence[H]:
        """Intents that were not acknowledged."""

    def begin(self, client: str, file: str, name: str, temporary: str, at: datetime) -> H:
        """Note the intent to hand over the rows there are now."""

    def rows(self, handover: H) -> Iterable[Row]:
        """The intent's rows, always the same ones."""

    def renaming(self, handover: H) -> None:
        """Note that the temporary file is complete and durable."""

    def acknowledge(self, handover: H) -> None:
        """Forget the intent and its rows."""


@dataclass(frozen=True, slots=True)
class Form:
    """How the files are written."""

    delimiter: str = ";"
    empty: Literal["header", "none"] = "header"
    """What a fetch without rows gives: a file with the header alone, or no file."""
    also: tuple[str, ...] = ()
    """Further files that are expected of every hand-over."""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A file that the CRM has now."""

    file: str
    name: str


def hand_over(
    client: str, outbox: Outbox[H], folder: KnownFolder, at: datetime, form: Form | None = None,
    token: Callable[[int], str] = secrets.token_hex,
) -> list[HandedOver]:  # fmt: skip
    """Finish what was begun, then write what waits; return the files that are there now.

    Raises FarSideUnavailable (`folder-lost`, `disk-error`); what was begun is finished next time.
    """
    form = form or Form()
    with _disk_errors():
        begun = list(outbox.open_handovers(client))
        _tidy(folder, begun, client)
        done = [_finish(outbox, folder, handover, form) for handover in begun]
        already = {each.file for each in done}
        expected = {*ALWAYS, *form.also} if form.empty == "header" else set()
        for file in (name + ending for name in FILES for ending in ("", UNASSIGNED)):
            if outbox.waiting(client, file) or file in expected - already:
                name = _new_name(folder, file, client, at, token)
                handover = outbox.begin(client, file, name, f".{name}.tmp", at)
                done.append(_finish(outbox, folder, handover, form))
    return done


def _finish(outbox: Outbox[H], folder: KnownFolder, handover: H, form: Form) -> HandedOver:
    """Bring an intent to its end from wherever it stands.

    The witness is a file beside the temporary one: while it is there, this is the folder in which
    the temporary file was. An empty mount point has neither, and proves nothing.
    """
    folder.check()
    temporary = folder.path / handover.temporary
    witness = folder.path / _witness(handover)
    if not handover.renaming:
        write_file(temporary, _csv(outbox.rows(handover), handover.file, form.delimiter))
        write_file(witness, b"")
        folder.check()
        outbox.renaming(handover)
    elif not witness.exists():
        raise FarSideUnavailable("folder-lost", folder=folder.path.name)
    if temporary.exists():
        move(temporary, folder.path / handover.name)
    else:
        fsync_folder(folder.path)
    folder.check()
    outbox.acknowledge(handover)
    witness.unlink(missing_ok=True)
    return HandedOver(handover.file, handover.name)


def _tidy(folder: KnownFolder, begun: Sequence[Handover], client: str) -> None:
    """Take away what hand-overs that were acknowledged, or never noted, left behind."""
    folder.check()
    needed = {_witness(each) for each in begun} | {each.temporary for each in begun}
    ours = re.compile(
        rf"\.+(?:{'|'.join(FILES)})(?:{UNASSIGNED})?-{re.escape(_safe(client))}-\d{{8}}T\d{{6}}Z-[0-9a-f]{{4}}\.csv"
        r"\.(?:tmp|witness)(?:\.partial)?"
    )
    for path in folder.path.iterdir():
        if ours.fullmatch(path.name) and path.name not in needed:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def _witness(handover: Handover) -> str:
    return f".{handover.name}.witness"


def _new_name(
    folder: KnownFolder, file: str, client: str, at: datetime, token: Callable[[int], str]
) -> str:
    """A name that no file in the folder has."""
    while True:
        moment = f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
        name = f"{file}-{_safe(client)}-{moment}-{token(2)}.csv"
        if not (folder.path / name).exists():
            return name


def _safe(client: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", client)


def _csv(rows: Iterable[Row], file: str, delimiter: str) -> Iterator[bytes]:
    """Header and rows as RFC 4180 has them, in UTF-8, a block at a time."""
    columns = FILES[file.removesuffix(UNASSIGNED)]
    cells = [column.replace("-", "_") for column in columns]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(columns)
    for number, row in enumerate(rows, 1):
        writer.writerow([getattr(row, cell) for cell in cells])
        if number % BLOCK_ROWS == 0:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn the folder's errors into ours; a share that fails may be back later."""
    try:
        yield
    except OSError as error:
        detail = errno.errorcode.get(error.errno or 0, type(error).__name__)
        raise FarSideUnavailable("disk-error", detail=detail) from None
