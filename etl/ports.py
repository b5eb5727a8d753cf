"""The four ports: what this service asks of the world, at the level of its own verbs.

Every port has a real implementation in `etl.wire`, a twin without network in `tests/twins`, and
one contract suite in `tests/contract` that runs on both. Errors raised are those of `etl.errors`:
FarSideUnavailable (may be tried again; `in_doubt` when the effect may have happened) and
FarSideRefused (the far side said no). Nothing of paramiko, zeep or requests crosses a port.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class FileDrop(Protocol):
    """A folder on an SFTP server. Names are plain file names inside it, never paths."""

    def put(self, source: Path, name: str) -> int:
        """Write the bytes of `source` to `name`, anew if it exists; return the size in bytes.

        The size is what the server says of the closed file and equals the source's, else
        Mismatch(`upload-size`). Every write's answer is checked, so a full remote disk is seen
        (FarSideRefused `sftp-write-failed`). May be repeated.
        """

    def rename(self, temporary: str, final: str) -> None:
        """Give `temporary` its final name. Not to be repeated blindly: ask `stat(temporary)` first.

        posix-rename where the server has it, else plain rename, which fails when `final` exists.
        """

    def stat(self, name: str) -> int | None:
        """Size in bytes of `name`, None when it is not there."""

    def remove(self, name: str) -> None:
        """Take `name` away; not an error when it is not there."""

    def free(self) -> int | None:
        """Free bytes on the server's disk, None where it cannot tell (statvfs@openssh.com)."""

    def close(self) -> None:
        """End the connection; the next verb opens a new one."""


@dataclass(frozen=True, slots=True)
class ListDescription:
    """What Campaign says of a recipient list."""

    name: str
    is_test: bool
    attributes: tuple[str, ...]
    """All attribute names; the four system attributes come last (campaign facts, 3.1)."""


@dataclass(frozen=True, slots=True)
class Recipients:
    """Rows for one addAll3 call: n ids, n addresses, n rows of len(attributes) values.

    None is sent as nil, "" as an empty string. Values are text as Campaign wants them.
    """

    attributes: tuple[str, ...]
    ids: Sequence[str]
    addresses: Sequence[str]
    values: Sequence[Sequence[str | None]]


@dataclass(frozen=True, slots=True)
class LiveAnswer:
    """Campaign's own word on people, position by position."""

    unsubscribed: Sequence[bool]
    """One per id asked (Unsubscribe.containsAll)."""
    blocklisted: Sequence[bool]
    """One per address asked (Blacklist.areBlacklisted, wildcards included)."""


@dataclass(frozen=True, slots=True)
class Purged:
    """How many records the two remove calls took out of a list."""

    unsubscribed: int
    blocklisted: int


class RecipientList(Protocol):
    """The recipient lists of one Campaign client (mandator). optinProcessId is always 0."""

    def describe(self, list_id: int) -> ListDescription:
        """Name, test flag and attribute names of a list."""

    def count(self, list_id: int) -> int:
        """Recipients in the list now (getCount, filter 0)."""

    def clear(self, list_id: int) -> None:
        """Take every recipient out of the list. Cannot be undone. Never repeated by a wrapper."""

    def add(self, list_id: int, recipients: Recipients) -> list[int]:
        """Add rows (addAll3); one code 0-7 per row, same order. Never repeated by a wrapper.

        0 inserted, 1 address refused, 2 unsubscribed, 3 blocklisted, 4 bounced out, 5 already
        there (not changed), 6 filtered, 7 general error (campaign facts, 2.1).
        A fault for the whole call is FarSideRefused(`call-refused`) with redacted words; a lost
        answer, or an answer that does not fit the rows, FarSideUnavailable(in_doubt=True).
        """

    def suppressed(self, ids: Sequence[str], addresses: Sequence[str]) -> LiveAnswer:
        """Ask Campaign live: which ids are unsubscribed, which addresses blocklisted.

        The two sequences are independent of each other and of any length; the implementation
        asks in batches.
        """

    def bounced_out(self, ids: Sequence[str]) -> list[bool]:
        """Ask of each id whether it is beyond the bounce limit, so that no mail is sent to it.

        Campaign has no form for many (Response.isBounceCounterThresholdExeeded): one call an id,
        one after the other.
        """

    def purge(self, list_id: int) -> Purged:
        """removeUnsubscribed, then removeBlacklisted: what Campaign itself would not mail."""

    def close(self) -> None:
        """Log out."""


class Stream(StrEnum):
    """ClosedLoop methods that list events; the value is Campaign's method name (facts, 3.6)."""

    OUT_BOUNCES = "getOutBounces"
    UNSUBSCRIBES = "getUnsubscribes"
    MAILING_UNSUBSCRIBES = "getMailingUnsubscribes"
    MAILINGS = "getMailings"
    RESPONSES = "getResponses"
    OPENS = "getOpens"
    CLICKS = "getClicks"


SUPPRESSING = (Stream.OUT_BOUNCES, Stream.UNSUBSCRIBES, Stream.MAILING_UNSUBSCRIBES)
"""The streams that say who must not be mailed; the others only tell the CRM."""
NEEDED: Mapping[Stream, tuple[str, ...]] = {
    **dict.fromkeys(Stream, ("recipient-id",)),
    Stream.RESPONSES: ("recipient-id", "category"),
    Stream.MAILINGS: ("mailing-id",),
}
"""The columns without which a stream's rows are good for nothing."""


@dataclass(frozen=True, slots=True)
class Window:
    """Milliseconds since the epoch by Campaign's clock, of the *export file*, not of the event."""

    since_ms: int
    until_ms: int


PAGE_ROWS = 1000
"""A page of ClosedLoop rows holds at most this many (campaign facts, 3.6)."""


class Responses(Protocol):
    """Response data and blocklist of one Campaign client."""

    def now(self) -> int:
        """Campaign's clock, milliseconds since the epoch (ClosedLoop.getCurrentTime)."""

    def page(self, stream: Stream, window: Window, start_row: int) -> list[list[str | None]]:
        """Rows `start_row` … of a window, at most PAGE_ROWS; shorter means it was the last page."""

    def blocklist(self) -> list[str]:
        """Every blocklist entry as written there: addresses, and patterns with `*` and `?`."""

    def close(self) -> None:
        """Log out."""


class Clock(Protocol):
    """Time. A wait ends early, with Stopped, when the service is told to stop."""

    def wall(self) -> datetime:
        """Now, in UTC, for people and for comparing with other machines' times."""

    def monotonic(self) -> float:
        """Seconds that only grow, for durations and deadlines."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Stopped(BaseException):
    """The service was told to stop; raised at a safe point, caught by the daemon alone."""
