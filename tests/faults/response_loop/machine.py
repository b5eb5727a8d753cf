"""The state machine: Campaign, its people, the CRM and the machine room act when they like.

Every rule is a step of a history too; what must be true is the model's.
"""

import shutil
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from etl.errors import FarSideUnavailable
from etl.sandbox.campaign import Campaign as Simulator
from tests.faults.response_loop.histories import STREAMS
from tests.faults.response_loop.world import CORE, HOUR, STRANGERS, Loop, address
from tests.servers.house_on_campaign import MANDATOR

MEMORY = Path("/dev/shm")

PEOPLE = st.sampled_from([address(number) for number in (*CORE, *STRANGERS)])
ACTS = st.lists(
    st.tuples(
        st.sampled_from([
            "unsubscribes", "unsubscribes", "bounces", "bounces_out", "answers", "opens", "opens",
            "clicks", "is_blocked", "is_unblocked", "gets_a_mailing",
        ]),
        PEOPLE, st.integers(0, 3),
    ),
    min_size=2, max_size=8,
)  # fmt: skip
"""Who does what; the number says by which mailing, or in which form."""
THEN = st.sampled_from(["nothing", "once", "go", "fetch"])
READING = ("getCurrentTime", *STREAMS, "getAllEntries")
CALLS = (
    *READING, "containsAll", "areBlacklisted", "login", "getCount", "clear", "addAll3",
    "removeUnsubscribed", "removeBlacklisted", "isBounceCounterThresholdExeeded", "getName",
)  # fmt: skip
FAULTS = ("fault", "http", "drop-before", "drop-after", "truncated", "expire-session")
DOORS = (
    ("responses", "now"), ("responses", "page"), ("responses", "blocklist"),
    ("store", "write"),
    ("outbox", "begin"), ("outbox", "rows"), ("outbox", "renaming"), ("outbox", "acknowledge"),
    ("lists", "suppressed"), ("lists", "clear"), ("lists", "add"), ("lists", "purge"),
    ("drop", "put"), ("drop", "rename"),
)  # fmt: skip
AWAY = FarSideUnavailable("sftp-unreachable", detail="made up")


class ResponseLoop(RuleBasedStateMachine):
    """Campaign, its people, the CRM and the machine room, each acting when it likes."""

    authority: Path

    @initialize(
        order=st.sampled_from(["oldest-first", "newest-first"]),
        edges=st.sampled_from([(True, False), (False, True), (True, True), (False, False)]),
        streams=st.sampled_from(["overlap", "disjoint"]),
        times=st.sampled_from(["ms", "iso"]),
        days=st.sampled_from([(14, 14), (30, 30), (30, 14)]),
        taken=st.sampled_from(["not-asked", "moved", "receipt"]),
        empty=st.sampled_from(["header", "none"]),
        drop=st.booleans(),
    )
    def begin(self, order, edges, streams, times, days, taken, empty, drop):
        """A Campaign with its switches, an empty list, and perhaps a first drop."""
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.simulator = Simulator(tls=self.authority)
        self.simulator.start()
        self.simulator.control.set_switches(
            closed_loop_order=order, since_inclusive=edges[0], until_inclusive=edges[1],
            unsubscribe_streams=streams, time_format=times, response_days=float(days[1]),
        )  # fmt: skip
        root = self.folder / "house"
        root.mkdir()
        self.loop = Loop(root, self.simulator, days, taken, empty)
        if drop:
            self.a_day_passes([], hours=24, honours=False, wide=False, twins=False)

    def teardown(self):
        """One clean day brings everything to rest."""
        try:
            if hasattr(self, "loop") and sys.exc_info()[0] is None:
                self.loop.come_to_rest()
        finally:
            self.end()

    def end(self):
        """Let everything go."""
        if hasattr(self, "loop"):
            self.loop.close()
            self.simulator.stop()
            shutil.rmtree(self.folder)

    @invariant()
    def the_files_are_right(self):
        """At no time does a file hold a line twice, or one that nobody owes, or a wrong entity."""
        if hasattr(self, "loop"):
            self.loop.model.look()

    def then(self, what):
        """What follows at once: one thing alone would show little."""
        self.loop.clock.advance(1)
        if what != "nothing":
            getattr(self.loop, what)()

    # --- people ----------------------------------------------------------------------------------

    def people_act(self, acts):
        """One after the other, at different seconds."""
        for act, who, which in acts:
            self.loop.clock.advance(1)
            getattr(self.loop.people, act)(who, which)

    @rule(acts=ACTS, then=THEN)
    def things_happen(self, acts, then):
        """People say no, open and click, bounce; mailings are sent, the blocklist changes."""
        self.people_act(acts)
        self.then(then)

    @rule(method=st.sampled_from([*READING, "containsAll", "addAll3", "clear"]),
          nth=st.integers(1, 2), who=PEOPLE, how=st.sampled_from(["no", "block", "bounce"]),
          then=THEN)  # fmt: skip
    def somebody_says_no_meanwhile(self, method, nth, who, how, then):
        """Directly before a call to come."""
        verb, facts = {
            "no": ("unsubscribe", {"ids": [who]}), "block": ("block", {"entries": [who]}),
            "bounce": ("bounce", {"recipient_id": who, "times": 5}),
        }[how]  # fmt: skip
        self.loop.house.at(method, nth, verb, mandator=MANDATOR, **facts)
        self.then(then)

    @rule(who=PEOPLE, nth=st.integers(1, 3), then=THEN)
    def campaign_forgets(self, who, nth, then):
        """At a live check to come, for a moment, that somebody said no."""
        self.loop.people.campaign_forgets(who, nth)
        self.then(then)

    # --- time ------------------------------------------------------------------------------------

    @rule(hours=st.sampled_from([1, 5, 12, 24, 48, 120, 480]), then=THEN)
    def time_passes(self, hours, then):
        """On both sides, between an hour and twenty days."""
        self.loop.clock.advance(hours * HOUR)
        self.then(then)

    @rule(acts=ACTS, hours=st.sampled_from([23, 25]), honours=st.booleans(), wide=st.booleans(),
          twins=st.booleans())  # fmt: skip
    def a_day_passes(self, acts, hours, honours, wide, twins):
        """An ordinary one: things happen, a drop comes, it runs, the CRM takes its files."""
        self.people_act(acts)
        self.loop.clock.advance(hours * HOUR)
        self.loop.drop(honours=honours, wide=wide, twins=twins)
        self.loop.once()
        self.loop.crm_takes()
        self.then("once")

    @rule(minutes=st.sampled_from([-40, -4, 4, 40]), then=THEN)
    def our_clock_jumps(self, minutes, then):
        """A little, back or forth."""
        self.loop.clock.now += timedelta(minutes=minutes)
        self.then(then)

    @rule(hours=st.sampled_from([-3, -1, 1]), then=THEN)
    def campaigns_clock_jumps(self, hours, then):
        """A little, back or forth."""
        self.loop.control.advance(self.loop.campaign_jumps(hours * HOUR))
        self.then(then)

    @rule(method=st.sampled_from(READING), hours=st.sampled_from([-3, -1, 1, 24]), then=THEN)
    def campaigns_clock_jumps_meanwhile(self, method, hours, then):
        """While it is read; or the reading takes a day."""
        self.loop.house.at(method, 1, "advance", seconds=self.loop.campaign_jumps(hours * HOUR))
        self.then(then)
        self.loop.control.unschedule()

    @rule(hours=st.sampled_from([2, 8]), method=st.sampled_from(["fetch", "once"]), who=PEOPLE,
          then=THEN)  # fmt: skip
    def an_export_file_comes_late(self, hours, method, who, then):
        """It was begun before a reading, and was there after it only."""
        self.loop.control.unsubscribe(MANDATOR, [who], mailing_id=self.loop.people.mailings[-1])
        self.loop.clock.advance(hours * HOUR)
        self.then(method)
        self.loop.file_comes_late(20)
        self.then(then)

    # --- the CRM ---------------------------------------------------------------------------------

    @rule(honours=st.booleans(), wide=st.booleans(), twins=st.booleans(), then=THEN)
    def a_drop_arrives(self, honours, wide, twins, then):
        """With whom the CRM's files name, or without."""
        self.loop.drop(honours=honours, wide=wide, twins=twins)
        self.then(then)

    @rule()
    def crm_takes(self):
        """The CRM reads its files and takes them."""
        self.loop.crm_takes()

    # --- the service, and what befalls it --------------------------------------------------------

    @rule(then=st.sampled_from(["once", "go"]))
    def somebody_asks_for_a_fetch(self, then):
        """`etl responses fetch`."""
        self.loop.ask_for_fetch()
        self.then(then)

    @rule(what=st.sampled_from(FAULTS), method=st.sampled_from(CALLS), nth=st.integers(1, 2),
          times=st.sampled_from([1, 6]), then=THEN, drop=st.booleans())  # fmt: skip
    def campaign_fails(self, what, method, nth, times, then, drop):
        """At a call to come, once or for longer than anybody tries again."""
        if drop:
            self.loop.drop(honours=False, wide=True, twins=False)
        self.loop.control.schedule(method, what, nth=nth, times=times)
        self.then(then)

    @rule(verb=st.sampled_from(["put", "rename"]), after=st.booleans(), then=THEN)
    def the_upload_fails(self, verb, after, then):
        """The SFTP server does not answer."""
        self.loop.house.drop_twin.fail_next(verb, AWAY, after_effect=after)
        self.then(then)

    @rule(at=st.sampled_from(DOORS), skip=st.integers(0, 6), after=st.booleans(),
          then=st.sampled_from(["once", "go", "fetch"]), drop=st.booleans())  # fmt: skip
    def it_dies(self, at, skip, after, then, drop):
        """At a call to come, before or after its effect; then it is started again."""
        if drop:
            self.loop.drop(honours=False, wide=True, twins=False)
        self.loop.dies_at(*at, skip, after=after)
        self.then(then)
        self.then("once")

    @rule(at=st.sampled_from(DOORS), skip=st.integers(0, 6),
          then=st.sampled_from(["once", "go", "fetch"]))  # fmt: skip
    def it_only_dies(self, at, skip, then):
        """And is not started again at once."""
        self.loop.dies_at(*at, skip, after=False)
        self.then(then)

    @rule(then=st.sampled_from(["once", "go", "fetch"]))
    def it_runs(self, then):
        """Once, for a while, or for a fetch alone."""
        self.then(then)

    @rule()
    def campaign_is_well(self):
        """Nothing fails any more."""
        self.loop.control.unschedule()
