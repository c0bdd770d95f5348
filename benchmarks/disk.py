"""Where files are written whose writing is measured: a folder of our own, and on what it stands."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_IN_MEMORY = ("tmpfs", "ramfs")


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """An empty folder under `parent`; it goes with all that is in it."""
    with tempfile.TemporaryDirectory(prefix=".watchglass-bench-", dir=parent) as directory:
        yield Path(directory).resolve()


def file_system(path: Path) -> str:
    """On what a path stands, such as `ext4 on /dev/vda`."""
    kind, device = _mounted(path)
    return f"{kind} on {device}"


def lies_about_durability(path: Path) -> bool:
    """Whether a sync there is for show."""
    return _mounted(path)[0] in _IN_MEMORY


def settle() -> None:
    """Bring what is written to the disk, so that no later measurement waits for it."""
    os.sync()


def _mounted(path: Path) -> tuple[str, str]:
    """The kind and the device of the mount that a path belongs to."""
    place = path.resolve()
    found = ("unknown", "unknown")
    deepest = -1
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, behind = line.partition(" - ")
        mount_point = Path(before.split()[4])
        if place.is_relative_to(mount_point) and len(mount_point.parts) >= deepest:
            kind, device = behind.split()[:2]
            found, deepest = (kind, device), len(mount_point.parts)
    return found
