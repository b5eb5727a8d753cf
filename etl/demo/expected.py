"""What `sample_data/expected.json` says: the drops of all days, their outcomes, the people.

It reads that file and the samples' folder, and puts drops where the demo wants them.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etl.demo import crm
from etl.shipped import shipped

FILE = "expected.json"


@dataclass(frozen=True, slots=True)
class ExpectedDrop:
    """One sample and what has to become of it."""

    day: int
    file: str
    """Below the samples' folder."""
    made_by: str | None
    """The script that makes the file, where it is not there ready-made."""
    made_of: str | None
    """The sample the CRM makes the file of during the demo, without whom it was told of."""
    feed: str | None
    what: str
    fate: str
    code: str | None
    check: Mapping[str, Any] | None
    """The receipt's block of that name."""
    uploaded: bool
    list_count: int | None
    """People in the feed's list after the day."""

    @property
    def name(self) -> str:
        """The file's name in the inbox."""
        return Path(self.file).name


@dataclass(frozen=True, slots=True)
class Expected:
    """The samples' folder and all that is expected of it."""

    folder: Path
    drops: Sequence[ExpectedDrop]
    bounced: Sequence[str]
    unsubscribed: Sequence[str]
    unsubscribed_not_exported: Sequence[str]
    """Told by the live check alone: Campaign's export of them comes the next day."""
    blocklist: Sequence[str]
    bounced_between: Sequence[str]
    unsubscribed_between: Sequence[str]
    in_every_list_before: Sequence[str]
    responses: Mapping[int, Mapping[str, frozenset[str]]]
    """By day and file: whom the CRM has been told of by then."""

    def of_day(self, day: int) -> list[ExpectedDrop]:
        """The drops of a day."""
        return [drop for drop in self.drops if drop.day == day]

    def refused_people(self, day: int) -> list[str]:
        """Addresses that must not be mailed on a day; the blocklist's wildcards come apart."""
        people = [*self.bounced, *self.unsubscribed, *self.unsubscribed_not_exported]
        if day > 1:
            people += [*self.bounced_between, *self.unsubscribed_between]
        return people


def read_expected(folder: Path | None = None) -> Expected:
    """Read the expectations of the shipped samples, or of those in `folder`."""
    folder = folder or shipped("sample_data")
    text = json.loads((folder / FILE).read_text("utf-8"))
    people = text["people"]
    drops = [
        ExpectedDrop(
            day=drop["day"],
            file=drop["file"],
            made_by=drop.get("made_by"),
            made_of=drop.get("made_of"),
            feed=drop["feed"],
            what=drop["what"],
            fate=drop["fate"],
            code=drop["code"],
            check=drop["check"],
            uploaded=drop["uploaded"],
            list_count=drop["list_count"],
        )
        for drop in text["drops"]
    ]
    return Expected(
        folder=folder,
        drops=drops,
        bounced=people["bounced"],
        unsubscribed=people["unsubscribed"],
        unsubscribed_not_exported=people["unsubscribed_not_exported"],
        blocklist=people["blocklist"],
        bounced_between=people["between_days"]["bounced"],
        unsubscribed_between=people["between_days"]["unsubscribed"],
        in_every_list_before=people["in_every_list_before"],
        responses={
            int(day): {file: frozenset(addresses) for file, addresses in files.items()}
            for day, files in text["responses"].items()
        },
    )


def put_drop(expected: Expected, drop: ExpectedDrop, folder: Path) -> None:
    """Do what the CRM does: write a drop into the inbox below the demo's folder."""
    target = folder / "inbox" / drop.name
    if drop.made_by is not None:
        script = expected.folder / drop.made_by
        subprocess.run([sys.executable, str(script), str(target)], check=True)
        return
    source = expected.folder / drop.file
    if drop.made_of is not None:
        source = folder / crm.FOLDER / drop.name
        crm.export(expected.folder / drop.made_of, folder / "responses", source)
    shutil.copyfile(source, target)
