"""How long after a SIGKILL in the middle of a refill the batch goes on.

The installed `etl run` is killed while the answer to an addAll3 call is awaited and started again
at once; measured is the time from the kill until Campaign has the next call on that list. Real
sshd, the simulator over TLS, all on loopback. It writes nothing but below a temporary folder,
unless `--write` puts the table into RESULTS.md.
"""  # noqa: INP001 - a script, not a module of a package

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from reporting import circumstances, put_into_results

from tests.servers.service import Setting, people, setting

GOES_ON = {"clear", "addAll3", "getCount"}
START = "interpreter and imports"
STEPS = (
    "configuration, journal, store, watch: `started` is logged",
    "first scan, staged rows read, until the login is in",
    "suppression of the unsent rows and the list's description asked",
    "the batch goes on: the list's next call is in",
)
"""Each from the end of the one before."""


def come_back(made: Setting, rows: int) -> list[float]:
    """A drop's refill up to half its calls, SIGKILL, start at once.

    Returns the seconds from the kill to the end of each step.
    """
    rule = made.control.hold("addAll3", nth=rows // 20, list_id=100)
    made.drop("a.csv", people(rows))
    if not made.control.wait_held(rule, 60) or made.child is None:
        raise SystemExit(made.log.read_text("utf-8")[-3000:])
    seen, logged = len(made.control.calls()), made.log.stat().st_size
    killed = time.time()
    made.child.kill()
    made.child.wait()
    made.start()
    made.wait(lambda: any(call["method"] in GOES_ON for call in made.control.calls(since=seen)))
    made.control.unschedule(rule)
    calls = made.control.calls(since=seen)
    events = [json.loads(line) for line in made.log.read_text("utf-8")[logged:].splitlines()]
    started = next(event["at"] for event in events if event["event"] == "started")
    login = next(call for call in calls if call["method"] == "login")
    goes_on = next(call for call in calls if call["method"] in GOES_ON)
    before = calls[calls.index(goes_on) - 1]
    ends = [call["at_ms"] / 1000 for call in (login, before, goes_on)]
    return [end - killed for end in (datetime.fromisoformat(started).timestamp(), *ends)]


def bare_start(made: Setting) -> float:
    """Seconds from the start of an interpreter until everything is imported."""
    began = time.time()
    command = [sys.executable, "-c", "import etl.cli, time; print(time.time())"]
    return float(subprocess.check_output(command, env=made.environment())) - began


def measure(rows: int, runs: int) -> tuple[list[list[float]], list[float]]:
    """The steps of every restart, and as many bare starts between them."""
    steps, starts = [], []
    with tempfile.TemporaryDirectory() as folder, setting(Path(folder)) as made:
        made.scan = "sightings = 1"
        # Compiled modules are kept, as those of an installation are.
        made.variables = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{folder}/pyc"}
        bare_start(made)
        made.write_config()
        made.start()
        for number in range(1, runs + 1):
            steps.append(come_back(made, rows))
            made.wait(lambda number=number: len(made.receipts().get("a.csv", ())) == number)
            starts.append(bare_start(made))
        made.stop()
    return steps, starts


def table(steps: list[list[float]], starts: list[float], rows: int) -> list[str]:
    """The medians as a table, and what they say."""
    start = statistics.median(starts)
    parts = [[ends[0] - start, *(b - a for a, b in pairwise(ends))] for ends in steps]
    lines = [
        f"### {rows:,} rows, killed at half of its calls",
        "",
        "| part | median s | lowest to highest |",
        "|---|---:|---:|",
        f"| {START} | {start:.2f} | {_range(starts)} |",
    ]
    for name, column in zip(STEPS, zip(*parts, strict=True), strict=True):
        lines.append(f"| {name} | {statistics.median(column):.2f} | {_range(column)} |")
    totals = [ends[-1] for ends in steps]
    middle = statistics.median(totals)
    lines.append(
        f"| **from SIGKILL until the batch goes on** | **{middle:.2f}** | {_range(totals)} |"
    )
    return [*lines, ""]


def _range(seconds: Sequence[float]) -> str:
    return f"{min(seconds):.2f} to {max(seconds):.2f}"


def main() -> None:
    """Run all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    arguments = parser.parse_args()
    load = os.getloadavg()
    steps, starts = measure(arguments.rows, arguments.runs)
    command = f"bench_restart.py --rows {arguments.rows} --runs {arguments.runs}"
    facts = [
        f"- medians of {arguments.runs} kills; calls of 10 rows, answers at once; the first part",
        "  is measured by itself, the others by the times in the log and in Campaign's call log;",
        "  suppression grows with the unsent rows, by two calls for every 500 of them",
    ]
    told = circumstances(command, ("polars", "pydantic", "zeep", "paramiko"), load)
    text = "\n".join([*told, *facts, "", *table(steps, starts, arguments.rows)])
    sys.stdout.write(text)
    if arguments.write:
        put_into_results("After a SIGKILL", text)


if __name__ == "__main__":
    main()
