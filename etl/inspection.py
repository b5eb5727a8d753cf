"""`etl check`: every problem of a configuration and of what it names, at once, changing nothing.

Files first; only when these are sound are the far sides asked.
"""

from collections.abc import Callable, Iterator

from etl import app
from etl.config import Config
from etl.errors import ConfigError, EtlError, FarSideUnavailable, Problem
from etl.extract.responses import ClientPlan, read_page
from etl.freshness import client_plan
from etl.guards import list_problems
from etl.ports import Clock, RecipientList, Window
from etl.settings import Feed
from etl.world import Campaign

NOBODY = "nobody@example.org"
"""Asked about, so that a permission that lacks is seen before the first drop."""
CONFIGURATION, FAR_SIDE = ConfigError.exit_code, FarSideUnavailable.exit_code


def local_problems(config: Config) -> list[Problem]:
    """What is wrong with folders, keys, certificates, journal and store."""
    problems = app.check_folders(config.settings) + app.check_far_access(config)
    for name in config.settings.client:
        try:
            app.campaign_session(config, name, app.unstopped_clock()).close()
        except ConfigError as error:
            problems += error.problems
    try:
        journal = app.open_journal(config, read_only=True)
    except ConfigError:
        return problems  # nothing ran yet
    except EtlError as error:
        if error.code == "not-migrated":
            return problems  # the next start brings it up to date; here nothing is changed
        return [*problems, _problem("folders.state", error)]
    problems += app.journal_problems(config, journal)
    journal.close()
    try:
        app.open_suppressions(config).close()
    except ConfigError as error:
        problems += error.problems
    except EtlError as error:
        if error.code != "not-migrated":
            problems.append(_problem("folders.state", error))
    return problems


def far_problems(config: Config) -> Iterator[tuple[Problem, int]]:
    """What the far sides say, each with the exit code it is worth."""
    clock = app.unstopped_clock()
    for name, drop in app.drops(config, clock, tries=1).items():
        # The default binds the loop variable; mypy cannot infer a lambda that has one.
        yield from _asked(f"sftp.{name}", lambda drop=drop: drop.stat(".etl-check"))  # type: ignore[misc]  # see above
        drop.close()
    for name, campaign in app.campaigns(config, clock, tries=1).items():
        exports = config.settings.client[name].exports
        plan = client_plan(config.settings, name)
        if exports is not None:
            hours = exports.expected_hours
            yield from _stream_problems(f"client.{name}.exports", campaign, clock, plan, hours)
        # The clock of export files is our own, so another question has to log in.
        first = campaign.responses.now if exports is None else campaign.responses.blocklist
        login = list(_asked(f"client.{name}", first))
        yield from login
        if not login:
            if exports is None:
                hours = 2 * plan.job_interval_hours
                yield from _stream_problems(f"client.{name}", campaign, clock, plan, hours)
            yield from _client_problems(f"client.{name}", campaign)
            for feed in config.settings.feed:
                if feed.client == name and feed.list is not None:
                    yield from _list_problems(feed, campaign.lists)
        campaign.responses.close()
        campaign.lists.close()


def _stream_problems(
    where: str, campaign: Campaign, clock: Clock, plan: ClientPlan, hours: float
) -> Iterator[tuple[Problem, int]]:
    """What keeps response data of so many hours from being read, and from being understood.

    It is told once where several streams have it in common.
    """
    now = int(clock.wall().timestamp() * 1000)
    window = Window(now - int(hours * 3_600_000), now)
    told = set()
    for stream in plan.streams:
        # As above.
        for problem in _asked(
            where,
            lambda s=stream: read_page(plan, s, campaign.responses.page(s, window, 0)),  # type: ignore[misc]  # a default
        ):
            if problem not in told:
                told.add(problem)
                yield problem


def _client_problems(where: str, campaign: Campaign) -> Iterator[tuple[Problem, int]]:
    """Everything else a daemon asks of a client, once."""
    yield from _asked(where, campaign.responses.blocklist)
    yield from _asked(where, lambda: campaign.lists.suppressed([NOBODY], [NOBODY]))


def _list_problems(feed: Feed, lists: RecipientList) -> Iterator[tuple[Problem, int]]:
    where = f"feed.{feed.name}.list"
    if feed.list is None:
        return
    try:
        found = lists.describe(feed.list.id)
        lists.count(feed.list.id)
    except EtlError as error:
        # A list that is not there is refused as a call; nothing else is the configuration's fault.
        refused = error.code == "call-refused"
        yield _problem(where, error), CONFIGURATION if refused else FAR_SIDE
    else:
        attributes = tuple(feed.attributes)
        for tripped in list_problems(feed.list.id, feed.list.name, attributes, found):
            yield _problem(where, tripped), CONFIGURATION


def _asked(where: str, verb: Callable[[], object]) -> Iterator[tuple[Problem, int]]:
    try:
        verb()
    except EtlError as error:
        yield _problem(where, error), FAR_SIDE


def _problem(where: str, error: EtlError) -> Problem:
    return Problem(where, str(error), error.hint)
