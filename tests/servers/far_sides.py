"""The far sides of an instance, each a process of its own: OpenSSH's sshd and the simulator."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from etl.sandbox.control import Control
from etl.sandbox.sftp import make_key
from tests.servers.sshd import Sshd


class FarSides:
    """A server for files and a Campaign; both run inside `with`, for one instance or for many."""

    def __init__(
        self, root: Path, options: Sequence[str] = (), public_key: str | None = None
    ) -> None:
        """Who has the public key may log in; without one, who has `key`, which is made.

        Key, certificates and call log are written below `root`.
        """
        self.root = root
        self.key = root / "client_key"
        self._public_key = public_key
        self.call_log = root / "calls.jsonl"
        self._options = options

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        self.sshd = self._stack.enter_context(Sshd([self._public_key or make_key(self.key)]))
        command = [sys.executable, "-m", "etl.sandbox", "campaign", "--port", "0",
                   "--control-port", "0", "--tls", str(self.root / "tls"),
                   "--call-log", str(self.call_log), *self._options]  # fmt: skip
        self.simulator = subprocess.Popen(command, stdout=subprocess.PIPE)
        self._stack.callback(self._end_simulator)
        assert self.simulator.stdout is not None
        ready = json.loads(self.simulator.stdout.readline())
        self.url, self.ca_file = ready["url"], ready["ca_file"]
        self.control = Control(ready["control_url"])
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end_simulator(self) -> None:
        self.simulator.terminate()
        self.simulator.wait(10)
        assert self.simulator.stdout is not None
        self.simulator.stdout.close()
