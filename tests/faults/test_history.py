"""Any history of drops, faults, deaths, releases and other people's doings keeps every promise.

The real daemon and pipeline over twins, step by step, against a model of its own: what the model
knows comes from what it dropped, from the twins' calls and content, from receipts, and from the
journal's rows read with plain SQL.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.faults.campaign import write_figures
from tests.faults.history.drive import history_of, run, run_seeds, shortest
from tests.faults.history.machine import History
from tests.faults.history.steps import STEPS

ROOT = Path(__file__).parents[2]
SHORT, LONG = 4, (6, 8, 10, 12, 24)
"""Steps of a history."""
COUNT = int(os.environ.get("ETL_FAULTS_HISTORIES", "20000"))
FIRST = int(os.environ.get("ETL_FAULTS_SEED", "0")) * COUNT
"""With the next seed of one's own the histories go on."""
AT_ONCE = 500
EXAMPLES = int(os.environ.get("ETL_FAULTS_EXAMPLES", "300"))
"""Histories that hypothesis makes up in the long form."""


@pytest.mark.parametrize("first", range(0, 2000, 125))
def test_any_short_history(first):
    """Whatever happens in whatever order, every promise is kept and everything comes to rest."""
    total = run_seeds(range(first, first + 125), SHORT)
    assert total["count"] == 125
    assert total["refills"] > 125
    assert total["deaths"] > 25


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, AT_ONCE))
def test_any_history(first):
    """The same for many histories, of mixed lengths, from a seed of one's own."""
    seeds = range(first, min(first + AT_ONCE, FIRST + COUNT))
    length = LONG[first // AT_ONCE % len(LONG)]
    share = {"kind": "histories", "first": first, "length": length}
    try:
        total = run_seeds(seeds, length)
    except AssertionError:
        write_figures(**share, tried=len(seeds), violations=1)
        raise
    write_figures(**share, tried=total.pop("count"), violations=0, **total)


def test_a_seed_is_a_history():
    """The same seed gives the same calls and the same journal, whatever else differs."""
    seeds = range(1, 5)
    for number in seeds:
        once: list[str] = []
        again: list[str] = []
        run(history_of(number, 12), noted=once)
        run(history_of(number, 12), noted=again)
        assert len(once) > 100
        assert once == again
    elsewhere = subprocess.run(
        [sys.executable, "-m", "tests.faults.history.drive", str(seeds[-1]), "12"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)},
    ).stdout  # fmt: skip
    assert elsewhere.splitlines()[:-1] == once


def test_a_failing_history_is_made_short():
    """Only the steps that are needed for a failure are shown."""
    steps = [(name, {}) for name in "abcdefghij"]
    kept = shortest(steps, lambda some: {("c", ()), ("h", ())} <= {(n, ()) for n, _ in some})
    assert [name for name, _ in kept] == ["c", "h"]


def by_hypothesis() -> type[RuleBasedStateMachine]:
    """The same steps and promises, chosen and made shorter by hypothesis."""

    def start(self):
        RuleBasedStateMachine.__init__(self)
        self.history = History()

    def end(self):
        self.history.__exit__(sys.exc_info()[0])

    def rule_of(name: str):
        def act(self, **values):
            STEPS[name].act(self.history, **values)
            self.history.promises.check()

        act.__name__ = name
        values = {argument: st.sampled_from(some) for argument, some in STEPS[name].values.items()}
        return rule(**values)(act)

    rules = {name: rule_of(name) for name in STEPS}
    return type("ByHypothesis", (RuleBasedStateMachine,),
                {"__init__": start, "teardown": end, **rules})  # fmt: skip


def run_by_hypothesis(examples: int, steps: int) -> None:
    """Let hypothesis make histories up; AssertionError with the shortest it found."""
    once = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None,
        print_blob=True, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(seed(FIRST)(by_hypothesis()), settings=once)


def test_a_few_histories_by_hypothesis():
    """Hypothesis, which varies what it has tried, finds no history that breaks a promise."""
    run_by_hypothesis(15, 8)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_any_history_by_hypothesis():
    """The same for many and longer ones."""
    run_by_hypothesis(EXAMPLES, 30)
    write_figures(kind="histories of hypothesis", first=FIRST, tried=EXAMPLES, violations=0)
