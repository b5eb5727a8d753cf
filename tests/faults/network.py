"""Runs with two feeds whose every byte to the far sides goes through a fault proxy."""

import copy
import itertools
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Literal, Self

from tests.faults.two_feeds import Servers, TwoFeeds
from tests.servers.fault_http import Fault, HttpProxy
from tests.servers.fault_proxy import Cut, How, TcpProxy, Way
from tests.servers.nursery import Child
from tests.servers.sshd import Sshd

CALL_SECONDS = 2.0
MARGIN_SECONDS = 4.0
"""For the pauses between tries and the patience with a count."""
_TIMES = {
    "connect_seconds = 2": "connect_seconds = 1",
    "answer_seconds = 5": "answer_seconds = 1\nput_seconds = 2",
    "read_seconds = 5": "connect_seconds = 1\nread_seconds = 1",
    "call_seconds = 10": f"call_seconds = {CALL_SECONDS:g}",
    "[far_side]": "[far_side]\ntries = 3",
}

CALLS: dict[str, Fault | None] = {
    "refused": Fault("refuse", seconds=0.3),
    "refused-for-long": Fault("refuse", times=None),
    "closed-at-once": Fault("hang-up", times=2),
    "reset-before": Fault("reset-before"),
    "closed-before": Fault("close-before"),
    "reset-after": Fault("reset-after"),
    "closed-after": Fault("close-after"),
    "cut-in-the-head": Fault("cut", after_bytes=25),
    "cut-in-the-body": Fault("cut", after_bytes=-200),
    "cut-at-the-last-byte": Fault("cut", after_bytes=-1),
    "truncated-with-right-end": Fault("truncated"),
    "thinned-but-well-formed": Fault("thinned"),
    "page-500": Fault("page", status=500),
    "page-502": Fault("page", status=502),
    "page-503": Fault("page", status=503),
    "page-503-for-long": Fault("page", status=503, times=None),
    "page-503-after": Fault("page-after", status=503),
    "html-200-before": Fault("page", status=200),
    "html-200-after": Fault("page-after", status=200),
    "answers-lost-for-long": Fault("reset-after", times=None),
    "black-hole": Fault("hole"),
    "black-hole-after": Fault("hole-after"),
    "drip": Fault("drip", after_bytes=30),
    "self-signed": Fault("self-signed"),
    "other-authority": Fault("other-authority"),
    "other-name": Fault("other-name"),
    "redirect": Fault("redirect"),
    "session-expired": None,
}
"""What can happen at a SOAP request; None is done by the simulator itself."""

Line = Literal["sftp", "tls"]


@dataclass(frozen=True, slots=True)
class Break:
    """How one of the lines breaks, in which direction and for how many connections."""

    how: How
    way: Way
    times: int | None = 1
    line: Line = "sftp"


CUTS = {
    "reset-up": Break("reset", "up"),
    "reset-down": Break("reset", "down"),
    "close-up": Break("close", "up"),
    "close-down": Break("close", "down"),
    "hole-up": Break("hole", "up"),
    "hole-down": Break("hole", "down"),
    "drip-up": Break("drip", "up"),
    "drip-down": Break("drip", "down"),
    "lose-answer": Break("lose-answer", "up"),
    "reset-for-long": Break("reset", "up", None),
    "tls-reset-up": Break("reset", "up", line="tls"),
    "tls-reset-down": Break("reset", "down", line="tls"),
    "tls-hole-down": Break("hole", "down", line="tls"),
    "tls-drip-down": Break("drip", "down", line="tls"),
}
"""What can happen to a connection, at any of its bytes."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A kind of fault and where: the number of a request, or of a byte."""

    kind: str
    at: int

    @property
    def is_call(self) -> bool:
        """Whether a SOAP request meets it."""
        return self.kind in CALLS


@dataclass(frozen=True, slots=True)
class Counted:
    """An undisturbed run: the calls in order, where its bytes began, and how long it took."""

    calls: tuple[str, ...]
    steps: Mapping[tuple[Line, Way], Sequence[int]]
    seconds: float

    def sizes(self) -> list[int]:
        """How many bytes each step to the SFTP server had, but for the last one."""
        return [*(end - begin for begin, end in itertools.pairwise(self.steps["sftp", "up"])), 0]

    def rename_of_a(self) -> int:
        """Where the first file's rename is asked for: the longest request between two writes."""
        sizes = self.sizes()
        first, second = sorted(sorted(range(len(sizes)), key=sizes.__getitem__)[-2:])
        return self.steps["sftp", "up"][max(range(first + 1, second), key=sizes.__getitem__)]

    def spots(self) -> list[Spot]:
        """Every kind at every call, and at every step of bytes."""
        numbers = range(1, len(self.calls) + 1)
        calls = [Spot(kind, at) for at in numbers for kind in CALLS]
        cuts = [Spot(k, at) for k, cut in CUTS.items() for at in self.steps[cut.line, cut.way]]
        # In the middle of a packet, too.
        inner = [
            Spot(kind, (begin + end) // 2)
            for kind, cut in CUTS.items() if cut.how == "reset" and cut.line == "sftp"
            for begin, end in itertools.pairwise(self.steps["sftp", cut.way])
        ]  # fmt: skip
        return calls + cuts + inner


class Lines:
    """The lines to both far sides, each through its proxies; they run inside `with`.

    Campaign's second one, for breaking TLS itself, stands before the first and is not always used.
    """

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.http = HttpProxy(servers.root / "proxy-tls")
        self.tcp = TcpProxy(servers.far.sshd.host, servers.far.sshd.port)
        self.tls = TcpProxy("127.0.0.1", self.http.port)

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._stack.enter_context(self.http)
        self._stack.enter_context(self.tcp)
        self._stack.enter_context(self.tls)
        self.http.aim(self.servers.far.url, self.servers.far.ca_file)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def clean(self) -> None:
        """No fault from now on."""
        self.http.plan()
        self.tcp.plan()
        self.tls.plan()


class NetRun(TwoFeeds):
    """A run behind the proxies, with short deadlines."""

    def __init__(
        self, lines: Lines, servers: Servers | None = None, *, through_tls: bool = False
    ) -> None:
        super().__init__(servers or lines.servers)
        self.lines = lines
        self.through_tls = through_tls

    def __enter__(self) -> Self:
        super().__enter__()
        self.write_config()
        return self

    def write_config(self) -> None:
        """Write the configuration, with the proxies in the place of the far sides."""
        made, lines = self.made, self.lines
        port = lines.tls.port if self.through_tls else lines.http.port
        made.url, made.ca_file = f"https://127.0.0.1:{port}/soap11", str(lines.http.ca_file)
        made.write_config()
        text = made.config.read_text()
        text = re.sub(r"(?m)^port = \d+$", f"port = {lines.tcp.port}", text)
        for before, after in _TIMES.items():
            assert before in text
            text = text.replace(before, after)
        made.config.write_text(text)

    def timed_life(self, seconds: float) -> float:
        """One life of `once`, in time and without a death; how long it took."""
        began = time.monotonic()
        code = self.life(seconds=seconds)
        assert code in (0, 1), f"exit {code}: {self.words()}"
        return time.monotonic() - began

    def daemon(self) -> Child:
        """A daemon on this instance."""
        return self.born("run")


def counted(lines: Lines) -> Counted:
    """What an undisturbed run does on the lines."""
    lines.clean()
    with NetRun(lines, through_tls=True) as run:
        seconds = run.timed_life(30)
        run.must_be_true()
        calls = tuple(each.call for each in lines.http.passed)
        steps: dict[tuple[Line, Way], list[int]] = {
            ("sftp", "up"): lines.tcp.offsets("up"),
            ("sftp", "down"): lines.tcp.offsets("down"),
            ("tls", "up"): lines.tls.offsets("up"),
            ("tls", "down"): lines.tls.offsets("down"),
        }
        return Counted(calls, steps, seconds)


def broken_once(lines: Lines, spot: Spot, usual: Counted, trap: str) -> tuple[bool, float]:
    """One life with the fault and one without; then everything must be true.

    Returns whether the fault was met, and for how many seconds the life stood still.
    """
    lines.clean()
    through_tls = not spot.is_call and CUTS[spot.kind].line == "tls"
    with NetRun(lines, through_tls=through_tls) as run:
        _plan(lines, run, spot, trap)
        seconds = run.timed_life(_patience(spot, usual))
        met, clears = _met(lines, run, spot)
        run.somebody_leaves()
        lines.clean()
        run.made.control.unschedule()
        run.comes_to_rest()
        run.must_be_true(deaths=clears)
        return met, max(seconds - usual.seconds, 0.0)


def _plan(lines: Lines, run: NetRun, spot: Spot, trap: str) -> None:
    if not spot.is_call:
        cut = CUTS[spot.kind]
        _proxy(lines, cut).plan(Cut(cut.how, cut.way, spot.at, cut.times))
        return
    fault = CALLS[spot.kind]
    if fault is None:
        run.made.control.schedule("*", "expire-session", nth=spot.at, mandator=run.made.mandator)
    else:
        lines.http.plan(replace(fault, at=spot.at, location=trap))


def _proxy(lines: Lines, cut: Break) -> TcpProxy:
    return lines.tls if cut.line == "tls" else lines.tcp


def _patience(spot: Spot, usual: Counted) -> float:
    """How long a life with a fault may take: one limit of a call more, or one for each that fails.

    What stays broken fails at once, so that the many tries of a life add up to their pauses. The
    rest is for a machine that has more to do by now.
    """
    fault = CALLS.get(spot.kind)
    times = CUTS[spot.kind].times if not spot.is_call else 1 if fault is None else fault.times
    pauses = 0.0 if times else 20.0
    return 3 * usual.seconds + CALL_SECONDS + MARGIN_SECONDS + pauses


def _met(lines: Lines, run: NetRun, spot: Spot) -> tuple[bool, int]:
    """Whether the fault was met, and how many clears are in doubt by it."""
    if not spot.is_call:
        cut = CUTS[spot.kind]
        # Any call may have lost its answer with the connection, so also one clear.
        return bool(_proxy(lines, cut).fired), int(cut.line == "tls")
    calls = run.made.control.calls(since=run.first_call)
    if CALLS[spot.kind] is None:
        faulted = [c["method"] for c in calls if c["mandator"] == run.made.mandator
                   and c["fault"] is not None]  # fmt: skip
        return bool(faulted), faulted.count("clear")
    faulted = [each.call for each in lines.http.faults]
    met = bool(faulted) or lines.http.turned_away > 0 or spot.kind.startswith("refused")
    return met, faulted.count("clear")


@contextmanager
def own_sshd(servers: Servers, options: Sequence[str] = (), **more: bool) -> Iterator[Servers]:
    """The same servers with an sshd of one's own in the place of the shared one."""
    other = copy.copy(servers)
    other.far = copy.copy(servers.far)
    command = ["ssh-keygen", "-y", "-f", str(servers.far.key)]
    public = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    with Sshd([public], options=options, **more) as sshd:
        other.far.sshd = sshd
        try:
            yield other
        finally:
            servers.runs = max(servers.runs, other.runs)
