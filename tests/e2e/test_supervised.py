"""`etl run` under a supervisor: what systemd is told, and when."""

import socket
import threading
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
        made.variables["NOTIFY_SOCKET"] = str(path)
        made.drop("a.csv", people(5))
        heard: list[str] = []
        listener = threading.Thread(target=listen, args=(supervisor, heard))
        listener.start()
        made.start()
        made.wait(lambda: "READY=1" in heard)
        assert "WATCHDOG=1" in heard
        assert heard.index("WATCHDOG=1") < heard.index("READY=1")
        made.wait_for("a.csv", "archived")
        assert made.stop() == 0
        made.wait(lambda: "STOPPING=1" in heard)
        supervisor.shutdown(socket.SHUT_RD)
        listener.join()
        words = [text for text in heard if text.startswith("STATUS=")]
        assert words
        assert all("a.csv" not in text and "@" not in text for text in words)


def listen(supervisor: socket.socket, heard: list[str]) -> None:
    """Take every message at once: a queue that is full loses the next one."""
    while message := supervisor.recv(4096):
        heard.append(message.decode())
