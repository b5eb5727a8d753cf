"""The composition root: the one place that names the adapters and puts the whole together."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etl.batch import Place
from etl.config import Config, secret_path
from etl.daemon import Daemon
from etl.durable import KnownFolder
from etl.errors import AlreadyRunning, ConfigError, Mismatch, Problem
from etl.extract.inbox import Inbox
from etl.extract.keyed import StoreKey
from etl.extract.suppressions import SuppressionStore, open_store
from etl.journal import Journal
from etl.ports import Clock, FileDrop, Responses
from etl.redaction import hide
from etl.settings import Settings
from etl.signals import told_to_stop
from etl.wire.campaign import CampaignList, CampaignResponses
from etl.wire.clock import SystemClock
from etl.wire.export_rows import ExportForm
from etl.wire.exports import MOST_FILE_BYTES, ExportedResponses, ExportPlan
from etl.wire.retry import RetryingDrop, RetryingList, RetryingResponses
from etl.wire.session import CampaignAccess, CampaignSession
from etl.wire.sftp import SftpDrop
from etl.wire.sftp_reading import SftpFolder
from etl.wire.ssh_keys import SftpAccess, check_access
from etl.world import Campaign, World

JOURNAL, STORE, LOCK = "journal.sqlite3", "suppressions.sqlite3", "lock"


def hide_secrets(config: Config) -> None:
    """From now on no log line shows a secret of this configuration."""
    for secret in config.secrets.values():
        hide(secret)


def store_keys(config: Config) -> list[StoreKey]:
    """The keys of the suppression store, the one for new rows first."""
    return [
        StoreKey(key.id, config.secrets[f"suppression.keys.{number}.secret"].encode())
        for number, key in enumerate(config.settings.suppression.keys)
    ]


def sftp_access(config: Config, name: str) -> SftpAccess:
    """Where files of an account go, and who we are there."""
    table = config.settings.sftp[name]
    key_file = secret_path(table.key)
    if key_file is None:
        raise AssertionError("the configuration was checked")
    return SftpAccess(
        host=table.host,
        port=table.port,
        user=table.user,
        key_file=key_file,
        passphrase=None
        if table.passphrase is None
        else config.secrets.get(f"sftp.{name}.passphrase"),
        host_keys=tuple(table.host_keys),
        folder=table.folder,
        connect_seconds=table.connect_seconds,
        answer_seconds=table.answer_seconds,
        put_seconds=table.put_seconds,
        tcp_user_timeout_seconds=table.tcp_user_timeout_seconds,
    )


def campaign_session(config: Config, name: str, clock: Clock) -> CampaignSession:
    """The session of one Campaign client; nothing is called yet."""
    table = config.settings.client[name]
    access = CampaignAccess(
        mandator=table.mandator,
        user=table.user,
        password=config.secrets[f"client.{name}.password"],
        endpoint=table.endpoint,
        ca_file=table.ca_file,
        connect_seconds=table.connect_seconds,
        read_seconds=table.read_seconds,
        call_seconds=table.call_seconds,
        session_minutes=table.session_minutes,
        media_type=table.media_type,
        live_check_rows=table.live_check_rows,
        short_items=table.short_items,
    )
    try:
        return CampaignSession(access, clock)
    except ValueError as error:
        raise ConfigError([Problem(f"client.{name}", str(error))]) from None


def check_far_access(config: Config) -> list[Problem]:
    """What is wrong with keys and certificates, without network."""
    problems: list[Problem] = []
    for name in config.settings.sftp:
        access = sftp_access(config, name)
        problems += [Problem(f"sftp.{name}", text) for text in check_access(access)]
    return problems


def check_folders(settings: Settings) -> list[Problem]:
    """Folders that are not there or cannot be used; the state folder is made by us."""
    problems = []
    for name in ("inbox", "quarantine", "receipts", "responses"):
        path: Path = getattr(settings.folders, name)
        if not path.is_dir():
            problems.append(Problem(f"folders.{name}", f"{path} is no folder"))
        elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            problems.append(Problem(f"folders.{name}", f"{path} cannot be written"))
    return problems


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Hold the lock of the state directory; AlreadyRunning (exit 75) when another one does."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(state / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning("already-running", folder=str(state)) from None
        yield
    finally:
        os.close(descriptor)


def drops(config: Config, clock: Clock, tries: int | None = None) -> dict[str, FileDrop]:
    """The SFTP accounts, each with its retries."""
    far = config.settings.far_side
    return {
        name: RetryingDrop(
            SftpDrop(sftp_access(config, name), clock),
            clock, tries or far.tries, far.first_seconds, far.most_seconds,
        )
        for name in config.settings.sftp
    }  # fmt: skip


def accounts(config: Config) -> dict[str, str]:
    """Where the files of each account go, for all time."""
    return {
        name: f"{table.user}@{table.host}:{table.port}/{table.folder}"
        for name, table in config.settings.sftp.items()
    }


def campaigns(config: Config, clock: Clock, tries: int | None = None) -> dict[str, Campaign]:
    """The Campaign clients, each with its retries; one session a client."""
    far = config.settings.far_side
    made = {}
    for name, table in config.settings.client.items():
        session = campaign_session(config, name, clock)
        retry = (clock, tries or far.tries, far.first_seconds, far.most_seconds)
        made[name] = Campaign(
            RetryingList(CampaignList(session), *retry, live_check_rows=table.live_check_rows),
            RetryingResponses(responses(config, name, session, clock), *retry),
        )
    return made


def responses(config: Config, name: str, session: CampaignSession, clock: Clock) -> Responses:
    """Where a client's response data comes from: the closed loop, or export files."""
    campaign = CampaignResponses(session)
    exports = config.settings.client[name].exports
    if exports is None:
        return campaign
    plan = ExportPlan(
        forms={each: ExportForm(**table.model_dump()) for each, table in exports.files.items()},
        expected_hours=exports.expected_hours,
        settle_minutes=exports.settle_minutes,
        most_bytes=min(MOST_FILE_BYTES, config.settings.limits.file_bytes),
    )
    folder = SftpFolder(sftp_access(config, exports.sftp), clock)
    return ExportedResponses(plan, folder, campaign, clock)


@contextmanager
def world(config: Config, clock: Clock) -> Iterator[World]:
    """Everything a daemon works with, opened and checked; closed again at the end."""
    settings = config.settings
    problems = check_folders(settings) + check_far_access(config)
    if problems:
        raise ConfigError(problems)
    hide_secrets(config)
    with locked(settings.folders.state):
        for name in ("batches", "archive"):
            (settings.folders.state / name).mkdir(mode=0o700, exist_ok=True)
        _refuse_lost_journal(settings.folders.state)
        journal = Journal(settings.folders.state / JOURNAL)
        try:
            problems = journal_problems(config, journal)
            if problems:
                raise ConfigError(problems)
            store = open_store(settings.folders.state / STORE, store_keys(config))
            far_drops, far_campaigns = drops(config, clock), campaigns(config, clock)
            try:
                yield World(
                    config=config,
                    journal=journal,
                    store=store,
                    inbox=Inbox(settings.folders.inbox, settings.instance),
                    responses=KnownFolder.at(settings.folders.responses),
                    receipts=KnownFolder.at(settings.folders.receipts),
                    quarantine=KnownFolder.at(settings.folders.quarantine),
                    clock=clock,
                    drops=far_drops,
                    accounts=accounts(config),
                    campaigns=far_campaigns,
                )
            finally:
                for drop in far_drops.values():
                    drop.close()
                for campaign in far_campaigns.values():
                    campaign.responses.close()
                    campaign.lists.close()
                store.close()
        finally:
            journal.close()


def _refuse_lost_journal(state: Path) -> None:
    """A state folder whose journal is gone never starts with an empty one."""
    journal = state / JOURNAL
    there = journal.exists() and journal.stat().st_size > 0
    if not there and ((state / STORE).exists() or any((state / "batches").iterdir())):
        raise Mismatch("journal-damaged", detail="it is gone, the rest of the state folder is not")


def journal_problems(config: Config, journal: Journal) -> list[Problem]:
    """Where the configuration no longer fits what was begun.

    A list filled by another recipient id rule would hold half the people twice; a list left
    partial must still be some feed's, or nobody would ever fill it.
    """
    targets = {
        (feed.name, f"{config.settings.client[feed.client].mandator}/{feed.list.id}")
        for feed in config.settings.feed
        if feed.list is not None
    }
    problems = [
        Problem(
            f"feed.{batch.feed}.list",
            f"batch {batch.id} left list {journal.refills.target(batch)} partial, and no feed of "
            "this name has it any more",
            "bring feed and list back until the batch has ended",
        )
        for batch in journal.batches.under_way()
        if batch.place is Place.REFILLING
        and (batch.feed, journal.refills.target(batch)) not in targets
    ]
    for feed in config.settings.feed:
        if feed.list is None:
            continue
        known = journal.refills.id_rule(feed.client, feed.list.id)
        if known is not None and known != feed.recipient.id:
            problems.append(Problem(
                f"feed.{feed.name}.recipient.id",
                f"list {feed.list.id} was filled by the rule {known}",
                "another rule needs another list",
            ))  # fmt: skip
    return problems


def run(config: Config, *, once: bool) -> int:
    """Run the daemon, or take once what is there; the exit code."""
    stop, wake = threading.Event(), threading.Event()
    with told_to_stop(stop, wake), world(config, SystemClock(stop)) as made:
        daemon = Daemon(made, stop, wake)
        return daemon.once() if once else daemon.run()


def unstopped_clock() -> Clock:
    """The machine's clock for a command that nobody has to stop gently."""
    return SystemClock(threading.Event())


def open_journal(config: Config, *, read_only: bool = False) -> Journal:
    """The journal as it is, for commands beside a running daemon; they read, or write a request."""
    return Journal(_from_a_run(config, JOURNAL), read_only=read_only)


def open_suppressions(config: Config) -> SuppressionStore:
    """The suppression store, read only."""
    return open_store(_from_a_run(config, STORE), store_keys(config), read_only=True)


def _from_a_run(config: Config, name: str) -> Path:
    """A file of the state folder; ConfigError when there is none, for then nothing ran yet."""
    path = config.settings.folders.state / name
    if not path.exists():
        raise ConfigError([Problem("folders.state", f"{path} is not there: nothing ran yet")])
    return path
