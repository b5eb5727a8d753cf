"""The system calls of a life that last: what writes to a disk or goes over the network.

They are counted in an undisturbed life under strace, of the thread that does the work: `once` has
one. A point is the nth call of its name, as strace counts for an injection.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ALWAYS = (
    "pwrite64", "pwritev", "fsync", "fdatasync", "rename", "renameat", "renameat2", "unlink",
    "unlinkat", "mkdir", "mkdirat", "rmdir", "ftruncate", "fallocate", "link", "linkat", "symlink",
    "connect", "sendto", "sendmsg", "recvfrom", "recvmsg", "shutdown", "fchmod", "fchown",
)  # fmt: skip
"""Each of these has an effect or waits for a far side."""
BY_TARGET = ("openat", "write", "writev", "read", "close")
"""These only where they make a file, write one, or go to a socket."""
_LINE = re.compile(r"(?:\[pid +\d+\] )?(\w+)\((.*)")
_MAKES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")
_UNNAMED = re.compile(r"[0-9a-f]{4,}|\d+")


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """The nth call of a name in one thread."""

    call: str
    nth: int
    what: str
    """What it was about: a file's name or `far side`."""

    @property
    def title(self) -> str:
        """For the name of a test."""
        return f"{self.call}-{self.nth}"


def call_of(point: Point) -> str:
    """Tell which call a point is, for figures."""
    return point.call


def tracing(output: Path, calls: Sequence[str] = (*ALWAYS, *BY_TARGET)) -> list[str]:
    """Options that write these calls of the one thread down, each with what its files are."""
    which = ",".join(f"?{call}" for call in calls)
    return ["-yy", "-s", "0", "-o", str(output), "-e", f"trace={which}", "-e", "signal=none"]


def killing(point: Point, output: Path) -> list[str]:
    """Options that kill at the entry of a point, which is then not carried out."""
    return [
        "-yy", "-s", "0", "-o", str(output), "-e", f"trace=?{point.call}",
        "-e", f"inject=?{point.call}:signal=KILL:when={point.nth}",
    ]  # fmt: skip


def failing(point: Point, how: str, output: Path, *, from_here: bool = False) -> list[str]:
    """Options that let a point fail: `error=EIO`, or `retval=0` for a short write."""
    on = f"{point.nth}+" if from_here else point.nth
    return [
        "-yy", "-s", "0", "-o", str(output), "-e", f"trace=?{point.call}",
        "-e", f"inject=?{point.call}:{how}:when={on}",
    ]  # fmt: skip


def points(trace: str) -> list[Point]:
    """Every point of a written trace that lasts or goes out, in order."""
    return list(_points(trace))


def _points(trace: str) -> Iterator[Point]:
    seen: Counter[str] = Counter()
    for line in trace.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        call, rest = found.groups()
        seen[call] += 1
        if call in ALWAYS or (call in BY_TARGET and _is_meant(call, rest)):
            yield Point(call, seen[call], _what(rest))


def _is_meant(call: str, rest: str) -> bool:
    if call == "openat":
        return _MAKES.search(rest) is not None and "/dev/null" not in rest
    target = rest.partition(">")[0]
    if "<TCP" in target:
        return call != "close"
    return call in ("write", "writev") and "</" in target and not target.endswith("etl.log")


def _what(rest: str) -> str:
    if "TCP" in rest or "sin_port" in rest:
        return "far side"
    names = re.findall(r'[<"](/[^>"]*|[^/<>"]+)[>"]', rest)
    name = Path(names[-1]).name if names else ""
    return _UNNAMED.sub("*", name)
