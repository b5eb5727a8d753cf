"""Every kind of network fault at every remote call and byte step: no promise is broken by one.

Calls and bytes are counted in an undisturbed run with two feeds, none is listed by hand. Each run
has one life of `etl once` with the fault, within its deadlines, and one without it.
"""

import os
import random
import socket
from collections.abc import Iterator

import pytest

from tests.faults.campaign import PARTS, campaign, my_share
from tests.faults.network import (
    CALL_SECONDS,
    CALLS,
    CUTS,
    MARGIN_SECONDS,
    Counted,
    Lines,
    Spot,
    broken_once,
    counted,
)

SEED = 20261124
SAMPLE = 7
WHICH, OF = map(int, os.environ.get("ETL_FAULTS_PART", "0/1").split("/"))
"""A share of the long form: the first of four is 0/4."""
KINDS = os.environ.get("ETL_FAULTS_KINDS", "")
"""How the names of the kinds begin that the long form is about; empty for all."""


@pytest.fixture(scope="module")
def usual(lines: Lines) -> Counted:
    return counted(lines)


@pytest.fixture
def trap() -> Iterator[str]:
    """An address that nobody may ever go to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/soap11/RpcSession"
        listener.settimeout(0.01)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_what_is_counted(usual: Counted) -> None:
    """The undisturbed run makes every kind of call, and its bytes come in many steps."""
    assert {"login", "setMediaType", "getCurrentTime", "getOutBounces", "getAllEntries",
            "containsAll", "areBlacklisted", "getName", "clear", "addAll3", "getCount",
            "removeUnsubscribed", "removeBlacklisted", "logout"} <= set(usual.calls)  # fmt: skip
    assert usual.calls.count("clear") == 2
    assert min(map(len, usual.steps.values())) > 15
    assert len(CALLS) + len(CUTS) > 30


def test_some_faults(lines: Lines, usual: Counted, trap: str) -> None:
    """Of different kinds, at any of their calls or bytes: everything is right after each."""
    chance = random.Random(SEED)
    spots = usual.spots()
    for kind in chance.sample([*CALLS, *CUTS], SAMPLE):
        spot = chance.choice([each for each in spots if each.kind == kind])
        met, _ = broken_once(lines, spot, usual, trap)
        assert met or not spot.is_call, spot


@pytest.mark.parametrize("kind", ["reset-after", "hole-up"])
def test_a_fault_is_met(lines: Lines, usual: Counted, trap: str, kind: str) -> None:
    """A fault at the first clear, or in the first file, is met and has its deadline."""
    sizes = usual.sizes()
    first_write = usual.steps["sftp", "up"][sizes.index(max(sizes))]
    at = usual.calls.index("clear") + 1 if kind in CALLS else first_write
    met, stall = broken_once(lines, Spot(kind, at), usual, trap)
    assert met
    assert stall < CALL_SECONDS + MARGIN_SECONDS


@pytest.mark.long
def test_the_spots_of_the_protocol(lines: Lines, usual: Counted, trap: str) -> None:
    """A call that was not heard, and a rename whose answer is lost, where a wrong guess is seen."""
    for spot in (
        Spot("reset-before", usual.calls.index("addAll3") + 1),
        Spot("lose-answer", usual.rename_of_a()),
    ):
        assert broken_once(lines, spot, usual, trap)[0]


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_fault(lines: Lines, usual: Counted, trap: str, part: int) -> None:
    """Every kind at every call, and at every step of bytes in either direction."""
    spots = [spot for spot in usual.spots() if spot.kind.startswith(KINDS)]
    steps = {f"{line} {way}": len(at) for (line, way), at in usual.steps.items()}
    campaign(
        f"network faults {KINDS}".strip(), my_share(my_share(spots, WHICH, OF), part),
        lambda spot: broken_once(lines, spot, usual, trap)[0], sums="met", at_least=0.9,
        sort=lambda spot: spot.kind, part=part, share=f"{WHICH}/{OF}",
        counted=len(spots), calls=len(usual.calls), byte_steps=steps,
    )  # fmt: skip
