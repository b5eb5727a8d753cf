"""What Campaign does and nobody has documented, each as a switch with the likeliest setting.

Only values: what a switch changes stands where the behaviour is. Every field is listed in
docs/simulator.md with the tests that run under each of its values.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class Switches:
    """One setting of everything that is inferred or unknown about the real server."""

    # Sessions and access
    session_seconds: float = 1200.0
    """Seconds from login (or from the last use, if sliding) until a session is dead."""
    sliding_session: bool = False
    """Whether using a session prolongs it."""
    ip_binding: bool = False
    """Whether a session works only from the address that logged in."""
    connection_limit: int = 40
    """Parallel connections allowed per client."""
    connection_counts: Literal["calls", "sockets"] = "calls"
    """What counts as a connection: a call under way, or an open socket that has been used."""
    count_limit: int = 10
    """Simultaneous Recipient.getCount calls allowed per client."""
    refusal: Literal["fault", "http-503"] = "fault"
    """How a call beyond a limit is refused."""
    keep_alive_seconds: float = 60.0
    """Seconds an idle connection is kept open."""

    # addAll3 and the lists
    known_before_suppressed: bool = True
    """Whether code 5 is decided before codes 2, 3 and 4."""
    code2_stores: bool = False
    """Whether a recipient answered with code 2 is stored in the regular list all the same."""
    batch_limit: int = 1000
    """Recipients allowed in one call."""
    batch_over: Literal["fault", "cut"] = "fault"
    """A longer batch: nothing added and a fault, or the first ones added and answered."""
    system_attributes: Literal["fault", "ignored"] = "fault"
    """What writing Created, Modified, Opt-in Source or Opt-in Date does."""
    unknown_attribute: Literal["fault", "ignored"] = "fault"
    """What writing an attribute that the list lacks does."""
    bad_value: Literal["fault", "code-1"] = "fault"
    """A text that is no number or date: the whole call fails, or its row answers 1."""
    empty_number: Literal["fault", "unset"] = "fault"
    """An empty string for a number: the whole call fails, or it is taken as unset."""
    nil_number: Literal["unset", "fault"] = "unset"
    """nil for a number or date: taken as unset, or the whole call fails."""
    short_dates: Literal["accepted", "fault"] = "accepted"
    """Dates without time or offset: taken, or treated as a bad value."""
    ids_ignore_case: bool = False
    """Whether recipient ids that differ by case are one person. Set it before any content."""
    count_lag_seconds: float = 0.0
    """getCount answers the number that was true this many seconds ago."""
    bounce_reaches: bool = True
    """Whether reaching the bounce threshold is over the limit, or only passing it."""
    paging: Literal["rows", "pages"] = "rows"
    """What pageStart of getAllAdvanced counts."""
    list_order: Literal["inserted", "reversed"] = "inserted"
    """Order of rows read back without an orderBy."""

    # ClosedLoop
    job_interval_seconds: float = 86400.0
    """Seconds between two export files of response data; events show only after the next."""
    response_days: float = 30.0
    """Days from dispatch (from the event, without a mailing) until response data is gone."""
    unsubscribe_streams: Literal["overlap", "disjoint"] = "overlap"
    """Whether getUnsubscribes repeats what getMailingUnsubscribes lists."""
    since_inclusive: bool = True
    """Whether an export file made exactly at `since` is in the window."""
    until_inclusive: bool = False
    """Whether an export file made exactly at `until` is in the window."""
    closed_loop_order: Literal["oldest-first", "newest-first"] = "oldest-first"
    """Order of ClosedLoop rows; newest first shifts the pages when a file comes meanwhile."""
    page_over: Literal["clip", "fault"] = "clip"
    """What asking for more than 1000 rows does."""
    closed_loop_header: bool = False
    """Whether row 0 of the first page holds column names."""
    time_format: Literal["ms", "iso"] = "ms"
    """Times in ClosedLoop rows: milliseconds since the epoch, or ISO 8601 with offset."""
    out_bounces: Literal["changes", "all"] = "changes"
    """What an export file of getOutBounces holds: who came in since the last one, or everybody."""
    out_bounce_columns: tuple[str, ...] = ("recipient_id",)
    """Columns of getOutBounces; names as in closed_loop.COLUMNS."""
    unsubscribe_columns: tuple[str, ...] = ("recipient_id", "time")
    """Columns of getUnsubscribes."""
    mailing_unsubscribe_columns: tuple[str, ...] = ("recipient_id", "mailing_id", "time")
    """Columns of getMailingUnsubscribes."""
    response_columns: tuple[str, ...] = ("recipient_id", "mailing_id", "category", "time")
    """Columns of getResponses."""
    open_columns: tuple[str, ...] = ("recipient_id", "mailing_id", "time")
    """Columns of getOpens."""
    click_columns: tuple[str, ...] = ("recipient_id", "mailing_id", "link", "time")
    """Columns of getClicks."""
    mailing_columns: tuple[str, ...] = ("mailing_id", "name", "time", "end")
    """Columns of getMailings."""

    # The wire
    reason_phrase: bool = False
    """Whether the HTTP status line carries a reason phrase."""
    string_type: Literal["soapenc", "xsd"] = "soapenc"
    """Namespace prefix of string types in replies."""
    multiref: Literal["each", "shared"] = "each"
    """One multiRef per number, or one for all that are equal."""
    multiref_order: Literal["shuffled", "ordered"] = "shuffled"
    """Order in which the multiRef elements are written."""
    add_codes: Literal["multiref", "inline"] = "multiref"
    """How addAll3's int[] is written."""
    empty_array: Literal["array", "nil"] = "array"
    """How an array without items is written."""
    surrogate_pairs: bool = False
    """Whether a character beyond U+FFFF is written as two surrogate entities (not XML)."""
    fault_stack_trace: bool = False
    """Whether faults carry a stack trace, as in 2015."""


def default_switches() -> Switches:
    """Return the likeliest setting of each."""
    return Switches()


def changed(switches: Switches, changes: Mapping[str, object]) -> Switches:
    """Return the switches with some set anew; ValueError names what does not exist or fit."""
    hints = get_type_hints(Switches)
    fit: dict[str, object] = {}
    for name, value in changes.items():
        if name not in hints:
            raise ValueError(f"there is no switch {name!r}")
        fit[name] = _fitting(name, hints[name], value)
    return replace(switches, **fit)  # type: ignore[arg-type]  # checked by _fitting


def as_json(switches: Switches) -> dict[str, object]:
    """Return all settings as JSON takes them."""
    return asdict(switches)


def names() -> tuple[str, ...]:
    """Return the name of every switch."""
    return tuple(field.name for field in fields(Switches))


def _fitting(name: str, hint: object, value: object) -> object:
    """Return the value in the switch's own type."""
    if get_origin(hint) is Literal:
        allowed = get_args(hint)
        if value not in allowed:
            raise ValueError(f"switch {name!r} takes one of {allowed}")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise ValueError(f"switch {name!r} takes a list of column names")
        return tuple(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is bool and isinstance(value, bool):
        return value
    if hint is float and is_number:
        return float(value)  # type: ignore[arg-type]  # a number, see above
    if hint is int and is_number and isinstance(value, int):
        return value
    raise ValueError(f"switch {name!r} takes another type")
