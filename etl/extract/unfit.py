"""Pages of response data that do not fit their layout, kept as they came until one does.

They hold people, so they lie in the state folder, private, one a stream at most.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from etl.durable import fsync_folder, make_folder, write_file
from etl.ports import Stream, Window

VERSION = 1
PRIVATE = 0o700


@dataclass(frozen=True, slots=True)
class UnfitPages:
    """The folder of one state directory; `client` tells whose pages."""

    folder: Path
    client: str

    def path(self, stream: Stream) -> Path:
        """Where a stream's page is kept."""
        return self.folder / f"{self.client}-{stream.value}.json"

    def keep(
        self,
        stream: Stream,
        window: Window,
        start_row: int,
        rows: Sequence[Sequence[str | None]],
        why: str,
    ) -> None:
        """Keep a page: rows as Campaign gave them, from where, and what does not fit."""
        page = {
            "version": VERSION,
            "client": self.client,
            "method": stream.value,
            "since_ms": window.since_ms,
            "until_ms": window.until_ms,
            "start_row": start_row,
            "why": why,
            "rows": rows,
        }
        make_folder(self.folder, PRIVATE)
        content = json.dumps(page, ensure_ascii=False, indent=1).encode()
        write_file(self.path(stream), content, 0o600)

    def kept(self) -> list[str]:
        """Names of the client's kept pages."""
        names = {self.path(stream).name for stream in Stream}
        return sorted(name for name in names if (self.folder / name).exists())

    def forget(self, stream: Stream) -> None:
        """Forget a stream's page, for its window fits now."""
        path = self.path(stream)
        if path.exists():
            path.unlink()
            fsync_folder(self.folder)
