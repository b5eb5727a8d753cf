"""Responses without a network: events and blocklist in memory, listed as the closed loop does."""

from collections.abc import Callable
from dataclasses import dataclass, field

from etl.ports import PAGE_ROWS, Stream, Window
from tests.twins.schedule import Schedule

Row = list[str | None]


@dataclass
class TwinResponses:
    """Responses. Seed with `happen` and `entries`, plan failures, look at `calls`."""

    now_ms: int = 1_795_510_800_000
    events: dict[Stream, list[tuple[int, Row]]] = field(default_factory=dict)
    """Per stream: when its export file was written, and the row."""
    entries: list[str] = field(default_factory=list)
    page_rows: int = PAGE_ROWS
    """Rows of a full page; smaller only where a test wants many pages of few rows and says so."""
    schedule: Schedule = field(default_factory=Schedule)
    before: Callable[[str], None] = lambda _: None
    """Called with the verb before each call: somebody else acts at that moment."""
    closed: int = 0

    @property
    def calls(self) -> list[tuple[str, dict[str, object]]]:
        """Every call made: verb and facts, in order."""
        return self.schedule.calls

    def fail_next(
        self, verb: str, error: BaseException, *, after_effect: bool = False, **when: int
    ) -> None:
        """Plan a failure: `after_effect` loses the answer only; `skip` and `times` say when."""
        self.schedule.fail_next(verb, error, after_effect=after_effect, **when)

    def happen(self, stream: Stream, *row: str | None, export_ms: int | None = None) -> None:
        """Let an event be in an export file, written one millisecond ago unless said otherwise."""
        at = self.now_ms - 1 if export_ms is None else export_ms
        self.events.setdefault(stream, []).append((at, list(row)))

    def now(self) -> int:
        """Campaign's clock."""
        self.before("now")
        with self.schedule.of("now"):
            return self.now_ms

    def page(self, stream: Stream, window: Window, start_row: int) -> list[Row]:
        """Rows of a window, in the order they happened."""
        self.before("page")
        facts = {"since_ms": window.since_ms, "until_ms": window.until_ms, "start_row": start_row}
        with self.schedule.of("page", stream=stream, **facts):
            rows = [
                list(row)
                for at, row in self.events.get(stream, [])
                if window.since_ms <= at < window.until_ms
            ]
            return rows[start_row : start_row + self.page_rows]

    def blocklist(self) -> list[str]:
        """Every entry."""
        self.before("blocklist")
        with self.schedule.of("blocklist"):
            return list(self.entries)

    def close(self) -> None:
        """Count the log-outs."""
        self.closed += 1
