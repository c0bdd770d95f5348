"""From a request to the exact command line, environment and folder of a process.

The environment starts empty, so that nothing of the server leaks: `HOME` is the
workspace, `PATH` and `LANG` are the runtime's, then the caller's own variables.
"""

from __future__ import annotations

from pathlib import Path

from watchglass.protocol.execution import ExecutionSpec, Limits, Reservation
from watchglass.protocol.identity import WorkerRef
from watchglass.protocol.workers import CreateWorkerRequest

from .executor import LaunchPlan
from .options import RuntimeOptions


def launch_plan(
    ref: WorkerRef, request: CreateWorkerRequest, directory: Path, options: RuntimeOptions
) -> LaunchPlan:
    """What the executor needs to start a worker; makes its workspace.

    Raises:
        OSError: The workspace or the script cannot be written.
    """
    assert request.execution is not None
    workspace = _workspace(directory, request.sandbox.workspace_subdir)
    limits = request.limits
    cookie = cookie_of(ref)
    return LaunchPlan(
        argv=_argv(request.execution, directory),
        env=_environment(request.execution, workspace, cookie, options),
        cwd=request.execution.cwd or str(workspace),
        directory=directory,
        cookie=cookie,
        grace_ms=options.grace_ms,
        wall_time_ms=limits.wall_time_ms,
        cpu_time_s=limits.cpu_time_sec,
        memory_bytes=limits.memory_bytes,
        stdout_max_bytes=limits.stdout_max_bytes or options.output_max_bytes,
        stderr_max_bytes=limits.stderr_max_bytes or options.output_max_bytes,
        outlives_server=options.keep_workers,
    )


def held_to(limits: Limits, held: Reservation | None) -> Limits:
    """The same limits, with what was reserved where none was asked for: nobody gets more than it reserved."""
    if held is None:
        return limits
    return limits.model_copy(
        update={
            "memory_bytes": limits.memory_bytes or held.memory_bytes,
            "pids_max": limits.pids_max or held.pids,
        }
    )


def cookie_of(ref: WorkerRef) -> str:
    """The variable by which a worker's processes are found when nobody watches them any more."""
    return f"WATCHGLASS_WORKER={ref.runtime_id}/{ref.worker_id}"


def shown_program(execution: ExecutionSpec | None) -> str | None:
    """What a list shows of a command."""
    if execution is None:
        return None
    return execution.program if execution.kind == "command" else f"{execution.interpreter[0]} (script)"


def _workspace(directory: Path, subdir: str | None) -> Path:
    workspace = directory / "workspace"
    inside = workspace / (subdir or "")
    inside.mkdir(mode=0o700, parents=True, exist_ok=True)
    return inside


def _argv(execution: ExecutionSpec, directory: Path) -> tuple[str, ...]:
    if execution.kind == "command":
        assert execution.program is not None
        return (execution.program, *execution.args)
    assert execution.script is not None
    script = directory / "script"
    script.write_text(execution.script)
    script.chmod(0o600)
    return (*execution.interpreter, str(script), *execution.args)


def _environment(
    execution: ExecutionSpec, workspace: Path, cookie: str, options: RuntimeOptions
) -> dict[str, str]:
    name, _, value = cookie.partition("=")
    return {
        "HOME": str(workspace),
        "PATH": options.worker_path,
        "LANG": options.worker_lang,
        **execution.env,
        name: value,
    }
