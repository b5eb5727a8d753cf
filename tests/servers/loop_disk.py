"""A disk whose power can be cut: ext4 on a loop device over memory.

What the kernel still holds in its cache at the cut never comes to the image; a copy of the image,
mounted, is what a machine finds when it starts again.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Self

MEMORY = Path("/dev/shm")
SIZE_MB = 24
# Written back only when asked to, for longer than any test takes.
OPTIONS = "loop,commit=300,noatime"


class LoopDisk:
    """Mounted at `path` inside `with`."""

    def __init__(self, folder: Path, template: Path) -> None:
        """`template` is an empty file system, `folder` lies in memory."""
        self.path = folder / "disk"
        self._image = folder / "image"
        self._template = template

    def __enter__(self) -> Self:
        self.path.mkdir()
        shutil.copyfile(self._template, self._image)
        self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        self._umount()

    def sync(self) -> None:
        """Whatever is written by now is on the disk."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        subprocess.run(["sync", "-f", self.path], check=True)

    def cut_power(self) -> None:
        """Lose all that is not on the disk, and start the machine again."""
        kept = self._image.with_name("kept")
        # The image as it is: nothing is asked to be written.
        shutil.copyfile(self._image, kept)
        self._umount()
        kept.replace(self._image)
        self._mount()

    def _mount(self) -> None:
        subprocess.run(["mount", "-o", OPTIONS, self._image, self.path], check=True)

    def _umount(self) -> None:
        subprocess.run(["umount", self.path], check=True)


@cache
def can_mount() -> bool:
    """Tell whether this machine lets us mount a loop device at all."""
    if os.geteuid() != 0 or not MEMORY.is_dir():
        return False
    refused = contextlib.suppress(OSError, subprocess.CalledProcessError)
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, refused:
        template = make_template(Path(folder))
        with LoopDisk(Path(folder), template):
            return True
    return False


def make_template(folder: Path) -> Path:
    """An empty ext4, to be copied."""
    template = folder / "template"
    with template.open("wb") as file:
        file.truncate(SIZE_MB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", template], check=True)
    return template


@contextlib.contextmanager
def loop_disk(template: Path) -> Iterator[LoopDisk]:
    """A new empty disk."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY))
        yield stack.enter_context(LoopDisk(Path(folder), template))
