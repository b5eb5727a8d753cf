"""Adds up what the long forms wrote: `python -m tests.faults.figures FILE`.

One line for each share of a campaign; shares of several runs add up when their seeds differ.
"""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

TRIED, VIOLATIONS = "tried", "violations"
OF_A_SHARE = {
    "kind", "part", "share", "first", "first_seed", "counted", "calls", "byte_steps", "length",
}  # fmt: skip
"""These say which share it was; all other numbers are sums."""


def added_up(lines: list[str]) -> dict[str, Counter[str]]:
    """The sums of every kind."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        share = json.loads(line)
        sums[share["kind"]]["shares"] += 1
        for name, value in share.items():
            if name not in OF_A_SHARE:
                sums[share["kind"]].update(_numbers(name, value))
    return sums


def _numbers(name: str, value: Any) -> dict[str, int]:
    if isinstance(value, dict):
        return {f"{name} {key}": number for key, number in value.items()}
    return {name: value} if isinstance(value, int) else {}


def table(sums: dict[str, Counter[str]]) -> str:
    """The sums as a table in Markdown."""
    rows = ["| what | tried | violations | more |", "|---|---|---|---|"]
    for kind, found in sorted(sums.items()):
        more = ", ".join(
            f"{name}: {number:,}" for name, number in sorted(found.items())
            if name not in (TRIED, VIOLATIONS, "shares")
        )  # fmt: skip
        rows.append(f"| {kind} | {found[TRIED]:,} | {found[VIOLATIONS]:,} | {more} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table(added_up(Path(sys.argv[1]).read_text().splitlines())))
