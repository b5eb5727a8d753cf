"""What a cell means by its field's type: one place where text becomes a value.

It knows no constraints and no feeds. Every expression reads a String column without nulls; `value`
and `text` are null exactly where `fits` is false.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from etl.transform.fields import Field

TYPES = ("string", "number", "integer", "boolean", "date", "time", "datetime", "year")
ORDERED_TYPES = ("number", "integer", "date", "time", "datetime", "year")

_DIRECTIVES = {
    "Y": "[0-9]{4}",
    "m": "(?:0?[1-9]|1[0-2])",
    "d": "(?:0?[1-9]|[12][0-9]|3[01])",
    "H": "(?:[01]?[0-9]|2[0-3])",
    "M": "[0-5]?[0-9]",
    "S": "[0-5]?[0-9]",
    "z": "[+-](?:0[0-9]|1[0-4]):?[0-5][0-9]",
    "%": "%",
}
_NEEDED = {"date": "Ymd", "time": "HM", "datetime": "YmdHM"}
_ALLOWED = {"date": "Ymd", "time": "HMS", "datetime": "YmdHMSz"}

_ISO_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_ISO_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_ISO_OFFSET = "[+-](?:0[0-9]|1[0-4]):[0-5][0-9]"


@dataclass(frozen=True, slots=True)
class Meaning:
    """The expressions of one field over its column."""

    fits: pl.Expr
    """Boolean: the text is one of the type's."""
    value: pl.Expr
    """Typed, for comparing."""
    text: pl.Expr
    """Canonical text: what Campaign is sent, and what enum and unique compare."""


def meaning(field: Field, cell: pl.Expr, decimal: str) -> Meaning:
    """Give the expressions for `field` over `cell`; `decimal` is for fields without decimalChar."""
    if field.type == "number":
        return _number(field, cell, field.decimal_char or decimal)
    return _MEANINGS[field.type](field, cell)


def canonical(field: Field, text: str, decimal: str) -> str | None:
    """Return what `text` means in `field` in canonical form, None when it does not fit."""
    cell = pl.Series("cell", [text], dtype=pl.String).to_frame()
    answer = cell.select(meaning(field, pl.col("cell"), decimal).text).item()
    return None if answer is None else str(answer)


def comparable(field: Field, bound: str) -> pl.Expr:
    """Turn a canonical bound into a literal of the type of `Meaning.value`."""
    text = pl.lit(bound, dtype=pl.String)
    match field.type:
        case "number":
            return text.cast(pl.Float64)
        case "date":
            return text.str.slice(0, 10).str.to_date("%Y-%m-%d")
        case "time":
            return text.str.to_time("%H:%M:%S%.f")
        case "datetime":
            return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us")
        case _:
            return text.cast(pl.Int64)


def format_problem(kind: str, pattern: str) -> str | None:
    """Say why a strptime pattern cannot be used for a type, None when it can."""
    found = re.findall(r"%(.?)", pattern)
    letters = [letter for letter in found if letter != "%"]
    for letter in letters:
        if letter not in _ALLOWED[kind]:
            return f"%{letter} is not supported in a {kind}"
    if len(set(letters)) != len(letters):
        return "names a part twice"
    lacking = [f"%{letter}" for letter in _NEEDED[kind] if letter not in letters]
    return f"lacks {', '.join(lacking)}" if lacking else None


def _only(cell: pl.Expr, pattern: str) -> pl.Expr:
    """Keep the cells that match, null for the others."""
    return pl.when(cell.str.contains(pattern)).then(cell)


def _bare(field: Field, cell: pl.Expr, core: str) -> pl.Expr:
    """Take the number out of a cell: the whole cell, or without the words around it.

    A sign among those words is refused: `5-` may mean minus five.
    """
    if field.bare_number:
        return cell.str.extract(f"^({core})$", 1)
    return cell.str.extract(rf"^[^0-9+\-]*?({core})[^0-9+\-]*$", 1)


def _whole(field: Field) -> str:
    """Give the pattern of digits, in groups of three where the field has a group character."""
    if not field.group_char:
        return "[0-9]+"
    return f"(?:[0-9]+|[0-9]{{1,3}}(?:{_literal(field.group_char)}[0-9]{{3}})+)"


def _number(field: Field, cell: pl.Expr, decimal: str) -> Meaning:
    point = _literal(decimal)
    core = rf"[+-]?(?:{_whole(field)}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]{{1,2}})?"
    plain = _bare(field, cell, core)
    if field.group_char:
        plain = plain.str.replace_all(field.group_char, "", literal=True)
    plain = plain.str.replace(decimal, ".", literal=True)
    value = plain.cast(pl.Float64, strict=False)
    value = pl.when(value.is_finite()).then(value)
    text = pl.when(value.is_not_null()).then(plain).map_batches(_decimals, return_dtype=pl.String)
    return Meaning(value.is_not_null(), value, text)


def _decimals(plain: pl.Series) -> pl.Series:
    """Write numbers without sign plus, exponent, or zeros that say nothing."""
    spread = [
        format(Decimal(text), "f") if text is not None and ("e" in text or "E" in text) else text
        for text in plain.to_list()
    ]
    text = pl.col("n")
    text = text.str.strip_prefix("+")
    text = text.str.replace(r"^(-?)\.", "${1}0.").str.replace(r"^(-?)0+([0-9])", "${1}${2}")
    fraction = text.str.contains(".", literal=True)
    text = (
        pl.when(fraction)
        .then(text.str.strip_chars_end("0").str.strip_chars_end("."))
        .otherwise(text)
    )
    text = text.replace("-0", "0")
    return pl.DataFrame({"n": pl.Series(spread, dtype=pl.String)}).select(text).to_series()


def _string(_field: Field, cell: pl.Expr) -> Meaning:
    return Meaning(cell.is_not_null(), cell, cell)


def _year(_field: Field, cell: pl.Expr) -> Meaning:
    value = _only(cell, "^[0-9]{4}$").cast(pl.Int64, strict=False)
    return Meaning(value.is_not_null(), value, value.cast(pl.String))


def _integer(field: Field, cell: pl.Expr) -> Meaning:
    plain = _bare(field, cell, f"[+-]?{_whole(field)}")
    if field.group_char:
        plain = plain.str.replace_all(field.group_char, "", literal=True)
    value = plain.cast(pl.Int64, strict=False)
    return Meaning(value.is_not_null(), value, value.cast(pl.String))


def _boolean(field: Field, cell: pl.Expr) -> Meaning:
    value = (
        pl.when(cell.is_in(list(field.true_values)))
        .then(pl.lit(value=True))
        .when(cell.is_in(list(field.false_values)))
        .then(pl.lit(value=False))
    )
    return Meaning(value.is_not_null(), value, value.cast(pl.String))


def _date(field: Field, cell: pl.Expr) -> Meaning:
    pattern, shape = _shape(field.format, "%Y-%m-%d", f"^{_ISO_DATE}$")
    value = _only(cell, shape).str.to_date(pattern, strict=False)
    value = pl.when(value.dt.year() >= 1).then(value)
    return Meaning(value.is_not_null(), value, value.dt.strftime("%Y-%m-%dT00:00:00+00:00"))


def _time(field: Field, cell: pl.Expr) -> Meaning:
    pattern, shape = _shape(field.format, "%H:%M:%S%.f", f"^{_ISO_TIME}$")
    value = _only(cell, shape).str.to_time(pattern, strict=False)
    return Meaning(value.is_not_null(), value, value.dt.strftime("%H:%M:%S"))


def _datetime(field: Field, cell: pl.Expr) -> Meaning:
    pattern, shape = _shape(
        field.format,
        "%Y-%m-%dT%H:%M:%S%.f%:z",
        f"^{_ISO_DATE}T{_ISO_TIME}(?:Z|{_ISO_OFFSET})?$",
    )
    text = _only(cell, shape)
    if field.format == "default":
        text = text.str.replace("Z$", "+00:00")
        offset = text.str.contains(f"{_ISO_OFFSET}$")
        text = pl.when(offset).then(text).otherwise(text + pl.lit("+00:00"))
    value = text.str.to_datetime(pattern, strict=False, time_unit="us")
    if field.format != "default" and "%z" not in field.format:
        value = value.dt.replace_time_zone("UTC")
    value = pl.when(value.dt.year() >= 1).then(value)
    return Meaning(value.is_not_null(), value, value.dt.strftime("%Y-%m-%dT%H:%M:%S+00:00"))


def _shape(written: str, default: str, default_shape: str) -> tuple[str, str]:
    """Return polars' pattern and the exact shape: polars alone takes `20` or `+2020` for a year."""
    if written == "default":
        return default, default_shape
    parts = re.split(r"%(.)", written)
    shape = "".join(
        _DIRECTIVES[part] if index % 2 else "".join(map(_literal, part))
        for index, part in enumerate(parts)
    )
    return written, f"^{shape}$"


def _literal(char: str) -> str:
    """Write one character so that a regular expression takes it for itself."""
    return rf"\x{{{ord(char):X}}}"


_MEANINGS: dict[str, Callable[[Field, pl.Expr], Meaning]] = {
    "string": _string,
    "integer": _integer,
    "boolean": _boolean,
    "date": _date,
    "time": _time,
    "datetime": _datetime,
    "year": _year,
}
