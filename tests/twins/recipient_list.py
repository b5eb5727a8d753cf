"""RecipientList without a network: lists in memory that answer as Campaign does."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from etl.errors import FarSideRefused
from etl.ports import ListDescription, LiveAnswer, Purged, Recipients
from tests.twins.schedule import Schedule
from tests.twins.wildcards import matches

Row = tuple[str, dict[str, str | None]]
SYSTEM_ATTRIBUTES = ("Created", "Modified", "Opt-in Source", "Opt-in Date")


@dataclass
class OneList:
    """A regular list: its description and its rows by recipient id, in order of insertion."""

    name: str
    attributes: tuple[str, ...] = ()
    is_test: bool = False
    rows: dict[str, Row] = field(default_factory=dict)


@dataclass
class TwinList:
    """RecipientList. Seed the fields, plan failures with `fail_next`, look at `calls`."""

    lists: dict[int, OneList] = field(default_factory=dict)
    unsubscribed: set[str] = field(default_factory=set)
    """Recipient ids, client-wide."""
    blocklist: list[str] = field(default_factory=list)
    """Addresses, and patterns with `*` and `?`."""
    bounced: set[str] = field(default_factory=set)
    """Recipient ids beyond the bounce limit: code 4."""
    codes: dict[str, int] = field(default_factory=dict)
    """Recipient id -> a code to answer whatever else is true: 1, 6 or 7."""
    poisoned: set[str] = field(default_factory=set)
    """Recipient ids with which any add call fails as a whole."""
    stores_unsubscribed: bool = False
    """Whether a row answered with 2 is stored all the same; not documented."""
    known_first: bool = True
    """Whether 5 is answered before 2 and 3 are looked at; not documented."""
    schedule: Schedule = field(default_factory=Schedule)
    before: Callable[[str], None] = lambda _: None
    """Called with the verb before each call: somebody else acts at that moment."""
    closed: int = 0

    @property
    def calls(self) -> list[tuple[str, dict[str, object]]]:
        """Every call made: verb and facts, in order."""
        return self.schedule.calls

    def fail_next(
        self, verb: str, error: BaseException, *, after_effect: bool = False, **when: int
    ) -> None:
        """Plan a failure: `after_effect` loses the answer only; `skip` and `times` say when."""
        self.schedule.fail_next(verb, error, after_effect=after_effect, **when)

    def describe(self, list_id: int) -> ListDescription:
        """Name, test flag, attributes with the four system attributes last."""
        self.before("describe")
        with self.schedule.of("describe", list_id=list_id):
            one = self._list("getName", list_id)
            names = (*one.attributes, *SYSTEM_ATTRIBUTES)
            return ListDescription(one.name, one.is_test, names)

    def count(self, list_id: int) -> int:
        """Rows in the list now."""
        self.before("count")
        with self.schedule.of("count", list_id=list_id):
            return len(self._list("getCount", list_id).rows)

    def clear(self, list_id: int) -> None:
        """Empty the list."""
        self.before("clear")
        with self.schedule.of("clear", list_id=list_id):
            self._list("clear", list_id).rows.clear()

    def add(self, list_id: int, recipients: Recipients) -> list[int]:
        """Add rows; one code per row."""
        if not len(recipients.ids) == len(recipients.addresses) == len(recipients.values):
            raise ValueError("ids, addresses and values differ in number")
        if not recipients.ids:
            return []
        self.before("add")
        with self.schedule.of("add", list_id=list_id, rows=len(recipients.ids)):
            one = self._list("addAll3", list_id)
            self._refuse_whole(one, recipients)
            rows = zip(recipients.ids, recipients.addresses, recipients.values, strict=True)
            return [
                self._add(one, identity, address, zip(recipients.attributes, values, strict=True))
                for identity, address, values in rows
            ]

    def suppressed(self, ids: Sequence[str], addresses: Sequence[str]) -> LiveAnswer:
        """Who is unsubscribed by id, who blocklisted by address."""
        self.before("suppressed")
        with self.schedule.of("suppressed", ids=len(ids), addresses=len(addresses)):
            return LiveAnswer(
                [identity in self.unsubscribed for identity in ids],
                [self._blocked(address) for address in addresses],
            )

    def bounced_out(self, ids: Sequence[str]) -> list[bool]:
        """Who is beyond the bounce limit."""
        self.before("bounced_out")
        with self.schedule.of("bounced_out", ids=tuple(ids)):
            return [identity in self.bounced for identity in ids]

    def purge(self, list_id: int) -> Purged:
        """Take out who is unsubscribed or blocklisted by now."""
        self.before("purge")
        with self.schedule.of("purge", list_id=list_id):
            rows = self._list("removeUnsubscribed", list_id).rows
            unsubscribed = [identity for identity in rows if identity in self.unsubscribed]
            for identity in unsubscribed:
                del rows[identity]
            blocked = [identity for identity, row in rows.items() if self._blocked(row[0])]
            for identity in blocked:
                del rows[identity]
        return Purged(len(unsubscribed), len(blocked))

    def close(self) -> None:
        """Count the log-outs."""
        self.closed += 1

    def _list(self, call: str, list_id: int) -> OneList:
        if list_id not in self.lists:
            raise FarSideRefused("call-refused", call=call, detail="no such list")
        return self.lists[list_id]

    def _blocked(self, address: str) -> bool:
        return any(matches(entry, address) for entry in self.blocklist)

    def _refuse_whole(self, one: OneList, recipients: Recipients) -> None:
        unknown = set(recipients.attributes) - set(one.attributes)
        if unknown or not self.poisoned.isdisjoint(recipients.ids):
            raise FarSideRefused("call-refused", call="addAll3", detail="Error adding recipients")

    def _add(
        self,
        one: OneList,
        identity: str,
        address: str,
        values: Iterable[tuple[str, str | None]],
    ) -> int:
        """Add one row; the order of the checks is that of `known_first`."""
        known = identity in one.rows
        code = self.codes.get(identity, 0 if address.count("@") == 1 else 1)
        if code == 0 and known and self.known_first:
            code = 5
        code = code or self._no(identity, address) or (5 if known else 0)
        if code == 0 or (code == 2 and self.stores_unsubscribed):
            one.rows.setdefault(identity, (address, dict(values)))
        return code

    def _no(self, identity: str, address: str) -> int:
        """Return why Campaign itself would not take somebody, 0 when it would."""
        if self._blocked(address):
            return 3
        if identity in self.unsubscribed:
            return 2
        return 4 if identity in self.bounced else 0
