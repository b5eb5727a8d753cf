"""The fetch: bounces, unsubscriptions and blocklist of one Campaign client, into the store.

Each source is taken in whole or not at all, and one that fails does not stop the others; only a
fetch of all of them counts as complete. It decides nothing about batches.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from etl.errors import EtlError, FarSideUnavailable
from etl.extract.learned import Blocklist, Event, IdRule, iso
from etl.extract.suppressions import SuppressionStore
from etl.ports import PAGE_ROWS, Clock, Responses, Stream, Window

RECIPIENT_ID, TIME, MAILING_ID = "recipient-id", "time", "mailing-id"
# What the rows hold is documented, their columns and order are not.
DEFAULT_LAYOUTS: Mapping[Stream, tuple[str, ...]] = MappingProxyType(
    {
        Stream.OUT_BOUNCES: (RECIPIENT_ID,),
        Stream.UNSUBSCRIBES: (RECIPIENT_ID, TIME),
        Stream.MAILING_UNSUBSCRIBES: (RECIPIENT_ID, MAILING_ID, TIME),
    }
)
MOST_PAGES = 10_000
"""Ten million rows: more is a far side that never ends a window."""

# An address, or entity-type:entity-id. Column names and numbers of mailings are neither.
_RECIPIENT_ID = re.compile(r".*@.*|[^:]+:.+", re.DOTALL)
_DAY_MS = 24 * 60 * 60 * 1000
_HOUR_MS = 60 * 60 * 1000
_DIGEST_BYTES = 16
_CLOCK, _BLOCKLIST = "getCurrentTime", "blocklist"
# A number outside these is no time in milliseconds.
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """How one client's response data is read."""

    name: str
    id_rule: IdRule = "email"
    lifetime_days: int = 30
    """How long Campaign keeps response data, 14 to 30."""
    overlap_hours: float = 24
    layouts: Mapping[Stream, Sequence[str]] = field(default_factory=dict)
    """Columns of a stream's rows where they differ from the default; `ignore` skips one."""
    header_row: bool = False
    """Whether the first row of a window holds names of columns."""
    max_shrink: float = 0.5
    """A blocklist that lost more than this share is not taken over."""


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What one stream gave."""

    rows: int
    new: int
    lost_hours: float
    """How much of the time since the last window Campaign had forgotten already; 0 if none."""


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What one fetch brought, and what failed in it."""

    client: str
    complete: bool
    streams: Mapping[Stream, StreamReport]
    blocklist: Blocklist | None
    failures: Mapping[str, EtlError]
    """By source: a stream's method, `blocklist`, or `getCurrentTime` when nothing was asked."""

    @property
    def new_events(self) -> int:
        """Events that no earlier fetch had brought."""
        return sum(report.new for report in self.streams.values())

    @property
    def unasked(self) -> EtlError | None:
        """Why no source could be asked: Campaign is away, or does not let us in."""
        return self.failures.get(_CLOCK)


def fetch(
    client: ClientPlan, responses: Responses, store: SuppressionStore, clock: Clock
) -> FetchReport:
    """Read every stream since its last window, and the blocklist; failures are in the report."""
    began = clock.wall()
    streams: dict[Stream, StreamReport] = {}
    failures: dict[str, EtlError] = {}
    blocklist: Blocklist | None = None
    try:
        until_ms = responses.now()
    except EtlError as error:
        return FetchReport(client.name, False, streams, None, {_CLOCK: error})
    for stream in Stream:
        try:
            streams[stream] = _fetch_stream(
                client, responses, store, stream, until_ms=until_ms, at=began
            )
        except EtlError as error:
            failures[stream.value] = error
    try:
        written = responses.blocklist()
        blocklist = store.replace_blocklist(
            client.name, written, at=began, max_shrink=client.max_shrink
        )
    except EtlError as error:
        failures[_BLOCKLIST] = error
    complete = not failures and blocklist is not None and not blocklist.shrunk
    if complete:
        store.complete_fetch(client.name, began)
    return FetchReport(client.name, complete, streams, blocklist, failures)


def _fetch_stream(
    client: ClientPlan,
    responses: Responses,
    store: SuppressionStore,
    stream: Stream,
    *,
    until_ms: int,
    at: datetime,
) -> StreamReport:
    """Read one stream's window page by page and commit it as a whole."""
    last = store.read_until(client.name, stream)
    oldest = until_ms - client.lifetime_days * _DAY_MS
    since_ms = oldest
    if last is not None:
        since_ms = max(oldest, last - int(client.overlap_hours * _HOUR_MS))
    if since_ms >= until_ms:
        raise FarSideUnavailable(
            "campaign-answer", call=_CLOCK, detail="its clock went back behind the last window"
        )
    window = Window(since_ms, until_ms)
    layout = tuple(client.layouts.get(stream, DEFAULT_LAYOUTS[stream]))
    rows = _pages(responses, stream, window)
    if client.header_row and rows:
        _check_header(stream, layout, rows.pop(0))
    events = [_event(stream, layout, row) for row in rows]
    new = store.commit_window(client.name, stream, window, events, id_rule=client.id_rule, at=at)
    lost_ms = 0 if last is None else max(0, oldest - last)
    return StreamReport(rows=len(rows), new=new, lost_hours=lost_ms / _HOUR_MS)


def _pages(responses: Responses, stream: Stream, window: Window) -> list[list[str | None]]:
    """All rows of a window; a page that is not full is the last one."""
    rows: list[list[str | None]] = []
    for _ in range(MOST_PAGES):
        page = responses.page(stream, window, len(rows))
        rows += page
        if len(page) < PAGE_ROWS:
            return rows
        if len(page) > PAGE_ROWS:
            break
    detail = f"a page has more than {PAGE_ROWS} rows, or a window more than {MOST_PAGES} pages"
    raise FarSideUnavailable("campaign-answer", call=stream.value, detail=detail)


def _check_header(stream: Stream, layout: Sequence[str], row: Sequence[str | None]) -> None:
    """Raise EtlError(`page-layout`) for a first row that holds a person instead of names."""
    first = dict(zip(layout, row, strict=False)).get(RECIPIENT_ID)
    if _RECIPIENT_ID.fullmatch((first or "").strip()):
        raise EtlError("page-layout", call=stream.value, detail="the first row is no header")


def _event(stream: Stream, layout: Sequence[str], row: Sequence[str | None]) -> Event:
    """Read a row as configured; what does not fit is EtlError(`page-layout`).

    That a recipient id looks like one keeps names of columns, and another column taken for it by
    a wrong layout, from being told as people.
    """
    if len(row) != len(layout):
        detail = f"{len(row)} columns instead of {len(layout)}"
        raise EtlError("page-layout", call=stream.value, detail=detail)
    cells = dict(zip(layout, row, strict=True))
    recipient_id = (cells.get(RECIPIENT_ID) or "").strip()
    if not recipient_id:
        raise EtlError("page-layout", call=stream.value, detail="the recipient id is empty")
    if not _RECIPIENT_ID.fullmatch(recipient_id):
        detail = "the recipient id is neither an address nor type:id"
        raise EtlError("page-layout", call=stream.value, detail=detail)
    return Event(
        recipient_id=recipient_id,
        time=_time(cells.get(TIME) or ""),
        mailing_id=(cells.get(MAILING_ID) or "").strip(),
        digest=_digest(row),
    )


def _digest(row: Iterable[str | None]) -> bytes:
    """Hash of a whole row, under which nil and an empty cell differ."""
    return hashlib.sha256(json.dumps(list(row)).encode()).digest()[:_DIGEST_BYTES]


def _time(text: str) -> str:
    """Milliseconds since the epoch, or ISO 8601 with an offset, as UTC; anything else as it is."""
    plain = text.strip()
    try:
        if plain.isascii() and plain.isdigit():
            moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(plain))
        else:
            moment = datetime.fromisoformat(plain)
    except (ValueError, OverflowError):
        return plain
    if moment.tzinfo is None or not _EARLIEST <= moment < _LATEST:
        return plain
    return iso(moment)
