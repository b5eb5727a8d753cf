"""The notify protocol, spoken over real datagram sockets."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etl import notify


@pytest.fixture(params=["path", "abstract"])
def supervisor(request, tmp_path: Path, monkeypatch) -> Iterator[socket.socket]:
    """A socket as systemd makes it, named in $NOTIFY_SOCKET."""
    name = f"etl-notify-{os.getpid()}-{tmp_path.name}"
    path = str(tmp_path / "notify") if request.param == "path" else "@" + name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(path if request.param == "path" else "\0" + name)
        channel.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield channel


@pytest.mark.parametrize(
    ("say", "heard"),
    [
        (notify.ready, b"READY=1"),
        (notify.watchdog, b"WATCHDOG=1"),
        (notify.stopping, b"STOPPING=1"),
        (lambda: notify.status("2 held, 1 dirty"), b"STATUS=2 held, 1 dirty"),
        (lambda: notify.status("zwei Töpfe"), "STATUS=zwei Töpfe".encode()),
    ],
)
def test_a_message_is_one_datagram(
    supervisor: socket.socket, say: Callable[[], None], heard: bytes
):
    """Each message reaches the supervisor as one datagram of the documented form."""
    say()
    assert supervisor.recv(4096) == heard


def test_a_status_is_one_line(supervisor: socket.socket):
    """A line end inside a status cannot forge a second assignment."""
    notify.status("waiting\nREADY=1\r\nWATCHDOG=1")
    assert supervisor.recv(4096) == b"STATUS=waiting READY=1 WATCHDOG=1"


@pytest.mark.parametrize("path", ["", "relative", "/nowhere/at/all", "@nobody-listens", "/" * 500])
def test_nothing_happens_without_a_listener(path: str, monkeypatch):
    """Without a supervisor, or with a wrong address, a message is lost and nothing is raised."""
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    notify.ready()
    notify.status("x")


def test_nothing_happens_without_the_variable(monkeypatch):
    """Started by hand, the service tells nobody."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.ready()


def test_a_full_queue_does_not_stop_the_daemon(supervisor: socket.socket):
    """A supervisor that does not read loses messages; the daemon does not wait for it."""
    for _ in range(2000):
        notify.watchdog()
    heard = 0
    supervisor.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while supervisor.recv(4096) == b"WATCHDOG=1":
            heard += 1
    assert 0 < heard < 2000


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "120000000"}, 120.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "own"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_PID": "own"}, None),
    ],
)
def test_the_watchdog_interval(environment: dict[str, str], seconds: float | None, monkeypatch):
    """The interval is what systemd set for this very process, None otherwise."""
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, str(os.getpid()) if value == "own" else value)
    assert notify.watchdog_interval() == seconds


def test_a_real_process_is_heard(supervisor: socket.socket):
    """Another process that has only the environment reaches the supervisor, in order."""
    code = "from etl import notify; notify.ready(); notify.status('a  b'); notify.stopping()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    heard = [supervisor.recv(4096) for _ in range(3)]
    assert heard == [b"READY=1", b"STATUS=a b", b"STOPPING=1"]
