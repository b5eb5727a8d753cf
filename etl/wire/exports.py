"""The port Responses for a client without the closed-loop interface: from scheduled exports.

Campaign's jobs put CSV files into an SFTP folder; a window chooses them by the time of their last
change. It decides nothing about people, and guesses at no file that is not written as configured.
Source: docs.developers.optimizely.com, scheduled-jobs.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from etl.errors import EtlError, FarSideUnavailable
from etl.ports import PAGE_ROWS, SUPPRESSING, Clock, Responses, Stream, Window
from etl.wire.export_rows import ExportForm, NotRowsError, rows_of
from etl.wire.sftp_reading import RemoteFile, TooLargeError

MOST_FILE_BYTES: Final = 256 * 1024 * 1024
"""A file is read into memory; one that is larger holds more people than any client has."""
MOST_ROWS: Final = 10_000_000
"""A window with more rows than a fetch takes is not kept either."""

_MILLISECOND = timedelta(milliseconds=1)


class ExportFolder(Protocol):
    """Where the files lie."""

    @property
    def host(self) -> str:
        """The server, for errors."""

    def files(self) -> list[RemoteFile]:
        """Every regular file there."""

    def read(self, file: RemoteFile, most_bytes: int) -> bytes:
        """All bytes of a listed file; TooLargeError, FarSideUnavailable(`exports-changed`)."""

    def close(self) -> None:
        """End the connection."""


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """How one client's export files are taken."""

    forms: Mapping[Stream, ExportForm]
    """A stream that is not here is always empty."""
    expected_hours: float = 48
    """A stream that says who must not be mailed has a file at least this young."""
    settle_minutes: float = 5
    """A file is read once its last change is so long ago; before, it may still be written."""
    most_bytes: int = MOST_FILE_BYTES
    """Of one file, as it lies there and unpacked."""
    most_rows: int = MOST_ROWS
    """Of all files of a window."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """The rows of the window that is being read page by page."""

    stream: Stream
    window: Window
    rows: Sequence[list[str | None]]


class ExportedResponses:
    """Responses: the same streams as the closed loop's, from files. Not for two threads."""

    def __init__(
        self, plan: ExportPlan, folder: ExportFolder, campaign: Responses, clock: Clock
    ) -> None:
        """`campaign` gives the blocklist, which is no part of the closed loop."""
        self._plan = plan
        self._folder = folder
        self._campaign = campaign
        self._clock = clock
        self._kept: _Kept | None = None

    def now(self) -> int:
        """Our own clock less the time a file needs to settle, milliseconds since the epoch.

        So a window ends where everything is settled, and a younger file falls into the next.
        """
        wall = self._clock.wall() - timedelta(minutes=self._plan.settle_minutes)
        return (wall - datetime.fromtimestamp(0, UTC)) // _MILLISECOND

    def page(self, stream: Stream, window: Window, start_row: int) -> list[list[str | None]]:
        """Rows of a window from `start_row` on; its files are read with the first page.

        Raises FarSideUnavailable (`exports-missing`: the job seems to have died; `exports-changed`)
        and EtlError (`page-layout`) for a file that is not written as configured.
        """
        kept = self._kept
        if kept is None or start_row == 0 or (kept.stream, kept.window) != (stream, window):
            self._kept = None
            kept = self._kept = _Kept(stream, window, self._rows(stream, window))
        page = list(kept.rows[start_row : start_row + PAGE_ROWS])
        if len(page) < PAGE_ROWS:
            self._kept = None
        return page

    def blocklist(self) -> list[str]:
        """Every blocklist entry as written there, from Campaign itself."""
        return self._campaign.blocklist()

    def close(self) -> None:
        """End both connections; the next verb opens what it needs."""
        self._kept = None
        try:
            self._folder.close()
        finally:
            self._campaign.close()

    def _rows(self, stream: Stream, window: Window) -> list[list[str | None]]:
        """Every row of the window's files, oldest file first."""
        form = self._plan.forms.get(stream)
        if form is None:
            return []
        settled_ms = self.now()
        files = [
            file
            for file in self._folder.files()
            if re.fullmatch(form.pattern, file.name) and file.modified_ms < settled_ms
        ]
        if stream in SUPPRESSING:
            self._check_alive(stream, files, settled_ms)
        due = [file for file in files if window.since_ms <= file.modified_ms < window.until_ms]
        due.sort(key=lambda file: (file.modified_ms, file.name))
        if form.content == "full":
            # The newest repeats, or takes back, what those before it hold.
            due = due[-1:]
        rows: list[list[str | None]] = []
        for file in due:
            rows += self._rows_of(stream, form, file)
            if len(rows) > self._plan.most_rows:
                detail = f"the files of one window hold more than {self._plan.most_rows} rows"
                raise EtlError("page-layout", call=stream.value, detail=detail)
        return rows

    def _check_alive(self, stream: Stream, files: Sequence[RemoteFile], settled_ms: int) -> None:
        """See that the export job lives: silence is not the same as nobody having said no."""
        newest_ms = max((file.modified_ms for file in files), default=None)
        if newest_ms is not None:
            settle = timedelta(minutes=self._plan.settle_minutes)
            age = settle + (settled_ms - newest_ms) * _MILLISECOND
            if age <= timedelta(hours=self._plan.expected_hours):
                return
        detail = "there is none at all"
        if newest_ms is not None:
            moment = datetime.fromtimestamp(newest_ms / 1000, UTC)
            detail = f"the newest is of {moment:%Y-%m-%d %H:%M} UTC"
        raise FarSideUnavailable(
            "exports-missing",
            call=stream.value,
            host=self._folder.host,
            hours=f"{self._plan.expected_hours:g}",
            detail=detail,
        )

    def _rows_of(
        self, stream: Stream, form: ExportForm, file: RemoteFile
    ) -> list[list[str | None]]:
        most_bytes = self._plan.most_bytes
        try:
            return rows_of(self._folder.read(file, most_bytes), form, most_bytes)
        except TooLargeError:
            detail = f"the file {file.name!r} holds more than {most_bytes} bytes"
        except NotRowsError as error:
            detail = f"the file {file.name!r} {error}"
        raise EtlError("page-layout", call=stream.value, detail=detail)
