"""What `etl.toml` may say of a Campaign client: API user, response data, export files."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from etl.ports import SUPPRESSING, Stream
from etl.settings.values import (
    AbsolutePath,
    Count,
    Pattern,
    Positive,
    Secret,
    Table,
    Zone,
)

Cell = Literal[
    "recipient-id", "time", "mailing-id", "category", "link", "campaign-id", "name", "start", "end",
    "ignore",
]  # fmt: skip


def _finds_campaigns(text: str) -> str:
    if "campaign" not in re.compile(text).groupindex:
        raise ValueError("it needs a group (?P<campaign>…)")
    return text


TOLD = {"bounces": Stream.RESPONSES, "clicks": Stream.CLICKS, "opens": Stream.OPENS}
"""The stream of what the CRM may be told besides what suppresses."""
CampaignPattern = Annotated[Pattern, AfterValidator(_finds_campaigns)]


class ExportFile(Table):
    """How one export job names and writes its files."""

    pattern: Pattern
    """Regular expression for the whole file name."""
    delimiter: Literal[",", ";", "\t", "|"] = ";"
    encoding: Literal["utf-8", "utf-8-sig", "utf-16", "windows-1252", "iso-8859-15"] = "utf-8"
    header: bool = True
    """Whether the first line of each file holds names of columns."""
    final_newline: Literal["required", "optional"] = "required"
    content: Literal["changes", "full"] = "changes"
    """Whether a file holds what is new since the last one, or everybody each time."""


class Exports(Table):
    """Where the export files of a client lie; besides these keys one table per stream."""

    model_config = ConfigDict(extra="allow")

    # The other keys are methods: `[client.NAME.exports.getOutBounces]`.
    __pydantic_extra__: dict[str, ExportFile] = Field(init=False)

    sftp: str
    """Name of the sftp account; its folder is where the files lie."""
    expected_hours: Annotated[float, Field(gt=0, le=720)] = 48.0
    """A stream that says who must not be mailed has a file at least this young."""
    settle_minutes: Annotated[float, Field(ge=0, le=1440)] = 5.0
    """A file that was changed later than this is not read yet."""

    @property
    def files(self) -> Mapping[Stream, ExportFile]:
        """The tables of the streams there are."""
        known = {stream.value: stream for stream in Stream}
        return {known[key]: table for key, table in self._tables().items() if key in known}

    @property
    def unknown(self) -> list[str]:
        """Keys that are no stream."""
        return sorted(self._tables().keys() - {stream.value for stream in Stream})

    def _tables(self) -> dict[str, ExportFile]:
        return self.__pydantic_extra__ or {}


def _clock_time(text: str) -> str:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError("give a time like 05:30")
    return text


class ScheduleTable(Table):
    """When response data is fetched, in place of an interval."""

    zone: Zone
    times: Annotated[list[Annotated[str, AfterValidator(_clock_time)]], Field(min_length=1)]
    """Local times, every day."""


class Client(Table):
    """One Campaign client (mandator) and its API user."""

    mandator: Count
    user: str
    password: Secret
    endpoint: str = "https://api.campaign.episerver.net/soap11/"
    ca_file: AbsolutePath | None = None
    """Authority to trust instead of the system's."""
    media_type: Literal["EMAIL"] = "EMAIL"
    chunk_rows: Annotated[int, Field(ge=1, le=1000)] = 800
    live_check_rows: Annotated[int, Field(ge=1, le=1000)] = 500
    connect_seconds: Positive = 5.0
    read_seconds: Positive = 30.0
    call_seconds: Positive = 120.0
    session_minutes: Annotated[float, Field(gt=0, le=19)] = 15.0
    lifetime_days: Annotated[int, Field(ge=14, le=30)] = 30
    """How long Campaign keeps response data."""
    overlap_hours: Positive = 24.0
    """Windows of response data overlap by this much; rows seen before are not taken twice."""
    closed_loop: bool = True
    """Whether the client has the closed-loop interface."""
    exports: Exports | None = None
    """Where response data comes from instead."""
    schedule: ScheduleTable | None = None
    job_interval_hours: Positive = 24.0
    """How often Campaign prepares response data."""
    layouts: dict[Stream, list[Cell]] = Field(default_factory=dict)
    """Columns of the rows that Campaign gives; not documented, so they are set, never guessed."""
    header_row: bool = False
    """Whether the first row of a window holds names of columns."""
    repeating: list[Stream] = Field(default_factory=list)
    """Streams of which every export file repeats the rows of the one before."""
    time_zone: Zone | None = None
    """Of times that Campaign writes without one; without it such a page does not fit."""
    other_ids: Literal["stop", "unassigned"] = "stop"
    """What a recipient id that is neither an address nor type:id does: it stops its window, or is
    told as nobody's, for accounts whose other lists have ids of their own."""
    tell: list[Literal["bounces", "opens", "clicks"]] = Field(default_factory=list)
    """What else the CRM is told: bounces below the limit, opens and clicks of its campaigns."""
    campaign_pattern: CampaignPattern | None = None
    """Finds the CRM's campaign, the group `campaign`, in the name of a mailing."""
    short_items: bool = False
    """Send array items without xsi:type: smaller; off until seen to work on the account."""

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that are read; the mailings before what needs them."""
        told = [TOLD[each] for each in sorted(set(self.tell))]
        columns = self.layouts.get(Stream.MAILINGS, ())
        known_by_mailing = self.campaign_pattern is not None or "campaign-id" in columns
        needed = known_by_mailing and {Stream.OPENS, Stream.CLICKS} & set(told)
        return (*SUPPRESSING, *([Stream.MAILINGS] if needed else []), *told)
