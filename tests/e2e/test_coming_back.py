"""Who said no or bounced comes back: beside a running daemon, with Campaign asked, nobody named."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from etl.wire import answers
from etl.wire.session import CampaignAccess, CampaignSession
from etl.wire.soap import Call
from tests.e2e.seen import status, told
from tests.servers.aftermath import rows_of
from tests.servers.canaries import canaries, leaks
from tests.servers.service import MANDATOR, PASSWORD, Setting
from tests.twins.clock import TwinClock

GONE, BOUNCED = "canary-addr-2@example.org", "canary-addr-3@example.org"
WHY = "asked by letter of today"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Setting]:
    """A setting whose simulator remembers every request."""
    setting = Setting(tmp_path)
    setting.simulator_options = ["--bodies"]
    with setting:
        yield setting


def reset_bounces(made: Setting, identity: str) -> None:
    """Somebody resets a bounce counter at Campaign."""
    access = CampaignAccess(MANDATOR, "api", PASSWORD, f"{made.url}/", made.ca_file)
    with closing(CampaignSession(access, TwinClock())) as session:
        session.ask(Call("Response", "resetBounceCounter", (identity,)), answers.nothing)


def check_of(made: Setting, name: str) -> dict[str, int]:
    """The fates of a drop's rows, once it is archived."""
    made.drop(name, canaries(10))
    receipt = made.wait_for(name, "archived")
    return dict(receipt["check"]["suppressed_by"])


def test_an_unsubscription_is_lifted_and_a_bounce_reset(made: Setting) -> None:
    """Campaign has the last word on both; the address stands in the CRM's files and drops only."""
    made.control.unsubscribe(mandator=MANDATOR, ids=[GONE])
    made.control.bounce(MANDATOR, BOUNCED, times=3)
    made.control.run_export_job()
    made.start()
    nobody = {"bounced": 0, "unsubscribed": 0, "blocklisted": 0}
    assert check_of(made, "a_20300101.csv") == nobody | {"bounced": 1, "unsubscribed": 1}

    outputs: dict[str, str] = {}

    def lift(name: str) -> dict[str, object]:
        done = subprocess.run(
            made.command("suppression", "lift", "-", "--why", WHY, "--json"),
            input=f"{GONE}\n", capture_output=True, text=True, timeout=60, check=False,
            env=made.environment(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        outputs[name] = done.stdout + done.stderr
        answer: dict[str, object] = json.loads(done.stdout)
        made.wait(lambda: status(made)["requests_waiting"] == 0)
        return answer

    found = lift("lifted")
    assert found["to_lift"] == 1
    assert "the daemon takes it" in str(found["request"])
    (row,) = rows_of(made, "SELECT verb, feed, why, outcome FROM requests")
    assert row == ("lift", "main", WHY, "done")
    # Campaign itself still says so, and is believed; a reset counter is believed as well.
    reset_bounces(made, BOUNCED)
    assert check_of(made, "a_20300102.csv") == nobody | {"unsubscribed": 1}
    assert GONE not in made.list_ids()
    assert BOUNCED in made.list_ids()
    told_of = [each["source"] for each in told(made, "unsubscriptions")]
    assert told_of == ["getUnsubscribes", "live-check"]

    made.control.resubscribe(mandator=MANDATOR, ids=[GONE])
    # By now a drop has told who carries the address.
    assert lift("lifted again")["to_lift"] == 2
    assert check_of(made, "a_20300103.csv") == nobody
    assert GONE in made.list_ids()
    (last, first) = status(made)["requests"]
    assert {each["outcome"] for each in (last, first)} == {"done"}
    assert {each["client"] for each in (last, first)} == {"main"}
    assert made.stop() == 0
    outputs["status"] = made.etl("status").stdout
    assert leaks(made, outputs) == []
    assert len(made.calls("isBounceCounterThresholdExeeded")) == 2
