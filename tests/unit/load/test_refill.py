"""The refill protocol over the twin: codes, halving, lost answers, deaths, proof."""

from datetime import UTC, datetime

import polars as pl
import pytest

from etl.batch import Place
from etl.errors import FarSideRefused, FarSideUnavailable, GuardTripped, Mismatch
from etl.journal import Journal
from etl.journal.batches import ClaimedDrop
from etl.load.refill import Refill, RefillPlan
from tests.twins.clock import TwinClock
from tests.twins.recipient_list import OneList, TwinList

LIST = 4711
LOST = FarSideUnavailable("campaign-unreachable", in_doubt=True, detail="reset")
DOWN = FarSideUnavailable("campaign-unreachable", in_doubt=False, detail="refused")


class Death(BaseException):
    """The process dies here: nothing of ours may catch it."""


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path / "journal.sqlite3")
    yield made
    made.close()


class Bench:
    """One batch of `rows` people, its list and everything the refill asks for."""

    def __init__(self, journal, rows=25, chunk=5, **plan):
        self.journal = journal
        self.campaign = TwinList({LIST: OneList("CRM", ("name",))})
        self.campaign.lists[LIST].rows["old@example.org"] = ("old@example.org", {})
        self.clock = TwinClock()
        self.late = {}
        self.guarded = []
        self.refuse = None
        ids = [f"p{n:03}@example.org" for n in range(rows)]
        self.ids = ids
        self.staged = pl.DataFrame(
            {"recipient_id": ids, "address": ids, "attribute:name": [f"n{n}" for n in range(rows)]}
        )
        self.plan = RefillPlan(
            **{
                "target": "1/4711", "list_id": LIST, "attributes": ("name",), "chunk_rows": chunk,
                "poisoned_limit": 3, "believe_after_seconds": 60, "pauses": (1.0, 4.0),
            } | plan
        )  # fmt: skip
        now = datetime(2026, 11, 24, tzinfo=UTC)
        identity = "20261124T000000Z-000001"
        batch = journal.batches.claimed([ClaimedDrop(identity, "f", "a.csv", 1, "x", 0, "1")], now)[
            0
        ]
        self.batch_id = journal.uploads.uploaded(batch, now).id

    def guards(self, rows):
        self.guarded.append(rows)
        if self.refuse:
            raise self.refuse

    def run(self):
        refill = Refill(
            batch=self.journal.batches.get(self.batch_id),
            staged=self.staged,
            plan=self.plan,
            campaign=self.campaign,
            journal=self.journal,
            clock=self.clock,
            suppressed_now=lambda rows: {row: self.late[row] for row in rows if row in self.late},
            refused_live=lambda rows: frozenset(
                row for row in rows if self.ids[row] in self.campaign.unsubscribed
            ),
            guards=self.guards,
            elders=list,
        )
        return refill.run()

    @property
    def rows(self):
        return list(self.campaign.lists[LIST].rows)

    def count(self, verb):
        return sum(1 for called, _ in self.campaign.calls if called == verb)

    @property
    def place(self):
        return self.journal.batches.get(self.batch_id).place


def dies_at_a_call(bench, number, *, after):
    """The process dies before or after the effect of a call; which of them nobody knows."""
    bench.campaign.fail_next("add", Death(), after_effect=after, skip=number)
    with pytest.raises(Death):
        bench.run()


def test_a_refill_makes_the_list_hold_exactly_the_staged_rows(journal):
    """Everybody staged is in the list, in order, and nobody else; one clear."""
    bench = Bench(journal)
    outcome = bench.run()
    assert bench.rows == bench.ids
    assert (outcome.sent, outcome.listed, outcome.count, outcome.clears) == (25, 25, 25, 1)
    assert bench.count("clear") == 1


def test_guards_are_asked_before_the_clear_with_the_rows_left(journal):
    """A guard that trips leaves the list untouched and the batch where it was."""
    bench = Bench(journal)
    bench.late = {3: "unsubscribed"}
    bench.refuse = GuardTripped("test-list", list_id=LIST)
    with pytest.raises(GuardTripped):
        bench.run()
    assert bench.guarded == [24]
    assert bench.count("clear") == 0
    assert bench.place is Place.UPLOADED


def test_whoever_is_suppressed_late_is_not_sent(journal):
    """Rows suppressed after the upload stay out of the list and are counted."""
    bench = Bench(journal)
    bench.late = {0: "unsubscribed", 24: "blocklisted"}
    outcome = bench.run()
    assert bench.rows == bench.ids[1:24]
    assert (outcome.suppressed_late, outcome.sent) == (2, 23)


@pytest.mark.parametrize("call", range(5))
@pytest.mark.parametrize(("error", "after"), [(LOST, True), (LOST, False), (DOWN, False)])
def test_a_lost_answer_is_settled_by_the_count_without_a_clear(journal, call, error, after):
    """Whether the effect of a lost call happened or not, one run ends in the right list."""
    bench = Bench(journal)
    bench.campaign.fail_next("add", error, after_effect=after, skip=call)
    outcome = bench.run()
    assert sorted(bench.rows) == bench.ids
    assert (outcome.listed, outcome.count) == (25, 25)
    assert bench.count("clear") == 1


def test_a_drop_whose_every_row_fails_is_not_poisonous(journal):
    """A right that was taken away looks like it: held, nobody poisoned, right when it is back."""
    bench = Bench(journal, rows=2)
    bench.campaign.poisoned = set(bench.ids)
    with pytest.raises(FarSideRefused) as held:
        bench.run()
    assert held.value.code == "call-failing"
    assert bench.place is Place.REFILLING
    bench.campaign.poisoned = set()
    outcome = bench.run()
    assert bench.rows == bench.ids
    assert (outcome.poisoned, outcome.listed) == (0, 2)


@pytest.mark.parametrize("after", [True, False])
def test_whoever_leaves_after_a_call_in_doubt_costs_no_clear(journal, after):
    """Somebody it may have brought and who said no since is removed by the remove calls."""
    bench = Bench(journal)
    dies_at_a_call(bench, 1, after=after)
    bench.late = {7: "unsubscribed"}
    bench.campaign.unsubscribed = {bench.ids[7]}
    outcome = bench.run()
    assert sorted(bench.rows) == [each for each in bench.ids if each != bench.ids[7]]
    assert (outcome.listed, outcome.count, outcome.suppressed_late) == (24, 24, 1)
    assert bench.count("clear") == 1


def test_whoever_only_we_suppress_after_a_call_in_doubt_is_cleared_away(journal):
    """Nobody but a further clear takes out whom Campaign itself would not remove."""
    bench = Bench(journal)
    dies_at_a_call(bench, 1, after=True)
    bench.late = {7: "bounced"}
    bench.run()
    assert sorted(bench.rows) == [each for each in bench.ids if each != bench.ids[7]]
    assert bench.count("clear") == 2


@pytest.mark.parametrize("hidden_by", ["a row Campaign refuses", "somebody who leaves"])
def test_whoever_only_we_suppress_hides_behind_nobody(journal, hidden_by):
    """She is cleared away though the count alone could not tell her from others."""
    bench = Bench(journal)
    if hidden_by == "a row Campaign refuses":
        bench.campaign.unsubscribed = {bench.ids[0]}
    dies_at_a_call(bench, 1, after=True)
    bench.late = {7: "bounced"}
    bench.campaign.unsubscribed = {bench.ids[0]}
    outcome = bench.run()
    assert bench.ids[7] not in bench.rows
    assert bench.ids[0] not in bench.rows
    assert outcome.count == len(bench.rows) == 23
    assert bench.count("clear") == 2


def test_a_call_that_never_came_costs_no_clear(journal):
    """When the count says that nobody of a call in doubt is there, nobody is cleared away."""
    bench = Bench(journal)
    dies_at_a_call(bench, 4, after=False)
    bench.late = dict.fromkeys(range(20, 25), "bounced")
    bench.run()
    assert bench.rows == bench.ids[:20]
    assert bench.count("clear") == 1


def test_a_list_without_attributes_is_filled_too(journal):
    """Recipients that carry nothing but their address are sent."""
    bench = Bench(journal, attributes=())
    bench.run()
    assert bench.rows == bench.ids


def test_a_released_mismatch_has_two_further_clears_again(journal):
    """Once nobody else writes, a release makes the list right; without it, it stays held."""
    bench = Bench(journal)

    def intrude(verb):
        if verb == "count" and len(bench.rows) >= 25:
            bench.campaign.lists[LIST].rows["foreign@example.org"] = ("foreign@example.org", {})

    bench.campaign.before = intrude
    for _ in range(2):
        with pytest.raises(Mismatch):
            bench.run()
    assert bench.count("clear") == 3
    bench.campaign.before = lambda verb: None
    with pytest.raises(Mismatch):
        bench.run()
    requests, now = journal.requests, bench.clock.wall()
    requests.ask("release", bench.batch_id, ["list-mismatch"], "they stopped", "ops", now)
    requests.release(requests.waiting()[0], journal.batches.get(bench.batch_id), now)
    bench.run()
    assert sorted(bench.rows) == bench.ids
    assert bench.count("clear") == 4
    assert requests.allowed(journal.batches.get(bench.batch_id)) == frozenset()


@pytest.mark.parametrize("code", [6, 7])
def test_a_row_refused_after_a_call_in_doubt_costs_no_clear(journal, code):
    """A row that is there from a lost call and is refused when sent again is right where it is."""
    bench = Bench(journal)
    dies_at_a_call(bench, 1, after=True)
    bench.campaign.codes[bench.ids[7]] = code
    bench.run()
    assert sorted(bench.rows) == bench.ids
    assert bench.count("clear") == 1


@pytest.mark.parametrize("after", [True, False])
def test_a_lost_answer_to_clear_is_asked_about(journal, after):
    """A clear in doubt is proved by an empty list or made again; never counted as further."""
    bench = Bench(journal)
    bench.campaign.fail_next("clear", LOST, after_effect=after)
    outcome = bench.run()
    assert bench.rows == bench.ids
    assert bench.count("clear") == (1 if after else 2)
    assert outcome.clears == 1


@pytest.mark.parametrize("verb", ["describe", "clear", "add", "count", "purge"])
@pytest.mark.parametrize("skip", range(5))
@pytest.mark.parametrize("after", [True, False])
def test_a_death_anywhere_is_taken_up(journal, verb, skip, after):
    """The process dies at any call, before or after its effect; the next run makes it right."""
    bench = Bench(journal)
    bench.campaign.fail_next(verb, Death(), after_effect=after, skip=skip)
    for _ in range(2):
        try:
            bench.run()
        except Death:
            continue
        break
    assert sorted(bench.rows) == bench.ids
    assert bench.count("clear") <= 2


def test_a_resumed_refill_suppresses_the_unsent_rows_again(journal):
    """Whoever says no while the refill was cut off is not sent afterwards."""
    bench = Bench(journal)
    bench.campaign.fail_next("add", Death(), skip=2)
    with pytest.raises(Death):
        bench.run()
    bench.late = {20: "unsubscribed"}
    outcome = bench.run()
    assert bench.ids[20] not in bench.rows
    assert (outcome.sent, outcome.suppressed_late) == (24, 1)


def test_a_foreign_writer_costs_a_further_clear(journal):
    """A count above what our calls explain clears again, once, and ends right."""
    bench = Bench(journal)
    once = iter([True])

    def intrude(verb):
        if verb == "count" and len(bench.rows) == 25 and next(once, False):
            bench.campaign.lists[LIST].rows["foreign@example.org"] = ("foreign@example.org", {})

    bench.campaign.before = intrude
    outcome = bench.run()
    assert bench.rows == bench.ids
    assert (outcome.clears, bench.count("clear")) == (2, 2)
    assert sum(bench.clock.sleeps) >= 60


def test_after_two_further_clears_the_refill_is_held(journal):
    """Somebody who writes all the time is not fought for ever: three clears, then held, dirty."""
    bench = Bench(journal)

    def intrude(verb):
        if verb == "count" and len(bench.rows) >= 25:
            bench.campaign.lists[LIST].rows["foreign@example.org"] = ("foreign@example.org", {})

    bench.campaign.before = intrude
    with pytest.raises(Mismatch) as caught:
        bench.run()
    assert caught.value.code == "list-mismatch"
    assert bench.count("clear") == 3
    assert bench.place is Place.REFILLING


def test_a_count_that_lags_is_not_believed_at_once(journal):
    """An older number told for a while clears nothing."""
    bench = Bench(journal)
    real, lag = bench.campaign.count, iter([3, 3])
    bench.campaign.count = lambda list_id: next(lag, None) or real(list_id)
    outcome = bench.run()
    assert (outcome.clears, outcome.count) == (1, 25)


@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("known_first", [True, False])
def test_every_code_ends_where_it_belongs(journal, stores, known_first):
    """0 and 5 are listed; 2, 3, 4 are suppression; 1, 6, 7 go to the case; sums come out."""
    bench = Bench(journal, rows=40, chunk=7)
    bench.campaign.stores_unsubscribed = stores
    bench.campaign.known_first = known_first
    bench.campaign.unsubscribed.add(bench.ids[2])
    bench.campaign.blocklist.append(bench.ids[3])
    bench.campaign.bounced.add(bench.ids[4])
    bench.campaign.codes |= {bench.ids[1]: 1, bench.ids[6]: 6, bench.ids[7]: 7}
    outcome = bench.run()
    assert outcome.suppressed_rows == {2: 2, 3: 3, 4: 4}
    assert outcome.refused_rows == {1: 1, 6: 6, 7: 7}
    assert outcome.refused == {f"code-{n}": 1 for n in (1, 2, 3, 4, 6, 7)}
    assert outcome.listed + sum(outcome.refused.values()) + outcome.poisoned == outcome.sent
    assert sorted(bench.rows) == sorted(set(bench.ids) - {bench.ids[n] for n in (1, 2, 3, 4, 6, 7)})


def test_code_seven_is_tried_three_times_in_all(journal):
    """A general error is sent again twice; one that heals is listed."""
    bench = Bench(journal)
    bench.campaign.codes[bench.ids[0]] = 7
    bench.run()
    assert bench.count("add") == 5 + 2


def test_a_poisonous_row_is_found_by_halving(journal):
    """A row that fails every call is found and left out; everybody else is listed."""
    bench = Bench(journal, rows=64, chunk=32)
    bench.campaign.poisoned.add(bench.ids[13])
    outcome = bench.run()
    assert set(outcome.poisoned_rows) == {13}
    assert sorted(bench.rows) == sorted(set(bench.ids) - {bench.ids[13]})
    assert bench.count("add") <= 2 + 2 * 6
    assert outcome.listed + outcome.poisoned == outcome.sent


def test_too_many_poisonous_rows_hold_the_refill_and_are_forgotten(journal):
    """When rows fail one by one beyond the bound it is not the rows; the next run starts anew."""
    bench = Bench(journal)
    bench.campaign.poisoned |= set(bench.ids)
    with pytest.raises(FarSideRefused) as caught:
        bench.run()
    assert caught.value.code == "call-failing"
    bench.campaign.poisoned.clear()
    assert bench.run().listed == 25


def test_a_far_side_that_stays_away_holds_the_refill(journal):
    """After the tries of one run the error comes out; nothing was cleared twice."""
    bench = Bench(journal)
    bench.campaign.fail_next("add", DOWN, times=99)
    with pytest.raises(FarSideUnavailable):
        bench.run()
    assert bench.clock.sleeps.count(1.0) == bench.clock.sleeps.count(4.0) == 1
    assert bench.count("clear") == 1


def test_the_list_is_dirty_in_the_journal_before_it_is_cleared(journal):
    """At the moment of the clear the journal already says REFILLING."""
    bench = Bench(journal)
    places = []
    bench.campaign.before = lambda verb: places.append(bench.place) if verb == "clear" else None
    bench.run()
    assert places == [Place.REFILLING]


@pytest.mark.parametrize("after", [True, False])
def test_a_death_at_the_remove_calls_costs_no_clear(journal, after):
    """Who was removed before the death does not make the count look wrong afterwards."""
    bench = Bench(journal)

    def say_no(verb):
        if verb == "purge":
            bench.campaign.unsubscribed |= set(bench.ids[:5])

    bench.campaign.before = say_no
    bench.campaign.fail_next("purge", Death(), after_effect=after)
    with pytest.raises(Death):
        bench.run()
    outcome = bench.run()
    assert (outcome.clears, outcome.count, outcome.purged) == (1, 20, 5)
    assert bench.rows == bench.ids[5:]


def test_a_row_that_failed_is_suppressed_before_it_is_sent_again(journal):
    """Whoever is found suppressed while a code 7 waits for its retry is not sent again."""
    bench = Bench(journal)
    bench.campaign.codes[bench.ids[0]] = 7
    bench.campaign.fail_next("add", Death(), skip=5)
    with pytest.raises(Death):
        bench.run()
    bench.late = {0: "bounced"}
    bench.campaign.codes.clear()
    outcome = bench.run()
    assert bench.ids[0] not in bench.rows
    assert outcome.suppressed_late == 1
