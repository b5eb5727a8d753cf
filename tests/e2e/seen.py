"""What the end-to-end tests look at: what a run left for the CRM, for ops and in the journal."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.servers.service import PASSWORD, Setting

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"


def schema_errors(name: str, document: object) -> list[str]:
    """What speaks against a document by one of our own schemas."""
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    checker = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [error.message for error in checker.iter_errors(document)]


def every_receipt_is_sound(setting: Setting) -> bool:
    """Whether every receipt there is keeps to the schema."""
    receipts = [one for several in setting.receipts().values() for one in several]
    return bool(receipts) and not any(schema_errors("receipt", one) for one in receipts)


def told(setting: Setting, kind: str) -> list[dict[str, str]]:
    """Every row of the CRM's files `bounces-…` or `unsubscriptions-…`, oldest file first."""
    rows: list[dict[str, str]] = []
    files = sorted(
        setting.responses.glob(f"{kind}-*.csv"), key=lambda path: path.stat().st_mtime_ns
    )
    for path in files:
        text = path.read_bytes().decode("utf-8")
        rows += csv.DictReader(io.StringIO(text, newline=""), delimiter=";")
    return rows


def case_folder(setting: Setting, receipt: dict[str, Any]) -> Path:
    """The case that a receipt names."""
    assert receipt["case"]
    return setting.quarantine / receipt["case"]


def report(folder: Path) -> dict[str, Any]:
    """A case's report, which keeps to the schema."""
    found: dict[str, Any] = json.loads((folder / "report.json").read_text("utf-8"))
    assert schema_errors("report", found) == []
    return found


def table(path: Path) -> list[dict[str, str]]:
    """A table of a case as a spreadsheet reads it."""
    text = path.read_bytes().decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=";"))


def status(setting: Setting) -> dict[str, Any]:
    """What `etl status --json` tells."""
    done = setting.etl("status", "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def clears(setting: Setting) -> dict[int, int]:
    """How often each list was cleared, by the simulator's call log."""
    found: dict[int, int] = {}
    for call in setting.calls("clear"):
        found[call["list_id"]] = found.get(call["list_id"], 0) + 1
    return found


def add_line(setting: Setting, table_name: str, line: str) -> None:
    """Put one more key into a table of the configuration that is written already."""
    text = setting.config.read_text("utf-8")
    assert text.count(f"{table_name}\n") == 1
    setting.config.write_text(text.replace(f"{table_name}\n", f"{table_name}\n{line}\n"), "utf-8")


def add_client(
    setting: Setting, name: str, mandator: int, lists: list[int], **attributes: str
) -> None:
    """One more Campaign client with lists of its own; the feeds must name it."""
    setting.control.add_client(mandator=mandator, user="api", password=PASSWORD)
    types = {"firstname": "STRING", "lastname": "STRING", "entity-id": "STRING"} | attributes
    for list_id in lists:
        setting.control.add_list(
            mandator=mandator, list_id=list_id, name=f"List {list_id}", attributes=types
        )
    setting.client_tables += "\n".join(
        (
            f"[client.{name}]", f"mandator = {mandator}", 'user = "api"',
            f'password = {{file = "{setting.root}/secret/password"}}',
            f'endpoint = "{setting.url}/"', f'ca_file = "{setting.ca_file}"', "chunk_rows = 10",
            "read_seconds = 5", "call_seconds = 10", "",
        )
    )  # fmt: skip
