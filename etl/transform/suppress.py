"""Suppression: which rows belong to people who must not be mailed, and why.

It knows people only by keyed hashes and patterns, and may not change or drop a row.
"""

import unicodedata
from collections.abc import Iterable, Sequence

import polars as pl
import polars_hash as plh

from etl.transform.address import fold, folded

__all__ = ["PATTERN_KIND", "fold", "folded", "is_blocked", "keyed", "keyed_texts", "suppress",
           "tagged",
           "wildcard_to_regex"]  # fmt: skip

KEY_HEX_CHARS = 32
"""The one kind that follows a person to a new address."""
PATTERN_KIND = "blocklisted"
PATTERN_SOURCE = "blocklist"

_PATTERNS_AT_ONCE = 100
_TAGGED = pl.Schema({"record": pl.UInt32, "about": pl.String, "key": pl.String})
_SCHEMA = pl.Schema({"record": pl.UInt32, "kind": pl.String, "source": pl.String})


def keyed(text: pl.Expr, key: bytes) -> pl.Expr:
    """Give the keyed hash of texts: HMAC-SHA-256, its first 16 bytes in hexadecimal.

    The library takes a key as text, so the HMAC's key is the hexadecimal form of `key`. Equal to
    `hmac.new(key.hex().encode(), text.encode(), "sha256").hexdigest()[:32]`; null stays null.
    """
    hashed: pl.Expr = plh.CryptographicHashingNameSpace(text).hmac_sha256(key=key.hex())
    return hashed.str.slice(0, KEY_HEX_CHARS)


def keyed_texts(texts: Iterable[str], key: bytes) -> list[str]:
    """Hash texts one by one, as `keyed` does."""
    frame = pl.DataFrame({"text": pl.Series(list(texts), dtype=pl.String)})
    return frame.select(keyed(pl.col("text"), key))["text"].to_list()


def wildcard_to_regex(pattern: str) -> str:
    r"""Turn a blocklist entry into a regular expression for the whole address, case ignored.

    `*` is any text, `?` any one character, a backslash takes the next character for itself.
    """
    parts: list[str] = []
    characters = iter(unicodedata.normalize("NFC", pattern.strip()))
    for char in characters:
        if char == "*":
            parts.append(".*")
        elif char == "?":
            parts.append(".")
        else:
            literal = next(characters, char) if char == "\\" else char
            parts.append(rf"\x{{{ord(literal):X}}}")
    return f"^(?is:{''.join(parts)})$"


def tagged(rows: pl.DataFrame, keys: Sequence[bytes]) -> pl.DataFrame:
    """Give what the store may know a row by: record, about, and key as `keyed` gives it.

    `rows` is `Checked.rows`; `about` is `address` where the key is of the folded address, `entity`
    where it is of `entity-type:entity-id`.
    """
    entity = pl.concat_str("entity_type", pl.lit(":"), "entity_id")
    named = (pl.col("entity_type") != "") & (pl.col("entity_id") != "")
    texts = {"address": fold(pl.col("address")), "entity": pl.when(named).then(entity)}
    found = [
        rows.select("record", about=pl.lit(about), key=keyed(text, key))
        for about, text in texts.items()
        for key in keys
    ]
    return pl.concat([pl.DataFrame(schema=_TAGGED), *found]).filter(pl.col("key").is_not_null())


def suppress(
    rows: pl.DataFrame, asked: pl.DataFrame, entries: pl.DataFrame, patterns: Sequence[str]
) -> pl.DataFrame:
    """Give record, kind, source for everything that speaks against mailing a row.

    `rows` is `Checked.rows` and `asked` is `tagged` of them. `entries` has key, kind, source and
    about, of all these keys at least. `patterns` are blocklist entries with wildcards. A row
    without a line here may be mailed.
    """
    hits = asked.join(entries, on=["about", "key"], how="inner")
    found = [pl.DataFrame(schema=_SCHEMA), hits.select("record", "kind", "source").cast(_SCHEMA)]
    if patterns:
        blocked = is_blocked(rows, patterns).select(
            "record", kind=pl.lit(PATTERN_KIND), source=pl.lit(PATTERN_SOURCE)
        )
        found.append(blocked.cast(_SCHEMA))
    return pl.concat(found).unique().sort("record", "kind", "source")


def is_blocked(rows: pl.DataFrame, patterns: Sequence[str]) -> pl.DataFrame:
    """Keep the rows of which a pattern matches the address, as sent or as dropped."""
    expressions = [wildcard_to_regex(pattern) for pattern in _variants(patterns)]
    addresses = (
        pl.col("address"), pl.col("address_dropped").str.strip_chars().str.normalize("NFC"),
    )  # fmt: skip
    alternatives = [
        "|".join(expressions[first : first + _PATTERNS_AT_ONCE])
        for first in range(0, len(expressions), _PATTERNS_AT_ONCE)
    ]
    return rows.filter(
        pl.any_horizontal(
            address.str.contains(either).fill_null(value=True)  # what cannot be told is not mailed
            for either in alternatives
            for address in addresses
        )
    )


def _variants(patterns: Sequence[str]) -> list[str]:
    """Add the ASCII form of domains without wildcards, for rows are sent in that form."""
    plain = [(p, p.partition("@")) for p in patterns if not p.isascii()]
    domains = [domain for _, (_, _, domain) in plain]
    ascii_forms = folded(f"x@{domain}" for domain in domains)
    variants = [
        f"{local}@{form.removeprefix('x@')}"
        for (_, (local, at, domain)), form in zip(plain, ascii_forms, strict=True)
        if at and not any(char in domain for char in "*?\\")
    ]
    return [*patterns, *variants]
