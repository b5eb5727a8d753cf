"""What no single key of the configuration can show: names, lists, folders that do not go together.

It reads nothing and compiles nothing; every finding is a Problem.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from etl.errors import Problem
from etl.ports import NEEDED, SUPPRESSING, Stream
from etl.settings import Client, Exports, Feed, Settings
from etl.settings.campaign import TOLD

SYSTEM_ATTRIBUTES = frozenset(
    {
        "Created", "Modified", "Opt-in Source", "Opt-in Date",
        "Erstellt am", "Geändert am", "Opt-in-Quelle", "Opt-in-Datum",
        "BROADMAIL_ID", "WELLE_ID",
    }
)  # fmt: skip
"""Attributes that no client writes, in both languages (recorded traffic; AptecoCustomChannels)."""


def cross_check(settings: Settings) -> Iterator[Problem]:
    """What no single key can show."""
    for where, names in (
        ("feed", [feed.name for feed in settings.feed]),
        ("suppression.keys", [key.id for key in settings.suppression.keys]),
    ):
        for name, times in Counter(names).items():
            if times > 1:
                yield Problem(where, f"{name} is there {times} times")
    for feed in settings.feed:
        yield from _check_feed(settings, feed)
    for name, client in settings.client.items():
        yield from _check_client(name, client)
        yield from _check_source(settings, name, client)
        rules = {feed.recipient.id for feed in settings.feed if feed.client == name}
        if len(rules) > 1:
            yield Problem(
                f"client.{name}",
                "its feeds use both recipient id rules",
                "a person has one recipient id per client; use one rule",
            )
    for name, account in settings.sftp.items():
        if account.key.env is not None:
            yield Problem(f"sftp.{name}.key", "must be a file or a credential")
    yield from _check_folders(settings)


def _check_folders(settings: Settings) -> Iterator[Problem]:
    folders = settings.folders.model_dump()
    for name, path in folders.items():
        for other, root in folders.items():
            if name != other and path.is_relative_to(root) and (path != root or name < other):
                yield Problem(f"folders.{name}", f"lies in folders.{other}")


def shared_lists(table: Mapping[str, Any]) -> Iterator[Problem]:
    """One list belongs to one feed, whatever its client is called; for tables that may be wrong."""
    feeds, clients = table.get("feed"), table.get("client")
    lists: dict[tuple[str, str], list[str]] = {}
    for feed in feeds if isinstance(feeds, list) else ():
        try:
            # The table may be anything here; what does not fit is caught below.
            client = clients[feed["client"]]["mandator"]  # type: ignore[index]  # see above
            lists.setdefault((str(client), str(feed["list"]["id"])), []).append(str(feed["name"]))
        except (KeyError, TypeError, IndexError):
            continue  # told as a problem of its own
    for (mandator, list_id), names in lists.items():
        if len(names) > 1:
            yield Problem(
                f"feed.{names[-1]}.list.id",
                f"list {list_id} of client {mandator} belongs to {', '.join(names)}",
                "one list belongs to one feed; consents are never mixed",
            )


def _check_feed(settings: Settings, feed: Feed) -> Iterator[Problem]:
    where = f"feed.{feed.name}"
    if feed.client not in settings.client:
        yield Problem(f"{where}.client", f"there is no client {feed.client}")
    if feed.sftp is not None and feed.sftp not in settings.sftp:
        yield Problem(f"{where}.sftp", f"there is no sftp account {feed.sftp}")
    if feed.sftp is None and feed.list is None:
        yield Problem(where, "has neither sftp nor list, so its drops would go nowhere")
    if feed.attributes and feed.list is None:
        yield Problem(f"{where}.attributes", "there is no list to fill them in")
    for name in sorted(SYSTEM_ATTRIBUTES & feed.attributes.keys()):
        yield Problem(f"{where}.attributes.{name}", "is written by Campaign itself")
    if feed.done_marker is not None and not re.fullmatch(r"\.[A-Za-z0-9]+", feed.done_marker):
        yield Problem(f"{where}.done_marker", "must be a dot and letters, like .done")
    if feed.done_marker in {".part", ".partial", ".tmp", ".temp", ".filepart", ".swp"}:
        yield Problem(f"{where}.done_marker", "is a name that is ignored in the inbox")


def _check_client(name: str, client: Client) -> Iterator[Problem]:
    where = f"client.{name}"
    yield from _check_streams(where, client)
    if name.startswith("unassigned"):
        yield Problem(where, "a name that begins with `unassigned` is kept for the CRM's files")
    try:
        address = urlsplit(client.endpoint)
        _ = address.port
    except ValueError:
        yield Problem(f"{where}.endpoint", "is no address")
        return
    if address.scheme == "http" and not _is_loopback(address.hostname or ""):
        yield Problem(f"{where}.endpoint", "plain http goes to this machine only; use https")
    elif address.scheme not in {"http", "https"} or not address.hostname:
        yield Problem(f"{where}.endpoint", "must be an https address")
    if not address.path.endswith("/"):
        yield Problem(f"{where}.endpoint", "must end in /")


def _check_source(settings: Settings, name: str, client: Client) -> Iterator[Problem]:
    """Response data comes over the closed-loop interface or from export files, not from both."""
    where, exports = f"client.{name}", client.exports
    if exports is None:
        if not client.closed_loop:
            yield Problem(
                f"{where}.closed_loop",
                "without the closed-loop interface, bounces and unsubscriptions come from export "
                "files alone, and none are named",
                f"name them in [{where}.exports], or have the interface booked",
            )
        return
    if client.closed_loop:
        yield Problem(
            f"{where}.exports",
            "is there beside the closed-loop interface",
            "closed_loop = false if it is not booked; else leave the export files out",
        )
    if exports.sftp not in settings.sftp:
        yield Problem(f"{where}.exports.sftp", f"there is no sftp account {exports.sftp}")
    if client.repeating:
        yield Problem(
            f"{where}.repeating",
            "is for the closed-loop interface",
            'say `content = "full"` for each kind of export file',
        )
    if client.header_row:
        yield Problem(
            f"{where}.header_row",
            "is for the closed-loop interface",
            "say `header` for each kind of export file",
        )
    yield from _check_files(f"{where}.exports", exports)


def _check_files(where: str, exports: Exports) -> Iterator[Problem]:
    for key in exports.unknown:
        yield Problem(f"{where}.{key}", "is no key of this service")
    for needed in (Stream.OUT_BOUNCES, Stream.UNSUBSCRIBES):
        if needed not in exports.files:
            yield Problem(
                f"{where}.{needed}",
                "is missing",
                "without these files nobody would know who must not be mailed",
            )


def _check_streams(where: str, client: Client) -> Iterator[Problem]:
    for stream, columns in client.layouts.items():
        for needed in NEEDED[stream]:
            if needed not in columns:
                yield Problem(f"{where}.layouts.{stream}", f"has no column {needed}")
        for column, times in Counter(columns).items():
            if times > 1 and column != "ignore":
                yield Problem(f"{where}.layouts.{stream}", f"has {column} {times} times")
    if client.overlap_hours < client.job_interval_hours:
        yield Problem(
            f"{where}.overlap_hours",
            f"is shorter than job_interval_hours ({client.job_interval_hours:g})",
            "a job that is late would be missed",
        )
    yield from _check_told(where, client)


def _check_told(where: str, client: Client) -> Iterator[Problem]:
    for what in sorted({"opens", "clicks"} & set(client.tell)):
        of_events = client.layouts.get(TOLD[what], ())
        if Stream.MAILINGS not in client.streams and "campaign-id" not in of_events:
            yield Problem(
                f"{where}.tell",
                f"{what} are told for campaigns of the CRM, and nothing says which mailing has one",
                "set campaign_pattern, or a layout with the column campaign-id",
            )
    if client.exports is not None:
        for stream in client.streams:
            if stream not in SUPPRESSING and stream not in client.exports.files:
                yield Problem(f"{where}.exports.{stream}", "is missing, and client.tell needs it")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
