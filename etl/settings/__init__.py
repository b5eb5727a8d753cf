"""What `etl.toml` may say: every key, its default and its bounds. Frozen once read.

Nothing is read from disk here; `etl.config` reads, and checks what belongs together.
"""

from typing import Annotated, Literal

from pydantic import Field

from etl.settings.campaign import Client, ExportFile, Exports, ScheduleTable
from etl.settings.feeds import (
    AttributeTable,
    Consent,
    Csv,
    Feed,
    Guards,
    List,
    Output,
    Recipient,
)
from etl.settings.values import AbsolutePath, Count, Name, Positive, Secret, Share, Table

__all__ = [
    "Archive", "AttributeTable", "Client", "Consent", "Csv", "ExportFile", "Exports", "FarSide",
    "Feed", "Folders", "Guards", "LimitsTable", "List", "Output", "Recipient", "Responses", "Scan",
    "ScheduleTable", "Secret", "Settings", "Sftp", "StoreKeyTable", "Suppression",
]  # fmt: skip


class Folders(Table):
    """The folders a user sees, and the daemon's own."""

    inbox: AbsolutePath
    quarantine: AbsolutePath
    receipts: AbsolutePath
    responses: AbsolutePath
    state: AbsolutePath
    """On a local disk, 0700."""


class Scan(Table):
    """How the inbox is looked at."""

    every_seconds: Positive = 2.0
    sightings: Annotated[int, Field(ge=1, le=1000)] = 3
    """Scans in a row that must see a file unchanged before it is complete."""
    watch: Literal["native", "polling", "off"] = "native"
    """watchdog's observer, a mere hint; `polling` or `off` for shares."""


class Archive(Table):
    """Days that archived drops and cases are kept."""

    days: Count = 30
    quarantine_days: Count = 90


class FarSide(Table):
    """How often and how long a far side is tried before a batch is held."""

    tries: Annotated[int, Field(ge=1, le=20)] = 5
    first_seconds: Positive = 1.0
    most_seconds: Positive = 60.0
    again_minutes: Positive = 5.0
    later_minutes: Positive = 30.0
    """A held batch is tried again after `again_minutes`, from the fourth time `later_minutes`."""


class LimitsTable(Table):
    """What a drop may cost."""

    file_bytes: Count = 2_000_000_000
    line_bytes: Count = 65_536
    columns: Count = 512


class StoreKeyTable(Table):
    """One key of the suppression store; the first listed serves new rows, all serve look-ups."""

    id: Name
    secret: Secret


class Suppression(Table):
    """Who must not be mailed: how fresh that knowledge must be."""

    keys: Annotated[list[StoreKeyTable], Field(min_length=1)]
    fetch_every_minutes: Positive = 60.0
    """Besides the fetch before every transfer."""
    max_age_hours: Annotated[float, Field(gt=0, le=720)] = 24.0
    max_shrink: Share = 0.5
    """A blocklist that lost more than this share since the last fetch holds everything."""


class Responses(Table):
    """The CRM's files of bounces and unsubscriptions."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ";"
    empty: Literal["header", "none"] = "header"
    """What an empty window gives: a file with the header alone, or no file."""
    taken: Literal["not-asked", "moved", "receipt"] = "not-asked"
    """How the CRM shows that it has taken a file: it moves it away, or puts one beside it."""
    taken_suffix: Annotated[str, Field(pattern=r"\.[A-Za-z0-9]+")] = ".taken"
    """What the name of that file beside it ends with."""
    wait_minutes: Positive = 60.0
    """No upload before the CRM has taken its files, but for this long at most."""


class Sftp(Table):
    """One SFTP account and folder."""

    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    user: str
    key: Secret
    """The private key: Ed25519, or RSA of 2048 bits and more (Campaign takes RSA)."""
    passphrase: Secret | None = None
    host_keys: Annotated[list[str], Field(min_length=1, max_length=4)]
    """The server's pinned keys as in known_hosts: "ssh-ed25519 AAAA…"; two for a rotation."""
    folder: str = "."
    connect_seconds: Positive = 5.0
    answer_seconds: Positive = 30.0
    put_seconds: Positive = 3600.0
    tcp_user_timeout_seconds: Positive = 30.0


class Settings(Table):
    """The whole configuration."""

    version: Literal[1]
    instance: Name = "etl"
    folders: Folders
    scan: Scan = Scan()
    archive: Archive = Archive()
    far_side: FarSide = FarSide()
    limits: LimitsTable = LimitsTable()
    suppression: Suppression
    responses: Responses = Responses()
    sftp: dict[Name, Sftp] = Field(default_factory=dict)
    client: dict[Name, Client]
    feed: Annotated[list[Feed], Field(min_length=1)]
