"""The scheduled export job: whole files only, what is new or everything, in the form asked for."""

import gzip
from pathlib import Path

import pytest

from etl.sandbox import export_job
from etl.sandbox.export_job import write_export
from etl.sandbox.seeding import Seeding
from etl.sandbox.state import World


@pytest.fixture
def world() -> World:
    made = World()
    seeding = Seeding(made)
    seeding.add_client(7, "api", "secret")
    seeding.unsubscribe(7, ["a@x.test"])
    return made


def test_an_export_holds_what_is_new(world: World, tmp_path: Path) -> None:
    """Each job goes on where its last file ended; one that found nothing writes a header."""
    rows = [write_export(world, 7, "getUnsubscribes", tmp_path, f"{n}.csv") for n in (1, 2)]
    Seeding(world).unsubscribe(7, ["b@x.test"], mailing_id=5)
    rows.append(write_export(world, 7, "getUnsubscribes", tmp_path, "3.csv"))
    rows.append(write_export(world, 7, "getMailingUnsubscribes", tmp_path, "4.csv"))
    rows.append(write_export(world, 7, "getUnsubscribes", tmp_path, "5.csv", full=True))
    assert rows == [1, 0, 1, 1, 2]
    assert (tmp_path / "2.csv").read_text() == "recipient_id;time\n"
    assert (tmp_path / "3.csv").read_text().splitlines()[1].startswith("b@x.test;1")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{n}.csv" for n in range(1, 6)]


def test_the_form_of_an_export(world: World, tmp_path: Path) -> None:
    """Gzip or plain, with names or without; the file's time is the simulator's own."""
    world.offset_ms = -5 * 86_400_000
    columns = {"gzip": True, "header": False, "delimiter": ",", "encoding": "utf-16"}
    write_export(world, 7, "getUnsubscribes", tmp_path, "1.csv.gz", **columns)
    text = gzip.decompress((tmp_path / "1.csv.gz").read_bytes()).decode("utf-16")
    assert text.startswith("a@x.test,1")
    assert abs((tmp_path / "1.csv.gz").stat().st_mtime - world.now_ms() / 1000) < 60


def test_a_running_transfer_has_a_temporary_name(world: World, tmp_path: Path) -> None:
    """A file is never seen under its name before it is whole."""
    (tmp_path / "1.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        write_export(world, 7, "getUnsubscribes", tmp_path, "1.csv")
    (left,) = [path for path in tmp_path.iterdir() if path.is_file()]
    assert left.name == f"1.csv{export_job.TEMPORARY}"
    assert left.read_text().endswith("\n")
