"""The log: known events, one line each, nobody in them."""

import io
import json
import logging
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import structlog

from etl.errors import EtlError, FarSideUnavailable
from etl.log import Event, UnlistedEvent, configure, log, within
from etl.redaction import hide

SECRETS = ["canary.anna@example.org", "0a1b2c3d4e5f6789", "S3cret-canary"]
FOREIGN_WORDS = "Kanarienvogel"
LIBRARIES = ("zeep", "paramiko", "urllib3", "requests", "watchdog")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Begin with libraries that nobody set a level of; leave all loggers as they were found."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    names = [*LIBRARIES, *logging.root.manager.loggerDict]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        if name.partition(".")[0] in LIBRARIES:
            # A connection made by another test silences paramiko wholly.
            logging.getLogger(name).setLevel(logging.NOTSET)
    level = root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest.fixture
def out() -> io.StringIO:
    stream = io.StringIO()
    configure(stream, strict=True)
    return stream


def lines(out: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def fail(error: Exception) -> NoReturn:
    raise error


def test_an_event_is_one_json_line(out: io.StringIO) -> None:
    """Time, level and event come first, then the facts."""
    log(Event.PLACE, batch="20261124T091500Z-1a2b3c", place="UPLOADED")
    (line,) = lines(out)
    assert list(line) == ["at", "level", "event", "batch", "place"]
    assert line["at"].endswith("Z")
    assert (line["level"], line["event"], line["place"]) == ("info", "place", "UPLOADED")


@pytest.mark.parametrize(
    ("event", "level"), [(Event.HELD, "warning"), (Event.ALARM, "error"), (Event.BUG, "critical")]
)
def test_the_level_goes_with_the_event(out: io.StringIO, event: Event, level: str) -> None:
    """Nobody chooses how loud an alarm is."""
    log(event)
    assert lines(out)[0]["level"] == level


def test_a_scan_is_told_only_to_whoever_asks(out: io.StringIO) -> None:
    """A scan every two seconds is no news unless the level is debug."""
    log(Event.SCAN)
    assert lines(out) == []
    configure(out, level="debug")
    log(Event.SCAN)
    assert lines(out)[0]["event"] == "scan"


def test_an_unlisted_event_is_refused_in_tests_and_emptied_in_service(out: io.StringIO) -> None:
    """A sentence in the place of an event may hold a cell, so it is never written."""
    with pytest.raises(UnlistedEvent):
        structlog.get_logger().info("sent to Anna Canary")
    configure(out)
    structlog.get_logger().info("sent to Anna Canary", rows=3)
    (line,) = lines(out)
    assert (line["event"], line["unlisted_event"], line["rows"]) == ("bug", True, 3)
    assert "Canary" not in out.getvalue()


def test_facts_of_a_block_are_in_every_event(out: io.StringIO) -> None:
    """What is deep inside need not know the batch to have it logged."""
    with within(batch="b1"):
        log(Event.FAR_SIDE, code="campaign-unreachable")
    log(Event.STOPPED)
    assert [line.get("batch") for line in lines(out)] == ["b1", None]


def test_no_person_and_no_secret_gets_into_a_line(out: io.StringIO) -> None:
    """However a canary is passed, as fact, key, error, context or fact of one, it stays hidden."""
    hide(SECRETS[2])
    for canary in SECRETS:
        log(Event.DROP, value=canary, **{canary: 1}, deep=[{"a": (f"<{canary}>",)}])
        log(Event.BUG, error=ValueError(canary))
        log(Event.FAR_SIDE, error=FarSideUnavailable("sftp-unreachable", detail=canary))
        with within(who=canary):
            log(Event.ALARM, content=canary.encode())
        try:
            try:
                fail(KeyError(canary))
            except KeyError:
                EtlError(canary)
        except KeyError as error:
            log(Event.BUG, error=error)
            structlog.get_logger().exception(Event.BUG, stack_info=True)
            structlog.get_logger().error(Event.BUG, exc_info=error)
    assert [canary for canary in SECRETS if canary in out.getvalue()] == []
    assert "canary" not in out.getvalue().lower()
    told = lines(out)
    assert len(told) == 21
    assert [line["error"]["type"] for line in told[4:7]] == ["KeyError"] * 3


def test_a_forged_line_stays_inside_its_value(out: io.StringIO) -> None:
    """Line ends, escapes, priorities and broken bytes in a name are escaped; the name survives."""
    name = 'x\n<0>EMERGENCY\r\x1b[2J\x7f\u202e\u2028"\udcff.csv'
    log(Event.REFUSED, name=name)
    configure(out, as_json=False)
    log(Event.REFUSED, name=name)
    text = out.getvalue()
    assert text.isascii()
    as_json, as_text = text.removesuffix("\n").split("\n")
    assert json.loads(as_json)["name"] == name
    assert as_text.replace("\x1b[33m", "").replace("\x1b[0m", "").isprintable()


def test_at_a_terminal_a_line_is_for_people() -> None:
    """Without being told, a terminal gets words and a pipe gets JSON."""
    main, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stream:
        configure(stream)
        log(Event.PLACE, batch="b1", place="UPLOADED", reasons={"email": 3}, name="two words")
        line = os.read(main, 1000).decode("ascii")
    os.close(main)
    assert line[8] == " "
    assert "place" in line
    assert 'batch=b1 place=UPLOADED reasons={"email": 3} name="two words"' in line


def test_libraries_warn_through_the_bridge_without_their_words(out: io.StringIO) -> None:
    """Of a library's warning place and level show, of its error the type; below WARNING nothing."""
    for name in ("zeep", "paramiko.transport", "urllib3.connectionpool", "requests", "watchdog.x"):
        library = logging.getLogger(name)
        library.info("%s", FOREIGN_WORDS)
        library.debug(SECRETS[0])
        try:
            fail(OSError(5, FOREIGN_WORDS))
        except OSError:
            library.exception("%s failed", FOREIGN_WORDS)
    told = lines(out)
    assert [line["event"] for line in told] == ["library"] * 5
    assert told[1]["logger"] == "paramiko.transport"
    assert told[1]["severity"] == "ERROR"
    assert told[1]["error"]["errno"] == 5
    assert told[1]["where"].startswith("test_log.py:")
    assert FOREIGN_WORDS not in out.getvalue()


def test_a_library_that_was_set_lower_is_set_back() -> None:
    """Whatever level and handlers a library's logger had or gets, below WARNING it is quiet."""
    stray = io.StringIO()
    library = logging.getLogger("zeep.transports")
    library.setLevel(logging.DEBUG)
    library.addHandler(logging.StreamHandler(stray))
    out = io.StringIO()
    configure(out)
    library.debug(FOREIGN_WORDS)
    library.setLevel(logging.DEBUG)
    library.debug(FOREIGN_WORDS)
    library.warning(FOREIGN_WORDS)
    library.setLevel(logging.NOTSET)
    assert stray.getvalue() == ""
    assert len(lines(out)) == 1


def test_configured_twice_each_line_comes_once_and_at_the_new_place(out: io.StringIO) -> None:
    """A second stream takes over wholly."""
    second = io.StringIO()
    configure(second)
    log(Event.STARTED)
    logging.getLogger("paramiko").warning("x")
    assert out.getvalue() == ""
    assert len(lines(second)) == 2


def test_unconfigured_it_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    """Like a library: nothing is printed before somebody says where to."""
    structlog.reset_defaults()
    log(Event.STARTED, who="x")
    assert capfd.readouterr() == ("", "")


def test_a_stream_that_cannot_be_written_stops_nothing() -> None:
    """A closed or full stream loses the line, not the service."""
    with Path("/dev/full").open("w") as full, Path("/dev/null").open("w") as null:
        configure(full)
        log(Event.STARTED)
        # What is still in the buffer would be tried again when the file is closed.
        os.dup2(null.fileno(), full.fileno())
    log(Event.STARTED)


def test_lines_of_threads_do_not_mix(out: io.StringIO) -> None:
    """Eight threads write whole lines, each with the facts of its own thread."""

    def tell(number: int) -> None:
        with within(thread=number):
            for _ in range(200):
                log(Event.CHUNK, also=number, text="x" * 300)

    threads = [threading.Thread(target=tell, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = lines(out)
    assert len(told) == 1600
    assert all(line["thread"] == line["also"] for line in told)


UNCAUGHT = """
import sys, threading, warnings
from etl.errors import EtlError
from etl.log import configure, install_hooks
install_hooks()
{configured}
class Broken:
    def __del__(self): raise RuntimeError("canary in del")
Broken()
warnings.warn("canary in warning")
def run(): raise ValueError("canary in thread")
thread = threading.Thread(target=run); thread.start(); thread.join()
try:
    raise OSError("canary in context")
except OSError:
    local = "canary in local"
    EtlError("canary")
"""


@pytest.mark.parametrize("configured", ["configure(sys.stderr)", ""])
def test_what_nobody_catches_is_told_our_way(configured: str) -> None:
    """Tracebacks of all threads, of finalisers and warnings hold types and our frames only."""
    done = subprocess.run(
        [sys.executable, "-c", UNCAUGHT.format(configured=configured)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "canary" not in done.stderr
    told = [json.loads(line) for line in done.stderr.splitlines()]
    errors = [line["error"] for line in told if line["event"] == "bug"]
    assert [error["type"] for error in errors] == ["RuntimeError", "ValueError", "KeyError"]
    assert errors[2]["at"][0].startswith("etl/errors.py:")
    assert errors[2]["because"] == ["OSError"]
