"""`etl responses`: how fresh response data is, and the wish that it be fetched now.

The daemon fetches; here it is asked, and waited for where that is wanted.
"""

import contextlib
import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from etl import app, show
from etl.asking import ask
from etl.config import NO_SECRETS
from etl.freshness import PROGRESS
from etl.journal import Journal
from etl.options import DEFAULT, OUT, AsJson, ConfigPath, answer, load_config
from etl.reasons import REASONS
from etl.show import is_heard

responses = typer.Typer(help="Bounces, unsubscriptions and blocklist.", no_args_is_help=True)

LOOK_SECONDS = 0.5


@responses.command("fetch")
def fetch(
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is over.")] = False,
    config: ConfigPath = DEFAULT,
) -> None:
    """Ask the daemon to fetch response data now; with --wait 1 tells that it could not."""
    with contextlib.closing(app.open_journal(load_config(config, secrets=NO_SECRETS))) as journal:
        asked = ask(journal, "fetch", None, [], "asked on the command line")
        OUT.print(asked.words)
        outcome = await_outcome(journal, asked.number) if wait and asked.heard else None
    if outcome == "done":
        OUT.print("fetched, and handed to the CRM")
    elif outcome is not None:
        OUT.print(f"not fetched: {outcome}; {REASONS[outcome].hint}")
    if wait and outcome != "done":
        raise typer.Exit(1)


@responses.command("status")
def status(config: ConfigPath = DEFAULT, as_json: AsJson = False) -> None:
    """Tell how fresh the suppression data of every client is."""
    with contextlib.closing(
        app.open_suppressions(load_config(config, secrets="suppression."))
    ) as store:
        found = [
            show.client(each, datetime.now(UTC), store.unfit(each.client).kept())
            for each in store.status()
        ]
    answer({"clients": found}, as_json=as_json)


def await_outcome(journal: Journal, number: int) -> str | None:
    """What came of a request, None when the daemon has stopped; progress is told meanwhile."""
    told = {key: value for key, value in journal.requests.pulse().items() if PROGRESS in key}
    while (outcome := journal.requests.outcome(number)) is None:
        if not is_heard(journal, datetime.now(UTC)):
            OUT.print("the daemon has stopped")
            return None
        time.sleep(LOOK_SECONDS)
        for key, value in journal.requests.pulse().items():
            if key.startswith(PROGRESS) and told.get(key) != value:
                told[key] = value
                OUT.print(f"{key.removeprefix(PROGRESS)} {value}")
    return outcome
