"""Adds up what the long forms wrote: `python -m tests.faults.figures FILE`.

One line for each share of a campaign. Shares add up when their seeds or parts differ; of a share
that was run again the last line counts, whatever it found.
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TRIED, COUNTED, VIOLATIONS = "tried", "counted", "violations"
SHARE = ("kind", "part", "share", "first", "first_seed", "length", "name")
"""These say which share it was."""
NO_SUMS = {*SHARE, COUNTED, "calls", "byte_steps"}
"""The same in every share of a campaign, or no number; all others are summed."""


def added_up(lines: Iterable[str]) -> dict[str, Counter[str]]:
    """The sums of every kind; `counted` is what the largest share says there is to try."""
    shares: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in lines:
        share = json.loads(line)
        shares[tuple(share.get(name) for name in SHARE)] = share
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for share in shares.values():
        found = sums[share["kind"]]
        found["shares"] += 1
        found[COUNTED] = max(found[COUNTED], share.get(COUNTED, 0))
        for name, value in share.items():
            if name not in NO_SUMS:
                found.update(_numbers(name, value))
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
            if name not in (TRIED, COUNTED, VIOLATIONS, "shares")
        )  # fmt: skip
        of_all = f" of {found[COUNTED]:,}" if found[COUNTED] else ""
        rows.append(f"| {kind} | {found[TRIED]:,}{of_all} | {found[VIOLATIONS]:,} | {more} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table(added_up(Path(sys.argv[1]).read_text().splitlines())))
