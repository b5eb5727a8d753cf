"""Deaths placed by system call: SIGKILL at the entry of the nth, which is then not carried out."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path


def dying_at(calls: str, *, path: Path | None = None, nth: int = 1) -> list[str]:
    """The command that runs another one and kills it at its nth call, counted in each thread.

    With `path`, only calls that touch exactly this path count.
    """
    which = ",".join(f"?{call}" for call in calls.split(","))
    command = ["strace", "-f", "-qqq", "-o", "/dev/null"]
    command += ["-e", f"trace={which}", "-e", f"inject={which}:signal=KILL:when={nth}"]
    if path is not None:
        command += ["-P", str(path)]
    return command


@contextlib.contextmanager
def slow(pid: int, calls: str, seconds: float, output: Path) -> Iterator[None]:
    """Have the calls of a process and its children return late, though they have their effect."""
    which = ",".join(f"?{call}" for call in calls.split(","))
    micros = int(seconds * 1_000_000)
    command = ["strace", "-f", "-p", str(pid), "-e", f"trace={which}"]
    command += ["-e", f"inject={which}:delay_exit={micros}"]
    with output.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as child:
        try:
            until = time.monotonic() + 20
            while b"attached" not in output.read_bytes():
                assert time.monotonic() < until, output.read_text()
                assert child.poll() is None, output.read_text()
                time.sleep(0.02)
            yield
        finally:
            child.terminate()
