"""What a client under test needs to reach a test server: an access and a clock."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from etl.sandbox.sftp import EmbeddedSftp
from etl.wire.sftp import SftpAccess, SftpDrop
from tests.servers.sshd import Sshd


class RealTime:
    """The Clock port over the machine's clock."""

    def wall(self) -> datetime:
        """Now, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class JumpingTime(RealTime):
    """A clock on which every look takes `step` seconds more."""

    def __init__(self, step: float) -> None:
        self.step = step
        self.now = 0.0

    def monotonic(self) -> float:
        """Later than at the last look."""
        self.now += self.step
        return self.now


def access_to(server: EmbeddedSftp | Sshd, key_file: Path, **changes: Any) -> SftpAccess:
    """An access that works, with short deadlines; `changes` overrides any field."""
    remote = server.remote if isinstance(server, Sshd) else "."
    fields: dict[str, Any] = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "key_file": key_file,
        "host_keys": (server.host_key,),
        "folder": remote,
        "answer_seconds": 10,
    }
    return SftpAccess(**(fields | changes))


def drop_to(server: EmbeddedSftp | Sshd, key_file: Path, **changes: Any) -> SftpDrop:
    """A drop over `access_to`."""
    return SftpDrop(access_to(server, key_file, **changes), RealTime())
