"""What holds for every drop: nothing is lost, and a bad record costs only itself."""

import csv
import io

import polars as pl
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from etl.transform.address import folded
from etl.transform.check import Checked, Dialect, Limits, Refusal, check
from etl.transform.encode import OutputDialect, encode
from etl.transform.rules import Rule, failures
from tests.unit.transform.drops import COLUMNS, cells, checked, drop, plan, record

LOOSE = plan(rejected_rows_limit=10**6, limits=Limits(line_bytes=400), final_newline="optional")
HEADER = ";".join(COLUMNS) + "\n"


def conserved(data: bytes, answer: Checked) -> None:
    """Accepted and rejected are disjoint, are all records, and cover every byte."""
    accepted, rejected = set(answer.rows["record"]), set(answer.rejected["record"])
    assert not accepted & rejected
    assert accepted | rejected == set(range(answer.rows_read))
    assert (answer.rows.height, answer.rejected_rows) == (len(accepted), len(rejected))
    spans = {*answer.rows.select("offset", "end").rows()}
    spans |= {*answer.rejected.select("offset", "end").rows()}
    place = answer.header_end
    for offset, end in sorted(spans):
        assert offset == place
        place = end
    assert place == len(data)


piece = st.one_of(
    st.integers(0, 9).map(lambda n: record(n).encode()),
    st.integers(0, 9).map(lambda n: record(n, notes='"a\n""b"";"').encode()),
    st.binary(max_size=12),
    st.sampled_from([b"\n", b"\r\n", b"\r", b'"', b";", b"\0", b"\xff", b"\n\n", b"x" * 500]),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(piece, max_size=25).map(b"".join))
def test_no_record_is_lost_whatever_the_bytes(body):
    """Any bytes under a good header: no exception, and every record has exactly one fate."""
    data = HEADER.encode() + body
    answer = check(data, LOOSE)
    assert isinstance(answer, Checked)
    conserved(data, answer)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["utf-8", "utf-16", "windows-1252", "iso-8859-15"]))
def test_any_bytes_are_judged_and_never_raise(data, encoding):
    """Whatever a file holds, the answer is a value."""
    assert isinstance(check(data, plan(dialect=Dialect(encoding))), Checked | Refusal)


@settings(max_examples=60, deadline=None)
@given(st.lists(piece, max_size=12).map(b"".join), st.integers(0, 400))
def test_a_file_cut_anywhere_loses_no_record(body, cut):
    """Cutting the bytes anywhere behind the header keeps the count of fates whole."""
    data = (HEADER.encode() + body)[: len(HEADER) + cut]
    answer = check(data, LOOSE)
    assert isinstance(answer, Checked)
    conserved(data, answer)


# A text that begins with a letter: a stray quote in front of a field that begins with a delimiter
# or a line break can make a well-formed record with it, and nobody could tell.
text = st.text(st.sampled_from('ab";\n\r ä'), max_size=10).map(lambda tail: "n" + tail + "z")
quoted = text.map(lambda value: '"' + value.replace('"', '""') + '"')
stray = st.sampled_from(
    [
        "", '"', "kaputt", 'x;"offen', 'x;"zu"nicht;y', 'a"b', "a\rb", "a\0b", "\ufffe",
        record(900, zip="x"), record(900, notes='"offen'), record(900, notes='ein " Zeichen'),
        record(900) + ";mehr", record(900, notes="x" * 500), record(900, email="@"),
        record(900, notes="\x02\x02"), record(900, birthday="x", score="y"),
    ]
).map(str.encode) | st.just(record(900).encode() + b"\xff")  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.lists(quoted | st.just("schlicht"), min_size=1, max_size=6), stray, st.data())
def test_a_bad_record_costs_only_itself(notes, bad, data):
    """A broken line anywhere in a good file: every other record is accepted as before."""
    good: list[str | bytes] = [record(n, notes=note) for n, note in enumerate(notes)]
    place = data.draw(st.integers(0, len(good)))
    before = checked(drop(good), LOOSE)
    after = checked(drop([*good[:place], bad, *good[place:]]), LOOSE)
    assert before.rows.height == len(good)
    same = ["recipient_id", "attribute:Notiz"]
    assert after.rows.select(same).equals(before.rows.select(same))
    assert after.rejected["record"].unique().to_list() == [place]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(text, st.booleans()), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([None, OutputDialect(",", '"'), OutputDialect("\t", "'")]),
)
def test_what_is_written_reads_as_what_was_accepted(rows, ending, output):
    """A strict independent reader finds exactly the accepted cells, and again the same bytes."""
    made = [
        cells(n, notes=note, zip="01067" if good else "x") for n, (note, good) in enumerate(rows)
    ]
    source = io.StringIO(newline="")
    # This writer leaves a carriage return bare where lines end with LF.
    quoting = csv.QUOTE_ALL if ending == "\n" else csv.QUOTE_MINIMAL
    writer = csv.writer(source, delimiter=";", lineterminator=ending, quoting=quoting)
    writer.writerows([COLUMNS, *(row.values() for row in made)])
    data = source.getvalue().encode()
    answer = checked(data, LOOSE)
    out = encode(data, answer.header_end, answer.rows, LOOSE.dialect, output)
    assert out == encode(data, answer.header_end, answer.rows, LOOSE.dialect, output)
    used = output or OutputDialect()
    reader = csv.reader(
        io.StringIO(out.decode(), newline=""),
        delimiter=used.delimiter,
        quotechar=used.quote,
        strict=True,
    )
    expected = [list(COLUMNS)] + [list(row.values()) for row in made if row["zip"] != "x"]
    assert list(reader) == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=20))
def test_null_never_passes(verdicts):
    """Whatever a rule answers, only true passes."""
    frame = pl.DataFrame({"c0": pl.Series(verdicts, dtype=pl.Boolean)})
    failing = [n for _, rows in failures(frame, [Rule("x", "f", None, pl.col("c0"))]) for n in rows]
    assert failing == [n for n, verdict in enumerate(verdicts) if verdict is not True]


@settings(max_examples=150, deadline=None)
@given(
    st.text(
        st.sampled_from("aAäÄ\u0130\u0131\u017fß\u03a3\u212a\u212b@.\u0301- \u3002"), max_size=12
    )
    | st.text(max_size=12)
)
def test_folding_twice_is_folding_once(address):
    """The form of an address is its own form: what is stored is found again."""
    assume("\x00" not in address)
    once = folded([address])
    assert folded(once) == once
