"""Trying again: which verbs, how often, with which pauses, and never when it could do harm."""

from pathlib import Path

import pytest

from etl.errors import EtlError, FarSideRefused, FarSideUnavailable
from etl.ports import Recipients, Stopped, Stream, Window
from etl.wire.retry import RetryingDrop, RetryingList, RetryingResponses
from tests.twins.clock import TwinClock
from tests.twins.recipient_list import OneList, TwinList
from tests.twins.responses import TwinResponses

ROWS = Recipients(("name",), ["1"], ["a@x.test"], [["Ann"]])
ASKING = {
    "describe": lambda port: port.describe(1),
    "count": lambda port: port.count(1),
    "suppressed": lambda port: port.suppressed(["1"], []),
    "bounced_out": lambda port: port.bounced_out(["1"]),
    "purge": lambda port: port.purge(1),
}
CHANGING = {"clear": lambda port: port.clear(1), "add": lambda port: port.add(1, ROWS)}


def away(in_doubt: bool = True) -> FarSideUnavailable:
    return FarSideUnavailable("campaign-unreachable", in_doubt=in_doubt, detail="away")


@pytest.fixture
def clock() -> TwinClock:
    return TwinClock()


@pytest.fixture
def twin() -> TwinList:
    return TwinList(lists={1: OneList("Kunden", ("name",))})


@pytest.mark.parametrize("verb", ASKING)
def test_a_question_is_asked_again(twin: TwinList, clock: TwinClock, verb: str) -> None:
    """A verb that does no harm twice is repeated, in doubt or not, with growing pauses."""
    twin.fail_next(verb, away(), after_effect=True, times=2)
    twin.fail_next(verb, away(in_doubt=False))
    ASKING[verb](RetryingList(twin, clock))
    assert len(twin.schedule.made(verb)) == 4
    assert clock.sleeps == [1, 2, 4]


def test_the_pauses_are_bounded_and_so_are_the_tries(twin: TwinList, clock: TwinClock) -> None:
    """After the last try the error itself comes out."""
    error = away()
    twin.fail_next("count", error, times=99)
    with pytest.raises(FarSideUnavailable) as caught:
        RetryingList(twin, clock, tries=6, first=5, most=20).count(1)
    assert caught.value is error
    assert clock.sleeps == [5, 10, 20, 20, 20]


@pytest.mark.parametrize("verb", CHANGING)
def test_a_change_in_doubt_is_never_repeated(twin: TwinList, clock: TwinClock, verb: str) -> None:
    """A lost answer to clear or add goes straight to the caller, who decides by a rule."""
    twin.fail_next(verb, away(), after_effect=True)
    with pytest.raises(FarSideUnavailable):
        CHANGING[verb](RetryingList(twin, clock))
    assert len(twin.schedule.made(verb)) == 1
    assert clock.sleeps == []


@pytest.mark.parametrize("verb", CHANGING)
def test_a_change_that_was_never_sent_is_repeated(
    twin: TwinList, clock: TwinClock, verb: str
) -> None:
    """A refused connection had no effect, so clear and add may follow it."""
    twin.fail_next(verb, away(in_doubt=False), times=2)
    CHANGING[verb](RetryingList(twin, clock))
    assert len(twin.schedule.made(verb)) == 3


@pytest.mark.parametrize("verb", ASKING | CHANGING)
def test_a_refusal_is_final(twin: TwinList, clock: TwinClock, verb: str) -> None:
    """What the far side refuses is not asked again."""
    twin.fail_next(verb, FarSideRefused("call-refused", call=verb, detail="no"))
    with pytest.raises(FarSideRefused):
        (ASKING | CHANGING)[verb](RetryingList(twin, clock))
    assert len(twin.schedule.made(verb)) == 1


def test_a_stop_ends_the_waiting(twin: TwinList) -> None:
    """When the service is told to stop between two tries, there is no further try."""
    twin.fail_next("count", away(), times=99)
    with pytest.raises(Stopped):
        RetryingList(twin, TwinClock(stop_after=1)).count(1)
    assert len(twin.schedule.made("count")) == 2


def test_a_stop_within_a_verb_passes_through(twin: TwinList, clock: TwinClock) -> None:
    """A stop raised by the verb itself is neither swallowed nor tried again."""
    twin.fail_next("count", Stopped())
    with pytest.raises(Stopped):
        RetryingList(twin, clock).count(1)
    assert clock.sleeps == []


def test_a_failed_batch_of_the_live_check_costs_that_batch(
    twin: TwinList, clock: TwinClock
) -> None:
    """A long live check is asked in parts; only the failed part is asked again."""
    twin.unsubscribed = {"4"}
    twin.blocklist = ["?@x.test"]
    twin.fail_next("suppressed", away(), skip=1)
    port = RetryingList(twin, clock, live_check_rows=2)
    answer = port.suppressed(["1", "2", "3", "4", "5"], ["a@x.test", "ab@x.test", "c@x.test"])
    assert answer.unsubscribed == [False, False, False, True, False]
    assert answer.blocklisted == [True, False, True]
    sizes = [(made["ids"], made["addresses"]) for made in twin.schedule.made("suppressed")]
    assert sizes == [(2, 0), (2, 0), (2, 0), (1, 0), (0, 2), (0, 1)]


def test_a_failed_question_about_bounces_costs_that_question(
    twin: TwinList, clock: TwinClock
) -> None:
    """Ids are asked one by one; only the one whose answer was lost is asked again."""
    twin.bounced = {"2"}
    twin.fail_next("bounced_out", away(), skip=1)
    assert RetryingList(twin, clock).bounced_out(["1", "2", "3"]) == [False, True, False]
    asked = [made["ids"] for made in twin.schedule.made("bounced_out")]
    assert asked == [("1",), ("2",), ("2",), ("3",)]


@pytest.mark.parametrize(
    ("verb", "ask"),
    [
        ("now", lambda port: port.now()),
        ("page", lambda port: port.page(Stream.OUT_BOUNCES, Window(0, 1), 0)),
        ("blocklist", lambda port: port.blocklist()),
    ],
)
def test_response_data_is_asked_for_again(clock: TwinClock, verb: str, ask) -> None:
    """Every verb of Responses is a question."""
    twin = TwinResponses()
    twin.fail_next(verb, away(), times=2)
    assert ask(RetryingResponses(twin, clock)) == ask(twin)
    assert len(twin.schedule.made(verb)) == 4
    twin.fail_next(verb, FarSideRefused("call-refused", call=verb, detail="no"))
    with pytest.raises(FarSideRefused):
        ask(RetryingResponses(twin, clock))


class FailingDrop:
    """A FileDrop whose every verb fails a number of times."""

    def __init__(self, error: EtlError, times: int) -> None:
        self.error, self.times, self.calls = error, times, []

    def _once(self, verb: str) -> int:
        self.calls.append(verb)
        if len(self.calls) <= self.times:
            raise self.error
        return 7

    def put(self, source: Path, name: str) -> int:
        """Count the call."""
        return self._once("put")

    def rename(self, temporary: str, final: str) -> None:
        """Count the call."""
        self._once("rename")

    def stat(self, name: str) -> int | None:
        """Count the call."""
        return self._once("stat")

    def remove(self, name: str) -> None:
        """Count the call."""
        self._once("remove")

    def free(self) -> int | None:
        """Count the call."""
        return self._once("free")

    def close(self) -> None:
        """Count the call."""
        self._once("close")


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda port: port.put(Path("x"), "x"), 7),
        (lambda port: port.stat("x"), 7),
        (lambda port: port.remove("x"), None),
        (lambda port: port.free(), 7),
    ],
)
def test_a_file_drop_is_asked_again(clock: TwinClock, ask, answer: int | None) -> None:
    """Writing a temporary file anew does no harm, nor do the questions and the removal."""
    inner = FailingDrop(FarSideUnavailable("sftp-unreachable", in_doubt=True, detail="away"), 2)
    assert ask(RetryingDrop(inner, clock)) == answer
    assert len(inner.calls) == 3


@pytest.mark.parametrize("in_doubt", [True, False])
def test_a_rename_is_made_once(clock: TwinClock, in_doubt: bool) -> None:
    """A rename whose answer is lost is looked for, never repeated."""
    error = FarSideUnavailable("sftp-unreachable", in_doubt=in_doubt, detail="away")
    inner = FailingDrop(error, 1)
    with pytest.raises(FarSideUnavailable):
        RetryingDrop(inner, clock).rename("a", "b")
    assert inner.calls == ["rename"]


def test_closing_goes_through(twin: TwinList, clock: TwinClock) -> None:
    """Each wrapper closes what it wraps."""
    responses = TwinResponses()
    drop = FailingDrop(FarSideUnavailable("sftp-unreachable", detail="away"), 0)
    RetryingList(twin, clock).close()
    RetryingResponses(responses, clock).close()
    RetryingDrop(drop, clock).close()
    assert (twin.closed, responses.closed, drop.calls) == (1, 1, ["close"])
