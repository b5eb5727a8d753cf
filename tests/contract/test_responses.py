"""What every Responses does: the twin, Campaign's SOAP services, export files on a real sshd."""

from collections.abc import Iterator

import pytest

from etl.errors import FarSideUnavailable
from etl.ports import PAGE_ROWS, Responses, Stream, Window
from tests.contract.campaign_stage import EXPORTS, STAGES, Stage, export_stage, stage_named


@pytest.fixture(params=[*STAGES, *EXPORTS])
def stage(request: pytest.FixtureRequest, tmp_path) -> Iterator[Stage]:
    opened = export_stage if request.param in EXPORTS else stage_named
    with opened(request.param, tmp_path) as made:
        yield made


def rows_of(port: Responses, stream: Stream, window: Window) -> list[list[str | None]]:
    """Every row of a window, page by page."""
    rows: list[list[str | None]] = []
    while True:
        page = port.page(stream, window, len(rows))
        rows += page
        if len(page) < PAGE_ROWS:
            return rows


def test_the_clock_is_campaigns_own(stage: Stage) -> None:
    """Milliseconds since the epoch, not running backwards."""
    first = stage.responses.now()
    assert 1_500_000_000_000 < first < 5_000_000_000_000
    assert stage.responses.now() >= first


def test_nothing_happened_is_an_empty_page(stage: Stage) -> None:
    """Every stream of a quiet client is empty."""
    now = stage.responses.now()
    for stream in Stream:
        assert stage.responses.page(stream, Window(now - 1000, now), 0) == []


def test_events_show_in_their_stream_after_the_export(stage: Stage) -> None:
    """What happened is visible after the job, in its own stream, with the recipient's id."""
    since = stage.responses.now() - 1000
    stage.unsubscribe("ann@example.org")
    stage.bounce_out("bob@example.org")
    before = Window(since, stage.responses.now())
    assert stage.responses.page(Stream.UNSUBSCRIBES, before, 0) == []
    stage.export()
    window = Window(since, stage.responses.now() + 1000)
    (unsubscribed,) = rows_of(stage.responses, Stream.UNSUBSCRIBES, window)
    (bounced,) = rows_of(stage.responses, Stream.OUT_BOUNCES, window)
    assert "ann@example.org" in unsubscribed
    assert "bob@example.org" in bounced


def test_a_window_chooses_by_the_export(stage: Stage) -> None:
    """Rows of an export file outside the window are not listed."""
    stage.unsubscribe("ann@example.org")
    stage.export()
    now = stage.responses.now()
    later = Window(now + 60_000, now + 120_000)
    earlier = Window(now - 120_000, now - 60_000)
    around = Window(now - 60_000, now + 60_000)
    pages = [
        len(rows_of(stage.responses, Stream.UNSUBSCRIBES, w)) for w in (later, earlier, around)
    ]
    assert pages == [0, 0, 1]


def test_a_long_window_is_read_page_by_page(stage: Stage) -> None:
    """A full page is followed by the rest; nobody is missed or told twice."""
    ids = [f"{n}@example.org" for n in range(PAGE_ROWS + 5)]
    stage.unsubscribe(*ids)
    stage.export()
    now = stage.responses.now()
    window = Window(now - 60_000, now + 60_000)
    first = stage.responses.page(Stream.UNSUBSCRIBES, window, 0)
    second = stage.responses.page(Stream.UNSUBSCRIBES, window, PAGE_ROWS)
    assert (len(first), len(second)) == (PAGE_ROWS, 5)
    assert sorted(row[0] for row in first + second) == sorted(ids)
    assert stage.responses.page(Stream.UNSUBSCRIBES, window, PAGE_ROWS + 5) == []


def test_a_full_last_page_is_followed_by_an_empty_one(stage: Stage) -> None:
    """Exactly a page of rows: only the next, empty page tells that it was the last."""
    stage.unsubscribe(*(f"{n}@example.org" for n in range(PAGE_ROWS)))
    stage.export()
    now = stage.responses.now()
    window = Window(now - 60_000, now + 60_000)
    assert len(rows_of(stage.responses, Stream.UNSUBSCRIBES, window)) == PAGE_ROWS


def test_the_blocklist_comes_as_written(stage: Stage) -> None:
    """Addresses and patterns, whatever characters they hold; an empty one is empty."""
    assert stage.responses.blocklist() == []
    entries = ["ann@example.org", "*@bad.test", "a?b\\*c@example.org", "ü&<x>@example.org"]
    stage.block(*entries)
    assert sorted(stage.responses.blocklist()) == sorted(entries)


@pytest.mark.parametrize("verb", ["now", "page", "blocklist"])
def test_a_lost_answer_can_be_asked_for_again(stage: Stage, verb: str) -> None:
    """A question whose answer is lost is unavailable once, and answered then.

    The clock of export files is our own, the one verb that asks nobody.
    """
    ask = {
        "now": stage.responses.now,
        "page": lambda: stage.responses.page(Stream.UNSUBSCRIBES, Window(0, 1), 0),
        "blocklist": stage.responses.blocklist,
    }[verb]
    if verb in stage.asked:
        stage.lose(verb, after_effect=True)
        with pytest.raises(FarSideUnavailable):
            ask()
    assert ask() is not None


def test_after_closing_it_goes_on(stage: Stage) -> None:
    """A closed port answers the next verb all the same."""
    stage.responses.close()
    assert stage.responses.blocklist() == []
    stage.responses.close()
    now = stage.responses.now()
    assert stage.responses.page(Stream.UNSUBSCRIBES, Window(now - 1000, now), 0) == []
