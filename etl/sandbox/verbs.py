"""Every verb of the control interface: seeding, time, switches, schedule, call log.

Arguments and results are JSON; see control.py for the other side of each verb.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from etl.sandbox import closed_loop, export_job, switches
from etl.sandbox.call_log import CallLog, as_json
from etl.sandbox.schedule import Schedule
from etl.sandbox.seeding import Seeding
from etl.sandbox.state import World


@dataclass(frozen=True, slots=True)
class Verbs:
    """What a test or the demo can do to the simulator from outside."""

    world: World
    log: CallLog
    schedule_: Schedule

    def table(self) -> dict[str, Callable[..., object]]:
        """Return the verbs by name."""
        seed = Seeding(self.world)
        places = (seed.add_client, seed.add_list, seed.set_list, seed.add_mailing, seed.add_event)
        people = (seed.put_recipients, seed.list_content, seed.unsubscribe, seed.resubscribe)
        states = (seed.bounce, seed.block, seed.unblock, seed.poison, seed.cure, seed.code_for)
        times = (self.clock, self.set_clock, self.advance, self.run_export_job, self.write_export)
        rules = (self.schedule, self.unschedule, self.wait_held, self.release)
        looks = (self.calls, self.counts, self.wait_for_call, self.switches, self.set_switches)
        every = (*people, *places, *states, *times, *rules, *looks, self.expire_sessions)
        return {verb.__name__: verb for verb in every}

    def run(self, verb: str, arguments: Mapping[str, object]) -> object:
        """Carry a verb out; KeyError for one that does not exist."""
        return self.table()[verb](**arguments)

    # Time and access

    def clock(self) -> dict[str, int]:
        """Return the simulator's own time."""
        return {"now_ms": self.world.now_ms()}

    def set_clock(self, now_ms: int) -> None:
        """Set the simulator's own clock, which goes on from there."""
        with self.world.lock:
            self.world.offset_ms += now_ms - self.world.now_ms()

    def advance(self, seconds: float) -> None:
        """Put the simulator's own clock forward."""
        with self.world.lock:
            self.world.offset_ms += int(seconds * 1000)

    def run_export_job(self) -> int:
        """Write an export file of response data now; return how many events it holds."""
        with self.world.lock:
            return closed_loop.export_now(self.world)

    def write_export(
        self,
        mandator: int,
        method: str,
        folder: str,
        name: str,
        *,
        full: bool = False,
        gzip: bool = False,
        header: bool = True,
        delimiter: str = ";",
        encoding: str = "utf-8",
    ) -> int:
        """Let a scheduled export job write a CSV file into a folder; return how many rows."""
        with self.world.lock:
            return export_job.write_export(
                self.world, mandator, method, Path(folder), name,
                full=full, gzip=gzip, header=header, delimiter=delimiter, encoding=encoding,
            )  # fmt: skip

    def expire_sessions(self, mandator: int | None = None) -> None:
        """Make every session (of a client) as old as can be."""
        with self.world.lock:
            for session in self.world.sessions.values():
                if mandator in (None, session.mandator):
                    session.since_ms = 0

    def switches(self) -> dict[str, object]:
        """Return how all switches stand."""
        return switches.as_json(self.world.switches)

    def set_switches(self, **changes: object) -> None:
        """Set some switches; export files already due are written by the old interval."""
        with self.world.lock:
            closed_loop.run_due_exports(self.world)
            self.world.switches = switches.changed(self.world.switches, changes)

    # Calls

    def schedule(
        self,
        method: str,
        what: str,
        *,
        nth: int = 1,
        times: int | None = 1,
        service: str | None = None,
        mandator: int | None = None,
        list_id: int | None = None,
        absolute: bool = False,
        **facts: object,
    ) -> dict[str, int]:
        """Put a fault, a pause, a hold or a verb on the nth call of a method."""
        if what.startswith("verb-") and facts.get("verb") not in self.table():
            raise ValueError("a rule that runs a verb names one")
        number = self.schedule_.add(
            what,
            method,
            absolute=absolute,
            nth=nth,
            times=times,
            service=service,
            mandator=mandator,
            list_id=list_id,
            facts=facts,
        )
        return {"rule": number}

    def unschedule(self, rule: int | None = None) -> None:
        """Take a rule away, or all; held calls go on."""
        self.schedule_.remove(rule)

    def wait_held(self, rule: int, timeout: float = 30.0) -> bool:
        """Say whether a call reached a hold within the time."""
        return self.schedule_.wait_held(rule, timeout)

    def release(self, rule: int) -> None:
        """Let the calls that a rule holds go on."""
        self.schedule_.release(rule)

    def calls(self, since: int = 0) -> list[dict[str, object]]:
        """Return the call log after a number."""
        return [as_json(entry) for entry in self.log.since(since)]

    def counts(self) -> dict[str, int]:
        """Return how often each operation was called."""
        return self.log.counts()

    def wait_for_call(
        self,
        method: str,
        *,
        nth: int = 1,
        timeout: float = 30.0,
        since: int = 0,
        service: str | None = None,
        list_id: int | None = None,
    ) -> dict[str, object] | None:
        """Return the nth call of a method once it is logged, None if it does not come."""
        entry = self.log.wait(method, nth, timeout, since=since, service=service, list_id=list_id)
        return None if entry is None else as_json(entry)
