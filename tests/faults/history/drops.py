"""Drops of made-up people, and what must come of each."""

from dataclasses import dataclass, field

from tests.servers.service import COLUMNS, as_csv, person

POOL = 40
NUMBERS = range(1, POOL + 1)
"""The people of the pool."""
KINDS = ("good", "good", "good", "bad", "repeats", "both", "empty", "header", "consents", "cut")


@dataclass(frozen=True)
class Dropped:
    """The bytes of one drop and what must come of them."""

    content: bytes
    good: dict[str, str] = field(default_factory=dict)
    """Recipient id -> first name, which differs from drop to drop."""
    rejected: int = 0
    fit: bool = True
    """False: it must never be uploaded or listed."""


def make_drop(kind: str, numbers: list[int], stamp: str, moved: int | None) -> Dropped:
    """A drop of these people; `moved` is one of them under a new address."""
    rows, good, rejected = [], {}, 0
    for number in numbers:
        letter = "q" if number == moved else "p"
        address = f"{letter}{number}@example.org"
        rows.append(person(number, email=address, firstname=stamp))
        good[address] = stamp
    if kind in ("bad", "both"):
        rows.insert(1, person(91, email="nobody", firstname=stamp))
        rows.append(person(92, email="", firstname=stamp))
        rejected += 2
    if kind in ("repeats", "both"):
        rows.insert(3, rows[0] | {"firstname": "again"})
        rejected += 1
    if kind == "consents":
        rows[-1] |= {"opt-in-id": "consent-2"}
    if kind == "empty":
        return Dropped(b"", fit=False)
    if kind == "header":
        return Dropped(as_csv([], COLUMNS), fit=False)
    content = as_csv(rows, COLUMNS)
    if kind == "cut":
        content = content[:-9]
    return Dropped(content, good, rejected, kind not in ("consents", "cut"))


def first_half(content: bytes) -> bytes:
    """What is there of a drop while its writer pauses: never whole lines."""
    end = len(content) // 2 + 3
    return content[: end - 1] if content[end - 1 : end] == b"\n" else content[:end]


def number_of(address: str) -> int:
    """Which person of the pool an address belongs to."""
    return int(address[1:].partition("@")[0])


def everybody() -> set[str]:
    """Every address that a drop may hold."""
    return {f"{letter}{number}@example.org" for letter in "pq" for number in range(1, POOL + 1)}
