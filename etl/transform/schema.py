"""Table Schema: from its JSON text to fields, with every unsupported word named.

It may not judge cells; `etl.transform.rules` turns fields into expressions.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl

from etl.transform.fields import Field, TableSchema
from etl.transform.values import ORDERED_TYPES, TYPES, canonical, format_problem

__all__ = ["Field", "TableSchema", "load_schema"]

_ANNOTATIONS = {"name", "title", "description", "example", "$schema"}
_SCHEMA_WORDS = {"fields", "missingValues", "primaryKey", "fieldsMatch"}
_FIELD_WORDS: dict[str, tuple[str, ...]] = {
    "decimalChar": ("number",),
    "groupChar": ("number", "integer"),
    "bareNumber": ("number", "integer"),
    "trueValues": ("boolean",),
    "falseValues": ("boolean",),
}
_CONSTRAINTS: dict[str, tuple[str, ...]] = {
    "required": TYPES,
    "unique": TYPES,
    "enum": TYPES,
    "pattern": ("string",),
    "minLength": ("string",),
    "maxLength": ("string",),
    "minimum": ORDERED_TYPES,
    "maximum": ORDERED_TYPES,
}
_MISSING = object()

Say = Callable[[str], None]


def load_schema(text: str) -> TableSchema | list[str]:
    """Read a Table Schema; a list holds every problem found, in words, and is never empty."""
    problems: list[str] = []
    try:
        tree = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, problems.append))
    except (ValueError, RecursionError) as error:
        return [f"not JSON: {error}"]
    if not isinstance(tree, dict):
        return ["not a JSON object"]
    unknown = tree.keys() - _ANNOTATIONS - _SCHEMA_WORDS
    problems.extend(f"{word}: not supported" for word in unknown)
    if tree.get("fieldsMatch", "equal") not in ("equal", ["equal"]):
        problems.append("fieldsMatch: only equal is supported")
    listed = tree.get("fields")
    if not isinstance(listed, list) or not listed:
        return [*problems, "fields: must be a list of at least one field"]
    fields = [
        field
        for number, item in enumerate(listed, start=1)
        if (field := _field(item, number, problems.append)) is not None
    ]
    names = [field.name for field in fields]
    twice = {name for name in names if names.count(name) > 1}
    problems.extend(f"fields: {name} stands there twice" for name in twice)
    missing = _texts(tree, "missingValues", ("",), "missingValues", problems.append)
    key = _primary_key(tree, names, problems.append)
    if problems:
        return sorted(problems)
    return TableSchema(tuple(fields), missing, key)


def _object(pairs: list[tuple[str, Any]], say: Say) -> dict[str, Any]:
    """Make a JSON object; a name given twice is a problem, not the last one's victory."""
    tree: dict[str, Any] = {}
    for name, value in pairs:
        if name in tree:
            say(f"{name}: stands twice in one object")
        tree[name] = value
    return tree


def _primary_key(tree: dict[str, Any], names: list[str], say: Say) -> tuple[str, ...]:
    key = tree.get("primaryKey", [])
    key = [key] if isinstance(key, str) else key
    if not isinstance(key, list) or not all(isinstance(name, str) for name in key):
        say("primaryKey: must be a name or a list of names")
        return ()
    for name in key:
        if name not in names:
            say(f"primaryKey: there is no field {name}")
    return tuple(key)


def _field(item: Any, number: int, say: Say) -> Field | None:
    """Read one field; None when not even its name can be told."""
    if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not item["name"]:
        say(f"field {number}: must be an object with a name")
        return None
    name, kind = item["name"], item.get("type", "string")
    if kind not in TYPES:
        say(f"{name}: type {kind!r} is not supported")
        return Field(name)
    field = Field(name, kind, _format(item, name, kind, say))
    for word in item.keys() - _ANNOTATIONS - {"type", "format", "constraints"}:
        if kind not in _FIELD_WORDS.get(word, ()):
            say(f"{name}: {word} is not supported for type {kind}")
    field = replace(
        field,
        decimal_char=_char(item, "decimalChar", None, name, say),
        group_char=_char(item, "groupChar", "", name, say) or "",
        bare_number=_flag(item, "bareNumber", True, name, say),
        true_values=_texts(item, "trueValues", field.true_values, f"{name}: trueValues", say),
        false_values=_texts(item, "falseValues", field.false_values, f"{name}: falseValues", say),
    )
    if field.group_char and field.group_char == field.decimal_char:
        say(f"{name}: decimalChar and groupChar are the same")
    if set(field.true_values) & set(field.false_values):
        say(f"{name}: a value stands in trueValues and in falseValues")
    constraints = item.get("constraints", {})
    if not isinstance(constraints, dict):
        say(f"{name}: constraints must be an object")
        return field
    return _constrain(field, constraints, say)


def _format(item: dict[str, Any], name: str, kind: str, say: Say) -> str:
    written = item.get("format", "default")
    if written == "default" or (kind == "string" and written == "email"):
        return str(written)
    if (
        not isinstance(written, str)
        or kind not in ("date", "time", "datetime")
        or "%" not in written
    ):
        say(f"{name}: format {written!r} is not supported for type {kind}")
        return "default"
    if problem := format_problem(kind, written):
        say(f"{name}: format {written!r} {problem}")
        return "default"
    return written


def _constrain(field: Field, constraints: dict[str, Any], say: Say) -> Field:
    """Add the constraints, each checked against the field's type and read by its own rules."""
    name = field.name
    for word in constraints:
        if word not in _CONSTRAINTS:
            say(f"{name}: constraint {word} is not supported")
        elif field.type not in _CONSTRAINTS[word]:
            say(f"{name}: constraint {word} is not supported for type {field.type}")
    low, high = (_bound(field, constraints, word, say) for word in ("minimum", "maximum"))
    return replace(
        field,
        required=_flag(constraints, "required", False, name, say),
        unique=_flag(constraints, "unique", False, name, say),
        enum=_enum(field, constraints, say),
        pattern=_pattern(constraints, name, say),
        min_length=_length(constraints, "minLength", name, say),
        max_length=_length(constraints, "maxLength", name, say),
        minimum=low,
        maximum=high,
    )


def _canonical(field: Field, given: Any) -> str | None:
    """Read a constraint's value: a JSON number or boolean as such, a text as a cell would be."""
    if isinstance(given, bool):
        return str(given).lower() if field.type == "boolean" else None
    if isinstance(given, int | float):
        if field.type not in ("number", "integer", "year"):
            return None
        # JSON numbers have a point whatever the field's own marks are.
        return canonical(Field(field.name, field.type), str(given), ".")
    return canonical(field, given, ".") if isinstance(given, str) else None


def _bound(field: Field, constraints: dict[str, Any], word: str, say: Say) -> str | None:
    given = constraints.get(word, _MISSING)
    if given is _MISSING or field.type not in ORDERED_TYPES:
        return None
    if (bound := _canonical(field, given)) is None:
        say(f"{field.name}: {word} {given!r} is not a {field.type}")
    return bound


def _enum(field: Field, constraints: dict[str, Any], say: Say) -> tuple[str, ...] | None:
    given = constraints.get("enum", _MISSING)
    if given is _MISSING:
        return None
    if not isinstance(given, list) or not given:
        say(f"{field.name}: enum must be a list of at least one value")
        return None
    values = [_canonical(field, value) for value in given]
    for value, text in zip(given, values, strict=True):
        if text is None:
            say(f"{field.name}: enum value {value!r} is not a {field.type}")
    return tuple(text for text in values if text is not None)


def _pattern(constraints: dict[str, Any], name: str, say: Say) -> str | None:
    given = constraints.get("pattern")
    if given is None:
        return None
    if not isinstance(given, str):
        say(f"{name}: pattern must be a text")
        return None
    try:  # by itself first: `a)|(?:b` would be whole only inside the anchors
        for expression in (given, f"^(?:{given})$"):
            pl.select(pl.lit("").str.contains(expression))
    except pl.exceptions.ComputeError:
        say(f"{name}: pattern {given!r} is no regular expression of Rust's regex")
        return None
    return given


def _length(constraints: dict[str, Any], word: str, name: str, say: Say) -> int | None:
    given = constraints.get(word)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        say(f"{name}: {word} must be a whole number from 0")
        return None
    return given


def _flag(tree: dict[str, Any], word: str, default: bool, name: str, say: Say) -> bool:
    given = tree.get(word, default)
    if not isinstance(given, bool):
        say(f"{name}: {word} must be true or false")
        return default
    return given


def _char(tree: dict[str, Any], word: str, default: str | None, name: str, say: Say) -> str | None:
    if word not in tree:
        return default
    given = tree[word]
    if not isinstance(given, str) or len(given) != 1 or given in "0123456789+-eE":
        say(f"{name}: {word} must be one character that is no digit, sign or e")
        return default
    return given


def _texts(
    tree: dict[str, Any], word: str, default: tuple[str, ...], where: str, say: Say
) -> tuple[str, ...]:
    if word not in tree:
        return default
    given = tree[word]
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        say(f"{where}: must be a list of texts")
        return default
    return tuple(given)
