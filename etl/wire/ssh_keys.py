"""What is needed to reach the SFTP server, and the keys in it read and judged.

Opens no connection. No text of an error made here holds key material or a passphrase.
"""

import base64
import binascii
import io
import struct
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

_HOST_KEY_KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
_RSA_BITS = 2048
_MOST_HOST_KEYS = 2
_HIGHEST_PORT = 65_535
_OPEN_TO_EVERYBODY = 0o007


@dataclass(frozen=True, slots=True)
class SftpAccess:
    """Where the files go and who we are there; all times in seconds."""

    host: str
    user: str
    key_file: Path
    """Our private key, Ed25519 or RSA of at least 2048 bits, OpenSSH or PEM form."""
    host_keys: tuple[str, ...]
    """The server's one key, or two while it changes: `ssh-ed25519 AAAA…`."""
    port: int = 22
    passphrase: str | None = field(default=None, repr=False)
    folder: str = "."
    """The remote folder, relative to the login folder or absolute."""
    connect_seconds: float = 5
    """For the TCP connection alone."""
    answer_seconds: float = 30
    """For handshake and login together, and for every single answer after."""
    put_seconds: float = 3600
    """For one whole upload."""
    tcp_user_timeout_seconds: float = 30
    """How long sent bytes may stay unacknowledged by the peer's TCP."""


@dataclass(frozen=True, slots=True)
class PinnedKey:
    """A host key we accept: its kind and its wire form."""

    kind: str
    blob: bytes


def check_access(access: SftpAccess) -> list[str]:
    """Everything wrong with an access, all at once, without network; empty when it is usable."""
    problems = _plain_problems(access)
    try:
        load_client_key(access)
    except ValueError as error:
        problems.append(str(error))
    if not 1 <= len(access.host_keys) <= _MOST_HOST_KEYS:
        problems.append(f"host_keys holds {len(access.host_keys)} keys, one or two are needed")
    for place, line in enumerate(access.host_keys, start=1):
        try:
            _pinned_key(line)
        except ValueError as error:
            problems.append(f"host_keys, key {place}: {error}")
    return problems


def _plain_problems(access: SftpAccess) -> list[str]:
    """What is wrong outside the keys."""
    problems = []
    if not access.host.strip():
        problems.append("host is empty")
    if not 1 <= access.port <= _HIGHEST_PORT:
        problems.append(f"port {access.port} is not between 1 and {_HIGHEST_PORT}")
    if not access.user.strip():
        problems.append("user is empty")
    if not access.folder or "\0" in access.folder:
        problems.append("folder is empty or holds a NUL; write . for the login folder")
    times = ("connect_seconds", "answer_seconds", "put_seconds", "tcp_user_timeout_seconds")
    problems.extend(f"{name} is not above 0" for name in times if not getattr(access, name) > 0)
    return problems


def load_client_key(access: SftpAccess) -> paramiko.PKey:
    """Our private key, ready for paramiko; ValueError says what is wrong with it."""
    try:
        data = access.key_file.read_bytes()
        mode = access.key_file.stat().st_mode
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise ValueError(f"key_file {access.key_file}: {reason}") from None
    if mode & _OPEN_TO_EVERYBODY:
        raise ValueError(f"key_file {access.key_file}: open to everybody; chmod it to 600")
    secret = access.passphrase.encode() if access.passphrase else None
    load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in data else load_pem_private_key
    try:
        key = load(data, secret)
    except TypeError:
        wanted = "a passphrase is set, the key has none" if secret else "it needs its passphrase"
        raise ValueError(f"key_file {access.key_file}: {wanted}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(
            f"key_file {access.key_file}: no private key, or the passphrase is another one"
        ) from None
    if isinstance(key, RSAPrivateKey):
        if key.key_size < _RSA_BITS:
            raise ValueError(
                f"key_file {access.key_file}: RSA of {key.key_size} bits, {_RSA_BITS} are needed"
            )
        return paramiko.RSAKey(key=key)
    if isinstance(key, Ed25519PrivateKey):
        plain = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        return paramiko.Ed25519Key(file_obj=io.StringIO(plain.decode()))
    raise ValueError(f"key_file {access.key_file}: neither Ed25519 nor RSA")


def pinned_keys(access: SftpAccess) -> tuple[PinnedKey, ...]:
    """The pinned host keys, read; ValueError when there is none or one cannot be read."""
    if not access.host_keys:
        raise ValueError("no host key is pinned")
    return tuple(_pinned_key(line) for line in access.host_keys)


def _pinned_key(line: str) -> PinnedKey:
    """Read one key in the form of an OpenSSH public key file."""
    parts = line.split()
    if len(parts) < 2 or parts[0] not in _HOST_KEY_KINDS:  # noqa: PLR2004 - kind and key
        raise ValueError(f"not of the form `KIND KEY` with one of {', '.join(_HOST_KEY_KINDS)}")
    kind, text = parts[:2]
    try:
        blob = base64.b64decode(text, validate=True)
        named = blob[4 : 4 + struct.unpack(">I", blob[:4])[0]]
        if named != kind.encode():
            raise ValueError(f"the key is not of the kind {kind} that stands before it")
        key = paramiko.PKey.from_type_string(kind, blob)
        whole = key.asbytes() == blob
    except binascii.Error:
        raise ValueError("the key is not base64") from None
    except (struct.error, paramiko.SSHException, IndexError, UnsupportedAlgorithm):
        raise ValueError("the key is cut off or damaged") from None
    if not whole:
        raise ValueError("the key is cut off or damaged")
    if kind == "ssh-rsa" and key.get_bits() < _RSA_BITS:
        raise ValueError(f"RSA of {key.get_bits()} bits, at least {_RSA_BITS} are needed")
    return PinnedKey(kind, blob)
