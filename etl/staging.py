"""From a claimed copy to staged bytes: check, suppress by store and live, encode, write durably.

Repeatable at any time from the copy; it uploads nothing, clears nothing and moves no batch.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from etl.batch import Batch
from etl.durable import write_file
from etl.errors import Mismatch, RejectedDrop
from etl.extract.learned import Found, Kind
from etl.extract.suppressions import SuppressionStore
from etl.lifting import bounced_alone, come_back
from etl.settings import Feed
from etl.transform.check import ATTRIBUTE, Checked, CheckPlan, Refusal, check
from etl.transform.encode import OutputDialect, encode
from etl.transform.suppress import suppress, tagged
from etl.world import World

ORIGINAL, ACCEPTED, STAGED = "original", "accepted.csv", "staged.arrow"


@dataclass(frozen=True, slots=True)
class Staged:
    """What a check made of a drop, all of it on disk."""

    rows: int
    facts: Mapping[str, Any]
    """Counts and notes for the receipt."""
    sha256: str
    """Of the file of staged rows."""
    accepted_sha256: str
    """Of the file to upload."""


class Unfit(RejectedDrop):
    """A drop refused by the check, with what the check saw."""

    def __init__(self, refusal: Refusal, checked: Checked | None, content: bytes) -> None:
        super().__init__(refusal.code, **refusal.facts)
        self.refusal = refusal
        self.checked = checked
        self.content = content

    @classmethod
    def of(cls, code: str, **facts: str | float | None) -> "Unfit":
        """A refusal that needs no look into the drop."""
        return cls(Refusal(code, facts), None, b"")


def read_checked(world: World, feed: Feed, batch: Batch) -> tuple[bytes, Checked]:
    """Read the private copy and judge it; Unfit when the drop as a whole is refused.

    Mismatch when the copy is not what was claimed: the disk failed us.
    """
    plan = world.config.plans[feed.name]
    if batch.size_bytes > plan.limits.file_bytes:
        facts = {"size_bytes": batch.size_bytes, "limit": plan.limits.file_bytes}
        raise Unfit(Refusal("too-large", facts), None, b"")
    if not mend_original(world, batch):
        raise Mismatch("disk-error", detail="the private copy is not what was claimed")
    content = (world.batches / batch.id / ORIGINAL).read_bytes()
    found = check(content, plan)
    if isinstance(found, Refusal):
        raise Unfit(found, None, content)
    if found.refusal is not None:
        raise Unfit(found.refusal, found, content)
    return content, found


def mend_original(world: World, batch: Batch) -> bool:
    """Tell whether the private copy is what was claimed; one that is not is made anew.

    It is copied from the claim, which stays in the inbox until the drop has ended.
    """
    path = world.batches / batch.id / ORIGINAL
    if path.exists():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == batch.sha256:
                return True
    claim = world.inbox.sight(batch.id, batch.name)
    if claim is None:
        return False
    copy = world.inbox.copy(batch.id, batch.name, claim, path)
    return copy is not None and copy.sha256 == batch.sha256


def suppressed_now(
    world: World, feed: Feed, rows: pl.DataFrame, drop: str | None = None
) -> pl.DataFrame:
    """Who of `rows` must not be mailed now: one line (record, kind) per reason.

    First our store, then Campaign's own word on everyone the store lets through; what Campaign
    says goes into the store and the CRM's files. With the name of a `drop`, Campaign is also asked
    whether people whom nothing but a bounce keeps out may be mailed again.
    """
    stored = suppressed_by_store(world.store, feed.client, rows).select("record", "kind")
    bounced = [] if drop is None else bounced_alone(rows, stored, feed.recipient.id, drop)
    doubtful = [record for each in bounced for record in each.records]
    certain = stored.filter(~pl.col("record").is_in(doubtful))
    rest = rows.join(certain, on="record", how="anti", maintain_order="left")
    live = refused_live(world, feed, rest)
    refused = set(live["record"])
    asked = [each for each in bounced if refused.isdisjoint(each.records)]
    back = [] if drop is None else come_back(world, feed.client, asked, drop)
    stored = stored.filter(~pl.col("record").is_in(back))
    return pl.concat([stored, live]).unique(maintain_order=True)


def suppressed_by_store(store: SuppressionStore, client: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Who of `rows` must not be mailed by what we know: one line (record, kind, source) each."""
    asked = tagged(rows, [key.secret for key in store.keys])
    entries = store.among(client, asked["key"])
    return suppress(rows, asked, entries, store.patterns(client))


def refused_live(world: World, feed: Feed, rows: pl.DataFrame) -> pl.DataFrame:
    """Whom Campaign itself would not mail now: one line (record, kind) per reason.

    It is asked for every id and every address, as normalised and as dropped.
    """
    of_person = ["recipient_id"]
    if feed.recipient.id == "email":
        of_person.append("address_dropped")
    ids = _Question(rows, of_person)
    addresses = _Question(rows, ["address", "address_dropped"])
    answer = world.campaigns[feed.client].lists.suppressed(ids.asked, addresses.asked)
    hits: dict[Kind, list[int]] = {
        "unsubscribed": ids.hit(answer.unsubscribed),
        "blocklisted": addresses.hit(answer.blocklisted),
    }
    at = world.clock.wall()
    persons = zip(rows["address"], rows["recipient_id"], strict=True)
    by_record = dict(zip(rows["record"], persons, strict=True))
    found = [
        Found(address, kind, "live-check", at, recipient_id)
        for kind, records in hits.items()
        for address, recipient_id in (by_record[record] for record in records)
    ]
    if found:
        world.store.add_found(feed.client, found)
    return pl.DataFrame(
        [(record, kind) for kind, records in hits.items() for record in records],
        schema={"record": pl.UInt32, "kind": pl.String},
        orient="row",
    )


class _Question:
    """Different values of some columns, and which records asked for each."""

    def __init__(self, rows: pl.DataFrame, columns: Sequence[str]) -> None:
        self._records: dict[str, list[int]] = {}
        for column in columns:
            for record, value in zip(rows["record"], rows[column], strict=True):
                records = self._records.setdefault(value, [])
                if not records or records[-1] != record:
                    records.append(record)
        self.asked = list(self._records)

    def hit(self, answers: Sequence[bool]) -> list[int]:
        """Records of the values answered with yes."""
        hits = zip(self._records.values(), answers, strict=True)
        return sorted({record for records, yes in hits if yes for record in records})


def stage(world: World, feed: Feed, batch: Batch, content: bytes, checked: Checked) -> Staged:
    """Suppress, encode and write what will be uploaded and sent; everything is on disk after it."""
    # Who bounced is asked about once a drop, however often it is checked.
    first = world.journal.batches.detail(batch)["check"] is None
    hits = suppressed_now(world, feed, checked.rows, batch.id if first else None)
    fit = checked.rows.join(hits, on="record", how="anti", maintain_order="left")
    plan = world.config.plans[feed.name]
    output = None
    if feed.output is not None and feed.output.delimiter is not None:
        output = OutputDialect(feed.output.delimiter, plan.dialect.quote)
    columns = _columns_that_leave(feed, plan, checked.header)
    folder = world.batches / batch.id
    accepted_sha256 = write_file(
        folder / ACCEPTED,
        encode(content, checked.header_end, fit, plan.dialect, output=output, columns=columns),
        0o600,
    )
    staged_sha256 = write_file(folder / STAGED, _as_arrow(fit, feed), 0o600)
    return Staged(fit.height, counts(checked, hits), staged_sha256, accepted_sha256)


def _columns_that_leave(
    feed: Feed, plan: CheckPlan, header: Sequence[str]
) -> tuple[str, ...] | None:
    """Which columns the uploaded file has; None when the records leave as they came.

    A column the schema does not name is ignored where the feed says so, and never leaves.
    """
    if feed.output is not None and feed.output.columns:
        return tuple(feed.output.columns)
    known = tuple(name for name in header if plan.schema.field(name) is not None)
    return None if len(known) == len(header) else known


def _as_arrow(fit: pl.DataFrame, feed: Feed) -> bytes:
    wanted = ["record", "line", "recipient_id", "address", "address_dropped",
              "entity_type", "entity_id", "opt_in_id",
              *(f"{ATTRIBUTE}{name}" for name in feed.attributes)]  # fmt: skip
    buffer = io.BytesIO()
    fit.select(wanted).write_ipc(buffer)
    return buffer.getvalue()


def read_staged(world: World, batch: Batch) -> pl.DataFrame:
    """The staged rows of a batch as they were written; Mismatch when they are not."""
    path = world.batches / batch.id / STAGED
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != world.journal.batches.detail(batch)["staged_sha256"]:
        raise Mismatch("disk-error", detail="the staged rows are not those that were written")
    return pl.read_ipc(io.BytesIO(content))


def counts(checked: Checked, hits: pl.DataFrame | None) -> dict[str, Any]:
    """The fates of a drop's rows, for the receipt and the case: numbers and codes alone."""
    kinds: dict[str, int] = {}
    suppressed = 0
    if hits is not None:
        suppressed = hits["record"].n_unique()
        kinds = dict(hits.group_by("kind").agg(pl.col("record").n_unique()).sort("kind").rows())
    by_code = (
        checked.rejected.group_by("code")
        .agg(pl.col("record").n_unique().alias("rows"))
        .sort("code")
    )
    return {
        "rows_read": checked.rows_read,
        "accepted": checked.rows.height - suppressed,
        "rejected": checked.rejected_rows,
        "suppressed": suppressed,
        "suppressed_by": kinds,
        "rejected_by": dict(by_code.rows()),
        "notes": [{"code": note.code, "facts": dict(note.facts)} for note in checked.notes],
    }
