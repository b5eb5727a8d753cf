"""What `etl.toml` may say: every key, its default and its bounds. Frozen once read.

Nothing is read from disk here; `etl.config` reads, and checks what belongs together.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from etl.guards import RowBounds
from etl.ports import Stream


def _plain(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", text):
        raise ValueError("use 1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit")
    return text


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("give an absolute path")
    return path


Name = Annotated[str, AfterValidator(_plain)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Cell = Literal["recipient-id", "time", "mailing-id", "ignore"]


class _Table(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False
    )


class Secret(_Table):
    """Where a secret comes from: exactly one of a systemd credential, a file, a variable."""

    credential: str | None = None
    """Name of a file in $CREDENTIALS_DIRECTORY (systemd LoadCredential)."""
    file: AbsolutePath | None = None
    env: str | None = None


class Folders(_Table):
    """The folders a user sees, and the daemon's own."""

    inbox: AbsolutePath
    quarantine: AbsolutePath
    receipts: AbsolutePath
    responses: AbsolutePath
    state: AbsolutePath
    """On a local disk, 0700."""


class Scan(_Table):
    """How the inbox is looked at."""

    every_seconds: Positive = 2.0
    sightings: Annotated[int, Field(ge=1, le=1000)] = 3
    """Scans in a row that must see a file unchanged before it is complete."""
    watch: Literal["native", "polling", "off"] = "native"
    """watchdog's observer, a mere hint; `polling` or `off` for shares."""


class Archive(_Table):
    """Days that archived drops and cases are kept."""

    days: Count = 30
    quarantine_days: Count = 90


class FarSide(_Table):
    """How often and how long a far side is tried before a batch is held."""

    tries: Annotated[int, Field(ge=1, le=20)] = 5
    first_seconds: Positive = 1.0
    most_seconds: Positive = 60.0
    again_minutes: Positive = 5.0
    later_minutes: Positive = 30.0
    """A held batch is tried again after `again_minutes`, from the fourth time `later_minutes`."""


class LimitsTable(_Table):
    """What a drop may cost."""

    file_bytes: Count = 2_000_000_000
    line_bytes: Count = 65_536
    columns: Count = 512


class StoreKeyTable(_Table):
    """One key of the suppression store; the first listed serves new rows, all serve look-ups."""

    id: Name
    secret: Secret


class Suppression(_Table):
    """Who must not be mailed: how fresh that knowledge must be."""

    keys: Annotated[list[StoreKeyTable], Field(min_length=1)]
    fetch_every_minutes: Positive = 60.0
    """Besides the fetch before every transfer."""
    max_age_hours: Annotated[float, Field(gt=0, le=720)] = 24.0
    max_shrink: Share = 0.5
    """A blocklist that lost more than this share since the last fetch holds everything."""


class Responses(_Table):
    """The CRM's files of bounces and unsubscriptions."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ";"
    empty: Literal["header", "none"] = "header"
    """What an empty window gives: a file with the header alone, or no file."""


class Sftp(_Table):
    """One SFTP account and folder."""

    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    user: str
    key: Secret
    """The private key: Ed25519, or RSA of 2048 bits and more (Campaign takes RSA)."""
    passphrase: Secret | None = None
    host_keys: Annotated[list[str], Field(min_length=1, max_length=4)]
    """The server's pinned keys as in known_hosts: "ssh-ed25519 AAAA…"; two for a rotation."""
    folder: str = "."
    connect_seconds: Positive = 5.0
    answer_seconds: Positive = 30.0
    put_seconds: Positive = 3600.0
    tcp_user_timeout_seconds: Positive = 30.0


class Client(_Table):
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
    """Whether the client has the closed-loop interface; without it nothing can be fetched yet."""
    layouts: dict[Stream, list[Cell]] = Field(default_factory=dict)
    """Columns of the rows that Campaign gives; not documented, so they are set, never guessed."""
    header_row: bool = False  # whether the first row of a window holds names of columns
    short_items: bool = False
    """Send array items without xsi:type: smaller; off until seen to work on the account."""


class Consent(_Table):
    """The one advertising consent of a feed."""

    opt_in_id: str = Field(alias="opt-in-id", min_length=1)
    description: str | None = None
    media_type: Literal["EMAIL"] = Field(default="EMAIL", alias="media-type")


class Csv(_Table):
    """How a feed's drops are written."""

    encoding: Literal["utf-8", "utf-8-sig", "utf-16", "windows-1252", "iso-8859-15"] = "utf-8"
    delimiter: Literal[",", ";", "\t", "|"] = ";"
    quote: Literal['"', "'"] = '"'
    decimal: Literal[",", "."] = ","
    final_newline: Literal["required", "optional"] = "required"
    extra_columns: Literal["reject", "ignore"] = "reject"


class Output(_Table):
    """How the uploaded file is written when it is not the drop's own records."""

    delimiter: Literal[",", ";", "\t", "|"] | None = None
    columns: list[str] | None = None


class Recipient(_Table):
    """Campaign's key of a person."""

    id: Literal["email", "entity"] = "email"
    column: str = "email"
    """The column that holds the e-mail address."""


class List(_Table):
    """The recipient list of a feed; its name is pinned against a wrong id."""

    id: Count
    name: Annotated[str, Field(min_length=1)]


class AttributeTable(_Table):
    """One attribute of the list: which column fills it, what an empty cell sends."""

    column: str
    empty: str | None = None


class Guards(_Table):
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


class Feed(_Table):
    """One selection of recipients: its drops, its consent, its list."""

    name: Name
    pattern: str
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
    done_marker: str | None = None
    """Suffix of a file that says the drop is complete, e.g. ".done"; then only that counts."""
    csv: Csv = Csv()
    output: Output | None = None
    sftp: Name | None = None
    list: List | None = None
    attributes: dict[str, str | AttributeTable] = Field(default_factory=dict)
    guards: Guards = Guards()

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, text: str) -> str:
        try:
            re.compile(text)
        except (re.error, OverflowError, RecursionError):
            raise ValueError("this is no regular expression") from None
        return text

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


class Settings(_Table):
    """The whole configuration."""

    version: Literal[1]
    instance: Name = "etl"
    folders: Folders
    scan: Scan = Scan()
    archive: Archive = Archive()
    far_side: FarSide = FarSide()
    limits: LimitsTable = LimitsTable()
    suppression: Suppression
    responses: Responses = Responses()
    sftp: dict[Name, Sftp] = Field(default_factory=dict)
    client: dict[Name, Client]
    feed: Annotated[list[Feed], Field(min_length=1)]
