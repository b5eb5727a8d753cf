"""What a user types and what comes back: answers, words for people, exit codes."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.seen import clears, schema_errors, status, told
from tests.servers.service import Setting, as_csv, people, person, setting

ROOT = Path(__file__).resolve().parents[2]
DONE, TROUBLE, USAGE, FAR_SIDE, CONFIGURATION = 0, 1, 2, 69, 78


@pytest.fixture
def resting(tmp_path: Path) -> Setting:
    """A configuration that is right, with no far side behind it and nothing that runs."""
    made = Setting(tmp_path, feeds=2)
    made.url = "https://127.0.0.1:9/soap11"
    made.ca_file = ""
    made.sshd = Nowhere()  # type: ignore[assignment]  # all that a configuration needs of it
    made.write_config()
    text = made.config.read_text().replace('ca_file = ""\n', "")
    made.config.write_text(text)
    return made


class Nowhere:
    """An account on a server that is not there."""

    host, port, user, remote = "127.0.0.1", 9, "nobody", "."
    host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFQuA0ctOyZjFCK7LjxZIg4Z1R41zl/CogIJMK9oSi2f"


def answer(made: Setting, *words: str, code: int = DONE) -> dict[str, Any]:
    """What a command answers in JSON."""
    done = made.etl(*words, "--json")
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def drop_file(made: Setting, name: str, content: bytes) -> str:
    """A file outside the inbox, to be looked at."""
    path = made.root / name
    path.write_bytes(content)
    return str(path)


def test_check(tmp_path: Path):
    """A right configuration: 0; lists that are not as pinned: 78, with all else at once."""
    with setting(tmp_path, feeds=3) as made:
        assert answer(made, "check") == {"problems": []}
        done = made.etl("check")
        assert (done.returncode, done.stdout.strip()) == (DONE, "problems: none")
        made.control.set_list(list_id=100, name="Another")
        made.control.set_list(list_id=101, is_test=True)
        made.control.set_list(list_id=102, attributes={"firstname": "STRING"})
        made.sshd.new_host_key()
        problems = answer(made, "check", code=CONFIGURATION)["problems"]
        assert [(one["where"], one["what"].partition(":")[0]) for one in problems] == [
            ("sftp.main", "sftp-host-key"), ("feed.a.list", "wrong-list"),
            ("feed.b.list", "test-list"), ("feed.c.list", "missing-attribute"),
        ]  # fmt: skip
        changing = {"clear", "addAll3", "removeUnsubscribed", "removeBlacklisted"}
        assert not changing & {call["method"] for call in made.calls()}
        assert made.remote() == {}
        assert not made.state.exists()
        before = len(made.calls())
        assert answer(made, "check", "--offline") == {"problems": []}
        assert len(made.calls()) == before


def test_check_names_every_problem_on_this_machine(resting: Setting):
    """Folders and keys that cannot be used are told together, with 78, and nobody is asked."""
    resting.inbox.rmdir()
    resting.receipts_folder.rmdir()
    (resting.root / "secret" / "key").write_text("no key")
    problems = answer(resting, "check", code=CONFIGURATION)["problems"]
    assert [one["where"] for one in problems] == ["folders.inbox", "folders.receipts", "sftp.main"]
    assert resting.etl("run").returncode == CONFIGURATION


def test_wrong_configuration(resting: Setting):
    """Every problem is told at once, on standard error, with 78 and without a secret or a trace."""
    text = resting.config.read_text()
    text = text.replace("consent-1", "").replace('kind = "regular"', 'kind = "opt-in"', 1)
    resting.config.write_text(text.replace("chunk_rows = 10", "chunk_rows = 5000\nnonsense = 1"))
    for verb in (["run"], ["check"], ["quarantine", "list"]):
        done = resting.etl(*verb)
        assert (done.returncode, done.stdout) == (CONFIGURATION, "")
        places = [line.partition(": ")[0] for line in done.stderr.splitlines()]
        assert places == [
            "client.main.chunk_rows", "client.main.nonsense", "feed.0.kind",
            "feed.0.consent.opt-in-id", "feed.1.consent.opt-in-id",
        ]  # fmt: skip
    assert "re-activates" in done.stderr


def test_validate(resting: Setting):
    """By feed or schema: 0 for a file that is right, 1 for rows or a drop that are not."""
    good = drop_file(resting, "a.csv", as_csv(people(3)))
    bad = drop_file(resting, "x.csv", as_csv([*people(2), person(3, email="no-address")]))
    empty = drop_file(resting, "b.csv", b"")
    schema = str(resting.root / "schema.json")

    found = answer(resting, "validate", good)
    assert (found["rows_read"], found["accepted"], found["rejected"]) == (3, 3, 0)
    for by in (("--feed", "b"), ("--schema", schema)):
        assert answer(resting, "validate", good, *by)["accepted"] == 3
        found = answer(resting, "validate", bad, *by, code=TROUBLE)
        assert (found["rows_read"], found["accepted"], found["rejected"]) == (3, 2, 1)
        (reason,) = found["reasons"]
        assert (reason["code"], reason["field"], reason["lines"]) == ("email", "email", [4])
    assert answer(resting, "validate", empty, code=TROUBLE)["refusal"]["code"] == "empty-file"
    shipped = answer(resting, "validate", good, "--schema", "contacts", code=TROUBLE)
    assert shipped["refusal"]["code"] == "missing-column"

    words = resting.etl("validate", bad, "--feed", "a")
    assert words.returncode == TROUBLE
    assert "email is not an e-mail address that Campaign takes" in words.stdout
    assert "no-address" not in words.stdout
    for wrong in ((bad,), (bad, "--feed", "z"), (str(resting.root / "none.csv"), "--feed", "a")):
        assert resting.etl("validate", *wrong).returncode == USAGE
    assert resting.etl("validate", bad, "--schema", "none").returncode == CONFIGURATION
    assert not resting.state.exists()


def test_nothing_ran_yet(resting: Setting):
    """Commands that look into the state say so when there is none, and make none."""
    for words in (["status"], ["responses", "status"], ["responses", "fetch"],
                  ["release", "X", "--allow", "shrunk", "--why", "Y"]):  # fmt: skip
        done = resting.etl(*words)
        assert done.returncode == CONFIGURATION, words
        assert "nothing ran yet" in done.stderr
    assert answer(resting, "quarantine", "list") == {"cases": []}
    assert not resting.state.exists()


def test_once_and_the_commands_beside_it(tmp_path: Path):
    """`etl once` ends with 0 or 1; status, cases, requests and their refusals in between."""
    with setting(tmp_path, feeds=2) as made:
        assert made.etl("once").returncode == DONE
        made.drop("a_20300101.csv", people(10))
        assert made.etl("once").returncode == DONE
        assert len(made.list_ids()) == 10
        assert made.etl("once").returncode == DONE

        made.drop("a_20300102.csv", people(5))
        made.drop("b.csv", [*people(3), person(4, email="no-address")])
        made.drop("c.csv", people(1))
        done = made.etl("once")
        assert done.returncode == TROUBLE
        events = [json.loads(line) for line in done.stderr.splitlines()]
        assert {"claimed", "guard", "drop"} <= {event["event"] for event in events}
        assert len(made.list_ids(1)) == 3

        found = status(made)
        assert found["requests_waiting"] == 0
        (held,) = found["under_way"]
        assert (held["name"], held["code"]) == ("a_20300102.csv", "shrunk")
        assert (held["place"], held["dirty_list"]) == ("CLAIMED", False)
        assert held["batch"] in held["hint"]
        assert held["next_try"] is None
        ended = {one["name"]: one for one in found["ended"]}
        assert ended["b.csv"]["case"]
        assert (ended["c.csv"]["place"], ended["c.csv"]["code"]) == ("QUARANTINED", "no-feed")
        words = made.etl("status")
        assert words.returncode == DONE
        assert held["batch"] in words.stdout

        cases = {one["name"]: one for one in answer(made, "quarantine", "list")["cases"]}
        assert set(cases) == {"b.csv", "c.csv"}
        assert (cases["b.csv"]["rejected_rows"], cases["b.csv"]["code"]) == (1, None)
        assert cases["c.csv"]["code"] == "no-feed"
        report = answer(made, "quarantine", "show", cases["b.csv"]["case"])
        folder = Path(report.pop("folder"))
        assert (folder / "report.html").exists()
        assert schema_errors("report", report) == []
        for words in (made.etl("quarantine", "list"), made.etl("quarantine", "show", folder.name)):
            assert (words.returncode, words.stderr) == (DONE, "")
        # Both cases begin with the same digits of the year.
        assert made.etl("quarantine", "show", "20").returncode == USAGE
        assert made.etl("quarantine", "show", "none").returncode == USAGE

        batch, gone = held["batch"], ended["c.csv"]["batch"]
        for wrong in (
            ("release", "20260101T000000Z-aaaaaa", "--allow", "shrunk", "--why", "x"),
            ("release", batch, "--allow", "no-rows", "--why", "x"),
            ("release", batch, "--allow", "wrong-list,shrunk", "--why", "x"),
            ("release", batch, "--allow", "shrunk"),
            ("release", gone, "--allow", "shrunk", "--why", "x"),
            ("discard", "20260101T000000Z-aaaaaa", "--why", "x"),
            ("discard", gone, "--why", "x"),
            ("discard", batch),
        ):
            refused = made.etl(*wrong)
            assert (refused.returncode, refused.stdout) == (USAGE, ""), wrong
            assert refused.stderr
        assert status(made)["requests_waiting"] == 0

        assert made.etl("discard", batch, "--why", "not wanted").returncode == DONE
        assert status(made)["requests_waiting"] == 1
        assert made.etl("once").returncode == DONE
        receipt = made.receipt("a_20300102.csv")
        assert receipt is not None
        assert (receipt["fate"], receipt["reason"]["facts"]["why"]) == ("discarded", "not wanted")
        assert clears(made) == {100: 1, 101: 1}


def test_responses(tmp_path: Path):
    """`responses status` tells how fresh everything is, `responses fetch` has the daemon fetch."""
    with setting(tmp_path) as made:
        made.start()
        made.wait(lambda: len(list(made.responses.glob("*.csv"))) == 2)
        (client,) = answer(made, "responses", "status")["clients"]
        assert (client["client"], client["entries"], client["blocklist_entries"]) == ("main", 0, 0)
        assert client["completed_at"]
        assert set(client["read_until"]) == {
            "getOutBounces", "getUnsubscribes", "getMailingUnsubscribes",
        }  # fmt: skip
        made.control.bounce(mandator=4242, recipient_id="p1@example.org", times=3)
        made.control.block(mandator=4242, entries=["*@block.test"])
        made.control.run_export_job()
        done = made.etl("responses", "fetch", "--wait")
        assert (done.returncode, done.stderr) == (DONE, "")
        assert "handed to the CRM" in done.stdout
        assert [row["recipient-id"] for row in told(made, "bounces")] == ["p1@example.org"]
        (client,) = answer(made, "responses", "status")["clients"]
        assert (client["entries"], client["blocklist_entries"]) == (1, 1)
        assert set(client["waiting_for_hand_over"].values()) == {0}
        words = made.etl("responses", "status")
        assert (words.returncode, words.stderr) == (DONE, "")
        assert "main" in words.stdout
        assert made.etl("once").returncode == 75, "a second instance on the same state"


def test_once_does_not_wait_for_a_marker(tmp_path: Path):
    """A drop whose done-marker is missing stays where it is, and `etl once` ends all the same."""
    with setting(tmp_path, feeds=2) as made:
        made.extra["b"] = {"done_marker": '".done"'}
        made.write_config()
        made.drop("a.csv", people(2))
        made.drop("b.csv", people(2))
        assert made.etl("once", timeout=40).returncode == DONE
        assert (made.inbox / "b.csv").exists()
        assert clears(made) == {100: 1}


def test_module_and_script_are_the_same(resting: Setting):
    """`python -m etl` answers as `etl` does; without a command both tell how they are used."""
    module = [sys.executable, "-m", "etl"]
    done = subprocess.run(
        [*module, "version"], capture_output=True, text=True, check=False, cwd=resting.root
    )
    script = subprocess.run(
        [resting.command()[0], "version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (script.returncode, script.stdout) == (DONE, "0.1.0\n")
    bare = subprocess.run(module, capture_output=True, text=True, check=False, cwd=resting.root)
    assert bare.returncode == USAGE
    assert resting.etl("nonsense").returncode == USAGE


def test_wheel_brings_its_files(tmp_path: Path):
    """Schemas, samples and units are found in an unpacked wheel, far from any checkout."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    words = (
        "import etl.shipped as s, etl.cli, json\n"
        "places = {n: str(s.shipped(n)) for n in ('schemas', 'sample_data', 'systemd')}\n"
        "print(json.dumps(places))"
    )
    done = subprocess.run(
        [sys.executable, "-c", words], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
    )  # fmt: skip
    places = {name: Path(place) for name, place in json.loads(done.stdout).items()}
    for name, one in (("schemas", "contacts.json"), ("sample_data", "expected.json"),
                      ("systemd", "etl.service")):  # fmt: skip
        assert places[name].is_relative_to(unpacked)
        assert (places[name] / one).read_bytes() == (ROOT / name / one).read_bytes()
    samples = ROOT / "sample_data"
    for path in samples.rglob("*.csv"):
        assert (places["sample_data"] / path.relative_to(samples)).exists()
    templates = list((unpacked / "etl" / "load" / "templates").iterdir())
    assert templates, "the case's page is made from a template"
    assert list((unpacked / "etl" / "wire").rglob("*.wsdl")), "the services' descriptions"
