"""Campaign is wrong for a while in one certain way: held for it, then all goes on by itself.

The daemon is the same from the first to the last; nobody releases or restarts anything.
"""

from typing import Any

import pytest

from tests.faults.network import Lines, NetRun
from tests.faults.one_cause import (
    NOWHERE,
    applied_clears,
    goes_on_by_itself,
    lists_untouched,
    long,
)
from tests.servers.fault_http import Fault, Kind
from tests.servers.service import PASSWORD

ALL = ["RpcSession.*", "RpcClosedLoop.*", "RpcBlacklist.*", "RpcUnsubscribe.*", "RpcRecipient.*",
       "RpcRecipientList.*"]  # fmt: skip
ALL_BUT_CLEAR = [*(name for name in ALL if name != "RpcRecipient.*"), "RpcRecipient.add*",
                 "RpcRecipient.get*", "RpcRecipient.remove*"]  # fmt: skip
ALL_BUT_ADD = [*(name for name in ALL if name != "RpcRecipient.*"), "RpcRecipient.clear",
               "RpcRecipient.get*", "RpcRecipient.remove*"]  # fmt: skip
LASTING: dict[Kind, str] = {
    "other-authority": "campaign-certificate",
    "refuse": "campaign-unreachable",
    "redirect": "campaign-redirect",
}


@pytest.mark.parametrize("kind", ["other-authority", long("refuse"), long("redirect")])
def test_campaign_is_not_what_it_was(lines: Lines, kind: Kind) -> None:
    """While the certificate is wrong, nobody listens or all is redirected, nothing is touched."""
    lines.clean()
    with NetRun(lines) as run:
        lines.http.plan(Fault(kind, times=None, location=NOWHERE))

        def lift() -> None:
            assert lists_untouched(run)
            assert lines.http.passed == [] or kind == "redirect"
            assert run.made.remote() == {}
            lines.clean()

        goes_on_by_itself(run, LASTING[kind], lift)


def set_user(run: NetRun, **changes: Any) -> None:
    """The API user as it is now."""
    user = {"mandator": run.made.mandator, "user": "api", "password": PASSWORD} | changes
    run.made.control.add_client(**user)


@pytest.mark.parametrize("changes", [{"password": "another"}, long({"allowed_ips": ["192.0.2.1"]})])
def test_login_is_refused(lines: Lines, changes: dict[str, Any]) -> None:
    """A password that was changed, or an address that is not let in, holds the drops."""
    lines.clean()
    with NetRun(lines) as run:
        set_user(run, **changes)

        def lift() -> None:
            assert lists_untouched(run)
            set_user(run)

        goes_on_by_itself(run, "campaign-login", lift)


def test_clear_is_not_allowed(lines: Lines) -> None:
    """A user who may not clear holds the drops before anything is changed in a list."""
    lines.clean()
    with NetRun(lines) as run:
        set_user(run, operations=ALL_BUT_CLEAR)

        def lift() -> None:
            calls = run.made.control.calls(since=run.first_call)
            assert not [call for call in calls if call["method"] == "clear" and call["applied"]]
            assert not [call for call in calls if call["method"] == "addAll3"]
            set_user(run)

        # Each try asks for the clear; those that were refused had no effect.
        goes_on_by_itself(run, "call-refused", lift, clears=1000)
        assert applied_clears(run) == 2


def test_adding_is_not_allowed(lines: Lines) -> None:
    """A right that is taken away after clear holds the list as dirty and poisons nobody."""
    lines.clean()
    with NetRun(lines) as run:
        guards = "{min_rows = 1, believe_count_after_seconds = 0.5, poisoned_rows = 3}"
        run.made.extra = {name: {"guards": guards} for name in "ab"}
        run.write_config()
        set_user(run, operations=ALL_BUT_ADD)
        goes_on_by_itself(run, "call-failing", lambda: set_user(run))


@pytest.mark.parametrize("refusal", ["fault", long("http-503")])
def test_too_many_calls_at_campaign(lines: Lines, refusal: str) -> None:
    """While others use up the parallel connections, drops are held, however that is refused."""
    lines.clean()
    with NetRun(lines) as run:
        control = run.made.control
        usual = control.switches()
        try:
            control.set_switches(connection_limit=0, refusal=refusal)
            goes_on_by_itself(
                run, "campaign-unreachable",
                lambda: control.set_switches(connection_limit=usual["connection_limit"]),
            )  # fmt: skip
        finally:
            control.set_switches(
                connection_limit=usual["connection_limit"], refusal=usual["refusal"]
            )


@pytest.mark.long
@pytest.mark.parametrize("after", [14, 16, 17], ids=["before-clear", "in-a-refill", "and-later"])
def test_campaign_is_away_for_days(lines: Lines, after: int) -> None:
    """A gateway that says 503 for very long, also in the middle of a refill, is waited for."""
    lines.clean()
    with NetRun(lines) as run:
        lines.http.plan(Fault("page", at=after, times=None))
        goes_on_by_itself(run, "campaign-unreachable", lines.clean, tries=6)


def test_session_ends_all_the_time(lines: Lines) -> None:
    """A session that Campaign forgets before every seventh call costs a login, and nothing else."""
    lines.clean()
    with NetRun(lines) as run:
        for nth in range(7, 140, 7):
            run.made.control.schedule("*", "expire-session", nth=nth, mandator=run.made.mandator)
        run.timed_life(40)
        run.made.control.unschedule()
        run.must_be_true(deaths=1)
        assert sum(each.call == "login" for each in lines.http.passed) > 5


@pytest.mark.long
def test_log_names_nobody(lines: Lines) -> None:
    """Of all the broken answers not one word or person gets into the log."""
    lines.clean()
    with NetRun(lines) as run:
        lines.http.plan(Fault("page-after", at=16, times=None, status=200))
        run.timed_life(30)
        words = run.made.log.read_text()
        assert "campaign-unreachable" in words
        assert "@" not in words
        assert "Sorry" not in words
        lines.clean()
        run.comes_to_rest()
        run.must_be_true()
