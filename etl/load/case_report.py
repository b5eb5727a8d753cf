"""What a case says of itself, as `report.json` and `report.html`: codes, lines, columns, counts.

It may not hold a cell or a recipient id, and it touches no file but its own template and the
reports it is asked to read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from etl.errors import Fact
from etl.load.case_csv import RefusedRow, RejectedRows, row_sentence
from etl.load.names import portable_facts, portable_text, safe_file_name, visible_text
from etl.reasons import REASONS
from etl.redaction import redacted

VERSION = 1
REPORT_JSON = "report.json"
REPORT_HTML = "report.html"

_FIRST_LINES = 10

Json = dict[str, Any]
"""A part of the report, laid out as in `schemas/report.schema.json`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a whole drop was rejected, and where in it."""

    code: str
    facts: Mapping[str, Fact] = field(default_factory=dict)
    line: int | None = None
    column: int | None = None
    field: str | None = None


@dataclass(frozen=True, slots=True)
class RowCounts:
    """The fates of the rows of a drop."""

    read: int
    accepted: int
    rejected: int
    suppressed: int


@dataclass(frozen=True, slots=True)
class CaseReport:
    """What is known of the drop a case is about; no `refusal` means that the drop went on."""

    batch: str
    feed: str | None
    name: str
    size_bytes: int
    sha256: str
    dropped_at: datetime
    claimed_at: datetime
    written_at: datetime
    refusal: Refusal | None = None
    rows: RowCounts | None = None

    @property
    def case(self) -> str:
        """The name of the case's folder."""
        return f"{self.batch}-{safe_file_name(self.feed or 'no-feed', 100)}"


@dataclass(frozen=True, slots=True)
class CaseSummary:
    """One line of a list of cases; `readable` is false for a folder whose report is not."""

    case: str
    readable: bool
    batch: str | None = None
    feed: str | None = None
    name: str | None = None
    written_at: str | None = None
    code: str | None = None
    """Why the whole drop was rejected; None when it went on."""
    rejected_rows: int = 0
    refused_rows: int = 0


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A file of the case."""

    name: str
    what: str
    size_bytes: int
    sha256: str


def read_report(path: Path) -> Json:
    """Read a `report.json`.

    Raises FileNotFoundError when there is none, ValueError when it is no report or of a newer
    version than this release knows.
    """
    try:
        report = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError):
        # The decoder's own words would quote the file.
        raise ValueError("report.json is no JSON") from None
    version = report.get("version") if isinstance(report, dict) else None
    if not isinstance(version, int):
        raise ValueError("report.json has no version")  # noqa: TRY004 - the file is wrong, not a call
    if version > VERSION:
        raise ValueError(f"report.json has version {version}, this release knows {VERSION}")
    return dict(report)


def summary_of(folder: Path) -> CaseSummary:
    """One case in short."""
    try:
        report = read_report(folder / REPORT_JSON)
        return CaseSummary(
            case=folder.name,
            readable=True,
            batch=report["batch"],
            feed=report["feed"],
            name=report["drop"]["name"],
            written_at=report["written_at"],
            code=report["reason"] and report["reason"]["code"],
            rejected_rows=report["rejected"]["rows"] if report["rejected"] else 0,
            refused_rows=report["refused"]["rows"] if report["refused"] else 0,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return CaseSummary(case=folder.name, readable=False)


def count_rejected(rows: RejectedRows) -> Json:
    """Rejected rows by code and column, each with its first lines."""
    frame = rows.frame.with_columns(pl.col("constraint").cast(pl.String)).sort(
        "record", maintain_order=True
    )
    groups = (
        frame.group_by("code", "field", maintain_order=True)
        .agg(
            pl.col("column_number").first(),
            pl.col("constraint").first(),
            pl.col("other_line").first(),
            pl.col("record").n_unique().alias("rows"),
            pl.col("line").unique(maintain_order=True).head(_FIRST_LINES).alias("first_lines"),
        )
        .sort("rows", descending=True, maintain_order=True)
    )
    reasons = [
        {
            "code": group["code"],
            "field": group["field"],
            "column": group["column_number"],
            "rows": group["rows"],
            "first_lines": group["first_lines"],
            "sentence": row_sentence(
                group["code"],
                group["field"],
                group["constraint"],
                rows.encoding,
                None if group["other_line"] is None else "…",
            ),
            "hint": REASONS[group["code"]].hint,
        }
        for group in groups.iter_rows(named=True)
    ]
    return {"rows": frame["record"].n_unique(), "reasons": reasons}


def count_refused(refused: Sequence[RefusedRow]) -> Json:
    """Rows that Campaign refused by code, each with its first lines."""
    lines: dict[str, list[int]] = {}
    for row in refused:
        lines.setdefault(row.code, []).append(row.line)
    reasons = [
        {
            "code": code,
            "rows": len(of_code),
            "first_lines": of_code[:_FIRST_LINES],
            "sentence": REASONS[code].words({"detail": "see the log"}),
            "hint": REASONS[code].hint,
        }
        for code, of_code in sorted(lines.items(), key=lambda item: -len(item[1]))
    ]
    return {"rows": len(refused), "reasons": reasons}


def as_json(
    case: CaseReport,
    rejected: Json | None,
    refused: Json | None,
    files: Sequence[CaseFile],
) -> Json:
    """The report as `schemas/report.schema.json` lays it out."""
    return {
        "version": VERSION,
        "case": case.case,
        "batch": case.batch,
        "feed": case.feed,
        "outcome": "drop-rejected" if case.refusal else "drop-went-on",
        "written_at": case.written_at.isoformat(),
        "drop": {
            "name": portable_text(case.name),
            "size_bytes": case.size_bytes,
            "sha256": case.sha256,
            "dropped_at": case.dropped_at.isoformat(),
            "claimed_at": case.claimed_at.isoformat(),
        },
        "reason": None if case.refusal is None else _refusal_as_json(case.refusal),
        "rows": case.rows
        and {
            "read": case.rows.read,
            "accepted": case.rows.accepted,
            "rejected": case.rows.rejected,
            "suppressed": case.rows.suppressed,
        },
        "rejected": rejected,
        "refused": refused,
        "files": [
            {"name": f.name, "what": f.what, "size_bytes": f.size_bytes, "sha256": f.sha256}
            for f in files
        ],
    }


def _refusal_as_json(refusal: Refusal) -> Json:
    reason, facts = REASONS[refusal.code], portable_facts(refusal.facts)
    column = None if refusal.field is None else redacted(portable_text(refusal.field))
    place = {"line": refusal.line, "column": refusal.column, "field": column}
    known = {key: fact for key, fact in place.items() if fact is not None}
    return {
        "code": refusal.code,
        "sentence": reason.words({**known, **facts}),
        "hint": reason.hint,
        "facts": facts,
        **place,
    }


def json_bytes(report: Json) -> bytes:
    """The report as a file."""
    return json.dumps(report, indent=2, allow_nan=False).encode("ascii") + b"\n"


def html_bytes(report: Json) -> bytes:
    """The report as one page that needs no network and runs no script."""
    return _PAGES.get_template(REPORT_HTML).render(report).encode("utf-8")


def _shown(value: object) -> object:
    """What goes from a variable into a page; jinja2 escapes it for HTML afterwards."""
    return visible_text(value) if isinstance(value, str) else value


_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
