"""A SOAP caller made for these tests alone: builds envelopes by hand, resolves multiRef answers."""

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from lxml import etree

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
PASSWORD = "secret"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"


class SoapFault(Exception):  # noqa: N818 - SOAP's own word for it
    """The server refused; code and words as they came."""

    def __init__(self, code, words):
        super().__init__(words)
        self.code = code
        self.words = words


def golden(name):
    return (GOLDEN / name).read_bytes()


def _argument(tag, value):
    if value is None:
        return f'<{tag} xmlns:xsi="{_XSI}" xsi:nil="true"/>'
    if isinstance(value, list | tuple):
        return f"<{tag}>{''.join(_argument('item', item) for item in value)}</{tag}>"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"<{tag}>{escape(text)}</{tag}>"


def envelope(service, method, *values, **named):
    inner = "".join(_argument(f"in{n}", value) for n, value in enumerate(values))
    inner += "".join(_argument(name, value) for name, value in named.items())
    return (
        f'<s:Envelope xmlns:s="{_SOAP}"><s:Body>'
        f'<m:{method} xmlns:m="urn:api.broadmail.de/soap11/{service}">{inner}</m:{method}>'
        "</s:Body></s:Envelope>"
    ).encode()


def understood(body):
    """The value in an answer's envelope; raises SoapFault."""
    root = etree.fromstring(body)
    fault = root.find(f".//{{{_SOAP}}}Fault")
    if fault is not None:
        raise SoapFault(fault.findtext("faultcode"), fault.findtext("faultstring"))
    references = {f"#{e.get('id')}": e for e in root.iter("multiRef")}
    response = root.find(f"{{{_SOAP}}}Body")[0]
    return _value(response[0], references) if len(response) else None


def _value(element, references):
    element = references.get(element.get("href"), element)
    kind = element.get(f"{{{_XSI}}}type", "")
    if element.get(f"{{{_XSI}}}nil") == "true":
        return None
    if kind == "soapenc:Array":
        return [_value(child, references) for child in element]
    if kind in {"xsd:int", "xsd:long"}:
        return int(element.text)
    if kind == "xsd:boolean":
        return {"true": True, "false": False}[element.text]
    return element.text or ""


class Caller:
    """One logged-in user of a simulator."""

    def __init__(self, sim, source="127.0.0.1"):
        self.sim = sim
        self.source = source
        self.session = None

    def connect(self):
        """A new connection, trusting the simulator's authority alone."""
        parts = urlsplit(self.sim.url)
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=str(self.sim.ca_file))
            return http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=10, context=context
            )
        return http.client.HTTPConnection(
            parts.hostname, parts.port, timeout=10, source_address=(self.source, 0)
        )

    def post(self, service, body):
        """Status and body of the answer to some bytes."""
        connection = self.connect()
        try:
            connection.request("POST", f"/soap11/{service}", body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def bare(self, service, method, *values, **named):
        """Call without putting the session first."""
        return understood(self.post(service, envelope(service, method, *values, **named))[1])

    def login(self, mandator=7, user="api", password=PASSWORD):
        """Open a session and keep it."""
        self.session = self.bare("RpcSession", "login", mandator, user, password)
        return self

    def __call__(self, name, *values):
        """Call `Service.method` with the session and these values."""
        service, method = name.split(".")
        return self.bare(service, method, self.session, *values)

    def add(self, ids, values=None, names=(), list_id=100, process=0, addresses=None):
        """Call addAll3; addresses are the ids unless given."""
        rows = values or [[] for _ in ids]
        return self(
            "RpcRecipient.addAll3", list_id, process, ids, addresses or ids, list(names), rows
        )

    def count(self, list_id=100):
        """Call getCount."""
        return self("RpcRecipient.getCount", list_id, 0)
