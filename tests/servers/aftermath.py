"""What must be true when the dust has settled, whatever died on the way."""

import csv
import io
import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.servers.service import Setting

KEPT = {"staged.arrow"}
"""What stays of the last refills for comparing and for going on."""
LIFE = ["CLAIMED", "UPLOADED", "REFILLING", "REFILLED", "ARCHIVED"]


def rows_of(setting: Setting, sql: str) -> list[tuple[Any, ...]]:
    """Rows of the journal as it is on the disk now; none while it is not made."""
    path = setting.state / "journal.sqlite3"
    # Cut off while it was made: only who may write can take that back.
    if not path.exists() or path.with_name(f"{path.name}-journal").exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as journal:
        if not journal.execute("SELECT 1 FROM sqlite_master WHERE name='batches'").fetchall():
            return []
        found: list[tuple[Any, ...]] = journal.execute(sql).fetchall()
    return found


def status(setting: Setting) -> dict[str, Any]:
    """The answer of `etl status --json`."""
    done = setting.etl("status", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def claims(setting: Setting, instance: str = "etl") -> list[Path]:
    """What lies in the folder of claims of one instance."""
    root = setting.inbox / ".claimed" / instance
    return sorted(root.rglob("*")) if root.is_dir() else []


def is_settled(setting: Setting, drops: int = 1) -> bool:
    """Tell whether every drop has ended and nothing is left to do."""
    found = rows_of(setting, "SELECT place FROM batches")
    ended = all(place in {"ARCHIVED", "SUPERSEDED", "QUARANTINED"} for (place,) in found)
    return len(found) == drops and ended and not claims(setting)


def remains(setting: Setting) -> list[Path]:
    """Half-done files and copies that are taken away or renamed when all is done."""
    folders = (setting.receipts_folder, setting.quarantine, setting.responses)
    hidden = [path for folder in folders for path in folder.rglob(".*")]
    batches = setting.state / "batches"
    return hidden + [path for path in batches.rglob("*") if path.name not in KEPT | ended(setting)]


def ended(setting: Setting) -> set[str]:
    """Ids of all batches, which name their folders."""
    return {str(row[0]) for row in rows_of(setting, "SELECT id FROM batches")}


def handed_over(setting: Setting, kind: str = "unsubscriptions") -> list[str]:
    """Recipient ids in all files that the CRM was given."""
    return [
        row["recipient-id"]
        for path in setting.responses.glob(f"{kind}-*.csv")
        for row in csv.DictReader(io.StringIO(path.read_text()), delimiter=";")
    ]


def uploaded_ids(content: bytes) -> list[str]:
    """The addresses in an uploaded file."""
    return [row["email"] for row in csv.DictReader(io.StringIO(content.decode()), delimiter=";")]


def assert_one_archived(
    setting: Setting, content: bytes, listed: Iterable[str], uploaded: Iterable[str]
) -> str:
    """Assert that one drop was archived once, with nothing doubled and nothing left over.

    `listed` are the recipient ids in the list, `uploaded` those the remote file holds or may hold
    besides. Returns the batch id.
    """
    receipts = [json.loads(path.read_text()) for path in setting.receipts_folder.iterdir()]
    assert [receipt["fate"] for receipt in receipts] == ["archived"]
    receipt = receipts[0]
    batch = str(receipt["batch"])

    assert sorted(setting.list_ids()) == sorted(listed)
    assert receipt["list"]["count"] == len(setting.list_ids())

    remote = setting.remote()
    assert list(remote) == [f"a-{batch}.csv"] == [receipt["upload"]["name"]]
    assert sorted(uploaded_ids(remote[f"a-{batch}.csv"])) == sorted(uploaded)

    assert [path.name for path in setting.inbox.iterdir()] == [".claimed"]
    assert claims(setting) == []
    kept = sorted(str(p.relative_to(setting.state)) for p in (setting.state / "batches").rglob("*"))
    assert kept == [f"batches/{batch}", f"batches/{batch}/staged.arrow"]
    archived = [path for path in (setting.state / "archive").rglob("*") if path.is_file()]
    assert [path.name for path in archived] == [f"{batch}-{receipt['drop']['name']}"]
    assert archived[0].read_bytes() == content
    assert remains(setting) == []

    clears = setting.calls("clear")
    assert 1 <= len(clears) <= 2
    assert rows_of(setting, "SELECT place FROM moves ORDER BY rowid") == [(p,) for p in LIFE]
    assert rows_of(setting, "PRAGMA integrity_check") == [("ok",)]
    assert rows_of(setting, "SELECT count(*) FROM rounds WHERE ack_at IS NULL") == [(0,)]
    told = status(setting)
    assert told["under_way"] == []
    assert [(each["batch"], each["place"]) for each in told["ended"]] == [(batch, "ARCHIVED")]
    assert told["ended"][0]["count"] == len(setting.list_ids())
    return batch
