"""The suppression store: what it keeps, whom it suppresses, what it refuses."""

import sqlite3
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from etl.errors import ConfigError, Mismatch
from etl.extract.folding import folded_address
from etl.extract.keyed import StoreKey, entity_text
from etl.extract.lifts import wishes
from etl.extract.suppressions import Event, Found, SuppressionStore, open_store
from etl.ports import Stream, Window

OLD = StoreKey("2025", b"the key of last year")
KEY = StoreKey("2026", b"the key of this year")
AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
WINDOW = Window(0, 1000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "suppressions.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[SuppressionStore]:
    opened = open_store(path, [KEY])
    yield opened
    opened.close()


def carriers(*rows: tuple[str, str, str, str]) -> pl.DataFrame:
    columns = ["address", "entity_type", "entity_id", "opt_in_id"]
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")


def event(recipient_id: str, digest: bytes = b"", time: datetime | None = None) -> Event:
    return Event(recipient_id, time, "", digest or recipient_id.encode())


def suppressed(store: SuppressionStore, key: StoreKey = KEY) -> dict[str, set[str]]:
    """Kinds by what the entry is about, for texts this test knows."""
    found: dict[str, set[str]] = {}
    for row in store.entries("main").iter_rows(named=True):
        found.setdefault(row["key"], set()).add(row["kind"])
    return found


def hex_of(text: str, key: StoreKey = KEY) -> str:
    return key.tag(text).hex()


def owed(store: SuppressionStore, file: str) -> list[tuple[str, ...]]:
    """Recipient id, entity, opt-in-id, kind and source of what waits, what is unassigned first."""
    rows = []
    for name in (f"{file}-unassigned", file):
        handover = store.outbox.begin("main", name, name, "t", AT)
        rows += [
            (r.recipient_id, entity_text(r.entity_type, r.entity_id), r.opt_in_id, r.kind, r.source)
            for r in store.outbox.rows(handover)
        ]
        store.outbox.acknowledge(handover)
    return rows


def test_a_person_is_kept_as_a_keyed_hash_only(store: SuppressionStore, path: Path) -> None:
    """Once handed over, no byte of the store's files holds the address."""
    store.add_found("main", [Found("canary@example.org", "bounced", "code-4", AT)])
    assert any(b"canary" in file.read_bytes() for file in path.parent.iterdir())
    owed(store, "bounces")
    assert suppressed(store) == {hex_of("canary@example.org"): {"bounced"}}
    for file in path.parent.iterdir():
        assert b"canary" not in file.read_bytes()


def test_values_with_addresses_do_not_show_them() -> None:
    """No repr of a find or an event holds the address."""
    found = Found("canary@example.org", "bounced", "code-4", AT, "contact:canary")
    assert "canary" not in repr(found) + repr(event("canary@example.org"))


def test_the_file_is_private_and_durable(store: SuppressionStore, path: Path) -> None:
    """The store and its log can be read by its owner only; a commit waits for the disk."""
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    connection = store._file.connection
    asked = ["journal_mode", "synchronous", "foreign_keys", "trusted_schema", "secure_delete"]
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in asked]
    assert found == ["wal", 2, 1, 0, 1]


@pytest.mark.parametrize("keys", [[StoreKey("2026", b"another secret!!")], [OLD]])
def test_another_key_refuses_the_start(path: Path, keys: list[StoreKey]) -> None:
    """A store is not opened with another secret under its key's id, nor without its key."""
    store = open_store(path, [KEY])
    store.add_found("main", [Found("a@example.org", "bounced", "code-4", AT)])
    store.close()
    with pytest.raises(ConfigError) as refused:
        open_store(path, keys)
    assert refused.value.exit_code == 78
    assert "suppression store was made with another key: 2026" in str(refused.value)


def test_a_key_without_rows_may_go(path: Path) -> None:
    """A key under which nothing was ever written is not missed."""
    open_store(path, [KEY, OLD]).close()
    open_store(path, [KEY]).close()


def test_two_live_keys(path: Path) -> None:
    """After a new key was put first, old entries hold, new ones get it, nobody is told twice."""
    store = open_store(path, [OLD])
    find = Found("a@example.org", "unsubscribed", "live-check", AT)
    store.remember_carriers("main", "f", "b1", carriers(("a@example.org", "contact", "1", "7")), AT)
    store.add_found("main", [find])
    store.close()
    store = open_store(path, [KEY, OLD])
    other = Found("b@example.org", "bounced", "code-4", AT)
    assert store.add_found("main", [find, other]) == 1
    assert set(suppressed(store)) == {
        hex_of("a@example.org", OLD), hex_of("contact:1", OLD), hex_of("b@example.org", KEY),
    }  # fmt: skip
    store.commit_window(
        "main", Stream.UNSUBSCRIBES, WINDOW, [event("a@example.org")], id_rule="email", at=AT
    )
    assert [row[1] for row in owed(store, "unsubscriptions")] == ["contact:1", "contact:1"]
    store.remember_carriers("main", "f", "b2", carriers(("a@example.org", "contact", "2", "7")), AT)
    store.commit_window(
        "main", Stream.OUT_BOUNCES, WINDOW, [event("a@example.org")], id_rule="email", at=AT
    )
    assert [row[1] for row in owed(store, "bounces")] == [":", "contact:2"]
    store.close()


@pytest.mark.parametrize("content", [b"no database at all", None])
def test_a_damaged_store_is_refused(path: Path, content: bytes | None) -> None:
    """What is no store, or one with an overwritten page, is not opened."""
    store = open_store(path, [KEY])
    store.add_found(
        "main", [Found(f"{i}@example.org", "bounced", "code-4", AT) for i in range(500)]
    )
    store.close()
    if content is None:
        whole = path.read_bytes()
        path.write_bytes(whole[:20480] + b"\xff" * 8192 + whole[28672:])
    else:
        path.write_bytes(content)
    with pytest.raises(Mismatch) as refused:
        open_store(path, [KEY])
    assert refused.value.code == "store-damaged"


@pytest.mark.parametrize("statement", ["PRAGMA user_version=99", "PRAGMA user_version=0"])
def test_a_newer_or_foreign_store_is_refused(path: Path, statement: str) -> None:
    """A version this release does not know, or none beside tables, is not opened."""
    open_store(path, [KEY]).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()
    with pytest.raises(Mismatch) as refused:
        open_store(path, [KEY])
    assert refused.value.code == "store-damaged"


def test_a_reader_beside_the_daemon(store: SuppressionStore, path: Path) -> None:
    """Another process reads what is there and cannot change it."""
    store.add_found("main", [Found("a@example.org", "bounced", "code-4", AT)])
    reader = open_store(path, [KEY], read_only=True)
    assert reader.entries("main").height == 1
    with pytest.raises(Mismatch) as refused:
        reader.add_found("main", [Found("b@example.org", "bounced", "code-4", AT)])
    assert refused.value.code == "disk-error"
    reader.close()


def test_finds_are_told_once(store: SuppressionStore) -> None:
    """The same address, kind and source is one line for the CRM; another kind or source is more."""
    first = Found("A@Example.org ", "unsubscribed", "live-check", AT)
    again = Found("a@example.org", "unsubscribed", "live-check", AT + timedelta(hours=1))
    code = Found("a@example.org", "unsubscribed", "code-2", AT)
    blocked = Found("a@example.org", "blocklisted", "live-check", AT)
    assert store.add_found("main", [first, again]) == 1
    assert store.add_found("main", [again, code, blocked]) == 2
    assert [row[3:] for row in owed(store, "unsubscriptions")] == [
        ("unsubscribed", "live-check"), ("unsubscribed", "code-2"), ("blocklisted", "live-check"),
    ]  # fmt: skip
    assert owed(store, "bounces") == []


def test_clients_are_apart(store: SuppressionStore) -> None:
    """What is known of one client's recipients suppresses nobody of another."""
    store.add_found("main", [Found("a@example.org", "bounced", "code-4", AT)])
    store.replace_blocklist("main", ["*@x.test"], at=AT)
    assert store.entries("other").height == 0
    assert store.patterns("other") == []


def test_an_unsubscription_follows_the_entities(store: SuppressionStore) -> None:
    """Every entity that carried the address is suppressed too, and is named to the CRM."""
    store.remember_carriers(
        "main", "f1", "b1",
        carriers(("a@example.org", "contact", "1", "7"), ("a@example.org", "lead", "2", "7")), AT,
    )  # fmt: skip
    store.remember_carriers("main", "f2", "b2", carriers(("a@example.org", "lead", "2", "8")),
                            AT + timedelta(hours=1))  # fmt: skip
    store.commit_window(
        "main", Stream.UNSUBSCRIBES, WINDOW, [event("A@example.org")], id_rule="email", at=AT
    )
    assert set(suppressed(store)) == {
        hex_of("a@example.org"), hex_of("contact:1"), hex_of("lead:2"),
    }  # fmt: skip
    assert owed(store, "unsubscriptions") == [
        ("A@example.org", "contact:1", "7", "unsubscribed", "getUnsubscribes"),
        ("A@example.org", "lead:2", "8", "unsubscribed", "getUnsubscribes"),
    ]


def test_a_bounce_concerns_the_address_only(store: SuppressionStore) -> None:
    """A bounce leaves the entity free for another address, and names no consent."""
    store.remember_carriers("main", "f", "b", carriers(("a@example.org", "contact", "1", "7")), AT)
    store.commit_window(
        "main", Stream.OUT_BOUNCES, WINDOW, [event("a@example.org")], id_rule="email", at=AT
    )
    assert set(suppressed(store)) == {hex_of("a@example.org")}
    assert [row[:3] for row in owed(store, "bounces")] == [("a@example.org", "contact:1", "")]


def test_an_unknown_person_has_no_entity(store: SuppressionStore) -> None:
    """An event of an address nobody carried is told with an empty entity."""
    store.commit_window(
        "main", Stream.UNSUBSCRIBES, WINDOW, [event("x@example.org")], id_rule="email", at=AT
    )
    assert [row[:3] for row in owed(store, "unsubscriptions")] == [("x@example.org", ":", "")]


def test_recipient_ids_that_are_entities(store: SuppressionStore) -> None:
    """An entity's unsubscription suppresses it and its addresses, its bounce the addresses."""
    store.remember_carriers("main", "f", "b", carriers(("a@example.org", "contact", "1", "7")), AT)
    for stream in (Stream.OUT_BOUNCES, Stream.UNSUBSCRIBES):
        store.commit_window(
            "main", stream, WINDOW, [event("Contact:1"), event("lead:9")], id_rule="entity", at=AT
        )
    found = suppressed(store)
    assert found[hex_of("a@example.org")] == {"bounced", "unsubscribed"}
    assert found[hex_of("contact:1")] == {"unsubscribed"}
    assert found[hex_of("lead:9")] == {"bounced", "unsubscribed"}
    assert [row[:3] for row in owed(store, "unsubscriptions")] == [
        ("Contact:1", "contact:1", "7"), ("lead:9", "lead:9", ""),
    ]  # fmt: skip


def test_an_entity_among_addresses_is_known_as_one(store: SuppressionStore) -> None:
    """A client with lists of both id rules gets each id taken for what it is."""
    both = [event("contact:1"), event("a@example.org")]
    store.commit_window("main", Stream.UNSUBSCRIBES, WINDOW, both, id_rule="email", at=AT)
    abouts = dict(store.entries("main").select("key", "about").iter_rows())
    assert abouts == {hex_of("contact:1"): "entity", hex_of("a@example.org"): "address"}


def test_the_newest_drop_says_who_carries_an_address(store: SuppressionStore) -> None:
    """A newer drop replaces an address' entities; one that lacks the address leaves them."""
    store.remember_carriers(
        "main", "f", "b1",
        carriers(("a@example.org", "contact", "1", "7"), ("b@example.org", "contact", "2", "7")),
        AT,
    )  # fmt: skip
    store.remember_carriers("main", "f", "b2", carriers(("a@example.org", "contact", "3", "7")), AT)
    both = [event("a@example.org"), event("b@example.org")]
    store.commit_window("main", Stream.OUT_BOUNCES, WINDOW, both, id_rule="email", at=AT)
    assert [row[1] for row in owed(store, "bounces")] == ["contact:3", "contact:2"]


def test_an_older_drop_says_nothing_new(store: SuppressionStore) -> None:
    """A drop that waited and is checked once more does not undo what a newer one said."""
    rows = {name: carriers(("a@example.org", "contact", name, "7")) for name in ("b1", "b2")}
    for batch in ("b1", "b2", "b1"):
        store.remember_carriers("main", "f", batch, rows[batch], AT)
    bounced = [event("a@example.org")]
    store.commit_window("main", Stream.OUT_BOUNCES, WINDOW, bounced, id_rule="email", at=AT)
    assert [row[1] for row in owed(store, "bounces")] == ["contact:b2"]


def test_carriers_are_forgotten(store: SuppressionStore) -> None:
    """An address that drops have lacked for 61 days is no longer linked to an entity."""
    store.remember_carriers("main", "f", "b1", carriers(("a@example.org", "contact", "1", "7")), AT)
    later = AT + timedelta(days=61)
    store.remember_carriers("main", "f", "b2", carriers(("b@example.org", "c", "2", "7")), later)
    store.commit_window(
        "main", Stream.OUT_BOUNCES, WINDOW, [event("a@example.org")], id_rule="email", at=later
    )
    assert [row[1] for row in owed(store, "bounces")] == [":"]


def test_the_blocklist_is_replaced_as_a_whole(store: SuppressionStore) -> None:
    """Whoever is on it no more may be mailed again, whether found live or fetched."""
    store.replace_blocklist("main", ["A@example.org", "b@example.org", "*@x.test", " "], at=AT)
    store.add_found("main", [Found("c@example.org", "blocklisted", "live-check", AT)])
    assert len(suppressed(store)) == 3
    later = AT + timedelta(hours=1)
    told = store.replace_blocklist("main", ["b@example.org", "?@y.test"], at=later)
    assert (told.before, told.given, told.shrunk) == (3, 2, False)
    assert set(suppressed(store)) == {hex_of("b@example.org")}
    assert store.patterns("main") == ["?@y.test"]
    find = Found("c@example.org", "blocklisted", "live-check", later)
    assert store.add_found("main", [find]) == 0
    assert set(suppressed(store)) == {hex_of("b@example.org"), hex_of("c@example.org")}


def test_wildcards_are_patterns_unless_escaped(store: SuppressionStore) -> None:
    r"""`*` and `?` make a pattern; behind a backslash they are part of one address."""
    written = ["*@x.test", "a?@x.test", r"a\*b@x.test", r"a\\*@x.test", "plain@x.test"]
    store.replace_blocklist("main", written, at=AT)
    assert store.patterns("main") == sorted(["*@x.test", "a?@x.test", r"a\\*@x.test"])
    assert set(suppressed(store)) == {hex_of("a*b@x.test"), hex_of("plain@x.test")}


def test_a_shrunken_blocklist_is_not_taken_over(store: SuppressionStore) -> None:
    """Beyond the bound the old entries stand, until a later list or a higher bound lets one in."""
    old = [f"{i}@example.org" for i in range(10)]
    store.replace_blocklist("main", old, at=AT)
    assert store.replace_blocklist("main", old[:4], at=AT).shrunk
    fresh = store.freshness("main")
    assert (fresh.shrunk_from, fresh.blocklist_entries, len(suppressed(store))) == (10, 4, 10)
    assert store.replace_blocklist("main", [], at=AT).shrunk
    assert not store.replace_blocklist("main", old[:5], at=AT).shrunk
    assert store.freshness("main").shrunk_from is None
    assert len(suppressed(store)) == 5
    assert not store.replace_blocklist("main", [], at=AT, max_shrink=1).shrunk
    assert suppressed(store) == {}


def test_freshness_begins_with_the_first_complete_fetch(store: SuppressionStore) -> None:
    """Before it there is no time; entries count what was learned, without the blocklist."""
    assert store.freshness("main").completed_at is None
    store.replace_blocklist("main", ["b@example.org"], at=AT)
    store.add_found("main", [Found("a@example.org", "bounced", "code-4", AT)])
    store.complete_fetch("main", AT)
    fresh = store.freshness("main")
    assert (fresh.completed_at, fresh.entries, fresh.blocklist_entries) == (AT, 1, 1)
    (status,) = store.status()
    waiting = {"bounces": 0, "unsubscriptions": 0, "bounces-unassigned": 1}
    assert (status.client, status.waiting) == ("main", waiting)


def test_a_window_and_its_cursor_are_one(store: SuppressionStore) -> None:
    """When an event of a window cannot be stored, neither the others nor the cursor are."""
    unstorable = Event("b@example.org", None, "\ud800", b"2")
    with pytest.raises(UnicodeEncodeError):
        store.commit_window(
            "main", Stream.OUT_BOUNCES, WINDOW, [event("a@example.org"), unstorable],
            id_rule="email", at=AT,
        )  # fmt: skip
    assert store.read_until("main", Stream.OUT_BOUNCES) is None
    assert (store.entries("main").height, store.outbox.waiting("main", "bounces-unassigned")) == (
        0,
        0,
    )


def test_a_repetition_is_one_only_where_windows_overlap(store: SuppressionStore) -> None:
    """An equal row of an overlapping window is the same event; a later one is a second event."""

    def commit(since_ms: int, until_ms: int) -> int:
        return store.commit_window(
            "main", Stream.OUT_BOUNCES, Window(since_ms, until_ms),
            [event("a@example.org"), event("a@example.org")], id_rule="email", at=AT,
        )  # fmt: skip

    assert [commit(0, 100), commit(90, 200), commit(150, 300)] == [1, 0, 1]


def test_folded_forms_meet(store: SuppressionStore) -> None:
    """An address written in other letters, another Unicode form or IDNA is the same person."""
    store.add_found("main", [Found("Jo@BÜCHER.test", "bounced", "code-4", AT)])
    same = Found("jo@bu\u0308cher.test", "bounced", "code-4", AT)
    ascii_form = Found("jo@xn--bcher-kva.test", "bounced", "code-4", AT)
    assert store.add_found("main", [same, ascii_form]) == 0
    assert hex_of(folded_address("jo@xn--bcher-kva.test")) in suppressed(store)


def test_an_older_drop_adds_who_is_in_no_newer_one(store: SuppressionStore) -> None:
    """When a newer drop is held and an older one goes out, its people are known all the same."""
    store.remember_carriers("main", "f", "b2", carriers(("a@example.org", "contact", "2", "7")), AT)
    store.remember_carriers("main", "f", "b1", carriers(("b@example.org", "contact", "1", "7")), AT)
    bounced = [event("b@example.org")]
    store.commit_window("main", Stream.OUT_BOUNCES, WINDOW, bounced, id_rule="email", at=AT)
    assert [row[1] for row in owed(store, "bounces")] == ["contact:1"]


@pytest.mark.parametrize(("asked", "hits"), [(0, 0), (1, 3), (3, 7), (30, 37), (300, 48)])
def test_asked_for_some_keys_it_gives_what_it_gives_of_all(
    store: SuppressionStore, asked: int, hits: int
) -> None:
    """Whether fewer are asked for or fewer are there; nobody of another client, none lifted."""
    people = [f"{number}@example.org" for number in range(40)]
    store.commit_window(
        "main", Stream.OUT_BOUNCES, WINDOW, [event(each) for each in people], id_rule="email", at=AT
    )
    few = [Found(each, "unsubscribed", "live-check", AT) for each in people[::9]]
    store.add_found("main", few)
    store.add_found("other", [Found(each, "bounced", "code-4", AT) for each in people])
    store.replace_blocklist("main", people[:5], at=AT)
    store.lifts.lift("main", wishes(store.lifts.speaking_against("main", people[9])), AT)
    tags = [KEY.tag(f"{number}@example.org").hex() for number in range(asked)]
    everything = store.entries("main")
    expected = everything.filter(pl.col("key").is_in(tags))
    found = store.among("main", pl.Series([*tags, *tags], dtype=pl.String))
    columns = everything.columns
    assert found.sort(columns).equals(expected.sort(columns))
    assert found.height == hits
