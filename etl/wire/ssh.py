"""One SSH connection with an `sftp` channel: pinned host keys, one client key, every step timed.

Knows no file and no SFTP request. Reads no agent, no `~/.ssh`, no known_hosts of system or user.
"""

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator, Sequence

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from etl.errors import FarSideRefused, FarSideUnavailable
from etl.wire.ssh_keys import PinnedKey, SftpAccess, load_client_key, pinned_keys

_CIPHERS = (
    # GCM first: without a separate MAC it costs a sixth less processor time. No CBC, no 3DES.
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
_DIGESTS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
_SIGNATURES = {
    # An RSA host key signs in one of two ways; SHA-1 ("ssh-rsa") is not among them.
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}
_KEEPALIVE_SECONDS = 15


class Connection:
    """A connection. Ended by `close`, or by `cut` when time is up."""

    __slots__ = ("_socket", "overdue", "transport")

    def __init__(self, sock: socket.socket, transport: paramiko.Transport) -> None:
        self._socket = sock
        self.transport = transport
        self.overdue = False

    def alive(self) -> bool:
        """Whether the far side has not gone away, as far as is known without asking it."""
        return self.transport.is_active()

    def cut(self) -> None:
        """End the connection because a deadline has passed; whoever waits on it wakes up."""
        self.overdue = True
        self.close()

    def close(self) -> None:
        """End the connection; may be repeated, never raises."""
        # Shut the socket first: paramiko's writer retries for ever when the peer takes nothing.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self.transport.close()
        self._socket.close()
        if self.transport.is_alive():
            self.transport.join(1.0)


@contextlib.contextmanager
def cut_after(seconds: float, connection: Connection) -> Iterator[None]:
    """Cut the connection when the body takes longer than `seconds`.

    The only deadline that holds everywhere: paramiko waits without limit for the answer to a
    subsystem request, and for a peer that answers but takes no data.
    """
    timer = threading.Timer(seconds, connection.cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def words(error: BaseException) -> str:
    """A loss in our own words; the far side's text is never repeated."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "the name is not known"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "the connection was lost"


def connect(access: SftpAccess) -> tuple[Connection, paramiko.Channel]:
    """Open a connection and on it a channel to the `sftp` subsystem.

    Raises FarSideUnavailable(`sftp-unreachable`), FarSideRefused(`sftp-host-key`, `sftp-login`,
    `sftp-refused`), and ValueError when key file or pinned keys are not usable.
    """
    _silence_paramiko()
    key = load_client_key(access)
    pinned = pinned_keys(access)
    connection = _dial(access, pinned)
    step = "the handshake"
    try:
        with cut_after(access.answer_seconds, connection):
            _shake_hands(connection, access, pinned)
            step = "the login"
            _log_in(connection, access, key)
            step = "the sftp subsystem"
            channel = _open_channel(connection, access)
    except (FarSideRefused, FarSideUnavailable):
        connection.close()
        raise
    except Exception as error:  # noqa: BLE001 - paramiko hands on whatever its thread died of
        overdue = connection.overdue
        connection.close()
        detail = "timed out" if overdue else words(error)
        raise FarSideUnavailable(
            "sftp-unreachable", host=access.host, detail=f"{step}: {detail}"
        ) from None
    except BaseException:
        connection.close()
        raise
    if connection.overdue:
        raise FarSideUnavailable("sftp-unreachable", host=access.host, detail="timed out")
    return connection, channel


def _silence_paramiko() -> None:
    """Keep paramiko's own lines out of the log: they quote the far side and carry tracebacks.

    Every loss is told by our errors. Set anew at each connection, whatever a log set-up did.
    """
    for name in ("paramiko", "paramiko.transport", "paramiko.transport.sftp"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _dial(access: SftpAccess, pinned: Sequence[PinnedKey]) -> Connection:
    """Open the TCP connection and set what may be negotiated on it."""
    try:
        sock = socket.create_connection((access.host, access.port), access.connect_seconds)
    except (OSError, UnicodeError) as error:
        raise FarSideUnavailable(
            "sftp-unreachable", host=access.host, detail=words(error)
        ) from None
    # A peer that acknowledges nothing ends the connection even while paramiko's writer retries.
    user_timeout_ms = int(access.tcp_user_timeout_seconds * 1000)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout_ms)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(sock)
    transport.banner_timeout = access.answer_seconds
    transport.handshake_timeout = access.answer_seconds
    options = transport.get_security_options()
    options.ciphers = _CIPHERS
    options.digests = _DIGESTS
    # Only types that are pinned are offered, so a server with several host keys shows that one.
    offered = [name for key in pinned for name in _SIGNATURES.get(key.kind, (key.kind,))]
    options.key_types = tuple(dict.fromkeys(offered))
    return Connection(sock, transport)


def _shake_hands(connection: Connection, access: SftpAccess, pinned: Sequence[PinnedKey]) -> None:
    """Agree on keys and see that the host key is a pinned one, before our name is told."""
    transport = connection.transport
    try:
        transport.start_client(timeout=access.answer_seconds)
    except IncompatiblePeer as error:
        if "host key" in str(error):
            raise _other_host_key(access, "none of a pinned type") from None
        raise FarSideRefused(
            "sftp-refused", host=access.host, call="handshake", detail="no algorithm in common"
        ) from None
    shown = transport.get_remote_server_key()
    if all(shown.asbytes() != key.blob for key in pinned):
        raise _other_host_key(access, f"{shown.get_name()} {shown.fingerprint}")


def _other_host_key(access: SftpAccess, shown: str) -> FarSideRefused:
    return FarSideRefused("sftp-host-key", host=access.host, shown=shown)


def _log_in(connection: Connection, access: SftpAccess, key: paramiko.PKey) -> None:
    """Log in with the one key."""
    transport = connection.transport
    # With an event of our own a refusal and a silence can be told apart; paramiko alone raises
    # the same AuthenticationException for both.
    answered = threading.Event()
    transport.auth_publickey(access.user, key, answered)
    if not answered.wait(access.answer_seconds):
        raise TimeoutError
    if transport.is_authenticated():
        return
    if not transport.is_active():
        raise ConnectionError
    raise FarSideRefused("sftp-login", host=access.host)


def _open_channel(connection: Connection, access: SftpAccess) -> paramiko.Channel:
    """Open the `sftp` subsystem."""
    transport = connection.transport
    transport.set_keepalive(_KEEPALIVE_SECONDS)
    try:
        channel = transport.open_session(timeout=access.answer_seconds)
        channel.settimeout(access.answer_seconds)
        channel.invoke_subsystem("sftp")
    except paramiko.SSHException:
        if connection.overdue or not transport.is_active():
            raise
        raise FarSideRefused(
            "sftp-refused", host=access.host, call="subsystem", detail="it offers no SFTP"
        ) from None
    return channel
