"""Layouts of Campaign's response rows, and a row read by its layout.

What the rows hold is documented, their columns and order are not: a layout is assumed
(`schemas/campaign`, a Table Schema per method) or configured, and a row that does not fit it is
refused. Nothing is guessed, and no cell is part of an error.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from etl.errors import EtlError
from etl.extract.learned import Event, Mailing
from etl.ports import NEEDED, Stream
from etl.shipped import shipped

RECIPIENT_ID, TIME, MAILING_ID = "recipient-id", "time", "mailing-id"
CATEGORY, LINK, CAMPAIGN_ID, NAME = "category", "link", "campaign-id", "name"
TIMES = frozenset({TIME, "start", "end"})
# An address, or entity-type:entity-id. Column names and numbers of mailings are neither.
_RECIPIENT_ID = re.compile(r".*@.*|[^:]+:.+", re.DOTALL)
_DIGEST_BYTES = 16
# A number outside these is no time in milliseconds.
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a stream's rows, in order."""

    columns: tuple[str, ...]
    """`ignore` may come several times."""
    required: frozenset[str]
    """Columns whose cells are never empty."""
    zone: ZoneInfo | None = None
    """Of times that Campaign writes without one; None: such a row does not fit."""


@cache
def assumed(stream: Stream) -> Layout:
    """The layout of the shipped Table Schema."""
    path = shipped("schemas") / "campaign" / f"{stream.value}.json"
    fields = json.loads(path.read_text("utf-8"))["fields"]
    required = {each["name"] for each in fields if each.get("constraints", {}).get("required")}
    return Layout(tuple(each["name"] for each in fields), frozenset(required))


def configured(
    stream: Stream, columns: Sequence[str] | None = None, zone: ZoneInfo | None = None
) -> Layout:
    """The layout of configured columns; without them the assumed one."""
    if columns is None:
        given = assumed(stream)
        return Layout(given.columns, given.required, zone)
    return Layout(tuple(columns), frozenset(NEEDED[stream]), zone)


def check_header(stream: Stream, layout: Layout, row: Sequence[str | None]) -> None:
    """Raise EtlError(`page-layout`) for a first row that holds a person instead of names."""
    first = dict(zip(layout.columns, row, strict=False)).get(RECIPIENT_ID)
    if _RECIPIENT_ID.fullmatch((first or "").strip()):
        raise _unfit(stream, "the first row is no header")


def read_event(
    stream: Stream, layout: Layout, row: Sequence[str | None], *, any_id: bool = False
) -> Event:
    """Read a row of any stream but the mailings; EtlError(`page-layout`) where it does not fit.

    That a recipient id looks like one keeps names of columns, and another column taken for it by
    a wrong layout, from being told as people; `any_id` is for accounts with lists of other ids.
    """
    cells = _cells(stream, layout, row)
    if not any_id and not _RECIPIENT_ID.fullmatch(cells[RECIPIENT_ID]):
        raise _unfit(stream, "the recipient id is neither an address nor type:id")
    return Event(
        recipient_id=cells[RECIPIENT_ID],
        time=_moment(cells.get(TIME, ""), layout.zone),
        mailing_id=cells.get(MAILING_ID, ""),
        digest=_digest(row),
        category=cells.get(CATEGORY, ""),
        link=cells.get(LINK, ""),
        campaign_id=cells.get(CAMPAIGN_ID, ""),
    )


def read_mailing(
    layout: Layout, row: Sequence[str | None], campaign: re.Pattern[str] | None
) -> Mailing:
    """Read a row of the mailings; `campaign` finds the CRM's campaign in a mailing's name.

    EtlError(`page-layout`) where the row does not fit.
    """
    cells = _cells(Stream.MAILINGS, layout, row)
    found = campaign.search(cells.get(NAME, "")) if campaign is not None else None
    campaign_id = cells.get(CAMPAIGN_ID) or (found["campaign"] if found else "")
    return Mailing(cells[MAILING_ID], campaign_id or "")


def _cells(stream: Stream, layout: Layout, row: Sequence[str | None]) -> dict[str, str]:
    """The trimmed cells by column; every time is one."""
    if len(row) != len(layout.columns):
        raise _unfit(stream, f"{len(row)} columns instead of {len(layout.columns)}")
    cells = {name: (cell or "").strip() for name, cell in zip(layout.columns, row, strict=True)}
    for name in sorted(layout.required):
        if not cells.get(name):
            raise _unfit(stream, f"the column {name} is empty")
    for name in sorted(TIMES & cells.keys()):
        if cells[name] and _moment(cells[name], layout.zone) is None:
            raise _unfit(stream, f"the column {name} holds no time with a zone")
    return cells


def _unfit(stream: Stream, detail: str) -> EtlError:
    return EtlError("page-layout", call=stream.value, detail=detail)


def _digest(row: Iterable[str | None]) -> bytes:
    """Hash of a whole row, under which nil and an empty cell differ."""
    return hashlib.sha256(json.dumps(list(row)).encode()).digest()[:_DIGEST_BYTES]


def _moment(text: str, zone: ZoneInfo | None) -> datetime | None:
    """Milliseconds since the epoch, or ISO 8601; None for anything else, and without a zone.

    ISO 8601 with an offset is how Campaign writes a date as a string
    (docs.developers.optimizely.com, soap-1-1-compatibility).
    """
    try:
        if text.isascii() and text.isdigit() and len(text) > len("20261124"):
            moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(text))
        else:
            moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        in_range = moment.tzinfo is not None and _EARLIEST <= moment < _LATEST
    except (ValueError, OverflowError):
        return None
    return moment if in_range else None
