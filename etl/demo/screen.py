"""What the demo shows: the log in short while it runs, the table at the end.

It reads log lines and outcomes and writes to one console; the whole log goes to a file beside.
"""

import json
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from etl.demo.loop import Loop, Refusal
from etl.demo.proof import Outcome
from etl.guards import RELEASABLE
from etl.log import Event

WIDTH = 300
"""Columns where nothing tells the real width: no row of the table is cut or folded."""
_CHUNKS_BETWEEN = 25
_QUIET = frozenset({Event.STARTED, Event.SCAN, Event.SETTLED})
_LEFT_OUT = frozenset({
    "at", "level", "event", "batch", "feed", "name", "sha256", "seconds", "sentence", "client",
    "size_bytes",
})  # fmt: skip
_COLOURS = {"warning": "yellow", "error": "red", "critical": "bold red"}


class Live:
    """A stream for the log: every line into a file, the telling ones in short to the console."""

    def __init__(self, console: Console, file: TextIO) -> None:
        self.stopped = False
        """Whether somebody wanted the run to end early."""
        self._console = console
        self._file = file
        self._names: dict[str, str] = {}

    def write(self, line: str) -> int:
        """Take one line of JSON."""
        self._file.write(line)
        entry: dict[str, Any] = json.loads(line)
        self.stopped = self.stopped or entry["event"] == Event.STOPPED
        if "batch" in entry and "name" in entry:
            self._names[str(entry["batch"])] = str(entry["name"])
        if self._is_telling(entry):
            self._console.print(self._short(entry), soft_wrap=True)
        return len(line)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()

    @staticmethod
    def _is_telling(entry: dict[str, Any]) -> bool:
        if entry["event"] in _QUIET:
            return False
        if entry["event"] == Event.FETCHED and entry.get("complete"):
            return bool(entry.get("new_events"))
        if entry["event"] != Event.CHUNK or entry.get("in_doubt") or entry.get("refused"):
            return True
        return int(entry.get("number", 0)) % _CHUNKS_BETWEEN == _CHUNKS_BETWEEN - 1

    def _short(self, entry: dict[str, Any]) -> Text:
        """Time, whose, what, and the facts that say something."""
        facts = " ".join(
            f"{key}={_bare(value)}"
            for key, value in entry.items()
            if key not in _LEFT_OUT and value not in (None, {}, [])
        )
        who = self._names.get(str(entry.get("batch", "")), str(entry.get("client", "")))
        style = _COLOURS.get(str(entry["level"]), "")
        return Text.assemble(
            (f"{str(entry['at'])[11:19]} ", "dim"), f"{who:<26} ", (f"{entry['event']:<12}", style),
            (facts, "dim"),
        )  # fmt: skip


def _bare(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def wide(console: Console) -> Console:
    """The console itself at a terminal; elsewhere one that is wide enough for the table."""
    if console.is_terminal:
        return console
    return Console(file=console.file, width=WIDTH, highlight=False)


def show_table(console: Console, outcomes: Sequence[Outcome]) -> None:
    """One line per drop: what became of it, where to look, and whether that was expected.

    On a narrow screen the names of files follow below the table.
    """
    spacious = console.width >= WIDTH
    yes, no = ("ok", "NO") if console.options.ascii_only else ("✓", "✗")
    table = Table(title="What became of every drop")
    for name, right in (("", ""), ("day", ""), ("drop", ""), ("fate", ""), *_NUMBERS):
        table.add_column(name, overflow="fold", justify="right" if right else "left")
    for name in ("uploaded as", "where to look", "what it is") if spacious else ():
        table.add_column(name, overflow="fold")
    for outcome in outcomes:
        mark = Text(no, "bold red") if outcome.differences else Text(yes, "green")
        cells = [str(outcome.drop.day), outcome.drop.name, _fate(outcome), *_numbers(outcome)]
        if spacious:
            cells += [_uploaded(outcome), outcome.where, outcome.drop.what]
        table.add_row(mark, *cells)
    console.print(table)
    if not spacious:
        for outcome in outcomes:
            words = f"{outcome.drop.name} ({outcome.drop.what}): uploaded as {_uploaded(outcome)},"
            console.print(f"{words} see {outcome.where}", soft_wrap=True, markup=False)


_NUMBERS = (
    ("rows read", "rows_read"), ("accepted", "accepted"), ("rejected", "rejected"),
    ("suppressed", "suppressed"), ("list count", "list"),
)  # fmt: skip


def _fate(outcome: Outcome) -> str:
    fate = str(outcome.receipt.get("fate", "no receipt"))
    code = (outcome.receipt.get("reason") or {}).get("code")
    return f"{fate}: {code}" if code else fate


def _numbers(outcome: Outcome) -> list[str]:
    found = {**(outcome.receipt.get("check") or {}), "list": outcome.list_count}
    return ["-" if found.get(key) is None else str(found[key]) for _, key in _NUMBERS]


def _uploaded(outcome: Outcome) -> str:
    return str((outcome.receipt.get("upload") or {}).get("name", "-"))


def show_releases(console: Console, outcomes: Sequence[Outcome], config_file: str) -> None:
    """For every drop a guard of rows holds: the command that would let it go."""
    held = [each for each in outcomes if (each.receipt.get("held") or {}).get("code") in RELEASABLE]
    if held:
        console.print("\nHeld until somebody looks. Where the drop is right after all:")
    for each in held:
        words = [
            "etl", "release", str(each.receipt["batch"]), "--allow",
            str(each.receipt["held"]["code"]), "--why", "checked with the CRM",
            "--config", config_file,
        ]  # fmt: skip
        console.print(f"  {shlex.join(words)}", soft_wrap=True, markup=False)


def show_loop(console: Console, loop: Loop) -> None:
    """What became of those who said no between two drops, step by step, as it was found."""
    before, after, people = loop.before, loop.after, loop.refusals
    sent = _who(each for each in people if each.sent)
    lines = [
        f"overnight: {', '.join(f'{each.entity} {each.how}' for each in people)}",
        f"day {before.drop.day}: {before.drop.name} still had {_who(people)}",
        f"day {before.drop.day}: sent of them: {sent} ({_counts(before)})",
    ]
    for name in sorted({name for each in people for name in each.named_in}):
        named = _who(each for each in people if name in each.named_in)
        lines.append(f"for the CRM: {name} names {named}")
    lines.append(
        f"day {after.drop.day}: {after.drop.name} still has"
        f" {_who(each for each in people if each.back)} of them ({_counts(after)})"
    )
    title = "NOT closed" if loop.gaps else "closed"
    console.print(f"\nThe loop between Campaign and the CRM is {title}")
    for line in lines:
        console.print(f"  {line}", soft_wrap=True, markup=False)


def _who(people: Iterable[Refusal]) -> str:
    return ", ".join(each.entity for each in people) or "nobody"


def _counts(outcome: Outcome) -> str:
    rows, _, _, suppressed, count = _numbers(outcome)
    return f"{rows} read, {suppressed} suppressed, list {count}"
