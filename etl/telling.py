"""What is told of a drop: its receipt for the CRM and its line in the log.

Everything is made from the journal, so it can be told again after a crash and is the same.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from etl.batch import ENDS, Batch, Place
from etl.journal.batches import moment
from etl.load.ledger import ALREADY, INSERTED, LATE, POISONED, REFUSALS, Ledger
from etl.load.receipts import (
    Checked,
    Fate,
    Listed,
    Receipt,
    ReceivedDrop,
    SuppressedBy,
    Told,
    Uploaded,
    write_receipt,
)
from etl.log import Event, log
from etl.settings import List
from etl.world import World


def tell(world: World, batch: Batch) -> None:
    """Write the receipt of a batch that has ended or is held."""
    write_receipt(world.receipts.check(), receipt(world, batch))


def receipt(world: World, batch: Batch) -> Receipt:
    """The receipt of a batch as the journal knows it now."""
    detail = world.journal.batches.detail(batch)
    check = detail["check"]
    ended = batch.place in ENDS
    return Receipt(
        batch=batch.id,
        feed=batch.feed,
        drop=ReceivedDrop(
            batch.name, batch.size_bytes, batch.sha256, batch.dropped_at, batch.claimed_at
        ),
        fate=Fate(batch.place.value.lower()) if ended else Fate.HELD,
        place=batch.place,
        written_at=world.clock.wall(),
        reason=_reason(batch, detail),
        held=batch.held,
        check=_checked(check),
        upload=_uploaded(detail),
        list=_listed(world, batch, detail),
        notes=tuple(_notes(world, batch, detail)),
        case=detail["case_name"],
        rollback_of=batch.rollback_of,
    )


def _notes(world: World, batch: Batch, detail: Mapping[str, Any]) -> Iterator[Told]:
    """What is worth saying besides: of the batch, of the check, of the list."""
    if batch.rollback_of is not None:
        yield Told("rollback", {"of": batch.rollback_of})
    for note in (detail["check"] or {}).get("notes", ()):
        yield Told(note["code"], note["facts"])
    listed = detail["list"]
    if listed and listed["many_refused"]:
        yield Told("many-refused", {"refused": listed["many_refused"], "sent": listed["sent"]})
    if batch.place is Place.UPLOADED and batch.feed is not None and batch.rollback_of is None:
        since = world.journal.batches.last_refilled_at(batch.feed)
        yield Told("list-unchanged", {"since": since or "ever"})


def _reason(batch: Batch, detail: Mapping[str, Any]) -> Told | None:
    if batch.held is not None:
        return Told(batch.held.code, detail["held_facts"] or {})
    if detail["end_code"] is not None:
        return Told(detail["end_code"], detail["end_facts"] or {})
    return None


def _checked(check: Mapping[str, Any] | None) -> Checked | None:
    if check is None:
        return None
    return Checked(
        rows_read=check["rows_read"],
        accepted=check["accepted"],
        rejected=check["rejected"],
        suppressed=check["suppressed"],
        suppressed_by=SuppressedBy(**check["suppressed_by"]),
        rejected_by=check["rejected_by"],
    )


def _uploaded(detail: Mapping[str, Any]) -> Uploaded | None:
    if detail["upload_name"] is None or detail["uploaded_at"] is None:
        return None
    return Uploaded(
        detail["upload_name"],
        detail["upload_size"],
        detail["upload_sha256"],
        moment(detail["uploaded_at"]),
    )


def _listed(world: World, batch: Batch, detail: Mapping[str, Any]) -> Listed | None:
    facts = detail["list"]
    if facts is not None:
        return Listed(
            list_id=facts["list_id"],
            name=facts["name"],
            staged=facts["staged"],
            suppressed_late=facts["suppressed_late"],
            sent=facts["sent"],
            listed=facts["listed"],
            refused=facts["refused"],
            poisoned=facts["poisoned"],
            count=facts["count"],
            clears=facts["clears"],
            refilled_at=facts["refilled_at"] and moment(facts["refilled_at"]),
        )
    if batch.feed is None or detail["staged_rows"] is None:
        return None
    feed = world.config.find_feed(batch.feed)
    clears, _ = world.journal.refills.clears(batch)
    if feed is None or feed.list is None or not clears:
        return None
    return _so_far(world, batch, feed.list, detail["staged_rows"], clears)


def _so_far(world: World, batch: Batch, table: List, staged: int, clears: int) -> Listed:
    """A refill that was cut off in the middle: what the acknowledged calls say."""
    refills = world.journal.refills
    under_way = refills.round(batch)
    calls = refills.calls(batch, under_way.number) if under_way else []
    counts = Ledger(staged, refills.late(batch), refills.poisoned(batch), calls).counts()
    late = counts[LATE]
    return Listed(
        table.id,
        table.name,
        staged,
        late,
        staged - late,
        listed=counts[INSERTED] + counts[ALREADY],
        refused={f"code-{code}": counts[code] for code in REFUSALS if counts[code]},
        poisoned=counts[POISONED],
        clears=clears,
    )


def tell_end(world: World, batch: Batch) -> None:
    """The one canonical log line of a drop."""
    detail = world.journal.batches.detail(batch)
    check: dict[str, Any] = detail["check"] or {}
    listed: dict[str, Any] = detail["list"] or {}
    log(
        Event.DROP,
        batch=batch.id,
        feed=batch.feed,
        name=batch.name,
        rollback_of=batch.rollback_of,
        place=batch.place,
        code=detail["end_code"],
        size_bytes=batch.size_bytes,
        rows_read=check.get("rows_read"),
        accepted=check.get("accepted"),
        rejected=check.get("rejected"),
        suppressed=check.get("suppressed"),
        rejected_by=check.get("rejected_by"),
        suppressed_by=check.get("suppressed_by"),
        remote=detail["upload_name"],
        sent=listed.get("sent"),
        listed=listed.get("listed"),
        refused=listed.get("refused"),
        count=listed.get("count"),
        clears=listed.get("clears"),
        seconds=round((world.clock.wall() - batch.claimed_at).total_seconds(), 3),
    )


def is_trouble(world: World, batch: Batch) -> bool:
    """Tell whether something of this batch was rejected, quarantined, refused or is held."""
    detail = world.journal.batches.detail(batch)
    check: dict[str, Any] = detail["check"] or {}
    listed: dict[str, Any] = detail["list"] or {}
    return (
        batch.place not in ENDS
        or batch.place is Place.QUARANTINED
        # What was rejected of the drop whose rows go back was told when it was new.
        or bool(check.get("rejected") and batch.rollback_of is None)
        or bool(listed.get("many_refused"))
    )
