"""E-mail addresses: one form for comparing and sending, and what Campaign takes.

It may not ask the network whether an address or a domain exists.
"""

from collections.abc import Iterable

import idna
import polars as pl

ADDRESS_CHARS = 254
LOCAL_CHARS = 64

_ATOM = "[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The top-level label is no number, and a domain without a dot is a host of ours, not of theirs.
_TAKEN = rf"^{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])$"
_NOT_ASCII = r"[^\x00-\x7f]"
_DOMAIN = r"^[^@]*@([^@]+)$"


def fold(address: pl.Expr) -> pl.Expr:
    """Give the one form of an address: trimmed, lower case, NFC, the domain in IDNA's ASCII form.

    What is no address is folded as far as it goes and never lost: null only where it was null.
    """
    plain = address.str.strip_chars().str.to_lowercase().str.normalize("NFC")
    return plain.map_batches(_ascii_domains, return_dtype=pl.String)


def folded(addresses: Iterable[str]) -> list[str]:
    """Fold addresses one by one, as `fold` does."""
    frame = pl.DataFrame({"address": pl.Series(list(addresses), dtype=pl.String)})
    return frame.select(fold(pl.col("address")))["address"].to_list()


def taken(address: pl.Expr) -> pl.Expr:
    """Tell of folded addresses whether Campaign takes them.

    Exactly one @, a local part of atoms and dots up to 64 characters, a domain of at least two
    labels, 254 characters in all. Quoted and non-ASCII local parts are refused: no document of
    Campaign's promises to send to them.
    """
    local = address.str.extract("^([^@]*)@", 1).str.len_chars()
    return (
        address.str.contains(_TAKEN)
        & (address.str.len_chars() <= ADDRESS_CHARS)
        & (local <= LOCAL_CHARS)
    )


def _ascii_domains(addresses: pl.Series) -> pl.Series:
    """Put domains with other than ASCII characters into IDNA's form, where they have one."""
    foreign = addresses.str.extract(_DOMAIN, 1)
    foreign = foreign.filter(foreign.str.contains(_NOT_ASCII)).unique()
    known = {domain: text for domain in foreign.to_list() if (text := _ascii(domain)) is not None}
    if not known:
        return addresses
    domain = pl.col("a").str.extract(_DOMAIN, 1)
    changed = domain.replace_strict(known, default=None, return_dtype=pl.String)
    local = pl.col("a").str.extract("^([^@]*)@", 1)
    whole = (
        pl.when(changed.is_not_null()).then(local + pl.lit("@") + changed).otherwise(pl.col("a"))
    )
    return addresses.alias("a").to_frame().select(whole).to_series()


def _ascii(domain: str) -> str | None:
    """Return a domain in IDNA 2008's ASCII form (mapped by UTS 46), None when it has none."""
    if len(domain) > ADDRESS_CHARS:
        return None  # idna's checks grow faster than the text
    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower()
    except UnicodeError:  # idna.IDNAError is one
        return None
