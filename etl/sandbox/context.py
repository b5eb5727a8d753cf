"""What an operation is given beside its arguments: the world, the caller's client and session."""

from collections.abc import Callable
from dataclasses import dataclass

from etl.sandbox.axis_read import Call
from etl.sandbox.faults import no_such_list
from etl.sandbox.state import Channel, Client, RecipientList, Session, World
from etl.sandbox.switches import Switches


@dataclass(frozen=True, slots=True)
class Context:
    """One call's surroundings."""

    world: World
    client: Client
    session: Session

    @property
    def switches(self) -> Switches:
        """Return the switches as they stand now."""
        return self.world.switches

    @property
    def channel(self) -> Channel:
        """Return the client's stores for the session's media type."""
        return self.client.channel(self.session.media)

    def recipient_list(self, list_id: int) -> RecipientList:
        """Return one of the caller's lists; refuses what is not theirs."""
        found = self.client.lists.get(list_id)
        if found is None:
            raise no_such_list()
        return found


Operate = Callable[[Context, Call], object]
"""One operation: gives the answer's value or raises Refused."""
