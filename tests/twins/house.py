"""A whole instance without network: real folders, journal and store, twins for the far sides."""

import json
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from etl.config import Config, build
from etl.daemon import Daemon
from etl.durable import KnownFolder
from etl.extract.inbox import Inbox
from etl.extract.keyed import StoreKey
from etl.extract.suppressions import open_store
from etl.journal import Journal
from etl.world import Campaign, World
from tests.servers.service import COLUMNS, SCHEMA, as_csv
from tests.twins.clock import TwinClock
from tests.twins.file_drop import TwinDrop
from tests.twins.recipient_list import OneList, TwinList
from tests.twins.responses import TwinResponses

SECRET = "0123456789abcdef-test"


class Death(BaseException):
    """The process dies here: nothing of ours may catch it."""


class House:
    """One instance; `run` is `etl once`, a Death in between is a death of the process."""

    def __init__(self, root: Path, feeds: int = 1, **guards: Any) -> None:
        self.root = root
        for name in ("inbox", "quarantine", "receipts", "responses", "state"):
            (root / name).mkdir()
        for name in ("batches", "archive"):
            (root / "state" / name).mkdir()
        (root / "schema.json").write_text(json.dumps(SCHEMA))
        (root / "secret").write_text(SECRET)
        self.clock = TwinClock()
        self.other_drop = TwinDrop()
        self.drop_twin, self.lists, self.responses = TwinDrop(), TwinList(), TwinResponses()
        self.responses.now_ms = int(self.clock.now.timestamp() * 1000)
        self.guards = {"min_rows": 1, "believe_count_after_seconds": 0} | guards
        self.feeds = [self.feed_table(number) for number in range(feeds)]
        for number in range(feeds):
            self.lists.lists[100 + number] = OneList(f"List {number}", ("firstname", "lastname"))
        self.client: dict[str, Any] = {}
        """Further keys of the one client's table; `response_keys` those of the CRM's files."""
        self.response_keys: dict[str, Any] = {}
        self.world: World | None = None
        self.config: Config | None = None
        """Read already; None to read it at every start."""
        self.token: Callable[[int], str] = secrets.token_hex

    def feed_table(self, number: int) -> dict[str, Any]:
        """The configuration of one feed: a, b, …"""
        name = chr(ord("a") + number)
        return {
            "name": name,
            "pattern": rf"{name}_(?P<date>\d+)\.csv",
            "schema": str(self.root / "schema.json"),
            "kind": "regular",
            "client": "main",
            "sftp": "main",
            "list": {"id": 100 + number, "name": f"List {number}"},
            "consent": {"opt-in-id": "consent-1", "description": "Newsletter"},
            "attributes": {"firstname": "firstname", "lastname": "lastname"},
            "guards": self.guards,
        }

    def config_table(self) -> dict[str, Any]:
        """The whole configuration."""
        secret = {"file": str(self.root / "secret")}
        names = ("inbox", "quarantine", "receipts", "responses", "state")
        return {
            "version": 1,
            "folders": {name: str(self.root / name) for name in names},
            "scan": {"every_seconds": 1, "sightings": 2},
            "far_side": {"first_seconds": 1, "again_minutes": 5, "later_minutes": 30},
            "suppression": {"keys": [{"id": "k", "secret": secret}]},
            "sftp": {
                name: {"host": "h", "user": "u", "key": secret, "host_keys": ["x"]}
                for name in ("main", "other")
            },
            "responses": self.response_keys,
            "client": {
                "main": {"mandator": 1, "user": "u", "password": secret, "chunk_rows": 4}
                | self.client
            },
            "feed": self.feeds,
        }

    def open(self) -> World:
        """Open journal and store as a start of the process does."""
        config = self.config or build(self.config_table(), {})
        state = self.root / "state"
        self.world = World(
            config=config,
            journal=Journal(state / "journal.sqlite3"),
            store=open_store(state / "store.sqlite3", [StoreKey("k", SECRET.encode())]),
            inbox=Inbox(self.root / "inbox", "one"),
            responses=KnownFolder.at(self.root / "responses"),
            receipts=KnownFolder.at(self.root / "receipts"),
            quarantine=KnownFolder.at(self.root / "quarantine"),
            clock=self.clock,
            drops={"main": self.drop_twin, "other": self.other_drop},
            accounts={name: f"u@{name}:22/." for name in ("main", "other")},
            campaigns={"main": Campaign(self.lists, self.responses)},
            token=self.token,
        )
        return self.world

    def close(self) -> None:
        """End the process."""
        if self.world is not None:
            self.world.journal.close()
            self.world.store.close()
            self.world = None

    def run(self) -> int:
        """`etl once`: take what is there, then end."""
        try:
            return Daemon(self.open(), threading.Event(), threading.Event()).once()
        finally:
            self.close()

    def run_until_it_lives(self, deaths: int = 3) -> int:
        """Run, and start again after every Death, at most `deaths` times."""
        for _ in range(deaths):
            try:
                return self.run()
            except Death:
                continue
        return self.run()

    def drop(self, name: str, rows: list[dict[str, str]] | bytes, mtime: int | None = None) -> None:
        """Put a drop into the inbox."""
        path = self.root / "inbox" / name
        path.write_bytes(rows if isinstance(rows, bytes) else as_csv(rows, COLUMNS))
        if mtime is not None:
            os.utime(path, (mtime, mtime))

    def receipts(self) -> dict[str, dict[str, Any]]:
        """The newest receipt of each drop name."""
        found = {}
        for path in sorted((self.root / "receipts").glob("[!.]*.json")):
            receipt = json.loads(path.read_text())
            found[receipt["drop"]["name"]] = receipt
        return found

    def ids(self, number: int = 0) -> list[str]:
        """Recipient ids in a feed's list."""
        return list(self.lists.lists[100 + number].rows)

    def count(self, verb: str) -> int:
        """How often the list port was asked a verb."""
        return sum(1 for called, _ in self.lists.calls if called == verb)

    def ask(self, verb: str, batch: str, *codes: str) -> None:
        """What `etl release` and `etl discard` write."""
        journal = Journal(self.root / "state" / "journal.sqlite3")
        journal.requests.ask(verb, batch, codes, "test", "tester", self.clock.wall())
        journal.close()
