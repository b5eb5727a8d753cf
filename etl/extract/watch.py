"""watchdog wakes the scan; the scan alone decides. Losing every event costs only a little time.

Nothing is read here and no event is believed: inotify sees nothing that another machine writes to
a share, its queue overflows, and an observer can die silently.
"""

import threading
from pathlib import Path
from typing import Literal

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

WatchKind = Literal["native", "polling", "off"]


class _Wake(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        del event  # which file it was does not matter: the scan looks at all of them
        self._wake.set()


class Watch:
    """Sets `wake` when something happens in the inbox; stays silent when it cannot watch."""

    def __init__(self, inbox: Path, kind: WatchKind, wake: threading.Event) -> None:
        self._inbox = inbox
        self._kind = kind
        self._wake = wake
        self._observer: BaseObserver | None = None

    def start(self) -> bool:
        """Begin to watch; False when it is off or the system refuses (too many watches, say)."""
        if self._kind == "off":
            return False
        observer: BaseObserver = Observer() if self._kind == "native" else PollingObserver()
        observer.schedule(_Wake(self._wake), str(self._inbox), recursive=False)
        try:
            observer.start()
        except OSError:
            return False
        self._observer = observer
        return True

    def alive(self) -> bool:
        """Tell whether events may still come: the observer and its emitter both live."""
        observer = self._observer
        return (
            observer is not None
            and observer.is_alive()
            and all(emitter.is_alive() for emitter in observer.emitters)
        )

    def stop(self) -> None:
        """End watching."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(5)
            self._observer = None
