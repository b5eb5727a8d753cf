"""Response data from export files on a real sshd: the folder, and whole fetches into a store."""

import gzip
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from etl.errors import EtlError, FarSideRefused, FarSideUnavailable
from etl.extract.keyed import StoreKey
from etl.extract.responses import ClientPlan, FetchReport, fetch
from etl.extract.suppressions import SuppressionStore, open_store
from etl.ports import SUPPRESSING, Stopped, Stream
from etl.sandbox.sftp import EmbeddedSftp, make_key
from etl.wire import sftp_reading
from etl.wire.exports import ExportedResponses
from etl.wire.sftp_reading import RemoteFile, SftpFolder, TooLargeError
from tests.contract.campaign_stage import MANDATOR, NO_CLOSED_LOOP, campaign_stage
from tests.servers.access import RealTime, access_to
from tests.servers.export_desk import ExportDesk
from tests.servers.service import Setting, as_csv, people, setting
from tests.servers.sshd import Sshd

MANY_BYTES = 10_000_000
MAILING = 77
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="the server is another user for root only")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    (tmp_path / "key.pub").write_text(make_key(path))
    return path


@pytest.fixture
def sshd(key: Path) -> Iterator[Sshd]:
    with Sshd([key.with_suffix(".pub").read_text()]) as server:
        yield server


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


class Hooked(RealTime):
    """A clock that lets something happen at its next wait, or at a later one."""

    def __init__(self) -> None:
        self.deed: Callable[[], object] = lambda: None
        self.skip = 0

    def sleep(self, seconds: float) -> None:
        """Do it, once."""
        if self.skip:
            self.skip -= 1
            return
        deed, self.deed = self.deed, lambda: None
        deed()


def folder_of(stack: ExitStack, server: Sshd | EmbeddedSftp, key: Path, **more: object):
    """A folder to read and its clock."""
    clock = Hooked()
    folder = SftpFolder(access_to(server, key, **more), clock)
    stack.callback(folder.close)
    return folder, clock


def only(folder: SftpFolder) -> RemoteFile:
    """The one file there."""
    (file,) = folder.files()
    return file


# --- the folder --------------------------------------------------------------------------------


def test_files_and_nothing_else(stack: ExitStack, sshd: Sshd, key: Path) -> None:
    """Regular files with size and time; folders, links and pipes are passed over."""
    (sshd.folder / "a.csv").write_bytes(b"12345")
    os.utime(sshd.folder / "a.csv", (1_795_510_800, 1_795_510_801))
    (sshd.folder / "sub").mkdir()
    (sshd.folder / "sub" / "b.csv").touch()
    (sshd.folder / "c.csv").symlink_to("a.csv")
    os.mkfifo(sshd.folder / "d.csv")
    folder, _ = folder_of(stack, sshd, key)
    file = only(folder)
    assert (file.name, file.size_bytes, file.modified_ms) == ("a.csv", 5, 1_795_510_801_000)
    assert folder.read(file, 5) == b"12345"


def test_a_long_listing_and_odd_names(stack: ExitStack, sshd: Sshd, key: Path) -> None:
    """Many answers to one listing are put together; a name that is no UTF-8 is still read."""
    for number in range(300):
        (sshd.folder / f"{number}.csv").touch()
    odd = os.fsencode(sshd.folder) + b"/\xfcber.csv"
    with open(odd, "wb") as file:  # noqa: PTH123 - a path in bytes
        file.write(b"x")
    folder, _ = folder_of(stack, sshd, key)
    files = {file.name: file for file in folder.files()}
    assert len(files) == 301
    assert folder.read(files["�ber.csv"], 10) == b"x"


@pytest.mark.parametrize("kind", ["openssh", "embedded"])
def test_a_file_comes_whole(stack: ExitStack, tmp_path: Path, key: Path, kind: str) -> None:
    """Over many reads, large ones or small, without losing a byte."""
    public = key.with_suffix(".pub").read_text()
    if kind == "openssh":
        server: Sshd | EmbeddedSftp = stack.enter_context(Sshd([public]))
    else:
        (tmp_path / "remote").mkdir()
        server = stack.enter_context(EmbeddedSftp(tmp_path / "remote", [public]))
    data = os.urandom(900_001)
    (server.folder / "a.csv").write_bytes(data)
    folder, _ = folder_of(stack, server, key)
    assert folder.read(only(folder), MANY_BYTES) == data
    assert folder.read(only(folder), 900_001) == data


def test_a_file_that_is_too_large(stack: ExitStack, sshd: Sshd, key: Path) -> None:
    """It is not read at all; one that grew meanwhile no further than the limit."""
    path = sshd.folder / "a.csv"
    path.write_bytes(b"x" * 1_000_000)
    folder, clock = folder_of(stack, sshd, key)
    file = only(folder)
    with pytest.raises(TooLargeError):
        folder.read(file, 999_999)
    assert folder._line.connection is not None
    clock.deed = lambda: path.write_bytes(b"x" * 2_000_000)
    with pytest.raises(TooLargeError):
        folder.read(file, 1_000_000)
    # What was open there is closed with the connection.
    assert folder._line.connection is None


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("what", ["gone", "longer", "as long"])
def test_a_file_that_changes(stack: ExitStack, sshd: Sshd, key: Path, when: str, what: str) -> None:
    """A file that is no longer what was listed is unavailable, and read again later."""
    path = sshd.folder / "a.csv"
    path.write_bytes(b"one")
    os.utime(path, (1_795_510_800, 1_795_510_800))
    deeds = {"gone": path.unlink, "longer": lambda: path.write_bytes(b"ones"),
             "as long": lambda: path.write_bytes(b"two")}  # fmt: skip
    folder, clock = folder_of(stack, sshd, key)
    file = only(folder)
    if when == "before":
        deeds[what]()
    else:
        clock.deed = deeds[what]
    with pytest.raises(FarSideUnavailable) as caught:
        folder.read(file, MANY_BYTES)
    assert caught.value.code == "exports-changed"
    assert caught.value.facts == {"host": sshd.host, "file": "'a.csv'"}
    path.write_bytes(b"three")
    assert folder.read(only(folder), MANY_BYTES) == b"three"


def test_a_folder_that_is_not_there(stack: ExitStack, sshd: Sshd, key: Path) -> None:
    """It is the configuration's fault, or the server's, and is told as such."""
    folder, _ = folder_of(stack, sshd, key, folder=f"{sshd.remote}/nowhere")
    with pytest.raises(FarSideRefused) as caught:
        folder.files()
    assert caught.value.code == "sftp-refused"
    assert caught.value.facts["detail"] == "there is no such folder"


@AS_ROOT
def test_a_file_that_may_not_be_read(stack: ExitStack, sshd: Sshd, key: Path) -> None:
    """A right that lacks is a refusal; with the right it is read."""
    path = sshd.folder / "a.csv"
    path.write_bytes(b"x")
    path.chmod(0o600)
    folder, _ = folder_of(stack, sshd, key)
    file = only(folder)
    with pytest.raises(FarSideRefused) as caught:
        folder.read(file, MANY_BYTES)
    assert (caught.value.code, caught.value.facts["call"]) == ("sftp-refused", "read")
    path.chmod(0o644)
    assert folder.read(only(folder), MANY_BYTES) == b"x"


def test_keys_are_those_of_every_sftp(
    stack: ExitStack, sshd: Sshd, key: Path, tmp_path: Path
) -> None:
    """Another host key, and a client key the server does not know, are refused by their names."""
    other = make_key(tmp_path / "other")
    for changes, code in (
        ({"host_keys": (other,)}, "sftp-host-key"),
        ({"key_file": tmp_path / "other"}, "sftp-login"),
    ):
        folder = SftpFolder(replace(access_to(sshd, key), **changes), RealTime())
        stack.callback(folder.close)
        with pytest.raises(FarSideRefused) as caught:
            folder.files()
        assert caught.value.code == code


def test_a_server_that_hangs(stack: ExitStack, sshd: Sshd, key: Path) -> None:
    """A listing or a file whose answer never comes ends by its deadline."""
    (sshd.folder / "a.csv").write_bytes(b"x")
    folder, _ = folder_of(stack, sshd, key, answer_seconds=1, connect_seconds=1)
    file = only(folder)
    sshd.pause()
    with pytest.raises(FarSideUnavailable) as caught:
        folder.read(file, MANY_BYTES)
    assert caught.value.code == "sftp-unreachable"
    with pytest.raises(FarSideUnavailable):
        folder.files()


def test_a_stop_ends_the_reading(stack: ExitStack, sshd: Sshd, key: Path) -> None:
    """It passes through, and nothing stays open on the server."""
    (sshd.folder / "a.csv").write_bytes(b"x")
    folder, clock = folder_of(stack, sshd, key)
    file = only(folder)

    def stop() -> None:
        raise Stopped

    clock.deed = stop
    with pytest.raises(Stopped):
        folder.read(file, MANY_BYTES)
    assert folder._line.connection is None
    assert folder.read(file, MANY_BYTES) == b"x"


def test_answers_are_taken_apart() -> None:
    """Owners, rights, times and extensions in every mix; none of them is taken for another."""

    def number(*values: int) -> bytes:
        return b"".join(value.to_bytes(4, "big") for value in values)

    size = (7).to_bytes(8, "big")
    text = number(2) + b"ab"
    full = number(0x8000000F) + size + number(1, 2, 0o100644, 5, 6, 1) + text + text
    assert sftp_reading._attributes(full + b"rest") == (
        sftp_reading._Attributes(7, 0o100644, 6000), b"rest",
    )  # fmt: skip
    bare, rest = sftp_reading._attributes(number(0))
    assert (bare, rest) == (sftp_reading._Attributes(None, None, None), b"")
    times, _ = sftp_reading._attributes(number(8, 5, 6))
    assert times.modified_ms == 6000
    assert sftp_reading._is_regular(b"a", bare)
    assert not sftp_reading._is_regular(b"..", bare)
    assert not sftp_reading._is_regular(b"a/b", bare)


# --- fetches -----------------------------------------------------------------------------------


class House:
    """A store, filled from export files."""

    def __init__(self, stack: ExitStack, root: Path, *, gzip: bool = False) -> None:
        behind = stack.enter_context(campaign_stage(root, operations=NO_CLOSED_LOOP))
        self.control = behind.control
        self.control.add_mailing(MANDATOR, MAILING, "Newsletter")
        self.desk = stack.enter_context(ExportDesk(self.control, MANDATOR, root, gzip=gzip))
        store = open_store(root / "suppressions.sqlite3", [StoreKey("k", b"a key for tests.")])
        self.store: SuppressionStore = stack.enter_context(closing(store))
        self.responses: ExportedResponses = self.desk.responses(behind.responses)
        stack.callback(self.responses.close)

    def fetch(self) -> FetchReport:
        """One fetch."""
        return fetch(ClientPlan("main"), self.responses, self.store, self.desk.clock)

    def suppressed(self) -> int:
        """How many people the store keeps back."""
        return int(self.store.entries("main")["key"].n_unique())


@pytest.fixture(params=[False, True], ids=["plain", "gzip"])
def house(request: pytest.FixtureRequest, stack: ExitStack, tmp_path: Path) -> House:
    return House(stack, tmp_path, gzip=request.param)


def codes(report: FetchReport) -> dict[str, str]:
    """What failed, and how."""
    return {source: error.code for source, error in report.failures.items()}


def test_a_whole_fetch(house: House) -> None:
    """Every no arrives by its stream, once, though windows overlap; the blocklist too."""
    house.control.unsubscribe(MANDATOR, ["a@x.test"])
    house.control.unsubscribe(MANDATOR, ["m@x.test"], mailing_id=MAILING)
    house.control.bounce(MANDATOR, "b@x.test", times=3)
    house.control.block(MANDATOR, ["c@x.test"])
    house.desk.run_jobs()
    report = house.fetch()
    assert codes(report) == {}
    assert report.complete
    assert {stream: found.new for stream, found in report.streams.items()} == {
        Stream.OUT_BOUNCES: 1, Stream.UNSUBSCRIBES: 2, Stream.MAILING_UNSUBSCRIBES: 1,
    }  # fmt: skip
    assert house.suppressed() == 4
    house.control.advance(23 * 3600)
    house.control.unsubscribe(MANDATOR, ["d@x.test"])
    house.desk.run_jobs()
    again = house.fetch()
    assert again.complete
    assert again.new_events == 1
    assert house.suppressed() == 5


def test_a_file_that_is_still_young(house: House) -> None:
    """It is left for the next fetch, and nothing says that something was amiss."""
    house.desk.run_jobs()
    house.control.unsubscribe(MANDATOR, ["a@x.test"])
    house.desk.run_jobs(settled=False)
    first = house.fetch()
    assert (first.complete, first.new_events) == (True, 0)
    house.desk.settle()
    second = house.fetch()
    assert (second.complete, second.new_events) == (True, 1)


def test_a_file_that_arrives_late(house: House) -> None:
    """A transfer that took long shows a time behind the last window; the overlap reaches it."""
    house.desk.run_jobs()
    house.control.unsubscribe(MANDATOR, ["late@x.test"])
    (file,) = house.desk.run_jobs(Stream.UNSUBSCRIBES)
    hidden = file.rename(file.with_name(f"{file.name}.part"))
    house.control.advance(12 * 3600)
    assert house.fetch().new_events == 0
    hidden.rename(file)
    assert [house.fetch().new_events for _ in range(3)] == [1, 0, 0]


def test_a_file_that_is_cut_off_and_then_replaced(house: House) -> None:
    """Its stream stands still, is told and holds everything; the others go on; nobody is lost."""
    house.desk.run_jobs()
    assert house.fetch().complete
    before = house.store.freshness("main").completed_at
    until = house.store.read_until("main", Stream.UNSUBSCRIBES)
    house.control.unsubscribe(MANDATOR, ["a@x.test", "b@x.test"])
    house.control.bounce(MANDATOR, "c@x.test", times=3)
    (file, *_) = house.desk.run_jobs(Stream.UNSUBSCRIBES, *SUPPRESSING)
    data, seconds = file.read_bytes(), file.stat().st_mtime
    file.write_bytes(data[:-5])
    os.utime(file, (seconds, seconds))
    for _ in range(2):
        report = house.fetch()
        assert codes(report) == {"getUnsubscribes": "page-layout"}
        assert not report.complete
        assert repr(file.name) in str(report.failures["getUnsubscribes"].facts["detail"])
    assert house.store.read_until("main", Stream.UNSUBSCRIBES) == until
    assert house.store.freshness("main").completed_at == before
    assert house.suppressed() == 1
    house.desk.put(file.name, data)
    house.desk.settle()
    report = house.fetch()
    assert (report.complete, report.new_events) == (True, 2)
    assert house.suppressed() == 3


def test_rows_that_do_not_fit_the_layout(house: House) -> None:
    """A file that is well written and laid out otherwise stops its stream as with closed loop."""
    house.desk.run_jobs()
    house.desk.put("getUnsubscribes_900.csv", b"id;time;more\na@x.test;1795510800000;x\n")
    house.desk.settle()
    report = house.fetch()
    assert codes(report) == {"getUnsubscribes": "page-layout"}
    assert house.suppressed() == 0


def test_an_export_job_that_died(house: House) -> None:
    """Old knowledge does not become fresh by asking; with the next file all goes on by itself."""
    house.desk.run_jobs()
    assert house.fetch().complete
    before = house.store.freshness("main").completed_at
    house.control.unsubscribe(MANDATOR, ["a@x.test"])
    house.control.advance(24 * 3600)
    house.desk.run_jobs(Stream.OUT_BOUNCES, Stream.MAILING_UNSUBSCRIBES)
    house.control.advance(25 * 3600)
    report = house.fetch()
    assert codes(report) == {"getUnsubscribes": "exports-missing"}
    assert not report.complete
    assert report.failures["getUnsubscribes"].facts["hours"] == "48"
    assert house.store.freshness("main").completed_at == before
    house.desk.run_jobs()
    report = house.fetch()
    assert (report.complete, report.new_events) == (True, 1)


def test_a_job_that_never_ran(house: House) -> None:
    """An empty folder is no sign that nobody said no."""
    report = house.fetch()
    assert codes(report) == dict.fromkeys(SUPPRESSING, "exports-missing")
    assert house.store.freshness("main").completed_at is None


def test_a_file_that_is_taken_away_while_it_is_read(house: House) -> None:
    """Its window is left as it is, and read in full the next time."""
    house.control.unsubscribe(MANDATOR, ["a@x.test"])
    house.desk.run_jobs()
    path = next(house.desk.files.glob("getUnsubscribes*"))
    data, seconds = path.read_bytes(), path.stat().st_mtime
    clock = Hooked()
    house.responses._folder._clock = clock
    # Each file is read twice, for its bytes and for its end; that of the bounces comes first.
    clock.skip, clock.deed = 3, path.unlink
    report = house.fetch()
    assert codes(report) == {"getUnsubscribes": "exports-changed"}
    path.write_bytes(data)
    os.utime(path, (seconds, seconds))
    report = house.fetch()
    assert (report.complete, report.new_events) == (True, 1)


def test_a_full_export_every_day(stack: ExitStack, tmp_path: Path) -> None:
    """Every file repeats everybody; within a window each is read once."""
    house = House(stack, tmp_path)
    forms = house.desk.plan.forms
    forms = {stream: replace(form, content="full") for stream, form in forms.items()}
    house.responses._plan = replace(house.desk.plan, forms=forms)
    house.control.unsubscribe(MANDATOR, ["a@x.test"])
    house.desk.run_jobs()
    house.control.unsubscribe(MANDATOR, ["b@x.test"])
    house.desk.run_jobs(full=True)
    report = house.fetch()
    assert report.complete
    assert report.streams[Stream.UNSUBSCRIBES].rows == 2


def test_a_bad_file_says_nothing_of_its_content(house: House) -> None:
    """Neither the error nor its facts hold a cell of it."""
    house.desk.run_jobs()
    bad = b'id;time\n"canary@x.test" canary;1\n'
    house.desk.put("getUnsubscribes_900.csv", gzip.compress(bad) if house.desk.gzip else bad)
    house.desk.settle()
    (error,) = house.fetch().failures.values()
    assert isinstance(error, EtlError)
    assert error.code == "page-layout"
    assert "canary" not in f"{error!r} {error} {error.facts}"


# --- the service ---------------------------------------------------------------------------------

TABLES = r"""
closed_loop = false
[client.main.exports]
sftp = "main"
settle_minutes = 0
[client.main.exports.getOutBounces]
pattern = 'out_\d+\.csv'
[client.main.exports.getUnsubscribes]
pattern = 'un_\d+\.csv\.gz'
"""


def export(made: Setting, name: str, data: bytes, days_ago: float = 0.0) -> None:
    """Put a file on the server, last changed so long ago."""
    path = made.files / name
    path.write_bytes(data)
    seconds = time.time() - 2 - days_ago * 86_400
    os.utime(path, (seconds, seconds))


def complaints(made: Setting) -> list[tuple[str, str]]:
    """Where and with which code `etl check` finds something, if it says that a far side has it."""
    checked = made.etl("check", "--json")
    found = json.loads(checked.stdout)["problems"]
    assert checked.returncode == (69 if found else 0), checked.stderr
    return [(each["where"], each["what"].partition(":")[0]) for each in found]


def test_the_service_with_export_files(tmp_path: Path) -> None:
    """Without young files nothing leaves; with them, those they name are kept back.

    p2 is named by nobody else; whether p3 and p4 still bounce is asked of Campaign too.
    """
    with setting(tmp_path) as made:
        for identity in ("p3@example.org", "p4@example.org"):
            made.control.bounce(made.mandator, identity, times=3)
        made.client_tables = TABLES
        made.write_config()
        at = "client.main.exports"
        assert complaints(made) == [(at, "exports-missing"), (at, "exports-missing")]
        export(made, "un_1.csv.gz", gzip.compress(b"id;time\np2@example.org;1795510800000\n"))
        export(made, "out_1.csv", b"id\np3@example.org\n", days_ago=3)
        made.start()
        made.drop("a.csv", people(5))
        held = made.wait_for("a.csv", "held")
        assert (held["reason"]["code"], held["place"]) == ("suppression-missing", "CLAIMED")
        assert made.list_ids() == []
        export(made, "out_2.csv", b"id\np4@example.org\n")
        receipt = made.wait_for("a.csv", "archived")
        assert receipt["list"]["count"] == 2
        assert as_csv([people(5)[0], people(5)[4]]) in made.remote().values()
        assert made.list_ids() == ["p1@example.org", "p5@example.org"]
        assert complaints(made) == []
        assert {call["service"] for call in made.calls()}.isdisjoint({"RpcClosedLoop"})
        assert made.stop() == 0


def test_check_reads_the_files(tmp_path: Path) -> None:
    """A file that is not written as configured, and a server that is away, are told before."""
    with setting(tmp_path) as made:
        made.client_tables = TABLES
        made.write_config()
        export(made, "un_1.csv.gz", gzip.compress(b"id;time\n")[:-3])
        export(made, "out_1.csv", b"p3@example.org\n")
        at = "client.main.exports"
        assert complaints(made) == [(at, "page-layout"), (at, "page-layout")]
        made.sshd.new_host_key()
        assert complaints(made) == [("sftp.main", "sftp-host-key"), (at, "sftp-host-key")]
