"""Puts the simulated Campaign together: world, calls, HTTP or HTTPS, control interface."""

from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from etl.sandbox import control_server
from etl.sandbox.authority import open_authority
from etl.sandbox.call_log import CallLog
from etl.sandbox.control import Control
from etl.sandbox.exchange import CARRIED_OUT, Exchange
from etl.sandbox.http_wire import Request, Response
from etl.sandbox.limits import Limits
from etl.sandbox.listener import Listener
from etl.sandbox.operations import wsdl
from etl.sandbox.schedule import Schedule
from etl.sandbox.state import World
from etl.sandbox.switches import Switches, default_switches
from etl.sandbox.verbs import Verbs

_PATH = "/soap11/"
_PLAIN = "text/plain;charset=utf-8"


class Campaign:
    """A Campaign of one's own on two loopback ports; a context manager, or start and stop."""

    def __init__(
        self,
        *,
        port: int = 0,
        control_port: int = 0,
        tls: Path | None = None,
        call_log: Path | None = None,
        bodies: bool = False,
        switches: Switches | None = None,
    ) -> None:
        """Bind the ports (0: free ones). `tls` is the folder of a test authority, made if absent.

        `call_log` is a file for the calls as JSON lines; `bodies` keeps the requests' text in the
        log, people's addresses and session ids included.
        """
        self.ca_file: Path | None = None
        context = None
        if tls is not None:
            authority = open_authority(tls)
            self.ca_file, context = authority.ca_file, authority.server_context()
        self._world = World(switches or default_switches())
        self._log, self._schedule, self._limits = CallLog(call_log), Schedule(), Limits()
        verbs = Verbs(self._world, self._log, self._schedule)
        self._exchange = Exchange(
            self._world, self._log, self._schedule, self._limits, verbs.run, bodies
        )
        self._listener = Listener(
            self._answer,
            port=port,
            tls=context,
            idle_seconds=lambda: self._world.switches.keep_alive_seconds,
            phrase=lambda: self._world.switches.reason_phrase,
            closed=self._limits.closed,
        )
        self._control_listener = Listener(
            lambda request: control_server.answer(verbs, request), port=control_port
        )
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listener.port}{_PATH.rstrip('/')}"
        self.control_url = f"http://127.0.0.1:{self._control_listener.port}"
        self.control = Control(self.control_url)

    def start(self) -> None:
        """Begin to answer."""
        self._log.open()
        self._listener.start()
        self._control_listener.start()

    def stop(self) -> None:
        """Let held calls go, close both ports and the call log."""
        self._schedule.stop()
        self._listener.stop()
        self._control_listener.stop()
        self._log.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _answer(self, request: Request) -> Response:
        """Answer a SOAP call or give out a service description."""
        target = urlsplit(request.target)
        service = target.path.removeprefix(_PATH)
        if not target.path.startswith(_PATH) or service not in CARRIED_OUT:
            return Response(404, b"", _PLAIN)
        if request.verb == "POST":
            return self._exchange.answer(service, request)
        if request.verb == "GET" and target.query.lower() == "wsdl":
            return Response(200, wsdl(service, f"{self.url}/{service}"))
        return Response(400, b"Send a SOAP call by POST, or ask for ?wsdl", _PLAIN)
