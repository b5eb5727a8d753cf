"""What `etl.toml` may say of a feed: its drops, its consent, its list, its guards."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from etl.guards import RowBounds
from etl.settings.values import Count, Name, Pattern, Positive, Share, Table


class Consent(Table):
    """The one advertising consent of a feed."""

    opt_in_id: str = Field(alias="opt-in-id", min_length=1)
    description: str | None = None
    media_type: Literal["EMAIL"] = Field(default="EMAIL", alias="media-type")


class Csv(Table):
    """How a feed's drops are written."""

    encoding: Literal["utf-8", "utf-8-sig", "utf-16", "windows-1252", "iso-8859-15"] = "utf-8"
    delimiter: Literal[",", ";", "\t", "|"] = ";"
    quote: Literal['"', "'"] = '"'
    decimal: Literal[",", "."] = ","
    final_newline: Literal["required", "optional"] = "required"
    extra_columns: Literal["reject", "ignore"] = "reject"


class Output(Table):
    """How the uploaded file is written when it is not the drop's own records."""

    delimiter: Literal[",", ";", "\t", "|"] | None = None
    columns: list[str] | None = None


class Recipient(Table):
    """Campaign's key of a person."""

    id: Literal["email", "entity"] = "email"
    column: str = "email"
    """The column that holds the e-mail address."""


class List(Table):
    """The recipient list of a feed; its name is pinned against a wrong id."""

    id: Count
    name: Annotated[str, Field(min_length=1)]


class AttributeTable(Table):
    """One attribute of the list: which column fills it, what an empty cell sends."""

    column: str
    empty: str | None = None


class Guards(Table):
    """How far a drop may differ from the last refill."""

    min_rows: Count | None = None
    max_shrink: Share = 0.2
    max_growth: Annotated[float, Field(ge=1)] = 2.0
    max_staged_hours: Positive = 168.0
    rejected_rows: Annotated[int, Field(ge=0)] = 1000
    rejected_share: Share = 0.05
    rejected_floor: Annotated[int, Field(ge=0)] = 20
    """The share counts only above this many rejected rows."""
    poisoned_rows: Annotated[int, Field(ge=0)] = 20
    believe_count_after_seconds: Annotated[float, Field(ge=0)] = 60.0
    """getCount may lag: a mismatch is believed only after this long."""

    @property
    def bounds(self) -> RowBounds:
        """The bounds as the row guards take them."""
        return RowBounds(self.min_rows, self.max_shrink, self.max_growth)


class Feed(Table):
    """One selection of recipients: its drops, its consent, its list."""

    name: Name
    pattern: Pattern
    """Regular expression for the whole file name; a group `date` orders drops."""
    schema_: str = Field(alias="schema")
    """Name of a shipped Table Schema (contacts, leads, accounts), or an absolute path."""
    kind: str
    """`regular`; anything else is refused: addAll3 on an opt-in list re-activates people."""
    client: Name
    consent: Consent
    recipient: Recipient = Recipient()
    entity_types: list[str] = Field(default_factory=list)
    duplicates: Literal["first", "reject-all"] = "first"
    tracking_opt_out: str | None = None
    """The boolean column that says who does not want opens and clicks to be told to the CRM."""
    done_marker: str | None = None
    """Suffix of a file that says the drop is complete, e.g. ".done"; then only that counts."""
    csv: Csv = Csv()
    output: Output | None = None
    sftp: Name | None = None
    list: List | None = None
    attributes: dict[str, str | AttributeTable] = Field(default_factory=dict)
    guards: Guards = Guards()

    @field_validator("kind")
    @classmethod
    def _regular(cls, text: str) -> str:
        if text != "regular":
            raise ValueError('must be "regular": addAll3 on an opt-in list re-activates people')
        return text

    @property
    def matches(self) -> re.Pattern[str]:
        """The compiled file pattern."""
        return re.compile(self.pattern)
