"""The SFTP server is wrong for a while in one certain way: held, then all goes on by itself."""

import contextlib
import socket

import pytest

from tests.faults.network import Lines, NetRun, Spot, broken_once, counted, own_sshd
from tests.faults.one_cause import NOWHERE, goes_on_by_itself, lists_untouched, long
from tests.faults.two_feeds import Servers
from tests.servers.fault_proxy import Cut


def test_another_host_key(servers: Servers, lines: Lines) -> None:
    """A server with another host key is told neither our name nor a byte of a file."""
    lines.clean()
    with own_sshd(servers) as other, NetRun(lines) as run:
        impostor = other.far.sshd
        lines.tcp.aim(impostor.host, impostor.port)

        def lift() -> None:
            assert list(impostor.folder.iterdir()) == []
            assert impostor.user not in impostor.log.read_text()
            assert lists_untouched(run)
            lines.tcp.aim(servers.far.sshd.host, servers.far.sshd.port)

        try:
            goes_on_by_itself(run, "sftp-host-key", lift)
        finally:
            lines.tcp.aim(servers.far.sshd.host, servers.far.sshd.port)


def test_key_is_refused(lines: Lines, servers: Servers) -> None:
    """While the SFTP server does not know our key, drops are held and lists are as they were."""
    with own_sshd(servers) as other, Lines(other) as own, NetRun(own, other) as run:
        authorized = other.far.sshd._authorized
        known = authorized.read_text()
        authorized.write_text("")

        def lift() -> None:
            assert lists_untouched(run)
            authorized.write_text(known)

        goes_on_by_itself(run, "sftp-login", lift)


@pytest.mark.parametrize("how", ["refused", long("closed"), long("hole")])
def test_sftp_is_away_for_days(lines: Lines, how: str) -> None:
    """A server for files that is away for very long is waited for; no list is touched before."""
    lines.clean()
    with NetRun(lines) as run:
        if how == "refused":
            lines.tcp.refuse()
        elif how == "closed":
            lines.tcp.hang_up(1_000_000)
        else:
            lines.tcp.plan(Cut("hole", "up", 2000, times=None))

        def lift() -> None:
            assert lists_untouched(run)
            lines.clean()

        goes_on_by_itself(run, "sftp-unreachable", lift, tries=2 if how == "hole" else 5)


def test_too_many_connections_at_sshd(lines: Lines, servers: Servers) -> None:
    """Connections that a real sshd drops because others have not logged in are tried again."""
    with (
        own_sshd(servers, ["PerSourceMaxStartups 1"]) as other,
        Lines(other) as own,
        NetRun(own, other) as run,
        contextlib.closing(
            socket.create_connection((other.far.sshd.host, other.far.sshd.port))
        ) as taken,
    ):
        assert taken.recv(4) == b"SSH-"
        goes_on_by_itself(run, "sftp-unreachable", taken.close)
        assert "MaxStartups" in other.far.sshd.log.read_text()


def forbidding(request: str) -> list[str]:
    """Options of an sshd that forbids an SFTP request; it has no subsystem of its own then."""
    command = f"internal-sftp -P {request}"
    return [f"Subsystem sftp {command}", f"ForceCommand {command}"]


@pytest.mark.parametrize(
    ("options", "code"),
    [([], "disk-floor"), (forbidding("statvfs"), "sftp-write-failed")],
    ids=["seen-before", "seen-in-the-write"],
)
def test_remote_disk_is_full(servers: Servers, options: list[str], code: str) -> None:
    """A full disk at the SFTP server holds the drops, until there is room."""
    with (
        own_sshd(servers, options, subsystem=not options) as other,
        other.far.sshd.small_disk(64 * 1024),
        Lines(other) as own,
        NetRun(own, other) as run,
    ):
        filler = other.far.sshd.folder / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(1024)):
                pass

        def lift() -> None:
            assert all(name.endswith(".part") for name in run.made.remote())
            assert lists_untouched(run)
            filler.unlink()

        goes_on_by_itself(run, code, lift)


def test_no_posix_rename(servers: Servers) -> None:
    """A server without posix-rename gets the plain one, and a lost answer to it is understood."""
    options = forbidding("posix-rename")
    with own_sshd(servers, options, subsystem=False) as other, Lines(other) as own:
        usual = counted(own)
        asked = usual.rename_of_a()
        # Refused as unknown, then asked again as a plain rename: the next step.
        steps = usual.steps["sftp", "up"]
        at = steps[steps.index(asked) + 1]
        assert broken_once(own, Spot("lose-answer", at), usual, NOWHERE)[0]
