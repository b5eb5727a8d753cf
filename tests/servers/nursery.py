"""Real `etl` processes without an interpreter's start: forked from one that has imported it all.

The mother imports the installed package and waits. Every child is a process of its own that runs
`etl.cli.main` with its own arguments, environment and log, and belongs to the test: it may be
traced, killed and waited for. A child may be born stopped, so that strace is there before its
first step.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[2]
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER: children of the mother become ours when the one in between ends."""

_MOTHER = """
import json, os, signal, sys
import etl.app, etl.cli
sys.stdout.write("ready\\n"); sys.stdout.flush()
for line in sys.stdin:
    wanted = json.loads(line)
    heard, told = os.pipe()
    between = os.fork()
    if between:
        os.waitpid(between, 0)
        sys.stdout.write(os.read(heard, 20).decode() + "\\n"); sys.stdout.flush()
        os.close(heard); os.close(told)
        continue
    pid = os.fork()
    if pid:
        os._exit(0)
    os.setsid()
    log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0); os.dup2(log, 1); os.dup2(log, 2)
    os.environ.clear(); os.environ.update(wanted["environment"])
    os.chdir(wanted["folder"])
    # Told only now: whoever hears of it may read its log and kill its group.
    os.write(told, str(os.getpid()).encode()); os.close(heard); os.close(told)
    if wanted["stopped"]:
        os.kill(os.getpid(), signal.SIGSTOP)
    sys.argv = wanted["command"]
    code = 0
    try:
        etl.cli.main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 70
    sys.stdout.flush(); sys.stderr.flush()
    os._exit(code or 0)
"""


class Child:
    """One process of `etl`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it lives."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self, seconds: float = 60) -> int:
        """Wait for the end; killed and TimeoutError when it does not come."""
        until = time.monotonic() + seconds
        pause = 0.002
        while (found := self.poll()) is None:
            if time.monotonic() > until:
                self.kill()
                raise TimeoutError(f"no end after {seconds} s")
            time.sleep(pause)
            pause = min(pause * 1.3, 0.02)
        return found

    def kill(self) -> None:
        """SIGKILL, and wait."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait(10)

    def terminate(self) -> None:
        """SIGTERM."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def go(self) -> None:
        """Let a child born stopped run."""
        os.kill(self.pid, signal.SIGCONT)


class Nursery:
    """Gives birth inside `with`; whoever lives at its end is killed."""

    def __init__(self, *, tree: Path = REPOSITORY) -> None:
        """`tree` is where the package comes from: a doctored copy proves that a test can fail."""
        self._tree = tree
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
        environment = {**os.environ, "PYTHONPATH": str(self._tree), "POLARS_MAX_THREADS": "1"}
        self._mother = subprocess.Popen(
            [sys.executable, "-c", _MOTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=environment, text=True, cwd=self._tree,
        )  # fmt: skip
        if self._answer() != "ready":
            raise RuntimeError("the mother of the nursery did not come up")
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            with contextlib.suppress(ChildProcessError):
                child.kill()
        assert self._mother.stdin is not None
        assert self._mother.stdout is not None
        self._mother.stdin.close()
        self._mother.wait(10)
        self._mother.stdout.close()

    def _answer(self) -> str:
        assert self._mother.stdout is not None
        return self._mother.stdout.readline().strip()

    def born(
        self, arguments: Sequence[str], log: Path, environment: dict[str, str] | None = None,
        *, stopped: bool = False, folder: Path = Path("/"),
    ) -> Child:  # fmt: skip
        """A process that runs `etl` with these arguments; stopped before its first step or not."""
        wanted = {
            "command": ["etl", *arguments],
            "log": str(log),
            "environment": environment or {**os.environ, "NO_COLOR": "1"},
            "folder": str(folder),
            "stopped": stopped,
        }
        assert self._mother.stdin is not None
        self._mother.stdin.write(json.dumps(wanted) + "\n")
        self._mother.stdin.flush()
        child = Child(int(self._answer()))
        self._children = [each for each in self._children if each.status is None] + [child]
        if stopped:
            _, status = os.waitpid(child.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
        return child
