"""The CRM's files: complete when visible, each row exactly once, in the right folder only."""

import csv
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from etl.durable import KnownFolder
from etl.errors import FarSideUnavailable
from etl.extract.keyed import StoreKey
from etl.extract.suppressions import Found, SuppressionStore, open_store
from etl.load.outbox import COLUMNS, Form, hand_over

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
    """Somebody whose address the CRM knows bounces."""
    rows = {"address": addresses, "entity_type": "contact", "entity_id": "1", "opt_in_id": "7"}
    batch = f"{len(addresses)}-{addresses[0]}"
    store.remember_carriers("main", batch, batch, pl.DataFrame(rows), AT)
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
    (done,) = hand_over("main", store.outbox, KnownFolder.at(responses), AT, NONE)
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
    done = hand_over("main", store.outbox, KnownFolder.at(responses), AT, form)
    assert (len(done), len(list(responses.iterdir())), rows_in(responses)) == (files, files, [])


def test_another_delimiter(store: SuppressionStore, responses: Path) -> None:
    """The delimiter is the configured one."""
    bounce(store, "a@example.org")
    (done,) = hand_over("main", store.outbox, KnownFolder.at(responses), AT, Form("\t", "none"))
    assert (responses / done.name).read_text().startswith("recipient-id\tentity-type")


def test_a_row_is_handed_over_once(store: SuppressionStore, responses: Path) -> None:
    """The second file holds only what came after the first."""
    folder = KnownFolder.at(responses)
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
    folder = KnownFolder.at(responses)
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
        hand_over("main", store.outbox, KnownFolder.at(responses), AT, NONE)
    assert lost.value.code == "folder-lost"
    assert store.outbox.waiting("main", "bounces") == 1


# --- another process, stopped by the kernel at a system call -----------------------------------

CHILD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from etl.errors import FarSideUnavailable
from etl.extract.keyed import StoreKey
from etl.extract.outbox_rows import OutboxRows
from etl.extract.store_file import open_file
from etl.durable import KnownFolder
from etl.load.outbox import Form, hand_over
outbox = OutboxRows(open_file(Path(sys.argv[1]), [StoreKey("k", b"a key for tests.")]))
try:
    hand_over("main", outbox, KnownFolder.at(Path(sys.argv[2])), datetime.now(UTC),
              Form(empty="none"))
except FarSideUnavailable as error:
    sys.exit(str(error))
"""
CALLS = "fsync,fdatasync,rename,unlink"


def traced(state: Path, responses: Path, injected: str) -> subprocess.CompletedProcess[str]:
    """Hand over in a process of its own, in which one system call ends as told.

    No --seccomp-bpf here: strace 6.1 then ignores `signal=` without a word.
    """
    return subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={CALLS}",
         "-e", f"inject={injected}", sys.executable, "-c", CHILD, str(state), str(responses)],
        capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize("call", ["fsync:error=ENOSPC:when=1", "rename:error=EIO:when=3"])
def test_a_disk_that_fails_is_for_later(
    store: SuppressionStore, responses: Path, tmp_path: Path, call: str
) -> None:
    """An error of the folder is one to try again; nothing visible is left behind."""
    bounce(store, "a@example.org")
    ended = traced(tmp_path / "suppressions.sqlite3", responses, call)
    assert ended.returncode == 1
    assert "disk-error: the local disk failed: E" in ended.stderr
    assert rows_in(responses) == []
    hand_over("main", store.outbox, KnownFolder.at(responses), AT, NONE)
    assert [row[0] for row in rows_in(responses)] == ["a@example.org"]


@pytest.mark.parametrize(
    "call",
    [
        *(f"fdatasync:signal=KILL:when={number}" for number in range(1, 8)),
        *(f"fsync:signal=KILL:when={number}" for number in range(1, 6)),
        *(f"rename:signal=KILL:when={number}" for number in range(1, 4)),
        "unlink:signal=KILL:when=3",
    ],
)
def test_a_kill_neither_loses_nor_doubles_a_row(
    store: SuppressionStore, responses: Path, tmp_path: Path, call: str
) -> None:
    """Killed before any step, with the CRM taking what it sees: each row reaches it once, whole."""
    bounce(store, "a@example.org", "b@example.org")
    store.close()
    assert traced(tmp_path / "suppressions.sqlite3", responses, call).returncode == -signal.SIGKILL
    taken = rows_in(responses)
    assert len(taken) in {0, 2}
    for path in responses.glob("[!.]*"):
        path.unlink()
    bounce(store, "late@example.org")
    for _ in range(2):
        hand_over("main", store.outbox, KnownFolder.at(responses), AT, NONE)
    names = [row[0] for row in taken + rows_in(responses)]
    assert sorted(names) == ["a@example.org", "b@example.org", "late@example.org"]
    assert list(responses.glob(".*")) == []
