"""Two contents of a list compared: against a naive oracle of dictionaries."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from etl.transform.compare import Changes, compare, returning

VALUES = st.one_of(st.none(), st.sampled_from(["", "x", "y"]))
ATTRIBUTES = ("one", "two", "three")


@st.composite
def contents(draw):
    """Attribute names and rows: id, address, values; an id may come twice."""
    names = draw(st.lists(st.sampled_from(ATTRIBUTES), unique=True))
    row = st.tuples(
        st.integers(0, 6).map("p{}".format), st.sampled_from(["a@x", "b@x"]),
        st.tuples(*[VALUES] * len(names)),
    )  # fmt: skip
    return names, draw(st.lists(row, max_size=8))


def frame(content):
    """Staged rows as the pipeline keeps them, with columns that do not matter."""
    names, rows = content
    columns = {
        "record": pl.Series(range(len(rows)), dtype=pl.UInt32),
        "recipient_id": pl.Series([each[0] for each in rows], dtype=pl.String),
        "address": pl.Series([each[1] for each in rows], dtype=pl.String),
        "line": pl.Series(range(5, 5 + len(rows)), dtype=pl.UInt32),
    }
    for number, name in enumerate(names):
        values = [each[2][number] for each in rows]
        columns[f"attribute:{name}"] = pl.Series(values, dtype=pl.String)
    return pl.DataFrame(columns)


def people(content):
    """What a list has after these rows: the first of an id counts."""
    names, rows = content
    found = {}
    for identity, address, values in rows:
        known = dict.fromkeys(ATTRIBUTES) | dict(zip(names, values, strict=True))
        found.setdefault(identity, (address, known))
    return found


@given(now=contents(), then=contents())
def test_counts_are_those_of_the_oracle(now, then):
    """Joiners, leavers, changed and unchanged as dictionaries count them; nulls are values."""
    before, after = people(now), people(then)
    both = before.keys() & after.keys()
    same = sum(before[key] == after[key] for key in both)
    assert compare(frame(now), frame(then)) == Changes(
        joiners=len(after.keys() - before.keys()),
        leavers=len(before.keys() - after.keys()),
        changed=len(both) - same,
        unchanged=same,
    )


@given(sent=contents(), newer=contents())
def test_who_would_return(sent, newer):
    """Everybody sent whom the newer content does not have, each once."""
    assert returning(frame(sent), frame(newer)) == len(people(sent).keys() - people(newer).keys())


def test_two_contents_by_hand():
    """One joins, two leave, one changes from null to empty text, one stays."""
    now = frame((["one"], [(f"p{n}", "a@x", (None,)) for n in range(4)]))
    then = frame((["one"], [("p0", "a@x", (None,)), ("p1", "a@x", ("",)), ("p9", "a@x", ("",))]))
    assert compare(now, then) == Changes(joiners=1, leavers=2, changed=1, unchanged=1)
