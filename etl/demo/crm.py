"""The CRM's side of the loop: its next export leaves out whom the files in `responses/` name.

It does what any CRM would do with them, by the standard library; no code of the service is used.
"""

import csv
from pathlib import Path

FOLDER = "crm"
"""Where the CRM keeps the exports it makes, below the demo's folder."""
KINDS = ("bounces", "unsubscriptions")
DELIMITER = ";"
Entity = tuple[str, str]
"""A record's kind and id in the CRM: `entity-type`, `entity-id`."""


def named(responses: Path, kind: str) -> dict[str, set[Entity]]:
    """Whom the files of a kind name, by file; those of people the CRM does not have are left."""
    found = {}
    for path in sorted(responses.glob(f"{kind}-*.csv")):
        if not path.name.startswith(f"{kind}-unassigned-"):
            with path.open(encoding="utf-8", newline="") as text:
                rows = csv.DictReader(text, delimiter=DELIMITER)
                found[path.name] = {(row["entity-type"], row["entity-id"]) for row in rows}
    return found


def export(before: Path, responses: Path, target: Path) -> None:
    """Write the export that follows on `before`: the same records but for whom any file names."""
    told = {
        entity
        for kind in KINDS
        for entities in named(responses, kind).values()
        for entity in entities
    }
    with (
        before.open(encoding="utf-8", newline="") as source,
        target.open("w", encoding="utf-8", newline="") as text,
    ):
        records = csv.reader(source, delimiter=DELIMITER)
        header = next(records)
        of_type, of_id = header.index("entity-type"), header.index("entity-id")
        writer = csv.writer(text, delimiter=DELIMITER, lineterminator="\r\n")
        writer.writerow(header)
        writer.writerows(each for each in records if (each[of_type], each[of_id]) not in told)
