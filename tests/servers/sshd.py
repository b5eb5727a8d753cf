"""A real OpenSSH server on loopback: keys only, SFTP only, in a chroot when we are root."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from etl.sandbox.sftp import KeyKind, make_key
from tests.servers.ports import free_port

_SSHD = "/usr/sbin/sshd"
_CONFIG = """\
ListenAddress 127.0.0.1:{port}
PidFile none
UsePAM no
StrictModes no
UseDNS no
AuthenticationMethods publickey
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile {authorized}
AllowUsers {user}
AllowTcpForwarding no
X11Forwarding no
MaxStartups 100
{extra}
"""


class Sshd:
    """A server that runs inside `with`.

    Root logs in as `nobody`, chrooted; its shell does not matter, nothing but internal-sftp is
    ever started. Anybody else logs in as himself, without a chroot.

    `folder` is where the files arrive here, `remote` what the client calls it.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        client_keys: Sequence[str],
        host_kinds: Sequence[KeyKind] = ("ed25519",),
        options: Sequence[str] = (),
        *,
        subsystem: bool = True,
    ) -> None:
        sftp = ("Subsystem sftp internal-sftp", "ForceCommand internal-sftp")
        self._options = (*options, *(sftp if subsystem else ()))
        self.root = os.geteuid() == 0
        # sshd refuses a chroot below a folder that others may write, such as /tmp.
        self._base = Path(
            tempfile.mkdtemp(prefix="etl-sshd-", dir="/var/lib" if self.root else None)
        )
        self._base.chmod(0o755)
        account = pwd.getpwnam("nobody") if self.root else pwd.getpwuid(os.getuid())
        self.user, self.uid, self.gid = account.pw_name, account.pw_uid, account.pw_gid
        self.folder = self._base / "root" / "upload"
        self.folder.mkdir(parents=True)
        if self.root:
            os.chown(self.folder, self.uid, self.gid)
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.remote = "/upload" if self.root else str(self.folder)
        self.port = 0
        self.log = self._base / "log"
        self._authorized = self._base / "authorized_keys"
        self._authorized.write_text("\n".join(client_keys) + "\n")
        self._authorized.chmod(0o644)
        self.host_keys: dict[KeyKind, str] = {}
        for kind in host_kinds:
            self.host_keys[kind] = make_key(self._base / f"host_{kind}", kind)
        self.host_key = self.host_keys[host_kinds[0]]
        self._paused: list[int] = []
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for _ in range(5):
            if self._started():
                return self
        words = self.log.read_text()
        self.__exit__()
        raise RuntimeError(f"sshd does not start: {words}")

    def __exit__(self, *_: object) -> None:
        self._stop()
        shutil.rmtree(self._base)

    def make_folder(self, path: Path) -> None:
        """Make one below `folder` that the client may write to."""
        path.mkdir()
        if self.root:
            os.chown(path, self.uid, self.gid)

    def new_host_key(self, kind: KeyKind = "ed25519") -> None:
        """Start again on the same port with another host key."""
        (self._base / f"host_{kind}").unlink()
        make_key(self._base / f"host_{kind}", kind)
        self._stop()
        if not self._started(self.port):
            raise RuntimeError(f"sshd does not start again: {self.log.read_text()}")

    @contextlib.contextmanager
    def small_disk(self, size_bytes: int) -> Iterator[None]:
        """A file system of its own on `folder`; needs root."""
        options = f"size={size_bytes},uid={self.uid},gid={self.gid},mode=0755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", self.folder], check=True)

    @property
    def pid(self) -> int:
        """The listening process, parent of one child for each connection."""
        assert self._child is not None
        return self._child.pid

    def pause(self) -> None:
        """Stop every process of the server, as a machine that hangs; ended by leaving `with`."""
        assert self._child is not None
        for pid in _with_descendants(self._child.pid):
            os.kill(pid, signal.SIGSTOP)
            self._paused.append(pid)

    def _started(self, port: int = 0) -> bool:
        self.port = port or free_port()
        extra = [*self._options]
        extra += [f"HostKey {self._base / f'host_{kind}'}" for kind in self.host_keys]
        if self.root:
            extra.append(f"ChrootDirectory {self.folder.parent}")
        config = self._base / "config"
        config.write_text(
            _CONFIG.format(
                port=self.port, authorized=self._authorized, user=self.user, extra="\n".join(extra)
            )
        )
        with self.log.open("wb") as log:
            self._child = subprocess.Popen(
                [_SSHD, "-D", "-e", "-f", config], stderr=log, start_new_session=True
            )
        until = time.monotonic() + 10
        while time.monotonic() < until and self._child.poll() is None:
            if "Server listening" in self.log.read_text():
                return True
            time.sleep(0.02)
        self._stop()
        return False

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        for pid in self._paused:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGCONT)
        self._paused.clear()
        # The group, so that the children of open connections end too.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        child.wait(10)


def _with_descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in _with_descendants(int(child)))]
