"""What to run, within which limits, in which sandbox, and what that came to.

Field names and rules are those of the task contract ("Requests"); the worker
runtime takes the same objects as additive fields. `cwd` is ours.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from .base import (
    ARGS_BYTES_MAX,
    ENV_BYTES_MAX,
    METADATA_ENTRIES_MAX,
    TEXT_CHARS_MAX,
    Name,
    OsText,
    SaidOsText,
    SaidText,
    Wire,
)
from .places import allowed_place

NETWORK_ALLOW_MAX = 256
"""Places that one worker may be allowed to reach."""


def _os_bytes(texts: list[str]) -> int:
    return sum(len(text.encode("utf-8", "surrogatepass")) + 1 for text in texts)


def _relative_inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError("must be a relative path without '..'")
    return path


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("must be an absolute path")
    return path


def _host_port(place: str) -> str:
    allowed_place(place)
    return place


def _env_name(name: str) -> str:
    if not name.strip() or "=" in name:
        raise ValueError("a variable's name must not be blank and must not contain '='")
    return name


def _in_key_order(texts: dict[str, str]) -> dict[str, str]:
    return dict(sorted(texts.items()))


EnvName = Annotated[OsText, AfterValidator(_env_name)]
RelativePath = Annotated[SaidOsText, AfterValidator(_relative_inside)]
AbsolutePath = Annotated[SaidOsText, AfterValidator(_absolute)]
HostPort = Annotated[SaidText, AfterValidator(_host_port)]
Positive = Annotated[int, Field(gt=0, lt=1 << 53)]
MetadataValue = Annotated[str, StringConstraints(max_length=4096)]
Metadata = Annotated[
    dict[Name, MetadataValue], Field(max_length=METADATA_ENTRIES_MAX), AfterValidator(_in_key_order)
]


class ExecutionSpec(Wire):
    """A command (`program`, `args`) or a script that an interpreter reads.

    `cwd` is where it starts, in a sandbox a path inside; None: in its workspace.
    """

    kind: Literal["command", "script"] = "command"
    program: OsText | None = None
    args: list[OsText] = Field(default_factory=list)
    script: Annotated[OsText, StringConstraints(max_length=TEXT_CHARS_MAX * 4)] | None = None
    interpreter: list[OsText] = Field(default_factory=lambda: ["/bin/sh"], min_length=1)
    env: dict[EnvName, OsText] = Field(default_factory=dict)
    cwd: AbsolutePath | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> ExecutionSpec:
        wanted, other = ("program", "script") if self.kind == "command" else ("script", "program")
        if not (getattr(self, wanted) or "").strip():
            raise ValueError(f"kind {self.kind!r} needs a {wanted} that is not blank")
        if (getattr(self, other) or "").strip():
            raise ValueError(f"kind {self.kind!r} takes no {other}")
        if not self.interpreter[0].strip():
            raise ValueError("interpreter[0] must not be blank")
        return self

    @model_validator(mode="after")
    def _fits_exec(self) -> ExecutionSpec:
        args_bytes = _os_bytes([self.program or "", *self.args, *self.interpreter])
        if args_bytes > ARGS_BYTES_MAX:
            raise ValueError(
                f"program, args and interpreter have {args_bytes} bytes, and {ARGS_BYTES_MAX} is the most"
            )
        env_bytes = _os_bytes([text for pair in self.env.items() for text in pair])
        if env_bytes > ENV_BYTES_MAX:
            raise ValueError(f"env has {env_bytes} bytes, and {ENV_BYTES_MAX} is the most")
        return self

    def redacted(self) -> ExecutionSpec:
        """The same, as it may be shown: the values of the environment hold secrets."""
        return self.model_copy(update={"env": dict.fromkeys(self.env, "<redacted>")})


class Limits(Wire):
    """The budget of a worker; a worker has no wall time unless one is asked for.

    `stdout_max_bytes` and `stderr_max_bytes` bound what is kept of a stream:
    further bytes are counted and dropped, and the journal says so. `file_size_bytes`
    bounds each file that a process of the worker writes.
    """

    wall_time_ms: Positive | None = None
    cpu_time_sec: Positive | None = None
    memory_bytes: Positive | None = None
    pids_max: Positive | None = None
    stdout_max_bytes: Positive | None = None
    stderr_max_bytes: Positive | None = None
    # ours:
    file_size_bytes: Positive | None = None


class TaskLimits(Limits):
    """The same with the task contract's defaults, which bound what an answer inlines."""

    wall_time_ms: Positive | None = 300_000
    stdout_max_bytes: Positive | None = 4 << 20
    stderr_max_bytes: Positive | None = 4 << 20


class Namespaces(Wire):
    """True means: unshare this one."""

    mount: bool = True
    pid: bool = True
    uts: bool = True
    ipc: bool = True
    net: bool = False


class SandboxProfile(StrEnum):
    """How much of the host a worker sees."""

    PROCESS = "process"
    LINUX_SANDBOX = "linux_sandbox"


class Network(StrEnum):
    """What a worker reaches: nothing, what the host reaches, or listed places through a proxy."""

    NONE = "none"
    HOST = "host"
    PROXY = "proxy"


class FilesystemAccess(StrEnum):
    """What profile `process` may touch: all that its user may, or the workspace and a system to read."""

    HOST = "host"
    RESTRICTED = "restricted"


class Sandbox(Wire):
    """The asked isolation; the execution plan tells what is given."""

    profile: Annotated[SandboxProfile, Field(strict=False)] = SandboxProfile.PROCESS
    workspace_subdir: RelativePath | None = None
    rootfs: AbsolutePath | None = None
    chroot: bool = False
    namespaces: Namespaces | None = None
    # ours:
    network: Annotated[Network, Field(strict=False)] | None = None
    network_allow: list[HostPort] = Field(default_factory=list, max_length=NETWORK_ALLOW_MAX)
    filesystem: Annotated[FilesystemAccess, Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _chroot_needs(self) -> Sandbox:
        if self.chroot and (self.rootfs is None or self.profile is not SandboxProfile.LINUX_SANDBOX):
            raise ValueError("chroot needs a rootfs and profile 'linux_sandbox'")
        return self

    @model_validator(mode="after")
    def _one_network(self) -> Sandbox:
        if self.network is Network.HOST and self.namespaces is not None and self.namespaces.net:
            raise ValueError("network 'host' and namespaces.net contradict each other")
        return self

    @model_validator(mode="after")
    def _allow_needs(self) -> Sandbox:
        if self.network_allow and self.network is not Network.PROXY:
            raise ValueError("network_allow needs network 'proxy'")
        return self


class CapabilityMode(StrEnum):
    """`adaptive` degrades and says so; `strict` refuses."""

    ADAPTIVE = "adaptive"
    STRICT = "strict"


class Policy(Wire):
    """How to take it when the host cannot give what was asked."""

    capability_mode: Annotated[CapabilityMode, Field(strict=False)] | None = None


class ControlContext(Wire):
    """On whose behalf, and what a control plane insists on."""

    control_plane_mode: SaidText | None = None
    tenant: Name | None = None
    owner: Name | None = None
    expected_runtime_profile: SaidText | None = None
    requires_strict_sandbox: bool = False
    requires_resource_reservation: bool = False
    labels: Metadata = Field(default_factory=dict)


class ResourceEnforcement(Wire):
    """Which limits hold, and which are only written down."""

    wall_time_ms: int | None = None
    cpu_time_sec: int | None = None
    cpu_time_enforced: bool = False
    memory_bytes: int | None = None
    memory_enforced: bool = False
    pids_max: int | None = None
    pids_enforced: bool = False
    cgroup_enforced: bool = False
    oom_detection: bool = False


class Enforcement(StrEnum):
    """How much a promise holds: always, as long as nobody tries to pass it, or not at all."""

    HARD = "hard"
    SOFT = "soft"
    NONE = "none"


class PlanFeature(Wire):
    """One thing that was asked, or that is always given, and what became of it."""

    requested: str | int | bool | None
    effective: str | int | bool | None
    mechanism: str | None = None
    enforced: Annotated[Enforcement, Field(strict=False)] = Enforcement.NONE
    reason: str | None = None


class ExecutionPlan(Wire):
    """What was asked and what is given; nothing is degraded silently.

    `probed_at` says which probe of the host it rests on: the one whose capabilities were
    collected then.
    """

    capability_mode: CapabilityMode
    requested_sandbox: Sandbox
    effective_sandbox: Sandbox
    resource_enforcement: ResourceEnforcement
    degraded: bool = False
    fallback_reasons: list[str] = Field(default_factory=list)
    capability_warnings: list[str] = Field(default_factory=list)
    # ours:
    features: dict[str, PlanFeature] = Field(default_factory=dict)
    probed_at: str | None = None

    def promises_as(self, other: ExecutionPlan) -> bool:
        """Whether both say the same, whenever the host was probed."""
        return self == other or self == other.model_copy(update={"probed_at": self.probed_at})


class Usage(Wire):
    """What the process tree used: as its control group counted, else as wait4(2) told of each process.

    `oom_kills` are processes that the kernel killed for want of memory,
    `forks_refused` how often the bound on processes was met; both and
    `memory_peak_bytes` only where a control group counts them.
    """

    duration_ms: int
    user_cpu_ms: int | None = None
    system_cpu_ms: int | None = None
    max_rss_bytes: int | None = None
    memory_peak_bytes: int | None = None
    # ours:
    oom_kills: int | None = None
    forks_refused: int | None = None


class Reservation(Wire):
    """What the ledger holds back for one worker."""

    task_slots: int
    memory_bytes: int | None = None
    pids: int | None = None
