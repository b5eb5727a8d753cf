"""Addresses: which ones Campaign takes, and the one form they are compared in."""

import polars as pl
import pytest

from etl.transform.address import fold, folded, taken

GOOD = [
    "a@b.test",
    "first.last+tag@example.org",
    "o'neil@example.org",
    "A@B.TEST",
    " a@b.test\t",
    "x" * 64 + "@example.org",
    "a@müller.test",
    "a@xn--mller-kva.test",
    "1@2.test",
    "a@b-c.d1.test",
    "a@" + "b" * 63 + ".test",
    "a@straße.test",
]
BAD = [
    "",
    "a",
    "@",
    "a@",
    "@b.test",
    "a@b",
    "a@@b.test",
    "a@b@c.test",
    "a b@c.test",
    "a@b c.test",
    ".a@b.test",
    "a.@b.test",
    "a..b@c.test",
    "a@.b.test",
    "a@b.test.",
    "a@b..test",
    "a@-b.test",
    "a@b-.test",
    "a@b.1",
    "a@127.0.0.1",
    "a@[127.0.0.1]",
    "x" * 65 + "@example.org",
    "ä@b.test",
    '"a b"@c.test',
    "a\n@b.test",
    "a@b.test\x00",
    "a@b_c.test",
    "a@" + "b" * 64 + ".test",
    "a,b@c.test",
    "a@" + "b" * 60 + "." + ("c" * 60 + ".") * 3 + "testtesttest",
    "a@\u2028.test",
    "a@ü" + "b" * 300 + ".test",
    "a@b.t",
    "mailto:a@b.test",
    "<a@b.test>",
    "a@b.test;c@d.test",
]


@pytest.mark.parametrize("address", GOOD)
def test_addresses_that_campaign_takes(address):
    """Common and uncommon but right addresses pass."""
    assert pl.select(taken(fold(pl.lit(address)))).item() is True


@pytest.mark.parametrize("address", BAD)
def test_addresses_that_campaign_refuses(address):
    """Exactly one @, atoms and dots before it, a domain with a dot behind it; nothing else."""
    assert not pl.select(taken(fold(pl.lit(address))).fill_null(value=False)).item()


def test_folding():
    """Trimmed, lower case, composed, the domain in ASCII; what is no address stays as it is."""
    given = [
        " A@B.Test ",
        "u\u0308@b.test",
        "a@MÜLLER.test",
        "a@mu\u0308ller.test",
        "Ä@b.test",
        "kein",
        "a@\u2028",
        "a@b@ü",
    ]
    assert folded(given) == [
        "a@b.test",
        "ü@b.test",
        "a@xn--mller-kva.test",
        "a@xn--mller-kva.test",
        "ä@b.test",
        "kein",
        "a@",
        "a@b@ü",
    ]


def test_folding_keeps_null():
    """No address stays no address."""
    assert pl.select(fold(pl.lit(None, dtype=pl.String))).item() is None
