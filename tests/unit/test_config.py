"""The configuration: what is taken, what is refused, and that every problem is told at once."""

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from etl.config import NO_SECRETS, build, load, secret_path
from etl.errors import ConfigError
from etl.ports import Stream
from etl.settings import Secret
from tests.servers.service import SCHEMA

PASSWORD = "made-up-password"
KEY = "0123456789abcdef"


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Any]:
    """A configuration that is right, as TOML gives it."""
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    (tmp_path / "password").write_text(PASSWORD + "\r\n")
    (tmp_path / "key").write_text(KEY)
    names = ("inbox", "quarantine", "receipts", "responses", "state")
    feed = {
        "name": "a", "pattern": r"a_(?P<date>\d{8})\.csv", "schema": str(tmp_path / "schema.json"),
        "kind": "regular", "client": "main", "sftp": "main", "list": {"id": 1, "name": "A"},
        "consent": {"opt-in-id": "c"}, "attributes": {"firstname": "firstname"},
    }  # fmt: skip
    return {
        "version": 1,
        "folders": {name: str(tmp_path / name) for name in names},
        "suppression": {"keys": [{"id": "k", "secret": {"file": str(tmp_path / "key")}}]},
        "sftp": {"main": {"host": "h", "user": "u", "host_keys": ["x"],
                          "key": {"file": str(tmp_path / "key")}}},
        "client": {"main": {"mandator": 1, "user": "u",
                            "password": {"file": str(tmp_path / "password")}}},
        "feed": [feed, copy.deepcopy(feed) | {"name": "b", "list": {"id": 2, "name": "B"}}],
    }  # fmt: skip


def put(table: dict[str, Any], place: str, value: Any) -> None:
    """Set the key at a dotted place; `...` takes it away."""
    *path, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    inner: Any = table
    for part in path:
        inner = inner[part]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value


def problems(table: dict[str, Any], environment: dict[str, str] | None = None) -> list[str]:
    """Every problem, in words."""
    try:
        build(table, environment or {})
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_right_configuration_is_taken(table: dict[str, Any]):
    """Defaults are there, secrets are read without their line end, plans are made per feed."""
    config = build(table, {})
    assert config.secrets == {
        "suppression.keys.0.secret": KEY, "client.main.password": PASSWORD, "sftp.main.key": KEY,
    }  # fmt: skip
    assert PASSWORD not in repr(config)
    assert set(config.plans) == {"a", "b"}
    assert [feed.name for feed in config.feeds_for("a_20300101.csv")] == ["a", "b"]
    assert config.feeds_for("xa_20300101.csv") == []
    assert config.feeds_for("a_20300101.csv.bak") == []
    assert config.find_feed("c") is None
    guards = config.settings.feed[0].guards
    assert (guards.min_rows, guards.max_shrink, guards.max_growth) == (None, 0.2, 2.0)
    assert config.settings.suppression.max_age_hours == 24


@pytest.mark.parametrize(
    ("place", "value", "where", "what"),
    [
        ("version", 2, "version", "this release knows version 1"),
        ("version", ..., "version", "is missing"),
        ("folders.inbox", ..., "folders.inbox", "is missing"),
        ("folders.inbox", "in", "folders.inbox", "give an absolute path"),
        ("instance", "../x", "instance", "use 1 to 64 of"),
        ("feed", [], "feed", "at least 1"),
        ("client.main.typo", 1, "client.main.typo", "is no key of this service"),
        ("feed.0.kind", "opt-in", "feed.0.kind", "re-activates"),
        ("feed.0.pattern", "a(", "feed.0.pattern", "no regular expression"),
        ("feed.0.name", "A b", "feed.0.name", "use 1 to 64 of"),
        ("feed.0.consent", {"opt-in-id": "c", "media-type": "SMS"}, "feed.0.consent.media-type",
         "EMAIL"),
        ("feed.0.guards", {"max_shrink": 1.5}, "feed.0.guards.max_shrink", "less than or equal"),
        ("feed.0.guards", {"min_rows": 0}, "feed.0.guards.min_rows", "greater than or equal"),
        ("client.main.chunk_rows", 1001, "client.main.chunk_rows", "less than or equal to 1000"),
        ("client.main.session_minutes", 20, "client.main.session_minutes", "less than or equal"),
        ("client.main.password", PASSWORD, "client.main.password", "dictionary"),
        ("feed.0.client", "other", "feed.a.client", "there is no client other"),
        ("feed.0.sftp", "other", "feed.a.sftp", "there is no sftp account other"),
        ("feed.0.schema", "nonsense", "feed.a.schema", "cannot be read"),
        ("feed.0.recipient", {"column": "mail"}, "feed.a.recipient.column", "no column mail"),
        ("feed.0.attributes", {"x": "nix"}, "feed.a.attributes.x", "no column nix"),
        ("feed.0.output", {"columns": ["nix"]}, "feed.a.output.columns", "no column nix"),
        ("feed.0.done_marker", "done", "feed.a.done_marker", "must be a dot and letters"),
        ("feed.0.recipient", {"id": "entity"}, "client.main", "both recipient id rules"),
        ("feed.1.name", "a", "feed", "a is there 2 times"),
        ("feed.1.list", {"id": 1, "name": "A"}, "feed.b.list.id", "belongs to a, b"),
        ("client.main.endpoint", "http://example.org/", "client.main.endpoint", "plain http"),
        ("client.main.endpoint", "ftp://example.org/", "client.main.endpoint", "must be an https"),
        ("client.main.endpoint", "https://example.org/x", "client.main.endpoint", "end in /"),
        ("client.main.closed_loop", False, "client.main.closed_loop", "closed-loop interface"),
        ("client.main.password", {}, "client.main.password", "exactly one of"),
        ("client.main.password", {"env": "NOT_SET"}, "client.main.password", "NOT_SET is not set"),
        ("client.main.password", {"credential": "c"}, "client.main.password",
         "CREDENTIALS_DIRECTORY"),
        ("sftp.main.key", {"env": "HOME"}, "sftp.main.key", "must be a file or a credential"),
        ("sftp.main.host_keys", [], "sftp.main.host_keys", "at least 1"),
    ],
)  # fmt: skip
def test_each_problem_has_its_place(
    table: dict[str, Any], place: str, value: Any, where: str, what: str
):
    """One thing wrong gives one problem, with its place and without any secret."""
    put(table, place, value)
    found = problems(table, {"HOME": "/nowhere"})
    assert len(found) == 1, found
    assert found[0].startswith(f"{where}: ")
    assert what in found[0]
    assert PASSWORD not in found[0]


PATTERN = r"#(?P<campaign>\d+)"
OF_OPENS = ["recipient-id", "campaign-id"]


@pytest.mark.parametrize(
    ("keys", "streams"),
    [
        ({}, []),
        ({"tell": ["bounces"]}, ["getResponses"]),
        ({"tell": ["opens", "clicks", "opens"], "campaign_pattern": PATTERN},
         ["getMailings", "getClicks", "getOpens"]),
        ({"tell": ["opens"], "layouts": {"getOpens": OF_OPENS}}, ["getOpens"]),
        ({"tell": ["opens"], "layouts": {"getMailings": ["mailing-id", "campaign-id"]}},
         ["getMailings", "getOpens"]),
    ],
)  # fmt: skip
def test_what_the_crm_is_told_decides_what_is_read(
    table: dict[str, Any], keys: dict[str, Any], streams: list[str]
) -> None:
    """Besides what suppresses; the mailings only where campaigns are known by them, and first."""
    table["client"]["main"] |= keys
    found = build(table, {}).settings.client["main"].streams
    assert [stream.value for stream in found[3:]] == streams


@pytest.mark.parametrize(
    ("keys", "place", "words"),
    [
        ({"tell": ["opens"]}, "tell", "nothing says which mailing has one"),
        ({"tell": ["clicks"], "layouts": {"getOpens": OF_OPENS}}, "tell", "nothing says which"),
        ({"campaign_pattern": "("}, "campaign_pattern", "is no regular expression"),
        ({"campaign_pattern": "x"}, "campaign_pattern", "needs a group"),
        ({"time_zone": "Europe/Atlantis"}, "time_zone", "is no time zone"),
        ({"layouts": {"getResponses": ["recipient-id"]}}, "layouts.getResponses", "no column cat"),
        ({"layouts": {"getMailings": ["recipient-id"]}}, "layouts.getMailings", "no column mai"),
        ({"layouts": {"getOutBounces": ["time"]}}, "layouts.getOutBounces", "no column recip"),
        ({"layouts": {"getOpens": [*OF_OPENS, "campaign-id"]}}, "layouts.getOpens", "2 times"),
        ({"job_interval_hours": 48}, "overlap_hours", "is shorter than job_interval_hours (48)"),
        ({"schedule": {"zone": "Europe/Berlin", "times": []}}, "schedule.times", "at least 1"),
        ({"schedule": {"times": ["05:30"]}}, "schedule.zone", "is missing"),
        ({"schedule": {"zone": "Berlin", "times": ["05:30"]}}, "schedule.zone", "no time zone"),
        ({"schedule": {"zone": "UTC", "times": ["5:30"]}}, "schedule.times.0", "like 05:30"),
        ({"schedule": {"zone": "UTC", "times": ["24:00"]}}, "schedule.times.0", "like 05:30"),
    ],
)
def test_response_data_that_does_not_go_together(
    table: dict[str, Any], keys: dict[str, Any], place: str, words: str
) -> None:
    """Each is told with its place."""
    table["client"]["main"] |= keys
    (problem,) = problems(table)
    assert problem.startswith(f"client.main.{place}: ")
    assert words in problem


def test_a_name_that_would_be_read_as_another_file(table: dict[str, Any]) -> None:
    """Files of a client `unassigned-x` would look like the unassigned ones of a client `x`."""
    table["client"]["unassigned-x"] = table["client"]["main"]
    (problem,) = problems(table)
    assert problem.startswith("client.unassigned-x: ")


def test_what_is_told_needs_its_export_files(table: dict[str, Any]) -> None:
    """Without the files nobody would hear of opens, and nobody would notice."""
    exports(table)
    table["client"]["main"] |= {"tell": ["opens"], "campaign_pattern": PATTERN}
    assert {problem.split(": ")[0] for problem in problems(table)} == {
        "client.main.exports.getOpens", "client.main.exports.getMailings",
    }  # fmt: skip


def exports(table: dict[str, Any]) -> dict[str, Any]:
    """Let the client have export files in place of the closed loop."""
    found: dict[str, Any] = {"sftp": "main", "getOutBounces": {"pattern": "out_.*"},
                             "getUnsubscribes": {"pattern": "un_.*"}}  # fmt: skip
    table["client"]["main"] |= {"closed_loop": False, "exports": found}
    return found


def test_export_files_take_the_place_of_the_closed_loop(table: dict[str, Any]):
    """Each stream has a form of its own, with defaults; a third stream may be there."""
    exports(table)["getMailingUnsubscribes"] = {"pattern": "m", "content": "full", "header": False}
    found = build(table, {}).settings.client["main"].exports
    assert found is not None
    assert (found.sftp, found.expected_hours, found.settle_minutes) == ("main", 48, 5)
    assert list(found.files) == [
        Stream.OUT_BOUNCES, Stream.UNSUBSCRIBES, Stream.MAILING_UNSUBSCRIBES,
    ]  # fmt: skip
    assert found.files[Stream.OUT_BOUNCES].model_dump() == {
        "pattern": "out_.*", "delimiter": ";", "encoding": "utf-8", "header": True,
        "final_newline": "required", "content": "changes",
    }  # fmt: skip
    assert found.files[Stream.MAILING_UNSUBSCRIBES].content == "full"


@pytest.mark.parametrize(
    ("place", "value", "where", "what"),
    [
        ("exports", ..., "closed_loop", "come from export files alone, and none are named"),
        ("closed_loop", True, "exports", "is there beside the closed-loop interface"),
        ("header_row", True, "header_row", "is for the closed-loop interface"),
        ("repeating", ["getOutBounces"], "repeating", "is for the closed-loop interface"),
        ("exports.sftp", "other", "exports.sftp", "there is no sftp account other"),
        ("exports.sftp", ..., "exports.sftp", "is missing"),
        ("exports.getOutBounces", ..., "exports.getOutBounces", "is missing"),
        ("exports.getUnsubscribes", ..., "exports.getUnsubscribes", "is missing"),
        ("exports.getNothing", {"pattern": "x"}, "exports.getNothing", "is no key"),
        ("exports.typo", 5, "exports.typo", "dictionary"),
        ("exports.getOutBounces", {}, "exports.getOutBounces.pattern", "is missing"),
        ("exports.getOutBounces.typo", 5, "exports.getOutBounces.typo", "is no key"),
        ("exports.getOutBounces.pattern", "(", "exports.getOutBounces.pattern", "no regular"),
        ("exports.getOutBounces.delimiter", "x", "exports.getOutBounces.delimiter", "'|'"),
        ("exports.getOutBounces.encoding", "x", "exports.getOutBounces.encoding", "utf-16"),
        ("exports.getOutBounces.content", "x", "exports.getOutBounces.content", "'full'"),
        ("exports.expected_hours", 0, "exports.expected_hours", "greater than 0"),
        ("exports.expected_hours", math.nan, "exports.expected_hours", "finite"),
        ("exports.settle_minutes", -1, "exports.settle_minutes", "greater than or equal to 0"),
    ],
)
def test_each_problem_of_export_files(
    table: dict[str, Any], place: str, value: Any, where: str, what: str
):
    """One thing wrong gives one problem at its place."""
    exports(table)
    assert problems(table) == []
    put(table, f"client.main.{place}", value)
    (found,) = problems(table)
    assert found.startswith(f"client.main.{where}: ")
    assert what in found


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize(
    "place",
    ["suppression.max_age_hours", "suppression.max_shrink", "scan.every_seconds",
     "client.main.call_seconds", "feed.0.guards.max_shrink", "feed.0.guards.max_growth"],
)  # fmt: skip
def test_bounds_are_numbers(table: dict[str, Any], place: str, number: float):
    """TOML knows nan and inf; neither may switch a guard or a deadline off."""
    table["scan"] = {}
    table["feed"][0]["guards"] = {}
    put(table, place, number)
    assert len(problems(table)) == 1


def test_all_problems_at_once(table: dict[str, Any]):
    """Whatever belongs together is told together, each in its own place."""
    put(table, "feed.1.list", {"id": 1, "name": "A"})
    put(table, "feed.0.client", "other")
    put(table, "feed.0.attributes", {"x": "nix", "y": "nux"})
    put(table, "client.main.password", {"env": "NOT_SET"})
    put(table, "client.other", {**table["client"]["main"], "endpoint": "http://example.org/"})
    put(table, "folders.receipts", table["folders"]["inbox"] + "/receipts")
    places = sorted(problem.partition(": ")[0] for problem in problems(table))
    assert places == [
        "client.main.password", "client.other.endpoint", "client.other.password",
        "feed.a.attributes.x", "feed.a.attributes.y", "feed.b.list.id", "folders.receipts",
    ]  # fmt: skip


def test_one_list_under_two_names_of_a_client(table: dict[str, Any]):
    """A second entry for the same mandator does not open a second way to one list."""
    put(table, "client.other", copy.deepcopy(table["client"]["main"]))
    put(table, "feed.1.client", "other")
    assert problems(table) == []
    put(table, "feed.1.list.id", 1)
    (found,) = problems(table)
    assert found.startswith("feed.b.list.id: list 1 of client 1 belongs to a, b")


def test_another_mandator_may_have_the_same_list_id(table: dict[str, Any]):
    """Lists are told apart by client and id."""
    put(table, "client.other", {**table["client"]["main"], "mandator": 2})
    put(table, "feed.1.client", "other")
    put(table, "feed.1.list.id", 1)
    assert problems(table) == []


def test_feed_that_leads_nowhere(table: dict[str, Any]):
    """Neither upload nor list, and attributes without a list."""
    del table["feed"][0]["sftp"], table["feed"][0]["list"]
    assert [problem.partition(" ")[0] for problem in problems(table)] == [
        "feed.a:", "feed.a.attributes:",
    ]  # fmt: skip


def test_folders_do_not_lie_in_each_other(table: dict[str, Any]):
    """The same folder twice, or one below another, is refused once per pair."""
    put(table, "folders.state", table["folders"]["inbox"])
    assert problems(table) == ["folders.inbox: lies in folders.state"]
    put(table, "folders.state", table["folders"]["inbox"] + "/state")
    assert problems(table) == ["folders.state: lies in folders.inbox"]
    put(table, "folders.state", table["folders"]["inbox"] + "-state")
    assert problems(table) == []


def test_schema_without_technical_fields(table: dict[str, Any], tmp_path: Path):
    """Each missing technical field and each constraint that is not supported is named."""
    fields = [field for field in SCHEMA["fields"] if field["name"] != "entity-id"]
    path = tmp_path / "schema.json"
    path.write_text(json.dumps({"fields": fields}))
    assert sum("lacks the technical field entity-id" in one for one in problems(table)) == 2
    path.write_text(json.dumps({"fields": [*SCHEMA["fields"], {"name": "x", "type": "geopoint"}]}))
    found = problems(table)
    assert len(found) == 2
    assert all("schema.json" in one and "geopoint" in one for one in found)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version = =", r"is not TOML .*line 1"),
        (b"\xff", r"is not UTF-8 at byte 0"),
        (None, "read"),
    ],
)
def test_file_that_is_no_configuration(tmp_path: Path, content: bytes | None, words: str):
    """A file that is not there, not TOML or not UTF-8 is one problem, with its place."""
    path = tmp_path / "etl.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.where == str(path)
    assert re.search(words, problem.what)
    assert caught.value.exit_code == 78


def test_secrets_from_each_source(table: dict[str, Any], tmp_path: Path):
    """A credential of systemd, a file and a variable serve alike; an empty one does not."""
    put(table, "client.main.password", {"credential": "password"})
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path), "SECRET": "from-env", "EMPTY": ""}
    assert build(table, environment).secrets["client.main.password"] == PASSWORD
    put(table, "client.main.password", {"env": "SECRET"})
    assert build(table, environment).secrets["client.main.password"] == "from-env"
    put(table, "client.main.password", {"env": "EMPTY"})
    assert len(problems(table, environment)) == 1
    (tmp_path / "key").write_text("\n")
    assert len(problems(table, environment)) == 3
    assert secret_path(Secret(env="SECRET"), environment) is None
    assert secret_path(Secret(credential="x"), environment) == tmp_path / "x"


def test_short_key_of_the_store(table: dict[str, Any], tmp_path: Path):
    """A key that could be guessed is refused, and not shown."""
    (tmp_path / "key").write_text("short")
    assert problems(table) == ["suppression.keys.0.secret: has fewer than 16 bytes"]


def test_shared_list_is_told_beside_other_problems(table: dict[str, Any]):
    """Two feeds on one list are named even when something else keeps the rest from being read."""
    put(table, "client.main.chunk_rows", 5000)
    put(table, "feed.1.list.id", 1)
    told = problems(table)
    assert any("belongs to a, b" in problem for problem in told)
    assert any("chunk_rows" in problem for problem in told)


@pytest.mark.parametrize("name", ["Created", "Geändert am", "BROADMAIL_ID"])
def test_system_attributes_are_not_written(table: dict[str, Any], name: str):
    """What Campaign writes itself would poison every row after the clear: refused at the start."""
    put(table, "feed.0.attributes", {name: "firstname"})
    assert any("is written by Campaign itself" in problem for problem in problems(table))


def test_a_command_may_do_without_secrets(table: dict[str, Any]):
    """Without secrets the rest is checked all the same; with the store's alone, only these."""
    put(table, "client.main.password", {"credential": "nowhere"})
    assert build(table, {}, secrets=NO_SECRETS).secrets == {}
    assert list(build(table, {}, secrets="suppression.").secrets) == ["suppression.keys.0.secret"]
    assert len(problems(table)) == 1
