"""The composition root: what it refuses before anything is opened."""

import pytest

from etl.app import _refuse_lost_journal
from etl.errors import Mismatch


@pytest.mark.parametrize("journal", [None, b""])
@pytest.mark.parametrize("left", ["suppressions.sqlite3", "batches/20261124T090000Z-000001"])
def test_a_state_folder_without_its_journal_is_refused(tmp_path, journal, left):
    """A journal that is gone or emptied beside other files never starts anew."""
    (tmp_path / "batches").mkdir()
    (tmp_path / left).write_bytes(b"x")
    if journal is not None:
        (tmp_path / "journal.sqlite3").write_bytes(journal)
    with pytest.raises(Mismatch) as caught:
        _refuse_lost_journal(tmp_path)
    assert caught.value.code == "journal-damaged"


def test_an_empty_state_folder_is_a_first_start(tmp_path):
    """Where nothing ran yet there is nothing to refuse."""
    (tmp_path / "batches").mkdir()
    _refuse_lost_journal(tmp_path)
