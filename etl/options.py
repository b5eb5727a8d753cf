"""What every command is typed with and answers by: the options, the configuration, the answer.

It has no command of its own.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from etl import app, show
from etl.config import Config, load

DEFAULT = Path("/etc/etl/etl.toml")
OUT = Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def _said(why: str) -> str:
    if not why.strip():
        raise typer.BadParameter("say why; it is kept in the journal")
    return why


ConfigPath = Annotated[
    Path, typer.Option("--config", "-c", envvar="ETL_CONFIG", help="The configuration file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
Why = Annotated[str, typer.Option("--why", callback=_said, help="The reason, kept in the journal.")]


def answer(value: Any, *, as_json: bool) -> None:
    """Print an answer, for people or for machines."""
    if as_json:
        print(json.dumps(value, indent=2, default=str))  # noqa: T201 - the answer itself
    else:
        show.answer(OUT, value)


def load_config(path: Path, secrets: str = "") -> Config:
    """Read the configuration; from then on no log line shows a secret of it."""
    loaded = load(path, secrets=secrets)
    app.hide_secrets(loaded)
    return loaded
