"""From submitting a task of `/bin/true` to its exit and to its end on record; how many end in a second.

The exit is the moment at which its supervisor found the program dead (`finished_at`), the
end is an answer that has it: then it is in the journal, and synced.
The store is on disk at its default durability. The references run the same
program with no journal, no limits and no files: `subprocess.Popen`, and below the
bubblewrap that the tasks get, bare.

Inside one program, without a server, the same is measured with and without
control groups.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import bare
from backend import Backend
from report import Case, Measured, Row, Scale, Spread, Target, interleaved
from serving import Connection, Server, serving

from watchglass.protocol.tasks import SubmitTaskRequest
from watchglass.runtime import RuntimeOptions, open_runtime
from watchglass.runtime.executor.sandbox import bubblewraps
from watchglass.store.filesystem import open_filesystem_store

PROGRAM = "/bin/true"
AT_ONCE = 16
WAIT_MS = 30_000
BARE_SANDBOX = ("--unshare-pid", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--")
GROUPS: Mapping[str, bool] = {"with control groups": True, "without control groups": False}
TARGETS: Mapping[str, tuple[Target, Target]] = {
    "process": (Target("≤", 8), Target("≥", 150)),
    "linux_sandbox": (Target("≤", 20), Target("≥", 60)),
}
C = TypeVar("C", Connection, Backend)
BESIDE: Mapping[str, str] = {"process": "subprocess.Popen", "linux_sandbox": "bwrap"}


def run(scale: Scale) -> list[Row]:
    """One after the other, then many at once, for each profile that the host gives."""
    ways: dict[str, Callable[[], Measured]] = {}
    with serving("--store=fs", f"--fs-root={scale.directory}") as server, server.connect() as connection:
        profiles = [profile for profile in TARGETS if _is_given(connection, profile)]
        for profile in profiles:
            ways[f"served {profile}"] = partial(_served, server, profile, scale)
            ways[f"bare {profile}"] = partial(_bare, _reference(profile), scale)
            for groups, is_on in GROUPS.items():
                ways[f"embedded {profile} {groups}"] = partial(_embedded, profile, is_on, scale)
        seen = interleaved(scale.repetitions, ways)
    return [row for profile in profiles for row in _rows(profile, seen)]


def _rows(profile: str, seen: Mapping[str, Mapping[str, Spread]]) -> list[Row]:
    served, reference = seen[f"served {profile}"], seen[f"bare {profile}"]
    median, rate = TARGETS[profile]
    beside = BESIDE[profile]
    return [
        Row(
            f"task submitted to its program's exit, {profile} (beside {beside})",
            "ms",
            served["exit"],
            reference.get("ms"),
            target=median,
        ),
        Row(f"the same, to the answer that has its end, {profile}", "ms", served["ms"], reference.get("ms")),
        Row(
            f"tasks ended, {AT_ONCE} clients, {profile} (beside {beside})",
            "a second",
            served["rate"],
            reference.get("rate"),
            target=rate,
        ),
        Row(f"the same over {AT_ONCE} sessions, {profile}", "a second", served["by session"]),
        *(
            Row(
                f"task submitted to its end, embedded runtime, {profile}, {groups}",
                "ms",
                seen[f"embedded {profile} {groups}"]["ms"],
                reference.get("ms"),
            )
            for groups in GROUPS
        ),
    ]


def _reference(profile: str) -> Sequence[str]:
    """The bare command line; empty when there is none."""
    if profile == "process":
        return (PROGRAM,)
    usable = bubblewraps()
    return (usable[0], *BARE_SANDBOX, PROGRAM) if usable else ()


def _is_given(connection: Connection, profile: str) -> bool:
    """Whether a task really runs in this profile, and not in a lesser one."""
    said = _finished(connection, profile)
    effective = said["execution_plan"]["effective_sandbox"]["profile"]
    return bool(said["status"] == "success" and effective == profile)


def _served(server: Server, profile: str, scale: Scale) -> Measured:
    taken: list[float] = []
    exits: list[float] = []
    with server.connect() as connection:
        for _ in range(scale.of(100, 5)):
            began, began_at = time.perf_counter(), time.time()
            said = _finished(connection, profile)
            taken.append(time.perf_counter() - began)
            exits.append(datetime.fromisoformat(said["finished_at"]).timestamp() - began_at)
    return {
        "ms": 1000 * statistics.median(taken),
        "exit": 1000 * statistics.median(exits),
        "rate": _rate(server.connect, partial(_finished, profile=profile), scale.of(320, 32)),
        "by session": _rate(
            partial(Backend, server), partial(_finished_by_session, profile=profile), scale.of(320, 32)
        ),
    }


def _rate(connect: Callable[[], C], finish: Callable[[C], object], count: int) -> float:
    def finish_some(connection: C) -> None:
        for _ in range(count // AT_ONCE):
            finish(connection)

    connections = [connect() for _ in range(AT_ONCE)]
    try:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            began = time.perf_counter()
            list(threads.map(finish_some, connections))
            return count / (time.perf_counter() - began)
    finally:
        for connection in connections:
            connection.__exit__()


def _request(profile: str) -> Mapping[str, object]:
    return {"execution": {"kind": "command", "program": PROGRAM}, "sandbox": {"profile": profile}}


def _finished(connection: Connection, profile: str) -> Any:
    task_id = connection.request("POST", "/api/v1/tasks", _request(profile))["task_id"]
    return connection.request("GET", f"/api/v1/tasks/{task_id}?wait_ms={WAIT_MS}")


def _finished_by_session(backend: Backend, profile: str) -> Any:
    task_id = backend.ask("tasks.submit", **_request(profile))["task_id"]
    return backend.ask("tasks.get", task_id=task_id, wait_ms=WAIT_MS)


def _embedded(profile: str, has_groups: bool, scale: Scale) -> Measured:
    with tempfile.TemporaryDirectory(dir=scale.directory) as root:
        taken = asyncio.run(_embedded_s(Path(root), profile, has_groups, scale.of(100, 5)))
    return {"ms": 1000 * statistics.median(taken)}


async def _embedded_s(root: Path, profile: str, has_groups: bool, count: int) -> list[float]:
    request = SubmitTaskRequest.model_validate(_request(profile))
    options = RuntimeOptions(cgroup_enabled=has_groups)
    taken: list[float] = []
    async with open_filesystem_store(root) as store, open_runtime(options, store) as runtime:
        for _ in range(count):
            began = time.perf_counter()
            submitted = await runtime.tasks.submit(request)
            await runtime.tasks.status(submitted.task_id, wait_s=WAIT_MS / 1000)
            taken.append(time.perf_counter() - began)
    return taken


def _bare(argv: Sequence[str], scale: Scale) -> Measured:
    """Nothing when the program is not there, or cannot do it here."""
    if not argv or subprocess.run(argv, capture_output=True, check=False).returncode:
        return {}
    taken: list[float] = []
    for _ in range(scale.of(100, 5)):
        began = time.perf_counter()
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            process.wait()
        taken.append(time.perf_counter() - began)
    return {
        "ms": 1000 * statistics.median(taken),
        "rate": bare.processes_per_s(argv, scale.of(320, 32), AT_ONCE),
    }


CASE = Case("task_exit", "One-shot tasks", run)
