"""One TOML file in, frozen settings out; every problem at once, none with a secret in it."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from etl.crosscheck import cross_check, shared_lists
from etl.errors import ConfigError, Problem
from etl.settings import AttributeTable, Feed, Secret, Settings
from etl.shipped import shipped
from etl.transform.check import (
    TECHNICAL_FIELDS,
    Attribute,
    CheckPlan,
    Consent,
    Dialect,
    Limits,
    plan_problems,
)
from etl.transform.schema import TableSchema, load_schema

NO_SECRETS = "none"
"""What `load` is given for a command that needs no secret."""
_NO_CREDENTIALS = "under systemd it is set; by hand, set it to the folder they lie in"
SECRET_BYTES = 16
"""A key of the suppression store has at least this many bytes."""


@dataclass(frozen=True, slots=True)
class Config:
    """Settings with all that they name: secrets read, schemas compiled, patterns compiled."""

    settings: Settings
    secrets: Mapping[str, str] = field(repr=False)
    """By their place in the configuration, such as `client.main.password`."""
    plans: Mapping[str, CheckPlan]
    """What a check of each feed's drops needs, by feed name."""

    def find_feed(self, name: str) -> Feed | None:
        """The feed of that name, None when the configuration has none (any more)."""
        return next((feed for feed in self.settings.feed if feed.name == name), None)

    def feeds_for(self, file_name: str) -> list[Feed]:
        """Every feed whose pattern fits a file name."""
        return [feed for feed in self.settings.feed if feed.matches.fullmatch(file_name)]


def load(path: Path, environment: Mapping[str, str] = os.environ, *, secrets: str = "") -> Config:
    """Read and check a configuration file; ConfigError with every problem it has.

    Only secrets whose place begins with `secrets` are read: all by default, none for a command
    that an operator runs without them.
    """
    try:
        table = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), f"is not UTF-8 at byte {error.start}")]) from None
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"\(at .*\)", str(error))
        place = where[0] if where else ""
        raise ConfigError([Problem(str(path), f"is not TOML {place}")]) from None
    return build(table, environment, secrets=secrets)


def build(
    table: Mapping[str, Any], environment: Mapping[str, str] = os.environ, *, secrets: str = ""
) -> Config:
    """Make a configuration of an already parsed table; ConfigError with every problem."""
    found = table.get("version")
    if isinstance(found, int) and found > 1:
        raise ConfigError([Problem("version", f"is {found}; this release knows version 1")])
    try:
        settings = Settings.model_validate(table)
    except ValidationError as error:
        problems = [_problem(item) for item in error.errors(include_input=False)]
        raise ConfigError([*problems, *shared_lists(table)]) from None
    problems = [*cross_check(settings), *shared_lists(table)]
    read, wrong = _read_secrets(settings, environment, secrets)
    problems += wrong
    plans: dict[str, CheckPlan] = {}
    for feed in settings.feed:
        plan, wrong = _plan(settings, feed)
        problems += wrong
        if plan is not None:
            plans[feed.name] = plan
    if problems:
        raise ConfigError(problems)
    return Config(settings, read, plans)


def _problem(item: Any) -> Problem:
    """A pydantic finding without the value that was found."""
    where = ".".join(str(part) for part in item["loc"])
    what = {
        "missing": "is missing",
        "extra_forbidden": "is no key of this service",
    }.get(item["type"], item["msg"].removeprefix("Value error, "))
    return Problem(where or "configuration", what)


def _read_secrets(
    settings: Settings, environment: Mapping[str, str], places: str
) -> tuple[dict[str, str], list[Problem]]:
    """Read the secrets whose place begins with `places`."""
    read: dict[str, str] = {}
    problems = []
    for where, secret in _secrets(settings):
        if not where.startswith(places):
            continue
        value, problem = _resolve(where, secret, environment)
        if problem is not None:
            problems.append(problem)
        elif value is not None:
            read[where] = value
            if where.startswith("suppression.") and len(value.encode()) < SECRET_BYTES:
                problems.append(Problem(where, f"has fewer than {SECRET_BYTES} bytes"))
    return read, problems


def _secrets(settings: Settings) -> Iterator[tuple[str, Secret]]:
    for number, key in enumerate(settings.suppression.keys):
        yield f"suppression.keys.{number}.secret", key.secret
    for name, client in settings.client.items():
        yield f"client.{name}.password", client.password
    for name, sftp in settings.sftp.items():
        yield f"sftp.{name}.key", sftp.key
        if sftp.passphrase is not None:
            yield f"sftp.{name}.passphrase", sftp.passphrase


def secret_path(secret: Secret, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file a secret is in; None when it comes from a variable."""
    if secret.file is not None:
        return secret.file
    folder = environment.get("CREDENTIALS_DIRECTORY")
    return Path(folder) / secret.credential if secret.credential and folder else None


def _resolve(
    where: str, secret: Secret, environment: Mapping[str, str]
) -> tuple[str | None, Problem | None]:
    """Read one secret; a final line end is not part of it."""
    given = [name for name in (secret.credential, secret.file, secret.env) if name is not None]
    if len(given) != 1:
        return None, Problem(where, "name exactly one of credential, file, env")
    if secret.env is not None:
        value = environment.get(secret.env)
        if not value:
            return None, Problem(where, f"the variable {secret.env} is not set")
        return value, None
    path = secret_path(secret, environment)
    if path is None:
        return None, Problem(where, "there is no $CREDENTIALS_DIRECTORY", _NO_CREDENTIALS)
    try:
        value = path.read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        return None, Problem(where, f"{path} cannot be read ({type(error).__name__})")
    return (value, None) if value else (None, Problem(where, f"{path} is empty"))


def _plan(settings: Settings, feed: Feed) -> tuple[CheckPlan | None, list[Problem]]:
    """The check of a feed's drops, or what is wrong with its schema and columns."""
    where = f"feed.{feed.name}"
    path = Path(feed.schema_)
    if not path.is_absolute():
        path = shipped("schemas") / f"{feed.schema_}.json"
    try:
        schema = load_schema(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        what = f"{path.name} cannot be read ({type(error).__name__})"
        return None, [Problem(f"{where}.schema", what)]
    if not isinstance(schema, TableSchema):
        return None, [Problem(f"{where}.schema", f"{path.name}: {text}") for text in schema]
    columns = {column.name for column in schema.fields}
    problems = [
        Problem(f"{where}.schema", f"{path.name} lacks the technical field {name}")
        for name in TECHNICAL_FIELDS
        if name not in columns
    ]
    if feed.recipient.column not in columns:
        what = f"{path.name} has no column {feed.recipient.column}"
        problems.append(Problem(f"{where}.recipient.column", what))
    attributes = {
        name: Attribute(value.column, value.empty)
        if isinstance(value, AttributeTable)
        else Attribute(value)
        for name, value in feed.attributes.items()
    }
    wanted = [(f"attributes.{name}", item.column) for name, item in attributes.items()]
    if feed.output is not None:
        wanted += [("output.columns", column) for column in feed.output.columns or ()]
    problems += [
        Problem(f"{where}.{key}", f"{path.name} has no column {column}")
        for key, column in wanted
        if column not in columns
    ]
    if problems:
        return None, problems
    plan = check_plan(settings, feed, schema, attributes)
    return plan, [Problem(where, text) for text in plan_problems(plan)]


def check_plan(
    settings: Settings, feed: Feed, schema: TableSchema, attributes: Mapping[str, Attribute]
) -> CheckPlan:
    """What the checking core needs to know of a feed."""
    csv, limits, guards = feed.csv, settings.limits, feed.guards
    return CheckPlan(
        schema=schema,
        consent=Consent(feed.consent.opt_in_id, feed.consent.description, feed.consent.media_type),
        address_column=feed.recipient.column,
        attributes=attributes,
        dialect=Dialect(csv.encoding, csv.delimiter, csv.quote, csv.decimal),
        recipient_id=feed.recipient.id,
        extra_columns=csv.extra_columns,
        duplicates=feed.duplicates,
        final_newline="optional" if feed.done_marker else csv.final_newline,
        entity_types=tuple(feed.entity_types),
        tracking_opt_out=feed.tracking_opt_out,
        limits=Limits(limits.file_bytes, limits.line_bytes, limits.columns),
        rejected_rows_limit=guards.rejected_rows,
        rejected_share_limit=guards.rejected_share,
        rejected_share_floor=guards.rejected_floor,
    )
