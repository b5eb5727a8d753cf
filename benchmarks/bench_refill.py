"""How long a list is partial in a refill, beside the time that its calls alone take.

`etl once` takes a staged batch through its refill against a Campaign that answers every call after
50 ms; then the very same requests go, ready made and one after the other, over one TLS connection
to the same server. Both are processes of their own, in turn. It writes nothing but below a
temporary folder, unless `--write` puts the table into RESULTS.md.
"""  # noqa: INP001 - a script, not a module of a package

import argparse
import contextlib
import http.client
import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from bench_check import MIB, write_input
from reporting import circumstances, put_into_results

HERE = Path(__file__).parent
LIST, NAME = 100, "Customers"
COLUMNS = ("opt-in-id", "entity-type", "entity-id", "salutation", "title", "firstname", "lastname",
           "customer-number", "revenue", "newsletter-since")  # fmt: skip
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """One refill, and its calls alone."""

    partial: float
    """Wall seconds from just before the clear is sent until the last count is known."""
    cpu: float
    """Processor seconds of `etl once` in that time."""
    calls: float
    """Wall seconds that the same requests take alone."""
    calls_cpu: float
    before: float
    """Wall seconds from the start of `etl once` until just before the clear."""
    before_cpu: float
    peak_mib: float

    @property
    def ratio(self) -> float:
        """How many times what the calls alone take."""
        return self.partial / self.calls


# --- what both sides talk to ---------------------------------------------------------------------


@contextlib.contextmanager
def answering(folder: Path, *options: str) -> Iterator[dict[str, str]]:
    """A Campaign in a process of its own; gives its address and authority."""
    command = [sys.executable, str(HERE / "answering.py"), str(folder / "tls"),
               "--attributes", json.dumps(COLUMNS), *options]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        if child.stdout is None:
            raise AssertionError
        yield json.loads(child.stdout.readline())
        child.communicate()


def write_config(folder: Path, server: dict[str, str]) -> None:
    """Write `etl.toml` for the server as it is now."""
    attributes = ", ".join(f'"{name}" = "{name}"' for name in COLUMNS)
    (folder / "etl.toml").write_text(
        f"""version = 1
[folders]
{"".join(f'{n} = "{folder / n}"{chr(10)}' for n in FOLDERS)}
[scan]
every_seconds = 0.1
sightings = 2
[far_side]
again_minutes = 0.001
[suppression]
keys = [{{id = "k1", secret = {{file = "{folder}/secret"}}}}]
[client.main]
mandator = 1
user = "api"
password = {{file = "{folder}/secret"}}
endpoint = "{server["url"]}/"
ca_file = "{server["ca_file"]}"
[[feed]]
name = "contacts"
pattern = 'contacts\\.csv'
schema = "contacts"
kind = "regular"
client = "main"
list = {{id = {LIST}, name = "{NAME}"}}
consent = {{opt-in-id = "newsletter-2026", description = "Newsletter"}}
attributes = {{{attributes}}}
guards = {{min_rows = 1}}
""",
        "utf-8",
    )


FOLDERS = ("inbox", "quarantine", "receipts", "responses", "state")


def prepare(folder: Path, rows: int, seed: int) -> None:
    """Stage a drop; the guard of the list's name keeps it from the clear."""
    for name in FOLDERS:
        (folder / name).mkdir()
    (folder / "secret").write_text("a secret of the benchmark", "ascii")
    write_input(folder / "inbox" / "contacts.csv", rows, 0.0, seed)
    with answering(folder, "--name", "Another list") as server:
        write_config(folder, server)
        events = [event for event, _ in once(folder)]
    held = [event for event in events if event["event"] == "guard"]
    if [event["code"] for event in held] != ["wrong-list"]:
        raise SystemExit(f"the batch is not where it should be: {events}")
    (folder / "state").rename(folder / "staged")


# --- one refill ----------------------------------------------------------------------------------


def once(folder: Path) -> Iterator[tuple[dict[str, str], int]]:
    """Run `etl once`; give its events as they come, with its process."""
    command = [sys.executable, "-m", "etl", "once", "--config", str(folder / "etl.toml")]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as child:
        if child.stderr is None:
            raise AssertionError
        for line in child.stderr:
            yield json.loads(line), child.pid


def refill(folder: Path) -> tuple[float, float, float, float, float]:
    """Take the staged batch through; partial, cpu, before, before_cpu, peak_mib."""
    shutil.rmtree(folder / "state", ignore_errors=True)
    shutil.copytree(folder / "staged", folder / "state")
    marks: dict[str, tuple[datetime, float, float]] = {}
    began = datetime.now(UTC)
    for event, process in once(folder):
        if event["event"] in {"clear", "verified"}:
            marks[event["event"]] = (datetime.fromisoformat(event["at"]), *_spent(process))
    clear, verified = marks["clear"], marks["verified"]
    return (
        (verified[0] - clear[0]).total_seconds(), verified[1] - clear[1],
        (clear[0] - began).total_seconds(), clear[1], verified[2],
    )  # fmt: skip


def _spent(process: int) -> tuple[float, float]:
    """Processor seconds and peak MiB of a process so far."""
    numbers = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()
    status = Path(f"/proc/{process}/status").read_text("utf-8").splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return (int(numbers[11]) + int(numbers[12])) / TICKS, peak * 1024 / MIB


# --- the calls alone -----------------------------------------------------------------------------


def calls(kept: Path) -> list[Path]:
    """The kept requests up to the last count, in order."""
    found = sorted(kept.iterdir())
    last = max(number for number, path in enumerate(found) if path.suffix == ".getCount")
    return found[: last + 1]


def send_all(server: dict[str, str], kept: Path) -> tuple[float, float]:
    """Send the ready requests one after the other; wall and processor seconds."""
    requests = [(f"/soap11/{path.name.split('.')[1]}", path.read_bytes()) for path in calls(kept)]
    headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '""'}
    context = ssl.create_default_context(cafile=server["ca_file"])
    line = http.client.HTTPSConnection(urlsplit(server["url"]).netloc, context=context)
    line.connect()
    began, cpu = time.perf_counter(), time.process_time()
    for path, body in requests:
        line.request("POST", path, body, headers)
        with line.getresponse() as response:
            response.read()
    spent = time.perf_counter() - began, time.process_time() - cpu
    line.close()
    return spent


def alone(server: dict[str, str], kept: Path) -> tuple[float, float]:
    """`send_all` in a process of its own."""
    command = [sys.executable, __file__, "--alone", json.dumps(server), str(kept)]
    out = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    wall, cpu = json.loads(out)
    return wall, cpu


# --- the report ----------------------------------------------------------------------------------


def measure(folder: Path, arguments: argparse.Namespace) -> tuple[list[Cost], int]:
    """Measure refill and calls in turn; also how many calls there were."""
    prepare(folder, arguments.rows, arguments.seed)
    kept = folder / "kept"
    kept.mkdir()
    with answering(folder, "--name", NAME, "--keep", str(kept)) as server:
        write_config(folder, server)
        refill(folder)
    costs = []
    pause = ("--milliseconds", str(arguments.milliseconds))
    with answering(folder, "--name", NAME, *pause) as server:
        write_config(folder, server)
        for _ in range(arguments.runs):
            partial, cpu, before, before_cpu, peak = refill(folder)
            costs.append(Cost(partial, cpu, *alone(server, kept), before, before_cpu, peak))
    return costs, len(calls(kept))


def table(costs: list[Cost], rows: int, sent: int) -> list[str]:
    """The medians as a table, and what they say; `sent` is how many calls there were."""
    walls = {
        "list partial in our refill": [cost.partial for cost in costs],
        "the same calls alone": [cost.calls for cost in costs],
        "before the clear: start, suppression of all rows": [cost.before for cost in costs],
    }
    cpus = zip(*((cost.cpu, cost.calls_cpu, cost.before_cpu) for cost in costs), strict=True)
    ratios = [cost.ratio for cost in costs]
    each = 1000 * statistics.median(cost.partial - cost.calls for cost in costs) / sent
    peak = statistics.median(cost.peak_mib for cost in costs)
    lines = [
        f"### {rows:,} rows, {sent} calls from the clear to the last count",
        "",
        "| | wall s | lowest to highest | CPU s |",
        "|---|---:|---:|---:|",
    ]
    for (name, wall), cpu in zip(walls.items(), cpus, strict=True):
        span = f"{min(wall):.2f} to {max(wall):.2f}"
        lines.append(
            f"| {name} | {statistics.median(wall):.2f} | {span} | {statistics.median(cpu):.2f} |"
        )
    span = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return [
        *lines,
        "",
        f"**The list is partial for {statistics.median(ratios):.2f} times what the calls alone",
        f"take** (pair by pair {span}), {each:.1f} ms a call on top. Peak memory of `etl once`",
        f"{peak:.0f} MiB.",
        "",
    ]


def main() -> None:
    """Run all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--milliseconds", type=float, default=50.0)
    parser.add_argument("--folder", type=Path, help="on which disk the state folder is to be")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        server, kept = arguments.alone
        sys.stdout.write(json.dumps(send_all(json.loads(server), Path(kept))))
        return
    load = os.getloadavg()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        disk = _file_system(Path(folder))
        costs, sent = measure(Path(folder), arguments)
    options = (f"--rows {arguments.rows} --runs {arguments.runs} --seed {arguments.seed}"
               f" --milliseconds {arguments.milliseconds:g}")  # fmt: skip
    facts = [
        f"- medians of {arguments.runs} runs of each, in turn; Campaign answers every call after",
        f"  {arguments.milliseconds:g} ms over TLS on loopback; state folder on {disk}, and every",
        "  commit synced to disk",
    ]
    text = "\n".join([
        *circumstances(f"bench_refill.py {options}", ("polars", "zeep", "lxml"), load), *facts, "",
        *table(costs, arguments.rows, sent),
    ])  # fmt: skip
    sys.stdout.write(text)
    if arguments.write:
        put_into_results("A refill", text)


def _file_system(folder: Path) -> str:
    """The kind of file system a folder is on."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    real = folder.resolve()
    holding = [mount for mount in mounts if real.is_relative_to(mount[1])]
    return max(holding, key=lambda mount: len(mount[1]))[2]


if __name__ == "__main__":
    main()
