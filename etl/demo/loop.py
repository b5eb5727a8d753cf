"""Whether the loop closed: who said no overnight was not sent, and the CRM's next drop lacks them.

It only looks, from outside: at the drops, the CRM's files and what the proof of the drops found.
"""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from etl.demo import crm
from etl.demo.expected import Expected
from etl.demo.proof import Outcome, fold
from etl.demo.servers import Servers


@dataclass(frozen=True, slots=True)
class Refusal:
    """Somebody who said no between two drops, told by an entity that has the address in the first.

    The entity is its type and id in the CRM, with a blank between.
    """

    how: str
    entity: str
    sent: bool
    """Whether the first drop's remote file or list has them all the same."""
    named_in: Sequence[str]
    """The files for the CRM that name the entity."""
    back: bool
    """Whether the second drop has the entity or the address all the same."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A drop that still had people who said no, and the one that the CRM made of it."""

    before: Outcome
    after: Outcome
    refusals: Sequence[Refusal]
    gaps: Sequence[str]
    """Where the loop is open."""


def prove_loop(servers: Servers, expected: Expected, outcomes: Sequence[Outcome]) -> Loop | None:
    """Follow everybody who said no overnight; None where no drop is made of another."""
    after = next((each for each in outcomes if each.drop.made_of), None)
    if after is None:
        return None
    before = next(each for each in outcomes if each.drop.file == after.drop.made_of)
    old = expected.folder / before.drop.file
    new = servers.folder / crm.FOLDER / after.drop.name
    gaps = [
        f"the receipt of {outcome.drop.name} is of another file"
        for outcome, path in ((before, old), (after, new))
        if not _is_receipt_of(outcome, path)
    ]
    first, second = _people(servers, before, old), _people(servers, after, new)
    refusals = []
    for how, kind, addresses in (
        ("unsubscribed", "unsubscriptions", expected.unsubscribed_between),
        ("bounced", "bounces", expected.bounced_between),
    ):
        files = crm.named(servers.folder / "responses", kind)
        for address in addresses:
            entities = sorted(entity for entity, known in first if known == address)
            if not entities:
                gaps.append(f"nobody in {before.drop.name} has the address {address}")
            for entity in entities:
                refusal = Refusal(
                    how=how,
                    entity=" ".join(entity),
                    sent=address in before.addressed,
                    named_in=[name for name, told in files.items() if entity in told],
                    back=any(entity == each or address == known for each, known in second),
                )
                refusals.append(refusal)
                gaps += _gaps(refusal, kind, before.drop.name, after.drop.name)
    if not refusals:
        gaps.append(f"nobody in {before.drop.name} said no, so nothing is shown")
    return Loop(before, after, refusals, gaps)


def _is_receipt_of(outcome: Outcome, path: Path) -> bool:
    told = outcome.receipt.get("drop", {}).get("sha256")
    return bool(told == hashlib.sha256(path.read_bytes()).hexdigest())


def _people(servers: Servers, outcome: Outcome, path: Path) -> set[tuple[crm.Entity, str]]:
    """The entities of a drop, each with its address."""
    feed = servers.config.find_feed(outcome.drop.feed or "")
    if feed is None:
        return set()
    text = io.StringIO(path.read_bytes().decode(feed.csv.encoding), newline="")
    rows = csv.DictReader(text, delimiter=feed.csv.delimiter, quotechar=feed.csv.quote)
    column = feed.recipient.column
    return {((row["entity-type"], row["entity-id"]), fold(row[column])) for row in rows}


def _gaps(refusal: Refusal, kind: str, before: str, after: str) -> list[str]:
    found = []
    if refusal.sent:
        found.append(f"{refusal.entity} {refusal.how} and was sent all the same, from {before}")
    if not refusal.named_in:
        found.append(f"no {kind} for the CRM name {refusal.entity}")
    if refusal.back:
        found.append(f"{refusal.entity} {refusal.how} and is in {after} all the same")
    return found
