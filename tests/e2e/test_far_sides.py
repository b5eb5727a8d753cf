"""Far sides that are away, full or not who they should be: held unharmed, taken up again."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from etl.sandbox.authority import open_authority
from tests.e2e.seen import clears, every_receipt_is_sound, status
from tests.servers.service import PASSWORD, Setting, as_csv, people, setting


def mended(made: Setting, old: str, new: str) -> None:
    """Change the configuration and start anew, as an operator does."""
    assert made.stop() == 0
    text = made.config.read_text("utf-8")
    assert old in text
    made.config.write_text(text.replace(old, new), "utf-8")
    made.start()


def refilled(made: Setting, name: str, rows: int = 5) -> None:
    """The drop went on by itself: uploaded once, list cleared once and full."""
    receipt = made.wait_for(name, "archived")
    assert receipt["list"]["count"] == rows
    assert made.list_ids() == [f"p{n}@example.org" for n in range(1, rows + 1)]
    assert list(made.remote()) == [receipt["upload"]["name"]]
    assert made.remote()[receipt["upload"]["name"]] == as_csv(people(rows))
    assert clears(made) == {100: 1}
    assert every_receipt_is_sound(made)


def nothing_happened(made: Setting) -> None:
    """Neither file nor list was touched."""
    assert made.remote() == {}
    assert clears(made) == {}


def test_wrong_certificate(tmp_path: Path):
    """A certificate of another authority: no call, no password; held until the right one is set."""
    with setting(tmp_path) as made:
        wrong = open_authority(tmp_path / "other")
        right, made.ca_file = made.ca_file, str(wrong.ca_file)
        made.write_config()
        checked = made.etl("check")
        assert checked.returncode == 69
        assert "campaign-certificate" in checked.stdout
        made.start()
        made.drop("a.csv", people(5))
        held = made.wait_for("a.csv", "held")
        assert held["reason"]["code"] == "campaign-certificate"
        assert made.calls() == []
        assert PASSWORD not in made.call_log.read_text()
        nothing_happened(made)
        mended(made, made.ca_file, right)
        refilled(made, "a.csv")


def test_changed_host_key(tmp_path: Path):
    """A server with another host key gets nothing; the new key must be pinned by somebody."""
    with setting(tmp_path) as made:
        made.start()
        made.sshd.new_host_key()
        made.drop("a.csv", people(5))
        held = made.wait_for("a.csv", "held")
        assert (held["reason"]["code"], held["place"]) == ("sftp-host-key", "CLAIMED")
        nothing_happened(made)
        checked = made.etl("check")
        assert checked.returncode == 69
        assert "sftp-host-key" in checked.stdout
        old = made.sshd.host_key
        mended(made, old, new_host_key(made))
        refilled(made, "a.csv")


def new_host_key(made: Setting) -> str:
    """The server's key as its operator would tell it."""
    private = (made.sshd.folder.parents[1] / "host_ed25519").read_bytes()
    public = serialization.load_ssh_private_key(private, None).public_key()
    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return public.public_bytes(*form).decode()


def test_campaign_away(tmp_path: Path):
    """While Campaign is away drops are checked and held; on return the newest alone runs."""
    with setting(tmp_path, feeds=2) as made:
        rule = made.control.schedule("*", "drop-before", times=None)
        made.start()
        made.drop("a_20300101.csv", people(5, first=50))
        first = made.wait_for("a_20300101.csv", "held")
        assert (first["reason"]["code"], first["place"]) == ("campaign-unreachable", "CLAIMED")
        made.drop("b.csv", b"")
        assert made.wait_for("b.csv", "quarantined")["reason"]["code"] == "empty-file"
        made.drop("a_20300102.csv", people(5))
        second = made.wait_for("a_20300102.csv", "held")
        assert second["reason"]["code"] == "campaign-unreachable"
        made.drop("a_20300103.csv", [*people(3), {"email": "x"}])
        third = made.wait_for("a_20300103.csv", "held", "quarantined")
        assert third["fate"] == "held"
        assert third["held"]["next_try"] is not None
        assert made.etl("check").returncode == 69
        nothing_happened(made)
        made.control.unschedule(rule)
        last = made.wait_for("a_20300103.csv", "archived")
        assert last["check"]["rejected"] == 1
        assert made.list_ids() == [f"p{n}@example.org" for n in range(1, 4)]
        for name in ("a_20300101.csv", "a_20300102.csv"):
            assert made.wait_for(name, "superseded")["upload"] is None
        assert list(made.remote()) == [last["upload"]["name"]]
        assert clears(made) == {100: 1}
        assert status(made)["under_way"] == []
        assert every_receipt_is_sound(made)


def test_wrong_password(tmp_path: Path):
    """A refused login holds the drop as such; it goes on with the right password."""
    with setting(tmp_path) as made:
        secret = tmp_path / "secret" / "password"
        secret.write_text("not-the-password\n")
        made.start()
        made.drop("a.csv", people(5))
        held = made.wait_for("a.csv", "held")
        assert held["reason"]["code"] == "campaign-login"
        assert {call["method"] for call in made.calls()} == {"login"}
        nothing_happened(made)
        checked = made.etl("check")
        assert checked.returncode == 69
        assert "campaign-login" in checked.stdout
        secret.write_text(PASSWORD + "\n")
        assert made.stop() == 0
        made.start()
        refilled(made, "a.csv")


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system is mounted by root only")
def test_remote_disk_full(tmp_path: Path):
    """A full remote disk is seen before anything is cleared; with space the drop goes on."""
    rows = people(400)
    with setting(tmp_path) as made:
        made.start()
        with made.sshd.small_disk(16384):
            made.drop("a.csv", rows)
            held = made.wait_for("a.csv", "held")
            assert (held["reason"]["code"], held["place"]) == ("disk-floor", "CLAIMED")
            assert held["upload"] is None
            assert [name for name in made.remote() if not name.endswith(".part")] == []
            assert clears(made) == {}
        refilled(made, "a.csv", 400)


def test_sftp_server_hangs(tmp_path: Path):
    """A server that does not answer any more holds the upload within its deadlines."""
    with setting(tmp_path) as made:
        text = made.config.read_text().replace("answer_seconds = 5", "answer_seconds = 1")
        made.config.write_text(text.replace("connect_seconds = 2", "connect_seconds = 1"))
        made.start()
        made.drop("a_20300101.csv", people(5))
        made.wait_for("a_20300101.csv", "archived")
        made.sshd.pause()
        made.drop("a_20300102.csv", people(6))
        held = made.wait_for("a_20300102.csv", "held")
        assert (held["reason"]["code"], held["place"]) == ("sftp-unreachable", "CLAIMED")
        assert made.list_ids() == [f"p{n}@example.org" for n in range(1, 6)]
        assert clears(made) == {100: 1}
        assert made.etl("check").returncode == 69
        assert made.stop() == 0


def test_rows_that_are_laid_out_otherwise_are_seen_before_the_first_drop(tmp_path: Path):
    """`etl check` reads rows of response data by their layouts, and names nobody."""
    with setting(tmp_path) as made:
        made.control.unsubscribe(mandator=4242, ids=["canary@example.org"])
        made.control.run_export_job()
        made.control.advance(seconds=1)
        made.write_config()
        assert made.etl("check").returncode == 0
        made.control.set_switches(unsubscribe_columns=["extra", "recipient_id"])
        checked = made.etl("check")
        assert checked.returncode == 69
        assert "page-layout" in checked.stdout
        assert "getUnsubscribes" in checked.stdout
        assert "canary" not in checked.stdout + checked.stderr
