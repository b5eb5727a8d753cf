"""Free ports on loopback."""

import socket


def free_port() -> int:
    """A port nobody listens on now; somebody else may take it before you do."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
