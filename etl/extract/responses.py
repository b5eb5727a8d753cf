"""The fetch: response data and blocklist of one Campaign client, into the store.

Each source is taken in whole or not at all, and one that fails does not stop the others; only a
fetch of everything that suppresses counts as complete. It decides nothing about batches.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from etl.errors import EtlError, FarSideUnavailable
from etl.extract import layouts
from etl.extract.layouts import Layout
from etl.extract.learned import Blocklist, Event, IdRule, Mailing
from etl.extract.suppressions import SuppressionStore
from etl.ports import PAGE_ROWS, SUPPRESSING, Clock, Responses, Stream, Window

ROWS_AT_ONCE = 200_000
EDGE_MS = 1_000
"""Cut windows overlap by this, for it is unknown whether Campaign's include their ends."""
NEED_MAILINGS = (Stream.OPENS, Stream.CLICKS)
MOST_PAGES = 10_000
"""Ten million rows: more is a far side that never ends a window."""

_DAY_MS = 24 * 60 * 60 * 1000
_HOUR_MS = 60 * 60 * 1000
_CLOCK, _BLOCKLIST = "getCurrentTime", "blocklist"
Progress = Callable[[Stream, int], None]
"""Told after every page: the stream, and how many of its rows were read in this fetch."""


def _untold(_stream: Stream, _rows: int) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """How one client's response data is read."""

    name: str
    id_rule: IdRule = "email"
    streams: tuple[Stream, ...] = SUPPRESSING
    """What is read; `getMailings` before what needs the mailings."""
    lifetime_days: int = 30
    """How long Campaign keeps response data, 14 to 30."""
    overlap_hours: float = 24
    layouts: Mapping[Stream, Layout] = field(default_factory=dict)
    """How a stream's rows are laid out where it is not as assumed."""
    header_row: bool = False
    """Whether the first row of a window holds names of columns."""
    repeating: frozenset[Stream] = frozenset()
    """Streams of which every export repeats the rows of the one before."""
    campaign: re.Pattern[str] | None = None
    """Finds the CRM's campaign (group `campaign`) in the name of a mailing."""
    max_shrink: float = 0.5
    """A blocklist that lost more than this share is not taken over."""
    opt_outs: bool = False
    """Whether drops of the client say who does not want to be tracked."""
    any_id: bool = False
    """Whether a recipient id may be anything, as in lists that are not ours."""
    job_interval_hours: float = 24
    """How often Campaign writes export files: a shorter window may hold a single one."""
    rows_at_once: int | None = ROWS_AT_ONCE
    """A window that holds more is cut in two, unless one export file alone may be so long; None
    where cutting saves nothing."""


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
    """Whether everything that suppresses was read."""
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
    client: ClientPlan,
    responses: Responses,
    store: SuppressionStore,
    clock: Clock,
    *,
    only: Collection[Stream] = tuple(Stream),
    progress: Progress = _untold,
) -> FetchReport:
    """Read the client's streams (of `only`) since their last windows, and the blocklist.

    Failures are in the report.
    """
    began = clock.wall()
    streams: dict[Stream, StreamReport] = {}
    failures: dict[str, EtlError] = {}
    blocklist: Blocklist | None = None
    try:
        until_ms = responses.now()
    except EtlError as error:
        return FetchReport(client.name, False, streams, None, {_CLOCK: error})
    fetching = _Fetch(client, responses, store, until_ms, began, progress)
    for stream in client.streams:
        # Without its mailing an open would be left out, in the end for good.
        lacks_mailings = stream in NEED_MAILINGS and Stream.MAILINGS.value in failures
        if stream in only and not lacks_mailings:
            try:
                streams[stream] = fetching.stream(stream)
            except EtlError as error:
                failures[stream.value] = error
    try:
        written = responses.blocklist()
        blocklist = store.replace_blocklist(
            client.name, written, at=began, max_shrink=client.max_shrink
        )
    except EtlError as error:
        failures[_BLOCKLIST] = error
    needed = {each.value for each in SUPPRESSING} | {_BLOCKLIST}
    complete = not needed & failures.keys() and blocklist is not None and not blocklist.shrunk
    if complete:
        store.complete_fetch(client.name, began)
    return FetchReport(client.name, complete, streams, blocklist, failures)


def read_page(
    client: ClientPlan, stream: Stream, page: Sequence[Sequence[str | None]], start_row: int = 0
) -> list[Event | Mailing]:
    """Read a page as the client's rows are laid out; EtlError (`page-layout`) where one is not.

    `start_row` says whether it may begin with names of columns.
    """
    layout = client.layouts.get(stream) or layouts.assumed(stream)
    names_first = client.header_row and start_row == 0
    if names_first and page:
        layouts.check_header(stream, layout, page[0])
    if stream is Stream.MAILINGS:
        return [layouts.read_mailing(layout, row, client.campaign) for row in page[names_first:]]
    return [
        layouts.read_event(stream, layout, row, any_id=client.any_id) for row in page[names_first:]
    ]


class _TooMany(Exception):  # noqa: N818 - no error: the window is cut
    """A window holds more rows than are read at once."""


@dataclass(frozen=True, slots=True)
class _Fetch:
    """One fetch: until when, and from when on its finds count."""

    client: ClientPlan
    responses: Responses
    store: SuppressionStore
    until_ms: int
    at: datetime
    progress: Progress

    def stream(self, stream: Stream) -> StreamReport:
        """Read everything since a stream's last window, window by window."""
        client = self.client
        last = self.store.read_until(client.name, stream)
        oldest = self.until_ms - client.lifetime_days * _DAY_MS
        overlap_ms = int(client.overlap_hours * _HOUR_MS)
        if last is not None and last - self.until_ms >= overlap_ms:
            # A clock was far ahead once and is right again: nothing is read up to then.
            last = self.until_ms
            self.store.put_back(client.name, stream, last)
        since_ms = oldest if last is None else max(oldest, last - overlap_ms)
        gap = None if last is None or last >= oldest else Window(last, oldest)
        rows = new = 0
        windows = [Window(since_ms, self.until_ms)]
        while windows:
            window = windows.pop()
            try:
                read, fresh = self._window(stream, window, gap, rows)
            except _TooMany:
                middle = (window.since_ms + window.until_ms) // 2
                windows += [
                    Window(middle - EDGE_MS, window.until_ms), Window(window.since_ms, middle)
                ]  # fmt: skip
                continue
            rows, new, gap = rows + read, new + fresh, None
        self.store.unfit(client.name).forget(stream)
        lost_ms = 0 if last is None else max(0, oldest - last)
        return StreamReport(rows=rows, new=new, lost_hours=lost_ms / _HOUR_MS)

    def _window(
        self, stream: Stream, window: Window, gap: Window | None, before: int
    ) -> tuple[int, int]:
        """Read a window page by page and commit it as a whole; rows read, and new events."""
        client, store = self.client, self.store
        rows = list(self._rows(stream, window, before))
        if stream is Stream.MAILINGS:
            mailings = [each for each in rows if isinstance(each, Mailing)]
            store.commit_mailings(client.name, window, mailings, self.at, gap)
            return len(mailings), 0
        events = [each for each in rows if isinstance(each, Event)]
        new = store.commit_window(
            client.name, stream, window, events,
            id_rule=client.id_rule, at=self.at, repeats=stream in client.repeating,
            opt_outs=client.opt_outs, gap=gap,
        )  # fmt: skip
        return len(events), new

    def _rows(self, stream: Stream, window: Window, before: int) -> Iterator[Event | Mailing]:
        """All rows of a window, read; of a page that does not fit nothing, but it is kept."""
        start_row = 0
        for page in self._pages(stream, window):
            try:
                read = read_page(self.client, stream, page, start_row)
            except EtlError as error:
                unfit = self.store.unfit(self.client.name)
                unfit.keep(stream, window, start_row, page, error.sentence)
                raise
            start_row += len(page)
            self.progress(stream, before + start_row)
            yield from read

    def _pages(self, stream: Stream, window: Window) -> Iterator[list[list[str | None]]]:
        """Every page of a window; one that is not full is the last."""
        most_rows = self.client.rows_at_once
        length_hours = (window.until_ms - window.since_ms) / _HOUR_MS
        cut = most_rows is not None and length_hours >= 2 * self.client.job_interval_hours
        start_row = 0
        for _ in range(MOST_PAGES):
            page = self.responses.page(stream, window, start_row)
            if len(page) > PAGE_ROWS:
                break
            yield page
            start_row += len(page)
            if len(page) < PAGE_ROWS:
                return
            if cut and most_rows is not None and start_row >= most_rows:
                raise _TooMany
        detail = f"a page has more than {PAGE_ROWS} rows, or a window more than {MOST_PAGES} pages"
        raise FarSideUnavailable("campaign-answer", call=stream.value, detail=detail)
