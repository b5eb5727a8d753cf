"""The faults that the twin of FileDrop raises on order."""

from pathlib import Path

import pytest

from etl.errors import FarSideRefused, FarSideUnavailable, Mismatch
from tests.twins.file_drop import TwinDrop


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"abc")
    return path


def test_fault_before_the_effect(source: Path) -> None:
    """A fault before the effect leaves nothing behind and strikes once."""
    twin = TwinDrop()
    twin.fail_next("put", FarSideUnavailable("sftp-unreachable"))
    with pytest.raises(FarSideUnavailable):
        twin.put(source, "a")
    assert twin.files == {}
    assert twin.put(source, "a") == 3
    assert twin.calls == [("put", "a"), ("put", "a")]


def test_fault_after_the_effect(source: Path) -> None:
    """A fault after the effect raises although the name has moved."""
    twin = TwinDrop()
    twin.put(source, "a.part")
    twin.fail_next(
        "rename", FarSideUnavailable("sftp-unreachable", in_doubt=True), after_effect=True
    )
    with pytest.raises(FarSideUnavailable):
        twin.rename("a.part", "a")
    assert twin.files == {"a": b"abc"}


def test_faults_are_used_in_order() -> None:
    """Several faults for one verb strike one after the other."""
    twin = TwinDrop()
    twin.fail_next("stat", FarSideUnavailable("sftp-unreachable"))
    twin.fail_next("stat", FarSideRefused("sftp-login"))
    with pytest.raises(FarSideUnavailable):
        twin.stat("a")
    with pytest.raises(FarSideRefused):
        twin.stat("a")
    assert twin.stat("a") is None


def test_another_size(source: Path) -> None:
    """A size that is told wrong is a mismatch, as with the real one."""
    twin = TwinDrop()
    twin.size_error_bytes = -1
    with pytest.raises(Mismatch) as caught:
        twin.put(source, "a")
    assert caught.value.facts == {"remote_bytes": 2, "size_bytes": 3}
