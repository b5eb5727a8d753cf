"""Each embedded server as a process of its own."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import paramiko

from etl.sandbox.control import Control
from etl.sandbox.sftp import make_key
from tests.unit.sandbox.caller import Caller
from tests.unit.sandbox.conftest import furnish


def _started(*arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "etl.sandbox", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    return process, json.loads(process.stdout.readline())


def _ended(process):
    process.send_signal(signal.SIGTERM)
    code = process.wait(timeout=20)
    process.stdout.close()
    return code


def test_campaign_as_a_process(tmp_path):
    """It says where it listens, serves over TLS, writes the call log and ends on SIGTERM."""
    log = tmp_path / "calls.jsonl"
    process, facts = _started("campaign", "--tls", tmp_path / "ca", "--call-log", log)
    try:
        sim = SimpleNamespace(
            url=facts["url"], ca_file=Path(facts["ca_file"]), control=Control(facts["control_url"])
        )
        Caller(furnish(sim)).login().count()
        assert [json.loads(line)["method"] for line in log.read_text().splitlines()] == [
            "login",
            "getCount",
        ]
    finally:
        assert _ended(process) == 0


def test_sftp_as_a_process(tmp_path):
    """It says host, port and host key, and lets the one client key in."""
    public = tmp_path / "client.pub"
    public.write_text(make_key(tmp_path / "client") + "\n")
    (tmp_path / "root").mkdir()
    process, facts = _started(
        "sftp", "--folder", tmp_path / "root", "--authorized-key", public, "--port", 0
    )
    try:
        transport = paramiko.Transport((facts["host"], facts["port"]))
        key = paramiko.PKey.from_path(tmp_path / "client")
        try:
            transport.connect(username="demo", pkey=key)
            found = transport.get_remote_server_key()
            assert facts["host_key"] == f"{found.get_name()} {found.get_base64()}"
        finally:
            transport.close()
    finally:
        assert _ended(process) == 0
