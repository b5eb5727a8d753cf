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
from tests.faults.campaign import write_figures
from tests.servers.nursery import REPOSITORY

PARTS = ("etl", "schemas", "sample_data", "systemd", "tests", "docs", "pyproject.toml",
         "README.md", "CHANGELOG.md", "Makefile", ".importlinter")  # fmt: skip


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda each: each.name.replace(" ", "-"))
def test_breakage_can_be_made(breakage: Breakage) -> None:
    """What is to be broken stands in the source exactly once: the table keeps up with the code."""
    for file, right, wrong in breakage.edits:
        assert (REPOSITORY / file).read_text().count(right) == 1
        assert right != wrong


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda each: each.name.replace(" ", "-"))
def test_breakage_is_caught(breakage: Breakage, tmp_path: Path) -> None:
    """A tree that is broken so has a test that fails."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, tree / part)
    for file, right, wrong in breakage.edits:
        path = tree / file
        path.write_text(path.read_text().replace(right, wrong))
    # What the broken tree counts is no figure of ours.
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    environment.pop("ETL_FAULTS_FIGURES", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist",
         *shlex.split(breakage.caught_by)],
        cwd=tree, env=environment, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=1400, check=False,
    )  # fmt: skip
    found = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    # 1 is "tests failed"; a broken collection or nothing to run would prove nothing.
    caught = done.returncode == 1 and bool(found)
    write_figures(kind="breakages", tried=1, violations=int(not caught), name=breakage.name,
                  caught_by=found[0] if found else None)  # fmt: skip
    assert caught, done.stdout[-3000:] + done.stderr[-1000:]
