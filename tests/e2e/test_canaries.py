"""Nobody's address, name or id and no secret gets into journal, receipts, reports or logs."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from etl.sandbox.sftp import make_key
from tests.servers.aftermath import is_settled, rows_of
from tests.servers.canaries import PEOPLE, WRONG_PASSWORD, canaries, canary, leaks
from tests.servers.service import COLUMNS, MANDATOR, STORE_KEY, Setting, as_csv


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Setting]:
    """A setting of two feeds whose simulator remembers every request."""
    setting = Setting(tmp_path, 2)
    setting.simulator_options = ["--bodies"]
    with setting:
        yield setting


def line(row: dict[str, str], delimiter: str = ";") -> bytes:
    """One record of a drop."""
    return as_csv([row]).split(b"\r\n")[1].replace(b";", delimiter.encode()) + b"\r\n"


def spoilt_rows() -> list[bytes]:
    """A row for every way in which a row can be rejected, each full of canaries."""
    good = line(canary(900))
    return [
        line(canary(901, email="canary-addr-901")),
        line(canary(902, email="")),
        line(canary(903, **{"opt-in-id": ""})),
        line(canary(904, firstname="Canaryname\x01x")),
        good.replace(b"Canaryname900", b"Canary\x00name900", 1),
        good.replace(b"Canaryname900", b"Canaryname\xff\xfe", 1),
        good.replace(b";Canaryname900", b"", 1),
        good.replace(b"Canaryname900", b"Canaryname;900", 1),
        good.replace(b"Canaryname900", b'Canary"name900', 1),
        good.replace(b"Canaryname900", b'"Canaryname900"x', 1),
        good.replace(b"Canaryname900", b"Canaryname\r900", 1),
        good.replace(b"Canaryname900", b"Canaryname" * 7000, 1),
        line(canary(1)),
        b'consent-1;"canary-ent and Canaryname never closed;canary-addr-999@example.org\r\n',
    ]


def refused_drops() -> dict[str, bytes]:
    """Drops that are quarantined as a whole, their canaries where names and words are repeated."""
    people = canaries(30, 500)
    turned = {  # every cell one column on: addresses and names among the consents
        name: COLUMNS[(number + 5) % len(COLUMNS)] for number, name in enumerate(COLUMNS)
    }
    return {
        "b_20260901.csv": as_csv([r | {"opt-in-id": r["email"]} for r in people]),
        "b_20260902.csv": as_csv([{n: r[turned[n]] for n in COLUMNS} for r in people]),
        "b_20260903.csv": as_csv(people).split(b"\r\n", 1)[1],
        "b_20260904.csv": as_csv([r | {"email": f"canary-addr {n}"} for n, r in enumerate(people)]),
        "b_20260905.csv": b"PK\x03\x04 Canaryname canary-addr-1@example.org canary-ent-1\r\n",
        "b_20260906.csv": as_csv(people).decode().encode("utf-16"),
        "b_20260907.csv": as_csv(people)[:-2],
        "b_20260908.csv": as_csv(people).replace(b"lastname", b"Canaryname,lastname", 1),
        "b_20260909.csv": as_csv([r | {"opt-in-id": "consent-2"} for r in people]),
        "b_20260910.csv": as_csv(people).replace(
            b"lastname", b"lastname;canary-addr-2@example.org", 1
        ),
        "b_20260911.csv": b"".join(line(r, ",") for r in people),
        "stranger.csv": as_csv(people),
    }  # fmt: skip


def ask_everything(made: Setting, outputs: dict[str, str], *given: Path) -> None:
    """Run every command that tells something, for people and for programs."""
    commands = [["status"], ["check"], ["quarantine", "list"],
                ["responses", "status"]]  # fmt: skip
    # One case whose rows were rejected, and those whose codes repeat something of the drop.
    cases = [case.name for case in sorted(made.quarantine.iterdir())]
    commands += [["quarantine", "show", case] for case in cases[:2]]
    commands += [["validate", "--feed", "b", str(path)] for path in given]
    for number, command in enumerate(commands):
        # The tables for people show the same values; one of each kind is enough.
        forms = ([], ["--json"]) if number in {0, 2, 4} else (["--json"],)
        for form in forms:
            done = made.etl(*command, *form)
            outputs[f"etl {' '.join([*command, *form])}"] = done.stdout + done.stderr


def titles(made: Setting) -> str:
    """What `ps` shows of the daemon and its threads."""
    assert made.child is not None
    process = Path(f"/proc/{made.child.pid}")
    names = [path.read_bytes() for path in process.glob("task/*/comm")]
    return (b" ".join([(process / "cmdline").read_bytes(), *names])).decode()


def test_every_fate_of_rows_and_drops(made: Setting, tmp_path: Path) -> None:
    """People accepted, rejected, suppressed, refused, poisoned or quarantined are not named."""
    control, outputs = made.control, dict[str, str]()
    control.unsubscribe(mandator=MANDATOR, ids=["canary-addr-3@example.org"])
    control.block(mandator=MANDATOR, entries=["canary-addr-4@*", "*-5@example.org"])
    control.bounce(MANDATOR, "canary-addr-6@example.org", times=3)
    control.run_export_job()
    for number, code in ((11, 1), (12, 6), (13, 7), (14, 2), (15, 3), (16, 4)):
        control.code_for(list_id=100, recipient_id=f"canary-addr-{number}@example.org", code=code)
    for number in (21, 33):
        control.poison(list_id=100, recipient_id=f"canary-addr-{number}@example.org")
    words = "Cannot store Canaryname41 <canary-addr-41@example.org> of canary-ent-41"
    control.schedule("addAll3", "fault", nth=1, text=words)
    control.schedule("addAll3", "drop-after", nth=5)
    control.schedule("addAll3", "truncated", nth=6)
    control.schedule("addAll3", "expire-session", nth=7)
    made.start()
    outputs["titles"] = titles(made)
    made.drop("a.csv", as_csv(canaries(70)) + b"".join(spoilt_rows()))
    receipt = made.wait_for("a.csv", "archived", "quarantined")
    assert receipt["fate"] == "archived", receipt
    assert receipt["check"]["rejected"] >= 13
    assert receipt["check"]["suppressed"] == 4
    assert receipt["list"]["poisoned"] == 2
    assert set(receipt["list"]["refused"]) == {f"code-{code}" for code in (1, 2, 3, 4, 6, 7)}

    drops = refused_drops()
    given = tmp_path / "given"
    given.mkdir()
    for name, content in drops.items():
        (given / name).write_bytes(content)
        made.drop(name, content)
        made.wait_for(name, "quarantined")
    made.drop("a_20260902.csv", canaries(20))
    made.wait_for("a_20260902.csv", "held")
    wanted = ("b_20260904.csv", "b_20260910.csv")
    ask_everything(made, outputs, *(given / name for name in wanted))
    assert made.stop() == 0
    assert leaks(made, outputs) == []
    # What may be told is told: the search looked at files that are full of them.
    report = made.quarantine / str(made.receipts()["a.csv"][0]["case"])
    assert b"canary-addr" in (report / "rejected.csv").read_bytes()
    assert b"canary-addr" in (report / "refused.csv").read_bytes()


def test_far_sides_that_refuse_and_a_bug(made: Setting, tmp_path: Path) -> None:
    """A refused login, a refused key, a dead server and a bug show nobody's data and no secret."""
    outputs: dict[str, str] = {}

    def once(name: str, held: str, *, asks: bool = False) -> None:
        done = made.etl("once")
        outputs[f"once: {name}"] = done.stdout + done.stderr
        if asks:
            outputs[f"check: {name}"] = str(made.etl("check", "--json"))
        receipt = made.receipt("a.csv")
        assert receipt is not None
        assert receipt["held"]["code"] == held
        with closing(sqlite3.connect(made.state / "journal.sqlite3")) as journal, journal:
            journal.execute("UPDATE batches SET held_next = '2000-01-01T00:00:00+00:00'")

    made.drop("a.csv", canaries(30))
    (tmp_path / "secret" / "password").write_text(WRONG_PASSWORD)
    once("wrong password", "campaign-login", asks=True)
    made.write_config()
    (tmp_path / "secret" / "password").write_text("canary-password-7Q\n")
    right = (tmp_path / "secret" / "key").read_bytes()
    (tmp_path / "secret" / "key").unlink()
    make_key(tmp_path / "secret" / "key")
    once("wrong key", "sftp-login", asks=True)
    (tmp_path / "secret" / "key").write_bytes(right)
    made.sshd.folder.rename(made.sshd.folder.with_name("away"))
    once("no folder", "sftp-refused")
    made.sshd.folder.with_name("away").rename(made.sshd.folder)
    words = "Not for you: Canaryname7 canary-addr-7@example.org"
    rule = made.control.schedule("addAll3", "fault", times=None, text=words)
    once("every call refused", "call-failing")
    made.control.unschedule(rule)
    made.control.schedule("addAll3", "drop-after", times=None)
    once("every answer lost", "campaign-unreachable")

    batch = rows_of(made, "SELECT id FROM batches")[0][0]
    # A bug: the staged rows are what the journal says, and yet cannot be read.
    staged = made.state / "batches" / batch / "staged.arrow"
    staged.write_bytes(b"canary-addr-1@example.org;Canaryname1;canary-ent-1\r\n" * 40)
    digest = hashlib.sha256(staged.read_bytes()).hexdigest()
    with closing(sqlite3.connect(made.state / "journal.sqlite3")) as journal, journal:
        journal.execute("UPDATE batches SET staged_sha256 = ?", (digest,))
    made.start()
    assert made.child is not None
    assert made.child.wait(40) == 70, made.log.read_text()
    assert '"event": "bug"' in made.log.read_text()
    outputs["once: bug"] = str(made.etl("once"))
    outputs["status"] = str(made.etl("status", "--json"))
    assert leaks(made, outputs) == []


def test_bad_configuration_shows_no_secret(made: Setting, tmp_path: Path) -> None:
    """A configuration with a secret in the wrong place is refused without repeating it."""
    outputs: dict[str, str] = {}
    text = made.config.read_text()
    secret = f'{{file = "{tmp_path}/secret/password"}}'
    spoilt = {
        "as text": text.replace(secret, f'"{WRONG_PASSWORD}"'),
        "unknown key": text.replace(secret, f'{{value = "{WRONG_PASSWORD}"}}'),
        "not TOML": text.replace(secret, WRONG_PASSWORD),
        "no such file": text.replace(secret, f'{{file = "{WRONG_PASSWORD}"}}'),
        "key as text": text.replace(f'"{made.ca_file}"', f'"{STORE_KEY}"'),
    }
    for name, content in spoilt.items():
        made.config.write_text(content)
        command = ["run"] if name == "as text" else ["check", "--json"]
        done = made.etl(*command)
        assert done.returncode == 78, (name, done.stderr)
        outputs[name] = done.stdout + done.stderr
    assert leaks(made, outputs) == []


def test_search_finds_what_is_planted(made: Setting) -> None:
    """The search itself finds a canary in every place and form in which one could leak."""
    made.start()
    made.drop("a.csv", [*canaries(12), canary(50, email="canary-addr-50")])
    made.wait_for("a.csv", "archived")
    made.wait(lambda: is_settled(made))
    assert made.stop() == 0
    assert leaks(made, {}) == []
    receipt = next(made.receipts_folder.iterdir())
    told = json.loads(receipt.read_text()) | {"of": "CANARY-ADDR-1@example.org"}
    receipt.write_text(json.dumps(told))
    case = next(made.quarantine.iterdir())
    (case / "report.html").write_bytes((case / "report.html").read_bytes() + b"Canaryname4")
    with made.log.open("a") as log:
        log.write(STORE_KEY)
    (made.responses / "bounces.csv").write_text("canary-addr-1;Canaryname1")
    (made.state / "archive" / "note").write_text("canary-password-7Q")
    with closing(sqlite3.connect(made.state / "journal.sqlite3")) as journal, journal:
        journal.execute("INSERT INTO pulse VALUES ('x', ?)", (os.fsencode("canary-ent-1").hex(),))
    with closing(sqlite3.connect(made.state / "journal.sqlite3")) as journal:
        journal.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    session = made.calls("addAll3")[0]["body"].split("<in0>")[1].split("<")[0]
    found = leaks(made, {"etl status": "Y2FuYXJ5LWVudC0x", "etl check": f"session {session}"})
    assert {kind for where, kind in found if "session" not in kind} == {
        *PEOPLE, "store key", "password",
    }  # fmt: skip
    places = sorted({where for where, _ in found})
    assert [Path(place).name.split(".")[-2:] for place in places if "/" in place] == [
        ["report", "html"], ["receipt", "json"], ["bounces", "csv"], ["note"],
        ["journal", "sqlite3"],
    ]  # fmt: skip
    assert {"etl.log", "etl status", "etl check"} <= set(places)
