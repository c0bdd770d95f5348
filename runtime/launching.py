"""From a plan to the exact command line, environment, folder and bounds of a process.

The environment starts empty, so that nothing of the server leaks: `HOME` is the
workspace, `PATH` and `LANG` are the runtime's, then the caller's own variables.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from watchglass.protocol.errors import SandboxSetupFailed
from watchglass.protocol.execution import (
    ExecutionPlan,
    ExecutionSpec,
    FilesystemAccess,
    Network,
    Sandbox,
    SandboxProfile,
)
from watchglass.protocol.identity import WorkerRef
from watchglass.protocol.workers import CreateWorkerRequest

from .capabilities import HostCapabilities
from .egress import proxy_environment
from .executor import (
    INSIDE_SCRIPT,
    INSIDE_WORKSPACE,
    RUN_BYTES,
    TMP_BYTES,
    LaunchPlan,
    SandboxLaunch,
    room_bytes,
)
from .options import RuntimeOptions

_SCRIPT = "script"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launching:
    """One worker that is about to start: what was asked of it and what it is to get.

    `stdin_closed`: nobody will say anything to it.
    `uid` is the user that it becomes; None: it stays ours.
    """

    ref: WorkerRef
    request: CreateWorkerRequest
    plan: ExecutionPlan
    directory: Path
    stdin_closed: bool = False
    uid: int | None = None

    @property
    def execution(self) -> ExecutionSpec:
        """What to run."""
        assert self.request.execution is not None
        return self.request.execution

    @property
    def given(self) -> Sandbox:
        """The isolation that it gets."""
        return self.plan.effective_sandbox

    @property
    def is_sandboxed(self) -> bool:
        """Whether it runs below bubblewrap."""
        return self.given.profile is SandboxProfile.LINUX_SANDBOX

    @property
    def has_egress(self) -> bool:
        """Whether a proxy is its one way out."""
        return self.given.network is Network.PROXY

    @property
    def workspace(self) -> str:
        """Its workspace, below `directory`."""
        return str(Path("workspace") / (self.given.workspace_subdir or ""))


def launch_plan(launching: Launching, host: HostCapabilities, options: RuntimeOptions) -> LaunchPlan:
    """What the executor needs to start a worker; makes its workspace.

    Raises:
        SandboxSetupFailed: The host lost its bubblewrap since the plan was made, or the rootfs is a worker's.
        OSError: The workspace or the script cannot be written.
    """
    workspace = _made(launching.directory / launching.workspace)
    limits, given = launching.request.limits, launching.given
    cookie = cookie_of(launching.ref)
    return LaunchPlan(
        argv=_argv(launching),
        env=_environment(launching, workspace, cookie, options),
        cwd=_cwd(launching, workspace),
        directory=launching.directory,
        cookie=cookie,
        grace_ms=options.grace_ms,
        wall_time_ms=limits.wall_time_ms,
        cpu_time_s=limits.cpu_time_sec,
        memory_bytes=limits.memory_bytes,
        pids_max=limits.pids_max if launching.plan.resource_enforcement.pids_enforced else None,
        file_size_bytes=limits.file_size_bytes,
        cgroup=host.limits.cgroup,
        stdout_max_bytes=limits.stdout_max_bytes or options.output_max_bytes,
        stderr_max_bytes=limits.stderr_max_bytes or options.output_max_bytes,
        stdin_closed=launching.stdin_closed,
        outlives_server=options.keep_workers,
        workspace=launching.workspace,
        script=_SCRIPT if launching.execution.kind == "script" else None,
        uid=launching.uid,
        seccomp=is_given(launching.plan, "sandbox.seccomp"),
        sandbox=_sandbox(launching, host) if launching.is_sandboxed else None,
        restricted_filesystem=not launching.is_sandboxed and given.filesystem is FilesystemAccess.RESTRICTED,
        internet=launching.is_sandboxed or given.network is not Network.NONE,
    )


def is_given(plan: ExecutionPlan, feature: str) -> bool:
    """Whether a feature of a plan is on."""
    row = plan.features.get(feature)
    return row is not None and row.effective is True


def cookie_of(ref: WorkerRef) -> str:
    """The variable by which a worker's processes are found when nobody watches them any more."""
    return f"WATCHGLASS_WORKER={ref.runtime_id}/{ref.worker_id}"


def shown_program(execution: ExecutionSpec | None) -> str | None:
    """What a list shows of a command."""
    if execution is None:
        return None
    return execution.program if execution.kind == "command" else f"{execution.interpreter[0]} (script)"


def _made(workspace: Path) -> Path:
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    return workspace


def _cwd(launching: Launching, workspace: Path) -> str:
    """Where it starts without a sandbox; a place in the workspace of one that was lost is the same one."""
    asked = launching.execution.cwd
    if asked is None or launching.is_sandboxed:
        return str(workspace)
    inside = PurePosixPath(asked)
    wanted = launching.plan.requested_sandbox.profile
    if wanted is SandboxProfile.LINUX_SANDBOX and inside.is_relative_to(INSIDE_WORKSPACE):
        return str(workspace / inside.relative_to(INSIDE_WORKSPACE))
    return asked


def _sandbox(launching: Launching, host: HostCapabilities) -> SandboxLaunch:
    """Raises SandboxSetupFailed."""
    bwrap, unshared = host.sandbox.bwrap, launching.given.namespaces
    if bwrap is None or unshared is None:
        raise SandboxSetupFailed("sandbox", "bubblewrap", errno.ENOENT)
    memory_bytes = launching.request.limits.memory_bytes
    return SandboxLaunch(
        bwrap=bwrap,
        cwd=launching.execution.cwd or INSIDE_WORKSPACE,
        namespaces=frozenset(name for name, is_unshared in unshared.model_dump().items() if is_unshared),
        rootfs=_rootfs(launching),
        tmp_bytes=room_bytes(TMP_BYTES, memory_bytes),
        run_bytes=room_bytes(RUN_BYTES, memory_bytes),
        egress=launching.has_egress,
    )


def _rootfs(launching: Launching) -> str | None:
    """Raises SandboxSetupFailed: it lies where workers write, and might be changed while it is mounted on."""
    asked = launching.given.rootfs
    if asked is not None and Path(asked).resolve().is_relative_to(launching.directory.parent.resolve()):
        raise SandboxSetupFailed("rootfs", f"{asked} lies in the store, where workers write", errno.EPERM)
    return asked


def _argv(launching: Launching) -> tuple[str, ...]:
    execution = launching.execution
    if execution.kind == "command":
        assert execution.program is not None
        return (execution.program, *execution.args)
    assert execution.script is not None
    script = launching.directory / _SCRIPT
    script.write_text(execution.script)
    script.chmod(0o600)
    path = INSIDE_SCRIPT if launching.is_sandboxed else str(script)
    return (*execution.interpreter, path, *execution.args)


def _environment(
    launching: Launching, workspace: Path, cookie: str, options: RuntimeOptions
) -> dict[str, str]:
    name, _, value = cookie.partition("=")
    return {
        "HOME": INSIDE_WORKSPACE if launching.is_sandboxed else str(workspace),
        "PATH": options.worker_path,
        "LANG": options.worker_lang,
        **(proxy_environment(launching.given.network_allow) if launching.has_egress else {}),
        **launching.execution.env,
        name: value,
    }
