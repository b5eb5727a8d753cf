"""The CRM's files: complete when visible, each row exactly once, in the right folder only."""

import csv
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from etl.errors import FarSideUnavailable
from etl.extract.keyed import StoreKey
from etl.extract.suppressions import Found, SuppressionStore, open_store
from etl.load.outbox import COLUMNS, CrmFolder, Form, hand_over

AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
KEYS = [StoreKey("k", b"a key for tests.")]
NONE = Form(empty="none")
ROOT = Path(__file__).parents[3]


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    folder = tmp_path / "responses"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SuppressionStore]:
    opened = open_store(tmp_path / "suppressions.sqlite3", KEYS)
    yield opened
    opened.close()


def bounce(store: SuppressionStore, *addresses: str) -> None:
    store.add_found("main", [Found(each, "bounced", "code-4", AT) for each in addresses])


def rows_in(folder: Path) -> list[list[str]]:
    """Every row of every visible file, without headers."""
    found: list[list[str]] = []
    for path in sorted(folder.glob("[!.]*")):
        header, *rows = csv.reader(io.StringIO(path.read_text("utf-8"), ""), delimiter=";")
        assert header == list(COLUMNS)
        found += rows
    return found


def test_a_row_holds_all_the_crm_needs(store: SuppressionStore, responses: Path) -> None:
    """Header and row stand as promised, bytes and all; the name tells file, client and time."""
    rows = {"address": ["a@example.org"], "entity_type": ["contact"], "entity_id": ['ü;"1"'],
            "opt_in_id": ["7"]}  # fmt: skip
    store.remember_carriers("main", "f", "b", pl.DataFrame(rows), AT)
    store.add_found("main", [Found("a@example.org", "unsubscribed", "live-check", AT)])
    (done,) = hand_over("main", store.outbox, CrmFolder.at(responses), AT, NONE)
    assert done.file == "unsubscriptions"
    assert done.name.startswith("unsubscriptions-main-20261124T090000Z-")
    assert [path.name for path in responses.iterdir()] == [done.name]
    assert (responses / done.name).read_bytes() == (
        "recipient-id;entity-type;entity-id;opt-in-id;derived;media-type;kind;source;time;"
        "mailing-id\r\n"
        'a@example.org;contact;"ü;""1""";7;yes;EMAIL;unsubscribed;live-check;'
        "2026-11-24T09:00:00Z;\r\n"
    ).encode()


@pytest.mark.parametrize(("form", "files"), [(Form(), 2), (NONE, 0)])
def test_an_empty_outbox(store: SuppressionStore, responses: Path, form: Form, files: int) -> None:
    """Nothing to tell gives two files with a header, or none, as configured."""
    done = hand_over("main", store.outbox, CrmFolder.at(responses), AT, form)
    assert (len(done), len(list(responses.iterdir())), rows_in(responses)) == (files, files, [])


def test_another_delimiter(store: SuppressionStore, responses: Path) -> None:
    """The delimiter is the configured one."""
    bounce(store, "a@example.org")
    (done,) = hand_over("main", store.outbox, CrmFolder.at(responses), AT, Form("\t", "none"))
    assert (responses / done.name).read_text().startswith("recipient-id\tentity-type")


def test_a_row_is_handed_over_once(store: SuppressionStore, responses: Path) -> None:
    """The second file holds only what came after the first."""
    folder = CrmFolder.at(responses)
    bounce(store, *(f"{number}@example.org" for number in range(2500)))
    (first,) = hand_over("main", store.outbox, folder, AT, NONE)
    (responses / first.name).rename(responses.parent / "taken.csv")
    bounce(store, "late@example.org")
    hand_over("main", store.outbox, folder, AT, NONE)
    assert [row[0] for row in rows_in(responses)] == ["late@example.org"]
    assert len((responses.parent / "taken.csv").read_text().splitlines()) == 2501
    assert hand_over("main", store.outbox, folder, AT, NONE) == []


def test_another_folder_gets_nothing(store: SuppressionStore, responses: Path) -> None:
    """A folder put in the place of the one at start is left empty, and the rows keep waiting."""
    folder = CrmFolder.at(responses)
    bounce(store, "a@example.org")
    responses.rename(responses.with_name("away"))
    with pytest.raises(FarSideUnavailable) as gone:
        hand_over("main", store.outbox, folder, AT, NONE)
    responses.mkdir()
    with pytest.raises(FarSideUnavailable) as other:
        hand_over("main", store.outbox, folder, AT, NONE)
    assert (gone.value.code, other.value.code) == ("folder-lost", "folder-lost")
    assert list(responses.iterdir()) == []
    responses.rmdir()
    responses.with_name("away").rename(responses)
    hand_over("main", store.outbox, folder, AT, NONE)
    assert [row[0] for row in rows_in(responses)] == ["a@example.org"]


def test_an_empty_mount_point_at_start_proves_nothing(
    store: SuppressionStore, responses: Path
) -> None:
    """A share that is away at a restart is not taken for one whose file the CRM has taken."""
    bounce(store, "a@example.org")
    name = "bounces-main-20261124T090000Z-0000.csv"
    handover = store.outbox.begin("main", "bounces", name, f".{name}.tmp", AT)
    store.outbox.renaming(handover)
    with pytest.raises(FarSideUnavailable) as lost:
        hand_over("main", store.outbox, CrmFolder.at(responses), AT, NONE)
    assert lost.value.code == "folder-lost"
    assert store.outbox.waiting("main", "bounces") == 1


def test_a_full_or_forbidden_disk_is_for_later(
    store: SuppressionStore, responses: Path, tmp_path: Path
) -> None:
    """An error of the folder is one to try again; nothing visible is left behind."""
    bounce(store, "a@example.org")
    script = child("hand_over")
    traced = trace(script, tmp_path, ["-e", "inject=fsync:error=ENOSPC:when=1"], responses)
    assert traced.returncode == 1
    assert "disk-error: the local disk failed: ENOSPC" in traced.stderr
    assert rows_in(responses) == []
    hand_over("main", store.outbox, CrmFolder.at(responses), AT, NONE)
    assert [row[0] for row in rows_in(responses)] == ["a@example.org"]


# --- crashes: the process is killed at a system call, the CRM takes what it sees, we start again --


def child(_: str) -> str:
    """A process that hands over, as the service would."""
    return (
        "import sys; from pathlib import Path; from datetime import UTC, datetime\n"
        "from etl.extract.keyed import StoreKey; from etl.extract.suppressions import open_store\n"
        "from etl.load.outbox import CrmFolder, Form, hand_over\n"
        "from etl.errors import FarSideUnavailable\n"
        "store = open_store(Path(sys.argv[1]), [StoreKey('k', b'a key for tests.')])\n"
        "folder = CrmFolder.at(Path(sys.argv[2]))\n"
        "sys.stdout.write('ready'); sys.stdout.flush()\n"
        "try:\n"
        "    hand_over('main', store.outbox, folder, datetime.now(UTC), Form(empty='none'))\n"
        "except FarSideUnavailable as error:\n"
        "    sys.exit(str(error))\n"
        "store.close()\n"
    )


def trace(
    script: str, folder: Path, injected: list[str], responses: Path
) -> subprocess.CompletedProcess[str]:
    """Run the child under strace, which acts at a system call on the folder or the store."""
    only = ["-P", str(responses)] if False else []
    return subprocess.run(
        ["strace", "-f", "-qq", "-o", str(folder / "calls"), *only, *injected, sys.executable,
         "-c", script, str(folder / "suppressions.sqlite3"), str(responses)],
        capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
