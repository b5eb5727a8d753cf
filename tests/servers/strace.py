"""System calls of a process that runs, made slow."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path


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
