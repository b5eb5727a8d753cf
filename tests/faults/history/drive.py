"""Histories by their seeds: made, run, made shorter when one breaks a promise, summed up.

`python -m tests.faults.history.drive SEED STEPS` runs one alone and prints what it does.
"""

import random
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.faults.history.machine import History
from tests.faults.history.steps import STEPS

Steps = list[tuple[str, dict[str, Any]]]
ALWAYS = ("ordinary_day", "go")
"""Steps without which nothing would be at stake."""
LEFT_OUT = 0.35
"""This share of all other steps does not come in a history: what is frequent hides what is rare."""


def history_of(seed: int, length: int) -> Steps:
    """The steps of a seed: the first `length` of an endless history."""
    chance = random.Random(seed)
    names = [name for name in STEPS if name in ALWAYS or chance.random() >= LEFT_OUT]
    return [_drawn(chance, chance.choice(names)) for _ in range(length)]


def _drawn(chance: random.Random, name: str) -> tuple[str, dict[str, Any]]:
    values = STEPS[name].values
    return name, {argument: chance.choice(choices) for argument, choices in values.items()}


def run(steps: Steps, *, noted: list[str] | None = None) -> Counter[str]:
    """Run a history to its end, every promise checked after each step; returns what happened.

    `noted` takes in every call of every port, and the journal as it is in the end.
    """
    with History() as history:
        history.noted = noted
        for name, values in steps:
            STEPS[name].act(history, **values)
            history.promises.check()
        history.come_to_rest()
        if noted is not None:
            noted += history.seen.journal()
        return history.seen.happened() + Counter(count=1, steps=len(steps))


def run_seeds(seeds: range, length: int) -> Counter[str]:
    """Run the histories of these seeds; AssertionError that says how to run a bad one alone."""
    total: Counter[str] = Counter()
    for seed in seeds:
        steps = history_of(seed, length)
        try:
            total += run(steps)
        except Exception as error:
            raise AssertionError(_told(seed, steps, error)) from error
    return total


def _told(seed: int, steps: Steps, error: Exception) -> str:
    """What broke, and the shortest history found that breaks likewise."""
    short = shortest(steps, lambda fewer: _fails(fewer, type(error)))
    return "\n".join([
        f"history {seed} breaks a promise: {error!r}",
        f"alone: python -m tests.faults.history.drive {seed} {len(steps)}",
        "the shortest found that breaks likewise:",
        *(f"  {name} {values}" for name, values in short),
    ])  # fmt: skip


def _fails(steps: Steps, kind: type[Exception]) -> bool:
    try:
        run(steps)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is compared
        return isinstance(error, kind)
    return False


def shortest(steps: Steps, fails: Callable[[Steps], bool]) -> Steps:
    """Leave out what is not needed for the failure: halves, quarters, at last single steps."""
    size = len(steps)
    while size := size // 2:
        first = 0
        while first < len(steps):
            fewer = steps[:first] + steps[first + size :]
            if fails(fewer):
                steps = fewer
            else:
                first += size
    return steps


def _main() -> None:
    seed, length = map(int, sys.argv[1:3])
    noted: list[str] = []
    try:
        total = run(history_of(seed, length), noted=noted)
        noted.append(str(dict(sorted(total.items()))))
    finally:
        print("\n".join(noted))


if __name__ == "__main__":
    _main()
