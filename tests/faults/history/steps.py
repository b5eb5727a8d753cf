"""Everything that may happen in a history.

A history is a list of steps with their values. None depends on what came before, so that any
history can be run again from its seed, and made shorter by leaving steps out.
"""

from tests.faults.history.accidents import ACCIDENTS
from tests.faults.history.days import DAYS
from tests.faults.history.people import PEOPLE

STEPS = DAYS | ACCIDENTS | PEOPLE
