"""Fault texts: what they mean, and that nothing personal is left of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import FarSideRefused, FarSideUnavailable
from etl.wire.faults import SessionLost, judged, redacted

CLASS = "broadmail.api.soap11.impl.WebserviceImplException: "
SID = "0af3b1c2d4e5f67"
PREFIX = f"{CLASS}[{SID},4711,api-canary] "
NESTED = f"{PREFIX}Error updating users in userlist #12 for call: ids='canary'; caused by: "


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            f"{PREFIX}Recipient does not exist for call: recipientListId='1', recipientId='canary'",
            "Recipient does not exist",
        ),
        (
            f"{NESTED}[{SID},1,canary] Recipients canary do not exist for call: x='canary'",
            "Error updating users in userlist #12",
        ),
        (f"{CLASS}Invalid credentials.", "Invalid credentials."),
        (f"{PREFIX}Bad value 'canary for call: b' for call: x='canary'", "Bad value …"),
        (f"{PREFIX}Bad value 'O'Canary' in 'city'", "Bad value …"),
        (f'{PREFIX}Bad value "canary" here', "Bad value … here"),
        (f"{PREFIX}Can't find canary@example.org, sorry", "Can't find … sorry"),
        (f"{PREFIX}Session 0AF3B1C2D4E5F678 is dead", "Session … is dead"),
        (f"[{SID},4711,canary", "no words"),
        ("", "no words"),
        ("Two\nlines\x1b[31m\tred", "Two lines [31m red"),
        ("word " * 100, ("word " * 100)[:200]),
    ],
)
def test_only_plain_words_are_left(text: str, words: str) -> None:
    """Session, user, arguments, quoted values and addresses go; what was wrong stays."""
    assert redacted(text, ()) == words
    assert len(words) <= 200


def test_what_was_sent_is_cut_out_wherever_it_stands() -> None:
    """A value that stands bare among the words is known by having been sent."""
    sent = ["Canary Müller", "12.5.1970x", "contact:4711", "on", "Ann"]
    text = f"{PREFIX}Cannot parse Canary Müller (12.5.1970x) of contact:4711 on Ann"
    assert redacted(text, sent) == "Cannot parse … (…) of … on …"


def test_what_was_sent_is_cut_out_in_any_length() -> None:
    """Within a word from six characters on, and a text of any length with all that follows."""
    assert redacted("Bad cell xCANARYx", ["CANARY"]) == "Bad cell x…x"
    long = "CANARY " * 1000
    assert redacted(f"Cannot store {long} in note", [long]) == "Cannot store …"


@settings(deadline=None)
@given(st.lists(st.text("ab '\"@:,.;=", min_size=3, max_size=12), min_size=1, max_size=4))
def test_quoted_arguments_never_show(values: list[str]) -> None:
    """However values quote and break, what follows the words of the call is gone."""
    arguments = ", ".join(f"arg='CANARY{value}CANARY'" for value in values)
    assert "CANARY" not in redacted(f"{PREFIX}Failed for call: {arguments}", values)
    assert "CANARY" not in redacted(f"{PREFIX}Failed {arguments}", values)


def test_an_ordinary_fault_is_a_refusal() -> None:
    """A fault answers the call: it is refused, with its redacted words."""
    error = judged("addAll3", f"{PREFIX}Unknown attribute for call: x='canary'", ())
    assert isinstance(error, FarSideRefused)
    assert error.code == "call-refused"
    assert error.facts == {"call": "addAll3", "detail": "Unknown attribute"}


def test_bad_credentials_are_a_login_failure() -> None:
    """The one fault whose words are recorded for a failed login."""
    error = judged("login", f"{CLASS}Invalid credentials.", ())
    assert isinstance(error, FarSideRefused)
    assert error.code == "campaign-login"


def test_a_refused_session_is_told_to_the_session() -> None:
    """With the words in front a second refusal is the far side's trouble, not the call's."""
    lost = judged("clear", f"{PREFIX}Invalid sessionId: '{SID}' for call: x='1'", ())
    assert isinstance(lost, SessionLost)
    assert isinstance(lost.refusal, FarSideUnavailable)
    assert not lost.refusal.in_doubt


def test_a_recipient_cannot_pretend_that_the_session_is_lost() -> None:
    """With the words among the arguments the second refusal is the call's own."""
    lost = judged("addAll3", f"{PREFIX}Bad row for call: x='Invalid sessionId'", ())
    assert isinstance(lost, SessionLost)
    assert isinstance(lost.refusal, FarSideRefused)
    assert lost.refusal.code == "call-refused"


@pytest.mark.parametrize(
    "words",
    [
        "Too many connections",
        "Maximum number of parallel connections exceeded",
        "Limit of simultaneous requests reached",
        "More than 10 concurrent calls: limit exceeded",
    ],
)
def test_a_crowd_is_a_later(words: str) -> None:
    """A refusal for too many connections or calls is tried again, in doubt like every other."""
    error = judged("getCount", f"{PREFIX}{words} for call: x='1'", ())
    assert isinstance(error, FarSideUnavailable)
    assert (error.code, error.in_doubt) == ("campaign-unreachable", True)


@pytest.mark.parametrize(
    "words",
    [
        "Too many recipients in one call, limit is 1000",
        "Maximum batch size exceeded in this request",
        "Array length limit exceeded by call",
    ],
)
def test_too_long_a_batch_is_a_refusal(words: str) -> None:
    """What is wrong with the content of a call is never a matter of time."""
    assert isinstance(judged("addAll3", f"{PREFIX}{words}", ()), FarSideRefused)
