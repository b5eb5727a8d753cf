"""Cases: readable, complete when visible, safe in Excel, the same when written twice."""

import csv
import hashlib
import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import polars as pl
import pytest

from etl.load.case_csv import ADDED_COLUMNS, REFUSED_COLUMNS, disarmed
from etl.load.quarantine import (
    CaseReport,
    Refusal,
    RefusedRow,
    RejectedRows,
    RowCounts,
    add_refused,
    list_cases,
    read_report,
    write_case,
)
from etl.shipped import shipped

NOW = datetime(2026, 11, 24, 9, 15, tzinfo=UTC)
BATCH = "20261124T091500Z-1a2b3c"
SCHEMA = json.loads((shipped("schemas") / "report.schema.json").read_bytes())
VALIDATOR = jsonschema.Draft202012Validator(
    SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)
CASE = CaseReport(
    BATCH, "contacts", "Kontakte.csv", 1234, "a" * 64, NOW, NOW, NOW, None, RowCounts(9, 6, 2, 1)
)
HEADER = ("email", "name", "note")
REASON_SCHEMA = {
    "record": pl.UInt32,
    "line": pl.UInt32,
    "last_line": pl.UInt32,
    "offset": pl.UInt64,
    "end": pl.UInt64,
    "code": pl.String,
    "field": pl.String,
    "constraint": pl.String,
    "column_number": pl.UInt32,
    "other_line": pl.UInt32,
}
WRONG_ADDRESS = "email is not an e-mail address that Campaign takes: correct the address in the CRM"
EMAIL = ("email", "email", "email", 1, None)


def rejected_rows(
    *records: tuple[bytes, list[tuple]], encoding: str = "utf-8", delimiter: str = ";"
) -> RejectedRows:
    """A drop of these records, each with its reasons (code, field, constraint, column, line)."""
    content, lines, line = delimiter.join(HEADER).encode() + b"\r\n", [], 2
    for number, (record, reasons) in enumerate(records):
        place = (number, line, line, len(content), len(content) + len(record))
        lines += [(*place, *reason) for reason in reasons]
        content += record
        line += record.count(b"\n")
    frame = pl.DataFrame(lines, schema=REASON_SCHEMA, orient="row")
    return RejectedRows(frame, content, HEADER, encoding, delimiter, '"')


def rows_of(path: Path, delimiter: str = ";") -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


TWO = rejected_rows(
    (b"anna.example.org;Anna;\r\n", [EMAIL, ("required", "note", None, 3, None)]),
    (
        b'otto@example.org;"Otto; der ""Gro\xc3\x9fe""";"two\r\nlines"\r\n',
        [("duplicate-recipient", "email", None, 1, 2)],
    ),
)


def test_rejected_rows_keep_their_columns_and_get_line_codes_and_hints(tmp_path: Path) -> None:
    """Each record stands once with all its reasons, split as the drop was."""
    header, first, second = rows_of(write_case(tmp_path, CASE, TWO, None) / "rejected.csv")
    assert header == [*HEADER, *ADDED_COLUMNS]
    assert first == [
        "anna.example.org",
        "Anna",
        "",
        "2",
        "email required",
        f"{WRONG_ADDRESS} | note is empty: fill the field in the CRM",
        "",
    ]
    assert second[:5] == [
        "otto@example.org",
        'Otto; der "Große"',
        "two\r\nlines",
        "3",
        "duplicate-recipient",
    ]
    assert "line 2" in second[5]


def test_the_csv_opens_in_a_spreadsheet(tmp_path: Path) -> None:
    """It begins with a byte order mark, has every field quoted and CRLF line ends."""
    raw = (write_case(tmp_path, CASE, TWO, None) / "rejected.csv").read_bytes()
    assert raw.startswith(b'\xef\xbb\xbf"email";"name";"note";')
    assert raw.endswith(b'""\r\n')


def test_what_cannot_be_split_stands_as_it_came(tmp_path: Path) -> None:
    """A broken record fills one column, with the bytes that are no text as escapes."""
    rows = rejected_rows(
        (b"a;b\r\n", [("short-record", None, None, None, None)]),
        (b'a;"b;c\n', [("open-quote", None, None, None, None)]),
        (b'a;"b"x;c\n', [("text-after-quote", None, None, None, None)]),
        (b"a;\xfc;c\r\n", [("bad-bytes", "name", None, 2, None)]),
        (b"\r\n", [("blank-line", None, None, None, None)]),
        (b"a;b\x00;c\n", [("nul-byte", None, None, None, None)]),
        (b"x" * 70_000 + b"\n", [("line-too-long", None, "65536", None, None)]),
    )
    short, opened, after, bad, blank, nul, long = rows_of(
        write_case(tmp_path, CASE, rows, None) / "rejected.csv"
    )[1:]
    assert (short[:3], short[-1]) == (["", "", ""], "a;b")
    assert opened[-1] == 'a;"b;c'
    assert (after[:3], after[-1]) == (["", "", ""], 'a;"b"x;c')
    assert bad[:3] == ["a", "\\xfc", "c"]
    assert "not utf-8" in bad[5]
    assert blank[-1] == ""
    assert nul[1] == "b\x00"
    assert long[-1].endswith("x [cut, 70001 bytes in all]")
    assert "longer than 65536 bytes" in long[5]
    assert len(long[-1]) < 66_000


def test_a_legacy_encoding_becomes_utf_8(tmp_path: Path) -> None:
    """A drop in windows-1252 with commas is shown in letters, delimited as it was."""
    rows = rejected_rows(
        ("käthe,Müller €,\r\n".encode("cp1252"), [EMAIL]), encoding="windows-1252", delimiter=","
    )
    path = write_case(tmp_path, CASE, rows, None) / "rejected.csv"
    assert rows_of(path, ",")[1][:2] == ["käthe", "Müller €"]


FORMULAS = "=+-@\0\uff1d\uff0b\uff0d\uff20"


@pytest.mark.parametrize(
    "cell",
    [
        *(f"{c}1+1" for c in FORMULAS + "\t\r\n"),
        *(f"{before}{c}1+1" for before in (" ", "x;", "x,", "x\n", "x; ", "x\t") for c in FORMULAS),
    ],
)
def test_no_cell_is_taken_for_a_formula(tmp_path: Path, cell: str) -> None:
    """Whatever could begin a formula has a ' before it, also where another delimiter splits."""
    rows = rejected_rows((f'a;"{cell}";c\r\n'.encode(), [EMAIL]))
    found = rows_of(write_case(tmp_path, CASE, rows, None) / "rejected.csv")[1][1]
    assert found == disarmed(cell)
    assert found.replace("'", "", 1) == cell
    assert found[0] not in "\t\r\n"
    for part in re.split("[;,\t\n]", found):
        assert part.lstrip()[:1] not in set(FORMULAS)


def test_headers_raw_records_and_ids_are_no_formulas_either(tmp_path: Path) -> None:
    """Names of columns, records that could not be split and recipient ids come from outside too."""
    rows = rejected_rows((b"=1+1\r\n", [("short-record", None, None, None, None)]))
    rows = replace(rows, header=("=email", "name", "note"))
    folder = write_case(tmp_path, CASE, rows, None)
    add_refused(tmp_path, CASE, [RefusedRow(7, "=cmd@example.org", "code-1")])
    header, row = rows_of(folder / "rejected.csv")
    assert (header[0], row[-1]) == ("'=email", "'=1+1")
    assert rows_of(folder / "refused.csv")[1][1] == "'=cmd@example.org"


def test_harmless_cells_are_left_alone() -> None:
    """Minus signs and at signs inside a cell are no formula."""
    for cell in ("a@example.org", "Anna-Lena", "1-2+3=4", "", "Hans (a-b)"):
        assert disarmed(cell) == cell


def test_the_report_counts_by_code_and_column(tmp_path: Path) -> None:
    """Most frequent first, ten first lines at most, and the report follows its schema."""
    records = [(b"x;y;z\r\n", [EMAIL]) for _ in range(25)]
    records[3] = (b"x;y;\r\n", [EMAIL, ("required", "note", None, 3, None)])
    folder = write_case(tmp_path, CASE, rejected_rows(*records), None)
    report = read_report(folder / "report.json")
    VALIDATOR.validate(report)
    assert report["outcome"] == "drop-went-on"
    assert report["rejected"]["rows"] == 25
    email, required = report["rejected"]["reasons"]
    assert (email["code"], email["field"], email["column"], email["rows"]) == (
        "email",
        "email",
        1,
        25,
    )
    assert email["first_lines"] == list(range(2, 12))
    assert (required["rows"], required["first_lines"]) == (1, [5])


def test_a_rejected_drop_has_its_reason_and_its_original(tmp_path: Path) -> None:
    """The whole drop lies there byte for byte, beside why it was rejected and what to do."""
    original = tmp_path / "copy"
    original.write_bytes(b"\xff\x00 anything\n" * 300_000)
    root = tmp_path / "quarantine"
    root.mkdir()
    case = replace(
        CASE, feed=None, rows=None, refusal=Refusal("broken-header", {"detail": "cut"}, 1, 3, "x")
    )
    folder = write_case(root, case, None, original)
    assert folder.name == f"{BATCH}-no-feed"
    assert (folder / "Kontakte.csv").read_bytes() == original.read_bytes()
    report = read_report(folder / "report.json")
    VALIDATOR.validate(report)
    assert report["outcome"] == "drop-rejected"
    assert report["reason"]["sentence"] == "the header cannot be read: cut"
    assert report["reason"]["hint"] == "look at the first line of the file"
    assert (report["reason"]["line"], report["reason"]["column"]) == (1, 3)
    (file,) = report["files"]
    assert file["sha256"] == hashlib.sha256(original.read_bytes()).hexdigest()
    assert file["size_bytes"] == original.stat().st_size


@pytest.mark.parametrize(
    "name", ["report.json", "Rejected.CSV", "../../evil.csv", "\x1b[2J\n<b>\udcff.csv", "ä" * 200]
)
def test_the_original_never_takes_another_place(tmp_path: Path, name: str) -> None:
    """No name a drop may have overwrites a file of the case or leaves its folder."""
    original = tmp_path / "copy"
    original.write_bytes(b"the drop")
    root = tmp_path / "quarantine"
    root.mkdir()
    case = replace(CASE, name=name, refusal=Refusal("empty-file"))
    folder = write_case(root, case, TWO, original)
    found = contents(folder)
    assert len({name.lower() for name in found}) == 4, "a share may not tell A from a"
    assert list(found.values()).count(b"the drop") == 1
    VALIDATOR.validate(json.loads(found["report.json"]))
    assert {path.name for path in tmp_path.iterdir()} == {"copy", "quarantine"}


def test_refused_rows_are_added_to_the_case(tmp_path: Path) -> None:
    """What Campaign refused stands beside the rejected rows; neither takes the other away."""
    folder = write_case(tmp_path, CASE, TWO, None)
    rejected = (folder / "rejected.csv").read_bytes()
    rows = [RefusedRow(n, f"p{n}@example.org", "code-1") for n in range(2, 14)]
    rows.append(RefusedRow(99, "q@example.org", "poisoned"))
    assert add_refused(tmp_path, CASE, iter(rows)) == folder
    table = rows_of(folder / "refused.csv")
    assert table[0] == list(REFUSED_COLUMNS)
    assert table[1] == ["2", "p2@example.org", "code-1", "correct the address in the CRM"]
    assert len(table) == 14
    report = read_report(folder / "report.json")
    VALIDATOR.validate(report)
    assert report["refused"]["rows"] == 13
    assert [r["rows"] for r in report["refused"]["reasons"]] == [12, 1]
    assert report["rejected"]["rows"] == 2
    assert (folder / "rejected.csv").read_bytes() == rejected
    assert {f["name"] for f in report["files"]} == {"rejected.csv", "refused.csv"}
    before = contents(folder)
    write_case(tmp_path, CASE, TWO, None)
    assert contents(folder) == before


def test_refused_rows_alone_make_a_case(tmp_path: Path) -> None:
    """Without rejected rows a case is made; told again, the second telling replaces the first."""
    add_refused(tmp_path, CASE, [RefusedRow(2, "a@example.org", "code-6")] * 3)
    folder = add_refused(tmp_path, CASE, [RefusedRow(2, "a@example.org", "code-7")])
    assert len(rows_of(folder / "refused.csv")) == 2
    report = read_report(folder / "report.json")
    VALIDATOR.validate(report)
    assert report["rejected"] is None
    assert [r["code"] for r in report["refused"]["reasons"]] == ["code-7"]


def test_written_twice_it_is_the_same_case(tmp_path: Path) -> None:
    """A crash and a repeat, with rubbish of the crash around, end in the same bytes."""
    original = tmp_path / "copy"
    original.write_bytes(b"the drop")
    fresh, crashed = tmp_path / "fresh", tmp_path / "crashed"
    fresh.mkdir()
    crashed.mkdir()
    case = replace(CASE, refusal=Refusal("too-many-rejected", {"rejected": 2, "rows": 9}))
    expected = contents(write_case(fresh, case, TWO, original))
    half = crashed / f".{BATCH}-contacts.partial"
    half.mkdir()
    (half / "rejected.csv").write_bytes(b"half")
    (half / "left-over").write_bytes(b"half")
    other = crashed / f".{BATCH}-no-feed.partial"
    other.mkdir()
    folder = write_case(crashed, case, TWO, original)
    assert contents(folder) == expected
    assert [path.name for path in crashed.iterdir()] == [f"{BATCH}-contacts"]
    (folder / ".rejected.csv.partial").write_bytes(b"half")
    (folder / "report.json").write_bytes(b"{broken")
    (folder / "rejected.csv").unlink()
    assert contents(write_case(crashed, case, TWO, original)) == expected


def test_what_no_longer_belongs_to_a_case_goes(tmp_path: Path) -> None:
    """When a repeat finds nothing to reject any more, the earlier table does not stay behind."""
    write_case(tmp_path, CASE, TWO, None)
    folder = write_case(
        tmp_path, replace(CASE, refusal=Refusal("no-rows", {"rows": 0})), None, None
    )
    assert sorted(contents(folder)) == ["report.html", "report.json"]


def test_a_case_is_for_its_group_alone(tmp_path: Path) -> None:
    """Folders have mode 0750, files 0640."""
    folder = write_case(tmp_path, CASE, TWO, None)
    assert folder.stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o640}


class _Page(HTMLParser):
    """What a page consists of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_the_page_needs_no_network_and_runs_nothing(tmp_path: Path) -> None:
    """No script, no foreign address, a policy that forbids both, and hostile names escaped."""
    case = replace(
        CASE,
        name="<script>alert(1)</script>\u202e.csv",
        refusal=Refusal("wrong-consent", {"value": "<img src=//x>", "expected": "7"}, field="<b>"),
    )
    rows = replace(
        TWO, frame=TWO.frame.with_columns(field=pl.lit("<i onclick=x>"), code=pl.lit("email"))
    )
    folder = write_case(tmp_path, case, rows, None)
    add_refused(tmp_path, case, [RefusedRow(4, "a@example.org", "poisoned")])
    html = (folder / "report.html").read_text("utf-8")
    page = _Page()
    page.feed(html)
    assert not set(page.tags) & {"script", "img", "link", "iframe", "b", "i", "base", "form"}
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert ("content", policy) in page.attributes
    assert "//" not in html.replace("&lt;img src=//x&gt;", "")
    assert "url(" not in html
    assert "@import" not in html
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert {v for n, v in page.attributes if n == "href"} == {
        "./report.json",
        "./refused.csv",
        "./rejected.csv",
    }
    assert "\u202e" not in html
    assert "&lt;script&gt;" in html


def test_the_page_says_what_to_do(tmp_path: Path) -> None:
    """Sentence, hint, counts, first lines and files stand on the page."""
    folder = write_case(tmp_path, CASE, TWO, None)
    html = (folder / "report.html").read_text("utf-8")
    for words in (
        "Kontakte.csv",
        "went on without",
        "2 rows break a rule",
        "is not an e-mail address that Campaign takes",
        "correct the address in the CRM",
        "duplicate-recipient",
        "line …, which is kept",
        "rejected.csv",
        BATCH,
    ):
        assert words in html


def test_the_reports_show_nobody(tmp_path: Path) -> None:
    """Cells are in the two tables and the original, never in a report, a repr or an error."""
    canaries = ["canary.anna", "Kanarienvogel", "geheim-4711", "0a1b2c3d4e5f6789"]
    record = f"{canaries[0]}@example.org;{canaries[1]};{canaries[2]} {canaries[3]}\r\n".encode()
    rows = rejected_rows((record, [EMAIL]), (record[:-2] + b";x\n", [EMAIL]))
    original = tmp_path / "copy"
    original.write_bytes(record)
    case = replace(
        CASE, refusal=Refusal("mixed-consents", {"values": f"7, {canaries[0]}@example.org"})
    )
    root = tmp_path / "quarantine"
    root.mkdir()
    refused = RefusedRow(2, f"{canaries[0]}@example.org", "poisoned")
    folder = write_case(root, case, rows, original)
    add_refused(root, case, [refused])
    found = contents(folder)
    assert set(found) == {
        "report.json",
        "report.html",
        "rejected.csv",
        "refused.csv",
        "Kontakte.csv",
    }
    shown = found["report.json"].decode() + found["report.html"].decode()
    shown += repr(rows) + repr(refused) + repr(case.rows) + repr(list_cases(root))
    (folder / "report.json").write_bytes(record)
    with pytest.raises(ValueError, match="no JSON") as caught:
        read_report(folder / "report.json")
    shown += repr(caught.value) + repr(caught.value.__cause__) + repr(list_cases(root))
    assert [canary for canary in canaries if canary in shown] == []
    assert canaries[0] in found["rejected.csv"].decode()
    assert canaries[0] in found["refused.csv"].decode()


def test_cases_are_listed_even_when_one_cannot_be_read(tmp_path: Path) -> None:
    """A list shows what each case is about; dot folders are not cases yet."""
    write_case(tmp_path, CASE, TWO, None)
    later = replace(CASE, batch="20261125T091500Z-1a2b3c", refusal=Refusal("empty-file"))
    write_case(tmp_path, later, None, None)
    (tmp_path / "zzz").mkdir()
    newer = tmp_path / "zzzz"
    newer.mkdir()
    (newer / "report.json").write_text('{"version": 2}')
    (tmp_path / ".x.partial").mkdir()
    first, second, broken, unknown = list_cases(tmp_path)
    assert (first.case, first.name, first.rejected_rows, first.code) == (
        f"{BATCH}-contacts",
        "Kontakte.csv",
        2,
        None,
    )
    assert second.code == "empty-file"
    assert (broken.readable, unknown.readable) == (False, False)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": "1"}', '{"version": 2}', "\udcff"])
def test_a_report_of_another_kind_or_a_newer_version_is_refused(tmp_path: Path, text: str) -> None:
    """What this release does not know it does not guess at."""
    path = tmp_path / "report.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"^report\.json"):
        read_report(path)
    with pytest.raises(FileNotFoundError):
        read_report(tmp_path / "missing" / "report.json")


def test_a_hundred_thousand_rejected_rows_take_seconds(tmp_path: Path) -> None:
    """The case of a large drop that went wrong as a whole does not hold up the service."""
    record = b'+49 351 1;"M\xc3\xbcller; Hans";text\r\n'
    count, first = 100_000, len(";".join(HEADER)) + 2
    frame = pl.DataFrame({"record": range(count)}, schema={"record": pl.UInt32}).with_columns(
        line=pl.col("record") + 2,
        last_line=pl.col("record") + 2,
        offset=first + pl.col("record").cast(pl.UInt64) * len(record),
        end=first + (pl.col("record").cast(pl.UInt64) + 1) * len(record),
        code=pl.lit("unique"),
        field=pl.lit("email"),
        constraint=pl.lit(None, pl.String),
        column_number=pl.lit(1),
        other_line=pl.col("record") + 1,
    )
    content = ";".join(HEADER).encode() + b"\r\n" + record * count
    begin = time.perf_counter()
    folder = write_case(
        tmp_path, CASE, RejectedRows(frame, content, HEADER, "utf-8", ";", '"'), None
    )
    assert time.perf_counter() - begin < 20, "ten times what it takes"
    table = rows_of(folder / "rejected.csv")
    assert len(table) == count + 1
    assert table[-1][:3] == ["'+49 351 1", "Müller; Hans", "text"]
    assert "line 100000" in table[-1][5]
