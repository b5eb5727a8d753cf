"""What the runs with two feeds share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.network import Lines
from tests.faults.two_feeds import MEMORY, Servers


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Far sides and a nursery, once for each worker."""
    memory = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder, Servers(Path(folder)) as made:
        yield made


@pytest.fixture(scope="module")
def lines(servers: Servers) -> Iterator[Lines]:
    """The lines to the far sides, through proxies that can break them."""
    with Lines(servers) as made:
        yield made
