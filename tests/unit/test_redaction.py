"""What may be shown: plain values, nobody in them."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from etl.batch import Place
from etl.errors import EtlError, FarSideRefused
from etl.redaction import described, hide, plain, redacted, redacted_facts


@pytest.mark.parametrize(
    "text",
    [
        "anna@example.org",
        "cannot send to <anna@example.org>, sorry",
        '"anna maria"@example.org',
        "anna%40example.org",
        "anna&#64;example.org",
        "anna\uff20example.org",
        "session 0a1b2c3d4e5f6789 is dead",
        "[123456789abcdef,4711,user] no such list",
    ],
)
def test_addresses_and_session_ids_do_not_show(text: str) -> None:
    """A text that seems to hold one is replaced as a whole, for the rest may say who it is."""
    assert redacted(text) == "[redacted]"


@pytest.mark.parametrize(
    "text",
    [
        "20261124T091500Z-1a2b3c",
        "a" * 64,
        "sftp.example.org:22",
        "0123456789abcd",
        "0123456789abcdef0",
        "Kontakte März.csv",
    ],
)
def test_batches_digests_and_names_show(text: str) -> None:
    """What looks a little like a session id but is none stays readable."""
    assert redacted(text) == text


def test_a_hidden_secret_does_not_show_in_any_form() -> None:
    """A password is found as it is and as URLs, XML, JSON and Python write it."""
    hide('pass"w<ö rd')
    hide("")
    for form in ('x pass"w<ö rd y', "pass%22w%3C%C3%B6%20rd", "pass&quot;w&lt;ö rd"):
        assert redacted(form) == "[redacted]"
    assert redacted('pass\\"w<\\u00f6 rd') == "[redacted]"
    assert redacted("harmless") == "harmless"


def test_values_become_plain_and_unknown_things_a_type() -> None:
    """Nothing is shown by its repr, which may hold anything."""
    frame = pl.DataFrame({"email": ["canary"]})
    assert plain(frame) == "[DataFrame]"
    assert plain(b"canary") == "[6 bytes]"
    assert plain({"who@x": [1, {"a": Path("a/b")}]}) == {"[redacted]": [1, {"a": "a/b"}]}
    assert plain(Place.CLAIMED) == "CLAIMED"
    assert plain(datetime(2026, 11, 24, tzinfo=UTC)) == "2026-11-24T00:00:00+00:00"
    assert plain(float("nan")) == "nan"
    assert plain([None, True, 1, 1.5]) == [None, True, 1, 1.5]
    assert plain("x" * 5000) == "x" * 2000 + "[cut]"


def test_an_error_shows_type_code_and_our_frames() -> None:
    """The words of foreign errors do not show, ours do; frames name file, line and function."""
    try:
        try:
            EtlError("canary")
        except KeyError as unknown:
            raise OSError(28, "canary", "canary") from unknown
    except OSError as error:
        told = described(error)
        assert told == {"type": "OSError", "errno": 28, "at": [], "because": ["KeyError"]}
        cause = described(error.__cause__)
    (frame,) = cause["at"]
    assert frame.startswith("etl/errors.py:")
    assert frame.endswith(" __init__")
    refused = FarSideRefused("call-refused", call="addAll3", detail="canary@example.org")
    assert described(refused)["code"] == "call-refused"
    assert described(refused)["sentence"] == "Campaign refused addAll3: [redacted]"


def test_a_ring_of_causes_ends() -> None:
    """An error that is its own cause's cause does not hang the log."""
    one, two = ValueError(), TypeError()
    one.__cause__, two.__cause__ = two, one
    assert len(described(one)["because"]) == 5


def test_facts_are_redacted_one_by_one() -> None:
    """One fact that may not show does not take the others with it."""
    assert redacted_facts({"a": "x@y", "b": "fine", "c": 3}) == {
        "a": "[redacted]",
        "b": "fine",
        "c": 3,
    }
