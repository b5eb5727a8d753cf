"""What a drop's life needs of the world, put together once by the composition root."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from etl.config import Config
from etl.durable import KnownFolder
from etl.extract.inbox import Inbox
from etl.extract.suppressions import SuppressionStore
from etl.journal import Journal
from etl.ports import Clock, FileDrop, RecipientList, Responses


@dataclass(frozen=True, slots=True)
class Campaign:
    """The two ports of one Campaign client."""

    lists: RecipientList
    responses: Responses


@dataclass(frozen=True, slots=True)
class World:
    """Configuration, memory, ports and folders of one instance."""

    config: Config
    journal: Journal
    store: SuppressionStore
    inbox: Inbox
    responses: KnownFolder
    receipts: KnownFolder
    quarantine: KnownFolder
    clock: Clock
    drops: Mapping[str, FileDrop]
    """By the name of the sftp account."""
    accounts: Mapping[str, str]
    """user@host:port/folder of each sftp account."""
    campaigns: Mapping[str, Campaign]
    """By the name of the client."""
    token: Callable[[int], str] = secrets.token_hex
    """So many random bytes as hex: what makes a name one of its own."""

    @property
    def batches(self) -> Path:
        """The folder of private copies and staged rows, one folder a batch."""
        return self.config.settings.folders.state / "batches"

    @property
    def archive(self) -> Path:
        """The folder of drops that ended well."""
        return self.config.settings.folders.state / "archive"
