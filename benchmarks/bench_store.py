"""What the suppression store costs when it is large: to open, on disk, and to ask for a drop.

The look-up of a whole drop stands beside decoding that drop (records found, cells made text,
nothing judged), each in a process of its own. It writes nothing but below a temporary folder,
unless `--write` puts the table into RESULTS.md.
"""  # noqa: INP001 - a script, not a module of a package

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import polars as pl
from bench_check import MIB, Cost, measure_with, peak_of_this_process, write_input
from reporting import circumstances, put_into_results

from etl.extract.keyed import StoreKey
from etl.extract.suppressions import open_store
from etl.sqlite_file import SqliteFile
from etl.transform.check import Dialect, Limits
from etl.transform.decode import decode_cells
from etl.transform.split import split
from etl.transform.suppress import suppress, tagged

KEY = StoreKey("k", b"a key for the benchmark")
ORIGINS = (
    ("bounced", "getOutBounces", 0.45),
    ("unsubscribed", "getUnsubscribes", 0.30),
    ("unsubscribed", "getMailingUnsubscribes", 0.20),
    ("unsubscribed", "live-check", 0.04),
    ("blocklisted", "blocklist", 0.01),
)
"""Where the entries come from, and their shares."""
HITS_EVERY = 100
AT_ONCE = 500_000


def write_store(path: Path, entries: int) -> None:
    """Fill a store; every hundredth person of the drop is in it, all others are made up."""
    open_store(path, [KEY]).close()
    file = SqliteFile(path, "store-damaged")
    with closing(file):
        for number, (kind, source, share) in enumerate(ORIGINS, 1):
            with file.write() as connection:
                connection.execute(
                    "INSERT INTO origins VALUES (?, 'main', ?, ?, 'address', 'k')",
                    (number, kind, source),
                )
            wanted = int(entries * share)
            # Learned over years, so in no order: the tree is filled as it would be.
            for first in range(0, wanted, AT_ONCE):
                keys = (_tag(number, each) for each in range(first, min(first + AT_ONCE, wanted)))
                with file.write() as connection:
                    connection.executemany(
                        "INSERT OR IGNORE INTO entries (origin, key, since)"
                        " VALUES (?, ?, 1795510800)",
                        ((number, key) for key in keys),
                    )
        file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _tag(origin: int, number: int) -> bytes:
    """The key of somebody of the drop now and then, of somebody else mostly."""
    if number % 5 == 0:
        return KEY.tag(f"person.{number // 5 * HITS_EVERY}@example.org")
    return hashlib.sha256(b"%d %d" % (origin, number)).digest()[:16]


# --- what is measured, each in a process of its own ----------------------------------------------


def decode(folder: Path, rows: int) -> None:
    """Find every record of the drop and make its cells text."""
    data = (folder / "drop.csv").read_bytes()
    columns = data.partition(b"\r\n")[0].count(b";") + 1
    found = 0
    for chunk in split(data, data.index(b"\n") + 1, 2, columns, dialect=Dialect(), limits=Limits()):
        texts, _ = decode_cells(chunk.cells, columns, "utf-8")
        found += len(texts) // columns
    if found != rows:
        raise SystemExit(f"{found} records")


def look_up(folder: Path, rows: int) -> None:
    """Hash everybody of the drop and ask the store."""
    numbers = pl.int_range(rows, dtype=pl.UInt32, eager=True)
    text = pl.col("record").cast(pl.String)
    people = pl.DataFrame({"record": numbers}).with_columns(
        address=pl.concat_str(pl.lit("person."), text, pl.lit("@example.org")),
        entity_type=pl.lit("contact"),
        entity_id=text,
    )
    with closing(open_store(folder / "store.sqlite3", [KEY])) as store:
        asked = tagged(people, [KEY.secret])
        found = suppress(people, asked, store.among("main", asked["key"]), [])
    if found["record"].n_unique() < rows // HITS_EVERY // 2:
        raise SystemExit(f"only {found.height} are suppressed")


def open_and_close(folder: Path, _rows: int) -> None:
    """Open the store as every start does."""
    open_store(folder / "store.sqlite3", [KEY]).close()


def ask_freshness(folder: Path, _rows: int) -> None:
    """Open it, and count what the guards count."""
    with closing(open_store(folder / "store.sqlite3", [KEY])) as store:
        store.freshness("main")


def nothing(_folder: Path, _rows: int) -> None:
    """Only start the process and import what all of them import."""


START = "start and imports alone"
PATHS: dict[str, Callable[[Path, int], None]] = {
    "decode the drop": decode,
    "look the drop up in the store": look_up,
    "open the store": open_and_close,
    "open it and ask how fresh it is": ask_freshness,
    START: nothing,
}


def compare(folder: Path, rows: int, entries: int, runs: int) -> list[str]:
    """Make drop and store, run all in turn, and put the medians into a table."""
    write_input(folder / "drop.csv", rows, 0.0, 1)
    began = time.perf_counter()
    write_store(folder / "store.sqlite3", entries)
    filled = time.perf_counter() - began
    size = (folder / "store.sqlite3").stat().st_size / MIB
    costs: dict[str, list[Cost]] = {name: [] for name in PATHS}
    for _ in range(runs):
        for name, taken in costs.items():
            command = [sys.executable, __file__, "--path", name, str(folder), str(rows)]
            taken.append(measure_with(command))
    wall = {name: statistics.median(cost.wall for cost in taken) for name, taken in costs.items()}
    start = wall[START]
    lines = [
        (
            f"### {entries:,} entries ({size:.0f} MiB on disk, filled in {filled:.0f} s),"
            f" a drop of {rows:,} rows"
        ),
        "",
        "| what | wall s | lowest to highest | peak MiB | without start and imports |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, taken in costs.items():
        walls = [cost.wall for cost in taken]
        peak = statistics.median(cost.peak_mib for cost in taken)
        lines.append(
            f"| {name} | {wall[name]:.2f} | {min(walls):.2f} to {max(walls):.2f} | {peak:.0f} |"
            f" {'' if name == START else f'{wall[name] - start:.2f}'} |"
        )
    decoding, asking, opening, *_ = (wall[name] - start for name in PATHS)
    return [
        *lines, "",
        (
            f"Looking everybody of the drop up costs **{asking / decoding:.2f} times** what"
            f" decoding it costs; opening the store takes {opening:.2f} s."
        ), "",
    ]  # fmt: skip


def main() -> None:
    """Run all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    parser.add_argument("--path", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.path:
        name, folder, rows = arguments.path
        PATHS[name](Path(folder), int(rows))
        sys.stdout.write(str(peak_of_this_process()))
        return
    load = os.getloadavg()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        table = compare(Path(folder), arguments.rows, arguments.entries, arguments.runs)
    options = f"--rows {arguments.rows} --entries {arguments.entries} --runs {arguments.runs}"
    told = circumstances(f"bench_store.py {options}", ("polars", "polars-hash"), load)
    what = [f"- medians of {arguments.runs} runs of each, in turn, each a process of its own"]
    text = "\n".join([*told, *what, "", *table])
    sys.stdout.write(text)
    if arguments.write:
        put_into_results("The suppression store", text)


if __name__ == "__main__":
    main()
