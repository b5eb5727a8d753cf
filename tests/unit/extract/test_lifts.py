"""Lifting in the store: what is found of somebody, what is lifted of it, what counts anew."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from etl.extract.keyed import StoreKey
from etl.extract.lifts import Entry, Wish, wishes
from etl.extract.outbox_rows import UNASSIGNED
from etl.extract.suppressions import Event, Found, SuppressionStore, open_store
from etl.ports import Stream, Window

OLD = StoreKey("2025:a", b"the key of last year")
KEY = StoreKey("2026", b"the key of this year")
AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
LATER = AT + timedelta(hours=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "suppressions.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[SuppressionStore]:
    opened = open_store(path, [KEY])
    yield opened
    opened.close()


def carries(store: SuppressionStore, batch: str, address: str, *entity: str) -> None:
    columns = ["address", "entity_type", "entity_id", "opt_in_id"]
    row = pl.DataFrame([(address, *entity, "7")], schema=columns, orient="row")
    store.remember_carriers("main", "f", batch, row, AT)


def happens(
    store: SuppressionStore, stream: Stream, identity: str, at: datetime = AT, digest: bytes = b""
) -> int:
    event = Event(identity, None, "", digest or identity.encode())
    return store.commit_window(
        "main", stream, Window(0, 1000), [event], id_rule="email", at=at
    )  # fmt: skip


def said(found: list[Entry]) -> list[tuple[str, str, str, str]]:
    return sorted((e.kind, e.source, e.person.about, e.person.key_id) for e in found)


def against(store: SuppressionStore, person: str) -> list[tuple[str, str, str]]:
    return sorted({each[:3] for each in said(store.lifts.speaking_against("main", person))})


def lift(store: SuppressionStore, person: str, at: datetime = LATER) -> tuple[int, int]:
    wanted = wishes(store.lifts.speaking_against("main", person))
    done = store.lifts.lift("main", wanted, at)
    return done.entries, done.left


def owed(store: SuppressionStore, file: str) -> int:
    """Rows for the CRM, whether anybody is known to carry the address or not."""
    waiting = store.outbox.waiting
    return waiting("main", file) + waiting("main", f"{file}{UNASSIGNED}")


def test_a_wish_is_read_as_it_was_written():
    """Also where the name of the key holds a colon."""
    wish = Wish(OLD.id, OLD.tag("a@example.org"), 1_795_510_800)
    assert Wish.read(wish.text) == wish
    assert wish.text == f"2025:a:{OLD.tag('a@example.org').hex()}:1795510800"


def test_everything_said_of_an_address_is_found(store: SuppressionStore):
    """Its entries by kind and source, and those of the entity that carries it, however typed."""
    carries(store, "b1", "a@example.org", "contact", "1")
    happens(store, Stream.UNSUBSCRIBES, "a@example.org")
    store.add_found("main", [Found("a@example.org", "bounced", "code-4", AT)])
    store.replace_blocklist("main", ["A@example.org"], at=AT)
    assert against(store, " A@Example.ORG ") == [
        ("blocklisted", "blocklist", "address"), ("bounced", "code-4", "address"),
        ("unsubscribed", "getUnsubscribes", "address"),
        ("unsubscribed", "getUnsubscribes", "entity"),
    ]  # fmt: skip
    assert {each.since for each in store.lifts.speaking_against("main", "a@example.org")} == {AT}
    assert against(store, "b@example.org") == []
    assert store.lifts.speaking_against("other", "a@example.org") == []


def test_everything_said_of_an_entity_is_found(store: SuppressionStore):
    """Its own entry and those of its addresses, in whatever letters the entity is typed."""
    carries(store, "b1", "a@example.org", "contact", "1")
    happens(store, Stream.UNSUBSCRIBES, "contact:1")
    both = [("unsubscribed", "getUnsubscribes", part) for part in ("address", "entity")]
    assert against(store, "contact:1") == against(store, "Contact:1") == both
    assert against(store, "contact:2") == []


def test_a_lift_takes_bounces_and_unsubscriptions_only(store: SuppressionStore):
    """Afterwards nothing but the blocklist speaks against the person; the entries still count."""
    carries(store, "b1", "a@example.org", "contact", "1")
    happens(store, Stream.UNSUBSCRIBES, "a@example.org")
    happens(store, Stream.OUT_BOUNCES, "a@example.org")
    store.replace_blocklist("main", ["a@example.org"], at=AT)
    store.add_found("main", [Found("b@example.org", "unsubscribed", "live-check", AT)])
    before = store.freshness("main").entries
    assert lift(store, "a@example.org") == (3, 0)
    assert against(store, "a@example.org") == [("blocklisted", "blocklist", "address")]
    assert against(store, "b@example.org") == [("unsubscribed", "live-check", "address")]
    kinds = store.entries("main")["kind"].to_list()
    assert sorted(kinds) == ["blocklisted", "unsubscribed"]
    assert store.freshness("main").entries == before


def test_one_client_is_lifted_apart(store: SuppressionStore):
    """The same person stays suppressed for another client."""
    for client in ("main", "other"):
        store.add_found(client, [Found("a@example.org", "unsubscribed", "live-check", AT)])
    assert lift(store, "a@example.org") == (1, 0)
    assert store.entries("other").height == 1


def test_a_lift_twice_is_a_lift_once(store: SuppressionStore):
    """A wish that is granted again after a death finds nothing left."""
    happens(store, Stream.UNSUBSCRIBES, "a@example.org")
    wanted = wishes(store.lifts.speaking_against("main", "a@example.org"))
    first, second = (store.lifts.lift("main", wanted, LATER) for _ in range(2))
    assert (first.entries, first.left, second.entries, second.left) == (1, 0, 0, 0)


def test_what_is_said_after_the_wish_stands(store: SuppressionStore):
    """A new event between wish and lift was seen by nobody: it is not lifted, and is told."""
    happens(store, Stream.UNSUBSCRIBES, "a@example.org")
    wanted = wishes(store.lifts.speaking_against("main", "a@example.org"))
    assert happens(store, Stream.UNSUBSCRIBES, "a@example.org", LATER, b"second") == 1
    done = store.lifts.lift("main", wanted, LATER)
    assert (done.entries, done.left) == (0, 1)
    assert against(store, "a@example.org") == [("unsubscribed", "getUnsubscribes", "address")]


def test_the_same_event_again_lifts_nothing_back(store: SuppressionStore):
    """A row seen in an overlapping window is no news; another row of the person is."""
    happens(store, Stream.UNSUBSCRIBES, "a@example.org")
    lift(store, "a@example.org")
    assert happens(store, Stream.UNSUBSCRIBES, "a@example.org", LATER) == 0
    assert (against(store, "a@example.org"), owed(store, "unsubscriptions")) == ([], 1)
    assert happens(store, Stream.UNSUBSCRIBES, "a@example.org", LATER, b"second") == 1
    assert against(store, "a@example.org") == [("unsubscribed", "getUnsubscribes", "address")]
    assert owed(store, "unsubscriptions") == 2


def test_an_unsubscription_found_again_is_news(store: SuppressionStore):
    """After a lift the live check suppresses anew, once, and the CRM is told once more."""
    find = Found("a@example.org", "unsubscribed", "live-check", AT)
    assert [store.add_found("main", [find]) for _ in range(2)] == [1, 0]
    lift(store, "a@example.org")
    assert [store.add_found("main", [find]) for _ in range(2)] == [1, 0]
    assert against(store, "a@example.org") == [("unsubscribed", "live-check", "address")]
    assert owed(store, "unsubscriptions") == 2


def test_a_bounce_found_again_counts_and_was_told(store: SuppressionStore):
    """Code 4 after a lift suppresses again; a repeated refusal is one line for the CRM."""
    find = Found("a@example.org", "bounced", "code-4", AT)
    later = Found("a@example.org", "bounced", "code-4", LATER)
    assert store.add_found("main", [find]) == 1
    assert store.lifts.lift_bounces("main", ["a@example.org"], AT) == 1
    assert store.entries("main").height == 0
    assert store.add_found("main", [later]) == 0
    (entry,) = store.lifts.speaking_against("main", "a@example.org")
    assert (entry.kind, entry.since, owed(store, "bounces")) == ("bounced", LATER, 1)


def test_a_second_bounce_event_counts_and_is_told(store: SuppressionStore):
    """What Campaign lists anew after a lift is a new event."""
    happens(store, Stream.OUT_BOUNCES, "a@example.org")
    store.lifts.lift_bounces("main", ["a@example.org"], LATER)
    assert happens(store, Stream.OUT_BOUNCES, "a@example.org", LATER, b"second") == 1
    assert (store.entries("main").height, owed(store, "bounces")) == (1, 2)


def test_bounces_are_lifted_without_the_rest(store: SuppressionStore):
    """Of address and entity alike; an unsubscription of the same person stays."""
    happens(store, Stream.OUT_BOUNCES, "a@example.org")
    store.add_found("main", [Found("a@example.org", "bounced", "code-4", AT)])
    happens(store, Stream.OUT_BOUNCES, "lead:9")
    happens(store, Stream.UNSUBSCRIBES, "a@example.org")
    assert store.lifts.lift_bounces("main", ["a@example.org", "lead:9"], LATER) == 3
    assert store.entries("main")["kind"].to_list() == ["unsubscribed"]


def test_entries_of_an_old_key_are_lifted(path: Path):
    """A new key serves new rows; people said of under the old one are found and lifted all same."""
    store = open_store(path, [OLD])
    carries(store, "b1", "a@example.org", "contact", "1")
    happens(store, Stream.UNSUBSCRIBES, "a@example.org")
    store.add_found("main", [Found("b@example.org", "bounced", "code-4", AT)])
    store.close()
    store = open_store(path, [KEY, OLD])
    find = Found("a@example.org", "unsubscribed", "live-check", AT)
    store.add_found("main", [find])
    found = store.lifts.speaking_against("main", "a@example.org")
    assert {each[3] for each in said(found)} == {KEY.id, OLD.id}
    assert len(found) == 4
    assert lift(store, "a@example.org") == (4, 0)
    assert store.lifts.lift_bounces("main", ["b@example.org"], LATER) == 1
    assert store.entries("main").height == 0
    assert store.add_found("main", [find]) == 1
    store.close()


def test_nobody_is_named_in_what_is_found(store: SuppressionStore):
    """Neither entries nor wishes hold the address, in no form but the keyed hash."""
    happens(store, Stream.UNSUBSCRIBES, "canary@example.org")
    found = store.lifts.speaking_against("main", "canary@example.org")
    assert len(found) == 1
    assert "canary" not in repr(found) + repr(wishes(found)) + "".join(
        wish.text for wish in wishes(found)
    )
