"""Whether the day went as it should: receipts, remote files, lists, calls and the CRM's files.

It only looks, from outside: nothing here asks the journal or the store.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etl.demo.expected import Expected, ExpectedDrop
from etl.demo.servers import Servers
from etl.settings import Feed

RESPONSES = ("bounces", "unsubscriptions")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one drop, and where that is not what was expected."""

    drop: ExpectedDrop
    receipt: Mapping[str, Any]
    """Empty when there is none."""
    list_count: int | None
    addressed: frozenset[str]
    """Whom the remote file names or the list holds."""
    where: str
    """Of case or receipt, below the demo's folder."""
    differences: Sequence[str]


def fold(address: str) -> str:
    """The one form of an address, by the standard library's means."""
    local, _, domain = address.strip().lower().rpartition("@")
    return f"{local}@{domain.encode('idna').decode('ascii')}"


def prove_drop(
    servers: Servers, expected: Expected, drop: ExpectedDrop, cleared: Sequence[int]
) -> Outcome:
    """Look at all that is left of a drop; `cleared` are the lists cleared on its day."""
    receipts = sorted((servers.folder / "receipts").glob(f"{drop.name}.*.receipt.json"))
    if len(receipts) != 1:
        return Outcome(
            drop, {}, None, frozenset(), "-", [f"{len(receipts)} receipts instead of one"]
        )
    receipt: dict[str, Any] = json.loads(receipts[0].read_text("utf-8"))
    feed = servers.config.find_feed(drop.feed or "")
    remote = _remote_file(servers, receipt)
    found = _compare_receipt(drop, receipt)
    found += _compare_remote(drop, receipt, remote)
    people: list[str] | None = None
    addressed: frozenset[str] = frozenset()
    if feed is not None and feed.list is not None:
        people = [each["id"] for each in servers.campaign.list_content(feed.list.id)]
        addresses = None if remote is None else _addresses(remote, feed)
        found += _compare_list(drop, people, addresses)
        clears = cleared.count(feed.list.id)
        if clears != (drop.fate == "archived"):
            found.append(f"the list was cleared {clears} times")
        addressed = frozenset([*people, *(addresses or ())])
        found += _refused_among(expected, drop, addressed)
    case = receipt["case"]
    where = f"quarantine/{case}" if case else f"receipts/{receipts[0].name}"
    if not (servers.folder / where).exists():
        found.append(f"{where} is not there")
    count = None if people is None else len(people)
    return Outcome(drop, receipt, count, addressed, where, found)


def prove_responses(folder: Path, expected: Expected, day: int) -> list[str]:
    """Whether the CRM was told of everybody it should know of by a day, and of nobody else."""
    found = []
    last = max(expected.responses)
    for file in RESPONSES:
        told = {fold(row["recipient-id"]) for row in response_rows(folder, file)}
        missing = expected.responses[day][file] - told
        surplus = told - expected.responses[last][file]
        if missing:
            found.append(f"{file} of day {day} lack {', '.join(sorted(missing))}")
        if surplus:
            found.append(f"{file} of day {day} name {', '.join(sorted(surplus))}")
    return found


def response_rows(folder: Path, file: str) -> Iterator[dict[str, str]]:
    """The lines of all files of a kind that the CRM was given."""
    for path in sorted((folder / "responses").glob(f"{file}-*.csv")):
        with path.open(encoding="utf-8", newline="") as text:
            yield from csv.DictReader(text, delimiter=";")


def is_refused(address: str, addresses: Sequence[str], blocklist: Sequence[str]) -> bool:
    """Tell whether somebody must not be mailed, by name or by a wildcard."""
    if address in addresses:
        return True
    patterns = (re.escape(p).replace(r"\*", ".*").replace(r"\?", ".") for p in blocklist)
    return any(re.fullmatch(pattern, address, re.IGNORECASE) for pattern in patterns)


def _compare_receipt(drop: ExpectedDrop, receipt: Mapping[str, Any]) -> list[str]:
    reason = receipt["reason"] or {}
    pairs: list[tuple[str, object, object]] = [
        ("fate", receipt["fate"], drop.fate),
        ("code", reason.get("code"), drop.code),
        ("feed", receipt["feed"], drop.feed),
        ("uploaded", receipt["upload"] is not None, drop.uploaded),
    ]
    check = receipt["check"]
    if check is None or drop.check is None:
        pairs.append(("check", check, drop.check))
    else:
        pairs += [(key, check[key], value) for key, value in drop.check.items()]
    return [f"{what} is {found}, not {right}" for what, found, right in pairs if found != right]


def _remote_file(servers: Servers, receipt: Mapping[str, Any]) -> bytes | None:
    upload = receipt["upload"]
    path = servers.remote / (upload["name"] if upload else "-")
    return path.read_bytes() if path.is_file() else None


def _compare_remote(
    drop: ExpectedDrop, receipt: Mapping[str, Any], remote: bytes | None
) -> list[str]:
    if not drop.uploaded:
        return []
    if remote is None:
        return ["the remote file is not there"]
    if hashlib.sha256(remote).hexdigest() != receipt["upload"]["sha256"]:
        return ["the remote file is not the one in the receipt"]
    return []


def _addresses(remote: bytes, feed: Feed) -> list[str]:
    """Whom a remote file names."""
    text = io.StringIO(remote.decode("utf-8"), newline="")
    rows = csv.DictReader(text, delimiter=feed.csv.delimiter, quotechar=feed.csv.quote)
    return [fold(row[feed.recipient.column]) for row in rows]


def _compare_list(
    drop: ExpectedDrop, people: Sequence[str], addresses: Sequence[str] | None
) -> list[str]:
    found = []
    if len(people) != drop.list_count:
        found.append(f"the list holds {len(people)}, not {drop.list_count}")
    if addresses is not None and sorted(people) != sorted(addresses):
        found.append("the list holds others than the remote file names")
    return found


def _refused_among(expected: Expected, drop: ExpectedDrop, people: Collection[str]) -> list[str]:
    """Whoever must not be mailed and is there all the same; a list left alone may hold them."""
    if drop.fate != "archived":
        return []
    addresses = expected.refused_people(drop.day)
    refused = {each for each in people if is_refused(each, addresses, expected.blocklist)}
    return [f"{len(refused)} people who must not be mailed are there"] if refused else []
