"""The archive of drops that were taken through, and the end of what no longer has to be kept.

It moves and removes our own copies only; the inbox is not touched here.
"""

import shutil
from datetime import datetime
from pathlib import Path

from etl.batch import Batch
from etl.durable import fsync_folder, make_folder, move

STAGED = "staged.arrow"


def archive(original: Path, root: Path, batch: Batch) -> Path:
    """Move the private copy into the archive, under its month; may be repeated."""
    month = root / f"{batch.claimed_at:%Y-%m}"
    target = month / f"{batch.id}-{batch.name}"
    if original.exists():
        make_folder(root, 0o700)
        make_folder(month, 0o700)
        move(original, target)
    return target


def tidy(batches: Path, batch_id: str, *, keep_staged: bool) -> None:
    """Remove a batch's folder; with `keep_staged` its staged rows stay. May be repeated."""
    folder = batches / batch_id
    if not folder.is_dir():
        return
    if not keep_staged:
        shutil.rmtree(folder)
    else:
        for path in folder.iterdir():
            if path.name != STAGED:
                path.unlink()
    fsync_folder(batches)


def forget_before(root: Path, limit: datetime) -> int:
    """Remove archived drops claimed before `limit`; returns how many."""
    removed = 0
    for month in sorted(root.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9]")):
        for path in list(month.iterdir()):
            if path.name[:16] < f"{limit:%Y%m%dT%H%M%SZ}":
                path.unlink()
                removed += 1
        if not any(month.iterdir()):
            month.rmdir()
    return removed
