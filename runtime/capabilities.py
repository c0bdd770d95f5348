"""What this host can do for a worker, as found by doing it once at the start.

Nothing here is guessed from a version. A thing that is not there carries the
reason in the words of whoever refused it: the kernel, or a tool's last line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .cgroups import CgroupLaunch


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that the host can do by `mechanism`; None: it cannot, and `reason` says why.

    With a mechanism, `reason` says what is weak about it, if anything is.
    """

    mechanism: str | None
    reason: str | None = None

    def __bool__(self) -> bool:
        return self.mechanism is not None


MISSING = Found(None, "not probed")


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxCapabilities:
    """Isolation: what a worker can be kept from seeing and doing."""

    linux_sandbox: Found = MISSING
    """A full run of bubblewrap as a worker would be run."""
    namespaces: Mapping[str, Found] = field(default_factory=dict)
    """`mount`, `pid`, `uts`, `ipc`, `net`: each unshared by itself."""
    rootfs: Found = MISSING
    network_proxy: Found = Found(None, "this runtime has no proxy")
    restricted_filesystem: Found = MISSING
    """Landlock, for profile `process`."""
    seccomp: Found = MISSING
    own_uid: Found = MISSING
    """A uid of its own for each worker slot; takes a server that is root."""
    own_place: Found = MISSING
    """Bringing such a user to its workspace without a sandbox, though the folders above are closed to it."""
    own_count: Found = MISSING
    """RLIMIT_NPROC in a user namespace, which counts no process outside it."""
    exact_exit: Found = MISSING
    """Telling exit 137 from SIGKILL below bubblewrap."""
    bwrap: str | None = None
    """The bubblewrap that `linux_sandbox` was found with."""
    follows_links: bool | None = None
    """Whether that one makes mount points behind a worker's links (CVE-2026-87766); we ask for none there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCapabilities:
    """Budgets: what a worker's whole process tree can be held to."""

    memory: Found = MISSING
    pids: Found = MISSING
    cpu_time: Found = MISSING
    oom_detection: Found = MISSING
    memory_peak: Found = MISSING
    tree_kill: Found = MISSING
    survives_restart: Found = MISSING
    """Workers that go on when their server ends or dies, if they are to."""
    cgroup_v2: Found = MISSING
    cgroup_writable: Found = MISSING
    cpu_quota: Found = MISSING
    cgroup: CgroupLaunch | None = None
    """Where a launch makes its groups; None: nowhere, and every budget has its fallback."""
    memory_capacity_bytes: int | None = None
    """For all workers together; None: nothing says how much there is."""
    pids_capacity: int | None = None
    """The same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCapabilities:
    """All of it, and when it was found out."""

    sandbox: SandboxCapabilities = field(default_factory=SandboxCapabilities)
    limits: LimitCapabilities = field(default_factory=LimitCapabilities)
    collected_at_us: int = 0
    kernel: str = ""
