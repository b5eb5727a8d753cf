"""The demo's loop over three days: closed as it is played, and open wherever it is broken."""

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from etl.demo import crm, days, run_demo
from etl.demo.expected import Expected, put_drop, read_expected
from etl.demo.loop import prove_loop
from etl.demo.proof import Outcome, prove_drop
from etl.demo.servers import Servers, next_day, say_no, servers
from tests.reader import column, fold, read

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data"
JSON: dict[str, Any] = json.loads((SAMPLES / "expected.json").read_text("utf-8"))
Played = tuple[Servers, Expected, list[Outcome]]


@pytest.fixture(scope="module")
def all_days(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The three days of the contacts alone, what the proof found, and the servers stopped."""
    folder = tmp_path_factory.mktemp("days")
    expected = read_expected()
    drops = [each for each in expected.drops if each.feed == "kontakte"]
    assert [each.day for each in drops] == [1, 2, 3]
    expected = dataclasses.replace(expected, drops=drops)
    outcomes = []
    with servers(folder, expected) as far:
        for drop in drops:
            if drop.day == 2:
                say_no(far.campaign, expected)
            if drop.day > 1:
                next_day(far.campaign)
            since = len(far.campaign.calls())
            put_drop(expected, drop, folder)
            assert days.run_once(far) == 0
            calls = far.campaign.calls(since)
            cleared = [call["list_id"] for call in calls if call["method"] == "clear"]
            outcomes.append(prove_drop(far, expected, drop, cleared))
    assert [each.differences for each in outcomes] == [[], [], []]
    return far, expected, outcomes


@pytest.fixture
def played(all_days: Played, tmp_path: Path) -> Played:
    """A copy of what the three days left, to be broken."""
    far, expected, outcomes = all_days
    for name in ("responses", "crm"):
        shutil.copytree(far.folder / name, tmp_path / name)
    return dataclasses.replace(far, folder=tmp_path), expected, outcomes


def test_the_third_drop_is_the_second_without_who_said_no(played: Played) -> None:
    """Nothing is left out of the CRM's own export but the records of the two, and none is new."""
    far, _, _ = played
    header, before = read((SAMPLES / "day2" / "kontakte_20260915.csv").read_bytes())
    after_header, after = read((far.folder / "crm" / "kontakte_20260916.csv").read_bytes())
    between = JSON["people"]["between_days"]
    told = {*between["bounced"], *between["unsubscribed"]}
    left = [each.cells for each in before if fold(column(header, each, "email")) not in told]
    assert after_header == header
    assert len(left) == len(before) - 2
    assert [each.cells for each in after] == left


def test_the_loop_is_closed_after_three_days(played: Played) -> None:
    """Both who said no were in the second drop, not sent, named in one file each, and are gone."""
    loop = prove_loop(*played)
    assert loop is not None
    assert loop.gaps == []
    told = [(each.how, each.entity, each.sent, each.back) for each in loop.refusals]
    assert told == [
        ("unsubscribed", "contact K-0005", False, False),
        ("bounced", "contact K-0010", False, False),
    ]
    kinds = [[name.split("-")[0] for name in each.named_in] for each in loop.refusals]
    assert kinds == [["unsubscriptions"], ["bounces"]]


def test_a_row_in_no_file_for_the_crm_opens_the_loop(played: Played) -> None:
    """Without the rows of an unsubscription the CRM exports the person again, and both is told."""
    far, expected, outcomes = played
    for path in (far.folder / "responses").iterdir():
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(line for line in lines if b"K-0005" not in line))
    source = expected.folder / "day2" / "kontakte_20260915.csv"
    crm.export(source, far.folder / "responses", far.folder / "crm" / "kontakte_20260916.csv")
    loop = prove_loop(far, expected, outcomes)
    assert loop is not None
    assert loop.gaps == [
        "the receipt of kontakte_20260916.csv is of another file",
        "no unsubscriptions for the CRM name contact K-0005",
        "contact K-0005 unsubscribed and is in kontakte_20260916.csv all the same",
    ]


def test_a_bounce_among_the_unsubscriptions_opens_the_loop(played: Played) -> None:
    """The CRM must learn what happened, not only of whom."""
    far, expected, outcomes = played
    (path,) = (
        path
        for path in (far.folder / "responses").glob("bounces-*.csv")
        if "-unassigned-" not in path.name
    )
    path.rename(path.with_name(path.name.replace("bounces", "unsubscriptions")))
    loop = prove_loop(far, expected, outcomes)
    assert loop is not None
    assert loop.gaps == ["no bounces for the CRM name contact K-0010"]


def test_somebody_sent_after_saying_no_opens_the_loop(played: Played) -> None:
    """An address in the second drop's remote file or list is told with its entity."""
    far, expected, (first, second, third) = played
    sent = dataclasses.replace(second, addressed=second.addressed | {*expected.bounced_between})
    loop = prove_loop(far, expected, [first, sent, third])
    assert loop is not None
    assert loop.gaps == [
        "contact K-0010 bounced and was sent all the same, from kontakte_20260915.csv"
    ]


@pytest.mark.parametrize("planted", [b"contact;K-0005;x@example.org", None], ids=["id", "address"])
def test_somebody_in_the_third_drop_opens_the_loop(played: Played, planted: bytes | None) -> None:
    """The entity under another address is back, and so is the address under another entity."""
    far, expected, outcomes = played
    path = far.folder / "crm" / "kontakte_20260916.csv"
    address = expected.unsubscribed_between[0].encode()
    record = planted or b"contact;K-9999;" + address
    columns = path.read_bytes().splitlines()[0].count(b";") + 1
    row = b"NL-2026-KONTAKTE;Newsletter;EMAIL;" + record + b";" * (columns - 6) + b"\r\n"
    path.write_bytes(path.read_bytes() + row)
    loop = prove_loop(far, expected, outcomes)
    assert loop is not None
    assert loop.gaps == [
        "the receipt of kontakte_20260916.csv is of another file",
        "contact K-0005 unsubscribed and is in kontakte_20260916.csv all the same",
    ]


def test_a_demo_whose_loop_is_open_ends_with_1_and_says_where(tmp_path: Path) -> None:
    """Somebody who says no and was in no drop is one wrong outcome, and the loop is not closed."""
    samples = tmp_path / "samples"
    shutil.copytree(SAMPLES, samples)
    changed = json.loads(json.dumps(JSON))
    changed["drops"] = [each for each in JSON["drops"] if each["feed"] == "kontakte"]
    strange = "nie.dagewesen@example.org"
    changed["people"]["between_days"]["unsubscribed"].append(strange)
    for day in ("2", "3"):
        changed["responses"][day]["unsubscriptions"].append(strange)
    (samples / "expected.json").write_text(json.dumps(changed), "utf-8")
    folder = tmp_path / "demo"
    folder.mkdir()
    said = io.StringIO()
    assert run_demo(Console(file=said), folder=folder, samples=samples) == 1
    assert "The loop between Campaign and the CRM is NOT closed" in said.getvalue()
    assert f"✗ nobody in kontakte_20260915.csv has the address {strange}" in said.getvalue()
    assert "1 outcomes are not what was expected" in said.getvalue()


def test_the_crm_leaves_out_whom_any_file_names_and_nothing_else(tmp_path: Path) -> None:
    """Its export has the bytes it had but for the records told of; unassigned ones are no news."""
    source = SAMPLES / "day2" / "kontakte_20260915.csv"
    target = tmp_path / "next.csv"
    responses = tmp_path / "responses"
    responses.mkdir()
    crm.export(source, responses, target)
    assert target.read_bytes() == source.read_bytes()
    for name, entity in (
        ("bounces-demo-1.csv", "contact;K-0001"),
        ("unsubscriptions-demo-1.csv", "contact;K-0003"),
        ("unsubscriptions-demo-2.csv", "lead;K-0004"),
        ("bounces-unassigned-demo-1.csv", "contact;K-0002"),
        ("opens-demo-1.csv", "contact;K-0002"),
    ):
        text = f"recipient-id;entity-type;entity-id;time\r\nx@example.org;{entity};\r\n"
        (responses / name).write_text(text, "utf-8")
    crm.export(source, responses, target)
    lines = source.read_bytes().splitlines(keepends=True)
    # The record of K-0003 goes over two lines.
    assert b"K-0001" in lines[1]
    assert b"K-0003" in lines[3]
    assert target.read_bytes() == b"".join([lines[0], lines[2], *lines[5:]])


def test_a_loop_that_nobody_went_through_is_not_closed(played: Played) -> None:
    """Where nobody said no between the drops, the demo does not claim anything."""
    far, expected, outcomes = played
    nobody = dataclasses.replace(expected, bounced_between=[], unsubscribed_between=[])
    loop = prove_loop(far, nobody, outcomes)
    assert loop is not None
    assert loop.gaps == ["nobody in kontakte_20260915.csv said no, so nothing is shown"]
