"""From submitting a task that runs `/bin/true` to its end on record, and how many end in a second.

The store is on disk at its default durability. The references run the same
program with no journal, no limits and no files: `subprocess.Popen`, and bare
`bwrap` where there is one and it works.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

import bare
from report import Case, Measured, Row, Scale, Spread, Target, interleaved
from serving import Connection, Server, serving

PROGRAM = "/bin/true"
AT_ONCE = 16
WAIT_MS = 30_000
BWRAP = ("bwrap", "--unshare-pid", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")
TARGETS: Mapping[str, tuple[Target, Target]] = {
    "process": (Target("≤", 8), Target("≥", 150)),
    "linux_sandbox": (Target("≤", 20), Target("≥", 60)),
}
REFERENCES: Mapping[str, tuple[Sequence[str], str]] = {
    "process": ((PROGRAM,), "subprocess.Popen"),
    "linux_sandbox": ((*BWRAP, "--", PROGRAM), "bwrap"),
}


def run(scale: Scale) -> list[Row]:
    """One after the other, then many at once, for each profile that the host gives."""
    ways: dict[str, Callable[[], Measured]] = {}
    with serving("--store=fs", f"--fs-root={scale.directory}") as server, server.connect() as connection:
        profiles = [profile for profile in TARGETS if _is_given(connection, profile)]
        for profile in profiles:
            ways[f"served {profile}"] = partial(_served, server, profile, scale)
            ways[f"bare {profile}"] = partial(_bare, REFERENCES[profile][0], scale)
        seen = interleaved(scale.repetitions, ways)
    return [row for profile in profiles for row in _rows(profile, seen)]


def _rows(profile: str, seen: Mapping[str, Mapping[str, Spread]]) -> list[Row]:
    served, reference = seen[f"served {profile}"], seen[f"bare {profile}"]
    median, rate = TARGETS[profile]
    beside = REFERENCES[profile][1]
    return [
        Row(
            f"task submitted to its end, {profile} (beside {beside})",
            "ms",
            served["ms"],
            reference.get("ms"),
            target=median,
        ),
        Row(f"the same, by its own times, {profile}", "ms", served["inside"]),
        Row(
            f"tasks ended, {AT_ONCE} clients, {profile} (beside {beside})",
            "a second",
            served["rate"],
            reference.get("rate"),
            target=rate,
        ),
    ]


def _is_given(connection: Connection, profile: str) -> bool:
    """Whether a task really runs in this profile, and not in a lesser one."""
    said = _finished(connection, profile)
    effective = said["execution_plan"]["effective_sandbox"]["profile"]
    return bool(said["status"] == "success" and effective == profile)


def _served(server: Server, profile: str, scale: Scale) -> Measured:
    taken: list[float] = []
    inside: list[float] = []
    with server.connect() as connection:
        for _ in range(scale.of(100, 5)):
            began = time.perf_counter()
            said = _finished(connection, profile)
            taken.append(time.perf_counter() - began)
            inside.append(_time_s(said["finished_at"]) - _time_s(said["created_at"]))
    return {
        "ms": 1000 * statistics.median(taken),
        "inside": 1000 * statistics.median(inside),
        "rate": _rate(server, profile, scale.of(320, 32)),
    }


def _rate(server: Server, profile: str, count: int) -> float:
    def finish_some(connection: Connection) -> None:
        for _ in range(count // AT_ONCE):
            _finished(connection, profile)

    connections = [server.connect() for _ in range(AT_ONCE)]
    try:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            began = time.perf_counter()
            list(threads.map(finish_some, connections))
            return count / (time.perf_counter() - began)
    finally:
        for connection in connections:
            connection.__exit__()


def _finished(connection: Connection, profile: str) -> Any:
    request = {"execution": {"kind": "command", "program": PROGRAM}, "sandbox": {"profile": profile}}
    task_id = connection.request("POST", "/api/v1/tasks", request)["task_id"]
    return connection.request("GET", f"/api/v1/tasks/{task_id}?wait_ms={WAIT_MS}")


def _bare(argv: Sequence[str], scale: Scale) -> Measured:
    """Nothing when the program is not there, or cannot do it here."""
    if shutil.which(argv[0]) is None or subprocess.run(argv, capture_output=True, check=False).returncode:
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


def _time_s(said: str) -> float:
    return datetime.fromisoformat(said).timestamp()


CASE = Case("task_exit", "One-shot tasks", run)
