"""`etl suppression lift` as it is typed: what it finds and says, writes and refuses."""

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from etl.cli import cli
from etl.extract.keyed import StoreKey
from etl.extract.learned import Found
from etl.extract.suppressions import open_store
from etl.journal import Journal
from etl.ports import Stream
from tests.servers.service import people
from tests.twins.house import SECRET, House
from tests.unit.test_refill_commands import toml
from tests.unit.test_rollback import MEMORY

DONE, TROUBLE, USAGE, CONFIGURATION = 0, 1, 2, 78
WHO = "p2@example.org"


@pytest.fixture
def house():
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        made = House(Path(name))
        # Commands look at the machine's clock.
        made.clock.now = datetime.now(UTC).replace(microsecond=0)
        made.responses.now_ms = int(made.clock.now.timestamp() * 1000)
        write_config(made, made.config_table())
        # The twins' house calls its store otherwise.
        (made.root / "state" / "suppressions.sqlite3").symlink_to("store.sqlite3")
        yield made
        made.close()


@pytest.fixture
def left(house):
    """Somebody who bounced and unsubscribed, carried by a contact."""
    house.lists.bounced.add(WHO)
    house.drop("a_1.csv", people(5))
    house.run()
    house.responses.happen(Stream.UNSUBSCRIBES, WHO, "1795510800000")
    house.responses.now_ms += 1000
    house.drop("a_2.csv", people(5))
    house.run()
    return house


def write_config(house, table):
    lines = [f"{key} = {toml(value)}" for key, value in table.items()]
    (house.root / "etl.toml").write_text("\n".join(lines))


def typed(house, *words, given=None):
    """A command's exit code and words, which name nobody."""
    config = str(house.root / "etl.toml")
    words = ["suppression", "lift", *words, "--config", config]
    done = CliRunner().invoke(cli, words, input=given)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert "example.org" not in done.output
    assert "contact:" not in done.output
    return done.exit_code, " ".join(done.output.replace("│", " ").split())


def lifted(house, *words, given=None, code=DONE):
    """The answer for machines."""
    found, words = typed(house, *words, "--why", "asked by letter", "--json", given=given)
    assert found == code, words
    return json.loads(words)


def requests(house):
    journal = Journal(house.root / "state" / "journal.sqlite3")
    found = journal.requests.waiting()
    journal.close()
    return found


def suppressed(house):
    store = house.open().store
    found = sorted(store.entries("main")["kind"])
    house.close()
    return found


def test_what_is_found_is_told_and_asked_for(left):
    """Kinds, sources, counts and times; the wish holds keyed hashes; `etl once` grants it."""
    found = lifted(left, WHO)
    since = {datetime.fromisoformat(each.pop("since")) for each in found["found"]}
    assert max(abs(left.clock.now - each) for each in since) < timedelta(minutes=1)
    row = {"entries": 1, "lifted": True}
    unsubscribed = {"kind": "unsubscribed", "source": "getUnsubscribes"}
    assert found["found"] == [
        {"kind": "bounced", "source": "code-4", "about": "address", **row},
        {**unsubscribed, "about": "address", **row},
        {**unsubscribed, "about": "entity", **row},
    ]
    assert (found["client"], found["to_lift"], found["patterns"]) == ("main", 3, 0)
    who = [each["who"].partition(",")[0] for each in found["kept_out_still_by"]]
    assert who[:2] == ["Campaign", "Campaign"]
    assert "request 1 is written; no daemon runs: `etl once` takes it" in found["request"]
    (request,) = requests(left)
    assert (request.verb, request.client, request.feed, request.batch) == (
        "lift", "main", None, None,
    )  # fmt: skip
    assert request.why == "asked by letter"
    key = StoreKey("k", SECRET.encode())
    assert {code.rpartition(":")[0] for code in request.codes} == {
        f"k:{key.tag(text).hex()}" for text in (WHO, "contact:00002")
    }
    seconds = {int(code.rpartition(":")[2]) for code in request.codes}
    assert {datetime.fromtimestamp(each, UTC) for each in seconds} <= since
    assert suppressed(left) == ["bounced", "unsubscribed", "unsubscribed"], "nothing by itself"
    assert left.run() == 0
    assert suppressed(left) == []
    assert lifted(left, WHO)["found"] == []


def test_it_is_told_in_words(left):
    """A table of what was found, what will be done, and who still keeps the person out."""
    code, words = typed(left, WHO, "--why", "asked by letter")
    assert code == DONE
    assert "bounced code-4 address 1" in words
    assert "to lift: 3" in words
    assert "nothing changes at Campaign" in words
    assert "while it says itself that the person is unsubscribed" in words
    assert "request 1 is written" in words


@pytest.mark.parametrize("who", [" P2@EXAMPLE.org ", "contact:00002", "Contact:00002"])
def test_a_person_is_known_by_every_name(left, who):
    """However the address is written, and by the entity that carries it."""
    assert lifted(left, who)["to_lift"] == 3


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_person_is_read_from_standard_input(left, end):
    """So that it stands in no list of processes."""
    assert lifted(left, "-", given=f"{WHO}{end}")["to_lift"] == 3
    assert len(requests(left)) == 1


def test_nobody_suppressed_is_no_trouble(left):
    """It says so, exits with 0 and writes no request."""
    found = lifted(left, "p1@example.org")
    assert (found["found"], found["to_lift"], found["request"]) == ([], 0, None)
    assert found["result"].startswith("nothing here keeps this person out")
    code, words = typed(left, "p1@example.org", "--why", "x")
    assert (code, "found: none" in words, "request: none" in words) == (DONE, True, True)
    assert requests(left) == []


@pytest.mark.parametrize("entry", ["p3@example.org", "p3@*", "P?@EXAMPLE.org"])
def test_the_blocklist_cannot_be_lifted(left, entry):
    """An entry or a pattern of it is told; alone, exit 1 and no request."""
    left.responses.entries.append(entry)
    left.responses.now_ms += 1000
    left.run()
    found = lifted(left, "p3@example.org", code=TROUBLE)
    exact = entry == "p3@example.org"
    assert (len(found["found"]), found["patterns"]) == ((1, 0) if exact else (0, 1))
    assert not any(each["lifted"] for each in found["found"])
    assert (found["to_lift"], found["request"]) == (0, None)
    assert found["result"] == "nothing of it can be lifted here"
    assert found["kept_out_still_by"][0]["who"].startswith("the blocklist: it is Campaign's own")
    assert requests(left) == []


def test_the_blocklist_beside_a_no_is_told(left):
    """The unsubscription is lifted, and who keeps the person out all the same is said."""
    left.responses.entries.append("p2@*")
    left.responses.now_ms += 1000
    left.run()
    found = lifted(left, WHO)
    assert (found["to_lift"], found["patterns"]) == (3, 1)
    assert found["kept_out_still_by"][0]["who"].startswith("the blocklist")


def test_the_client_is_said_where_there_are_several(left):
    """2 without `--client` or with an unknown one; each client's entries are its own."""
    table = left.config_table()
    table["client"]["other"] = table["client"]["main"] | {"mandator": 2}
    write_config(left, table)
    code, words = typed(left, WHO, "--why", "x")
    assert (code, "main, other" in words) == (USAGE, True)
    assert typed(left, WHO, "--why", "x", "--client", "third")[0] == USAGE
    assert lifted(left, WHO, "--client", "other")["found"] == []
    assert requests(left) == []
    assert lifted(left, WHO, "--client", "main")["to_lift"] == 3
    assert [request.client for request in requests(left)] == ["main"]


def test_an_old_key_serves_look_ups(left):
    """People known under the key of before are found under a new one, by hashes of both."""
    (left.root / "new").write_text("another secret of this year")
    table = left.config_table()
    secret = {"file": str(left.root / "new")}
    table["suppression"]["keys"].insert(0, {"id": "new", "secret": secret})
    write_config(left, table)
    keys = [StoreKey("new", b"another secret of this year"), StoreKey("k", SECRET.encode())]
    store = open_store(left.root / "state" / "store.sqlite3", keys)
    store.add_found("main", [Found(WHO, "unsubscribed", "live-check", left.clock.now)])
    store.close()
    assert lifted(left, WHO)["to_lift"] == 5
    (request,) = requests(left)
    assert {code.partition(":")[0] for code in request.codes} == {"k", "new"}


@pytest.mark.parametrize(
    "words",
    [
        (WHO,), (WHO, "--why", " "), ("--why", "x"), ("nobody", "--why", "x"), (":7", "--why", "x"),
        ("contact:", "--why", "x"), (WHO, "--why", "asked", "by", WHO), ("", "--why", "x"),
        (WHO, "--why", f"{WHO} wrote"), (WHO, "--why", "mail of boss@example.org"),
        ("contact:00002", "--why", "about Contact:00002"), ("-", "--why", "x"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_usage(left, words):
    """No reason, nobody, several, somebody named in the reason: 2, nothing written or repeated."""
    assert typed(left, *words)[0] == USAGE
    assert requests(left) == []


@pytest.mark.parametrize(
    "given",
    [f"{WHO}\np3@example.org\n", f"{WHO}{' ' * 2000}p3@example.org", b"p2@ex\xffample.org", ""],
)
def test_one_person_on_standard_input(left, given):
    """Several lines, endless lines and what is no text are refused."""
    assert typed(left, "-", "--why", "x", given=given)[0] == USAGE
    assert requests(left) == []


def test_nothing_ran_yet(house):
    """Without a store there is nothing to look into."""
    for name in ("store.sqlite3", "suppressions.sqlite3"):
        (house.root / "state" / name).unlink(missing_ok=True)
    done = CliRunner().invoke(
        cli, ["suppression", "lift", WHO, "--why", "x", "--config", str(house.root / "etl.toml")]
    )
    assert getattr(done.exception, "exit_code", None) == CONFIGURATION
