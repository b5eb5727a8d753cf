"""Accesses and keys judged without network."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from etl.sandbox.sftp import make_key
from etl.wire.sftp import SftpAccess, check_access
from etl.wire.ssh_keys import load_client_key

_SECRET = "canary-passphrase"


def _write(path: Path, key: Any, form: PrivateFormat, passphrase: str | None = None) -> Path:
    how = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, form, how))
    path.chmod(0o600)
    return path


def _public(key: Any) -> str:
    line: bytes = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return line.decode()


@pytest.fixture(scope="module")
def host_key() -> str:
    return _public(ed25519.Ed25519PrivateKey.generate())


@pytest.fixture
def access(tmp_path: Path, host_key: str) -> SftpAccess:
    make_key(tmp_path / "key")
    return SftpAccess("sftp.example.org", "r_demo", tmp_path / "key", (host_key,))


def _changed(access: SftpAccess, **changes: Any) -> SftpAccess:
    fields = {name: getattr(access, name) for name in SftpAccess.__slots__}
    return SftpAccess(**(fields | changes))


def test_usable_access(access: SftpAccess) -> None:
    """A right access has no problem."""
    assert check_access(access) == []


def test_made_key_is_private(tmp_path: Path) -> None:
    """A made key can be read by its owner alone and does not overwrite another."""
    make_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        make_key(tmp_path / "key")


def test_all_problems_at_once(tmp_path: Path) -> None:
    """Every field that is wrong is named in one go."""
    access = SftpAccess(
        " ",
        "",
        tmp_path / "missing",
        ("ssh-ed25519 AAAA", "nonsense"),
        port=0,
        folder="",
        connect_seconds=0,
        put_seconds=-1,
    )
    assert [problem.split()[0] for problem in check_access(access)] == [
        "host",
        "port",
        "user",
        "folder",
        "connect_seconds",
        "put_seconds",
        "key_file",
        "host_keys,",
        "host_keys,",
    ]


def test_passphrase_is_in_no_repr(access: SftpAccess) -> None:
    """The passphrase does not show when an access is printed."""
    assert _SECRET not in repr(_changed(access, passphrase=_SECRET))


@pytest.mark.parametrize("form", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8])
@pytest.mark.parametrize("passphrase", [None, _SECRET])
@pytest.mark.parametrize("kind", ["ssh-ed25519", "ssh-rsa"])
def test_forms_of_client_keys(
    tmp_path: Path, access: SftpAccess, form: PrivateFormat, passphrase: str | None, kind: str
) -> None:
    """Ed25519 and RSA 2048 are read in OpenSSH and PEM form, with a passphrase and without."""
    key = (
        ed25519.Ed25519PrivateKey.generate()
        if kind == "ssh-ed25519"
        else rsa.generate_private_key(65537, 2048)
    )
    path = _write(tmp_path / "client", key, form, passphrase)
    loaded = load_client_key(_changed(access, key_file=path, passphrase=passphrase))
    assert f"{loaded.get_name()} {loaded.get_base64()}" == _public(key)
    assert loaded.can_sign()


@pytest.mark.parametrize("form", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8])
@pytest.mark.parametrize("given", [None, "another"])
def test_passphrase_is_wrong(
    tmp_path: Path, access: SftpAccess, form: PrivateFormat, given: str | None
) -> None:
    """A missing or another passphrase is a problem, told without it."""
    path = _write(tmp_path / "client", ed25519.Ed25519PrivateKey.generate(), form, _SECRET)
    (problem,) = check_access(_changed(access, key_file=path, passphrase=given))
    assert problem.startswith(f"key_file {path}")
    assert "passphrase" in problem
    assert "another one" in problem if given else "needs its" in problem


@pytest.mark.parametrize("form", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8])
def test_passphrase_for_a_key_without(
    tmp_path: Path, access: SftpAccess, form: PrivateFormat
) -> None:
    """A passphrase set for a key that has none is a problem, told without it."""
    path = _write(tmp_path / "client", ed25519.Ed25519PrivateKey.generate(), form)
    (problem,) = check_access(_changed(access, key_file=path, passphrase=_SECRET))
    assert "the key has none" in problem
    assert _SECRET not in problem


def test_short_rsa_key(tmp_path: Path, access: SftpAccess) -> None:
    """RSA below 2048 bits is refused."""
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - the one to be refused
    path = _write(tmp_path / "client", key, PrivateFormat.OpenSSH)
    (problem,) = check_access(_changed(access, key_file=path))
    assert "1024 bits" in problem


def test_other_kinds_of_keys(tmp_path: Path, access: SftpAccess) -> None:
    """A key that is neither Ed25519 nor RSA is refused."""
    key = ec.generate_private_key(ec.SECP256R1())
    path = _write(tmp_path / "client", key, PrivateFormat.OpenSSH)
    (problem,) = check_access(_changed(access, key_file=path))
    assert "neither Ed25519 nor RSA" in problem


@pytest.mark.parametrize(
    "content",
    [b"", b"secret-words", b"\xff\xfe\x00", b"-----BEGIN OPENSSH PRIVATE KEY-----\nsecret-words\n"],
)
def test_no_key_at_all(tmp_path: Path, access: SftpAccess, content: bytes) -> None:
    """A file that holds no private key is a problem, told without its content."""
    path = tmp_path / "client"
    path.write_bytes(content)
    path.chmod(0o600)
    (problem,) = check_access(_changed(access, key_file=path))
    assert "no private key" in problem
    assert "secret-words" not in problem


def test_key_open_to_everybody(access: SftpAccess) -> None:
    """A private key that everybody can read is refused; one for a group is not."""
    access.key_file.chmod(0o644)
    (problem,) = check_access(access)
    assert "open to everybody" in problem
    access.key_file.chmod(0o440)
    assert check_access(access) == []


def test_kinds_of_pinned_keys(access: SftpAccess) -> None:
    """Ed25519, ECDSA and RSA host keys can be pinned, a comment may follow."""
    keys = [
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
    ]
    for key in keys:
        assert check_access(_changed(access, host_keys=(f"{_public(key)} a comment",))) == []


@pytest.mark.parametrize("count", [0, 3])
def test_number_of_pinned_keys(access: SftpAccess, host_key: str, count: int) -> None:
    """One key is pinned, or two while it changes; never none and never more."""
    (problem,) = check_access(_changed(access, host_keys=(host_key,) * count))
    assert problem == f"host_keys holds {count} keys, one or two are needed"


def test_damaged_pinned_keys(access: SftpAccess, host_key: str) -> None:
    """A pinned key that is cut off, padded, of another kind or no key is a problem."""
    kind, text = host_key.split()
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - the one to be refused
    damaged = {
        "": "not of the form",
        "ssh-ed25519": "not of the form",
        f"ssh-dss {text}": "not of the form",
        f"sftp.example.org {host_key}": "not of the form",
        f"{kind} {text[:-8]}": "cut off",
        f"{kind} {text}AAAA": "cut off",
        f"{kind} {text}!": "not base64",
        f"{kind} AAAA": "cut off",
        f"ssh-rsa {text}": "not of the kind ssh-rsa",
        _public(weak): "1024 bits",
    }
    for line, words in damaged.items():
        (problem,) = check_access(_changed(access, host_keys=(line,)))
        assert words in problem, line
        assert problem.startswith("host_keys, key 1: ")
