# ruff: noqa: INP001 - a script that lies beside data, no package
"""Write the drop of 100,000 contacts, always the same bytes: `python make_big.py TARGET`.

Among the rows, counted from 1: every 10,000th has no address (7, 10007, ...), every 5,000th has an
address on the wildcard-blocked domain (11, 5011, ...), every 20,000th repeats the address of the
row before it (13, 20013, ...). That makes 10 rejected, 20 suppressed, 5 rejected as repeated.
"""

import csv
import random
import sys
from collections.abc import Iterator
from pathlib import Path

ROWS = 100_000
SEED = 2026
COLUMNS = (
    "opt-in-id", "description", "media-type", "entity-type", "entity-id", "email", "salutation",
    "title", "firstname", "lastname", "street", "zip", "city", "country", "language", "birthday",
    "customer-number", "revenue", "newsletter-since", "notes",
)  # fmt: skip
FIRST = {"Frau": ("Änne", "Käthe", "Zoë", "Renate"), "Herr": ("Björn", "Jörg", "Götz", "Uwe")}
LAST = ("Müller", "Schäfer", "Weiß", "Groß", "Kühn", "Jäger", "Voß", "Böhme", "Lange", "Köhler")
TOWNS = (("01067", "Dresden"), ("04109", "Leipzig"), ("80331", "München"), ("50667", "Köln"))
NOTES = ("", "", "", "ruft zurück; vormittags", 'sagt "gern wieder"', "zwei\nZeilen")


def address(number: int) -> str:
    """Return the address of a row."""
    if number % 10_000 == 7:  # noqa: PLR2004 - see above
        return f"person{number}.example.org"
    if number % 5_000 == 11:  # noqa: PLR2004 - see above
        return f"person{number}@gesperrt.test"
    return f"person{number - (number % 20_000 == 13)}@example.org"  # noqa: PLR2004 - see above


def rows(count: int) -> Iterator[tuple[str, ...]]:
    """Give the rows in order."""
    chance = random.Random(SEED)  # noqa: S311 - made-up people, no secret
    for number in range(1, count + 1):
        salutation = chance.choice(("Frau", "Herr"))
        code, town = chance.choice(TOWNS)
        yield (
            "NL-2026-MASSE", "Newsletter", "EMAIL", "contact", f"B-{number:06d}", address(number),
            salutation, "", chance.choice(FIRST[salutation]), chance.choice(LAST),
            f"Lange Straße {chance.randint(1, 200)}", code, town, "DE", "de",
            f"{chance.randint(1, 28):02d}.{chance.randint(1, 12):02d}.{chance.randint(1940, 2005)}",
            f"{number:08d}", f"{chance.randint(0, 9999)},{chance.randint(0, 99):02d}", "",
            chance.choice(NOTES),
        )  # fmt: skip


def write(target: Path, count: int = ROWS) -> None:
    """Write header and rows to `target`."""
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows(count))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
