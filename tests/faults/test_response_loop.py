"""Any history of noes, opens and clicks, failures, clock moves, deaths and drops closes the loop.

The real service on a simulated Campaign, over TLS; the model of it in `response_loop` knows the
answers at the ports, Campaign's records, the drops and the CRM's files alone.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.campaign import write_figures
from tests.faults.response_loop import histories
from tests.faults.response_loop.histories import Step
from tests.faults.response_loop.machine import ResponseLoop

EXAMPLES = int(os.environ.get("ETL_FAULTS_EXAMPLES", "200"))
FIRST = int(os.environ.get("ETL_FAULTS_SEED", "0"))


def machine(authority: Path) -> type[ResponseLoop]:
    """The machine with certificates that are there already."""
    return type("Machine", (ResponseLoop,), {"authority": authority})


def run(authority: Path, examples: int, steps: int, first: int | None = None) -> None:
    """Let hypothesis make histories up; without a first seed always the same ones."""
    how = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None,
        derandomize=first is None, print_blob=True, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    kind = machine(authority)
    run_state_machine_as_test(kind if first is None else seed(first)(kind), settings=how)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificates, made once."""
    return tmp_path_factory.mktemp("authority")


OTHERWISE = {
    "order": "newest-first", "edges": (False, True), "streams": "disjoint", "times": "iso",
    "days": (14, 14), "taken": "moved", "empty": "none", "drop": False,
}  # fmt: skip
LIKELIEST = {
    "order": "oldest-first", "edges": (True, False), "streams": "overlap", "times": "ms",
    "days": (30, 30), "taken": "not-asked", "empty": "header", "drop": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("how", "steps"),
    [
        (LIKELIEST, histories.THE_SAME_FILE_IS_READ_AGAIN),
        (OTHERWISE, histories.THE_SAME_FILE_IS_READ_AGAIN),
        (LIKELIEST, histories.A_FILE_COMES_LATE),
        (LIKELIEST, histories.CAMPAIGNS_CLOCK_GOES_BACK),
        (LIKELIEST, histories.IT_DIES_WHILE_FETCHING),
        (LIKELIEST, histories.IT_DIES_WHILE_HANDING_OVER),
        (OTHERWISE, histories.WHAT_COMES_WHILE_A_FILE_IS_BEGUN),
        (LIKELIEST, histories.THEY_SAY_NO_AND_ARE_DROPPED_AGAIN),
        (LIKELIEST, histories.CAMPAIGN_FORGETS_FOR_A_MOMENT),
        (LIKELIEST, histories.AN_ENTITY_CARRIES_IT_NO_MORE),
        (OTHERWISE, histories.NOBODY_LOOKS_FOR_DAYS),
        (LIKELIEST, histories.A_STREAM_FAILS),
        (LIKELIEST, histories.THE_CAMPAIGN_IS_LEARNED_LATE),
        (LIKELIEST, histories.OUR_CLOCK_GOES_BACK_BETWEEN_DROPS),
    ],
)  # fmt: skip
def test_a_history_closes_the_loop(authority: Path, how: dict[str, Any], steps: list[Step]) -> None:
    """What one mistake would cost is put at stake on purpose, and nothing is lost or doubled."""
    made = machine(authority)()
    try:
        made.begin(**how)
        for name, values in steps:
            getattr(made, name)(**values)
            made.the_files_are_right()
        made.loop.come_to_rest()
        assert made.loop.model.told
    finally:
        made.end()


def test_the_loop_closes_in_a_few_histories(authority: Path) -> None:
    """Every event held at a reading is told once, nobody who said no is sent, all comes to rest."""
    run(authority, 10, 10)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_the_loop_closes(authority: Path) -> None:
    """The same for many and longer ones, from a seed of one's own."""
    run(authority, EXAMPLES, 30, FIRST)
    write_figures(kind="response loops", first=FIRST, tried=EXAMPLES, violations=0)
