"""What is known of every staged row within one round of a refill: made anew from the journal.

Pure arithmetic over the calls and their codes; it asks nobody and changes nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from etl.journal.refills import Call

UNSENT, LATE, POISONED = 255, 254, 253
INSERTED, ADDRESS_REFUSED, UNSUBSCRIBED, BLOCKLISTED, BOUNCED, ALREADY, FILTERED, FAILED = range(8)
REFUSALS = (ADDRESS_REFUSED, UNSUBSCRIBED, BLOCKLISTED, BOUNCED, FILTERED, FAILED)
MOST_TRIES = 3
"""A row that Campaign answers with 7 is sent this often in all."""


class Ledger:
    """The fate of every staged row in one round."""

    def __init__(
        self, staged: int, late: Iterable[int], poisoned: Iterable[int], calls: Iterable[Call]
    ) -> None:
        self.fates = bytearray([UNSENT]) * staged
        self._seen = bytearray(staged)
        """1 where an earlier call that gave no clear answer may have brought the row already."""
        self._present = bytearray(staged)
        self._doubted = bytearray(staged)
        """1 where a call that ended without codes may have brought the row."""
        self._tries = bytearray(staged)
        for row in late:
            self.fates[row] = LATE
        for row in poisoned:
            self.fates[row] = POISONED
        self.open: Call | None = None
        for call in calls:
            if call.open:
                self.open = call
            else:
                self.close(call, call.codes)

    def close(self, call: Call, codes: bytes | None) -> None:
        """Take in the answer to a call; None when it ended without codes."""
        self.open = None
        if codes is None:
            for row in call.rows:
                self._seen[row] = self._doubted[row] = 1
            return
        for row, code in zip(call.rows, codes, strict=True):
            self.fates[row] = code
            if code == INSERTED or (code == ALREADY and call.again):
                self._present[row] = 1
            if code == FAILED:
                self._tries[row] += 1
                self._seen[row] = 1

    def leave_out(self, rows: Mapping[int, str]) -> None:
        """Rows suppressed since: never sent, unless they were already."""
        for row in rows:
            if self.is_due(row):
                self.fates[row] = LATE

    def poison(self, row: int) -> None:
        """A row no call that holds it survives."""
        self.fates[row] = POISONED

    def may_be_there(self, rows: Iterable[int]) -> bool:
        """Tell whether one of the rows may have been brought by an earlier call."""
        return any(self._seen[row] for row in rows)

    def due(self) -> list[int]:
        """Rows that wait to be sent, or sent again."""
        return [row for row in range(len(self.fates)) if self.is_due(row)]

    def todo(self, chunk_rows: int) -> Iterable[tuple[int, int]]:
        """Spans of the chunk grid that still hold a row that is due."""
        for first in range(0, len(self.fates), chunk_rows):
            last = min(first + chunk_rows, len(self.fates))
            if any(self.is_due(row) for row in range(first, last)):
                yield first, last

    def is_due(self, row: int) -> bool:
        """Tell whether a row is to be sent (again)."""
        fate = self.fates[row]
        return fate == UNSENT or (fate == FAILED and self._tries[row] < MOST_TRIES)

    def window(self) -> tuple[int, int]:
        """How many recipients the list must hold by the acknowledged codes: lowest, highest.

        Lowest are the newly present (0, and 5 in a call sent again). Whether Campaign stores a row
        it answers with 2 is unknown; a row that a call without an answer may have brought can be
        there whatever became of it since. For those left out since, see `late_in_doubt`.
        """
        newly = sum(self._present)
        return newly, newly + self.fates.count(UNSUBSCRIBED) + len(self._in_doubt(late=False))

    def late_in_doubt(self) -> list[int]:
        """Rows suppressed by now that a call without an answer may have brought all the same.

        They may be in the list until the remove calls, and not after them.
        """
        return self._in_doubt(late=True)

    def _in_doubt(self, *, late: bool) -> list[int]:
        rows = zip(self.fates, self._doubted, self._present, strict=True)
        return [
            row for row, (fate, doubted, present) in enumerate(rows)
            if doubted and not present and (fate == LATE) == late and fate != UNSUBSCRIBED
        ]  # fmt: skip

    def counts(self) -> Counter[int]:
        """How many rows have which fate."""
        return Counter(self.fates)

    def rows_with(self, *codes: int) -> dict[int, int]:
        """Rows whose fate is one of `codes`, with it."""
        return {row: fate for row, fate in enumerate(self.fates) if fate in codes}
