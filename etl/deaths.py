"""Deaths of the process, counted by batch and step, so that no step kills it for ever.

A step is counted before it begins and uncounted when it ends; what a death too many means is for
the caller to say. It may not catch anything: a bug passes through, and counts as a death.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from etl.batch import Batch
from etl.errors import EtlError, Mismatch
from etl.journal.batches import Batches
from etl.log import Event, log
from etl.ports import Stopped

MOST_DEATHS = 3
Step = Literal["checking", "uploading", "refilling", "ending"]


@contextmanager
def counted(
    batches: Batches, batch: Batch, step: Step, error: Callable[..., EtlError] = Mismatch
) -> Iterator[None]:
    """Count a step that ends well, in an error of ours or in a stop as no death, all else as one.

    Where the process died in it `MOST_DEATHS` times, `error` is raised in the step's place, with
    `crashed-STEP`; the count begins anew then.
    """
    deaths = batches.step_begins(batch, step)
    if deaths >= MOST_DEATHS:
        batches.step_ends(batch, step)
        log(Event.ALARM, batch=batch.id, code=f"crashed-{step}", deaths=deaths)
        raise error(f"crashed-{step}", deaths=deaths)
    try:
        yield
    except (EtlError, OSError, sqlite3.Error, Stopped):
        batches.step_ends(batch, step)
        raise
    batches.step_ends(batch, step)
