"""Where histories happen: one folder, one configuration and one empty state for each process."""

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

from etl.config import Config, build
from tests.faults.history.promises import FEEDS
from tests.twins.house import House

MEMORY = Path("/dev/shm")


@cache
def root_folder() -> Path:
    """One folder for all histories of this process, one after the other.

    In memory where that can be: fsync is called often, and no power is lost here.
    """
    root = Path(tempfile.mkdtemp(prefix="history", dir=MEMORY if MEMORY.is_dir() else None))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root / "one"


@cache
def _config(table: str) -> Config:
    """The configuration, read once in a process."""
    return build(json.loads(table), {})


@cache
def empty_state() -> Path:
    """A state folder as the first start leaves it, made by a first start."""
    root = root_folder()
    empty = root.with_name("empty")
    house = new_house(root)
    house.open()
    house.close()
    (root / "state").rename(empty)
    shutil.rmtree(root)
    return empty


def new_house(root: Path) -> House:
    """A house with two feeds in a folder that is not there yet."""
    root.mkdir()
    house = House(root, feeds=len(FEEDS))
    table = house.config_table() | {"responses": {"empty": "none"}}
    house.config = _config(json.dumps(table))
    return house
