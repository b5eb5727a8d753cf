"""What stands in systemd/: units that systemd takes, and an example that the service takes."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from etl import settings as s
from etl.config import build
from etl.ports import Stream

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
EXAMPLE = (SYSTEMD / "etl.toml").read_text("utf-8")
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="owners can be set by root only")


def unit() -> dict[str, list[str]]:
    """The assignments of the unit, in order, by key."""
    keys: dict[str, list[str]] = {}
    for line in (SYSTEMD / "etl.service").read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            keys.setdefault(key, []).append(value)
    return keys


def seconds(text: str) -> float:
    """A time span of the unit, all of which are in plain seconds."""
    return float(text.removesuffix("s"))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit with a program that exists, since the real one is made at the installation."""
    path = tmp_path / "etl.service"
    text = (SYSTEMD / "etl.service").read_text("utf-8")
    assert text.count("ExecStart=/opt/etl/bin/etl ") == 1
    path.write_text(text.replace("/opt/etl/bin/etl", sys.executable))
    return path


def test_systemd_takes_the_unit(installed: Path):
    """`systemd-analyze verify` has nothing to say."""
    command = ["systemd-analyze", "verify", "--man=no", str(installed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_would_complain(installed: Path):
    """The same look at a unit with a misspelt key does say something."""
    installed.write_text(installed.read_text().replace("WatchdogSec=", "WatchDogSecs="))
    command = ["systemd-analyze", "verify", "--man=no", str(installed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "WatchDogSecs" in done.stderr


def test_the_unit_is_hardened(installed: Path):
    """By systemd's own measure the exposure stays at 1.2 of 10 or below."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=12", "--no-pager"]
    done = subprocess.run([*command, str(installed)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_unit_speaks_the_service_s_protocol():
    """Ready, watchdog, stop and exit codes are those that the service keeps."""
    keys = unit()
    expected = {
        "Type": "notify",
        "NotifyAccess": "main",
        "Restart": "on-failure",
        "RestartPreventExitStatus": "78",
        "KillMode": "mixed",
        "User": "etl",
        "UMask": "0077",
        "StateDirectoryMode": "0700",
        "ExecStart": "/opt/etl/bin/etl run --config /etc/etl/etl.toml",
    }
    assert {key: " ".join(keys[key]) for key in expected} == expected
    assert "POLARS_SKIP_CPU_CHECK=1" in keys["Environment"]
    assert seconds(keys["WatchdogSec"][0]) > 10 * s.Scan().every_seconds
    longest_call = s.Client.model_fields["call_seconds"].default
    assert seconds(keys["TimeoutStopSec"][0]) > longest_call


def test_unit_folders_and_example_agree():
    """Every folder and credential of the example is one that the unit and tmpfiles.d provide."""
    table = tomllib.loads(EXAMPLE)
    keys = unit()
    made = dict(
        re.findall(
            r"^d (/srv/\S+)\s+(\d+)", (SYSTEMD / "tmpfiles.d/etl.conf").read_text(), re.MULTILINE
        )
    )
    folders = dict(table["folders"])
    assert folders.pop("state") == f"/var/lib/{keys['StateDirectory'][0]}"
    assert set(folders.values()) | {"/srv/etl"} == set(made)
    assert keys["ReadWritePaths"] == ["/srv/etl"]
    loaded = {value.partition(":")[0] for value in keys["LoadCredential"]}
    assert loaded == set(re.findall(r'^[^#\n]*credential = "([^"]+)"', EXAMPLE, re.MULTILINE))


@NEEDS_ROOT
def test_users_and_folders_are_made(tmp_path: Path):
    """The tools of systemd make user, groups and folders, with the rights the service needs."""
    for kind in ("sysusers.d", "tmpfiles.d"):
        (tmp_path / "usr/lib" / kind).mkdir(parents=True)
        shutil.copy(SYSTEMD / kind / "etl.conf", tmp_path / "usr/lib" / kind)
    (tmp_path / "etc").mkdir()
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}"], check=True, capture_output=True)
    subprocess.run(
        ["systemd-tmpfiles", f"--root={tmp_path}", "--create", "etl.conf"],
        check=True,
        capture_output=True,
    )
    users = table_of(tmp_path / "etc/passwd")
    groups = table_of(tmp_path / "etc/group")
    etl, crm = int(users["etl"][2]), int(groups["etl-crm"][2])
    assert users["etl"][6] == "/usr/sbin/nologin"
    assert groups["etl-crm"][3] == "etl"
    group = int(groups["etl"][2])
    assert {
        name: rights(tmp_path / name)
        for name in ("etc/etl", "etc/etl/credentials", *(f"srv/etl/{one}" for one in FOLDERS))
    } == {
        "etc/etl": (0o750, 0, group),
        "etc/etl/credentials": (0o700, 0, 0),
        "srv/etl/inbox": (0o2770, etl, crm),
        "srv/etl/receipts": (0o2750, etl, crm),
        "srv/etl/responses": (0o2750, etl, crm),
        "srv/etl/quarantine": (0o750, etl, group),
    }


FOLDERS = ("inbox", "receipts", "responses", "quarantine")


def table_of(path: Path) -> dict[str, list[str]]:
    """A file of colon-separated lines by first field."""
    return {line.split(":")[0]: line.split(":") for line in path.read_text().splitlines()}


def rights(path: Path) -> tuple[int, int, int]:
    """Mode, owner, group."""
    found = path.stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


# --- the example configuration -------------------------------------------------------------------


@pytest.fixture
def credentials(tmp_path: Path) -> dict[str, str]:
    """What systemd's LoadCredential gives."""
    for name in ("campaign-password", "sftp-key", "store-key"):
        (tmp_path / name).write_text(f"made-up-{name}-0123456789\n")
    return {"CREDENTIALS_DIRECTORY": str(tmp_path)}


def test_the_example_is_a_configuration(credentials: dict[str, str]):
    """The example passes as it stands."""
    config = build(tomllib.loads(EXAMPLE), credentials)
    assert [feed.name for feed in config.feeds_for("contacts_20260102.csv")] == ["contacts"]


def uncommented() -> dict[str, Any]:
    """The example with every key that is shown as a comment set."""
    lines = (re.sub(r"^# (?=\[|[A-Za-z_-]+ = )", "", line) for line in EXAMPLE.splitlines())
    return tomllib.loads("\n".join(lines))


def pairs() -> Iterator[tuple[type[BaseModel], dict[str, Any], dict[str, Any]]]:
    """Each table of the configuration: its keys, all that are shown, those that are set."""
    shown, given = uncommented(), tomllib.loads(EXAMPLE)
    yield s.Settings, shown, given
    for name, model in {
        "folders": s.Folders, "scan": s.Scan, "archive": s.Archive, "far_side": s.FarSide,
        "limits": s.LimitsTable, "suppression": s.Suppression, "responses": s.Responses,
    }.items():  # fmt: skip
        yield model, shown[name], given[name]
    yield s.StoreKeyTable, shown["suppression"]["keys"][0], given["suppression"]["keys"][0]
    yield s.Sftp, shown["sftp"]["main"], given["sftp"]["main"]
    yield s.Client, shown["client"]["main"], given["client"]["main"]
    exports = shown["client"]["main"]["exports"]
    yield s.Exports, {key: exports[key] for key in exports if not key.startswith("get")}, {}
    yield s.ExportFile, exports["getOutBounces"], {}
    feed, set_feed = shown["feed"][0], given["feed"][0]
    yield s.Feed, feed, set_feed
    for name, model in {
        "consent": s.Consent, "csv": s.Csv, "output": s.Output, "recipient": s.Recipient,
        "list": s.List, "guards": s.Guards,
    }.items():  # fmt: skip
        yield model, feed[name], set_feed.get(name, {})


@pytest.mark.parametrize("case", list(pairs()), ids=lambda case: case[0].__name__)
def test_every_key_is_documented_with_its_default(
    case: tuple[type[BaseModel], dict[str, Any], dict[str, Any]],
):
    """The example shows every key; a key shown as a comment has its default."""
    model, shown, given = case
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    assert set(shown) == set(fields)
    for key, field in fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if field.is_required():
            assert key in given or not given, key
        elif key not in given and default is not None and not isinstance(default, BaseModel):
            assert shown[key] == default, key
    assert set(given) <= set(shown)


def test_with_every_key_set_it_still_is_a_configuration(credentials: dict[str, str]):
    """What is shown as a comment can be set as it is shown."""
    (Path(credentials["CREDENTIALS_DIRECTORY"]) / "sftp-passphrase").write_text("made up")
    shown = uncommented()
    # A column of one's own schema; and the one or the other.
    del shown["feed"][0]["tracking_opt_out"]
    shown["client"]["main"]["closed_loop"] = False
    config = build(shown, credentials)
    assert config.settings.feed[0].output is not None
    exports = config.settings.client["main"].exports
    assert exports is not None
    for stream, name in ((Stream.OUT_BOUNCES, "outbounces"), (Stream.UNSUBSCRIBES, "unsubscribes")):
        assert re.fullmatch(exports.files[stream].pattern, f"{name}_20260102.csv.gz")
