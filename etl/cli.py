"""What a user types: commands in, exit codes out. Decides nothing about drops.

0 done, 1 something was rejected, quarantined or held, 2 usage, 69 far side unavailable, 70 bug,
75 another instance holds the state directory, 78 configuration.
"""

import contextlib
import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from etl import __version__, app, show
from etl.asking import ask
from etl.batch import new_id
from etl.config import NO_SECRETS, Config
from etl.demo import run_demo
from etl.errors import ConfigError, EtlError, Problem, disk_error
from etl.forecast import Memory, forecast
from etl.guards import RELEASABLE
from etl.inspection import far_problems, local_problems
from etl.journal.requests import MISMATCH
from etl.lift_command import suppression
from etl.load.quarantine import list_cases, read_report
from etl.log import Event, configure, install_hooks, log
from etl.options import DEFAULT, OUT, AsJson, ConfigPath, Why, answer, load_config
from etl.responses_command import responses
from etl.rollback import VERB
from etl.trial import NoFeed, try_file

cli = typer.Typer(
    name="etl",
    help="Keeps Campaign recipient lists equal to the CRM's daily exports.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
quarantine = typer.Typer(help="Cases that wait for ops.", no_args_is_help=True)
refill = typer.Typer(help="What a refill would change, and the way back.", no_args_is_help=True)
cli.add_typer(quarantine, name="quarantine")
cli.add_typer(refill, name="refill")
cli.add_typer(responses, name="responses")
cli.add_typer(suppression, name="suppression")

Allow = Annotated[list[str], typer.Option("--allow", help="|".join(sorted(RELEASABLE)))]


@cli.command()
def run(config: ConfigPath = DEFAULT) -> None:
    """Run the daemon until it is told to stop."""
    raise typer.Exit(app.run(load_config(config), once=False))


@cli.command()
def once(config: ConfigPath = DEFAULT) -> None:
    """Take what is in the inbox through, then end."""
    raise typer.Exit(app.run(load_config(config), once=True))


@cli.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder to look into.")] = False,
) -> None:
    """Show the whole path on embedded servers; nothing to set up, nothing leaves this machine."""
    raise typer.Exit(run_demo(OUT, keep=keep))


@cli.command()
def check(
    config: ConfigPath = DEFAULT,
    as_json: AsJson = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no far side.")] = False,
) -> None:
    """Check configuration, schemas, folders and far sides; every problem at once, no change."""
    code, problems = 0, list[Problem]()
    try:
        loaded = load_config(config)
        problems = local_problems(loaded)
        if not problems and not offline:
            found = list(far_problems(loaded))
            problems = [problem for problem, _ in found]
            code = max((worth for _, worth in found), default=0)
    except ConfigError as error:
        if not as_json:
            raise
        problems = list(error.problems)
    rows = [{"where": each.where, "what": each.what, "hint": each.hint} for each in problems]
    answer({"problems": rows}, as_json=as_json)
    raise typer.Exit(code or (ConfigError.exit_code if problems else 0))


@cli.command()
def validate(
    file: Path,
    config: ConfigPath = DEFAULT,
    feed: Annotated[str | None, typer.Option(help="The feed to judge by.")] = None,
    schema: Annotated[str | None, typer.Option(help="A schema alone, without a feed.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what would happen to this file; no effect, no network."""
    try:
        loaded = None if schema else load_config(config, secrets=NO_SECRETS)
        found = try_file(file, loaded, feed, schema)
    except NoFeed as error:
        raise typer.BadParameter(str(error)) from None
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}") from None
    answer(found, as_json=as_json)
    raise typer.Exit(1 if found["refusal"] or found["rejected"] else 0)


@cli.command()
def status(config: ConfigPath = DEFAULT, as_json: AsJson = False) -> None:
    """Tell where every batch is and how the daemon is."""
    journal = app.open_journal(load_config(config, secrets=NO_SECRETS))
    try:
        answer(show.status(journal, datetime.now(UTC)), as_json=as_json)
    finally:
        journal.close()


@cli.command()
def release(batch: str, allow: Allow, why: Why, config: ConfigPath = DEFAULT) -> None:
    """Let a batch pass row guards, this once; guards of the world cannot be released.

    With list-mismatch a list is cleared again, at most twice more.
    """
    _ask("release", batch, _releasable(allow, MISMATCH), why, config)


def _releasable(allow: list[str], *more: str) -> list[str]:
    codes = sorted({code for text in allow for code in text.split(",")})
    wrong = [code for code in codes if code not in RELEASABLE.union(more)]
    if wrong:
        raise typer.BadParameter(f"{', '.join(wrong)} cannot be released")
    return codes


@cli.command()
def discard(batch: str, why: Why, config: ConfigPath = DEFAULT) -> None:
    """End a batch in CLAIMED or UPLOADED that nobody wants."""
    _ask("discard", batch, [], why, config)


def _ask(verb: str, batch: str, codes: list[str], why: str, config: Path) -> None:
    """Write a request; the daemon takes it at its next scan, or `etl once` when it runs."""
    with contextlib.closing(app.open_journal(load_config(config, secrets=NO_SECRETS))) as journal:
        found = journal.batches.find(batch)
        if found is None:
            raise typer.BadParameter(f"there is no batch {batch}")
        refusal = show.refusal(verb, found, codes)
        if refusal:
            raise typer.BadParameter(refusal)
        OUT.print(ask(journal, verb, batch, codes, why).words)


@quarantine.command("list")
def quarantine_list(config: ConfigPath = DEFAULT, as_json: AsJson = False) -> None:
    """List the cases, oldest first."""
    cases = list_cases(load_config(config, secrets=NO_SECRETS).settings.folders.quarantine)
    answer({"cases": [show.case(each) for each in cases]}, as_json=as_json)


@quarantine.command("show")
def quarantine_show(case: str, config: ConfigPath = DEFAULT, as_json: AsJson = False) -> None:
    """Show one case: what happened, why, what to do."""
    root = load_config(config, secrets=NO_SECRETS).settings.folders.quarantine
    found = [each.case for each in list_cases(root) if each.case.startswith(case)]
    if len(found) != 1:
        raise typer.BadParameter(f"{len(found)} cases begin with {case}")
    report = read_report(root / found[0] / "report.json")
    answer({**report, "folder": str(root / found[0])}, as_json=as_json)


@refill.command("plan")
def refill_plan(
    feed: str,
    file: Annotated[Path | None, typer.Argument()] = None,
    config: ConfigPath = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Tell what this file would change in the feed's list, or without one what a rollback would."""
    found = _forecast(load_config(config, secrets="suppression."), feed, file)
    answer(found, as_json=as_json)
    raise typer.Exit(1 if found["refusal"] or found["guards"] else 0)


@refill.command("rollback")
def refill_rollback(
    feed: str, why: Why, allow: Allow = [], config: ConfigPath = DEFAULT  # noqa: B006 - typer's way
) -> None:  # fmt: skip
    """Put back what the feed's list held before, without who must not be mailed by now."""
    codes, loaded = _releasable(allow), load_config(config, secrets="suppression.")
    plan = _forecast(loaded, feed, None)
    speaks_against = show.against_rollback(plan, codes)
    if speaks_against:
        answer({"nothing_was_done": speaks_against}, as_json=False)
        raise typer.Exit(1)
    batch = new_id(datetime.now(UTC))
    with contextlib.closing(app.open_journal(loaded)) as journal:
        source, undone = plan["rollback_of"], plan["undoes"]
        OUT.print(ask(journal, VERB, batch, codes, why, feed, source, undone).words)
    OUT.print(f"batch {batch} is to put the rows of {source} back: see `etl status`")


def _forecast(config: Config, name: str, file: Path | None) -> dict[str, Any]:
    feed = config.find_feed(name)
    if feed is None:
        raise typer.BadParameter(f"there is no feed {name}")
    journal = app.open_journal(config, read_only=True)
    try:
        with contextlib.closing(app.open_suppressions(config)) as store:
            return forecast(Memory(config, journal, store, datetime.now(UTC)), feed, file)
    except OSError as error:
        if file is None:
            raise
        raise typer.BadParameter(f"{file}: {error.strerror}") from None
    finally:
        journal.close()


@cli.command()
def version() -> None:
    """Print the version."""
    OUT.print(__version__)


def main() -> None:
    """Run a command; every error of ours ends in its exit code and its words, without a trace."""
    configure(sys.stderr)
    install_hooks()
    try:
        cli()
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)  # noqa: T201 - words for people
        raise SystemExit(error.exit_code) from None
    except EtlError as error:
        print(f"{error}\n{error.hint}", file=sys.stderr)  # noqa: T201 - words for people
        raise SystemExit(error.exit_code) from None
    except (OSError, sqlite3.Error) as error:
        # Nobody could go on without this disk; no bug, whatever the state of the disk.
        trouble = disk_error(error)
        print(f"{trouble}\n{trouble.hint}", file=sys.stderr)  # noqa: T201 - words for people
        raise SystemExit(trouble.exit_code) from None
    except Exception as error:  # noqa: BLE001 - typer puts its own hook in place of ours, with words
        log(Event.BUG, error=error)
        raise SystemExit(EtlError.exit_code) from None
