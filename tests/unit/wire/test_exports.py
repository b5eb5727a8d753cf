"""ExportedResponses over a folder in memory: which files, which rows, and every bad file."""

import gzip
import zlib
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from etl.errors import EtlError, FarSideUnavailable
from etl.ports import PAGE_ROWS, Stream, Window
from etl.wire.export_rows import ExportForm
from etl.wire.exports import ExportedResponses, ExportPlan
from etl.wire.sftp_reading import RemoteFile, TooLargeError
from tests.twins.clock import TwinClock
from tests.twins.responses import TwinResponses

OUT, PLAIN, BY_MAILING = Stream.OUT_BOUNCES, Stream.UNSUBSCRIBES, Stream.MAILING_UNSUBSCRIBES
CANARY = "canary@example.org"
FORMS = {
    OUT: ExportForm(r"out_\w+\.csv(\.gz)?"),
    PLAIN: ExportForm(r"unsubscribed_\w+\.csv"),
}


@dataclass
class TwinFolder:
    """ExportFolder in memory; counts what is asked of it."""

    clock: TwinClock
    content: dict[str, bytes] = field(default_factory=dict)
    listed: list[RemoteFile] = field(default_factory=list)
    host: str = "sftp.test"
    reads: list[str] = field(default_factory=list)
    closed: int = 0

    def put(self, name: str, data: bytes, *, hours_ago: float = 1.0) -> None:
        """Put a file there, last changed so long ago."""
        seconds = (self.clock.now - timedelta(hours=hours_ago)).timestamp()
        self.content[name] = data
        self.listed = [file for file in self.listed if file.name != name]
        self.listed.append(RemoteFile(name, len(data), int(seconds) * 1000, name.encode()))

    def files(self) -> list[RemoteFile]:
        """What is there."""
        return list(self.listed)

    def read(self, file: RemoteFile, most_bytes: int) -> bytes:
        """Its bytes."""
        self.reads.append(file.name)
        if file.size_bytes > most_bytes:
            raise TooLargeError
        return self.content[file.name]

    def close(self) -> None:
        """Count."""
        self.closed += 1


class Desk:
    """The adapter and what is around it."""

    def __init__(self, plan: ExportPlan | None = None) -> None:
        self.clock = TwinClock()
        self.folder = TwinFolder(self.clock)
        self.campaign = TwinResponses(entries=["*@bad.test"])
        plan = plan or ExportPlan(FORMS)
        self.port = ExportedResponses(plan, self.folder, self.campaign, self.clock)

    def last_day(self) -> Window:
        """A window up to now."""
        until = self.port.now()
        return Window(until - 24 * 3_600_000, until)

    def rows(self, stream: Stream = OUT) -> list[list[str | None]]:
        """The first page of the last day."""
        return self.port.page(stream, self.last_day(), 0)

    def refusal(self, data: bytes, name: str = "out_1.csv") -> str:
        """Why a file is refused, told without anything of its content."""
        self.folder.put(name, data)
        with pytest.raises(EtlError) as caught:
            self.rows()
        error = caught.value
        assert (error.code, error.facts["call"]) == ("page-layout", "getOutBounces")
        assert not isinstance(error, FarSideUnavailable)
        detail = str(error.facts["detail"])
        assert detail.startswith(f"the file {name!r} ")
        assert "canary" not in str(error)
        return detail.removeprefix(f"the file {name!r} ")


@pytest.fixture
def desk() -> Desk:
    return Desk()


def form(**changes: object) -> Desk:
    """A desk whose out-bounces are written otherwise."""
    return Desk(ExportPlan(FORMS | {OUT: replace(FORMS[OUT], **changes)}))


# --- which files -------------------------------------------------------------------------------


def test_the_clock_is_ours_less_the_settle_time(desk: Desk) -> None:
    """A window ends where every file has settled, to the millisecond."""
    desk.clock.now = desk.clock.now.replace(microsecond=123_456)
    expected = int(desk.clock.now.replace(microsecond=0).timestamp()) * 1000 + 123 - 300_000
    assert desk.port.now() == expected


def test_files_of_the_window_come_by_time_then_name(desk: Desk) -> None:
    """Whatever the server's order; other names and other times are left alone."""
    desk.folder.put("out_c.csv", b"id\nc@x.test\n", hours_ago=2)
    desk.folder.put("out_a.csv", b"id\na@x.test\n", hours_ago=1)
    desk.folder.put("out_b.csv", b"id\nb@x.test\n", hours_ago=2)
    desk.folder.put("out_old.csv", b"id\nold@x.test\n", hours_ago=30)
    desk.folder.put("out_a.csv.part", b"id\npart@x.test\n")
    desk.folder.put("an_out_a.csv", b"id\nother@x.test\n")
    assert desk.rows() == [["b@x.test"], ["c@x.test"], ["a@x.test"]]
    assert desk.folder.reads == ["out_b.csv", "out_c.csv", "out_a.csv"]


def test_a_window_holds_its_start_and_not_its_end(desk: Desk) -> None:
    """Two windows that meet at a file's second give its rows once."""
    desk.folder.put("out_1.csv", b"id\na@x.test\n")
    (file,) = desk.folder.listed
    before = Window(file.modified_ms - 1000, file.modified_ms)
    after = Window(file.modified_ms, file.modified_ms + 1000)
    assert [desk.port.page(OUT, window, 0) for window in (before, after)] == [[], [["a@x.test"]]]


def test_a_young_file_waits_and_is_never_passed_over(desk: Desk) -> None:
    """It may still be written; the window that is read meanwhile ends before it."""
    desk.folder.put("out_0.csv", b"id\n")
    desk.folder.put("out_1.csv", b"id\na@x.test\n", hours_ago=4 / 60)
    first = desk.last_day()
    assert desk.port.page(OUT, first, 0) == []
    assert desk.port.page(OUT, replace(first, until_ms=first.until_ms + 3_600_000), 0) == []
    desk.clock.advance(61)
    second = Window(first.until_ms, desk.port.now())
    assert desk.port.page(OUT, second, 0) == [["a@x.test"]]


def test_a_stream_without_files_of_its_own_is_empty(desk: Desk) -> None:
    """Nothing is asked for it."""
    assert desk.rows(BY_MAILING) == []
    assert desk.folder.reads == []


# --- which rows --------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_gzip_is_seen_by_its_first_bytes(desk: Desk, pack) -> None:
    """Whatever the name says; an empty cell is an empty text."""
    desk.folder.put("out_1.csv", pack(b'id;note\n"a@x.test";\n'))
    assert desk.rows() == [["a@x.test", ""]]


def test_gzip_of_several_members(desk: Desk) -> None:
    """A file that was put together of two is read whole."""
    members = gzip.compress(b"id\na@x.test\n") + gzip.compress(b"b@x.test\n")
    desk.folder.put("out_1.csv.gz", members)
    assert desk.rows() == [["a@x.test"], ["b@x.test"]]


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({"delimiter": ","}, b"id,name\na@x.test,J\xc3\xbcrgen\n"),
        ({"delimiter": "\t"}, b"id\tname\na@x.test\tJ\xc3\xbcrgen\n"),
        ({"encoding": "windows-1252"}, b"id;name\na@x.test;J\xfcrgen\n"),
        ({"encoding": "utf-8-sig"}, b"\xef\xbb\xbfid;name\r\na@x.test;J\xc3\xbcrgen\r\n"),
        ({"encoding": "utf-16"}, "id;name\na@x.test;Jürgen\n".encode("utf-16")),
        ({"header": False}, b"a@x.test;J\xc3\xbcrgen\n"),
        ({"final_newline": "optional"}, b"id;name\na@x.test;J\xc3\xbcrgen"),
    ],
)
def test_each_key_of_the_form(changes: dict[str, object], data: bytes) -> None:
    """A file is read as the configuration says it is written."""
    desk = form(**changes)
    desk.folder.put("out_1.csv", data)
    assert desk.rows() == [["a@x.test", "Jürgen"]]


def test_each_file_has_its_own_header(desk: Desk) -> None:
    """The first line goes in every file; a file with nothing else gives nothing."""
    for number, hours in enumerate((3, 2, 1)):
        line = b"" if number == 1 else b"p%d@x.test\n" % number
        desk.folder.put(f"out_{number}.csv", b"recipient id\n" + line, hours_ago=hours)
    assert desk.rows() == [["p0@x.test"], ["p2@x.test"]]


def test_no_header_and_no_bytes_is_no_row() -> None:
    """Where files have no header, an empty one says that there was nothing."""
    desk = form(header=False)
    desk.folder.put("out_1.csv", b"")
    assert desk.rows() == []


def test_of_full_exports_the_newest_counts() -> None:
    """It repeats everybody, and takes back who left; of files with changes all count."""
    full = form(content="full")
    for desk in (full, form(content="changes")):
        desk.folder.put("out_1.csv", b"id\na@x.test\nb@x.test\n", hours_ago=5)
        desk.folder.put("out_2.csv", b"id\na@x.test\nc@x.test\n", hours_ago=4)
    assert full.rows() == [["a@x.test"], ["c@x.test"]]
    assert len(desk.rows()) == 4


# --- pages -------------------------------------------------------------------------------------


def test_files_are_read_once_for_all_pages(desk: Desk) -> None:
    """They are read with the first page; the rows are let go with the last."""
    ids = [f"{number}@x.test" for number in range(2 * PAGE_ROWS)]
    desk.folder.put("out_1.csv", "\n".join(["id", *ids, ""]).encode())
    window = desk.last_day()
    pages = [desk.port.page(OUT, window, start) for start in range(0, 3 * PAGE_ROWS, PAGE_ROWS)]
    assert [len(page) for page in pages] == [PAGE_ROWS, PAGE_ROWS, 0]
    assert [row[0] for page in pages for row in page] == ids
    assert desk.folder.reads == ["out_1.csv"]
    assert desk.port._kept is None


def test_the_first_page_is_always_read_anew(desk: Desk) -> None:
    """A window that is begun again sees what came meanwhile; so does another window."""
    ids = [f"{number}@x.test" for number in range(PAGE_ROWS)]
    desk.folder.put("out_1.csv", "\n".join(["id", *ids, ""]).encode())
    window = desk.last_day()
    desk.port.page(OUT, window, 0)
    desk.folder.put("out_0.csv", b"id\nlate@x.test\n", hours_ago=2)
    assert desk.port.page(OUT, window, 0)[0] == ["late@x.test"]
    assert desk.port.page(OUT, replace(window, since_ms=0), PAGE_ROWS) == [["999@x.test"]]


# --- files that are not right --------------------------------------------------------------------

WHOLE = f"id\n{CANARY}\n".encode()
PACKED = gzip.compress(WHOLE * 50, mtime=0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (PACKED[:-1], "is gzip that is cut off"),
        (PACKED[:-8], "is gzip that is cut off"),
        (PACKED[: len(PACKED) // 2], "is gzip that is cut off"),
        (PACKED[:2], "is gzip that is cut off"),
        (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "is damaged gzip"),
        (PACKED + b"more", "is damaged gzip"),
        (PACKED[:12] + b"\xff\xff" + PACKED[14:], "is damaged gzip"),
        (b"id\n" + CANARY.encode() + b"\xff\n", "is not utf-8 at byte 21"),
        (b"\xef\xbb\xbf" + WHOLE, "begins with a byte order mark, so its encoding is utf-8-sig"),
        (WHOLE + b"\0\n", "holds a NUL byte"),
        (WHOLE + b"canary@exam", "ends in the middle of a line"),
        (gzip.compress(WHOLE + b"canary@exam", mtime=0), "ends in the middle of a line"),
        (WHOLE + b'"canary\n', "is no CSV behind row 2"),
        (b'id\n"canary" x\n', "is no CSV behind row 1"),
        (b"id\n" + b"canary" * 30_000 + b"\n", "is no CSV behind row 1"),
        (b"", "has no header line"),
        (gzip.compress(b"", mtime=0), "has no header line"),
        (b"\n" + WHOLE, "has no header line"),
        (CANARY.encode() + b"\n", "has no header line"),
        (b"contact:canary;5\n", "has no header line"),
        (b"canary;1795510800000\n", "has no header line"),
        (b"canary;2026-11-24T09:00:00Z\n", "has no header line"),
        (b"canary;\n", "has no header line"),
    ],
)
def test_a_bad_file_stops_the_window(desk: Desk, data: bytes, words: str) -> None:
    """Nothing of it is taken, nothing is guessed, nothing of it is told."""
    assert desk.refusal(data) == words


def test_a_good_file_beside_a_bad_one_waits_with_it(desk: Desk) -> None:
    """A window is whole or not at all; once the bad file is replaced all of it is read."""
    desk.folder.put("out_1.csv", WHOLE, hours_ago=2)
    desk.refusal(PACKED[:-1], "out_2.csv.gz")
    desk.folder.put("out_2.csv.gz", gzip.compress(b"id\nb@x.test\n", mtime=0))
    assert desk.rows() == [[CANARY], ["b@x.test"]]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_may_hold_so_many_bytes(pack) -> None:
    """One more is refused, as it lies there or unpacked."""
    desk = Desk(ExportPlan(FORMS, most_bytes=3000))
    lines = b"id\n" + b"a@x.test\n" * 333
    assert len(lines) == 3000
    desk.folder.put("out_1.csv", pack(lines))
    assert len(desk.rows()) == 333
    assert desk.refusal(pack(lines + b"\n")) == "holds more than 3000 bytes"


def test_a_gzip_bomb_is_not_unpacked() -> None:
    """What would be 4 GiB is refused after little more than the limit."""
    block = b"\0" * (1 << 24)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join([*(packer.compress(block) for _ in range(16)), packer.flush()])
    desk = Desk(ExportPlan(FORMS, most_bytes=1_000_000))
    assert desk.refusal(bomb * 16) == "holds more than 1000000 bytes"


def test_a_window_may_hold_so_many_rows(desk: Desk) -> None:
    """More than a fetch would take are not gathered."""
    for number in range(3):
        desk.folder.put(f"out_{number}.csv", b"id\n" + b"a@x.test\n" * 100, hours_ago=2)
    limited = Desk(ExportPlan(FORMS, most_rows=299))
    limited.folder.listed, limited.folder.content = desk.folder.listed, desk.folder.content
    with pytest.raises(EtlError) as caught:
        limited.rows()
    assert caught.value.code == "page-layout"
    assert caught.value.facts["detail"] == "the files of one window hold more than 299 rows"
    assert len(desk.rows()) == 300


# --- an export job that died ---------------------------------------------------------------------


def missing(desk: Desk, stream: Stream) -> str:
    """In which words a job is taken for dead."""
    with pytest.raises(FarSideUnavailable) as caught:
        desk.rows(stream)
    error = caught.value
    assert (error.code, error.retry) == ("exports-missing", True)
    assert (error.facts["host"], error.facts["call"]) == ("sftp.test", stream.value)
    return str(error.facts["detail"])


def test_no_file_at_all_is_no_answer(desk: Desk) -> None:
    """That nobody is listed does not mean that nobody said no; files of another job do not help."""
    desk.folder.put("unsubscribed_1.csv", b"id\n")
    assert desk.rows(PLAIN) == []
    assert missing(desk, OUT) == "there is none at all"


def test_files_that_are_too_old_are_no_answer(desk: Desk) -> None:
    """Up to the expected time the newest file speaks for the job, empty or not."""
    desk.folder.put("out_1.csv", b"id\na@x.test\n", hours_ago=100)
    desk.folder.put("out_2.csv", b"id\n", hours_ago=48)
    assert desk.rows() == []
    desk.clock.advance(1)
    assert missing(desk, OUT) == "the newest is of 2026-11-22 09:00 UTC"
    desk.folder.put("out_3.csv", b"id\n")
    assert desk.rows() == []


def test_a_file_from_the_future_speaks_for_nobody(desk: Desk) -> None:
    """A wrong time must not hide for years that the job is dead."""
    desk.folder.put("out_1.csv", b"id\n", hours_ago=-24 * 365)
    assert missing(desk, OUT) == "there is none at all"


def test_every_configured_stream_that_suppresses_is_watched() -> None:
    """Unsubscriptions by mailing are expected once they are configured, opens are not."""
    by_mailing, opens = ExportForm(r"m\.csv"), ExportForm(r"o\.csv")
    desk = Desk(ExportPlan({BY_MAILING: by_mailing, Stream.OPENS: opens}, expected_hours=3))
    assert missing(desk, BY_MAILING) == "there is none at all"
    assert desk.rows(Stream.OPENS) == []


# --- the rest ------------------------------------------------------------------------------------


def test_the_blocklist_is_campaigns(desk: Desk) -> None:
    """It is no part of the exports."""
    assert desk.port.blocklist() == ["*@bad.test"]


def test_closing_closes_both(desk: Desk) -> None:
    """The folder's connection and the session; rows are let go."""
    desk.folder.put("out_1.csv", b"id\n" + b"a@x.test\n" * PAGE_ROWS)
    desk.rows()
    desk.port.close()
    assert (desk.folder.closed, desk.campaign.closed) == (1, 1)
    assert desk.port._kept is None
