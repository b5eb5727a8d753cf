"""Response data: visible by export files, in windows of their time, page by page, not for ever."""

import pytest

from tests.unit.sandbox.caller import SoapFault

ANN, BOB, CY = "ann@example.org", "bob@example.org", "cy@example.org"
DAY = 86_400
FAR = 10**15


@pytest.fixture(autouse=True)
def _bare_ids(control):
    """Rows hold the id alone, unless a test wants more; sessions outlive the days that pass."""
    control.set_switches(unsubscribe_columns=["recipient_id"], session_seconds=10**9)


def _ids(caller, stream="getUnsubscribes", since=0, until=FAR, start=0, size=1000):
    rows = caller(f"RpcClosedLoop.{stream}", since, until, start, size)
    return [row[0] for row in rows]


def test_the_clock_is_in_milliseconds(caller, control):
    """GetCurrentTime gives the simulator's own clock in ms, which can be set."""
    assert abs(caller("RpcClosedLoop.getCurrentTime") - control.now_ms()) < 5000
    control.set_clock(2_000_000_000_000)
    assert 0 <= caller("RpcClosedLoop.getCurrentTime") - 2_000_000_000_000 < 5000


@pytest.mark.parametrize("interval", [float(DAY), 60.0])
def test_job_interval_seconds(caller, control, interval):
    """An event shows only when the next export file is due."""
    control.set_switches(job_interval_seconds=interval)
    control.unsubscribe(7, [ANN])
    assert _ids(caller) == []
    control.advance(interval - 30)
    assert _ids(caller) == []
    control.advance(31)
    assert _ids(caller) == [ANN]


def test_an_export_can_be_made_at_once(caller, control):
    """run_export_job makes everything pending visible and says how much it was."""
    control.unsubscribe(7, [ANN, BOB])
    assert control.run_export_job() == 2
    assert _ids(caller) == [ANN, BOB]
    assert control.run_export_job() == 0


def test_windows_select_by_the_export_not_the_event(caller, control):
    """An old event of a young export file is in the young window."""
    control.unsubscribe(7, [ANN])
    control.advance(3600)
    between = control.now_ms()
    control.advance(10)
    control.run_export_job()
    assert _ids(caller, until=between) == []
    assert _ids(caller, since=between) == [ANN]


def test_files_missed_meanwhile_have_their_own_times(caller, control):
    """When nobody looked for days, each event is in the file that was due after it."""
    control.set_switches(job_interval_seconds=60.0)
    control.unsubscribe(7, [ANN])
    control.advance(61)
    between = control.now_ms()
    control.unsubscribe(7, [BOB])
    control.advance(10 * DAY)
    assert _ids(caller, until=between) == [ANN]
    assert _ids(caller, since=between) == [BOB]


def _exported_at(caller, control):
    """Export one event at a time that is known to the millisecond."""
    control.unsubscribe(7, [ANN])
    control.run_export_job()
    low, high = control.now_ms() - 60_000, control.now_ms() + 60_000
    while high - low > 1:
        middle = (low + high) // 2
        found = _ids(caller, since=0, until=middle)
        low, high = (low, middle) if found else (middle, high)
    return low if not _ids(caller, since=0, until=low) else high


@pytest.mark.parametrize("inclusive", [True, False])
def test_since_inclusive(caller, control, inclusive):
    """A file made exactly at `since` is in the window or not."""
    at_ms = _exported_at(caller, control)
    control.set_switches(since_inclusive=inclusive)
    assert _ids(caller, since=at_ms) == ([ANN] if inclusive else [])
    assert _ids(caller, since=at_ms - 1) == [ANN]
    assert _ids(caller, since=at_ms + 1) == []


@pytest.mark.parametrize("inclusive", [True, False])
def test_until_inclusive(caller, control, inclusive):
    """A file made exactly at `until` is in the window or not."""
    at_ms = _exported_at(caller, control)
    control.set_switches(until_inclusive=inclusive)
    assert _ids(caller, until=at_ms) == ([ANN] if inclusive else [])
    assert _ids(caller, until=at_ms + 1) == [ANN]


def test_pages(caller, control):
    """StartRow counts from 0; a page holds what was asked for, the last one less."""
    people = [f"p{number}" for number in range(5)]
    control.unsubscribe(7, people)
    control.run_export_job()
    assert _ids(caller, start=0, size=2) == people[:2]
    assert _ids(caller, start=4, size=2) == people[4:]
    assert _ids(caller, start=5, size=2) == []


@pytest.mark.parametrize("over", ["clip", "fault"])
def test_page_over(caller, control, over):
    """More than 1000 rows are never given: the page is cut or the call refused."""
    control.unsubscribe(7, [f"p{number}" for number in range(1001)])
    control.run_export_job()
    control.set_switches(page_over=over)
    assert len(_ids(caller, size=1000)) == 1000
    if over == "clip":
        assert len(_ids(caller, size=5000)) == 1000
    else:
        with pytest.raises(SoapFault):
            _ids(caller, size=5000)


@pytest.mark.parametrize("order", ["oldest-first", "newest-first"])
def test_closed_loop_order(caller, control, order):
    """Rows come oldest first, or newest first, which shifts pages when a file comes."""
    control.set_switches(closed_loop_order=order)
    control.unsubscribe(7, [ANN])
    control.run_export_job()
    control.advance(1)
    control.unsubscribe(7, [BOB])
    control.run_export_job()
    assert _ids(caller) == ([ANN, BOB] if order == "oldest-first" else [BOB, ANN])


@pytest.mark.parametrize("content", ["changes", "all"])
def test_out_bounces(caller, control, content):
    """A new file of outbounced recipients holds who came in, or everybody once more."""
    control.set_switches(out_bounces=content)
    found = []
    for address in (ANN, BOB):
        control.bounce(7, address, times=3)
        control.advance(60)
        since = control.now_ms()
        control.advance(1)
        control.run_export_job()
        control.advance(1)
        found.append(_ids(caller, "getOutBounces", since))
    assert found == [[ANN], [ANN, BOB] if content == "all" else [BOB]]


@pytest.mark.parametrize("streams", ["overlap", "disjoint"])
def test_unsubscribe_streams(caller, control, streams):
    """An unsubscription by a mailing stands in both streams, or in one of them."""
    control.set_switches(unsubscribe_streams=streams)
    control.unsubscribe(7, [ANN], mailing_id=5)
    control.unsubscribe(7, [BOB])
    control.run_export_job()
    assert _ids(caller, "getMailingUnsubscribes") == [ANN]
    assert _ids(caller) == ([ANN, BOB] if streams == "overlap" else [BOB])


@pytest.mark.parametrize("days", [30.0, 14.0])
def test_response_days(caller, control, days):
    """Response data is gone so many days after the mailing was sent, or after the event."""
    control.set_switches(response_days=days)
    control.add_mailing(7, 5, "March")
    control.advance(10 * DAY)
    control.unsubscribe(7, [ANN], mailing_id=5)
    control.unsubscribe(7, [BOB])
    control.run_export_job()
    assert _ids(caller) == [ANN, BOB]
    control.advance((days - 10) * DAY + 60)
    assert _ids(caller) == [BOB]
    control.advance(10 * DAY)
    assert _ids(caller) == []


def test_out_bounces_list_who_crossed_the_limit(caller, control):
    """Only somebody over the limit is in getOutBounces, once; each bounce is a response."""
    control.bounce(7, ANN, times=2)
    control.bounce(7, BOB, times=3)
    control.bounce(7, BOB)
    control.run_export_job()
    assert _ids(caller, "getOutBounces") == [BOB]
    assert _ids(caller, "getResponses") == [ANN] * 2 + [BOB] * 4


def test_unsubscribing_twice_is_one_event(caller, control):
    """Somebody unsubscribed already makes no further event; calls and verbs are the same."""
    caller("RpcUnsubscribe.add", 100, ANN)
    control.unsubscribe(7, [ANN])
    control.run_export_job()
    assert _ids(caller) == [ANN]


def test_other_streams(caller, control):
    """Opens, clicks, responses and mailings have streams of their own."""
    control.add_mailing(7, 5, "March", list_id=100)
    control.add_event(7, "opens", ANN, mailing_id=5)
    control.add_event(7, "clicks", BOB, mailing_id=5, link="https://example.org/")
    control.add_event(7, "responses", CY, mailing_id=5, category="autoresponder")
    control.run_export_job()
    window = (0, FAR, 0, 10)
    assert caller("RpcClosedLoop.getOpens", *window)[0][:2] == [ANN, "5"]
    assert caller("RpcClosedLoop.getClicks", *window)[0][:3] == [BOB, "5", "https://example.org/"]
    assert caller("RpcClosedLoop.getResponses", *window)[0][:3] == [CY, "5", "autoresponder"]
    assert caller("RpcClosedLoop.getMailings", *window)[0][:2] == ["5", "March"]


COLUMN_SWITCHES = {
    "out_bounce_columns": "getOutBounces",
    "unsubscribe_columns": "getUnsubscribes",
    "mailing_unsubscribe_columns": "getMailingUnsubscribes",
    "response_columns": "getResponses",
    "open_columns": "getOpens",
    "click_columns": "getClicks",
    "mailing_columns": "getMailings",
}


@pytest.mark.parametrize(("switch", "method"), COLUMN_SWITCHES.items())
@pytest.mark.parametrize("columns", [["mailing_id"], ["time", "mailing_id", "extra", "nil"]])
def test_columns(caller, control, switch, method, columns):
    """The columns of every stream and their order can be set."""
    control.add_mailing(7, 5, "March")
    control.unsubscribe(7, [ANN], mailing_id=5)
    control.bounce(7, ANN, times=3)
    for stream in ("opens", "clicks"):
        control.add_event(7, stream, ANN, mailing_id=5)
    control.run_export_job()
    control.set_switches(**{switch: columns})
    row = caller(f"RpcClosedLoop.{method}", 0, FAR, 0, 10)[0]
    mailing = None if switch in {"out_bounce_columns", "response_columns"} else "5"
    assert len(row) == len(columns)
    assert row[columns.index("mailing_id")] == mailing
    if len(columns) > 1:
        assert row[0].isdigit()
        assert row[2:] == ["-", None]


@pytest.mark.parametrize("form", ["ms", "iso"])
def test_time_format(caller, control, form):
    """Times in rows are milliseconds or ISO 8601 with offset."""
    control.set_switches(time_format=form, unsubscribe_columns=["time"])
    control.set_clock(1_800_000_000_000)
    control.unsubscribe(7, [ANN])
    control.run_export_job()
    assert _ids(caller)[0].startswith("1800000000" if form == "ms" else "2027-01-15T08:00:0")


@pytest.mark.parametrize("header", [False, True])
def test_closed_loop_header(caller, control, header):
    """Row 0 is data, or the names of the columns."""
    control.set_switches(closed_loop_header=header)
    control.unsubscribe(7, [ANN])
    control.run_export_job()
    assert _ids(caller) == (["recipient_id", ANN] if header else [ANN])
    assert _ids(caller, start=1) == ([ANN] if header else [])


def test_another_clients_events_are_not_shown(caller, control):
    """Response data belongs to one client."""
    control.add_client(8, "api", "secret")
    control.unsubscribe(8, [ANN])
    control.run_export_job()
    assert _ids(caller) == []
