"""Names from outside: safe as a file's name, in JSON and on a page."""

import json

import pytest

from etl.load.names import portable_text, safe_file_name, visible_text


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("contacts_2026-11-24.csv", "contacts_2026-11-24.csv"),
        ("Kontakte März (neu).csv", "Kontakte März (neu).csv"),
        ("../../etc/passwd", "_._.._etc_passwd"),
        (".hidden.csv", "_hidden.csv"),
        ("a\nb\x1b[31m\u202egnp.csv", "a_b__31m_gnp.csv"),
        ("=cmd|'x'!A1.csv", "_cmd__x__A1.csv"),
        ("<img src=x>.csv", "_img src_x_.csv"),
        ("bytes\udcff.csv", "bytes_.csv"),
        ("trailing. . ", "trailing"),
        ("", "_"),
        ("...", "_"),
    ],
)
def test_a_name_becomes_a_harmless_one(name: str, safe: str) -> None:
    """No separator, control, markup, leading dot or trailing dot survives; letters do."""
    assert safe_file_name(name) == safe


@pytest.mark.parametrize("name", ["ä" * 200 + ".csv", "a" + "ä" * 200, "x." + "ü" * 200])
def test_a_long_name_is_cut_between_two_characters(name: str) -> None:
    """At most 150 bytes stay, they are whole characters, and a short extension stays too."""
    safe = safe_file_name(name)
    assert 148 <= len(safe.encode()) <= 150
    assert set(safe) <= set(name)
    assert safe.endswith(".csv") == name.endswith(".csv")


def test_bytes_that_are_no_text_become_escapes_for_strict_readers() -> None:
    """A lone surrogate is written out, anything else stays as it is."""
    assert portable_text("März\udcff\n") == "März\\udcff\n"
    json.dumps(portable_text("\udcff"), ensure_ascii=False).encode("utf-8")


def test_what_cannot_be_seen_is_shown_as_an_escape() -> None:
    """Controls and bidirectional overrides cannot change how a page reads."""
    assert visible_text("a\u202eb\x00c\nd März") == "a\\u202eb\\x00c\\nd März"
