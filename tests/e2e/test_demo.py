"""`etl demo` as a user starts it, and the conservation of rows over everything it leaves behind."""

import dataclasses
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from etl.demo import days, run_demo
from etl.demo.expected import Expected, ExpectedDrop, put_drop, read_expected
from etl.demo.proof import prove_drop
from etl.demo.screen import show_table
from etl.demo.servers import Servers, servers
from tests.reader import Record, column, fold, matches, read

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data"
ROOT = SAMPLES.parent
JSON: dict[str, Any] = json.loads((SAMPLES / "expected.json").read_text("utf-8"))
GOOD = ("archived", "held")
REFILLS_KEPT = 2
"""As many refills of a feed keep their staged rows; none is needed for longer."""
ENCODINGS = {"firmen": "cp1252"}
DELIMITERS = {"leads": ","}


def read_drop(data: bytes, feed: str, encoding: str) -> tuple[tuple[str, ...], list[Record]]:
    """Read a drop or a remote file of a feed independently."""
    return read(data, encoding=encoding, delimiter=DELIMITERS.get(feed, ";"))


def noes(day: int) -> list[str]:
    """Entries of the blocklist and addresses that must not be mailed on a day."""
    people = JSON["people"]
    known = [*people["bounced"], *people["unsubscribed"], *people["unsubscribed_not_exported"]]
    between = people["between_days"]
    later = [*between["bounced"], *between["unsubscribed"]] if day > 1 else []
    return [*known, *later, *people["blocklist"]]


def refused_lines(
    day: int, header: tuple[str, ...], records: list[Record]
) -> tuple[set[int], list[str]]:
    """Lines of people who must not be mailed, and their addresses."""
    whole, wild = set(), []
    for entry in noes(day):
        if "*" in entry or "?" in entry:
            wild.append(entry)
        else:
            whole.add(entry)
    lines, addresses = set(), []
    for record in records:
        address = fold(column(header, record, "email"))
        if address in whole or any(matches(address, pattern) for pattern in wild):
            lines.add(record.line)
            addresses.append(address)
    return lines, addresses


def accepted_lines(
    folder: Path, drop: dict[str, Any], receipt: dict[str, Any], records: list[Record]
) -> list[int]:
    """Lines of the accepted records: as staged, and as sent where two refills came after."""
    staged = folder / "state" / "batches" / receipt["batch"] / "staged.arrow"
    after = [
        each
        for each in JSON["drops"]
        if each["feed"] == drop["feed"] and each["day"] > drop["day"] and each["uploaded"]
    ]
    if len(after) < REFILLS_KEPT:
        lines: list[int] = pl.read_ipc(staged.read_bytes())["line"].to_list()
        return lines
    assert not staged.exists()
    by_cells = {record.cells: record.line for record in records}
    remote = (folder / "sftp" / receipt["upload"]["name"]).read_bytes()
    return [by_cells.get(row.cells, 0) for row in read_drop(remote, drop["feed"], "utf-8")[1]]


def unaccounted(folder: Path, drop: dict[str, Any], data: bytes) -> list[str]:
    """What is wrong with the fates of a drop's lines, by what lies in the demo's folder alone."""
    name = Path(drop["file"]).name
    (path,) = (folder / "receipts").glob(f"{name}.*.receipt.json")
    receipt = json.loads(path.read_text("utf-8"))
    staged = folder / "state" / "batches" / receipt["batch"] / "staged.arrow"
    if drop["fate"] not in GOOD:
        left = [*(folder / "sftp").glob(f"*{receipt['batch']}*")]
        return [f"{name}: staged or uploaded all the same"] if left or staged.exists() else []
    feed = drop["feed"]
    header, records = read_drop(data, feed, ENCODINGS.get(feed, "utf-8"))
    accepted = accepted_lines(folder, drop, receipt, records)
    rejected: list[int] = []
    if receipt["case"]:
        case = (folder / "quarantine" / receipt["case"] / "rejected.csv").read_bytes()
        case_header, rows = read_drop(case, feed, "utf-8")
        rejected = [int(column(case_header, row, "rejected-line")) for row in rows]
    suppressed, _ = refused_lines(drop["day"], header, records)
    found = []
    fates = {"accepted": accepted, "rejected": rejected, "suppressed": sorted(suppressed)}
    for fate, lines in fates.items():
        if len(lines) != len(set(lines)):
            found.append(f"{name}: a line is {fate} twice")
        if len(lines) != drop["check"][fate]:
            found.append(f"{name}: {len(lines)} {fate}, not {drop['check'][fate]}")
    together = [line for lines in fates.values() for line in lines]
    if sorted(together) != [record.line for record in records]:
        found.append(f"{name}: the three fates are not all records, each once")
    if receipt["upload"]:
        remote = (folder / "sftp" / receipt["upload"]["name"]).read_bytes()
        remote_header, rows = read_drop(remote, feed, "utf-8")
        wanted = set(accepted)
        sent = [record.cells for record in records if record.line in wanted]
        if remote_header != header or [row.cells for row in rows] != sent:
            found.append(f"{name}: the remote file is not the accepted records")
        if refused_lines(drop["day"], remote_header, rows)[0]:
            found.append(f"{name}: the remote file names people who must not be mailed")
    return found


def loop_shown(said: str) -> list[str]:
    """The lines on the screen that tell the loop."""
    lines = said.splitlines()
    start = lines.index("The loop between Campaign and the CRM is closed")
    return [line.strip() for line in lines[start + 1 : start + 7]]


def loop_left(folder: Path) -> list[str]:
    """The same lines, by what lies in the demo's folder."""
    names = {}
    for kind, entity in (("bounces", "K-0010"), ("unsubscriptions", "K-0005")):
        (path,) = (
            path
            for path in (folder / "responses").glob(f"{kind}-*.csv")
            if f"@example.org;contact;{entity};" in path.read_text("utf-8")
        )
        names[kind] = path.name
    return [
        "overnight: contact K-0005 unsubscribed, contact K-0010 bounced",
        "day 2: kontakte_20260915.csv still had contact K-0005, contact K-0010",
        "day 2: sent of them: nobody (41 read, 2 suppressed, list 39)",
        f"for the CRM: {names['bounces']} names contact K-0010",
        f"for the CRM: {names['unsubscriptions']} names contact K-0005",
        "day 3: kontakte_20260916.csv still has nobody of them (39 read, 0 suppressed, list 39)",
    ]


@pytest.mark.timeout(300)
def test_the_demo_shows_every_drop_and_accounts_for_every_row(tmp_path: Path) -> None:
    """`etl demo` ends with 0 and a row for each drop; each record of each has exactly one fate."""
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "etl", "demo", "--keep"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8",
        env=environment, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    (folder,) = tmp_path.glob("etl-demo-*")
    for drop in JSON["drops"]:
        name = Path(drop["file"]).name
        fate = drop["fate"] + (f": {drop['code']}" if drop["code"] else "")
        row = rf"│ ✓ +│ {drop['day']} +│ {re.escape(name)} +│ {re.escape(fate)} +│"
        assert re.search(row, done.stdout), name
    assert f"Everything is kept in {folder}" in done.stdout
    for code in ("shrunk", "grown", "outdated"):
        assert re.search(rf"etl release \S+ --allow {code} --why", done.stdout)
    big = tmp_path / "big.csv"
    subprocess.run([sys.executable, str(SAMPLES / "make_big.py"), str(big)], check=True)
    for drop in JSON["drops"]:
        path = big if "made_by" in drop else SAMPLES / drop["file"]
        if "made_of" in drop:
            path = folder / "crm" / Path(drop["file"]).name
        assert unaccounted(folder, drop, path.read_bytes()) == []
    assert loop_shown(done.stdout) == loop_left(folder)


@pytest.fixture
def refilled(tmp_path: Path) -> Iterator[tuple[Servers, Expected, ExpectedDrop]]:
    """One list refilled from the drop with people who must not be mailed; both servers at work."""
    expected = read_expected()
    (drop,) = [each for each in expected.drops if each.feed == "verneint"]
    with servers(tmp_path, dataclasses.replace(expected, drops=[drop])) as far:
        put_drop(expected, drop, tmp_path)
        assert days.run_once(far) == 0
        yield far, expected, drop


def clears(far: Servers) -> list[int]:
    """Lists cleared so far."""
    return [call["list_id"] for call in far.campaign.calls() if call["method"] == "clear"]


def test_a_planted_suppressed_person_turns_the_proof_red(
    refilled: tuple[Servers, Expected, ExpectedDrop],
) -> None:
    """Nothing differs after a run; with one unsubscribed person in the list the proof says so."""
    far, expected, drop = refilled
    assert prove_drop(far, expected, drop, clears(far)).differences == []
    planted = expected.unsubscribed[0]
    far.campaign.put_recipients(1014, [{"id": planted, "address": planted}])
    assert "1 people who must not be mailed are there" in (
        prove_drop(far, expected, drop, clears(far)).differences
    )


def test_a_suppressed_row_in_the_remote_file_turns_the_conservation_red(
    refilled: tuple[Servers, Expected, ExpectedDrop],
) -> None:
    """Rows add up after a run; with the record of a blocked person in the file they do not."""
    far, _, drop = refilled
    (told,) = [each for each in JSON["drops"] if each["feed"] == "verneint"]
    data = (SAMPLES / drop.file).read_bytes()
    assert unaccounted(far.folder, told, data) == []
    (remote,) = far.remote.iterdir()
    (record,) = [line for line in data.splitlines(keepends=True) if b"eins@gesperrt.test" in line]
    remote.write_bytes(remote.read_bytes() + record)
    assert unaccounted(far.folder, told, data) == [
        f"{drop.name}: the remote file is not the accepted records",
        f"{drop.name}: the remote file names people who must not be mailed",
    ]


def test_a_staged_suppressed_person_turns_the_conservation_red(
    refilled: tuple[Servers, Expected, ExpectedDrop],
) -> None:
    """A line that is accepted although its person unsubscribed has two fates, and that is seen."""
    far, _, drop = refilled
    (told,) = [each for each in JSON["drops"] if each["feed"] == "verneint"]
    data = (SAMPLES / drop.file).read_bytes()
    (staged,) = (far.folder / "state" / "batches").glob("*/staged.arrow")
    frame = pl.read_ipc(staged.read_bytes())
    # The header is line 1, so the seventh row, who unsubscribed, is line 8.
    pl.concat([frame, frame.head(1).with_columns(line=pl.lit(8, dtype=pl.UInt32))]).write_ipc(
        staged
    )
    found = unaccounted(far.folder, told, data)
    assert f"{drop.name}: the three fates are not all records, each once" in found


def test_a_wrong_expectation_ends_the_proof_red(
    refilled: tuple[Servers, Expected, ExpectedDrop],
) -> None:
    """A count, a fate or an upload that is not the expected one is told."""
    far, expected, drop = refilled
    assert drop.check is not None
    wrong = dataclasses.replace(
        drop, check={**drop.check, "accepted": 19}, fate="held", list_count=17, uploaded=False
    )
    found = prove_drop(far, expected, wrong, []).differences
    assert found == [
        "fate is archived, not held",
        "uploaded is True, not False",
        "accepted is 18, not 19",
        "the list holds 18, not 17",
    ]


def test_a_demo_with_another_outcome_ends_with_1_and_says_what_differs(tmp_path: Path) -> None:
    """One count that does not come true is enough for 1, and the drop and the count are named."""
    samples = tmp_path / "samples"
    shutil.copytree(SAMPLES, samples)
    (drop,) = [each for each in JSON["drops"] if each["feed"] == "verneint"]
    wrong = {**drop, "list_count": 19}
    (samples / "expected.json").write_text(json.dumps({**JSON, "drops": [wrong]}), "utf-8")
    folder = tmp_path / "demo"
    folder.mkdir()
    said = io.StringIO()
    assert run_demo(Console(file=said), folder=folder, samples=samples) == 1
    assert "✗ verneint_20260914.csv: the list holds 18, not 19" in said.getvalue()
    assert "1 outcomes are not what was expected" in said.getvalue()


def test_a_demo_that_is_interrupted_ends_with_1_and_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a day stops the demo in order, and its folder is gone."""
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "etl", "demo"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, encoding="utf-8",
        env=environment, cwd=tmp_path,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        for line in running.stdout:
            if "place=UPLOADED" in line:
                running.send_signal(signal.SIGINT)
                break
        rest = running.stdout.read()
    assert running.returncode == 1
    assert rest.endswith("Stopped.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_narrow_screen_shows_names_of_files_whole(
    refilled: tuple[Servers, Expected, ExpectedDrop],
) -> None:
    """At 80 columns the names of uploaded file and receipt stand unbroken below the table."""
    far, expected, drop = refilled
    outcome = prove_drop(far, expected, drop, clears(far))
    said = io.StringIO()
    show_table(Console(file=said, width=80), [outcome])
    assert outcome.receipt["upload"]["name"] in said.getvalue()
    assert outcome.where in said.getvalue()
