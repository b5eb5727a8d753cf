"""A batch: one drop on its way through. Places and the legal moves between them. Pure."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Place(StrEnum):
    """Where a batch is. A place exists only where a crash would lose knowledge of an effect."""

    CLAIMED = "CLAIMED"
    UPLOADED = "UPLOADED"
    REFILLING = "REFILLING"
    REFILLED = "REFILLED"
    ARCHIVED = "ARCHIVED"
    QUARANTINED = "QUARANTINED"
    SUPERSEDED = "SUPERSEDED"
    DISCARDED = "DISCARDED"


ENDS = frozenset({Place.ARCHIVED, Place.QUARANTINED, Place.SUPERSEDED, Place.DISCARDED})

MOVES: dict[Place, frozenset[Place]] = {
    Place.CLAIMED: frozenset(
        {Place.UPLOADED, Place.QUARANTINED, Place.SUPERSEDED, Place.DISCARDED}
    ),
    Place.UPLOADED: frozenset({Place.REFILLING, Place.REFILLED, Place.SUPERSEDED, Place.DISCARDED}),
    # A dirty list is never left alone: out of REFILLING leads forward, or a newer drop takes over.
    Place.REFILLING: frozenset({Place.REFILLED, Place.SUPERSEDED}),
    Place.REFILLED: frozenset({Place.ARCHIVED}),
    **{end: frozenset() for end in ENDS},
}


class IllegalMove(Exception):  # noqa: N818 - a bug, named for what it is
    """A batch was to go where no road leads."""


def check_move(origin: Place, target: Place) -> None:
    """Raise IllegalMove unless a batch may go from `origin` to `target`."""
    if target not in MOVES[origin]:
        raise IllegalMove(f"{origin} -> {target}")


@dataclass(frozen=True, slots=True)
class Held:
    """Why a batch waits where it is; `next_try` is None when only a release lets it go."""

    code: str
    since: datetime
    """When it was held for this first, however often it was tried since."""
    next_try: datetime | None
    tries: int
    last: datetime
    """When it was tried last."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One drop on its way: who it is, what was claimed, where it stands."""

    id: str
    feed: str | None
    """None when the drop fits no feed or two."""
    name: str
    """The drop's file name as the CRM wrote it."""
    place: Place
    size_bytes: int
    sha256: str
    dropped_at: datetime
    """The file's mtime."""
    order: str
    """Orders drops of one feed: date group of the pattern, else mtime, then name."""
    claimed_at: datetime
    held: Held | None = None
    rollback_of: str | None = None
    """The batch whose rows go back into the list; such a batch has no file of its own."""


_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
ID_CHARACTERS = len("20261124T091500Z-1a2b3c")
ID_TIME = "%Y%m%dT%H%M%SZ"
"""How an id begins: with the moment of the claim, in UTC."""


def new_id(now: datetime, token: Callable[[int], str] = secrets.token_hex) -> str:
    """A batch id that sorts by time: 20261124T091500Z-1a2b3c."""
    return f"{now:{ID_TIME}}-{token(3)}"


def is_id(text: str) -> bool:
    """Tell whether `text` has the shape of a batch id."""
    return _ID.fullmatch(text) is not None
