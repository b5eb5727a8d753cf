"""The check: a drop's bytes in, every record's fate out.

It may not read files, clocks or networks, and never raises for what a drop holds.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import polars as pl

from etl.transform.address import fold
from etl.transform.consent import judge_consent
from etl.transform.decode import codec, content, decode_cells, decodes, look_at
from etl.transform.header import Header, columns_of, read_header
from etl.transform.plan import (
    ATTRIBUTE,
    TECHNICAL_FIELDS,
    Attribute,
    Checked,
    CheckPlan,
    Consent,
    Dialect,
    Fact,
    Limits,
    Note,
    Refusal,
    plan_problems,
)
from etl.transform.repeats import REPEATS, recipient_repeats, unique_columns, unique_repeats
from etl.transform.rules import Rule, compile_rules, failures, meanings
from etl.transform.split import Broken, Chunk, split

__all__ = [
    "ATTRIBUTE",
    "TECHNICAL_FIELDS",
    "Attribute",
    "CheckPlan",
    "Checked",
    "Consent",
    "Dialect",
    "Limits",
    "Note",
    "Refusal",
    "check",
    "content",
    "plan_problems",
]

_PLACE = {
    "record": pl.UInt32, "line": pl.UInt32, "last_line": pl.UInt32,
    "offset": pl.UInt64, "end": pl.UInt64,
}  # fmt: skip
_REASON = {
    **_PLACE, "code": pl.String, "field": pl.String, "constraint": pl.String,
    "column_number": pl.UInt32, "other_line": pl.UInt32,
}  # fmt: skip
UNTRACKED = "untracked"
_PERSON = ("recipient_id", "address", "address_dropped", "entity_type", "entity_id", "opt_in_id")


def check(data: bytes, plan: CheckPlan) -> Checked | Refusal:
    """Judge a drop; a Refusal alone means that there is no row to list."""
    drop = look_at(data, plan)
    if isinstance(drop, Refusal):
        return drop
    header = read_header(data, drop, plan)
    if isinstance(header, Refusal):
        return header
    if plan.final_newline == "required" and not drop.endswith(b"\n"):
        return Refusal("truncated", {}, line=1 + drop.count(b"\n"))
    rules = compile_rules(plan)
    sound: list[pl.DataFrame] = []
    reasons: list[pl.DataFrame] = []
    rows_read = 0
    for chunk in split(
        drop,
        header.end,
        header.next_line,
        len(header.names),
        dialect=plan.dialect,
        limits=plan.limits,
    ):
        rows_read += len(chunk.record) + len(chunk.broken)
        rows, found = _judge(chunk, header, drop, rules, plan)
        sound.append(rows)
        reasons.append(found)
    if not sound:
        sound, reasons = [_no_rows(plan)], [pl.DataFrame(schema=_REASON)]
    return _settle(header, rows_read, pl.concat(sound), pl.concat(reasons), plan)


def _judge(
    chunk: Chunk, header: Header, drop: bytes, rules: Sequence[Rule], plan: CheckPlan
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Judge a chunk: its sound and decodable records, and the reasons found in all of them."""
    encoding, columns = codec(plan.dialect), len(header.names)
    texts, bad = decode_cells(chunk.cells, columns, encoding)
    places = pl.DataFrame({name: getattr(chunk, name) for name in _PLACE}, schema=_PLACE)
    cells = pl.DataFrame(
        pl.Series(f"c{index}", texts[header.names.index(field.name) :: columns], dtype=pl.String)
        for index, field in enumerate(columns_of(plan))
    )
    reasons = [_structure(chunk.broken, drop, plan)]
    if bad:
        taken = pl.DataFrame({"row": list(bad), "column_number": list(bad.values())})
        undecodable = places[taken["row"]].with_columns(
            column_number=taken["column_number"],
            field=pl.Series([header.names[column - 1] for column in bad.values()]),
        )
        reasons.append(_reasons(undecodable, "bad-bytes", None, encoding))
        fine = ~pl.int_range(places.height, eager=True).is_in(list(bad))
        places, cells = places.filter(fine), cells.filter(fine)
    prepared = _prepared(cells, plan)
    for rule, failing in failures(prepared, rules):
        number = header.names.index(rule.field) + 1
        where = places[failing].with_columns(column_number=pl.lit(number, dtype=pl.UInt32))
        reasons.append(_reasons(where, rule.code, rule.field, rule.constraint))
    rows = pl.concat([places, prepared.select(pl.exclude("^c[0-9]+$"))], how="horizontal")
    return rows, pl.concat(reasons)


def _prepared(cells: pl.DataFrame, plan: CheckPlan) -> pl.DataFrame:
    """Add to the cells what is made of them: who it is, the consent, attributes, unique keys."""
    of_cells, of_those = _made(plan)
    return cells.with_columns(**of_cells).with_columns(**of_those)


@lru_cache(maxsize=64)
def _made(plan: CheckPlan) -> tuple[Mapping[str, pl.Expr], Mapping[str, pl.Expr]]:
    """What is made of the cells, and what is made of that, by column."""
    column = {field.name: pl.col(f"c{index}") for index, field in enumerate(columns_of(plan))}
    means = meanings(plan)

    def said(name: str) -> pl.Expr:
        _, missing, _ = means[name]
        return pl.when(missing).then(pl.lit("")).otherwise(column[name])

    entity_type, entity_id = (said(name).str.strip_chars() for name in TECHNICAL_FIELDS[3:])
    of_cells = {
        "address_dropped": said(plan.address_column),
        "address": fold(said(plan.address_column)),
        "entity_type": entity_type,
        "entity_id": entity_id,
        "opt_in_id": said("opt-in-id"),
        "description": said("description"),
        "media_type": said("media-type"),
    }
    entity = pl.concat_str("entity_type", pl.lit(":"), "entity_id")
    recipient = pl.col("address") if plan.recipient_id == "email" else entity
    of_those = {"recipient_id": recipient}
    for name, attribute in plan.attributes.items():
        field, missing, meant = means[attribute.column]
        empty = "" if attribute.empty is None and field.type == "string" else attribute.empty
        value = pl.when(missing).then(pl.lit(empty, dtype=pl.String)).otherwise(meant.text)
        of_those[ATTRIBUTE + name] = value
    if plan.tracking_opt_out is not None:
        _, missing, meant = means[plan.tracking_opt_out]
        of_those[UNTRACKED] = ~missing & meant.value.fill_null(value=True)
    of_those |= {alias: key for alias, (_, key) in unique_columns(plan).items()}
    return of_cells, of_those


def _no_rows(plan: CheckPlan) -> pl.DataFrame:
    """Give the sound rows of a drop without any, for their columns."""
    cells = pl.DataFrame(schema={f"c{i}": pl.String for i in range(len(columns_of(plan)))})
    made = _prepared(cells, plan).select(pl.exclude("^c[0-9]+$"))
    return pl.concat([pl.DataFrame(schema=_PLACE), made], how="horizontal")


def _structure(broken: Sequence[Broken], drop: bytes, plan: CheckPlan) -> pl.DataFrame:
    """List the reasons of the records whose structure is wrong."""
    encoding = codec(plan.dialect)
    lines = []
    for item in broken:
        codes = item.codes
        # A line beyond the limit may be the whole file: it is not even decoded.
        sized = "line-too-long" not in codes
        if sized and not decodes(drop[item.offset : item.end], encoding):
            codes = (*codes, "bad-bytes")
        for code in codes:
            constraint = {
                "bad-bytes": encoding,
                "line-too-long": str(plan.limits.line_bytes),
                "short-record": str(item.found),
                "long-record": str(item.found),
            }.get(code)
            lines.append((*item[:5], code, None, constraint, None, None))
    return pl.DataFrame(lines, schema=_REASON, orient="row")


def _reasons(
    where: pl.DataFrame, code: str, field: str | None, constraint: str | None
) -> pl.DataFrame:
    """Give one reason to the records in `where`; its own columns of the reason win."""
    given = {"code": code, "field": field, "constraint": constraint}
    return where.select(
        pl.col(name) if name in where.columns else pl.lit(given.get(name)).cast(kind).alias(name)
        for name, kind in _REASON.items()
    ).cast(pl.Schema(_REASON))


def _settle(
    header: Header,
    rows_read: int,
    sound: pl.DataFrame,
    reasons: pl.DataFrame,
    plan: CheckPlan,
) -> Checked:
    """Decide what only the whole file can tell: repeats, consent, thresholds."""
    found = [reasons]
    for field, repeats in unique_repeats(sound, plan):
        number = header.names.index(field) + 1 if field in header.names else None
        where = repeats.with_columns(column_number=pl.lit(number, dtype=pl.UInt32))
        found.append(_reasons(where, "unique", field, None))
    fit = sound.join(pl.concat(found), on="record", how="anti", maintain_order="left")
    code, repeats = recipient_repeats(sound, fit, plan.duplicates)
    found.append(_reasons(repeats, code, None, None))
    rejected = pl.concat(found).sort("record", maintain_order=True)
    rows = fit.join(repeats, on="record", how="anti", maintain_order="left")
    refusal, notes = judge_consent(sound, plan.consent)
    return Checked(
        header=header.names,
        header_end=header.end,
        rows_read=rows_read,
        rows=rows.select(
            "record",
            "line",
            "offset",
            "end",
            *_PERSON,
            *(ATTRIBUTE + name for name in plan.attributes),
        ),
        rejected=rejected,
        rejected_rows=rejected["record"].n_unique(),
        carriers=sound.filter(pl.col("address") != "").select(
            "address",
            "entity_type",
            "entity_id",
            "opt_in_id",
            *([UNTRACKED] if plan.tracking_opt_out is not None else []),
        ),
        notes=tuple(notes),
        refusal=refusal or _too_many(rejected, rows_read, plan) or _nobody(rows, rows_read),
    )


def _too_many(rejected: pl.DataFrame, rows_read: int, plan: CheckPlan) -> Refusal | None:
    """Refuse a drop of which too much breaks a rule; repeated recipients do not count."""
    counted = rejected.filter(~pl.col("code").is_in(REPEATS))
    rows = counted["record"].n_unique()
    share = rows > plan.rejected_share_floor and rows > plan.rejected_share_limit * rows_read
    if rows <= plan.rejected_rows_limit and not share:
        return None
    top = counted.group_by("code").len("rows").sort(["rows", "code"], descending=[True, False])
    code, times = top.row(0)
    facts: dict[str, Fact] = {
        "rejected": rows, "rows": rows_read, "top_code": code, "top_count": times,
    }  # fmt: skip
    return Refusal("too-many-rejected", facts)


def _nobody(rows: pl.DataFrame, rows_read: int) -> Refusal | None:
    """Refuse a drop of which no row is left."""
    return Refusal("no-rows", {"rows": rows_read}) if rows.is_empty() else None
