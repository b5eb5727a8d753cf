"""`etl refill plan` and `rollback` as they are typed: exit codes, words, what they write."""

import json
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from etl.cli import cli
from etl.journal import Journal
from tests.servers.service import COLUMNS, as_csv, people, person
from tests.twins.house import House
from tests.unit.test_rollback import MEMORY

DONE, TROUBLE, USAGE = 0, 1, 2


def toml(value):
    """A value as TOML writes it; tables inline."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(k)} = {toml(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


@pytest.fixture
def house():
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        made = House(Path(name))
        # Commands look at the machine's clock.
        made.clock.now = datetime.now(UTC)
        made.responses.now_ms = int(made.clock.now.timestamp() * 1000)
        lines = [f"{key} = {toml(value)}" for key, value in made.config_table().items()]
        (made.root / "etl.toml").write_text("\n".join(lines))
        # The twins' house calls its store otherwise.
        (made.root / "state" / "suppressions.sqlite3").symlink_to("store.sqlite3")
        yield made
        made.close()


@pytest.fixture
def refilled(house):
    """Ten people, then nine of them."""
    house.drop("a_1.csv", people(10))
    house.run()
    house.drop("a_2.csv", people(9))
    house.run()
    return house


def typed(house, *words):
    """A command's exit code and words."""
    done = CliRunner().invoke(cli, ["refill", *words, "--config", str(house.root / "etl.toml")])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, " ".join(done.output.split())


def requests(house):
    journal = Journal(house.root / "state" / "journal.sqlite3")
    found = journal.requests.waiting()
    journal.close()
    return found


@pytest.mark.parametrize(
    "words",
    [
        ("rollback", "b", "--why", "x"), ("rollback", "a", "--why", " "), ("rollback", "a"),
        ("rollback", "a", "--why", "x", "--allow", "no-rows"),
        ("rollback", "a", "--why", "x", "--allow", "returning,wrong-list"),
        ("plan", "b"), ("plan", "a", "nothing.csv"), ("plan",),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_usage(refilled, words):
    """Unknown feeds and files, no reason, codes that cannot be released: 2, nothing written."""
    assert typed(refilled, *words)[0] == USAGE
    assert requests(refilled) == []


def test_a_refused_rollback_writes_nothing(refilled):
    """The code, its sentence and what to type; exit 1."""
    code, words = typed(refilled, "rollback", "a", "--why", "wrong")
    assert code == TROUBLE
    assert "returning" in words
    assert "1 recipients are not in the newer content" in words
    assert "etl refill rollback a --allow returning --why TEXT" in words
    assert requests(refilled) == []


def test_a_rollback_is_a_wish_for_the_daemon(refilled):
    """It names its batch, the source and what it allows; `etl once` takes it."""
    code, words = typed(refilled, "rollback", "a", "--why", "wrong", "--allow", "returning")
    assert code == DONE
    asked = re.search(r"batch (\S+) is to put the rows of (\S+) back", words)
    (request,) = requests(refilled)
    assert (request.verb, request.batch, request.source) == ("rollback", *asked.groups())
    assert (request.feed, request.codes, request.why) == ("a", ("returning",), "wrong")
    assert "request 1 is written; no daemon runs: `etl once` takes it" in words
    assert refilled.run() == 0
    assert len(refilled.ids()) == 10


def test_without_a_former_content_it_says_so(house):
    """`nothing-kept`, exit 1, for the plan as for the rollback."""
    house.drop("a_1.csv", people(10))
    house.run()
    code, words = typed(house, "rollback", "a", "--why", "x")
    assert (code, "nothing-kept" in words) == (TROUBLE, True)
    code, words = typed(house, "plan", "a")
    assert (code, "no former content of the list of feed a is kept" in words) == (TROUBLE, True)
    assert requests(house) == []


def test_a_plan_is_told_in_words_and_in_json(refilled):
    """0 when no guard would trip, 1 when one would; counts for people and for machines."""
    file = refilled.root / "a_3.csv"
    file.write_bytes(as_csv([person(1, firstname="Other"), *people(9, first=2)], COLUMNS))
    code, words = typed(refilled, "plan", "a", str(file), "--json")
    found = json.loads(words)
    assert (code, found["guards"], found["refusal"]) == (DONE, [], None)
    counts = ("joiners", "leavers", "changed", "unchanged")
    assert [found[name] for name in counts] == [1, 0, 1, 8]
    code, words = typed(refilled, "plan", "a")
    assert code == TROUBLE
    assert "joiners: 1 leavers: 0 changed: 0 unchanged: 9" in words
    assert "dirty list: False" in words
