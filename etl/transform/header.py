"""The header of a drop: is every column there, once, under its exact name.

It may not repeat what the file says unless it stands beside every column the schema names: the
first line of a file without a header is somebody's data.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from etl.transform.decode import codec, decodes, text_start, wrong_encoding
from etl.transform.fields import Field
from etl.transform.plan import TECHNICAL_FIELDS, CheckPlan, Dialect, Fact, Refusal
from etl.transform.split import Read, read_record

_SHOWN_NAMES = 10
_SHOWN_CHARS = 80
_DELIMITERS = {";": "semicolon", ",": "comma", "\t": "tab", "|": "bar"}


@dataclass(frozen=True, slots=True)
class Header:
    """The names as written, where the records begin, and how the header's line ends."""

    names: tuple[str, ...]
    end: int
    next_line: int


def columns_of(plan: CheckPlan) -> tuple[Field, ...]:
    """Return the fields a drop must have: the schema's, and technical ones it does not name."""
    named = {field.name for field in plan.schema.fields}
    return plan.schema.fields + tuple(Field(name) for name in TECHNICAL_FIELDS if name not in named)


def line_end(content: bytes) -> str:
    """Return how the first line ends: CRLF or LF."""
    feed = content.find(b"\n")
    return "\r\n" if feed > 0 and content[feed - 1 : feed] == b"\r" else "\n"


def read_header(data: bytes, content: bytes, plan: CheckPlan) -> Header | Refusal:
    """Read the header of `content` (`data` is the drop itself, for suggestions)."""
    start = text_start(data, plan.dialect)
    if b"\r" in content and b"\n" not in content:
        # Read as one line this would be a drop without rows, which is a lie.
        return _broken("carriage returns alone end its lines; CRLF or LF are needed")
    read = read_record(content, start, plan.dialect, plan.limits)
    raw = content[start : read.end]
    if read.code != "line-too-long" and not decodes(raw, codec(plan.dialect)):
        return wrong_encoding(data, plan.dialect)
    if read.code is not None:
        return _broken(_in_words(read, plan))
    if b"\0" in raw:
        return _broken("it holds a NUL byte")
    if len(read.fields) > plan.limits.columns:
        facts: dict[str, Fact] = {"columns": len(read.fields), "limit": plan.limits.columns}
        return Refusal("too-many-columns", facts, line=1)
    names = tuple(name.decode(codec(plan.dialect)) for name in read.fields)
    refusal = _misses(names, plan) or _surplus(names, plan)
    return refusal or Header(names, read.end, 1 + raw.count(b"\n"))


def _broken(detail: str) -> Refusal:
    return Refusal("broken-header", {"detail": detail}, line=1)


def _in_words(read: Read, plan: CheckPlan) -> str:
    """Say what is wrong with the header's structure."""
    return {
        "line-too-long": f"it is longer than {plan.limits.line_bytes} bytes",
        "blank-line": "it is a blank line",
        "open-quote": "it opens a quote that is never closed",
        "text-after-quote": "it has text after a closing quote",
        "quote-in-field": "it has a quote inside an unquoted name",
        "lone-cr": "it holds a carriage return that ends no line",
    }.get(read.code or "", "its structure is wrong")


def _misses(names: tuple[str, ...], plan: CheckPlan) -> Refusal | None:
    """Refuse a header that lacks a column; technical fields first, they have their own code."""
    lacking = [field.name for field in columns_of(plan) if field.name not in names]
    if not lacking:
        return None
    technical = [name for name in TECHNICAL_FIELDS if name in lacking]
    code = "missing-technical-field" if technical else "missing-column"
    shown = technical or lacking
    facts: dict[str, Fact] = {"columns": _listed(shown)}
    if detail := _did_you_mean(lacking, names, plan.dialect):
        facts["detail"] = detail
    return Refusal(code, facts, line=1, field=shown[0])


def _did_you_mean(lacking: Sequence[str], names: Sequence[str], dialect: Dialect) -> str:
    """Suggest what a missing name may be called in the file, or which delimiter it has."""
    if len(names) == 1:
        for delimiter, word in _DELIMITERS.items():
            if delimiter != dialect.delimiter and delimiter in names[0]:
                return f"is the delimiter a {word}?"
    wanted = set(lacking)
    spare = {_plain(name): name for name in names if name not in wanted}
    guesses = [
        f"{_cut(spare[close[0]])!r} for {name!r}"
        for name in lacking[:_SHOWN_NAMES]
        if (close := difflib.get_close_matches(_plain(name), spare, n=1, cutoff=0.8))
    ]
    return f"did you mean {', '.join(guesses)}?" if guesses else ""


def _surplus(names: tuple[str, ...], plan: CheckPlan) -> Refusal | None:
    """Refuse a header that has every column, but one of them twice, unnamed or too many."""
    for number, name in enumerate(names, start=1):
        if not name:
            return Refusal("empty-column-name", {"column": number}, line=1, column=number)
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        column = [i for i, name in enumerate(names, 1) if name == twice[0]][1]
        return Refusal("duplicate-column", {"columns": _listed(twice)}, 1, column, _cut(twice[0]))
    known = {field.name for field in columns_of(plan)}
    extra = [name for name in names if name not in known]
    if extra and plan.extra_columns == "reject":
        column = names.index(extra[0]) + 1
        return Refusal("extra-column", {"columns": _listed(extra)}, 1, column, _cut(extra[0]))
    return None


def _plain(name: str) -> str:
    """Fold a name for comparing with what may have been meant."""
    return name.strip().lower().replace("_", "-").replace(" ", "-")


def _cut(name: str) -> str:
    """Make a column's name fit to be named: not long, and never an address."""
    if "@" in name:
        return "(looks like an address)"
    return name if len(name) <= _SHOWN_CHARS else name[: _SHOWN_CHARS - 1] + "…"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_NAMES
    return ", ".join(map(_cut, names[:_SHOWN_NAMES])) + (f" and {more} more" if more > 0 else "")
