"""The refill of one recipient list: clear, then addAll3 chunk by chunk, then proof.

Nothing here is cleared before the full replacement is durable; after clear there is only forward.
Every effect has its intent in the journal before and its answer after, so a refill that was cut
off anywhere is taken up by this same code, which asks the list what the journal cannot know.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from etl.batch import Batch, Place
from etl.errors import FarSideRefused, FarSideUnavailable, Mismatch
from etl.journal import Journal
from etl.journal.refills import Call, Round
from etl.load.ledger import INSERTED, LATE, POISONED, Ledger
from etl.load.outcome import Outcome, RefillPlan, outcome
from etl.log import Event, log
from etl.ports import Clock, RecipientList, Recipients

FURTHER_CLEARS = 2


@dataclass(slots=True)
class Refill:
    """One batch's refill. `run` may be called again after any error and after any crash."""

    batch: Batch
    staged: pl.DataFrame = field(repr=False)
    """row, recipient_id, address, attribute:NAME …, in the order they are sent."""
    plan: RefillPlan
    campaign: RecipientList
    journal: Journal
    clock: Clock
    suppressed_now: Callable[[Sequence[int]], Mapping[int, str]]
    """Which of these staged rows the store or Campaign itself would not mail now, with the kind."""
    refused_live: Callable[[Sequence[int]], frozenset[int]]
    """Which of these staged rows Campaign itself would not mail now."""
    guards: Callable[[int | None], None]
    """Raise GuardTripped unless this list may be cleared now; row guards too, given the rows."""
    elders: Callable[[], Sequence[Batch]]
    """Older batches of the list, which end when this one begins."""

    def run(self) -> Outcome:
        """Refill the list and prove it; any error of ours means: held where it is, run again."""
        for pause in (*self.plan.pauses, None):
            resumed = self.batch.place is Place.REFILLING
            try:
                if not resumed:
                    self._begin()
                return self._forward(resumed=resumed)
            except FarSideUnavailable as error:
                log(Event.FAR_SIDE, batch=self.batch.id, code=error.code, in_doubt=error.in_doubt)
                if pause is None:
                    raise
                self.clock.sleep(pause)
        raise AssertionError("unreachable")

    def _begin(self) -> None:
        rows = list(range(self.staged.height))
        late = self.suppressed_now(rows)
        self.journal.refills.add_late(self.batch, late)
        gone = len(self.journal.refills.late(self.batch))
        self.guards(self.staged.height - gone)
        elders = self.elders()
        self.batch = self.journal.refills.begin(
            self.batch, self.plan.target, elders, self.clock.wall()
        )
        for elder in elders:
            log(Event.PLACE, batch=elder.id, place=Place.SUPERSEDED, code="superseded")
        log(Event.PLACE, batch=self.batch.id, place=self.batch.place)

    def _forward(self, *, resumed: bool) -> Outcome:
        while True:
            under_way = self._round()
            ledger = self._ledger(under_way)
            if resumed:
                self._suppress_again(ledger)
                self.guards(None)
            self._clear(under_way, in_doubt=resumed)
            if self._add(under_way, ledger):
                done = self._prove(under_way, ledger)
                if done is not None:
                    return done
            self._clear_again(ledger)
            resumed = True

    def _round(self) -> Round:
        under_way = self.journal.refills.round(self.batch)
        if under_way is None:
            raise RuntimeError("a refilling batch has no round")
        return under_way

    def _ledger(self, under_way: Round) -> Ledger:
        refills = self.journal.refills
        return Ledger(
            self.staged.height,
            refills.late(self.batch),
            refills.poisoned(self.batch),
            refills.calls(self.batch, under_way.number),
        )

    def _suppress_again(self, ledger: Ledger) -> None:
        due = ledger.due()
        late = self.suppressed_now(due) if due else {}
        if late:
            self.journal.refills.add_late(self.batch, late)
            ledger.leave_out(late)

    # --- clear -------------------------------------------------------------------------------

    def _clear(self, under_way: Round, *, in_doubt: bool) -> None:
        if under_way.acknowledged:
            return
        # A clear whose answer was lost is proved by an empty list; nothing was added since.
        if not (in_doubt and self.campaign.count(self.plan.list_id) == 0):
            log(Event.CLEAR, batch=self.batch.id, list_id=self.plan.list_id,
                round=under_way.number)  # fmt: skip
            self.campaign.clear(self.plan.list_id)
        self.journal.refills.cleared(self.batch, under_way.number, self.clock.wall())

    def _clear_again(self, ledger: Ledger) -> None:
        clears, counted = self.journal.refills.clears(self.batch)
        low, high = ledger.window()
        count = self.campaign.count(self.plan.list_id)
        facts: dict[str, int] = {"count": count, "low": low, "high": high, "clears": clears - 1}
        if counted >= FURTHER_CLEARS:
            raise Mismatch("list-mismatch", **facts)
        log(Event.ALARM, batch=self.batch.id, code="list-mismatch", facts=facts)
        self.journal.refills.intend_clear(self.batch, counted=True, at=self.clock.wall())

    # --- add ---------------------------------------------------------------------------------

    def _add(self, under_way: Round, ledger: Ledger) -> bool:
        """Send every row that is due; False when the list is not what it should be by now."""
        if ledger.open is not None and not self._settle_doubt(under_way, ledger):
            return False
        while spans := list(ledger.todo(self.plan.chunk_rows)):
            for span in spans:
                self._send_span(under_way, ledger, span)
        return True

    def _settle_doubt(self, under_way: Round, ledger: Ledger) -> bool:
        """One call's answer is lost: by the count, send its rows again, or clear again."""
        doubtful = ledger.open
        assert doubtful is not None  # noqa: S101 - asked by the caller
        low, high = ledger.window()
        high += len(ledger.late_in_doubt()) + len(doubtful.rows)
        count = self._count_within(low, high)
        log(Event.CHUNK, batch=self.batch.id, number=doubtful.number, in_doubt=True, count=count)
        if not low <= count <= high:
            return False
        self._answered(under_way, ledger, doubtful, None)
        return True

    def _send_span(self, under_way: Round, ledger: Ledger, span: tuple[int, int]) -> None:
        """Send the due rows of a span; a call refused as a whole is halved to find the row."""
        waiting = [span]
        while waiting:
            self.clock.sleep(0)
            first, last = waiting.pop()
            rows = [row for row in range(first, last) if ledger.is_due(row)]
            if not rows:
                continue
            call, words = self._send(under_way, ledger, rows)
            if words is None:
                continue
            if len(rows) == 1:
                self._poison(ledger, rows[0], words)
            else:
                middle = rows[len(rows) // 2]
                waiting += [(middle, last), (first, middle)]
            log(Event.CHUNK, batch=self.batch.id, number=call.number, refused=True, rows=len(rows))

    def _send(
        self, under_way: Round, ledger: Ledger, rows: Sequence[int]
    ) -> tuple[Call, str | None]:
        """One addAll3 call, intent before and answer after; returns redacted words if refused."""
        span = (rows[0], rows[-1] + 1)
        call = self.journal.refills.intend_call(
            self.batch, under_way.number, span, set(range(*span)) - set(rows),
            again=ledger.may_be_there(rows), at=self.clock.wall(),
        )  # fmt: skip
        try:
            codes = bytes(self.campaign.add(self.plan.list_id, self._recipients(rows)))
        except FarSideRefused as error:
            if error.code != "call-refused":
                self._answered(under_way, ledger, call, None)
                raise
            self._answered(under_way, ledger, call, None)
            return call, str(error.facts.get("detail", ""))
        except FarSideUnavailable as error:
            if not error.in_doubt:
                self._answered(under_way, ledger, call, None)
            raise
        self._answered(under_way, ledger, call, codes)
        log(Event.CHUNK, batch=self.batch.id, number=call.number, rows=len(rows),
            inserted=codes.count(INSERTED))  # fmt: skip
        return call, None

    def _answered(self, under_way: Round, ledger: Ledger, call: Call, codes: bytes | None) -> None:
        self.journal.refills.answered(self.batch, under_way.number, call, codes, self.clock.wall())
        ledger.close(call, codes)

    def _poison(self, ledger: Ledger, row: int, words: str) -> None:
        self.journal.refills.poison(self.batch, row, words)
        ledger.poison(row)
        counts = ledger.counts()
        poisoned = counts[POISONED]
        if poisoned > self.plan.poisoned_limit or poisoned == self.staged.height - counts[LATE]:
            # So many rows, or all of them, cannot each be at fault: ask again later.
            self.journal.refills.forget_poisoned(self.batch)
            limit = self.plan.poisoned_limit
            raise FarSideRefused("call-failing", poisoned=poisoned, limit=limit)

    def _recipients(self, rows: Sequence[int]) -> Recipients:
        part = self.staged[list(rows)]
        columns = [f"attribute:{name}" for name in self.plan.attributes]
        return Recipients(
            attributes=self.plan.attributes,
            ids=part["recipient_id"].to_list(),
            addresses=part["address"].to_list(),
            values=part[columns].rows() if columns else [()] * part.height,
        )

    # --- proof -------------------------------------------------------------------------------

    def _count_within(self, low: int, high: int) -> int:
        """The list's count, asked again for a while when it is not between `low` and `high`."""
        end = self.clock.monotonic() + self.plan.believe_after_seconds
        while True:
            count = self.campaign.count(self.plan.list_id)
            if low <= count <= high or self.clock.monotonic() >= end:
                return count
            self.clock.sleep(min(5.0, self.plan.believe_after_seconds))

    def _stays_unseen(self, ledger: Ledger) -> bool:
        """Whether somebody may be in the list whom a call in doubt brought and we alone suppress.

        The remove calls leave her there, and the count cannot tell her from whoever they take out.
        """
        rows = ledger.late_in_doubt()
        return bool(set(rows) - self.refused_live(rows)) if rows else False

    def _prove(self, under_way: Round, ledger: Ledger) -> Outcome | None:
        """Purge and count; None when the list is not what the codes say."""
        low, high = ledger.window()
        # A count that was right before the remove calls is not asked for after them.
        before = under_way.count_before
        if before is None:
            most = high + len(ledger.late_in_doubt())
            before = self._count_within(low, most)
            if not low <= before <= most:
                return None
            self.journal.refills.counted_before(self.batch, under_way.number, before)
        if before > low and self._stays_unseen(ledger):
            return None
        purged = self.campaign.purge(self.plan.list_id)
        # At least so many are gone; after a repetition their own numbers may be too small.
        most = before - purged.unsubscribed - purged.blocklisted
        count = self._count_within(0, min(most, high))
        if count > high:
            return None
        clears, _ = self.journal.refills.clears(self.batch)
        done = outcome(
            ledger, self.journal.refills.poisoned(self.batch), count, clears, before - count
        )
        log(Event.VERIFIED, batch=self.batch.id, list_id=self.plan.list_id, count=count,
            sent=done.sent, listed=done.listed)  # fmt: skip
        return done
