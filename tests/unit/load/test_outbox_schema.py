"""What is handed over to the CRM fits the Table Schemas that are shipped for it."""

import csv
import io
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import polars as pl
import pytest

from etl.durable import KnownFolder
from etl.extract.keyed import StoreKey
from etl.extract.learned import KIND_OF, Event, Found, Kind, Mailing
from etl.extract.suppressions import SuppressionStore, open_store
from etl.load.outbox import FILES, hand_over
from etl.load.outcome import SUPPRESSION_CODES
from etl.ports import Stream, Window
from etl.shipped import shipped
from etl.transform.fields import TableSchema
from etl.transform.header import columns_of
from etl.transform.plan import CheckPlan, Consent
from etl.transform.rules import compile_rules, failures
from etl.transform.schema import load_schema

EVENTS = [stream for stream in Stream if stream is not Stream.MAILINGS]
AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
ID_OF_NOBODY, ID_OF_TWO = "nobody@example.org", "two@example.org"


def schema(file: str) -> TableSchema:
    """The shipped schema of a response file."""
    loaded = load_schema((shipped("schemas") / f"{file}.json").read_text("utf-8"))
    assert isinstance(loaded, TableSchema), loaded
    return loaded


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SuppressionStore]:
    keys = [StoreKey("k", b"a key for tests.")]
    with closing(open_store(tmp_path / "suppressions.sqlite3", keys)) as opened:
        yield opened


def fill(store: SuppressionStore) -> int:
    """Put every kind from every source into the outbox, for people known and not; the lines."""
    rows = {"address": [ID_OF_TWO, ID_OF_TWO], "entity_type": ["contact", "lead"],
            "entity_id": ["1", 'ü;"2"'], "opt_in_id": ["7", "7"]}  # fmt: skip
    store.remember_carriers("main", "feed", "batch", pl.DataFrame(rows), AT)
    times = (AT, None, AT)
    events = [
        Event(
            identity, time, mailing, f"{identity}{number}".encode(),
            category=("hardbounce", "softbounce")[number % 2], link="https://a.test/;",
        )
        for identity in (ID_OF_NOBODY, ID_OF_TWO)
        for number, (time, mailing) in enumerate(zip(times, ("77", "77", "78"), strict=True))
    ]  # fmt: skip
    mailings = [Mailing("77", "spring"), Mailing("78", "summer")]
    store.commit_mailings("main", Window(0, 1), mailings, AT)
    for stream in EVENTS:
        store.commit_window("main", stream, Window(0, 1), events, id_rule="email", at=AT)
    finds: list[tuple[Kind, str]] = [
        ("unsubscribed", "live-check"), ("blocklisted", "live-check"),
        *((kind, f"code-{code}") for code, kind in SUPPRESSION_CODES.items()),
    ]  # fmt: skip
    for kind, source in finds:
        for identity in (ID_OF_NOBODY, ID_OF_TWO):
            store.add_found("main", [Found(identity, kind, source, AT)])
    assert {kind for kind, _ in finds} | set(KIND_OF.values()) == set(get_args(Kind))
    lines_of_an_event = 1 + len(rows["address"])
    return lines_of_an_event * (len(times) * len(EVENTS) + len(finds))


@pytest.mark.parametrize("file", FILES)
def test_the_schema_names_the_columns_of_the_file(file: str) -> None:
    """The same columns in the same order, and nothing else."""
    assert tuple(field.name for field in schema(file).fields) == FILES[file]


def judged(file: str, content: bytes) -> tuple[int, list[str]]:
    """How many rows a response file has, and which rules of its schema some row breaks."""
    header, *rows = csv.reader(io.StringIO(content.decode(), newline=""), delimiter=";")
    assert header == list(FILES[file])
    plan = CheckPlan(schema(file), Consent(None, None, None), "recipient-id")
    # What holds for the technical fields of a drop is no rule of this schema.
    rules = [rule for rule in compile_rules(plan) if rule.code not in ("email", "empty-consent")]
    width = len(columns_of(plan))
    padded = [[*row, *[""] * (width - len(row))] for row in rows]
    frame = pl.DataFrame(padded, {f"c{n}": pl.String for n in range(width)}, orient="row")
    frame = frame.with_columns(address="c0", recipient_id="c0")
    return len(rows), [f"{rule.field} {rule.code}" for rule, _ in failures(frame, rules)]


def test_what_is_handed_over_fits_the_schema(store: SuppressionStore, tmp_path: Path) -> None:
    """The header is the schema's, and every cell of every row passes its rules."""
    lines = fill(store)
    folder = tmp_path / "responses"
    folder.mkdir()
    done = hand_over("main", store.outbox, KnownFolder.at(folder), AT)
    assert {each.file for each in done} == set(FILES) | {f"{file}-unassigned" for file in FILES}
    read = 0
    for each in done:
        content = (folder / each.name).read_bytes()
        file = each.file.removesuffix("-unassigned")
        assert content.startswith(";".join(FILES[file]).encode() + b"\r\n")
        rows, broken = judged(file, content)
        assert broken == []
        read += rows
    assert read == lines


@pytest.mark.parametrize(
    ("file", "column", "cell", "code"),
    [
        ("bounces", "kind", "unsubscribed", "enum"),
        ("bounces", "opt-in-id", "7", "max-length"),
        ("bounces", "recipient-id", "", "required"),
        ("bounces", "source", "live-check", "enum"),
        ("opens", "campaign-id", "", "required"),
        ("opens", "kind", "clicked", "enum"),
        ("clicks", "source", "getOpens", "enum"),
        ("unsubscriptions", "kind", "bounced", "enum"),
        ("unsubscriptions", "derived", "no", "enum"),
        ("unsubscriptions", "media-type", "FAX", "enum"),
        ("unsubscriptions", "source", "guess", "enum"),
    ],
)
def test_another_cell_does_not_fit(file: str, column: str, cell: str, code: str) -> None:
    """The schemas say more than that there are cells."""
    kind, source = {
        "bounces": ("bounced", "code-4"), "unsubscriptions": ("unsubscribed", "code-2"),
        "opens": ("opened", "getOpens"), "clicks": ("clicked", "getClicks"),
    }[file]  # fmt: skip
    row = dict.fromkeys(FILES[file], "") | {
        "recipient-id": ID_OF_TWO, "media-type": "EMAIL", "kind": kind, "source": source,
    }  # fmt: skip
    if "campaign-id" in row:
        row["campaign-id"] = "spring"
    for cells, broken in ((row, []), (row | {column: cell}, [f"{column} {code}"])):
        content = ";".join(FILES[file]) + "\r\n" + ";".join(cells.values()) + "\r\n"
        assert judged(file, content.encode()) == (1, broken)
