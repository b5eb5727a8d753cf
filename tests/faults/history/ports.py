"""Ports that can be watched and disturbed: a twin behind a door that sees every call."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from etl.errors import FarSideRefused, FarSideUnavailable, Mismatch
from tests.twins.house import Death

VERBS = {
    "lists": ("describe", "count", "clear", "add", "suppressed", "bounced_out", "purge"),
    "responses": ("now", "page", "blocklist"),
    "drop": ("put", "rename", "stat", "remove", "free"),
}


@dataclass
class Trap:
    """Something that happens at a call to come: before it, or after its effect."""

    port: str
    verb: str | None
    """None for any."""
    skip: int
    times: int
    after: bool
    act: Callable[[], None]
    """Raises, or does something to the world."""

    def strikes(self, port: str, verb: str, after: bool) -> bool:
        """Tell whether it is due at this call."""
        if (self.port, self.after) != (port, after) or self.verb not in (None, verb):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class Door(Protocol):
    """Who stands at the door of every port."""

    def spring(self, port: str, verb: str, after: bool, args: tuple[Any, ...]) -> None:
        """Let due traps happen."""

    def note(self, port: str, verb: str, args: tuple[Any, ...]) -> None:
        """A call is made."""

    seen: Any
    """May have `before_PORT_VERB`, `done_…` (its effect happened), `told_…` (its answer came)."""


class Watched:
    """A port whose every call can be seen and disturbed."""

    def __init__(self, inner: Any, port: str, door: Door) -> None:
        self.inner = inner
        self.port = port
        self.door = door

    def __getattr__(self, verb: str) -> Any:
        found = getattr(self.inner, verb)
        if not callable(found):
            return found
        port, door, name = self.port, self.door, f"{self.port}_{verb}"
        before, done, told = (
            getattr(door.seen, f"{when}_{name}", None) for when in ("before", "done", "told")
        )

        def call(*args: Any) -> Any:
            door.spring(port, verb, False, args)
            door.note(port, verb, args)
            if before:
                before(*args)
            answer = found(*args)
            if done:
                done(*args)
            door.spring(port, verb, True, args)
            if told:
                told(answer, *args)
            return answer

        self.__dict__[verb] = call
        return call


def die() -> None:
    """The process ends at once."""
    raise Death


def refuse(port: str) -> None:
    """A far side says no."""
    raise FarSideRefused("sftp-refused" if port == "drop" else "campaign-login")


def refuse_call(verb: str) -> None:
    """Campaign answers a call as a whole with a fault."""
    raise FarSideRefused("call-refused", call=verb, detail="made up")


def fail(port: str, *, in_doubt: bool) -> None:
    """A far side does not answer."""
    code = "sftp-unreachable" if port == "drop" else "campaign-unreachable"
    raise FarSideUnavailable(code, in_doubt=in_doubt, detail="made up")


def full_disk() -> None:
    """What the journal raises when its disk is full: the time is asked for its every row."""
    raise Mismatch("disk-error", detail="SQLITE_FULL")
