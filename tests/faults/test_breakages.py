"""The proof can fail: every way of breaking the protocol is caught by a test named for it.

Each breakage is made in a copy of the tree, where the tests run against the broken package.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.breakages import BREAKAGES, Breakage
from tests.faults.campaign import STOP, write_figures
from tests.servers.nursery import REPOSITORY

PARTS = ("etl", "schemas", "sample_data", "systemd", "tests", "docs", "pyproject.toml",
         "README.md", "CHANGELOG.md", "Makefile", ".importlinter")  # fmt: skip


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda each: each.name.replace(" ", "-"))
def test_breakage_can_be_made(breakage: Breakage) -> None:
    """What is to be broken stands in the source exactly once: the table keeps up with the code."""
    for file, right, wrong in breakage.edits:
        assert (REPOSITORY / file).read_text().count(right) == 1
        assert right != wrong


def tree_with(edits: tuple[tuple[str, str, str], ...], folder: Path) -> Path:
    """A copy of the tree, with these edits in it."""
    tree = folder / "tree"
    tree.mkdir()
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, tree / part)
    for file, right, wrong in edits:
        path = tree / file
        path.write_text(path.read_text().replace(right, wrong))
    return tree


def run_in(tree: Path, selection: str) -> subprocess.CompletedProcess[str]:
    """What pytest says of a selection in a tree; it stops at the first failure."""
    # What such a tree counts is no figure of ours.
    environment = {**os.environ, "PYTHONPATH": str(tree), STOP: "1"}
    environment.pop("ETL_FAULTS_FIGURES", None)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist",
         *shlex.split(selection)],
        cwd=tree, env=environment, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=2900, check=False,
    )  # fmt: skip


def said(done: subprocess.CompletedProcess[str]) -> str:
    """The end of what pytest said."""
    return done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda each: each.name.replace(" ", "-"))
def test_breakage_is_caught(breakage: Breakage, tmp_path: Path) -> None:
    """In a tree that is broken so the test fails that is named for it, and none before it."""
    done = run_in(tree_with(breakage.edits, tmp_path), breakage.caught_by)
    # An ERROR, a broken collection or nothing to run would prove nothing.
    found = re.findall(r"^(FAILED|ERROR) \S+?(?:::(\w+))?(?:\[| |$)", done.stdout, re.MULTILINE)
    caught = done.returncode == 1 and found == [("FAILED", breakage.by)]
    write_figures(kind="breakages", tried=1, violations=int(not caught), name=breakage.name,
                  caught_by=found[0][1] if found else None)  # fmt: skip
    assert caught, f"{found}\n{said(done)}"


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("selection", sorted({each.caught_by for each in BREAKAGES}))
def test_the_same_tests_pass_unbroken(selection: str, tmp_path: Path) -> None:
    """What catches a breakage is green in a copy of the tree that is not broken."""
    done = run_in(tree_with((), tmp_path), selection)
    passed = done.returncode == 0 and " passed" in done.stdout
    write_figures(kind="controls of breakages", tried=1, violations=int(not passed),
                  name=selection)  # fmt: skip
    assert passed, said(done)
