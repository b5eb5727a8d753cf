"""Stock zeep, which knows nothing of us, works with the simulator from its served WSDLs."""

import pytest
import requests
import zeep
from zeep.exceptions import Fault
from zeep.transports import Transport

from tests.unit.sandbox.caller import golden

RECIPIENT = "urn:api.broadmail.de/soap11/RpcRecipient"


class OfflineTransport(Transport):
    def load(self, url):
        """Give the encoding schema from our files, all else from the simulator."""
        if url == "http://schemas.xmlsoap.org/soap/encoding/":
            return golden("soap-encoding-stub.xsd")
        return super().load(url)


@pytest.fixture
def clients(sim):
    session = requests.Session()
    session.trust_env = False
    transport = OfflineTransport(session=session, timeout=10)
    yield lambda name: zeep.Client(f"{sim.url}/{name}?wsdl", transport=transport)
    session.close()


def test_zeep_logs_in_adds_and_counts(clients, control):
    """login, addAll3Flat, getCount and getAttributeNames give zeep what they should."""
    session = clients("RpcSession").service.login(7, "api", "secret")["_value_1"]
    recipients = clients("RpcRecipient")
    texts = recipients.get_type(f"{{{RECIPIENT}}}ArrayOf_xsd_string")
    ids = texts(["ann@example.org", "bob@example.org", "unfit"])
    flat = texts(["Ann", "1", "Bób", "2", "Cy", "3"])
    codes = recipients.service.addAll3Flat(
        session, 100, 0, ids, ids, texts(["firstname", "age"]), flat
    )
    assert codes == [0, 0, 1]
    assert recipients.service.getCount(session, 100, 0) == 2
    names = clients("RpcRecipientList").service.getAttributeNames(session, 100, "de")
    assert [name["_value_1"] for name in names][-4:] == [
        "Erstellt am",
        "Geändert am",
        "Opt-in-Quelle",
        "Opt-in-Datum",
    ]
    assert control.list_content(100)[1]["attributes"] == {"firstname": "Bób", "age": "2"}


def test_zeep_sees_a_fault(clients):
    """A refusal reaches zeep as a fault with Axis's code."""
    with pytest.raises(Fault) as caught:
        clients("RpcSession").service.login(7, "api", "wrong")
    assert caught.value.code == "soapenv:Server.userException"
    assert caught.value.message.endswith("Invalid credentials.")
