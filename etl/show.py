"""Answers for people: the journal's and the store's facts as plain values and as tables.

It reads; it never shows more than codes, counts, times and names of files and feeds.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from etl.batch import ENDS, Batch, Place
from etl.extract.suppressions import ClientStatus
from etl.freshness import STATUS
from etl.guards import RELEASABLE
from etl.journal import Journal
from etl.journal.batches import moment
from etl.journal.requests import MISMATCH
from etl.load.quarantine import CaseSummary
from etl.reasons import REASONS

LATEST, LATEST_REQUESTS = 20, 5
HEARD = timedelta(minutes=2)
"""A daemon whose last scan is older is taken for stopped."""


def status(journal: Journal, now: datetime) -> dict[str, Any]:
    """The daemon's pulse, every batch under way, the latest that ended."""
    pulse = journal.requests.pulse()
    return {
        "started": pulse.get("started"),
        "response_data": [
            _response_data(key.removeprefix(STATUS), json.loads(value), now)
            for key, value in sorted(pulse.items())
            if key.startswith(STATUS)
        ],
        "last_scan": pulse.get("scanned"),
        "asked_at": now.isoformat(),
        "under_way": [batch(journal, each) for each in journal.batches.under_way()],
        "ended": [
            batch(journal, each) for each in journal.batches.latest(LATEST) if each.place in ENDS
        ],
        "requests_waiting": len(journal.requests.waiting()),
        "requests": journal.requests.latest(LATEST_REQUESTS),
    }


def _response_data(name: str, told: dict[str, Any], now: datetime) -> dict[str, Any]:
    """How old each source of a client is, and how long an unsubscription takes to its effect."""
    ages = {
        source: round((now - datetime.fromisoformat(at)).total_seconds() / 3600, 2)
        for source, at in told["read_until"].items()
    }
    return {
        "client": name,
        "completed_at": told["completed_at"],
        "failing": told["failing"],
        "age_hours_by_source": ages,
        "unsubscription_to_effect": told["unsubscription_to_effect"],
    }


def batch(journal: Journal, each: Batch) -> dict[str, Any]:
    """One batch in short."""
    detail = journal.batches.detail(each)
    check = detail["check"] or {}
    listed = detail["list"] or {}
    code = each.held.code if each.held else detail["end_code"]
    facts = (detail["held_facts"] if each.held else detail["end_facts"]) or {}
    return {
        "batch": each.id,
        "feed": each.feed,
        "name": each.name,
        "rollback_of": each.rollback_of,
        "place": each.place.value,
        "dirty_list": each.place is Place.REFILLING,
        "held": each.held is not None,
        "since": each.held.since if each.held else None,
        "next_try": each.held.next_try if each.held else None,
        "code": code,
        "why": REASONS[code].words(facts) if code else None,
        "hint": REASONS[code].hint.replace("BATCH", each.id) if code else None,
        "rows_read": check.get("rows_read"),
        "accepted": check.get("accepted"),
        "rejected": check.get("rejected"),
        "suppressed": check.get("suppressed"),
        "remote": detail["upload_name"] if detail["uploaded_at"] else None,
        "count": listed.get("count"),
        "case": detail["case_name"],
    }


def is_heard(journal: Journal, now: datetime) -> bool:
    """Tell whether a daemon scanned a moment ago."""
    scanned = journal.requests.pulse().get("scanned")
    return scanned is not None and now - moment(scanned) < HEARD


def refusal(verb: str, each: Batch, codes: Sequence[str]) -> str | None:
    """Why a request cannot be made of a batch; None when it can."""
    possible = {Place.CLAIMED, Place.UPLOADED}
    if verb == "release" and each.place not in ENDS:
        if each.held is None or each.held.code in codes:
            return None
        what = REASONS[each.held.code].hint
        if each.held.code in RELEASABLE | {MISMATCH}:
            what = f"released with --allow {each.held.code}"
        return f"batch {each.id} is held for {each.held.code}: {what}"
    if verb == "discard" and each.place in possible:
        return None
    return REASONS["not-allowed"].words(
        {"batch": each.id, "place": each.place.value, "verb": f"{verb}ed".replace("ee", "e")}
    )


def against_rollback(plan: Mapping[str, Any], allowed: Sequence[str]) -> list[dict[str, Any]]:
    """What of a plan keeps a rollback from being asked: codes, sentences and what to type.

    Guards of the world let go by themselves, so the batch may wait for them.
    """
    if plan["refusal"]:
        return [plan["refusal"]]
    of_rows = [each for each in plan["guards"] if each["code"] in RELEASABLE | {"no-rows"}]
    return [each for each in of_rows if each["code"] not in allowed]


def case(each: CaseSummary) -> dict[str, Any]:
    """One case in short."""
    return {
        "case": each.case,
        "feed": each.feed,
        "name": each.name,
        "written_at": each.written_at,
        "code": each.code,
        "rejected_rows": each.rejected_rows,
        "refused_rows": each.refused_rows,
        "readable": each.readable,
    }


def client(each: ClientStatus, now: datetime, unfit: Sequence[str] = ()) -> dict[str, Any]:
    """How fresh the suppression data of one client is; `unfit` are kept pages, by file name."""
    fresh = each.freshness
    age = now - fresh.completed_at if fresh.completed_at else None
    read = {stream.value: at for stream, at in each.read_until.items()}
    if each.blocklist_at is not None:
        read["blocklist"] = each.blocklist_at
    ages = {source: round((now - at).total_seconds() / 3600, 2) for source, at in read.items()}
    return {
        "client": each.client,
        "completed_at": fresh.completed_at,
        "age_hours": round(age.total_seconds() / 3600, 2) if age else None,
        "entries": fresh.entries,
        "blocklist_entries": fresh.blocklist_entries,
        "shrunk_from": fresh.shrunk_from,
        "blocklist_at": each.blocklist_at,
        "read_until": {stream.value: at for stream, at in each.read_until.items()},
        "age_hours_by_source": ages,
        "waiting_for_hand_over": dict(each.waiting),
        "left_out": {stream.value: dict(why) for stream, why in each.left_out.items()},
        "gaps": [
            {"source": gap.stream.value, "since": gap.since, "until": gap.until,
             "noticed_at": gap.noticed_at}
            for gap in each.gaps
        ],
        "unfit": list(unfit),
        "unsubscription_to_effect": None if each.lag is None else {
            "events": each.lag.events,
            "median_hours": each.lag.median_hours,
            "longest_hours": each.lag.longest_hours,
        },
    }  # fmt: skip


def answer(console: Console, value: dict[str, Any]) -> None:
    """Print an answer for people: scalars as lines, lists of like things as tables."""
    for key, part in value.items():
        title = key.replace("_", " ")
        if isinstance(part, list) and part and isinstance(part[0], dict):
            _table(console, title, part)
        elif isinstance(part, dict):
            console.print(f"[bold]{title}[/bold]")
            answer(console, part)
        elif part in (None, []):
            console.print(f"{title}: none", markup=False)
        else:
            console.print(f"{title}: {part}", markup=False)


def _table(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    columns = [key for key in rows[0] if any(row[key] not in (None, "", False) for row in rows)]
    table = Table(title=title, title_justify="left")
    for column in columns:
        fixed = column in {"batch", "case", "code", "place", "rollback_of"}
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=fixed)
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, list):
        return ", ".join(_cell(part) for part in value)
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_cell(part)}" for key, part in value.items())
    return str(value)
