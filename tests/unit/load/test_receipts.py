"""Receipts: what the CRM is told of a drop, whatever its fate."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from etl.batch import Held, Place
from etl.load.receipts import (
    Checked,
    Fate,
    Listed,
    Receipt,
    ReceivedDrop,
    SuppressedBy,
    Told,
    Uploaded,
    as_json,
    check_sums,
    receipt_name,
    write_receipt,
)
from etl.shipped import shipped

NOW = datetime(2026, 11, 24, 9, 15, tzinfo=UTC)
BATCH = "20261124T091500Z-1a2b3c"
SCHEMA = json.loads((shipped("schemas") / "receipt.schema.json").read_bytes())
VALIDATOR = jsonschema.Draft202012Validator(
    SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)

ARCHIVED = Receipt(
    batch=BATCH,
    feed="contacts",
    drop=ReceivedDrop("contacts.csv", 1234, "a" * 64, NOW, NOW),
    fate=Fate.ARCHIVED,
    place=Place.ARCHIVED,
    written_at=NOW,
    check=Checked(
        rows_read=100,
        accepted=90,
        rejected=4,
        suppressed=6,
        suppressed_by=SuppressedBy(bounced=3, unsubscribed=4, blocklisted=0),
        rejected_by={"email": 3, "required": 2},
    ),
    upload=Uploaded("contacts-20261124.csv", 1100, "b" * 64, NOW),
    list=Listed(
        list_id=7,
        name="Newsletter",
        staged=90,
        suppressed_late=1,
        sent=89,
        listed=85,
        refused={"code-1": 2, "unsubscribed": 1},
        poisoned=1,
        count=85,
        clears=1,
        refilled_at=NOW,
    ),
    notes=(Told("same-content"), Told("many-refused", {"refused": 3, "sent": 89})),
    case=f"{BATCH}-contacts",
)
QUARANTINED = Receipt(
    batch=BATCH,
    feed=None,
    drop=ReceivedDrop("what.csv", 0, "c" * 64, NOW, NOW),
    fate=Fate.QUARANTINED,
    place=Place.QUARANTINED,
    written_at=NOW,
    reason=Told("two-feeds", {"feeds": "contacts, leads"}),
    case=f"{BATCH}-no-feed",
)
HELD = replace(
    ARCHIVED,
    fate=Fate.HELD,
    place=Place.REFILLING,
    held=Held("campaign-unreachable", NOW, None, 5, NOW),
    reason=Told("campaign-unreachable", {"detail": "connect timed out"}),
    list=replace(ARCHIVED.list, listed=10, refused={}, poisoned=0, count=None, refilled_at=None),
)


@pytest.mark.parametrize("receipt", [ARCHIVED, QUARANTINED, HELD], ids=lambda r: r.fate)
def test_every_receipt_follows_its_schema(tmp_path: Path, receipt: Receipt) -> None:
    """What is written is what the shipped schema promises to the CRM."""
    path = write_receipt(tmp_path, receipt)
    VALIDATOR.validate(json.loads(path.read_bytes()))
    assert path.stat().st_mode & 0o777 == 0o640


def test_the_schema_knows_every_field() -> None:
    """A field more or less than the schema names does not pass."""
    told = as_json(ARCHIVED)
    for wrong in ({**told, "more": 1}, {k: v for k, v in told.items() if k != "case"}):
        assert not VALIDATOR.is_valid(wrong)


def test_reason_and_notes_are_said_in_words() -> None:
    """Codes come with their sentences, facts filled in, and the reason with its hint."""
    reason = as_json(QUARANTINED)["reason"]
    assert reason == {
        "code": "two-feeds",
        "sentence": "several feeds fit this file name: contacts, leads",
        "hint": "make the patterns exclude each other",
        "facts": {"feeds": "contacts, leads"},
    }
    notes = as_json(ARCHIVED)["notes"]
    assert notes[1]["sentence"] == "3 of 89 rows were refused by Campaign"


def test_a_later_receipt_replaces_the_earlier(tmp_path: Path) -> None:
    """There is one receipt per batch, whole at any time, and the last word counts."""
    first = write_receipt(tmp_path, HELD)
    second = write_receipt(tmp_path, ARCHIVED)
    assert first == second
    assert [path.name for path in tmp_path.iterdir()] == [f"contacts.csv.{BATCH}.receipt.json"]
    assert json.loads(first.read_bytes())["fate"] == "archived"


def test_two_batches_of_one_name_have_two_receipts(tmp_path: Path) -> None:
    """The same file name dropped again does not overwrite the earlier fate."""
    write_receipt(tmp_path, ARCHIVED)
    write_receipt(tmp_path, replace(ARCHIVED, batch="20261125T091500Z-1a2b3c"))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_name_of_any_kind_gets_a_receipt(tmp_path: Path) -> None:
    """A name that is long, broken or hostile neither fails nor leaves the folder."""
    for name in ("ä" * 127 + ".csv", "../../x\n\x1b[2J\udcff.csv", "..", "\u202e.csv"):
        drop = replace(ARCHIVED.drop, name=name)
        path = write_receipt(tmp_path, replace(ARCHIVED, drop=drop))
        assert path.parent == tmp_path
        assert len(path.name.encode()) <= 255
        text = path.read_text("ascii")
        json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8")
    assert receipt_name("a.csv", BATCH) == f"a.csv.{BATCH}.receipt.json"


CHECK, LIST = ARCHIVED.check, ARCHIVED.list


@pytest.mark.parametrize(
    "wrong",
    [
        replace(ARCHIVED, check=replace(CHECK, rows_read=101)),
        replace(ARCHIVED, check=replace(CHECK, rejected_by={"email": 5})),
        replace(ARCHIVED, check=replace(CHECK, rejected_by={"email": 3})),
        replace(ARCHIVED, check=replace(CHECK, suppressed_by=SuppressedBy(bounced=5))),
        replace(ARCHIVED, list=replace(LIST, staged=91)),
        replace(ARCHIVED, list=replace(LIST, suppressed_late=0)),
        replace(ARCHIVED, list=replace(LIST, listed=86)),
        replace(ARCHIVED, list=replace(LIST, poisoned=0)),
        replace(ARCHIVED, list=replace(LIST, staged=89, suppressed_late=0)),
        replace(HELD, list=replace(LIST, listed=90, refilled_at=None)),
        replace(ARCHIVED, fate=Fate.QUARANTINED),
        replace(ARCHIVED, place=Place.REFILLED),
        replace(HELD, held=None),
        replace(ARCHIVED, held=HELD.held),
        replace(HELD, place=Place.ARCHIVED),
    ],
)
def test_sums_that_do_not_come_out_are_refused(tmp_path: Path, wrong: Receipt) -> None:
    """A row without a fate, or with two, is a bug: nothing is written."""
    with pytest.raises(ValueError, match=r"^receipt: "):
        write_receipt(tmp_path, wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_row_may_have_two_reasons() -> None:
    """Reasons are counted by row and code, so together they may be more than the rows."""
    check_sums(replace(ARCHIVED, check=replace(CHECK, rejected_by={"email": 4, "required": 4})))


def test_a_fact_that_looks_like_a_person_is_taken_out(tmp_path: Path) -> None:
    """After a shift of columns a consent's value may be an address: the receipt shows none."""
    facts = {"field": "opt-in-id", "count": 2, "values": "7, anna.canary@example.org"}
    text = write_receipt(
        tmp_path, replace(QUARANTINED, reason=Told("mixed-consents", facts))
    ).read_text("ascii")
    assert "canary" not in text
    assert json.loads(text)["reason"]["sentence"] == "opt-in-id holds 2 values: [redacted]"
