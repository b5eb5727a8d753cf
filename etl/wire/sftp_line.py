"""The line to one remote SFTP folder: opened at first need, anew after a loss, every talk timed.

Knows no verb: what is asked on it is the business of whoever talks.
"""

import contextlib
from collections.abc import Iterator
from typing import Final

from etl.errors import FarSideRefused, FarSideUnavailable
from etl.wire.sftp_requests import ConnectionLostError, Requests
from etl.wire.ssh import Connection, connect, cut_after
from etl.wire.ssh_keys import SftpAccess

_LONGEST_NAME_BYTES: Final = 255


class SftpLine:
    """One connection at a time to one folder. Not for two threads."""

    __slots__ = ("_requests", "access", "connection")

    def __init__(self, access: SftpAccess) -> None:
        self.access = access
        self.connection: Connection | None = None
        self._requests: Requests | None = None

    def close(self) -> None:
        """End the connection; the next talk opens a new one."""
        connection, self.connection, self._requests = self.connection, None, None
        if connection is not None:
            connection.close()

    @contextlib.contextmanager
    def talk(self, seconds: float, *, changes: bool = True) -> Iterator[Requests]:
        """Talk to the server for at most `seconds`; a loss closes the connection and is told.

        `changes` says that a lost answer leaves in doubt whether the verb had its effect.
        """
        connection, requests = self._connected()
        try:
            with cut_after(seconds, connection):
                yield requests
        except ConnectionLostError as error:
            overdue = connection.overdue
            self.close()
            detail = f"no end within {seconds:g} s" if overdue else str(error)
            raise FarSideUnavailable(
                "sftp-unreachable", in_doubt=changes, host=self.access.host, detail=detail
            ) from None

    def refusal(self, call: str, detail: str) -> FarSideRefused:
        """What the server's no to a request is to everybody else."""
        return FarSideRefused("sftp-refused", host=self.access.host, call=call, detail=detail)

    def path(self, name: str) -> str:
        """The remote path of a plain name; ValueError for anything else."""
        too_long = len(name.encode()) > _LONGEST_NAME_BYTES
        if name in ("", ".", "..") or "/" in name or "\0" in name or too_long:
            raise ValueError("a name on the SFTP server is a plain file name")
        return f"{self.access.folder.rstrip('/')}/{name}"

    def _connected(self) -> tuple[Connection, Requests]:
        """The open connection, or a new one."""
        if self.connection is not None and self._requests is not None:
            if self.connection.alive() and self._requests.alive():
                return self.connection, self._requests
            self.close()
        try:
            connection, channel = connect(self.access)
        except ValueError:
            # The key was sound at the start: its file has been changed since.
            raise FarSideRefused("sftp-login") from None
        try:
            with cut_after(self.access.answer_seconds, connection):
                requests = Requests(channel)
        except ConnectionLostError as error:
            detail = "timed out" if connection.overdue else str(error)
            connection.close()
            raise FarSideUnavailable(
                "sftp-unreachable", host=self.access.host, detail=detail
            ) from None
        except BaseException:
            connection.close()
            raise
        self.connection, self._requests = connection, requests
        return connection, requests
