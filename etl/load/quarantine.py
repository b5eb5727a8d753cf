"""Cases: one folder in `quarantine/` per drop that was rejected or lost rows, written for people.

It may not decide a fate. Cells stand in `rejected.csv`, recipient ids in `refused.csv`, both in
the original; the two reports hold codes, lines, column names and counts, never a cell.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from etl.durable import fsync_folder, make_folder, move, temporary_name, write_file
from etl.load.case_csv import RefusedRow, RejectedRows, refused_csv, rejected_csv
from etl.load.case_report import (
    REPORT_HTML,
    REPORT_JSON,
    CaseFile,
    CaseReport,
    CaseSummary,
    Json,
    Refusal,
    RowCounts,
    as_json,
    count_refused,
    count_rejected,
    html_bytes,
    json_bytes,
    read_report,
    summary_of,
)
from etl.load.names import safe_file_name

__all__ = [
    "REFUSED_CSV",
    "REJECTED_CSV",
    "CaseReport",
    "CaseSummary",
    "Refusal",
    "RefusedRow",
    "RejectedRows",
    "RowCounts",
    "add_refused",
    "list_cases",
    "read_report",
    "write_case",
]

REJECTED_CSV = "rejected.csv"
REFUSED_CSV = "refused.csv"

_PIECE_BYTES = 1 << 20
_OURS = frozenset({REPORT_JSON, REPORT_HTML, REJECTED_CSV, REFUSED_CSV})
_ORIGINAL = "the drop as it came"
_REJECTED = "rejected rows: the drop's columns, then line, codes, hints"
_REFUSED = "rows that Campaign refused: line, recipient id, code, hint"


def write_case(
    root: Path, case: CaseReport, rejected: RejectedRows | None, original: Path | None
) -> Path:
    """Write the case of a rejected drop, or of the rows that a drop lost; return its folder.

    `original` is the private copy of a rejected drop. Done twice, it gives the same case; what
    `add_refused` wrote stays.
    """
    with_rows = rejected if rejected is not None and rejected.frame.height else None
    folder, earlier = _open(root, case)
    files: list[CaseFile] = []
    if original is not None:
        files.append(_write_original(folder, case.name, original))
    if with_rows is not None:
        digest = write_file(folder / REJECTED_CSV, rejected_csv(with_rows))
        files.append(_case_file(folder / REJECTED_CSV, _REJECTED, digest))
    files += [file for file in _files_of(earlier) if file.name == REFUSED_CSV]
    counted = None if with_rows is None else count_rejected(with_rows)
    report = as_json(case, counted, earlier and earlier["refused"], files)
    return _complete(root, folder, report)


def add_refused(root: Path, case: CaseReport, refused: Iterable[RefusedRow]) -> Path:
    """Write the rows that Campaign refused into the drop's case, made if there is none.

    `refused` are all of them: an earlier list is replaced, so done twice it gives the same case.
    The rejected rows and the original that are there stay.
    """
    rows = list(refused)
    folder, earlier = _open(root, case)
    digest = write_file(folder / REFUSED_CSV, refused_csv(rows))
    files = [file for file in _files_of(earlier) if file.name != REFUSED_CSV]
    files.append(_case_file(folder / REFUSED_CSV, _REFUSED, digest))
    report = as_json(case, earlier and earlier["rejected"], count_refused(rows), files)
    return _complete(root, folder, report)


def list_cases(root: Path) -> list[CaseSummary]:
    """All complete cases in short, oldest first."""
    folders = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
    return [summary_of(folder) for folder in folders]


def _open(root: Path, case: CaseReport) -> tuple[Path, Json | None]:
    """The folder to write into (a dot folder unless the case is there) and its report so far."""
    folder = root / case.case
    if folder.is_dir():
        return folder, _earlier(folder)
    # A dot folder here is what a crash left of the same batch; its fate may have changed since.
    for stale in root.glob(temporary_name(f"{case.batch}-*")):
        shutil.rmtree(stale)
    beside = root / temporary_name(case.case)
    make_folder(beside)
    return beside, None


def _earlier(folder: Path) -> Json | None:
    """The report that is there; one that cannot be used is replaced like none."""
    try:
        report = read_report(folder / REPORT_JSON)
    except (FileNotFoundError, ValueError):
        return None
    return report if {"rejected", "refused", "files"} <= report.keys() else None


def _complete(root: Path, folder: Path, report: Json) -> Path:
    """Write both reports, `report.json` last, drop what they do not name, and show the case."""
    write_file(folder / REPORT_HTML, html_bytes(report))
    write_file(folder / REPORT_JSON, json_bytes(report))
    named = {REPORT_HTML, REPORT_JSON, *(file["name"] for file in report["files"])}
    for path in folder.iterdir():
        if path.name not in named:
            path.unlink()
    fsync_folder(folder)
    target = root / str(report["case"])
    if folder != target:
        move(folder, target)
    return target


def _write_original(folder: Path, name: str, original: Path) -> CaseFile:
    """Copy the drop, byte for byte, under a name that is safe and none of ours."""
    safe = safe_file_name(name)
    path = folder / (f"original-{safe}" if safe.lower() in _OURS else safe)
    return _case_file(path, _ORIGINAL, write_file(path, _pieces(original)))


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _case_file(path: Path, what: str, digest: str) -> CaseFile:
    return CaseFile(path.name, what, path.stat().st_size, digest)


def _files_of(report: Json | None) -> Sequence[CaseFile]:
    return [] if report is None else [CaseFile(**file) for file in report["files"]]
