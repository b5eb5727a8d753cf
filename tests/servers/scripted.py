"""A server that gives scripted SOAP answers by the name of the operation, and nothing else."""

import re
import socket
from collections import deque
from dataclasses import dataclass, field

from tests.servers.answering import Answering, answered, fault, http, returned

_OPERATION = re.compile(rb"<ns0:(\w+)[ >]")


@dataclass
class Script:
    """Answers per operation, one after the other, the last for ever; None hangs up.

    Log-ins give the session ids 0aaa0000bbbb0001, …0002 and so on, unless scripted.
    """

    answers: dict[str, deque[bytes | None]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    logins: int = 0

    def says(self, operation: str, *replies: bytes | None) -> None:
        """Script the next answers of an operation: whole HTTP answers, or None to hang up."""
        self.answers[operation] = deque(replies)

    def __call__(self, sock: socket.socket, request: bytes) -> None:
        """Answer one request."""
        operation = _OPERATION.search(request)[1].decode()
        self.calls.append(operation)
        reply = self._reply(operation)
        if reply is None:
            raise ConnectionError
        sock.sendall(reply)

    def _reply(self, operation: str) -> bytes | None:
        replies = self.answers.get(operation)
        if replies:
            return replies.popleft() if len(replies) > 1 else replies[0]
        if operation == "login":
            self.logins += 1
            return http(returned("login", f"0aaa0000bbbb{self.logins:04}"))
        return http(answered(operation))


def ok(operation: str, value: object, kind: str = "xsd:int") -> bytes:
    """Return a whole answer with a number or boolean as Axis writes one: by reference."""
    return http(
        answered(
            operation,
            f'<{operation}Return href="#id0"/>',
            f'<multiRef id="id0" xsi:type="{kind}">{value}</multiRef>',
        )
    )


def faulted(words: str) -> bytes:
    """Return a whole answer that is a fault."""
    return http(fault(words), 500)


def playing(script: Script) -> Answering:
    """Return a server that plays the script."""
    return Answering(script)
