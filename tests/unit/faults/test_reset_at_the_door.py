"""A peer that resets before TLS is spoken leaves no socket of a proxy's open."""

import gc
import socket
import warnings
from pathlib import Path

import pytest

from etl.sandbox.authority import open_authority
from tests.servers.fault_gate import HOST, readable, reset, secured


def test_a_reset_before_tls_leaves_no_socket_open(tmp_path: Path) -> None:
    """The library's own half-made socket is closed, so that the collector has nothing to say."""
    context = open_authority(tmp_path).server_context()
    with socket.create_server((HOST, 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        reset(client)
        assert readable(server, seconds=5)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with pytest.raises(OSError, match="reset"):
                secured(context, server)
            gc.collect()
        assert said == []
