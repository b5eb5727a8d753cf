"""The archive of drops that were taken through, and the end of what no longer has to be kept.

It moves and removes our own copies only; the inbox is not touched here.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from etl.batch import ID_CHARACTERS, Batch, is_id
from etl.durable import fsync_folder, make_folder, move

STAGED = "staged.arrow"


def archive(original: Path, root: Path, batch: Batch) -> Path:
    """Move the private copy into the archive, under its month; may be repeated."""
    target = archived(root, batch)
    if original.exists():
        make_folder(root, 0o700)
        make_folder(target.parent, 0o700)
        move(original, target)
    return target


def archived(root: Path, batch: Batch) -> Path:
    """Where a drop lies once it is archived."""
    return root / f"{batch.claimed_at:%Y-%m}" / f"{batch.id}-{batch.name}"


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


def forget_drops(root: Path, is_over: Callable[[str], bool]) -> None:
    """Remove the archived drops of batches, by their ids, whose time is over."""
    for month in sorted(root.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9]")):
        for path in list(month.iterdir()):
            if _is_over(path, is_over):
                path.unlink()
        if not any(month.iterdir()):
            month.rmdir()


def forget_cases(root: Path, is_over: Callable[[str], bool]) -> None:
    """Remove the cases of batches, by their ids, whose time is over."""
    for folder in list(root.iterdir()):
        if folder.is_dir() and not folder.is_symlink() and _is_over(folder, is_over):
            shutil.rmtree(folder)


def _is_over(path: Path, is_over: Callable[[str], bool]) -> bool:
    """Tell by a name that begins with a batch id; whatever is named otherwise is not ours."""
    batch_id = path.name[:ID_CHARACTERS]
    return is_id(batch_id) and is_over(batch_id)
