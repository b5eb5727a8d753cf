"""What the CRM must be told and who must not be sent, from outside the service.

It learns from the answers at the ports, the simulator's records, the drops, and the CRM's files;
never from the service's store or journal.
"""

import csv
import fnmatch
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from etl.ports import PAGE_ROWS
from tests.faults.response_loop import happened as what
from tests.faults.response_loop.happened import Happened, Records
from tests.twins.clock import TwinClock

Entities = frozenset[tuple[str, str]]
NOBODY: Entities = frozenset()
CODES = {2: "unsubscribed", 3: "blocklisted", 4: "bounced"}
REMEMBERED = timedelta(days=59)
"""So long at least the entities of an address are known after its last drop."""
Find = tuple[str, str, str]
"""Recipient id, kind, source."""


class Model:
    """One instance of the service and one Campaign, as the world around them sees them."""

    def __init__(self, records: Records, clock: TwinClock, folder: Path) -> None:
        self.records, self.clock, self.folder = records, clock, folder
        self.campaigns: dict[str, str] = {}
        """The CRM's campaign of each mailing; empty where it has none."""
        # Who carries an address, as far as it is sure.
        self.carriers: dict[str, set[Entities]] = defaultdict(lambda: {NOBODY})
        self.last_dropped: dict[str, datetime] = {}
        # Readings: one counts once the service has gone on to its next call.
        self.until_ms = 0
        self.pending: list[Any] = []
        self.read_mailings: set[str] = set()
        self.readings: Counter[str] = Counter()
        # What is owed, with who may have carried the address at the first reading.
        self.owed: dict[Happened, set[Entities]] = {}
        self.finds_owed: dict[Find, set[Entities]] = {}
        self.finds_possible: dict[Find, set[Entities]] = {}
        # Who was asked for in this run since the last upload; who said no, as the service knows.
        self.asked: set[str] = set()
        self.unsubscribed: set[str] = set()
        self.bounced: set[str] = set()
        self.blocklist: set[str] = set()
        self.found_blocked: set[str] = set()
        # What the CRM has.
        self.files: dict[str, bytes] = {}
        self.taken: set[str] = set()
        self.told: Counter[tuple[Happened | Find, tuple[str, str]]] = Counter()
        self.sent = 0

    # --- drops -----------------------------------------------------------------------------------

    def dropped(self, content: dict[str, Entities]) -> None:
        """A drop is in the inbox: from now on it may have been decoded."""
        for address, entities in content.items():
            self.carriers[address].add(entities)
            self.last_dropped[address] = self.clock.now

    def decoded(self, content: dict[str, Entities]) -> None:
        """The newest drop has surely been decoded."""
        for address, entities in content.items():
            self.carriers[address] = {entities}

    def carried_by(self, address: str) -> set[Entities]:
        """Who may be known to carry an address now."""
        last = self.last_dropped.get(address)
        if last is not None and abs(self.clock.now - last) > REMEMBERED:
            return self.carriers[address] | {NOBODY}
        return set(self.carriers[address])

    # --- what the ports answer -------------------------------------------------------------------

    def told_responses_now(self, now_ms: int) -> None:
        """Campaign's clock, by which the windows of this fetch end."""
        self.until_ms = now_ms

    def told_responses_page(self, rows: Any, stream: Any, window: Any, _start: int) -> None:
        """The last page of a window ends a reading, of everything until the clock's time."""
        if len(rows) < PAGE_ROWS and window.until_ms == self.until_ms:
            self.pending.append((self._read, stream.value, self.until_ms, rows))

    def told_responses_blocklist(self, entries: Sequence[str]) -> None:
        """The whole blocklist."""
        self.pending.append((self._blocklist, set(entries)))

    def told_lists_suppressed(self, answer: Any, ids: Any, addresses: Any) -> None:
        """The live check: who may not be mailed."""
        asked = ((ids, "unsubscribed", answer.unsubscribed),
                 (addresses, "blocklisted", answer.blocklisted))  # fmt: skip
        found = [
            (who, kind)
            for people, kind, noes in asked
            for who, no in zip(people, noes, strict=True)
            if no
        ]
        for who, kind in found:
            find = (who, kind, "live-check")
            self.finds_possible.setdefault(find, set()).update(self.carried_by(who))
        self.asked |= set(ids) & set(addresses)
        self.pending.append((self._found, found))

    def told_lists_add(self, codes: Sequence[int], _list: int, recipients: Any) -> None:
        """The codes of a call; what they say of people may be told."""
        for who, code in zip(recipients.ids, codes, strict=True):
            if code in CODES:
                find = (who, CODES[code], f"code-{code}")
                self.finds_possible.setdefault(find, set()).update(self.carried_by(who))

    def settle(self) -> None:
        """The service has gone on: what it was answered is its own now."""
        pending, self.pending = self.pending, []
        for act, *facts in pending:
            act(*facts)

    def died(self) -> None:
        """What it was answered last is gone with it."""
        self.pending.clear()

    def _read(self, stream: str, until_ms: int, rows: Sequence[Sequence[str | None]]) -> None:
        self.readings[stream] += 1
        if stream == what.MAILINGS:
            self.read_mailings |= {row[0] or "" for row in rows}
            return
        every = {what.of_row(stream, row) for row in rows}
        for happened in every.union(self.records.held(stream, until_ms)):
            if stream == what.OUT_BOUNCES:
                self.bounced.add(happened.who)
            elif stream in what.KIND_OF_NO:
                self.unsubscribed.add(happened.who)
            if self._is_for_the_crm(happened):
                self.owed.setdefault(happened, self.carried_by(happened.who))

    def _is_for_the_crm(self, happened: Happened) -> bool:
        if happened.stream == what.RESPONSES:
            return happened.category in ("hardbounce", "softbounce")
        if happened.stream in (what.OPENS, what.CLICKS):
            return bool(self.campaigns[happened.mailing])
        return True

    def _blocklist(self, entries: set[str]) -> None:
        self.blocklist = entries

    def _found(self, found: Iterable[tuple[str, str]]) -> None:
        for who, kind in found:
            self.finds_owed.setdefault((who, kind, "live-check"), self.carried_by(who))
            (self.unsubscribed if kind == "unsubscribed" else self.found_blocked).add(who)

    # --- nobody is sent who said no --------------------------------------------------------------

    def before_lists_add(self, _list: int, recipients: Any) -> None:
        """Nobody known to have said no is in a call."""
        self.sent += len(recipients.ids)
        self._nobody_of(recipients.ids, "sent")

    def before_drop_put(self, source: Path, _name: str) -> None:
        """Nobody known to have said no is in a file; before a clear they are asked for again."""
        lines = csv.DictReader(io.StringIO(source.read_text("utf-8"), newline=""), delimiter=";")
        self._nobody_of([line["email"] for line in lines], "uploaded")
        self.asked.clear()

    def _nobody_of(self, people: Sequence[str], how: str) -> None:
        assert len(set(people)) == len(people)
        assert self.asked.issuperset(people), f"{how} without being asked for"
        assert not self.unsubscribed & set(people), f"{how} though unsubscribed"
        assert not self.bounced & set(people), f"{how} though bounced out"
        still = self.records.blocked
        known = [each for each in self.blocklist & still if any(c in each for c in "*?")]
        for who in people:
            blocked = who in still and who in self.blocklist | self.found_blocked
            assert not blocked, f"{how} though blocklisted"
            by_pattern = any(fnmatch.fnmatchcase(who, entry) for entry in known)
            assert not by_pattern, f"{how} though a pattern of the blocklist covers them"

    # --- the CRM's files -------------------------------------------------------------------------

    def look(self) -> None:
        """Read what is new in the folder: each line belongs there, and comes for the first time."""
        new: set[Happened | Find] = set()
        for path in sorted(self.folder.glob("[!.]*.csv")):
            content = path.read_bytes()
            if path.name in self.files:
                assert path.name not in self.taken, "a file comes back that the CRM has taken"
                assert self.files[path.name] == content, "a file of the CRM was changed"
                continue
            self.files[path.name] = content
            kind = path.name.removesuffix(path.name[path.name.index("-main-") :])
            text = io.StringIO(content.decode("utf-8"), newline="")
            new |= {self._line(kind, line) for line in csv.DictReader(text, delimiter=";")}
        for each in new:
            told = frozenset(who for of, who in self.told if of == each)
            possible = (self.owed if isinstance(each, Happened) else self.finds_possible)[each]
            assert (NOBODY if told == {("", "")} else told) in possible, (
                "told of the wrong entities"
            )

    def _line(self, file: str, line: dict[str, str]) -> Happened | Find:
        assert line["media-type"] == "EMAIL"
        entity = (line["entity-type"], line["entity-id"])
        assert (entity == ("", "")) == file.endswith("-unassigned"), "in the wrong file"
        of: Happened | Find
        if line["source"] in what.FILE_OF:
            of = what.of_line(line)
            assert of in self.owed, f"made up, or not for the CRM: {of}"
            assert line["kind"] == of.kind
            name = what.FILE_OF[of.stream]
            campaign = self.campaigns[of.mailing] if name in ("opens", "clicks") else None
            assert line.get("campaign-id") == campaign
        else:
            of = (line["recipient-id"], line["kind"], line["source"])
            assert of in self.finds_possible, f"nobody found that: {of}"
            name = "bounces" if line["kind"] == "bounced" else "unsubscriptions"
        assert file.removesuffix("-unassigned") == name
        if name == "unsubscriptions" and entity != ("", ""):
            assert (line["opt-in-id"], line["derived"]) == ("consent-1", "yes")
        self.told[of, entity] += 1
        assert self.told[of, entity] == 1, f"told twice: {of}"
        return of

    def everything_is_told(self) -> None:
        """Whatever was held at a reading, and whatever the live check found, is in the files."""
        told = {of for of, _ in self.told}
        missing = self.owed.keys() - told
        assert not missing, f"never told: {missing}"
        assert not self.finds_owed.keys() - told, "what the live check found was never told"

    def crm_knows(self) -> set[str]:
        """Whom the files the CRM has name as not to be mailed."""
        noes = ("unsubscribed", "bounced", "blocklisted")
        return {
            of.who if isinstance(of, Happened) else of[0]
            for of, _ in self.told
            if (of.kind if isinstance(of, Happened) else of[1]) in noes
        }
