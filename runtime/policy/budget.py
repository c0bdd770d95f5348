"""What a worker's process tree is held to: `limits` of a request, decided.

A budget is for the whole tree. Without a control group it holds for each process,
and for the sum only as often as the supervisor looks: of memory that is a loss, for
a tree can take all there is meanwhile; of CPU time, which takes time to use, a warning.
"""

from __future__ import annotations

from collections.abc import Iterator

from watchglass.protocol.execution import Enforcement, Limits, ResourceEnforcement
from watchglass.runtime.capabilities import Found, LimitCapabilities

from .decision import Decision, lost

SUPERVISOR = "supervisor"
CGROUP = "cgroup"
"""What the mechanism's name of every control group has in it."""
SUBREAPER = "subreaper"
"""Kills what is left of a tree one by one; who forks faster than that stays ahead."""
_SUPERVISED = ("wall_time_ms", "stdout_max_bytes", "stderr_max_bytes")


def budget(asked: Limits, host: LimitCapabilities) -> Iterator[Decision]:
    """Every decision about limits that somebody asked for, and about the tree's end."""
    for name in _SUPERVISED:
        value = getattr(asked, name)
        if value is not None:
            yield _held(f"limits.{name}", value, Found(SUPERVISOR))
    if asked.cpu_time_sec is not None:
        yield _cpu_time(asked.cpu_time_sec, host.cpu_time)
    if asked.memory_bytes is not None:
        yield _memory(asked.memory_bytes, host.memory)
        yield _oom_detection(host)
    if asked.file_size_bytes is not None:
        yield _held("limits.file_size_bytes", asked.file_size_bytes, Found("RLIMIT_FSIZE"))
    if asked.pids_max is not None:
        yield _pids(asked.pids_max, host.pids)
    yield _tree_kill(host.tree_kill)


def enforcement(asked: Limits, decisions: dict[str, Decision]) -> ResourceEnforcement:
    """The decisions in the contract's words."""
    held = {
        name: decision
        for name in ("cpu_time_sec", "memory_bytes", "pids_max")
        if (decision := decisions.get(f"limits.{name}")) is not None
        and decision.enforced is not Enforcement.NONE
    }
    detection = decisions.get("limits.oom_detection")
    return ResourceEnforcement(
        wall_time_ms=asked.wall_time_ms,
        cpu_time_sec=asked.cpu_time_sec,
        cpu_time_enforced="cpu_time_sec" in held,
        memory_bytes=asked.memory_bytes,
        memory_enforced="memory_bytes" in held,
        pids_max=asked.pids_max,
        pids_enforced="pids_max" in held,
        cgroup_enforced=any(CGROUP in (decision.mechanism or "") for decision in held.values()),
        oom_detection=detection is not None and detection.effective is True,
    )


def _cpu_time(cpu_time_sec: int, found: Found) -> Decision:
    if found:
        return _held("limits.cpu_time_sec", cpu_time_sec, found)
    return Decision(
        feature="limits.cpu_time_sec",
        requested=cpu_time_sec,
        effective=cpu_time_sec,
        mechanism="RLIMIT_CPU, proc",
        enforced=Enforcement.SOFT,
        reason=f"holds for each process, and for their sum as far as /proc tells it ({found.reason})",
    )


def _memory(memory_bytes: int, found: Found) -> Decision:
    if found:
        return _held("limits.memory_bytes", memory_bytes, found)
    return Decision(
        feature="limits.memory_bytes",
        requested=memory_bytes,
        effective=memory_bytes,
        mechanism="RLIMIT_DATA, proc",
        enforced=Enforcement.SOFT,
        reason=f"holds for the data of each process; their sum is looked at now and then ({found.reason})",
        is_lost=True,
    )


def _pids(pids_max: int, found: Found) -> Decision:
    if found:
        return _held("limits.pids_max", pids_max, found)
    return lost("limits.pids_max", pids_max, None, found.reason)


def _oom_detection(host: LimitCapabilities) -> Decision:
    found = host.oom_detection if host.memory else Found(None, "no control group bounds the memory")
    return Decision(
        feature="limits.oom_detection",
        effective=bool(found),
        mechanism=found.mechanism,
        enforced=Enforcement.HARD if found else Enforcement.NONE,
        reason=found.reason,
    )


def _tree_kill(found: Found) -> Decision:
    mechanism = found.mechanism or SUBREAPER  # That much every supervisor can do.
    return Decision(
        feature="tree_kill",
        effective=True,
        mechanism=mechanism,
        enforced=Enforcement.SOFT if mechanism == SUBREAPER else Enforcement.HARD,
        reason=found.reason,
    )


def _held(feature: str, value: int, found: Found) -> Decision:
    return Decision(
        feature=feature,
        requested=value,
        effective=value,
        mechanism=found.mechanism,
        enforced=Enforcement.HARD,
        reason=found.reason,
    )
