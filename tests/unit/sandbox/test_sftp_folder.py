"""The embedded SFTP server: its jail and its records, seen by paramiko's own client."""

from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from etl.sandbox.sftp import EmbeddedSftp, Operation, make_key


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedSftp]:
    (tmp_path / "served").mkdir()
    with EmbeddedSftp(tmp_path / "served", [make_key(tmp_path / "key")]) as running:
        yield running


@pytest.fixture
def client(server: EmbeddedSftp, tmp_path: Path) -> Iterator[paramiko.SFTPClient]:
    transport = paramiko.Transport((server.host, server.port))
    transport.connect(username=server.user, pkey=paramiko.Ed25519Key(filename=tmp_path / "key"))
    opened = paramiko.SFTPClient.from_transport(transport)
    assert opened is not None
    yield opened
    opened.close()
    transport.close()
    transport.join(5)


def test_nothing_leads_out(server: EmbeddedSftp, client: paramiko.SFTPClient) -> None:
    """Neither dots, nor absolute paths, nor links reach a file outside of the folder."""
    outside = server.folder.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (server.folder / "folder").symlink_to(outside)
    (server.folder / "file").symlink_to(outside / "secret")
    for path in ("../outside/secret", str(outside / "secret"), "folder/secret", "file"):
        with pytest.raises(OSError, match=r"Permission|No such|Failure"):
            client.open(path).read()
    with pytest.raises(OSError, match="Operation unsupported"):
        client.symlink(str(outside), "link")
    with client.open("../../new", "w") as file:
        file.write(b"inside")
    assert (server.folder / "new").read_bytes() == b"inside"


def test_records(server: EmbeddedSftp, client: paramiko.SFTPClient) -> None:
    """What a client does is recorded in order."""
    with client.open("a", "w") as file:
        file.write(b"12345")
    client.posix_rename("a", "b")
    client.remove("b")
    assert server.records == [
        Operation("open", "a"),
        Operation("write", "a", 5),
        Operation("close", "a"),
        Operation("posix-rename", "b"),
        Operation("remove", "b"),
    ]


def test_read_and_list(server: EmbeddedSftp, client: paramiko.SFTPClient) -> None:
    """A person can look at the folder with an ordinary client."""
    (server.folder / "a.csv").write_bytes(b"x" * 100_000)
    assert client.listdir() == ["a.csv"]
    assert client.open("a.csv").read() == b"x" * 100_000


def test_kept_host_key(tmp_path: Path) -> None:
    """With a host key file the server shows the same key at every start."""
    public = make_key(tmp_path / "host")
    assert EmbeddedSftp(tmp_path, [], host_key_file=tmp_path / "host").host_key == public
