"""SftpDrop against servers that are strange, slow, full or hostile; most are a real sshd."""

import contextlib
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_ssh_private_key,
)

from etl.errors import FarSideRefused, FarSideUnavailable, Mismatch
from etl.sandbox.sftp import EmbeddedSftp, make_key
from etl.wire.sftp import WINDOW_BYTES, SftpDrop
from tests.servers.access import JumpingTime, access_to, drop_to
from tests.servers.sshd import Sshd


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    (tmp_path / "key.pub").write_text(make_key(path))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(bytes(range(256)) * 4096)  # 1 MiB
    return path


@pytest.fixture
def sshd(key: Path) -> Iterator[Sshd]:
    with Sshd([_public(key)]) as server:
        yield server


@pytest.fixture
def embedded(tmp_path: Path, key: Path) -> Iterator[EmbeddedSftp]:
    folder = tmp_path / "remote"
    folder.mkdir()
    with EmbeddedSftp(folder, [_public(key)]) as server:
        yield server


def _public(key: Path) -> str:
    return key.with_suffix(".pub").read_text()


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
@pytest.mark.parametrize("passphrase", [None, "pass phrase ü"])
def test_client_keys(tmp_path: Path, source: Path, kind: str, passphrase: str | None) -> None:
    """Ed25519 and RSA 2048 keys log in, with a passphrase and without."""
    path = tmp_path / "client"
    public = make_key(path, kind)
    if passphrase:
        loaded = load_ssh_private_key(path.read_bytes(), None)
        how = BestAvailableEncryption(passphrase.encode())
        path.write_bytes(loaded.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, how))
    with Sshd([public]) as server:
        drop = drop_to(server, path, passphrase=passphrase)
        assert drop.put(source, "a.part") == 1 << 20
        drop.close()
        assert (server.folder / "a.part").read_bytes() == source.read_bytes()


def test_wrong_client_key(sshd: Sshd, tmp_path: Path, source: Path) -> None:
    """A key the server does not know is a refused login, not a far side that is down."""
    make_key(tmp_path / "other")
    with pytest.raises(FarSideRefused) as caught:
        drop_to(sshd, tmp_path / "other").put(source, "a.part")
    assert caught.value.code == "sftp-login"
    assert not list(sshd.folder.iterdir())


def test_changed_host_key(sshd: Sshd, key: Path, source: Path) -> None:
    """After a change of the host key nothing is sent, not even our name."""
    drop = drop_to(sshd, key)
    drop.put(source, "before.part")
    sshd.new_host_key()
    drop.close()
    with pytest.raises(FarSideRefused) as caught:
        drop.put(source, "after.part")
    assert caught.value.code == "sftp-host-key"
    assert [path.name for path in sshd.folder.iterdir()] == ["before.part"]
    assert sshd.user not in sshd.log.read_text()


def test_two_pinned_keys(sshd: Sshd, key: Path, tmp_path: Path, source: Path) -> None:
    """While a host key changes two are pinned, and either is taken."""
    next_key = make_key(tmp_path / "next_host_key")
    for pinned in [(sshd.host_key, next_key), (next_key, sshd.host_key)]:
        drop = drop_to(sshd, key, host_keys=pinned)
        assert drop.put(source, "a.part") == 1 << 20
        drop.close()


def test_only_rsa_is_pinned(key: Path, source: Path) -> None:
    """A server with two host keys is asked for the kind that is pinned."""
    with Sshd([_public(key)], host_kinds=("ed25519", "rsa")) as server:
        drop = drop_to(server, key, host_keys=(server.host_keys["rsa"],))
        assert drop.put(source, "a.part") == 1 << 20
        drop.close()


def test_pinned_kind_is_missing(sshd: Sshd, key: Path, tmp_path: Path, source: Path) -> None:
    """A server that has no host key of the pinned kind is refused as one with another key."""
    rsa = make_key(tmp_path / "rsa_host_key", "rsa")
    with pytest.raises(FarSideRefused) as caught:
        drop_to(sshd, key, host_keys=(rsa,)).put(source, "a.part")
    assert caught.value.code == "sftp-host-key"


def test_environment_is_ignored(
    sshd: Sshd,
    key: Path,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither an agent, nor keys and known_hosts of the home folder open a way in."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    known = f"[{sshd.host}]:{sshd.port} {sshd.host_key}\n"
    (home / ".ssh" / "known_hosts").write_text(known)
    (home / ".ssh" / "id_ed25519").write_bytes(key.read_bytes())
    (home / ".ssh" / "id_ed25519").chmod(0o600)
    other_public = make_key(tmp_path / "other")
    agent_socket = str(tmp_path / "agent")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SSH_AUTH_SOCK", agent_socket)
    with _agent(agent_socket, key):
        with pytest.raises(FarSideRefused) as caught:
            drop_to(sshd, tmp_path / "other").put(source, "a.part")
        assert caught.value.code == "sftp-login"
        with pytest.raises(FarSideRefused) as caught:
            drop_to(sshd, key, host_keys=(other_public,)).put(source, "a.part")
        assert caught.value.code == "sftp-host-key"


@contextlib.contextmanager
def _agent(path: str, key: Path) -> Iterator[None]:
    command = ["ssh-agent", "-D", "-a", path]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as agent:
        try:
            until = time.monotonic() + 5
            while not Path(path).exists() and time.monotonic() < until:
                time.sleep(0.02)
            subprocess.run(["ssh-add", "-q", key], check=True)
            keys = subprocess.run(["ssh-add", "-L"], check=True, capture_output=True).stdout
            assert b"ssh-ed25519" in keys
            yield
        finally:
            agent.terminate()


@pytest.mark.parametrize(
    "options", [["Ciphers aes128-cbc,3des-cbc"], ["Ciphers aes128-ctr", "MACs hmac-sha1,hmac-md5"]]
)
def test_weak_algorithms(key: Path, source: Path, options: list[str]) -> None:
    """A server that has nothing but weak ciphers or MACs is refused."""
    with Sshd([_public(key)], options=options) as server:
        with pytest.raises(FarSideRefused) as caught:
            drop_to(server, key).put(source, "a.part")
        assert caught.value.code == "sftp-refused"
        assert caught.value.facts["detail"] == "no algorithm in common"


# --- deadlines -----------------------------------------------------------------------------------


def test_nobody_listens(sshd: Sshd, key: Path, source: Path) -> None:
    """A refused connection is a far side that is down, and nothing can be in doubt."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FarSideUnavailable) as caught:
        drop_to(sshd, key, port=port).put(source, "a.part")
    assert caught.value.code == "sftp-unreachable"
    assert caught.value.facts["detail"] == "connection refused"
    assert not caught.value.in_doubt


def test_black_hole(sshd: Sshd, key: Path, source: Path) -> None:
    """A server that takes the connection and says nothing costs no more than the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with _within(3), pytest.raises(FarSideUnavailable) as caught:
            drop_to(sshd, key, port=port, answer_seconds=1).put(source, "a.part")
    assert not caught.value.in_doubt


def test_not_an_ssh_server(sshd: Sshd, key: Path, source: Path) -> None:
    """Words of another protocol are a far side that is down; they are not repeated."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            client, _ = listener.accept()
            with client:
                client.sendall(b"HTTP/1.1 400 canary\r\n" * 200)
                client.recv(1)

        greeter = threading.Thread(target=greet)
        greeter.start()
        with _within(5), pytest.raises(FarSideUnavailable) as caught:
            drop_to(sshd, key, port=listener.getsockname()[1], answer_seconds=2).put(source, "a")
        greeter.join()
    assert "canary" not in str(caught.value)


class _MuteSubsystem(paramiko.ServerInterface):
    """Lets everybody in and never answers a subsystem request."""

    def __init__(self) -> None:
        self.end = threading.Event()

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        self.end.wait(20)
        return False


def test_subsystem_without_answer(key: Path, tmp_path: Path, source: Path) -> None:
    """A server that never answers the subsystem request costs no more than the deadline."""
    host_key = make_key(tmp_path / "mute_host_key")
    mute = _MuteSubsystem()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served: list[paramiko.Transport] = []

        def serve() -> None:
            transport = paramiko.Transport(listener.accept()[0])
            transport.add_server_key(paramiko.Ed25519Key(filename=str(tmp_path / "mute_host_key")))
            served.append(transport)
            transport.start_server(event=threading.Event(), server=mute)

        server = threading.Thread(target=serve)
        server.start()
        embedded = EmbeddedSftp(tmp_path, [])
        access = access_to(
            embedded,
            key,
            port=listener.getsockname()[1],
            host_keys=(host_key,),
            answer_seconds=1,
        )
        with _within(4), pytest.raises(FarSideUnavailable) as caught:
            SftpDrop(access, JumpingTime(0)).put(source, "a.part")
        mute.end.set()
        server.join()
        served[0].close()
        served[0].join(5)
    assert caught.value.facts["detail"] == "the sftp subsystem: timed out"


def test_server_stalls_in_a_put(embedded: EmbeddedSftp, key: Path, source: Path) -> None:
    """A server that stops answering writes ends the put after answer_seconds, in doubt."""
    embedded.switches.write_delay_seconds = 60
    drop = drop_to(embedded, key, answer_seconds=1)
    with _within(4), pytest.raises(FarSideUnavailable) as caught:
        drop.put(source, "a.part")
    assert caught.value.in_doubt


def test_machine_hangs_in_a_put(sshd: Sshd, key: Path, tmp_path: Path) -> None:
    """A real server that is stopped takes no more bytes; the put ends all the same."""
    big = tmp_path / "big"
    big.write_bytes(bytes(4 * WINDOW_BYTES))
    drop = drop_to(sshd, key, answer_seconds=1)
    assert drop.stat("a.part") is None
    sshd.pause()
    with _within(4), pytest.raises(FarSideUnavailable):
        drop.put(big, "a.part")


def test_slow_server(embedded: EmbeddedSftp, key: Path, source: Path) -> None:
    """A put whose every answer comes, but late, ends after put_seconds."""
    embedded.switches.write_delay_seconds = 0.2
    drop = drop_to(embedded, key, put_seconds=1)
    with _within(4), pytest.raises(FarSideUnavailable) as caught:
        drop.put(source, "a.part")
    assert caught.value.facts["detail"] == "no end within 1 s"


def test_put_deadline_is_by_the_clock_port(embedded: EmbeddedSftp, key: Path, source: Path) -> None:
    """The deadline of a put is looked at between writes, by the clock that was given."""
    drop = SftpDrop(access_to(embedded, key, put_seconds=300), JumpingTime(100))
    with pytest.raises(FarSideUnavailable) as caught:
        drop.put(source, "a.part")
    assert caught.value.facts["detail"] == "no end within 300 s"


def test_socket_has_a_user_timeout(embedded: EmbeddedSftp, key: Path) -> None:
    """The kernel gives up on a peer that acknowledges nothing."""
    drop = drop_to(embedded, key, tcp_user_timeout_seconds=7)
    drop.stat("a")
    assert drop._line.connection is not None
    sock = drop._line.connection.transport.sock
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000
    drop.close()


# --- losses --------------------------------------------------------------------------------------


def test_reset_in_a_put(embedded: EmbeddedSftp, key: Path, source: Path) -> None:
    """A reset in the middle is a far side that is down; the next put connects anew."""
    embedded.switches.drop_after_bytes = 300_000
    drop = drop_to(embedded, key)
    with pytest.raises(FarSideUnavailable) as caught:
        drop.put(source, "a.part")
    assert caught.value.in_doubt
    embedded.switches.drop_after_bytes = None
    assert drop.put(source, "a.part") == 1 << 20
    drop.close()
    assert (embedded.folder / "a.part").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("no_posix_rename", [False, True])
def test_answer_to_rename_is_lost(
    embedded: EmbeddedSftp, key: Path, source: Path, *, no_posix_rename: bool
) -> None:
    """A rename whose answer is lost is in doubt, and stat afterwards tells what became of it."""
    embedded.switches.no_posix_rename = no_posix_rename
    drop = drop_to(embedded, key)
    drop.put(source, "a.part")
    embedded.switches.lose_answer_to = "rename" if no_posix_rename else "posix-rename"
    with pytest.raises(FarSideUnavailable) as caught:
        drop.rename("a.part", "a.csv")
    assert caught.value.in_doubt
    assert drop.stat("a.part") is None
    assert drop.stat("a.csv") == 1 << 20
    drop.close()


def test_loss_in_a_question_is_not_in_doubt(sshd: Sshd, key: Path) -> None:
    """A stat that is lost has changed nothing."""
    drop = drop_to(sshd, key, answer_seconds=1)
    drop.stat("a")
    sshd.pause()
    with pytest.raises(FarSideUnavailable) as caught:
        drop.stat("a")
    assert not caught.value.in_doubt


def test_connection_ended_between_two_verbs(embedded: EmbeddedSftp, key: Path) -> None:
    """A connection the server ended while idle is replaced without a word."""
    drop = drop_to(embedded, key)
    assert drop.stat("a") is None
    embedded.__exit__(None, None, None)
    with embedded:
        time.sleep(0.3)
        assert drop.stat("a") is None
        drop.close()


# --- refusals ------------------------------------------------------------------------------------


_FULL = [1_100_000, WINDOW_BYTES // 2, WINDOW_BYTES, 2 * WINDOW_BYTES]


@pytest.mark.parametrize("size_bytes", _FULL)
def test_full_remote_disk(
    sshd: Sshd, embedded: EmbeddedSftp, key: Path, tmp_path: Path, size_bytes: int
) -> None:
    """A disk of 1 MiB that fills up is seen, whatever part of the window the file is."""
    big = tmp_path / "big"
    big.write_bytes(b"x" * size_bytes)
    embedded.switches.byte_limit = 1 << 20
    # Only root can mount a small disk; the embedded server's limit is looked at in any case.
    with contextlib.ExitStack() as stack:
        servers: list[EmbeddedSftp | Sshd] = [embedded]
        if sshd.root:
            stack.enter_context(sshd.small_disk(1 << 20))
            servers.append(sshd)
        for server in servers:
            drop = drop_to(server, key)
            with pytest.raises(FarSideRefused) as caught:
                drop.put(big, "a.part")
            assert caught.value.code == "sftp-write-failed"
            if server is sshd:
                assert caught.value.facts["detail"] == "failure, 0 bytes are free on its disk"
            drop.remove("a.part")
            small = tmp_path / "small"
            small.write_bytes(b"y" * 500_000)
            assert drop.put(small, "a.part") == 500_000
            drop.close()


def test_free_is_the_remote_disk(sshd: Sshd, key: Path) -> None:
    """Free tells what the server's file system has left."""
    drop = drop_to(sshd, key)
    if sshd.root:
        with sshd.small_disk(1 << 20):
            assert drop.free() == 1 << 20
            drop.close()
    else:
        disk = os.statvfs(sshd.folder)
        told = drop.free()
        assert told is not None
        assert abs(told - disk.f_bavail * disk.f_frsize) < 1 << 30
        drop.close()


def test_size_is_another(embedded: EmbeddedSftp, key: Path, source: Path) -> None:
    """A file that is shorter on the server than what was written is a mismatch."""
    embedded.switches.size_error_bytes = -1
    drop = drop_to(embedded, key)
    with pytest.raises(Mismatch) as caught:
        drop.put(source, "a.part")
    assert caught.value.facts == {"remote_bytes": (1 << 20) - 1, "size_bytes": 1 << 20}
    drop.close()


def test_no_such_folder(sshd: Sshd, key: Path, source: Path) -> None:
    """A remote folder that does not exist is a refusal with that word."""
    drop = drop_to(sshd, key, folder=f"{sshd.remote}/missing")
    with pytest.raises(FarSideRefused) as caught:
        drop.put(source, "a.part")
    assert caught.value.facts["detail"] == "there is no such folder"
    drop.close()


def test_no_right_to_write(sshd: Sshd, key: Path, source: Path) -> None:
    """A folder we may not write into is a refusal; the connection can be used on."""
    sshd.folder.chmod(0o555)
    drop = drop_to(sshd, key)
    with pytest.raises(FarSideRefused) as caught:
        drop.put(source, "a.part")
    assert caught.value.code == "sftp-refused"
    assert caught.value.facts["detail"] == "permission denied"
    sshd.folder.chmod(0o755)
    assert drop.put(source, "a.part") == 1 << 20
    drop.close()


def test_no_sftp_offered(key: Path, source: Path) -> None:
    """A server without the sftp subsystem is a refusal, not a far side that is down."""
    with (
        Sshd([_public(key)], subsystem=False) as server,
        pytest.raises(FarSideRefused) as caught,
    ):
        drop_to(server, key).put(source, "a.part")
    assert caught.value.facts["call"] == "subsystem"


def test_plain_rename_is_told(embedded: EmbeddedSftp, key: Path, source: Path) -> None:
    """Whether the fall-back was used can be asked afterwards."""
    drop = drop_to(embedded, key)
    drop.put(source, "a.part")
    drop.rename("a.part", "a.csv")
    assert not drop.plain_rename
    embedded.switches.no_posix_rename = True
    drop.rename("a.csv", "b.csv")
    assert drop.plain_rename
    drop.close()
    assert [record.verb for record in embedded.records][-3:] == [
        "posix-rename",
        "posix-rename",
        "rename",
    ]


def _without(*requests: str) -> list[str]:
    """Options of an sshd that forbids some SFTP requests."""
    command = f"internal-sftp -P {','.join(requests)}"
    return [f"Subsystem sftp {command}", f"ForceCommand {command}"]


def test_posix_rename_is_forbidden(key: Path, source: Path) -> None:
    """A real sshd that forbids posix-rename says "permission denied"; the plain one is used."""
    with Sshd([_public(key)], options=_without("posix-rename"), subsystem=False) as server:
        drop = drop_to(server, key)
        drop.put(source, "a.part")
        drop.rename("a.part", "a.csv")
        assert drop.plain_rename
        drop.close()
        assert [path.name for path in server.folder.iterdir()] == ["a.csv"]


def test_statvfs_is_forbidden(key: Path, source: Path) -> None:
    """A server that forbids statvfs does not tell what is free, and that is no refusal."""
    with Sshd([_public(key)], options=_without("statvfs"), subsystem=False) as server:
        drop = drop_to(server, key)
        assert drop.free() is None
        assert drop.put(source, "a.part") == 1 << 20
        drop.close()


def test_every_rename_is_forbidden(key: Path, source: Path) -> None:
    """A server that forbids both renames is a refusal, and the temporary name stays."""
    options = _without("posix-rename", "rename")
    with Sshd([_public(key)], options=options, subsystem=False) as server:
        drop = drop_to(server, key)
        drop.put(source, "a.part")
        with pytest.raises(FarSideRefused) as caught:
            drop.rename("a.part", "a.csv")
        drop.close()
        assert caught.value.facts["detail"] == "permission denied"
        assert [path.name for path in server.folder.iterdir()] == ["a.part"]


def test_posix_rename_that_is_there_is_not_gone_around(sshd: Sshd, key: Path, source: Path) -> None:
    """Where a server announces posix-rename, its refusal is not tried in another way."""
    drop = drop_to(sshd, key)
    drop.put(source, "a.part")
    sshd.folder.chmod(0o555)
    with pytest.raises(FarSideRefused) as caught:
        drop.rename("a.part", "a.csv")
    sshd.folder.chmod(0o755)
    drop.close()
    assert caught.value.facts["detail"] == "permission denied"
    assert not drop.plain_rename


# --- silence -------------------------------------------------------------------------------------


def test_paramiko_writes_no_line(
    embedded: EmbeddedSftp, key: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Paramiko logs nothing, in success and failure, even where somebody has set it to DEBUG."""
    for name in ("paramiko", "paramiko.transport", "paramiko.transport.sftp"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    make_key(tmp_path / "other")
    with caplog.at_level(logging.DEBUG):
        drop = drop_to(embedded, key)
        drop.stat("a")
        drop.close()
        with pytest.raises(FarSideRefused):
            drop_to(embedded, tmp_path / "other").stat("a")
    assert [record for record in caplog.records if record.name.startswith("paramiko")] == []
    assert logging.getLogger("paramiko").level >= logging.WARNING
