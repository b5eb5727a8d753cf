"""Coming back: a bounce when Campaign says so, an unsubscription when an operator does.

Entries of our own store are lifted, nothing changes at Campaign: it is asked about everybody
before every transfer all the same, and what it says then counts anew.
"""

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from etl.errors import FarSideRefused, FarSideUnavailable
from etl.extract.folding import folded_address
from etl.extract.keyed import entity_text
from etl.extract.lifts import Wish
from etl.journal.requests import LIFT
from etl.log import Event, log
from etl.world import World

MOST_ASKED = 500
"""Questions about bounces a drop; each is a call of its own."""
ASKING_SECONDS = 300.0
"""No question is begun later than this after the first: a drop does not wait for them."""


@dataclass(frozen=True, slots=True)
class Bounced:
    """An address that nothing but a bounce keeps out, with every row of the drop that has it."""

    address: str = field(repr=False)
    ids: Sequence[str] = field(repr=False)
    """Each recipient id to ask about, and of an address how it was dropped."""
    entities: Sequence[str] = field(repr=False)
    records: Sequence[int]


def bounced_alone(
    rows: pl.DataFrame, stored: pl.DataFrame, id_rule: str, drop: str
) -> list[Bounced]:
    """Whom of `rows` to ask about: no more than MOST_ASKED ids, others for every drop.

    `stored` has a line (record, kind) for each reason of the store. The choice is by a hash of
    drop and address, so the same drop chooses the same people however often it is checked, and
    among too many everybody has the same chance at every drop.
    """
    alone = stored.group_by("record").agg((pl.col("kind") == "bounced").all().alias("alone"))
    found = rows.join(alone.filter("alone"), on="record", how="semi", maintain_order="left")
    order = heapq.nsmallest(
        MOST_ASKED,
        found["address"].unique().to_list(),
        key=lambda address: hashlib.sha256(f"{drop} {address}".encode()).digest(),
    )
    parts = found.filter(pl.col("address").is_in(order)).partition_by("address", as_dict=True)
    chosen, asked = [], 0
    for address in order:
        each = _bounced(address, parts[address,], id_rule)
        if asked + len(each.ids) <= MOST_ASKED:
            chosen.append(each)
            asked += len(each.ids)
    return chosen


def _bounced(address: str, rows: pl.DataFrame, id_rule: str) -> Bounced:
    ids = dict.fromkeys(rows["recipient_id"])
    if id_rule == "email":
        ids |= dict.fromkeys(rows["address_dropped"])
    entities = {
        entity_text(entity_type, entity_id)
        for entity_type, entity_id in rows.select("entity_type", "entity_id").iter_rows()
        if entity_type and entity_id
    }
    return Bounced(address, tuple(ids), tuple(sorted(entities)), tuple(rows["record"]))


def come_back(world: World, client: str, bounced: Sequence[Bounced], drop: str) -> list[int]:
    """Lift the bounce of everybody whom Campaign would mail again; their records.

    Every id of an address must be answered with no. A question that fails ends the asking: nobody
    is lost by staying suppressed, and the drop goes on.
    """
    if not bounced:
        return []
    lists, until = world.campaigns[client].lists, world.clock.monotonic() + ASKING_SECONDS
    back: list[Bounced] = []
    asked = 0
    for each in bounced:
        if world.clock.monotonic() > until:
            break
        try:
            out = lists.bounced_out(each.ids)
        except (FarSideUnavailable, FarSideRefused) as error:
            log(Event.FAR_SIDE, client=client, batch=drop, code=error.code, sentence=error.sentence)
            break
        asked += 1
        if not any(out):
            back.append(each)
    people = {folded_address(each.address) for each in back}
    people |= {entity for each in back for entity in each.entities}
    if back:
        world.store.lifts.lift_bounces(client, people, world.clock.wall())
    log(Event.LIFTED, client=client, batch=drop, kind="bounced", people=len(back), asked=asked,
        not_asked=len(bounced) - asked)  # fmt: skip
    return [record for each in back for record in each.records]


def take_lifts(world: World) -> bool:
    """Take the lifts that operators asked for; done where no step is under way meanwhile.

    A death between the store and the journal is made good by doing it again.
    """
    done = False
    for request in world.journal.requests.waiting():
        if request.verb != LIFT:
            continue
        wanted = [Wish.read(code) for code in request.codes]
        at = world.clock.wall()
        lifted = world.store.lifts.lift(request.client or "", wanted, at)
        outcome = "said-again" if lifted.left else "done"
        world.journal.requests.taken(request, outcome, at)
        log(Event.LIFTED, client=request.client, request=request.number, user=request.user,
            entries=lifted.entries, left=lifted.left)  # fmt: skip
        done = True
    return done
