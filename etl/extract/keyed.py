"""Addresses and entities as keyed hashes: the only form in which the store remembers a person.

It keeps nothing, and it never puts an address or a secret into an error or a repr. The hash
is the one the transform computes column by column; a test compares the two.
"""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from etl.errors import ConfigError, Problem
from etl.reasons import REASONS

TAG_BYTES = 16
MIN_SECRET_BYTES = 16

_CHECKED = b"recipient-sync suppression store"


@dataclass(frozen=True, slots=True)
class StoreKey:
    """One secret of the suppression store, and the name its rows remember it by."""

    id: str
    secret: bytes = field(repr=False)

    def tag(self, text: str) -> bytes:
        """Keyed hash of a folded address or an entity: 16 bytes of HMAC-SHA-256.

        The HMAC's key is the hexadecimal form of the secret: what hashes columns takes text only.
        """
        return hmac.digest(self._hmac_key, text.encode(), "sha256")[:TAG_BYTES]

    def tags(self, texts: Iterable[str]) -> dict[str, bytes]:
        """Keyed hash of each distinct text."""
        key = self._hmac_key
        return {text: hmac.digest(key, text.encode(), "sha256")[:TAG_BYTES] for text in set(texts)}

    @property
    def check_value(self) -> bytes:
        """What stands beside the key's rows, so that another secret under this id is seen."""
        return hmac.digest(self._hmac_key, _CHECKED, "sha256")

    @property
    def _hmac_key(self) -> bytes:
        return self.secret.hex().encode()


def entity_text(entity_type: str, entity_id: str) -> str:
    """An entity as Campaign's recipient id spells it: `entity-type:entity-id`."""
    return f"{entity_type}:{entity_id}"


def check_keys(keys: Sequence[StoreKey]) -> None:
    """Raise ConfigError unless there is a key, each has its own id, and none is short."""
    problems = []
    if not keys:
        problems.append(Problem("suppression.keys", "there is no key"))
    ids = [key.id for key in keys]
    problems += [
        Problem("suppression.keys", f"key id {twice} is there twice")
        for twice in sorted({each for each in ids if ids.count(each) > 1})
    ]
    problems += [
        Problem("suppression.keys", f"key {key.id} is shorter than {MIN_SECRET_BYTES} bytes")
        for key in keys
        if len(key.secret) < MIN_SECRET_BYTES
    ]
    if problems:
        raise ConfigError(problems)


def other_key(key_id: str) -> Problem:
    """The problem of a store that was made with a key that is not at hand."""
    reason = REASONS["store-key"]
    return Problem("suppression.keys", f"{reason.sentence}: {key_id}", reason.hint)
