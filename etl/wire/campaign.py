"""The ports RecipientList and Responses on Campaign's SOAP services.

It may not repeat a call, nor decide what an answer means for a batch.
"""

from collections.abc import Callable, Iterator, Sequence

from etl.ports import (
    PAGE_ROWS,
    ListDescription,
    LiveAnswer,
    Purged,
    Recipients,
    Stream,
    Window,
)
from etl.wire import answers
from etl.wire.answers import Answer
from etl.wire.session import CampaignSession
from etl.wire.soap import Call

# Attribute names come in the locale's language; the configuration maps the English ones.
_LOCALE = "en"
# No opt-in process: on a regular list the rows are active at once and nobody is re-activated.
_NO_OPTIN = 0
_NO_FILTER = 0
_BLOCKLIST_BYTES = 64_000_000


class CampaignList:
    """RecipientList: the recipient lists of one Campaign client."""

    def __init__(self, session: CampaignSession) -> None:
        self._session = session

    def describe(self, list_id: int) -> ListDescription:
        """Name, test flag and attribute names of a list."""
        service, ask = "RecipientList", self._session.ask
        return ListDescription(
            name=ask(Call(service, "getName", (list_id,)), answers.text),
            is_test=ask(Call(service, "isTestRecipientList", (list_id,)), answers.flag),
            attributes=tuple(
                ask(Call(service, "getAttributeNames", (list_id, _LOCALE)), answers.texts)
            ),
        )

    def count(self, list_id: int) -> int:
        """Recipients in the list now."""
        return self._session.ask(
            Call("Recipient", "getCount", (list_id, _NO_FILTER)), answers.integer
        )

    def clear(self, list_id: int) -> None:
        """Take every recipient out of the list. Cannot be undone."""
        self._session.ask(Call("Recipient", "clear", (list_id,)), answers.nothing)

    def add(self, list_id: int, recipients: Recipients) -> list[int]:
        """Add rows; one code 0-7 per row, same order. ValueError for what XML cannot hold."""
        rows = len(recipients.ids)
        if not rows == len(recipients.addresses) == len(recipients.values):
            raise ValueError("ids, addresses and values differ in number")
        if rows == 0:
            return []
        call = Call(
            "Recipient",
            "addAll3",
            (list_id, _NO_OPTIN),
            strings=(recipients.ids, recipients.addresses, recipients.attributes),
            table=recipients.values,
            columns=len(recipients.attributes),
        )
        return self._session.ask(call, lambda answer: answers.codes(answer, rows))

    def suppressed(self, ids: Sequence[str], addresses: Sequence[str]) -> LiveAnswer:
        """Ask live, in batches: which ids are unsubscribed, which addresses blocklisted."""
        return LiveAnswer(
            unsubscribed=self._flags("Unsubscribe", "containsAll", ids),
            blocklisted=self._flags("Blacklist", "areBlacklisted", addresses),
        )

    def bounced_out(self, ids: Sequence[str]) -> list[bool]:
        """Ask, id by id, who is beyond the bounce limit."""
        # Spelled as Campaign spells it.
        name = "isBounceCounterThresholdExeeded"
        return [self._session.ask(Call("Response", name, (each,)), answers.flag) for each in ids]

    def purge(self, list_id: int) -> Purged:
        """Remove who is unsubscribed, then who is blocklisted."""
        ask = self._session.ask
        return Purged(
            unsubscribed=ask(Call("Recipient", "removeUnsubscribed", (list_id,)), answers.integer),
            blocklisted=ask(Call("Recipient", "removeBlacklisted", (list_id,)), answers.integer),
        )

    def close(self) -> None:
        """Log out; whoever shares the session logs in anew with the next call."""
        self._session.close()

    def _flags(self, service: str, operation: str, asked: Sequence[str]) -> list[bool]:
        flags: list[bool] = []
        for part in _parts(asked, self._session.access.live_check_rows):
            call = Call(service, operation, strings=(part,))
            flags += self._session.ask(call, _flags_for(len(part)))
        return flags


class CampaignResponses:
    """Responses: response data and blocklist of one Campaign client."""

    def __init__(self, session: CampaignSession) -> None:
        self._session = session

    def now(self) -> int:
        """Campaign's clock, milliseconds since the epoch."""
        return self._session.ask(Call("ClosedLoop", "getCurrentTime"), answers.integer)

    def page(self, stream: Stream, window: Window, start_row: int) -> list[list[str | None]]:
        """Rows of a window from `start_row` on; fewer than PAGE_ROWS: it was the last page."""
        values = (window.since_ms, window.until_ms, start_row, PAGE_ROWS)
        return self._session.ask(
            Call("ClosedLoop", stream.value, values),
            lambda answer: answers.table(answer, PAGE_ROWS),
        )

    def blocklist(self) -> list[str]:
        """Every blocklist entry as written there."""
        return self._session.ask(
            Call("Blacklist", "getAllEntries", reply_bytes=_BLOCKLIST_BYTES), answers.texts
        )

    def close(self) -> None:
        """Log out; whoever shares the session logs in anew with the next call."""
        self._session.close()


def _parts(items: Sequence[str], rows: int) -> Iterator[Sequence[str]]:
    """Cut a sequence into batches; an empty one gives none, so no call is made for it."""
    return (items[start : start + rows] for start in range(0, len(items), rows))


def _flags_for(count: int) -> Callable[[Answer], list[bool]]:
    return lambda answer: answers.flags(answer, count)
