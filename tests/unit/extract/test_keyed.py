"""Keyed hashes: the same as the transform's, and silent about whom they stand for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import ConfigError
from etl.extract.folding import folded_address
from etl.extract.keyed import StoreKey, check_keys
from etl.transform.suppress import folded, keyed_texts

SECRET = b"a secret of the store, long enough"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=12), max_size=5), st.sampled_from(["example.org", "Bücher.test"]))
def test_folding_equals_the_transforms(locals_: list[str], domain: str) -> None:
    """Whatever the text, the store and the transform fold it to the same."""
    texts = [*locals_, *(f" {local}@{domain}\u2003" for local in locals_)]
    assert [folded_address(text) for text in texts] == folded(texts)


@pytest.mark.parametrize(
    "address",
    [
        "A.B@Example.ORG",
        "x@BÜCHER.test",
        "x@faß.test",
        "a@b@ü.test",
        "x@-ü-.test",
        "x@",
        "@ü.test",
        "\ua7cb@x.test",
        "JO\u0308@x.test",
    ],
)
def test_folding_of_odd_domains_equals_the_transforms(address: str) -> None:
    """Foreign domains, several @ and broken labels end alike on both sides."""
    assert [folded_address(address)] == folded([address])


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=16, max_size=80), st.text(max_size=40))
def test_the_hash_equals_the_transforms(secret: bytes, text: str) -> None:
    """One text hashed alone has the key that the transform gives it in a column."""
    assert StoreKey("k1", secret).tag(text).hex() == keyed_texts([text], secret)[0]


def test_no_secret_in_the_repr() -> None:
    """A key's repr shows its id only."""
    assert "secret of" not in repr(StoreKey("k1", SECRET))


@pytest.mark.parametrize(
    ("keys", "problems"),
    [
        ([], 1),
        ([StoreKey("k1", SECRET), StoreKey("k1", SECRET)], 1),
        ([StoreKey("k1", b"short"), StoreKey("k2", b"short too")], 2),
    ],
)
def test_keys_that_cannot_serve_are_refused(keys: list[StoreKey], problems: int) -> None:
    """No key, one id twice and short secrets are configuration errors, all told at once."""
    with pytest.raises(ConfigError) as refused:
        check_keys(keys)
    assert len(refused.value.problems) == problems
