"""A scheduled export job: response data as a CSV file in a folder that an SFTP server shows.

The file is written under a temporary name and then renamed, as the public pages ask of every
transfer; its time is the simulator's own. Nothing here knows who reads it.
"""

import csv
import gzip as packing
import io
import os
from pathlib import Path

from etl.sandbox.closed_loop import COLUMNS, belongs
from etl.sandbox.state import Event, World
from etl.sandbox.switches import Switches

TEMPORARY = ".part"
"""End of a name that is not a finished file's."""
_METHODS = {
    "getOutBounces": ("outbounces", "out_bounce_columns"),
    "getUnsubscribes": ("unsubscribes", "unsubscribe_columns"),
    "getMailingUnsubscribes": ("mailing-unsubscribes", "mailing_unsubscribe_columns"),
    "getResponses": ("responses", "response_columns"),
    "getOpens": ("opens", "open_columns"),
    "getClicks": ("clicks", "click_columns"),
    "getMailings": ("mailings", "mailing_columns"),
}
"""By the closed loop's method that gives the same: the stream, and the switch of its columns."""


def write_export(
    world: World,
    mandator: int,
    method: str,
    folder: Path,
    name: str,
    *,
    full: bool = False,
    gzip: bool = False,
    header: bool = True,
    delimiter: str = ";",
    encoding: str = "utf-8",
) -> int:
    """Write what no earlier file of the job holds, or everything; return how many rows.

    A file without rows is written all the same, so that somebody can see that the job lives.
    """
    stream, columns_switch = _METHODS[method]
    client, switches = world.client(mandator), world.switches
    first = 0 if full else client.exported.get(method, 0)
    events = [event for event in client.events[first:] if belongs(event, stream, switches)]
    client.exported[method] = len(client.events)
    columns: tuple[str, ...] = getattr(switches, columns_switch)
    data = _csv(events, columns, switches, header, delimiter).encode(encoding)
    temporary = folder / f"{name}{TEMPORARY}"
    temporary.write_bytes(packing.compress(data, mtime=0) if gzip else data)
    temporary.chmod(0o644)
    seconds = world.now_ms() / 1000
    os.utime(temporary, (seconds, seconds))
    temporary.rename(folder / name)
    return len(events)


def _csv(
    events: list[Event],
    columns: tuple[str, ...],
    switches: Switches,
    header: bool,
    delimiter: str,
) -> str:
    """Rows as the closed loop would list them; nil and empty are the same here."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    if header:
        writer.writerow(columns)
    writer.writerows([COLUMNS[column](event, switches) for column in columns] for event in events)
    return text.getvalue()
