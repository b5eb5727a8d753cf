"""Suppression: keyed hashes and wildcards find whom they name, and nobody else."""

import hmac
import re
from collections.abc import Sequence

import polars as pl
import pytest

from etl.transform.suppress import keyed, keyed_texts, suppress, tagged, wildcard_to_regex
from tests.unit.transform.drops import checked, drop, plan, record

KEY, OLD = b"\x00\xff key", b"old"


def entries(*lines: tuple[str, str, str]) -> pl.DataFrame:
    """Make suppression entries of (text to hash, kind, source)."""
    return pl.DataFrame(
        [
            (keyed_texts([text], KEY)[0], kind, source, "address" if "@" in text else "entity")
            for text, kind, source in lines
        ],
        schema=dict.fromkeys(("key", "kind", "source", "about"), pl.String),
        orient="row",
    )


def against(
    dropped: pl.DataFrame, found: pl.DataFrame, patterns: Sequence[str], keys: Sequence[bytes]
) -> pl.DataFrame:
    """What speaks against mailing a row, by all entries there are."""
    return suppress(dropped, tagged(dropped, keys), found, patterns)


def rows(*addresses: str) -> pl.DataFrame:
    """Check a drop of these addresses."""
    records = [record(n, email=address) for n, address in enumerate(addresses)]
    return checked(drop(records), plan()).rows


def test_keyed_is_an_hmac_also_of_other_than_ascii():
    """HMAC-SHA-256 under the key's hexadecimal text, cut to 16 bytes; null stays null."""
    texts = ["a@b.test", "ä@ö.test", "", "x" * 1000, "\U0001f600"]
    expected = [hmac.new(KEY.hex().encode(), t.encode(), "sha256").hexdigest()[:32] for t in texts]
    assert keyed_texts(texts, KEY) == expected
    assert pl.select(keyed(pl.lit(None, dtype=pl.String), KEY)).item() is None


def test_every_kind_and_source_of_a_row_is_listed_once():
    """By address, by entity and by pattern; others stay."""
    found = against(
        rows("a@b.test", "C@D.test", "e@f.test", "g@blocked.test"),
        entries(
            ("a@b.test", "bounced", "closed-loop"),
            ("a@b.test", "bounced", "closed-loop"),
            ("a@b.test", "unsubscribed", "live"),
            ("contact:C-1", "unsubscribed", "closed-loop"),
            ("contact:C-2", "bounced", "closed-loop"),
            ("nobody@b.test", "blocklisted", "blocklist"),
        ),
        ["*@blocked.*"],
        [KEY],
    )
    assert found.rows() == [
        (0, "bounced", "closed-loop"),
        (0, "unsubscribed", "live"),
        (1, "unsubscribed", "closed-loop"),
        (2, "bounced", "closed-loop"),
        (3, "blocklisted", "blocklist"),
    ]


def test_all_live_keys_are_tried():
    """An entry made with an older key is found as long as that key is given."""
    found = entries(("a@b.test", "bounced", "x"))
    assert against(rows("a@b.test"), found, [], [OLD]).is_empty()
    assert against(rows("a@b.test"), found, [], [OLD, KEY]).height == 1


def test_patterns_see_the_address_as_sent_and_as_dropped():
    """An IDN domain is found by its name and by its ASCII form, whichever the CRM wrote."""
    dropped = rows("a@müller.test", "b@xn--mller-kva.test", "c@andere.test")
    for pattern in ("*@müller.test", "*@MÜLLER.test", "*@xn--mller-kva.test"):
        found = against(dropped, entries(), [pattern], [KEY])
        assert found["record"].to_list() == [0, 1], pattern


def test_a_wildcard_inside_an_idn_domain_is_found_as_dropped():
    """Such a pattern has no ASCII form; the address as the CRM wrote it decides."""
    found = against(rows("a@müller.test", "b@mueller.test"), entries(), ["*@mül*.test"], [KEY])
    assert found["record"].to_list() == [0]


def test_many_patterns_are_all_asked():
    """The pattern beyond the first portion counts as the first does."""
    patterns = [f"*@d{n}.test" for n in range(450)]
    found = against(rows("a@d0.test", "a@d449.test", "a@d450.test"), entries(), patterns, [KEY])
    assert found["record"].to_list() == [0, 1]


def test_what_a_pattern_cannot_judge_is_not_mailed():
    """An address that is missing counts as one the pattern matches: a null verdict is a no."""
    unknown = rows("a@b.test", "c@d.test").with_columns(
        address=pl.when(pl.col("record") == 0).then(pl.lit(None, pl.String)).otherwise("address"),
    )
    assert against(unknown, entries(), ["*@nobody.test"], [KEY])["record"].to_list() == [0]


def test_nothing_known_suppresses_nobody():
    """Without entries and patterns there is no line."""
    assert against(rows("a@b.test"), entries(), [], [KEY]).is_empty()


@pytest.mark.parametrize(
    ("pattern", "text", "hit"),
    [
        ("*@x.test", "a@x.test", True),
        ("*@x.test", "a@x.test.de", False),
        ("*@x.test", "a@xxtest", False),
        ("a?c@x.test", "abc@x.test", True),
        ("a?c@x.test", "ac@x.test", False),
        ("A*@X.TEST", "ab@x.test", True),
        (r"a\*@x.test", "a*@x.test", True),
        (r"a\*@x.test", "ab@x.test", False),
        (r"a\\b@x.test", r"a\b@x.test", True),
        ("a+b(c|d)@x.test", "a+b(c|d)@x.test", True),
        ("a\\", "a\\", True),
        ("*", "a\nb", True),
        ("", "a", False),
    ],
)
def test_wildcards(pattern, text, hit):
    """`*` and `?` are wild, a backslash takes them back, all else is itself; case is nothing."""
    expression = wildcard_to_regex(pattern)
    assert pl.select(pl.lit(text).str.contains(expression)).item() is hit
    assert not re.search(r"[*?]", pattern) or pl.select(
        pl.lit("zzz").str.contains(expression)
    ).item() is (pattern == "*")
