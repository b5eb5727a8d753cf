"""Ports that try again: the same interfaces, around any implementation.

What changes the far side is repeated only if it surely did not happen. It may not log: the
arguments of a verb are people.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from etl.errors import FarSideUnavailable
from etl.ports import (
    Clock,
    FileDrop,
    ListDescription,
    LiveAnswer,
    Purged,
    RecipientList,
    Recipients,
    Responses,
    Stream,
    Window,
)

T = TypeVar("T")
NOT_SOON = frozenset({"exports-missing"})
"""What does not pass within seconds."""


class _Tries:
    """How often and with which pauses."""

    def __init__(self, clock: Clock, tries: int, first: float, most: float) -> None:
        self._clock = clock
        self._tries = tries
        self._first = first
        self._most = most

    def asking(self, verb: Callable[[], T]) -> T:
        """Repeat a verb that does no harm when it is done twice."""
        return self._repeat(verb, _unavailable)

    def changing(self, verb: Callable[[], T]) -> T:
        """Repeat a verb only after a failure that surely had no effect."""
        return self._repeat(verb, _without_effect)

    def _repeat(self, verb: Callable[[], T], again: Callable[[BaseException], bool]) -> T:
        # Many questions in a row must not outlast a stop.
        self._clock.sleep(0)
        for attempt in Retrying(
            stop=stop_after_attempt(self._tries),
            wait=wait_exponential(multiplier=self._first, max=self._most),
            retry=retry_if_exception(again),
            sleep=self._clock.sleep,
            reraise=True,
        ):
            with attempt:
                return verb()
        raise AssertionError("the last attempt returns or raises")


def _unavailable(error: BaseException) -> bool:
    return isinstance(error, FarSideUnavailable) and error.code not in NOT_SOON


def _without_effect(error: BaseException) -> bool:
    return isinstance(error, FarSideUnavailable) and not error.in_doubt


class RetryingList:
    """A RecipientList whose verbs are tried again; clear and add only if they had no effect."""

    def __init__(
        self,
        inner: RecipientList,
        clock: Clock,
        tries: int = 5,
        first: float = 1.0,
        most: float = 60.0,
        *,
        live_check_rows: int = 1000,
    ) -> None:
        self._inner = inner
        self._tries = _Tries(clock, tries, first, most)
        self._live_check_rows = live_check_rows

    def describe(self, list_id: int) -> ListDescription:
        """Name, test flag and attribute names of a list."""
        return self._tries.asking(lambda: self._inner.describe(list_id))

    def count(self, list_id: int) -> int:
        """Recipients in the list now."""
        return self._tries.asking(lambda: self._inner.count(list_id))

    def clear(self, list_id: int) -> None:
        """Take every recipient out of the list; a failure in doubt is the caller's to judge."""
        return self._tries.changing(lambda: self._inner.clear(list_id))

    def add(self, list_id: int, recipients: Recipients) -> list[int]:
        """Add rows; a failure in doubt is the caller's to judge."""
        return self._tries.changing(lambda: self._inner.add(list_id, recipients))

    def suppressed(self, ids: Sequence[str], addresses: Sequence[str]) -> LiveAnswer:
        """Ask live who is suppressed, so many at a time that a failure costs one batch."""
        unsubscribed: list[bool] = []
        blocklisted: list[bool] = []
        for part in self._parts(ids):
            unsubscribed += self._ask(part, ()).unsubscribed
        for part in self._parts(addresses):
            blocklisted += self._ask((), part).blocklisted
        return LiveAnswer(unsubscribed, blocklisted)

    def bounced_out(self, ids: Sequence[str]) -> list[bool]:
        """Ask, id by id, who is beyond the bounce limit; a failure costs one question."""
        return [answer for each in ids for answer in self._ask_bounced_out([each])]

    def purge(self, list_id: int) -> Purged:
        """Remove who is suppressed; after a repetition the numbers may be too small."""
        return self._tries.asking(lambda: self._inner.purge(list_id))

    def close(self) -> None:
        """Log out."""
        self._inner.close()

    def _ask(self, ids: Sequence[str], addresses: Sequence[str]) -> LiveAnswer:
        return self._tries.asking(lambda: self._inner.suppressed(ids, addresses))

    def _ask_bounced_out(self, ids: Sequence[str]) -> list[bool]:
        return self._tries.asking(lambda: self._inner.bounced_out(ids))

    def _parts(self, items: Sequence[str]) -> list[Sequence[str]]:
        rows = self._live_check_rows
        return [items[start : start + rows] for start in range(0, len(items), rows)]


class RetryingResponses:
    """A Responses whose verbs, all of them questions, are tried again."""

    def __init__(
        self, inner: Responses, clock: Clock, tries: int = 5, first: float = 1.0, most: float = 60.0
    ) -> None:
        self._inner = inner
        self._tries = _Tries(clock, tries, first, most)

    def now(self) -> int:
        """Campaign's clock, milliseconds since the epoch."""
        return self._tries.asking(self._inner.now)

    def page(self, stream: Stream, window: Window, start_row: int) -> list[list[str | None]]:
        """Rows of a window from `start_row` on."""
        return self._tries.asking(lambda: self._inner.page(stream, window, start_row))

    def blocklist(self) -> list[str]:
        """Every blocklist entry as written there."""
        return self._tries.asking(self._inner.blocklist)

    def close(self) -> None:
        """Log out."""
        self._inner.close()


class RetryingDrop:
    """A FileDrop whose verbs are tried again; rename passes through exactly once."""

    def __init__(
        self, inner: FileDrop, clock: Clock, tries: int = 5, first: float = 1.0, most: float = 60.0
    ) -> None:
        self._inner = inner
        self._tries = _Tries(clock, tries, first, most)

    def put(self, source: Path, name: str) -> int:
        """Write `source` to `name`; return the size in bytes."""
        return self._tries.asking(lambda: self._inner.put(source, name))

    def rename(self, temporary: str, final: str) -> None:
        """Give `temporary` its final name, once: whoever asks must look first."""
        self._inner.rename(temporary, final)

    def stat(self, name: str) -> int | None:
        """Size in bytes of `name`, None when it is not there."""
        return self._tries.asking(lambda: self._inner.stat(name))

    def remove(self, name: str) -> None:
        """Take `name` away; not an error when it is not there."""
        return self._tries.asking(lambda: self._inner.remove(name))

    def free(self) -> int | None:
        """Free bytes on the server's disk, None where it cannot tell."""
        return self._tries.asking(self._inner.free)

    def close(self) -> None:
        """End the connection; the next verb opens a new one."""
        self._inner.close()
