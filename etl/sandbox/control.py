"""The other side of the control interface, for tests and the demo; needs nothing but HTTP."""

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_MARGIN_SECONDS = 30.0


class ControlError(Exception):
    """The simulator would not do what it was told; the words say why."""


@dataclass(frozen=True, slots=True)
class Control:
    """Speaks to one simulator; every verb is one HTTP request of its own."""

    url: str

    def ask(self, verb: str, /, **arguments: object) -> Any:
        """Carry out any verb and return its value; one with a timeout may take that long."""
        own = arguments.get("timeout")
        seconds = _MARGIN_SECONDS + (own if isinstance(own, int | float) else 0.0)
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(
            parts.hostname or "127.0.0.1", parts.port, timeout=seconds
        )
        try:
            connection.request("POST", f"/{verb}", json.dumps(arguments).encode())
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in answer:
            raise ControlError(f"{verb}: {answer['error']}")
        return answer["value"]

    def add_client(
        self,
        mandator: int,
        user: str,
        password: str,
        allowed_ips: Sequence[str] | None = None,
        operations: Sequence[str] | None = None,
    ) -> None:
        """Add a client, or one more user to it; operations are patterns like `RpcSession.*`."""
        self.ask(
            "add_client",
            mandator=mandator,
            user=user,
            password=password,
            allowed_ips=allowed_ips,
            operations=operations,
        )

    def add_list(
        self,
        mandator: int,
        list_id: int,
        name: str,
        attributes: Mapping[str, str],
        *,
        kind: str = "regular",
        is_test: bool = False,
    ) -> None:
        """Add an empty list; attributes maps names to field types, kind is regular or opt-in."""
        self.ask(
            "add_list",
            mandator=mandator,
            list_id=list_id,
            name=name,
            attributes=dict(attributes),
            kind=kind,
            is_test=is_test,
        )

    def set_list(
        self,
        list_id: int,
        name: str | None = None,
        is_test: bool | None = None,
        attributes: Mapping[str, str] | None = None,
        kind: str | None = None,
    ) -> None:
        """Change what a list is, not who is in it."""
        types = None if attributes is None else dict(attributes)
        self.ask(
            "set_list", list_id=list_id, name=name, is_test=is_test, attributes=types, kind=kind
        )

    def add_mailing(
        self,
        mandator: int,
        mailing_id: int,
        name: str,
        list_id: int | None = None,
        start_ms: int | None = None,
    ) -> None:
        """Note that a mailing was sent."""
        self.ask(
            "add_mailing",
            mandator=mandator,
            mailing_id=mailing_id,
            name=name,
            list_id=list_id,
            start_ms=start_ms,
        )

    def add_event(
        self,
        mandator: int,
        stream: str,
        recipient_id: str,
        *,
        mailing_id: int | None = None,
        category: str = "",
        link: str = "",
    ) -> None:
        """Add one of `opens`, `clicks`, `responses`."""
        self.ask(
            "add_event",
            mandator=mandator,
            stream=stream,
            recipient_id=recipient_id,
            mailing_id=mailing_id,
            category=category,
            link=link,
        )

    def put_recipients(self, list_id: int, recipients: Sequence[Mapping[str, object]]) -> None:
        """Write people (id, address, attributes) into a list as somebody else would."""
        self.ask("put_recipients", list_id=list_id, recipients=[dict(r) for r in recipients])

    def list_content(self, list_id: int) -> list[dict[str, Any]]:
        """Return a list's people in order: id, address, attributes."""
        content: list[dict[str, Any]] = self.ask("list_content", list_id=list_id)
        return content

    def unsubscribe(
        self,
        mandator: int,
        ids: Sequence[str],
        mailing_id: int | None = None,
        list_id: int | None = None,
    ) -> None:
        """Unsubscribe people."""
        self.ask(
            "unsubscribe", mandator=mandator, ids=list(ids), mailing_id=mailing_id, list_id=list_id
        )

    def resubscribe(self, mandator: int, ids: Sequence[str]) -> None:
        """Take unsubscriptions back."""
        self.ask("resubscribe", mandator=mandator, ids=list(ids))

    def bounce(
        self, mandator: int, recipient_id: str, category: str = "hardbounce", times: int = 1
    ) -> None:
        """Count bounces of somebody."""
        self.ask(
            "bounce", mandator=mandator, recipient_id=recipient_id, category=category, times=times
        )

    def block(self, mandator: int, entries: Sequence[str], reason: str = "") -> None:
        """Put addresses or patterns on the blocklist."""
        self.ask("block", mandator=mandator, entries=list(entries), reason=reason)

    def unblock(self, mandator: int, entries: Sequence[str]) -> None:
        """Take entries off the blocklist."""
        self.ask("unblock", mandator=mandator, entries=list(entries))

    def poison(self, list_id: int, recipient_id: str) -> None:
        """Make every add call that holds the id fail as a whole."""
        self.ask("poison", list_id=list_id, recipient_id=recipient_id)

    def cure(self, list_id: int, recipient_id: str) -> None:
        """Take a poison or a forced code away."""
        self.ask("cure", list_id=list_id, recipient_id=recipient_id)

    def code_for(
        self, list_id: int, recipient_id: str, code: int, times: int | None = None
    ) -> None:
        """Make add calls answer a code for an id, so many times or (None) for ever."""
        self.ask("code_for", list_id=list_id, recipient_id=recipient_id, code=code, times=times)

    def now_ms(self) -> int:
        """Return the simulator's own time in ms since the epoch."""
        return int(self.ask("clock")["now_ms"])

    def set_clock(self, now_ms: int) -> None:
        """Set the simulator's own clock."""
        self.ask("set_clock", now_ms=now_ms)

    def advance(self, seconds: float) -> None:
        """Put the simulator's own clock forward."""
        self.ask("advance", seconds=seconds)

    def run_export_job(self) -> int:
        """Make all events visible now; return how many."""
        return int(self.ask("run_export_job"))

    def write_export(
        self, mandator: int, method: str, folder: str, name: str, **form: object
    ) -> int:
        """Let the export job of a method write a file (full, gzip, header, …); return its rows."""
        arguments = {"mandator": mandator, "method": method, "folder": folder, "name": name}
        return int(self.ask("write_export", **arguments, **form))

    def expire_sessions(self, mandator: int | None = None) -> None:
        """Make every session (of a client) stale."""
        self.ask("expire_sessions", mandator=mandator)

    def switches(self) -> dict[str, Any]:
        """Return how all switches stand."""
        return dict(self.ask("switches"))

    def set_switches(self, **changes: object) -> None:
        """Set some switches by name."""
        self.ask("set_switches", **changes)

    def schedule(
        self, method: str, what: str, nth: int = 1, times: int | None = 1, **options: object
    ) -> int:
        """Put something on the nth call of a method from now; return the rule's number."""
        arguments = {"method": method, "what": what, "nth": nth, "times": times, **options}
        return int(self.ask("schedule", **arguments)["rule"])

    def hold(self, method: str, nth: int = 1, before: bool = False, **options: object) -> int:
        """Stop the nth call of a method before its effect, or before its answer."""
        what = "hold-before" if before else "hold"
        return int(self.ask("schedule", method=method, what=what, nth=nth, **options)["rule"])

    def wait_held(self, rule: int, timeout: float = 30.0) -> bool:
        """Say whether a call reached the hold within the time."""
        return bool(self.ask("wait_held", rule=rule, timeout=timeout))

    def release(self, rule: int) -> None:
        """Let the held call go on."""
        self.ask("release", rule=rule)

    def unschedule(self, rule: int | None = None) -> None:
        """Take a rule away, or all of them."""
        self.ask("unschedule", rule=rule)

    def calls(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the call log after entry number `since`."""
        return list(self.ask("calls", since=since))

    def counts(self) -> dict[str, int]:
        """Return how often each operation (`RpcRecipient.clear`) was called."""
        return dict(self.ask("counts"))

    def wait_for_call(
        self, method: str, nth: int = 1, timeout: float = 30.0, **options: object
    ) -> dict[str, Any] | None:
        """Return the nth call of a method once it is logged, None if it does not come."""
        arguments = {"method": method, "nth": nth, "timeout": timeout, **options}
        entry: dict[str, Any] | None = self.ask("wait_for_call", **arguments)
        return entry
