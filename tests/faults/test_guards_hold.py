"""No guard lets a clear through, and each keeps back for its own reason alone.

Campaign's own call log and content are the witnesses. Every case is played twice: with the reason,
and with the reason just taken away.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.campaign import write_figures
from tests.faults.guard_stage import Stage, people, stage
from tests.faults.guard_world import CASES, Case
from tests.faults.two_feeds import MEMORY
from tests.servers.house_on_campaign import LIST


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder in memory where that can be; the certificates in it are made once."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        yield Path(name)


def is_told(made: Stage, case: Case) -> None:
    """The receipt, or the answer to the wish, names the reason."""
    receipt = made.receipt()
    if case.fate == "refused":
        assert (made.refusal(), receipt if made.batch else {}) == (case.code, {})
    elif case.fate == "waits":
        assert receipt == {}
    else:
        assert (receipt["fate"], receipt["reason"]["code"]) == (case.fate, case.code)
        assert case.place in (None, receipt["place"])


def is_kept_back(case: Case, root: Path, authority: Path) -> None:
    """With the reason nothing is cleared or lost, and once it is mended the refill comes."""
    with stage(root, authority, wrong=True, before=case.before, guards=case.guards) as made:
        course = case.play(made)
        next(course)
        made.look()
        made.run()
        made.nothing_is_changed()
        is_told(made, case)
        made.nothing_is_lost()
        made.later()
        next(course, None)
        made.look()
        made.run()
        made.goes_on(case.reaches)


def is_the_only_reason(case: Case, root: Path, authority: Path) -> None:
    """Without the reason the refill comes at once."""
    with stage(root, authority, wrong=False, before=case.before, guards=case.guards) as made:
        next(case.play(made))
        made.look()
        made.run()
        made.goes_on(case.reaches)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_no_guard_lets_a_clear_through(case: Case, folder: Path) -> None:
    """Nothing is cleared, added, lost or told wrongly; without the reason the list is refilled."""
    if case.mounts and os.geteuid() != 0:
        pytest.skip("only root may mount")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        is_kept_back(case, Path(name) / "wrong", folder / "authority")
        is_the_only_reason(case, Path(name) / "right", folder / "authority")
    write_figures(kind="guard cases", tried=1, violations=0)


def test_every_case_has_its_own_name() -> None:
    """There are many, and none twice."""
    assert len({case.name for case in CASES}) == len(CASES) >= 25


def spoil(path: Path, harm: str) -> None:
    """Let a disk do something to a file."""
    content = path.read_bytes()
    path.unlink()
    if harm == "cut":
        path.write_bytes(content[:-1])
    elif harm == "changed":
        path.write_bytes(content.replace(b"Right", b"Wrong"))


@pytest.mark.parametrize("harm", ["cut", "changed", "missing"])
@pytest.mark.parametrize("end", ["archived", "superseded", "discarded", "quarantined"])
def test_a_damaged_private_copy_is_made_anew(folder: Path, harm: str, end: str) -> None:
    """Sent, archived or put into a case are the bytes that were claimed, not those of the harm."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as name,
        stage(Path(name) / "one", folder / "authority", wrong=True, before=None, guards={}) as made,
    ):
        made.drop(people(5, firstname="Right"))
        made.held_before("away")
        batch = made.receipt()["batch"]
        spoil(made.file_of(batch, "original"), harm)
        if end == "quarantined":
            made.says_no({row["email"] for row in people(5)})
        elif end == "discarded":
            made.house.ask("discard", batch)
        elif end == "superseded":
            made.drop(people(5, firstname="Newer"), day=3)
        made.run()
        made.name = "a_20300102.csv"
        assert made.receipt()["fate"] == end
        made.nothing_is_lost()
        assert "Wrong" not in str(made.control.list_content(LIST))
