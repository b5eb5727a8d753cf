"""`etl run` under a supervisor: what systemd is told, and when."""

import socket
from pathlib import Path

from tests.servers.service import people, setting


def test_systemd_hears_ready_watchdog_and_stopping(tmp_path: Path):
    """READY comes after the first scan, WATCHDOG with every scan, STOPPING at the end, no names."""
    path = tmp_path / "notify"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor,
        setting(tmp_path) as made,
    ):
        supervisor.bind(str(path))
        supervisor.settimeout(20)
        made.variables["NOTIFY_SOCKET"] = str(path)
        made.drop("a.csv", people(5))
        made.start()
        heard: list[str] = []
        while "READY=1" not in heard:
            heard.append(supervisor.recv(4096).decode())
        assert "WATCHDOG=1" in heard
        made.wait_for("a.csv", "archived")
        heard.append(supervisor.recv(4096).decode())
        assert made.stop() == 0
        supervisor.setblocking(False)
        while True:
            try:
                heard.append(supervisor.recv(4096).decode())
            except BlockingIOError:
                break
        assert heard[-1] == "STOPPING=1"
        words = [text for text in heard if text.startswith("STATUS=")]
        assert words
        assert all("a.csv" not in text and "@" not in text for text in words)
