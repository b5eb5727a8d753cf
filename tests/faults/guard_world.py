"""Why a list must not be cleared: the list itself, disks, far sides, a way back that is none.

How a case is built is told in `guard_cases`.
"""

from pathlib import Path

from tests.faults.guard_cases import CASES, DAY, Case, Course, case
from tests.faults.guard_stage import OTHER, Stage, people
from tests.servers.house_on_campaign import LIST, MANDATOR, NAME, TYPES

__all__ = ["CASES", "Case"]

# --- the list -------------------------------------------------------------------------------------


@case("the list has another name", "wrong-list", place="UPLOADED")
def _renamed(s: Stage) -> Course:
    s.control.set_list(LIST, name=s.pick(f"{NAME} ", NAME))
    s.drop(people(20))
    yield
    s.control.set_list(LIST, name=NAME)


@case("the feed names another list", "wrong-list", place="UPLOADED")
def _another_list(s: Stage) -> Course:
    s.second_list("Somebody else's")
    s.house.feeds[0]["list"] = {"id": s.pick(OTHER, LIST), "name": NAME}
    s.drop(people(20))
    yield
    s.house.feeds[0]["list"] = {"id": LIST, "name": NAME}


@case("a test list", "test-list", place="UPLOADED")
def _test_list(s: Stage) -> Course:
    s.control.set_list(LIST, is_test=s.pick(True, False))
    s.drop(people(20))
    yield
    s.control.set_list(LIST, is_test=False)


@case("the list lacks an attribute", "missing-attribute", place="UPLOADED")
def _attribute(s: Stage) -> Course:
    s.control.set_list(LIST, attributes={n: t for n, t in TYPES.items() if n != s.pick("seen", "")})
    s.drop(people(20))
    yield
    s.control.set_list(LIST, attributes=TYPES)


@case("the feed has another list while the old one is partial", "list-changed",
      place="REFILLING", reaches="addAll3", before=30)  # fmt: skip
def _list_changed(s: Stage) -> Course:
    s.second_list(NAME)
    s.drop(people(30, firstname="New"))
    s.left_partial()
    s.later()
    s.house.feeds[0]["list"] = {"id": s.pick(OTHER, LIST), "name": NAME}
    yield
    s.house.feeds[0]["list"] = {"id": LIST, "name": NAME}


@case("the feed is gone", "feed-gone", place="CLAIMED")
def _feed_gone(s: Stage) -> Course:
    s.drop(people(20))
    s.held_before("away")
    feed = s.house.feeds[0]
    s.house.feeds[0] = s.pick(feed | {"name": "z", "pattern": "z"}, feed)
    yield
    s.house.feeds[0] = feed


@case("a name that two feeds have", "two-feeds", fate="quarantined")
def _two_feeds(s: Stage) -> Course:
    s.second_list("List of b")
    feed = s.house.feeds[0]
    own = {"name": "b", "list": {"id": OTHER, "name": "List of b"}}
    s.house.feeds.append(feed | own | {"pattern": s.pick(feed["pattern"], "b")})
    s.drop(people(20))
    yield
    s.house.feeds.pop()
    s.drop(people(20), day=3)


@case("uploaded too long ago", "staged-old", place="UPLOADED")
def _staged_old(s: Stage) -> Course:
    s.drop(people(20))
    s.held_before("name")
    s.clock.advance(7 * DAY - s.pick(0, 3600))
    yield
    s.drop(people(20), day=3)


# --- disks ----------------------------------------------------------------------------------------


def _large(s: Stage) -> int:
    """A drop of 1 MB; its size."""
    s.drop(people(20, lastname="x" * 50_000))
    return (s.house.root / "inbox" / s.name).stat().st_size


@case("the state folder's disk is nearly full", "disk-floor", before=None, place="CLAIMED",
      mounts=True)  # fmt: skip
def _disk_floor(s: Stage) -> Course:
    s.small_disk()
    size = _large(s)
    s.held_before("away")
    filler = s.fill_disk(2 * size + s.pick(-8192, 500_000))
    yield
    filler.unlink()


@case("no room for a copy of the drop", "", fate="waits", before=None, mounts=True)
def _no_room(s: Stage) -> Course:
    s.small_disk()
    # More than twice its size is used in the end: the copy, and what is made of it.
    filler = s.fill_disk(2 * _large(s) + s.pick(-8192, 1_500_000))
    yield
    filler.unlink()


@case("the server's disk is a byte too small", "disk-floor", place="CLAIMED")
def _remote_disk(s: Stage) -> Course:
    s.drop(people(20))
    size = (s.house.root / "inbox" / s.name).stat().st_size
    s.house.drop_twin.free_bytes = size - s.pick(1, 0)
    yield
    s.house.drop_twin.free_bytes = None


@case("the uploaded file has another size", "upload-size", place="CLAIMED")
def _upload_size(s: Stage) -> Course:
    s.drop(people(20))
    s.house.drop_twin.size_error_bytes = s.pick(-1, 0)
    yield
    s.house.drop_twin.size_error_bytes = 0


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@case("the private copy lost a byte and the claim is not there", "disk-error", place="CLAIMED")
def _copy_cut(s: Stage) -> Course:
    s.drop(people(20))
    s.held_before("away")
    claim = s.claim()
    (s.house.root / "inbox" / ".aside").mkdir()
    aside = claim.rename(s.house.root / "inbox" / ".aside" / claim.name)
    if s.wrong:
        _cut(s.file_of(s.receipt()["batch"], "original"))
    yield
    claim.parent.mkdir(exist_ok=True)
    aside.rename(claim)


@case("the staged rows lost a byte", "disk-error", place="UPLOADED")
def _staged_cut(s: Stage) -> Course:
    s.drop(people(20))
    s.held_before("name")
    if s.wrong:
        _cut(s.file_of(s.receipt()["batch"], "staged.arrow"))
    yield
    s.drop(people(20), day=3)


# --- far sides ------------------------------------------------------------------------------------

TRIES = 5
"""How often a question is asked before the batch is held."""


def _silent(name: str, method: str, place: str, nth: int = 1) -> None:
    @case(name, "campaign-unreachable", place=place)
    def play(s: Stage) -> Course:
        times = s.pick(None, TRIES - 1)
        s.control.schedule(method, "http", nth=nth, times=times, status=503)
        s.drop(people(20))
        yield
        s.control.unschedule()


_silent("Campaign is away", "*", "CLAIMED")
_silent("the live check fails before the upload", "containsAll", "CLAIMED")
_silent("the live check fails before the clear", "containsAll", "UPLOADED", 2)
_silent("the live blocklist fails before the clear", "areBlacklisted", "UPLOADED", 2)
_silent("the list cannot be looked at", "getAttributeNames", "UPLOADED")


def _refused(name: str, method: str, place: str, nth: int = 1) -> None:
    @case(name, "call-refused", place=place)
    def play(s: Stage) -> Course:
        s.control.schedule(method, "fault", nth=nth, times=s.pick(None, 0), text="Not today.")
        s.drop(people(20))
        yield
        s.control.unschedule()


_refused("the live check is refused before the upload", "containsAll", "CLAIMED")
_refused("the live check is refused before the clear", "containsAll", "UPLOADED", 2)
_refused("the live blocklist is refused before the clear", "areBlacklisted", "UPLOADED", 2)
_refused("a look at the list is refused", "isTestRecipientList", "UPLOADED")


@case("the password is another one", "campaign-login", place="CLAIMED")
def _password(s: Stage) -> Course:
    s.control.add_client(MANDATOR, "api", s.pick("changed", "secret"))
    s.drop(people(20))
    yield
    s.control.add_client(MANDATOR, "api", "secret")


@case("our address may not log in", "campaign-login", place="CLAIMED")
def _address(s: Stage) -> Course:
    s.control.add_client(MANDATOR, "api", "secret", [s.pick("192.0.2.1", "127.0.0.1")])
    s.drop(people(20))
    yield
    s.control.add_client(MANDATOR, "api", "secret")


def _dies(method: str, code: str, place: str, before: int | None = 20) -> None:
    """The session is refused at every such call, or once only."""

    @case(f"the session dies at {method}", code, place=place, before=before)
    def play(s: Stage) -> Course:
        s.control.schedule(method, "expire-session", times=s.pick(None, 1))
        s.drop(people(20))
        yield
        s.control.unschedule()


_dies("getCurrentTime", "campaign-unreachable", "CLAIMED", None)
for _source in ("getOutBounces", "getUnsubscribes", "getMailingUnsubscribes", "getAllEntries"):
    _dies(_source, "suppression-missing", "CLAIMED", None)
for _check in ("containsAll", "areBlacklisted"):
    _dies(_check, "campaign-unreachable", "CLAIMED")
for _look in ("getName", "isTestRecipientList", "getAttributeNames"):
    _dies(_look, "campaign-unreachable", "UPLOADED")


# --- a way back that is none ----------------------------------------------------------------------


@case("a rollback would bring somebody back", "returning", place="UPLOADED")
def _returning(s: Stage) -> Course:
    s.refilled(people(20, first=s.pick(2, 1), firstname="Wrong"), day=2)
    s.expected = {row["email"] for row in people(20)}
    s.roll_back()
    yield
    s.release("returning")


@case("a rollback where nothing is kept", "nothing-kept", fate="refused")
def _nothing_kept(s: Stage) -> Course:
    if not s.wrong:
        s.refilled(people(20, firstname="Wrong"), day=2)
    s.roll_back()
    yield
    s.batch = ""
    s.drop(people(20), day=3)


@case("a rollback to what is in the list", "refilled-since", fate="refused")
def _refilled_since(s: Stage) -> Course:
    s.refilled(people(20, firstname="Wrong"), day=2)
    s.roll_back(stale=s.wrong)
    yield
    s.roll_back()


def _kept(name: str, harm: str) -> None:
    @case(name, "kept-damaged", fate="refused")
    def play(s: Stage) -> Course:
        kept = s.file_of(s.receipt()["batch"], "staged.arrow")
        s.refilled(people(20, firstname="Wrong"), day=2)
        content = kept.read_bytes()
        if s.wrong:
            kept.unlink()
        if s.wrong and harm == "changed":
            kept.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        s.roll_back()
        yield
        kept.write_bytes(content)
        s.roll_back()


_kept("kept rows are missing", "missing")
_kept("kept rows are changed by a bit", "changed")
