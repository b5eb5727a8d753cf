"""How long a drop takes from its bytes to the bytes of the uploaded file, beside two yardsticks.

`check -> suppress -> encode` without network, against polars copying the CSV and Python's csv
module copying it, each in a process of its own. It writes nothing but below a temporary folder,
unless `--write` puts the table into RESULTS.md.
"""  # noqa: INP001 - a script, not a module of a package

import argparse
import csv
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from reporting import circumstances, put_into_results

from etl.shipped import shipped
from etl.transform.check import Attribute, CheckPlan, Consent, Refusal, check
from etl.transform.encode import encode
from etl.transform.schema import load_schema
from etl.transform.suppress import keyed_texts, suppress, tagged

KEY = b"a key for the benchmark"
ENTRIES, ENTRIES_THAT_HIT = 20_000, 1_000
BREAKS_EVERY, QUOTES_EVERY = 1_000, 50
FIRST_NAMES = ("Jürgen", "Zoë", "Anna", "Björn", "Käthe", "Max", "Øyvind", "Erika")
LAST_NAMES = ("Müller", "Groß", "Schmidt", "Weiß", "O'Neill", "Čapek", "Mustermann", "Jäger")
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process cost from start to end."""

    wall: float
    cpu: float
    peak_mib: float


# --- the input -----------------------------------------------------------------------------------


def records(rows: int, bad_share: float, seed: int) -> Iterator[list[str]]:
    """Made-up contacts; a bad one breaks one rule of the schema, or the structure."""
    chance = random.Random(seed)  # noqa: S311 - made-up people, no secret
    bad_every = round(1 / bad_share) if bad_share else 0
    for number in range(1, rows + 1):
        notes = f"Kommt über Straße {number}, grüßt täglich; sonst nichts."
        if number % BREAKS_EVERY == 0:
            notes = "Erste Zeile\r\nzweite Zeile"
        elif number % QUOTES_EVERY == 0:
            notes = 'nennt sich "Der Große"'
        row = [
            "newsletter-2026", "Newsletter", "EMAIL", "contact", f"{number:08}-ab",
            f"person.{number}@example.org", chance.choice(("Frau", "Herr", "Divers", "")),
            chance.choice(("", "", "Dr.", "Prof. Dr.")), chance.choice(FIRST_NAMES),
            chance.choice(LAST_NAMES), f"Königsallee {chance.randrange(1, 400)}",
            f"{chance.randrange(1000, 99999):05}", chance.choice(("Köln", "Zürich", "Wien")),
            chance.choice(("DE", "AT", "CH")), chance.choice(("de", "en", "")),
            f"1{chance.randrange(10)}.0{chance.randrange(1, 10)}.{chance.randrange(1930, 2008)}",
            f"{chance.randrange(10**8):08}", f"{chance.randrange(10**6)},{chance.randrange(10)}",
            f"2024-0{chance.randrange(1, 10)}-1{chance.randrange(10)}T08:30:00Z", notes,
        ]  # fmt: skip
        if bad_every and number % bad_every == 0:
            row = _spoiled(row, number // bad_every)
        yield row


def _spoiled(row: list[str], which: int) -> list[str]:
    """Break one thing, in turn: address, enumeration, date, number, or a column too few."""
    column, cell = ((5, "no address"), (6, "Sir"), (15, "31.02.2000"), (17, "12,5,0"), (-1, ""))[
        which % 5
    ]
    return row[:-1] if column < 0 else [*row[:column], cell, *row[column + 1 :]]


def write_input(path: Path, rows: int, bad_share: float, seed: int) -> None:
    """Write the drop: `;`, CRLF, UTF-8."""
    schema = json.loads((shipped("schemas") / "contacts.json").read_text("utf-8"))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
        writer.writerow([field["name"] for field in schema["fields"]])
        writer.writerows(records(rows, bad_share, seed))


def write_entries(path: Path, rows: int) -> None:
    """Write the suppression entries as the store gives them; some of them hit."""
    hit = [f"person.{number}@example.org" for number in range(1, rows, rows // ENTRIES_THAT_HIT)]
    others = [f"gone.{number}@example.org" for number in range(ENTRIES - len(hit))]
    keys = keyed_texts([*hit, *others], KEY)
    pl.DataFrame({"key": keys}).with_columns(
        kind=pl.lit("unsubscribed"), source=pl.lit("live-check"), about=pl.lit("address")
    ).write_ipc(path)


# --- the paths, each run in a process of its own -----------------------------------------------


def ours(source: Path, target: Path) -> None:
    """Check, suppress, encode."""
    schema = load_schema((shipped("schemas") / "contacts.json").read_text("utf-8"))
    if isinstance(schema, list):
        raise SystemExit(schema)
    columns = ("opt-in-id", "description", "media-type", "entity-type", "entity-id", "salutation",
               "firstname", "lastname", "customer-number", "revenue")  # fmt: skip
    plan = CheckPlan(
        schema=schema,
        consent=Consent("newsletter-2026", "Newsletter", "EMAIL"),
        address_column="email",
        attributes={name: Attribute(name) for name in columns},
    )
    data = source.read_bytes()
    found = check(data, plan)
    if isinstance(found, Refusal) or found.refusal is not None:
        raise SystemExit("the drop is refused")
    asked = tagged(found.rows, [KEY])
    hits = suppress(found.rows, asked, pl.read_ipc(source.with_name("entries.arrow")), [])
    if hits.is_empty():
        raise SystemExit("nobody was suppressed")
    fit = found.rows.join(hits, on="record", how="anti", maintain_order="left")
    target.write_bytes(encode(data, found.header_end, fit, plan.dialect))


def bare_polars(source: Path, target: Path) -> None:
    """Read every cell as text and write it again; judge nothing."""
    pl.scan_csv(source, separator=";", infer_schema=False).sink_csv(target, separator=";")


def bare_csv(source: Path, target: Path) -> None:
    """Do the same with Python's csv module, reading strictly."""
    with (
        source.open(encoding="utf-8", newline="") as read,
        target.open("w", encoding="utf-8", newline="") as written,
    ):
        writer = csv.writer(written, delimiter=";", lineterminator="\r\n")
        writer.writerows(csv.reader(read, delimiter=";", strict=True))


def nothing(source: Path, target: Path) -> None:
    """Only start the process and import what all of them import."""


START = "start and imports alone"
PATHS: dict[str, Callable[[Path, Path], None]] = {
    "check, suppress, encode": ours,
    "polars scan_csv, sink_csv": bare_polars,
    "csv module, strict": bare_csv,
    START: nothing,
}
YARDSTICKS = ("polars scan_csv, sink_csv", "csv module, strict")


def measure(name: str, source: Path, target: Path) -> Cost:
    """Run a path in a process of its own."""
    return measure_with([sys.executable, __file__, "--path", name, str(source), str(target)])


def measure_with(command: list[str]) -> Cost:
    """Run a command that prints its peak memory."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        if child.stdout is None:
            raise AssertionError(command)
        peak_kib = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{command} failed")
    return Cost(wall, usage.ru_utime + usage.ru_stime, int(peak_kib) * 1024 / MIB)


def peak_of_this_process() -> int:
    """Peak memory in KiB; ru_maxrss would not be below that of the process that started this."""
    status = Path("/proc/self/status").read_text("utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


# --- the report ----------------------------------------------------------------------------------


def compare(folder: Path, rows: int, bad_share: float, runs: int, seed: int) -> list[str]:
    """Make one input, run all paths in turn, and put the medians into a table."""
    source = folder / "drop.csv"
    write_input(source, rows, bad_share, seed)
    write_entries(folder / "entries.arrow", rows)
    costs: dict[str, list[Cost]] = {name: [] for name in PATHS}
    for _ in range(runs):
        for name, taken in costs.items():
            taken.append(measure(name, source, folder / "out.csv"))
    medians = {
        name: Cost(*(statistics.median(column) for column in zip(*map(_cells, taken), strict=True)))
        for name, taken in costs.items()
    }
    start = medians[START].wall
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    size = f"{source.stat().st_size / MIB:.1f} MiB"
    lines = [
        f"### {rows:,} rows, {bad_share:.0%} of them bad ({size}, sha256 {digest}…)",
        "",
        "| path | wall s | lowest to highest | CPU s | peak MiB | times polars | times csv |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, median in medians.items():
        walls = [cost.wall for cost in costs[name]]
        work = [medians[each].wall - start for each in YARDSTICKS]
        ratios = " | ".join(
            "" if name == START else f"{(median.wall - start) / each:.1f}" for each in work
        )
        lines.append(
            f"| {name} | {median.wall:.2f} | {min(walls):.2f} to {max(walls):.2f} |"
            f" {median.cpu:.2f} | {median.peak_mib:.0f} | {ratios} |"
        )
    return [*lines, ""]


def _cells(cost: Cost) -> tuple[float, float, float]:
    return cost.wall, cost.cpu, cost.peak_mib


def main() -> None:
    """Run all, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="put the tables into RESULTS.md")
    parser.add_argument("--path", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.path:
        name, source, target = arguments.path
        PATHS[name](Path(source), Path(target))
        sys.stdout.write(str(peak_of_this_process()))
        return
    load = os.getloadavg()
    tables: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for bad_share in (0.0, 0.01):
            tables += compare(
                Path(folder), arguments.rows, bad_share, arguments.runs, arguments.seed
            )
    options = f"--rows {arguments.rows} --runs {arguments.runs} --seed {arguments.seed}"
    told = circumstances(f"bench_check.py {options}", ("polars", "polars-hash"), load)
    what = [
        f"- medians of {arguments.runs} runs of each path, in turn; wall, CPU and peak memory are",
        "  those of the whole process; the last two columns compare wall without start and imports",
    ]
    text = "\n".join([*told, *what, "", *tables])
    sys.stdout.write(text)
    if arguments.write:
        put_into_results("The check", text)


if __name__ == "__main__":
    main()
