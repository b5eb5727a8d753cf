"""The samples and their expectations, by an independent reader alone: no code of ours is run."""

import json
import re
import runpy
import subprocess
import sys
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from etl.reasons import REASONS
from tests.reader import Record, column, fold, matches, read

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data"
EXPECTED: dict[str, Any] = json.loads((SAMPLES / "expected.json").read_text("utf-8"))
DROPS: list[dict[str, Any]] = EXPECTED["drops"]
PEOPLE: dict[str, Any] = EXPECTED["people"]
READABLE = [drop for drop in DROPS if drop["records"] is not None]
JUDGED = [drop for drop in READABLE if drop["check"] is not None]
SIMPLE_ADDRESS = re.compile(r"(?!.*\.\.)[!-?A-~]+@([a-z0-9-]+\.)+[a-z]+", re.ASCII)


def feeds() -> dict[str, Any]:
    """The feeds of the demo's configuration, by name."""
    text = (SAMPLES / "etl.toml.template").read_text("utf-8").replace("$SFTP_PORT", "22")
    return {feed["name"]: feed for feed in tomllib.loads(text)["feed"]}


@pytest.fixture(scope="session")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of 100,000 rows, made as the demo makes it."""
    target = tmp_path_factory.mktemp("big") / "masse.csv"
    subprocess.run([sys.executable, str(SAMPLES / "make_big.py"), str(target)], check=True)
    return target


def records_of(drop: dict[str, Any], big: Path) -> tuple[tuple[str, ...], list[Record]]:
    """What the independent reader finds in a drop, or would if the CRM left out whom it must."""
    if "made_of" in drop:
        (source,) = (each for each in DROPS if each["file"] == drop["made_of"])
        header, records = records_of(source, big)
        told = {a for people in EXPECTED["responses"][str(source["day"])].values() for a in people}
        left = [each for each in records if fold(column(header, each, "email")) not in told]
        return header, left
    path = big if "made_by" in drop else SAMPLES / drop["file"]
    dialect = feeds()[drop["feed"]].get("csv", {}) if drop["feed"] else {}
    return parsed(path, dialect.get("encoding", "utf-8"), dialect.get("delimiter", ";"))


@cache
def parsed(path: Path, encoding: str, delimiter: str) -> tuple[tuple[str, ...], list[Record]]:
    """Read a file once for all tests."""
    return read(path.read_bytes(), encoding=encoding, delimiter=delimiter)


def name_of(drop: dict[str, Any]) -> str:
    """The test's id."""
    return str(drop["file"])


def nos(day: int) -> dict[str, list[str]]:
    """Who said no by a day."""
    between = PEOPLE["between_days"] if day > 1 else {"bounced": [], "unsubscribed": []}
    return {
        "bounced": [*PEOPLE["bounced"], *between["bounced"]],
        "unsubscribed": [
            *PEOPLE["unsubscribed"],
            *PEOPLE["unsubscribed_not_exported"],
            *between["unsubscribed"],
        ],
    }


@pytest.mark.parametrize("drop", READABLE, ids=name_of)
def test_expected_records_are_those_an_independent_reader_finds(
    drop: dict[str, Any], big: Path
) -> None:
    """As many records are in the file as expected.json says, and rows_read says the same."""
    _, records = records_of(drop, big)
    assert len(records) == drop["records"]
    if drop["check"] is not None:
        assert drop["check"]["rows_read"] == drop["records"]


@pytest.mark.parametrize("drop", JUDGED, ids=name_of)
def test_expected_fates_are_all_rows(drop: dict[str, Any]) -> None:
    """Accepted, rejected and suppressed add up to the rows read, and no code is unknown."""
    check = drop["check"]
    assert check["accepted"] + check["rejected"] + check["suppressed"] == check["rows_read"]
    assert set(check["rejected_by"]) <= set(REASONS)
    assert max(check["rejected_by"].values(), default=0) <= check["rejected"]
    assert drop["code"] is None or drop["code"] in REASONS


@pytest.mark.parametrize("drop", JUDGED, ids=name_of)
def test_expected_suppressed_people_are_in_the_file(drop: dict[str, Any], big: Path) -> None:
    """Who is seeded as bounced, unsubscribed or blocked is there as often as expected.json says."""
    header, records = records_of(drop, big)
    addresses = [fold(column(header, record, "email")) for record in records]
    kinds = {
        kind: {n for n, each in enumerate(addresses) if each in people}
        for kind, people in nos(drop["day"]).items()
    }
    kinds["blocklisted"] = {
        number
        for number, each in enumerate(addresses)
        if any(matches(each, pattern) for pattern in PEOPLE["blocklist"])
    }
    counted = {kind: len(found) for kind, found in kinds.items()}
    assert counted == drop["check"]["suppressed_by"]
    assert len(set().union(*kinds.values())) == drop["check"]["suppressed"]


@pytest.mark.parametrize("drop", JUDGED, ids=name_of)
def test_expected_rejections_by_structure_address_and_repetition(
    drop: dict[str, Any], big: Path
) -> None:
    """What the reader can tell of rejected rows is counted in expected.json under its code."""
    header, records = records_of(drop, big)
    whole = [record for record in records if len(record.cells) == len(header)]
    addresses = [fold(column(header, record, "email")) for record in whole]
    counted = {
        "blank-line": sum(not record.cells for record in records),
        "short-record": sum(0 < len(record.cells) < len(header) for record in records),
        "long-record": sum(len(record.cells) > len(header) for record in records),
        "bad-bytes": sum(
            any(0xDC80 <= ord(char) <= 0xDCFF for cell in record.cells for char in cell)
            for record in records
        ),
        "email": sum(bool(a) and not SIMPLE_ADDRESS.fullmatch(a) for a in addresses),
        "empty-consent": sum(not column(header, record, "opt-in-id") for record in whole),
        "duplicate-recipient": sum(n - 1 for a, n in Counter(addresses).items() if a),
    }
    told = {code: drop["check"]["rejected_by"].get(code, 0) for code in counted}
    assert counted == told


def test_samples_are_those_expected() -> None:
    """Every sample is in expected.json and the other way round, but for what the demo makes."""
    found = {f"{day.name}/{path.name}" for day in SAMPLES.glob("day?") for path in day.iterdir()}
    assert found == {d["file"] for d in DROPS if "made_by" not in d and "made_of" not in d}


def test_the_third_drop_follows_on_one_that_still_had_who_said_no(big: Path) -> None:
    """The drop made in the demo is the next of its feed; whoever said no is in the one before."""
    (made,) = (drop for drop in DROPS if "made_of" in drop)
    (source,) = (drop for drop in DROPS if drop["file"] == made["made_of"])
    assert (made["feed"], made["day"]) == (source["feed"], source["day"] + 1) == ("kontakte", 3)
    assert made["file"][-12:-4] > source["file"][-12:-4]
    header, records = records_of(source, big)
    addresses = {fold(column(header, record, "email")) for record in records}
    between = PEOPLE["between_days"]
    assert between["bounced"]
    assert between["unsubscribed"]
    assert addresses >= {*between["bounced"], *between["unsubscribed"]}
    told = EXPECTED["responses"]
    assert told[str(made["day"])] == told[str(source["day"])]
    assert set(between["bounced"]) <= set(told[str(source["day"])]["bounces"])
    assert set(between["unsubscribed"]) <= set(told[str(source["day"])]["unsubscriptions"])


def test_one_feed_and_list_per_sample() -> None:
    """Within a day no two samples share a feed, no two feeds a list, and the pattern fits."""
    by_name = feeds()
    used = [(drop["day"], drop["feed"]) for drop in DROPS if drop["feed"]]
    assert len(set(used)) == len(used)
    assert {feed for _, feed in used} == set(by_name)
    assert len({feed["list"]["id"] for feed in by_name.values()}) == len(by_name)
    for drop in DROPS:
        name = Path(drop["file"]).name
        fitting = [n for n, feed in by_name.items() if re.fullmatch(feed["pattern"], name)]
        assert fitting == ([drop["feed"]] if drop["feed"] else [])


def test_samples_hold_made_up_people_only() -> None:
    """Every domain in the samples is one that nobody can have."""
    pattern = re.compile(r"@([\w.-]+\w)")
    for path in (*SAMPLES.glob("day?/*"), SAMPLES / "expected.json", SAMPLES / "make_big.py"):
        domains = pattern.findall(path.read_text("utf-8", "replace"))
        strange = [d for d in domains if not d.lower().endswith(("example.org", ".test"))]
        assert strange == (["localhost"] if path.name.startswith("adressen") else [])


def test_an_older_drop_comes_after_a_newer_one() -> None:
    """The late comer's date is before the one of the day before."""
    days = {d["day"]: d["file"][-12:-4] for d in DROPS if d["feed"] == "nachzuegler"}
    assert days[2] < days[1]


def test_the_big_drop_is_the_same_each_time(tmp_path: Path) -> None:
    """Two runs of the script write the same bytes, and the workbook is one by its first bytes."""
    write = runpy.run_path(str(SAMPLES / "make_big.py"))["write"]
    for name in ("one", "two"):
        write(tmp_path / name, 500)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    (workbook,) = (SAMPLES / "day1").glob("tabelle*")
    assert workbook.read_bytes().startswith(b"PK\x03\x04")
