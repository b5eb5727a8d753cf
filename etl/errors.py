"""The few errors of this service. Each says whether to try again, how to exit and what to do.

An error's text is safe to log: code, numbers, names of columns, files, hosts and lists. It never
holds a cell, an address, a session id or a password; whoever raises one redacts first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from etl.reasons import REASONS

Fact = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in the configuration: where it stands, what is wrong, what to do."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.hint})" if self.hint else "")


class EtlError(Exception):
    """Common shape: a stable code from `etl.reasons`, facts without personal data, an exit code."""

    exit_code: ClassVar[int] = 70
    retry: ClassVar[bool] = False

    def __init__(self, code: str, **facts: Fact) -> None:
        if code not in REASONS:
            raise KeyError(f"unknown reason code {code!r}")
        self.code = code
        self.facts = facts
        super().__init__(code)

    @property
    def sentence(self) -> str:
        """What happened, with the facts filled in."""
        return REASONS[self.code].words(self.facts)

    @property
    def hint(self) -> str:
        """What to do about it."""
        return REASONS[self.code].hint

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence}"


class ConfigError(EtlError):
    """The configuration cannot be right; all problems at once; the start is refused (exit 78)."""

    exit_code: ClassVar[int] = 78

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("configuration", problems=len(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class RejectedDrop(EtlError):  # noqa: N818 - a fate, not a fault of ours
    """The file can never be right; it goes to quarantine and comes back only as a new drop."""

    exit_code: ClassVar[int] = 1


class FarSideUnavailable(EtlError):  # noqa: N818 - named for a state of the world
    """A far side did not answer; try again later.

    `in_doubt` tells whether the call may have had its effect all the same: a request was sent and
    its answer lost. A caller whose call changes something must then ask before it repeats.
    """

    exit_code: ClassVar[int] = 69
    retry: ClassVar[bool] = True

    def __init__(self, code: str, *, in_doubt: bool = False, **facts: Fact) -> None:
        super().__init__(code, **facts)
        self.in_doubt = in_doubt


class FarSideRefused(EtlError):  # noqa: N818 - named for an answer
    """A far side answered no: login, permission, host key, certificate, a fault for a call."""

    exit_code: ClassVar[int] = 69


class GuardTripped(EtlError):  # noqa: N818 - named for a guard at work
    """A guard refused a step before it could do harm; the batch is held."""

    exit_code: ClassVar[int] = 1


class Mismatch(EtlError):  # noqa: N818 - named for a finding
    """What was written is not what is there: a size or a count differs."""

    exit_code: ClassVar[int] = 1


class AlreadyRunning(EtlError):  # noqa: N818 - named for a state of the world
    """Another instance holds the lock of the state directory (exit 75)."""

    exit_code: ClassVar[int] = 75


def disk_error(error: Exception) -> Mismatch:
    """A local disk, a share or an SQLite file failed: its kind and number, none of its words."""
    number = getattr(error, "errno", None) or getattr(error, "sqlite_errorname", "")
    return Mismatch("disk-error", detail=f"{type(error).__name__} {number}".rstrip())
