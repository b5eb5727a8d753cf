"""The twin of FileDrop: a remote folder in memory, with faults on order."""

from collections import defaultdict, deque
from pathlib import Path

from etl.errors import FarSideRefused, Mismatch


class TwinDrop:
    """FileDrop without network.

    `files` is the remote folder, `calls` every verb with its names in order (failed ones too).
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.calls: list[tuple[str, ...]] = []
        self.free_bytes: int | None = None
        self.posix_rename = True
        """False: rename fails when the final name exists, as with a server that lacks it."""
        self.size_error_bytes = 0
        """Added to every size that is told."""
        self._faults: defaultdict[str, deque[tuple[Exception, bool]]] = defaultdict(deque)

    def fail_next(self, verb: str, error: Exception, *, after_effect: bool = False) -> None:
        """Let the next call of `verb` raise `error`, before or after it had its effect.

        Several orders for one verb are used up one by one, oldest first.
        """
        self._faults[verb].append((error, after_effect))

    def put(self, source: Path, name: str) -> int:
        """Keep the bytes of `source` under `name`."""
        _plain(name)
        fault = self._begin("put", name)
        data = source.read_bytes()
        self.files[name] = data
        self._end(fault)
        told = len(data) + self.size_error_bytes
        if told != len(data):
            raise Mismatch("upload-size", remote_bytes=told, size_bytes=len(data))
        return told

    def rename(self, temporary: str, final: str) -> None:
        """Move one name to another."""
        _plain(temporary)
        _plain(final)
        fault = self._begin("rename", temporary, final)
        if temporary not in self.files:
            raise _refused("rename", "no such file")
        if final in self.files and not self.posix_rename:
            raise _refused("rename", "failure")
        self.files[final] = self.files.pop(temporary)
        self._end(fault)

    def stat(self, name: str) -> int | None:
        """Size of `name`, None when it is not there."""
        _plain(name)
        self._end(self._begin("stat", name))
        data = self.files.get(name)
        return None if data is None else len(data) + self.size_error_bytes

    def remove(self, name: str) -> None:
        """Forget `name`."""
        _plain(name)
        fault = self._begin("remove", name)
        self.files.pop(name, None)
        self._end(fault)

    def free(self) -> int | None:
        """Whatever `free_bytes` says."""
        self._end(self._begin("free"))
        return self.free_bytes

    def close(self) -> None:
        """Nothing to end; recorded all the same."""
        self._end(self._begin("close"))

    def _begin(self, verb: str, *names: str) -> Exception | None:
        """Record the call; raise a fault that strikes before the effect, return a later one."""
        self.calls.append((verb, *names))
        if not self._faults[verb]:
            return None
        error, after_effect = self._faults[verb].popleft()
        if not after_effect:
            raise error
        return error

    def _end(self, fault: Exception | None) -> None:
        if fault is not None:
            raise fault


def _plain(name: str) -> None:
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(name.encode()) > 255:
        raise ValueError("a name on the SFTP server is a plain file name")


def _refused(call: str, detail: str) -> FarSideRefused:
    return FarSideRefused("sftp-refused", host="twin", call=call, detail=detail)
