"""The life of one SOAP call: read, meet the schedule, be checked and carried out, be answered.

The only place that knows all operations; HTTP before it and the rules of each list behind it are
others' part.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from etl.sandbox import (
    closed_loop,
    rpc_blacklist,
    rpc_recipient_list,
    rpc_recipient_read,
    rpc_recipient_write,
    rpc_response,
    rpc_session,
    rpc_unsubscribe,
)
from etl.sandbox.axis_read import Call, Malformed, read_call
from etl.sandbox.axis_write import write_answer, write_fault
from etl.sandbox.call_log import CallLog
from etl.sandbox.context import Context, Operate
from etl.sandbox.faults import Fault, Refused
from etl.sandbox.http_wire import Request, Response
from etl.sandbox.limits import Limits
from etl.sandbox.operations import services
from etl.sandbox.schedule import Arrival, Rule, Schedule
from etl.sandbox.state import World

_SERVER = "soapenv:Server.userException"
_PREFIX = "broadmail.api.soap11.impl.WebserviceImplException: "
_LIMIT_KINDS = ("too-many-connections", "too-many-counts")
_ROW_ARGUMENTS = ("recipientIds", "addresses", "entries")
_ONE_ROW = ("recipientId", "address", "entry")

CARRIED_OUT: dict[str, Mapping[str, Operate]] = {
    "RpcSession": rpc_session.OPERATIONS,
    "RpcRecipient": {**rpc_recipient_read.OPERATIONS, **rpc_recipient_write.OPERATIONS},
    "RpcRecipientList": rpc_recipient_list.OPERATIONS,
    "RpcUnsubscribe": rpc_unsubscribe.OPERATIONS,
    "RpcBlacklist": rpc_blacklist.OPERATIONS,
    "RpcResponse": rpc_response.OPERATIONS,
    "RpcClosedLoop": closed_loop.OPERATIONS,
    "RpcOptinProcess": rpc_response.OPTIN_OPERATIONS,
}
"""What is simulated; the WSDLs name more, which answer `No such operation`."""


@dataclass(frozen=True, slots=True)
class _Course:
    """How a call went: its answer and what the log says of it."""

    response: Response
    outcome: str
    applied: bool = False
    fault: str | None = None
    value: object = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """Answers SOAP calls."""

    world: World
    log: CallLog
    schedule: Schedule
    limits: Limits
    run_verb: Callable[[str, Mapping[str, object]], object]
    """Carries out a control verb, for rules that change something around a call."""
    bodies: bool = False

    def answer(self, service: str, request: Request) -> Response:
        """Return the answer to one call of a service."""
        try:
            call = self._read(service, request)
        except Malformed as error:
            course = _Course(
                self._fault(Fault(error.code, error.words)), "fault", fault="malformed"
            )
            self._note(Arrival(service, "", None, None), course, request, None)
            return course.response
        arrival = self._arrival(call)
        rules = self.schedule.arrive(arrival)
        with ExitStack() as under_way:
            course = self._course(call, request, rules, arrival, under_way)
            course = self._lost(course, rules)
            self._note(arrival, course, request, call)
            self._after(rules)
        return course.response

    def _read(self, service: str, request: Request) -> Call:
        """Return the call of an operation that is simulated; raises Malformed."""
        call = read_call(request.body, services()[service])
        if call.operation.name not in {*CARRIED_OUT[service], "login", "getVersion"}:
            raise Malformed("soapenv:Client", f"No such operation '{call.operation.name}'")
        return call

    def _arrival(self, call: Call) -> Arrival:
        """Return what is known of a call before it is carried out."""
        operation, mandator = call.operation, None
        if operation.name == "login":
            mandator = call.number("mandatorId")
        session = self.world.sessions.get(call.text("sessionId"))
        if session is not None:
            mandator = session.mandator
        list_id = call.number("recipientListId") or None
        return Arrival(operation.service, operation.name, mandator, list_id)

    def _course(
        self,
        call: Call,
        request: Request,
        rules: list[Rule],
        arrival: Arrival,
        under_way: ExitStack,
    ) -> _Course:
        """Take a call through limits, schedule and operation; `under_way` ends with the answer."""
        try:
            if arrival.mandator is not None:
                counting = (arrival.service, arrival.method) == ("RpcRecipient", "getCount")
                limit = self.limits.call(
                    arrival.mandator,
                    request.connection,
                    counting=counting,
                    switches=self.world.switches,
                )
                under_way.enter_context(limit)
            self._before(call, rules)
            replaced = self._replaced(rules)
            if replaced is not None:
                return replaced
            with self.world.lock:
                value = self._carry_out(call, request.ip)
            body = write_answer(call.operation, value, self.world.switches)
            course = _Course(Response(200, body), "answer", applied=True, value=value)
        except Refused as refusal:
            course = self._refused(call, refusal)
        for rule in rules:
            if rule.what == "verb-after":
                self._verb(rule)
        return course

    def _before(self, call: Call, rules: list[Rule]) -> None:
        """Do what the schedule wants done before a call is carried out."""
        for rule in rules:
            if rule.what == "delay":
                self.schedule.pause(_seconds(rule))
            elif rule.what == "verb-before":
                self._verb(rule)
            elif rule.what == "hold-before":
                self.schedule.hold(rule.number)
            elif rule.what == "expire-session":
                session = self.world.sessions.get(call.text("sessionId"))
                if session is not None:
                    session.since_ms = 0

    def _replaced(self, rules: list[Rule]) -> _Course | None:
        """Return what the schedule puts in the place of the operation."""
        for rule in rules:
            if rule.what == "fault":
                words = _PREFIX + str(rule.facts.get("text", "General error"))
                return _Course(self._fault(Fault(_SERVER, words)), "fault", fault="scheduled")
            if rule.what == "http":
                status, body = rule.facts.get("status", 503), str(rule.facts.get("body", ""))
                response = _page(status if isinstance(status, int) else 503, body)
                return _Course(response, "http", fault=f"http-{response.status}")
            if rule.what == "drop-before":
                return _Course(Response(500, b"", fate="dropped"), "lost")
        return None

    def _carry_out(self, call: Call, ip: str) -> object:
        """Check who calls and do it; raises Refused."""
        operation = call.operation
        if operation.name == "getVersion":
            return rpc_session.VERSION
        if operation.name == "login":
            return rpc_session.login(self.world, call, ip)
        session = self.world.live_session(call.text("sessionId"), ip)
        client = self.world.client(session.mandator)
        user = client.users[session.user]
        name = f"{operation.service}.{operation.name}"
        permitted = user.operations is None or any(fnmatchcase(name, p) for p in user.operations)
        if not permitted or (user.allowed_ips is not None and ip not in user.allowed_ips):
            raise Refused("not-permitted", "Permission denied")
        context = Context(self.world, client, session)
        return CARRIED_OUT[operation.service][operation.name](context, call)

    def _refused(self, call: Call, refusal: Refused) -> _Course:
        """Return a refusal as the fault (or the HTTP error) it looks like."""
        if refusal.kind in _LIMIT_KINDS and self.world.switches.refusal == "http-503":
            return _Course(_page(503, "Service Unavailable"), "http", fault=refusal.kind)
        words = refusal.message
        session = self.world.sessions.get(call.text("sessionId"))
        if session is not None and not refusal.bare:
            who = f"[{session.session_id},{session.mandator},{session.user}]"
            told = ", ".join(
                f"{name}='{_told(value)}'"
                for name, value in call.arguments.items()
                if name != "sessionId"
            )
            words = f"{who} {words} for call: {told}"
        return _Course(self._fault(Fault(_SERVER, _PREFIX + words)), "fault", fault=refusal.kind)

    def _fault(self, fault: Fault) -> Response:
        return Response(500, write_fault(fault, self.world.switches))

    def _verb(self, rule: Rule) -> None:
        arguments = rule.facts.get("arguments", {})
        self.run_verb(str(rule.facts["verb"]), arguments if isinstance(arguments, dict) else {})

    def _lost(self, course: _Course, rules: list[Rule]) -> _Course:
        """Return the course with an answer that does not arrive whole, if the schedule says so."""
        fates = {"drop-after": "dropped", "truncated": "cut"}
        for rule in rules:
            if rule.what in fates:
                response = replace(course.response, fate=fates[rule.what])
                return replace(course, response=response, outcome="lost")
        return course

    def _after(self, rules: list[Rule]) -> None:
        """Keep the answer back where the schedule says so."""
        for rule in rules:
            if rule.what == "delay-answer":
                self.schedule.pause(_seconds(rule))
            elif rule.what == "hold":
                self.schedule.hold(rule.number)

    def _note(self, arrival: Arrival, course: _Course, request: Request, call: Call | None) -> None:
        """Write the call into the log."""
        codes: dict[str, int] | None = None
        if arrival.method in {"add2", "addAll3", "addAll3Flat"} and course.applied:
            answers = course.value if isinstance(course.value, list) else [course.value]
            codes = {str(code): count for code, count in sorted(Counter(answers).items())}
        self.log.add(
            {
                "service": arrival.service,
                "method": arrival.method,
                "mandator": arrival.mandator,
                "list_id": arrival.list_id,
                "rows": _row_count(call, course.value),
                "outcome": course.outcome,
                "applied": course.applied,
                "fault": course.fault,
                "codes": codes,
                "body": request.body.decode("utf-8", "replace") if self.bodies else None,
            }
        )


def _seconds(rule: Rule) -> float:
    seconds = rule.facts.get("seconds", 0)
    return float(seconds) if isinstance(seconds, int | float) else 0.0


def _page(status: int, body: str) -> Response:
    """Return an error page such as a proxy makes."""
    return Response(status, body.encode(), "text/html;charset=utf-8")


def _told(value: object) -> str:
    """Return an argument as the fault text prints it."""
    if isinstance(value, list):
        return "[" + ", ".join(_told(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _row_count(call: Call | None, value: object) -> int | None:
    """Return how many rows a call brought, else how many its answer has."""
    if call is None:
        return None
    for name in _ROW_ARGUMENTS:
        if name in call.arguments:
            return len(call.items(name))
    if any(name in call.arguments for name in _ONE_ROW):
        return 1
    return len(value) if isinstance(value, list) else None
