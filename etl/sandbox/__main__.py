"""`python -m etl.sandbox campaign|sftp`: each embedded server as a process of its own."""

import argparse
import json
import signal
import sys
from pathlib import Path

from etl.sandbox.campaign import Campaign
from etl.sandbox.sftp import EmbeddedSftp

_STOP = {signal.SIGTERM, signal.SIGINT}


def main() -> None:
    """Start what is asked for, print where it listens as one JSON line, wait for SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m etl.sandbox")
    verbs = parser.add_subparsers(dest="verb", required=True)
    campaign = verbs.add_parser("campaign", help="a Campaign on loopback ports")
    campaign.add_argument("--port", type=int, default=0)
    campaign.add_argument("--control-port", type=int, default=0)
    campaign.add_argument("--tls", type=Path, help="folder of the test authority")
    campaign.add_argument("--call-log", type=Path, help="file for the calls as JSON lines")
    campaign.add_argument("--bodies", action="store_true", help="keep the requests' text")
    campaign.set_defaults(run=_campaign)
    sftp = verbs.add_parser("sftp", help="an SFTP server on a loopback port")
    sftp.add_argument("--folder", type=Path, required=True)
    sftp.add_argument("--host-key", type=Path, help="private key file; a new key without it")
    sftp.add_argument("--authorized-key", type=Path, required=True, help="the client's .pub file")
    sftp.add_argument("--user", default="demo")
    sftp.add_argument("--port", type=int, default=0)
    sftp.set_defaults(run=_sftp)
    options = parser.parse_args()
    # Blocked before any thread starts, so that the signal waits for us and for nobody else.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    options.run(options)


def _campaign(options: argparse.Namespace) -> None:
    """Run the simulator until told to stop."""
    with Campaign(
        port=options.port,
        control_port=options.control_port,
        tls=options.tls,
        call_log=options.call_log,
        bodies=options.bodies,
    ) as simulator:
        ca_file = None if simulator.ca_file is None else str(simulator.ca_file)
        _announce({"url": simulator.url, "control_url": simulator.control_url, "ca_file": ca_file})
        signal.sigwait(_STOP)


def _sftp(options: argparse.Namespace) -> None:
    """Run the SFTP server until told to stop."""
    keys = options.authorized_key.read_text(encoding="utf-8").splitlines()
    with EmbeddedSftp(
        options.folder,
        [line for line in keys if line.strip()],
        user=options.user,
        port=options.port,
        host_key_file=options.host_key,
    ) as server:
        _announce({"host": server.host, "port": server.port, "host_key": server.host_key})
        signal.sigwait(_STOP)


def _announce(facts: dict[str, object]) -> None:
    """Say in one line that everything is ready."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
