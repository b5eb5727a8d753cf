"""The pinned WSDLs in zeep's hands: nothing loaded from elsewhere, nothing of zeep let out."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from etl.wire import soap
from etl.wire.soap import PINNED, WSDL_FOLDER, Soap, pinned, quiet_loggers
from etl.wire.transport import Limits, Post, Reply
from tests.servers.answering import fault

LIMITS = Limits(1, 1, 1)


def post() -> Post:
    return Post("https://campaign.invalid/soap11/", None, LIMITS)


def test_every_shipped_file_is_pinned() -> None:
    """The folder holds exactly the files whose hashes are known, each as it was pinned."""
    assert {path.name for path in WSDL_FOLDER.iterdir()} == set(PINNED)
    for name in PINNED:
        assert pinned(name)


@pytest.mark.parametrize("name", ["RpcRecipient.wsdl", "RpcSession.wsdl", "soap-encoding-stub.xsd"])
def test_a_tampered_file_is_refused(tmp_path: Path, name: str) -> None:
    """One changed byte in a WSDL or in the encoding schema, or none: nothing is built on it."""
    folder = tmp_path / "wsdl"
    shutil.copytree(WSDL_FOLDER, folder)
    assert Soap(post(), folder=folder)
    path = folder / name
    path.write_bytes(path.read_bytes().replace(b"xs", b"xS", 1))
    with pytest.raises(ValueError, match=name):
        Soap(post(), folder=folder)
    path.unlink()
    with pytest.raises(ValueError, match=name):
        Soap(post(), folder=folder)


@pytest.mark.parametrize(
    "url",
    ["http://lang.java", "http://127.0.0.1/x.xsd", "/etc/hostname", "file:///etc/hostname", ""],
)
def test_nothing_but_the_encoding_schema_is_loaded(url: str) -> None:
    """Whatever else a WSDL asks for, over the network or from the disk, is refused."""
    files = soap._ShippedFiles(WSDL_FOLDER)
    assert files.load(soap.ENCODING_SCHEMA) == pinned("soap-encoding-stub.xsd")
    with pytest.raises(ValueError, match="not shipped"):
        files.load(url)


NO_NETWORK = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        raise SystemExit(f"{event} {arguments}")
sys.addaudithook(refuse)
from etl.wire.session import CampaignAccess, CampaignSession
from tests.twins.clock import TwinClock
access = CampaignAccess(1, "api", "secret", "https://campaign.invalid/soap11/")
print(CampaignSession(access, TwinClock()))
"""


def test_loading_uses_no_network() -> None:
    """Building a session touches no socket: no look-up, no connection."""
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "campaign.invalid" in done.stdout
    assert "secret" not in done.stdout


def test_loud_loggers_are_kept_quiet() -> None:
    """With the root logger and theirs at DEBUG, zeep and its transport still say no envelope."""
    names = ("zeep", "zeep.transports", "urllib3", "urllib3.connectionpool", "requests")
    before = {name: logging.getLogger(name).level for name in ("", *names)}
    try:
        for name in before:
            logging.getLogger(name).setLevel(logging.DEBUG)
        quiet_loggers()
        levels = {name: logging.getLogger(name).getEffectiveLevel() for name in names}
        assert set(levels.values()) == {logging.WARNING}
        logging.getLogger("zeep").setLevel(logging.ERROR)
        quiet_loggers()
        assert logging.getLogger("zeep").level == logging.ERROR
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def test_zeep_reads_strictly() -> None:
    """No document types, entities, references elsewhere or huge trees while faults are read."""
    for service in Soap(post())._services.values():
        settings = service._client.settings
        assert (settings.strict, settings.xml_huge_tree) == (True, False)
        assert settings.forbid_dtd
        assert settings.forbid_entities
        assert settings.forbid_external


def test_a_fault_with_a_document_type_is_no_fault() -> None:
    """A document type in a fault makes it unreadable, whatever it declares."""
    service = Soap(post())._services["Session"]
    plain = fault("Error")
    declared = plain.replace(b"?><", b'?><!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><', 1)
    assert service.fault("login", Reply(500, plain)) == "Error"
    assert service.fault("login", Reply(500, declared)) is None
