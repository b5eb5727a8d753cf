"""An SFTP server in threads, for the demo and the tests: one folder, keys only, loopback only.

Shares no code with the client and is not made for a network: it knows no limits of use.
"""

import base64
import contextlib
import io
import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)

from etl.sandbox.sftp_folder import Operation, ServedFolder, Shared, Switches

__all__ = ["EmbeddedSftp", "Operation", "Switches", "make_key"]

KeyKind = Literal["ed25519", "rsa"]

_ACCEPT_SECONDS = 0.1


def make_key(path: Path, kind: KeyKind = "ed25519") -> str:
    """Write a new private key (OpenSSH form, mode 0600, RSA of 2048 bits); its public line."""
    key = Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


class _Login(paramiko.ServerInterface):
    """Lets the one user in by one of the known keys and opens sessions only."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002 - paramiko's signature
        """Keys only."""
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        """Compare user and key."""
        known = username == self._shared.user and key.asbytes() in self._shared.client_keys
        return AUTH_SUCCESSFUL if known else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002 - paramiko's
        """Sessions only."""
        if kind == "session":
            return OPEN_SUCCEEDED
        return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED


class EmbeddedSftp:
    """A server that runs inside `with`, again on the same port and key when entered again.

    `host_key` is the line to pin. Port 0 takes a free one; without `host_key_file` the key is new.
    """

    def __init__(
        self,
        folder: Path,
        client_keys: Sequence[str],
        *,
        user: str = "demo",
        port: int = 0,
        host_key_kind: KeyKind = "ed25519",
        host_key_file: Path | None = None,
        switches: Switches | None = None,
    ) -> None:
        keys = frozenset(base64.b64decode(line.split()[1]) for line in client_keys)
        self.user = user
        self.folder = folder
        self.host = "127.0.0.1"
        self.port = port
        self.switches = switches or Switches()
        self._key = (
            paramiko.PKey.from_path(host_key_file)
            if host_key_file
            else _new_host_key(host_key_kind)
        )
        self.host_key = f"{self._key.get_name()} {self._key.get_base64()}"
        self._shared = Shared(folder, user, keys, self.switches)
        self._transports: list[paramiko.Transport] = []
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def records(self) -> list[Operation]:
        """What clients did so far, oldest first."""
        return list(self._shared.records)

    def __enter__(self) -> Self:
        self._shared.stopped.clear()
        self._listener = socket.create_server((self.host, self.port))
        self._listener.settimeout(_ACCEPT_SECONDS)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(
            target=self._accept, args=(self._listener,), name="embedded-sftp", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._shared.stopped.set()
        if self._thread is not None:
            self._thread.join()
        if self._listener is not None:
            self._listener.close()
        for transport in self._transports:
            transport.close()
            transport.sock.close()
            transport.join(5)

    def _accept(self, listener: socket.socket) -> None:
        while not self._shared.stopped.is_set():
            with contextlib.suppress(TimeoutError):
                self._serve(listener.accept()[0])

    def _serve(self, client: socket.socket) -> None:
        self._transports = [known for known in self._transports if known.is_alive()]
        transport = paramiko.Transport(client)
        transport.add_server_key(self._key)
        transport.set_subsystem_handler(
            "sftp", paramiko.SFTPServer, ServedFolder, self._shared, client
        )
        self._transports.append(transport)
        # The event keeps this call from waiting, so a slow client does not keep others out.
        transport.start_server(event=threading.Event(), server=_Login(self._shared))


def _new_host_key(kind: KeyKind) -> paramiko.PKey:
    if kind == "rsa":
        return paramiko.RSAKey.generate(2048)
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return paramiko.Ed25519Key(file_obj=io.StringIO(text))
