"""The three days: drops in, one run of the service, a night, and so on; then the proof."""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

from rich.console import Console

from etl import app
from etl.demo.expected import Expected, ExpectedDrop, put_drop, read_expected
from etl.demo.loop import Loop, prove_loop
from etl.demo.proof import RESPONSES, Outcome, prove_drop, prove_responses, response_rows
from etl.demo.screen import Live, show_loop, show_releases, show_table, wide
from etl.demo.servers import Servers, next_day, say_no, servers
from etl.log import configure

NIGHTS = {
    2: "Overnight somebody unsubscribes, and somebody bounces once too often.",
    3: "Another night: nobody says no, and the CRM exports without whom its files name.",
}
"""What happens before a day."""
DAYS = (1, *NIGHTS)
DAY_AFTER_NOES = 2
AS_WISHED = (0, 1)
"""Exit codes of a run that did its work; 1 tells that something was rejected or held."""


class StoppedEarly(Exception):  # noqa: N818 - no error: somebody pressed Ctrl-C
    """The run was told to stop, so there is nothing to prove."""


def run_demo(
    console: Console,
    *,
    keep: bool = False,
    folder: Path | None = None,
    samples: Path | None = None,
) -> int:
    """Play all days in `folder` (a new temporary one by default) and prove every outcome.

    Returns 0 only if all came true. The folder is removed unless `keep`, or given by the caller.
    `samples` takes the place of the shipped ones.
    """
    kept = keep or folder is not None
    root = (folder or Path(tempfile.mkdtemp(prefix="etl-demo-"))).resolve()
    out = wide(console)
    began = time.monotonic()
    try:
        expected = read_expected(samples)
        with servers(root, expected) as far, _live(out, root) as live:
            outcomes, troubles = _play(out, far, expected, live)
            loop = prove_loop(far, expected, outcomes)
            troubles += loop.gaps if loop else ()
            _show(out, far, outcomes, loop, troubles)
    except StoppedEarly:
        out.print("Stopped.")
        return 1
    finally:
        if kept:
            out.print(f"\nEverything is kept in {root}", soft_wrap=True)
        else:
            shutil.rmtree(root)
    wrong = len(troubles) + sum(bool(each.differences) for each in outcomes)
    seconds = round(time.monotonic() - began)
    if wrong:
        out.print(f"{wrong} outcomes are not what was expected ({seconds} s).", style="bold red")
        return 1
    out.print(f"All {len(outcomes)} drops came out as expected ({seconds} s).", style="bold green")
    if not kept:
        out.print("`etl demo --keep` leaves the folder to look into.")
    return 0


@contextmanager
def _live(console: Console, root: Path) -> Iterator[Live]:
    """Show the log while it is written to a file; afterwards it goes where it went before."""
    with (root / "etl.log").open("w", encoding="utf-8") as file:
        live = Live(console, file)
        # It writes and flushes, and a log asks no more of a stream.
        configure(cast("TextIO", live), as_json=True)
        try:
            yield live
        finally:
            configure(sys.stderr)


def _play(
    console: Console, far: Servers, expected: Expected, live: Live
) -> tuple[list[Outcome], list[str]]:
    """All days; outcomes of the drops, and what is wrong beside them."""
    outcomes: list[Outcome] = []
    troubles: list[str] = []
    for day in DAYS:
        if day > 1:
            console.print(f"\n{NIGHTS[day]}")
            if day == DAY_AFTER_NOES:
                say_no(far.campaign, expected)
            next_day(far.campaign)
        drops = expected.of_day(day)
        many = f"{len(drops)} drop{'' if len(drops) == 1 else 's'}"
        console.print(f"\nDay {day}: the CRM writes {many} into the inbox", style="bold")
        for drop in drops:
            put_drop(expected, drop, far.folder)
        since = len(far.campaign.calls())
        code = run_once(far)
        if live.stopped:
            raise StoppedEarly
        if code not in AS_WISHED:
            troubles.append(f"the run of day {day} ended with {code}")
        left = [path.name for path in (far.folder / "inbox").glob("[!.]*")]
        if left:
            troubles.append(f"still in the inbox: {', '.join(left)}")
        outcomes += _prove_day(far, expected, drops, since)
        troubles += prove_responses(far.folder, expected, day)
    return outcomes, troubles


def run_once(far: Servers) -> int:
    """What `etl once` does."""
    return app.run(far.config, once=True)


def _prove_day(
    far: Servers, expected: Expected, drops: Sequence[ExpectedDrop], since: int
) -> list[Outcome]:
    cleared = [
        int(call["list_id"]) for call in far.campaign.calls(since) if call["method"] == "clear"
    ]
    return [prove_drop(far, expected, drop, cleared) for drop in drops]


def _show(
    console: Console,
    far: Servers,
    outcomes: Sequence[Outcome],
    loop: Loop | None,
    troubles: Sequence[str],
) -> None:
    console.print()
    show_table(console, outcomes)
    show_releases(console, outcomes, str(far.config_file))
    console.print()
    for file in RESPONSES:
        paths = (far.folder / "responses").glob(f"{file}-*.csv")
        names = [path.name for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns)]
        rows = sum(1 for _ in response_rows(far.folder, file))
        console.print(f"responses/ for the CRM: {rows} {file} in {len(names)} files, the last one"
                      f" {names[-1] if names else '-'}", soft_wrap=True)  # fmt: skip
    if loop:
        show_loop(console, loop)
    for outcome in outcomes:
        for difference in outcome.differences:
            console.print(f"✗ {outcome.drop.name}: {difference}", style="red", soft_wrap=True)
    for trouble in troubles:
        console.print(f"✗ {trouble}", style="red", soft_wrap=True)
