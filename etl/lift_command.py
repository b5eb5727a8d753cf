"""`etl suppression lift`: what keeps somebody out, and the wish that it no longer does.

It changes nothing by itself. Nobody is named in the wish, in an answer or in an error: a person
goes from here on as a keyed hash.
"""

import contextlib
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Annotated, Any

import polars as pl
import typer

from etl import app
from etl.asking import ask
from etl.extract.folding import folded_address
from etl.extract.lifts import LIFTED, Entry, wishes
from etl.journal.requests import LIFT
from etl.options import DEFAULT, AsJson, ConfigPath, Why, answer, load_config
from etl.transform.suppress import is_blocked

suppression = typer.Typer(help="Who must not be mailed.", no_args_is_help=True)

FROM_INPUT = "-"
_MOST_BYTES = 1024
_CAMPAIGN = {
    "unsubscribed": "Campaign, while it says itself that the person is unsubscribed: it is asked"
    " before every transfer, and its answer counts anew",
    "bounced": "Campaign, while the address is beyond its bounce limit",
}
_NOTHING = "nothing here keeps this person out; Campaign is asked before every transfer"
_CANNOT = "nothing of it can be lifted here"
_CHANGES = "lifted here, when the request is taken; nothing changes at Campaign"
_BLOCKLIST = "the blocklist: it is Campaign's own and is changed there"
_BY_NAME = {
    "address": "an entity that carried the address before: it is lifted by its own name",
    "entity": "an address of the entity that no drop linked with it, and the blocklist, which"
    " knows addresses only: an address is lifted by its own name",
}


@suppression.command("lift", context_settings={"allow_extra_args": True})
def lift(
    context: typer.Context,
    person: Annotated[str, typer.Argument(
        metavar="ADDRESS",
        help="An e-mail address or entity-type:entity-id. `-` reads it from standard input, so"
        " that it stands in no list of processes and no history of a shell.",
    )],
    why: Why,
    client: Annotated[
        str | None, typer.Option(help="Whose suppression; needed when there are several.")
    ] = None,
    config: ConfigPath = DEFAULT,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Let somebody be mailed again who bounced or unsubscribed, as far as it is for us to say.

    The daemon takes the wish between two steps. 0 when it is written or when nothing keeps the
    person out, 1 when only the blocklist does.
    """
    if context.args:
        raise typer.BadParameter("one person at a time; put the reason in quotes")
    loaded = load_config(config, secrets="suppression.")
    name = _client(loaded.settings.client, client)
    typed = _typed(person)
    if "@" in why or typed.lower() in why.lower():
        raise typer.BadParameter("the reason is kept in the journal: nobody is named in it")
    with contextlib.closing(app.open_suppressions(loaded)) as store:
        found = store.lifts.speaking_against(name, typed)
        patterns = _matching(store.patterns(name), typed)
    wanted = [wish.text for wish in wishes(found)]
    told = _told(name, found, patterns, "address" if "@" in typed else "entity")
    if wanted:
        with contextlib.closing(app.open_journal(loaded)) as journal:
            told["request"] = ask(journal, LIFT, None, wanted, why, client=name).words
    answer(told, as_json=as_json)
    raise typer.Exit(1 if not wanted and (found or patterns) else 0)


def _client(clients: Collection[str], asked: str | None) -> str:
    """The one client there is, or the one that was asked for."""
    if asked is None and len(clients) == 1:
        return next(iter(clients))
    if asked is None:
        raise typer.BadParameter(f"say whose with --client: {', '.join(sorted(clients))}")
    if asked not in clients:
        raise typer.BadParameter(f"there is no client {asked}")
    return asked


def _typed(person: str) -> str:
    """A person as typed or read from standard input; no error repeats it."""
    if person == FROM_INPUT:
        content = sys.stdin.buffer.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise typer.BadParameter("standard input holds more than one person")
        person = content.decode("utf-8", "surrogateescape")
    person = person.strip()
    entity_type, _, entity_id = person.partition(":")
    if not person.isprintable() or not ("@" in person or (entity_type and entity_id)):
        raise typer.BadParameter("that is neither an address nor entity-type:entity-id")
    return person


def _matching(patterns: Sequence[str], person: str) -> int:
    """How many patterns of the blocklist keep an address out."""
    if "@" not in person:
        return 0
    row = pl.DataFrame({
        "record": [0], "address": [folded_address(person)], "address_dropped": [person],
        "entity_type": [""], "entity_id": [""],
    })  # fmt: skip
    return sum(is_blocked(row, [pattern]).height for pattern in patterns)


def _told(name: str, found: Sequence[Entry], patterns: int, about: str) -> dict[str, Any]:
    """What was found, what the lift will do, and who will keep the person out all the same."""
    said = Counter((each.kind, each.source, each.person.about) for each in found)
    since: dict[tuple[str, str, str], datetime] = {}
    for each in found:
        what = (each.kind, each.source, each.person.about)
        since[what] = min(since.get(what, each.since), each.since)
    kinds = [kind for kind in LIFTED if any(each.kind == kind for each in found)]
    to_lift = sum(each.kind in LIFTED for each in found)
    blocked = patterns or to_lift < len(found)
    still = [_BLOCKLIST] if blocked else []
    still += [*(_CAMPAIGN[kind] for kind in kinds), _BY_NAME[about]]
    return {
        "client": name,
        "found": [
            {
                "kind": kind, "source": source, "about": part, "entries": entries,
                "since": since[kind, source, part],
                "lifted": kind in LIFTED,
            }
            for (kind, source, part), entries in said.items()
        ],
        "patterns": patterns,
        "to_lift": to_lift,
        "result": _CHANGES if to_lift else _CANNOT if blocked else _NOTHING,
        "kept_out_still_by": [{"who": who} for who in still] if found or patterns else [],
        "request": None,
    }  # fmt: skip
