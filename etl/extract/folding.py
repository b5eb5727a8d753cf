"""The one form of an address under which the store knows it.

It must fold as the transform folds whole columns, for their keyed hashes are compared; therefore
lower case and normal form are polars' own, whose Unicode is newer than that of some Pythons.
"""

import idna
import polars as pl

_ADDRESS_CHARS = 254
_ASCII_SPACE = "\t\n\v\f\r "


def folded_address(address: str) -> str:
    """Trimmed, lower case, NFC, IDNA domain. What IDNA does not take stays as far as it got."""
    if address.isascii():
        return address.strip(_ASCII_SPACE).lower()
    column = pl.Series([address], dtype=pl.String).str
    text: str = column.strip_chars().str.to_lowercase().str.normalize("NFC")[0]
    local, _, domain = text.partition("@")
    if not domain or "@" in domain or domain.isascii() or len(domain) > _ADDRESS_CHARS:
        return text
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode('ascii').lower()}"
    except UnicodeError:  # idna.IDNAError is one
        return text
