"""Whether the CRM has taken the files of response data that it was given, before anything is sent.

It looks at the folder and at nothing else; a file that nobody takes is waited for only so long.
"""

from datetime import datetime, timedelta

from etl.batch import Batch
from etl.errors import GuardTripped
from etl.journal.batches import moment
from etl.log import Event, log
from etl.settings import Feed
from etl.world import World

NOT_TAKEN = "crm-not-taken"


class CrmGate:
    """Lets a batch through when the CRM has taken what it was given before the batch came here.

    What it is given later, at every further try, keeps no batch back; after a restart that counts
    from when the batch was held for it.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._came: dict[str, datetime] = {}

    def wait(self, batch: Batch, feed: Feed) -> None:
        """Raise GuardTripped (`crm-not-taken`) while the CRM has not taken its files."""
        detail = self._world.journal.batches.detail(batch)
        since = detail["held_since"] if detail["held_was"] == NOT_TAKEN else None
        now = self._world.clock.wall()
        came = self._came.setdefault(batch.id, moment(since) if since else now)
        files = not_taken(self._world, feed.client, came)
        if files:
            minutes = self._world.config.settings.responses.wait_minutes
            raise GuardTripped(NOT_TAKEN, files=files, minutes=minutes)

    def took(self, batch: Batch) -> bool:
        """Whether a batch that waits for the CRM may go on."""
        feed = self._world.config.find_feed(batch.feed or "")
        if batch.held is None or batch.held.code != NOT_TAKEN or feed is None:
            return False
        came = self._came.setdefault(batch.id, batch.held.since)
        return not_taken(self._world, feed.client, came) == 0


def not_taken(world: World, client: str, given_until: datetime) -> int:
    """How many files, given until then, the CRM has not taken, while there is time for it.

    FarSideUnavailable (`folder-lost`) when the folder is not the one it was at start: on an empty
    mount point every file looks taken.
    """
    table = world.config.settings.responses
    folder = world.responses.check()
    now, limit = world.clock.wall(), timedelta(minutes=table.wait_minutes)
    over, waiting = [], 0
    for name, at in world.store.outbox.handed(client):
        if table.taken == "moved":
            taken = not (folder / name).exists()
        else:
            taken = table.taken == "not-asked" or (folder / (name + table.taken_suffix)).exists()
        late = not timedelta(0) <= now - at < limit
        if taken or late:
            over.append(name)
        elif at <= given_until:
            waiting += 1
        if late and not taken:
            log(Event.ALARM, code=NOT_TAKEN, client=client, file=name)
    if over:
        world.responses.check()
        world.store.outbox.taken(client, over)
    return waiting
