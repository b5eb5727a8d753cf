"""SIGTERM and SIGINT become events: the one place that touches signals."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def told_to_stop(stop: threading.Event, wake: threading.Event) -> Iterator[None]:
    """Set both events on SIGTERM and SIGINT until the end of the block.

    Not in the handler: it runs between any two steps of the main thread, which may hold the very
    lock that setting an event needs. A pipe wakes a thread that may wait for it.
    """
    source, sink = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(sink, False)

    def listen() -> None:
        while os.read(source, 1):
            stop.set()
            wake.set()

    listener = threading.Thread(target=listen, name="signals", daemon=True)
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    before_fd = signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
    listener.start()
    try:
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: None)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        os.close(sink)
        listener.join()
        os.close(source)
