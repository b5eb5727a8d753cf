"""Histories that every run makes: each puts at stake what a single mistake in the loop would cost.

Only what happens and in which order; the steps are the rules of the state machine.
"""

from typing import Any

from tests.faults.response_loop.world import CORE, STRANGERS, address

Step = tuple[str, dict[str, Any]]
STREAMS = (
    "getOutBounces", "getUnsubscribes", "getMailingUnsubscribes", "getMailings", "getResponses",
    "getOpens", "getClicks",
)  # fmt: skip
HANDING_OVER = ("open_handovers", "begin", "rows", "renaming", "acknowledge")


def acts(first: int, *, then: str = "nothing") -> Step:
    """Something of everything, by people beginning with a number."""
    people = [address(number) for number in (*CORE, *STRANGERS)]
    who = [people[(first + each) % len(people)] for each in range(7)]
    return ("things_happen", {"then": then, "acts": [
        ("unsubscribes", who[0], 0), ("unsubscribes", who[1], 1), ("bounces_out", who[2], 0),
        ("gets_a_mailing", who[3], 1), ("opens", who[4], 0), ("clicks", who[4], 0),
        ("bounces", who[5], 1), ("answers", who[5], 0), ("gets_a_mailing", who[3], 0),
        ("opens", who[5], 1),
    ]})  # fmt: skip


def time(hours: int, then: str = "nothing") -> Step:
    """It passes on both sides."""
    return ("time_passes", {"hours": hours, "then": then})


def drop(*, wide: bool = False, twins: bool = False, honours: bool = False) -> Step:
    """A drop comes and is taken through."""
    return ("a_drop_arrives",
            {"honours": honours, "wide": wide, "twins": twins, "then": "once"})  # fmt: skip


def fails(method: str, times: int, then: str) -> Step:
    """Campaign is not there for a method."""
    return ("campaign_fails", {"what": "http", "method": method, "nth": 1, "times": times,
                               "then": then, "drop": False})  # fmt: skip


def dies(port: str, verb: str, skip: int, after: bool, then: str = "go") -> Step:
    """It dies at a call, and is started again."""
    return ("it_dies", {"at": (port, verb), "skip": skip, "after": after, "then": then,
                        "drop": False})  # fmt: skip


def only_dies(port: str, verb: str, skip: int = 0, then: str = "once") -> Step:
    """It dies before a call, and is not started again at once."""
    return ("it_only_dies", {"at": (port, verb), "skip": skip, "then": then})


TAKES: Step = ("crm_takes", {})
RUNS: Step = ("it_runs", {"then": "once"})

THE_SAME_FILE_IS_READ_AGAIN = [
    drop(twins=True), acts(0), acts(7), time(24, "once"), TAKES, time(5, "once"), time(12, "go"),
    TAKES, time(24, "once"), time(24, "once"),
]  # fmt: skip
A_FILE_COMES_LATE = [
    ("an_export_file_comes_late",
     {"hours": hours, "method": method, "who": address(number), "then": "once"})
    for hours, method, number in ((8, "once", 1), (2, "fetch", 2))
]  # fmt: skip
CAMPAIGNS_CLOCK_GOES_BACK = [
    time(25),
    # Its clock was past the hour of the job when it was asked, and before it when it was read.
    ("campaigns_clock_jumps_meanwhile", {"method": "getOutBounces", "hours": -3, "then": "once"}),
    acts(0), *[time(1)] * 3, time(1, "once"), TAKES,
]  # fmt: skip
IT_DIES_WHILE_FETCHING = [
    step
    for skip in range(12)
    for step in (
        # The file is older than windows overlap: what is passed over now never comes again.
        acts(skip), time(24), time(48), only_dies("store", "write", skip, then="fetch"), RUNS,
    )
]  # fmt: skip
IT_DIES_WHILE_HANDING_OVER = [
    step
    for number, verb in enumerate(HANDING_OVER)
    for after in (False, True)
    for step in (
        acts(number), time(24, "fetch"), dies("outbox", verb, 0, after), acts(number + 3),
        time(24, "fetch"), dies("outbox", verb, 1, after), TAKES,
    )
]  # fmt: skip
WHAT_COMES_WHILE_A_FILE_IS_BEGUN = [
    drop(), acts(0), time(24, "fetch"),
    only_dies("outbox", "acknowledge"), TAKES,
    acts(4), time(24, "fetch"), RUNS, TAKES,
]  # fmt: skip
THEY_SAY_NO_AND_ARE_DROPPED_AGAIN = [
    drop(wide=True), acts(0), drop(wide=True),
    ("things_happen", {"then": "nothing", "acts": [
        ("is_blocked", address(8), 0), ("is_blocked", address(9), 1),
        ("bounces_out", address(10), 1),
    ]}),
    drop(), time(24, "once"), drop(wide=True), drop(honours=True),
    ("things_happen", {"acts": [("is_unblocked", address(9), 0)], "then": "nothing"}),
    drop(wide=True),
]  # fmt: skip
NOBODY_LOOKS_FOR_DAYS = [
    acts(0), time(24), time(120), RUNS, TAKES, acts(5), time(24), time(240, "fetch"), RUNS,
]  # fmt: skip
AN_ENTITY_CARRIES_IT_NO_MORE = [drop(twins=True), time(24), drop(), acts(0), time(24, "once")]
CAMPAIGN_FORGETS_FOR_A_MOMENT = [
    drop(),
    ("things_happen", {"then": "nothing", "acts": [
        ("unsubscribes", address(1), 0),
        ("is_blocked", address(2), 0), ("is_blocked", address(3), 1),
    ]}),
    time(24, "once"),
    *[("campaign_forgets", {"who": address(number), "nth": 1, "then": "nothing"})
      for number in (1, 2, 3)],
    drop(), drop(),
]  # fmt: skip
A_STREAM_FAILS = [
    step
    for number, method in enumerate(STREAMS)
    if method != "getMailings"
    for step in (
        acts(2 * number), time(24), time(48), fails(method, 6, "fetch"),
        ("campaign_is_well", {}), time(1, "once"), TAKES,
    )
]  # fmt: skip
THE_CAMPAIGN_IS_LEARNED_LATE = [
    acts(0), time(24), time(48), fails("getMailings", 6, "fetch"), ("campaign_is_well", {}),
    time(1, "once"),
]  # fmt: skip
OUR_CLOCK_GOES_BACK_BETWEEN_DROPS = [
    drop(twins=True), ("our_clock_jumps", {"minutes": -40, "then": "nothing"}), drop(),
    acts(0), time(24, "once"),
]  # fmt: skip
