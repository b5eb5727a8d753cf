"""Tells systemd how the service is: the sd_notify protocol, one datagram per message.

It never stops the daemon: without systemd it does nothing, and a message that cannot be sent is
lost. It must not be fed by anything but completed work.
"""

import contextlib
import os
import socket

_MICROSECONDS = 1_000_000


def ready() -> None:
    """Say that the service is up; sent after the first scan."""
    _send("READY=1")


def status(text: str) -> None:
    """Show one line in `systemctl status`: counts and places, never names of people or files."""
    _send("STATUS=" + " ".join(text.split()))


def watchdog() -> None:
    """Say that work goes on; sent after every completed scan."""
    _send("WATCHDOG=1")


def stopping() -> None:
    """Say that the service is on its way down."""
    _send("STOPPING=1")


def watchdog_interval() -> float | None:
    """Seconds within which systemd wants to hear `watchdog`; None when it does not watch us."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        seconds = int(os.environ.get("WATCHDOG_USEC", "0")) / _MICROSECONDS
    except ValueError:
        return None
    return seconds if seconds > 0 else None


def _send(message: str) -> None:
    """Send one message to the socket systemd named; its path is abstract when it begins with @."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    address = "\0" + path[1:] if path[0] == "@" else path
    # A daemon must not wait for its supervisor either: a full queue loses the message.
    with (
        contextlib.suppress(OSError, ValueError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
    ):
        channel.setblocking(False)
        channel.connect(address)
        channel.send(message.encode())
