"""What values of the configuration may be: names, paths, zones, patterns, shares, secrets."""

import re
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _plain(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", text):
        raise ValueError("use 1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit")
    return text


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("give an absolute path")
    return path


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError("this is no time zone, like Europe/Berlin") from None
    return name


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError):
        raise ValueError("this is no regular expression") from None
    return text


Name = Annotated[str, AfterValidator(_plain)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Zone = Annotated[str, AfterValidator(_zone)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Table(BaseModel):
    """One table of the configuration: frozen, and without keys that are not known."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False
    )


class Secret(Table):
    """Where a secret comes from: exactly one of a systemd credential, a file, a variable."""

    credential: str | None = None
    """Name of a file in $CREDENTIALS_DIRECTORY (systemd LoadCredential)."""
    file: AbsolutePath | None = None
    env: str | None = None
