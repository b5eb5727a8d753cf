"""The demo's far sides and its configuration: an SFTP server and a Campaign, both on loopback.

What Campaign is told here is what operators and recipients would do there; no drop passes here.
"""

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

from etl.config import Config, load
from etl.demo import crm
from etl.demo.expected import Expected
from etl.sandbox.campaign import Campaign
from etl.sandbox.control import Control
from etl.sandbox.sftp import EmbeddedSftp, make_key
from etl.sandbox.switches import Switches
from etl.settings import Feed
from etl.shipped import shipped

MANDATOR, USER = 4711, "api@example.org"
MAILING = 9001
JOB_SECONDS = 3600.0
"""Between two exports of response data, by the simulator's clock (a day, in the real one)."""
TEMPLATE = "etl.toml.template"
FOLDERS = (
    "inbox", "quarantine", "receipts", "responses", crm.FOLDER, "secrets", "sftp", "authority",
)  # fmt: skip
_TYPES = {
    "number": "DECIMAL", "integer": "INTEGER", "year": "INTEGER", "date": "DATE",
    "datetime": "TIMESTAMP", "boolean": "BOOLEAN",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Servers:
    """Both far sides at work, and the configuration that names them."""

    folder: Path
    config: Config
    config_file: Path
    campaign: Control

    @property
    def remote(self) -> Path:
        """The folder the SFTP server serves."""
        return self.folder / "sftp"


@contextmanager
def servers(folder: Path, expected: Expected) -> Iterator[Servers]:
    """Start both far sides in `folder`, write the configuration, fill Campaign for day 1."""
    for name in FOLDERS:
        (folder / name).mkdir(mode=0o700)
    password = secrets.token_urlsafe(16)
    _write_secret(folder / "secrets" / "campaign-password", password)
    _write_secret(folder / "secrets" / "store-key", secrets.token_hex(32))
    client_key = make_key(folder / "secrets" / "sftp-key", "rsa")
    with (
        EmbeddedSftp(folder / "sftp", [client_key]) as sftp,
        Campaign(
            tls=folder / "authority",
            call_log=folder / "campaign-calls.jsonl",
            switches=Switches(job_interval_seconds=JOB_SECONDS),
        ) as campaign,
    ):
        config_file = folder / "etl.toml"
        template = Template((expected.folder / TEMPLATE).read_text("utf-8"))
        config_file.write_text(
            template.substitute(
                FOLDER=folder,
                SFTP_PORT=sftp.port,
                HOST_KEY=sftp.host_key,
                ENDPOINT=f"{campaign.url}/",
                CA_FILE=campaign.ca_file,
            ),
            "utf-8",
        )
        config = load(config_file)
        _fill(campaign.control, config, expected, password)
        yield Servers(folder, config, config_file, campaign.control)


def say_no(campaign: Control, expected: Expected) -> None:
    """Unsubscribe those of between the days by a mailing's link, and let some bounce too often."""
    campaign.add_mailing(MANDATOR, MAILING, "Newsletter")
    campaign.unsubscribe(MANDATOR, expected.unsubscribed_between, mailing_id=MAILING)
    _bounce(campaign, expected.bounced_between)


def next_day(campaign: Control) -> None:
    """Let a night pass."""
    campaign.advance(24 * 3600)


def attribute_types(feed: Feed) -> dict[str, str]:
    """The attributes a feed fills, with the type they have in Campaign."""
    schema = json.loads((shipped("schemas") / f"{feed.schema_}.json").read_text("utf-8"))
    types = {field["name"]: _TYPES.get(field["type"], "STRING") for field in schema["fields"]}
    return {
        name: types[source if isinstance(source, str) else source.column]
        for name, source in feed.attributes.items()
    }


def _fill(campaign: Control, config: Config, expected: Expected, password: str) -> None:
    """Make the lists, each with some people of before, and the noes that are known already."""
    campaign.add_client(MANDATOR, USER, password)
    before = [{"id": each, "address": each} for each in expected.in_every_list_before]
    for feed in config.settings.feed:
        if feed.list is not None:
            campaign.add_list(MANDATOR, feed.list.id, feed.list.name, attribute_types(feed))
            campaign.put_recipients(feed.list.id, before)
    _bounce(campaign, expected.bounced)
    campaign.unsubscribe(MANDATOR, expected.unsubscribed)
    campaign.run_export_job()
    campaign.unsubscribe(MANDATOR, expected.unsubscribed_not_exported)
    campaign.block(MANDATOR, expected.blocklist, "demo")


def _bounce(campaign: Control, people: Sequence[str]) -> None:
    """Three hard bounces are too many."""
    for address in people:
        campaign.bounce(MANDATOR, address, times=3)


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, "utf-8")
