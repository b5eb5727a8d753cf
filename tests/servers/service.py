"""The whole setting of an end-to-end test: sshd, the simulator and `etl`, each its own process."""

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from etl.sandbox.sftp import make_key
from tests.servers.far_sides import FarSides
from tests.servers.nursery import Child, Nursery

ETL = Path(sys.executable).with_name("etl")
"""The console script as installed beside this interpreter."""
MANDATOR = 4242
PASSWORD = "canary-password-7Q"
STORE_KEY = "canary-store-key-0123456789"
COLUMNS = ["opt-in-id", "description", "media-type", "entity-type", "entity-id", "email",
           "firstname", "lastname"]  # fmt: skip
ATTRIBUTES = ["firstname", "lastname", "entity-id"]
SCHEMA = {
    "fields": [
        {"name": name, "type": "string"}
        | ({"format": "email", "constraints": {"required": True}} if name == "email" else {})
        for name in COLUMNS
    ]
}


def person(number: int, **changed: str) -> dict[str, str]:
    """One made-up person of a drop."""
    return {
        "opt-in-id": "consent-1", "description": "Newsletter", "media-type": "EMAIL",
        "entity-type": "contact", "entity-id": f"{number:05}",
        "email": f"p{number}@example.org", "firstname": f"Vorname{number}", "lastname": "Müßig",
    } | changed  # fmt: skip


def people(count: int, first: int = 1) -> list[dict[str, str]]:
    """Made-up people with consecutive numbers."""
    return [person(number) for number in range(first, first + count)]


def as_csv(rows: list[dict[str, str]], columns: list[str] | None = None) -> bytes:
    """A drop of these rows: `;`, CRLF, UTF-8."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns or COLUMNS, delimiter=";", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


class Setting:
    """Folders, far sides and configuration; `etl` runs inside `with`."""

    def __init__(
        self, root: Path, feeds: int = 1, *, far: FarSides | None = None,
        mandator: int = MANDATOR, first_list: int = 100, nursery: Nursery | None = None,
        **switches: Any,
    ) -> None:  # fmt: skip
        """Far sides of its own, or a client and lists of its own on those of many.

        With a nursery the daemon is born there, else it is the console script as installed.
        """
        self.root = root
        self.far = far
        self.nursery = nursery
        self.mandator, self.first_list = mandator, first_list
        self.feeds = feeds
        self.switches = switches
        self.child: subprocess.Popen[bytes] | Child | None = None
        self.variables: dict[str, str] = {}
        self.extra: dict[str, Any] = {}
        """Changes to feed tables: `extra["a"] = {"list": ...}`."""
        self.tables = ""
        """More TOML at the top of the configuration."""
        self.scan = "every_seconds = 0.1\nsightings = 2"
        self.again = "again_minutes = 0.02\nlater_minutes = 0.05"
        """When a held batch is tried again."""
        self.client_tables = ""
        self.simulator_options: list[str] = []
        for name in ("inbox", "quarantine", "receipts", "responses", "secret"):
            (root / name).mkdir(exist_ok=True)
        self.inbox, self.receipts_folder = root / "inbox", root / "receipts"
        self.quarantine, self.responses = root / "quarantine", root / "responses"
        self.state = root / "state"
        self.config = root / "etl.toml"
        self.log = root / "etl.log"
        self.call_log = root / "calls.jsonl"
        (root / "secret" / "password").write_text(PASSWORD + "\n")
        (root / "secret" / "store").write_text(STORE_KEY + "\n")
        (root / "schema.json").write_text(json.dumps(SCHEMA))
        if far is None:
            self.public_key = make_key(root / "secret" / "key")
        else:
            shutil.copy(far.key, root / "secret" / "key")
        self.remote_folder = "" if far is None else f"/{mandator}"

    # --- far sides ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        if self.far is None:
            own = FarSides(self.root, self.simulator_options, self.public_key)
            self.far = self._stack.enter_context(own)
        self.sshd, self.control = self.far.sshd, self.far.control
        self.url, self.ca_file = self.far.url, self.far.ca_file
        if self.remote_folder:
            self.sshd.make_folder(self.files)
        self.control.add_client(mandator=self.mandator, user="api", password=PASSWORD)
        for number in range(self.feeds):
            self.control.add_list(
                mandator=self.mandator, list_id=self.first_list + number, name=f"List {number}",
                attributes={"firstname": "STRING", "lastname": "STRING", "entity-id": "STRING"},
            )  # fmt: skip
        if self.switches:
            self.control.set_switches(**self.switches)
        self.write_config()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.kill()
        finally:
            self._stack.close()

    # --- configuration -----------------------------------------------------------------------

    def feed(self, number: int) -> str:
        """The name of a feed: a, b, c …"""
        return chr(ord("a") + number)

    def write_config(self) -> None:
        """Write `etl.toml` for the far sides as they are now."""
        lines = [
            "version = 1",
            self.tables,
            "[folders]",
            *(f'{n} = "{self.root / n}"' for n in ("inbox", "quarantine", "receipts", "responses")),
            f'state = "{self.state}"',
            "[scan]", self.scan,
            "[far_side]", "first_seconds = 0.05", "most_seconds = 0.4",
            self.again,
            "[suppression]",
            f'keys = [{{id = "k1", secret = {{file = "{self.root}/secret/store"}}}}]',
            "[sftp.main]", f'host = "{self.sshd.host}"', f"port = {self.sshd.port}",
            f'user = "{self.sshd.user}"', f'key = {{file = "{self.root}/secret/key"}}',
            f'host_keys = ["{self.sshd.host_key}"]',
            f'folder = "{self.sshd.remote}{self.remote_folder}"',
            "connect_seconds = 2", "answer_seconds = 5",
            "[client.main]", f"mandator = {self.mandator}", 'user = "api"',
            f'password = {{file = "{self.root}/secret/password"}}',
            f'endpoint = "{self.url}/"', f'ca_file = "{self.ca_file}"', "chunk_rows = 10",
            "read_seconds = 5", "call_seconds = 10",
            self.client_tables,
        ]  # fmt: skip
        for number in range(self.feeds):
            lines += self._feed_table(number)
        self.config.write_text("\n".join(lines) + "\n")

    def _feed_table(self, number: int) -> list[str]:
        name = self.feed(number)
        table = {
            "name": f'"{name}"',
            "pattern": f"'{name}(_(?P<date>[0-9]{{8}}))?\\.csv'",
            "schema": f'"{self.root}/schema.json"',
            "kind": '"regular"',
            "client": '"main"',
            "sftp": '"main"',
            "list": f'{{id = {self.first_list + number}, name = "List {number}"}}',
            "consent": '{opt-in-id = "consent-1", description = "Newsletter"}',
            "attributes": "{" + ", ".join(f'{n} = "{n}"' for n in ATTRIBUTES) + "}",
            "guards": "{min_rows = 1, believe_count_after_seconds = 0.5}",
        } | self.extra.get(name, {})
        return ["[[feed]]", *(f"{key} = {value}" for key, value in table.items() if value)]

    # --- etl -----------------------------------------------------------------------------------

    def command(self, *arguments: str) -> list[str]:
        """A command line of the installed `etl`."""
        return [str(ETL), *arguments, "--config", str(self.config)]

    def environment(self) -> dict[str, str]:
        """The environment of every process of ours."""
        return {**os.environ, "NO_COLOR": "1", "POLARS_MAX_THREADS": "2", **self.variables}

    def etl(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=timeout,
            stdin=subprocess.DEVNULL, env=self.environment(), check=False,
        )  # fmt: skip

    def start(self, *wrapper: str) -> None:
        """Start `etl run`, perhaps under another program such as strace."""
        if self.nursery is not None:
            arguments = ["run", "--config", str(self.config)]
            self.child = self.nursery.born(arguments, self.log, self.environment())
            return
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [*wrapper, *self.command("run")], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment(), start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL to the daemon and whatever runs it."""
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait(10)
            self.child = None

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.child is not None
        self.child.terminate()
        code = self.child.wait(60)
        self.child = None
        return code

    # --- drops and what came of them -----------------------------------------------------------

    def drop(self, name: str, content: bytes | list[dict[str, str]]) -> None:
        """Put a drop into the inbox as a CRM job does: beside, then renamed."""
        data = content if isinstance(content, bytes) else as_csv(content)
        (self.inbox / f".{name}").write_bytes(data)
        (self.inbox / f".{name}").rename(self.inbox / name)

    def receipts(self) -> dict[str, list[dict[str, Any]]]:
        """Receipts by the drop's name, oldest batch first."""
        found: dict[str, list[dict[str, Any]]] = {}
        for path in sorted(self.receipts_folder.glob("[!.]*.receipt.json")):
            receipt = json.loads(path.read_text())
            found.setdefault(receipt["drop"]["name"], []).append(receipt)
        return found

    def receipt(self, name: str) -> dict[str, Any] | None:
        """The receipt of the newest drop of that name."""
        found = self.receipts().get(name)
        return found[-1] if found else None

    def wait(self, condition: Callable[[], Any], seconds: float = 45) -> Any:
        """Wait until something is true and return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            if self.child is not None and self.child.poll() is not None:
                raise AssertionError(f"etl ended: {self.log.read_text()[-3000:]}")
            time.sleep(0.05)
        raise AssertionError(f"waited in vain: {self.log.read_text()[-3000:]}")

    def wait_for(self, name: str, *fates: str, seconds: float = 45) -> dict[str, Any]:
        """Wait for the receipt of a drop with one of these fates."""

        def found() -> dict[str, Any] | None:
            receipt = self.receipt(name)
            return receipt if receipt and receipt["fate"] in fates else None

        result: dict[str, Any] = self.wait(found, seconds)
        return result

    def list_ids(self, number: int = 0) -> list[str]:
        """The recipient ids in a feed's list, in order."""
        return [row["id"] for row in self.control.list_content(list_id=self.first_list + number)]

    def remote(self) -> dict[str, bytes]:
        """The files on the SFTP server."""
        return {path.name: path.read_bytes() for path in sorted(self.files.iterdir())}

    @property
    def files(self) -> Path:
        """Where uploaded files arrive here."""
        return Path(f"{self.sshd.folder}{self.remote_folder}")

    def calls(self, method: str | None = None) -> list[dict[str, Any]]:
        """The simulator's call log."""
        found: list[dict[str, Any]] = self.control.calls()
        return [call for call in found if method in (None, call["method"])]


@contextlib.contextmanager
def setting(root: Path, feeds: int = 1, **switches: Any) -> Iterator[Setting]:
    """A setting whose processes end with the block."""
    with Setting(root, feeds, **switches) as made:
        yield made
