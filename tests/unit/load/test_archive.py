"""The archive: drops under their month, gone when their time is over."""

from datetime import UTC, datetime

from etl.batch import Batch, Place
from etl.load.archive import archive, forget_cases, forget_drops, tidy

OLD, NEW = "20261001T000000Z-000001", "20261124T000000Z-000002"


def is_old(batch_id):
    return batch_id == OLD


def batch(identity, name="a.csv"):
    claimed = datetime.strptime(identity[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return Batch(identity, "f", name, Place.ARCHIVED, 1, "x", claimed, "1", claimed)


def test_the_private_copy_moves_into_the_archive_once(tmp_path):
    """Done twice, it is the same: the bytes stand under month, batch and name."""
    (tmp_path / "original").write_bytes(b"x")
    for _ in range(2):
        target = archive(tmp_path / "original", tmp_path / "archive", batch(NEW))
    assert target == tmp_path / "archive" / "2026-11" / f"{NEW}-a.csv"
    assert target.read_bytes() == b"x"
    assert target.parent.stat().st_mode & 0o777 == 0o700


def test_archived_drops_are_removed_when_their_time_is_over(tmp_path):
    """Older ones go with their empty month, younger ones and strange files stay."""
    for identity in (OLD, NEW):
        (tmp_path / "original").write_bytes(b"x")
        archive(tmp_path / "original", tmp_path / "archive", batch(identity))
    (tmp_path / "archive" / "2026-11" / "notes.txt").write_text("not ours")
    forget_drops(tmp_path / "archive", is_old)
    left = sorted(path.name for path in (tmp_path / "archive").rglob("*") if path.is_file())
    assert left == [f"{NEW}-a.csv", "notes.txt"]
    assert not (tmp_path / "archive" / "2026-10").exists()


def test_cases_are_removed_when_their_time_is_over(tmp_path):
    """Only folders that begin with an old batch id are touched."""
    for name in (f"{OLD}-f", f"{NEW}-f", "kept by ops", ".20261001T000000Z"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text("{}")
    forget_cases(tmp_path, is_old)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".20261001T000000Z", f"{NEW}-f", "kept by ops",
    ]  # fmt: skip


def test_tidy_keeps_the_staged_rows_when_asked(tmp_path):
    """Of the last refills the staged rows stay, nothing else; repeated it does no harm."""
    folder = tmp_path / NEW
    folder.mkdir()
    for name in ("original", "accepted.csv", "staged.arrow"):
        (folder / name).write_text("x")
    for _ in range(2):
        tidy(tmp_path, NEW, keep_staged=True)
    assert [path.name for path in folder.iterdir()] == ["staged.arrow"]
    tidy(tmp_path, NEW, keep_staged=False)
    tidy(tmp_path, NEW, keep_staged=False)
    assert not folder.exists()
