"""Export files in place of the closed loop: the simulator's jobs, and a real sshd to read from."""

import contextlib
import itertools
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from etl.ports import Responses, Stream
from etl.sandbox.control import Control
from etl.sandbox.sftp import make_key
from etl.wire.export_rows import ExportForm
from etl.wire.exports import ExportedResponses, ExportPlan
from etl.wire.sftp_reading import SftpFolder
from tests.servers.access import RealTime, access_to
from tests.servers.fault_proxy import Cut, TcpProxy
from tests.servers.sshd import Sshd

FORMS = {stream: ExportForm(rf"{stream}_\d+\.csv(\.gz)?") for stream in Stream}


class CampaignTime(RealTime):
    """The Clock port by the simulator's own clock, which tests put forward."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def wall(self) -> datetime:
        """Now, in UTC."""
        return datetime.fromtimestamp(self._control.now_ms() / 1000, UTC)


class ExportDesk:
    """A server with a folder of exports, and the jobs that write into it; runs inside `with`."""

    def __init__(self, control: Control, mandator: int, root: Path, *, gzip: bool = False) -> None:
        self.control, self.mandator, self.gzip = control, mandator, gzip
        self.key = root / "export-key"
        self.public_key = make_key(self.key)
        self.plan = ExportPlan(FORMS)
        self.clock = CampaignTime(control)
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        self.server = self._stack.enter_context(Sshd([self.public_key]))
        self._proxy = self._stack.enter_context(TcpProxy(self.server.host, self.server.port))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def files(self) -> Path:
        """The folder with the exports, as it is here."""
        return self.server.folder

    def responses(self, campaign: Responses) -> ExportedResponses:
        """The adapter; a later one begins anew."""
        access = access_to(self.server, self.key, port=self._proxy.port)
        return ExportedResponses(self.plan, SftpFolder(access, self.clock), campaign, self.clock)

    def run_jobs(self, *streams: Stream, settled: bool = True, **form: object) -> list[Path]:
        """Let the jobs (of these streams, else of all) write what is new; the files they wrote."""
        written = []
        for stream in streams or tuple(Stream):
            name = f"{stream}_{next(self._numbers)}.csv" + (".gz" if self.gzip else "")
            folder = str(self.files)
            self.control.write_export(
                self.mandator, stream, folder, name, **{"gzip": self.gzip, **form}
            )
            written.append(self.files / name)
        if settled:
            self.settle()
        return written

    def settle(self) -> None:
        """Let so much time pass that what lies there is read."""
        self.control.advance(self.plan.settle_minutes * 60 + 1)

    def put(self, name: str, data: bytes, *, hours_ago: float = 0.0) -> None:
        """Put a file there that no job wrote, last changed some time ago."""
        (self.files / name).write_bytes(data)
        seconds = self.control.now_ms() / 1000 - hours_ago * 3600
        os.utime(self.files / name, (seconds, seconds))

    def lose_answer(self) -> None:
        """Let the next request reach the server, and its answer nobody."""
        self._proxy.plan(Cut("lose-answer", "up", 0))
