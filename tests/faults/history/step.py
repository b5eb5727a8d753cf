"""A step of a history: something that may happen, and the few values it may have."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NEXT = ("wait", "drop", "drop", "go", "once")
"""What may follow a disturbance."""
LISTS = (100, 101)


@dataclass(frozen=True)
class Step:
    """Something that may happen."""

    act: Callable[..., None]
    values: Mapping[str, Sequence[Any]]
    """What each of its arguments may be, equally often."""


class Steps(dict[str, Step]):
    """Steps by their names."""

    def add(self, **values: Sequence[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Add a function to what may happen."""

        def with_values(act: Callable[..., None]) -> Callable[..., None]:
            self[act.__name__] = Step(act, values)
            return act

        return with_values
