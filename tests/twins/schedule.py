"""Failures to come, and a record of the calls made: what both Campaign twins have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class _Failure:
    error: BaseException
    after_effect: bool
    skip: int
    times: int


@dataclass
class Schedule:
    """Raises what was planned for a verb, before or after its effect; records every call."""

    planned: dict[str, list[_Failure]] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def fail_next(
        self,
        verb: str,
        error: BaseException,
        *,
        after_effect: bool = False,
        skip: int = 0,
        times: int = 1,
    ) -> None:
        """Plan a failure of a verb's next calls, after letting `skip` of them through."""
        failure = _Failure(error, after_effect, skip, times)
        self.planned.setdefault(verb, []).append(failure)

    @contextmanager
    def of(self, verb: str, **facts: object) -> Iterator[None]:
        """Wrap a verb's effect: fail before it or after it, if that is due."""
        self.calls.append((verb, facts))
        failure = self._due(verb)
        if failure is not None and not failure.after_effect:
            raise failure.error
        yield
        if failure is not None:
            raise failure.error

    def made(self, verb: str) -> list[dict[str, object]]:
        """Facts of every call of a verb, in order."""
        return [facts for name, facts in self.calls if name == verb]

    def _due(self, verb: str) -> _Failure | None:
        waiting = self.planned.get(verb, [])
        if not waiting:
            return None
        failure = waiting[0]
        if failure.skip:
            failure.skip -= 1
            return None
        failure.times -= 1
        if failure.times == 0:
            waiting.pop(0)
        return failure
