"""What a worker's process tree is held to: `limits` of a request, decided.

A budget is for the whole tree. Without a control group it holds for each process,
and for the sum only as often as the supervisor looks: of memory that is a loss, for
a tree can take all there is meanwhile; of CPU time, which takes time to use, a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from watchglass.protocol.execution import Enforcement, Limits, Reservation, ResourceEnforcement
from watchglass.runtime.capabilities import Found, LimitCapabilities
from watchglass.runtime.ledger import held_to

from .decision import Decision, always, given, lost

SUPERVISOR = "supervisor"
CGROUP = "cgroup"
"""What the mechanism's name of every control group has in it."""
SUBREAPER = "subreaper"
"""Kills what is left of a tree one by one; who forks faster than that stays ahead."""
_SUPERVISED = ("wall_time_ms", "stdout_max_bytes", "stderr_max_bytes")


def budget(
    asked: Limits,
    host: LimitCapabilities,
    held: Reservation | None = None,
    *,
    is_counted_alone: bool = False,
) -> Iterator[Decision]:
    """Every decision about limits, asked for or come with `held`, and about the tree's end.

    `is_counted_alone`: where no control group counts its processes, the kernel does, and nobody else's.
    """
    for name in _SUPERVISED:
        value = getattr(asked, name)
        if value is not None:
            yield _held(f"limits.{name}", value, Found(SUPERVISOR))
    if asked.cpu_time_sec is not None:
        yield _cpu_time(asked.cpu_time_sec, host.cpu_time)
    limits = held_to(asked, held)
    if limits.memory_bytes is not None:
        memory = _memory(limits.memory_bytes, host.memory)
        yield memory if asked.memory_bytes is not None else _unasked(memory)
        yield _oom_detection(host)
    if asked.file_size_bytes is not None:
        yield _held("limits.file_size_bytes", asked.file_size_bytes, Found("RLIMIT_FSIZE"))
    if limits.pids_max is not None:
        pids = _pids(limits.pids_max, host.pids, is_counted_alone=is_counted_alone)
        yield pids if asked.pids_max is not None else _unasked(pids)
    yield _tree_kill(host.tree_kill)


def enforcement(limits: Limits, decisions: dict[str, Decision]) -> ResourceEnforcement:
    """The decisions in the contract's words; `limits` are those that it is held to as far as they say."""
    held = {
        name: decision
        for name in ("cpu_time_sec", "memory_bytes", "pids_max")
        if (decision := decisions.get(f"limits.{name}")) is not None
        and decision.enforced is not Enforcement.NONE
    }
    detection = decisions.get("limits.oom_detection")
    return ResourceEnforcement(
        wall_time_ms=limits.wall_time_ms,
        cpu_time_sec=limits.cpu_time_sec,
        cpu_time_enforced="cpu_time_sec" in held,
        memory_bytes=limits.memory_bytes,
        memory_enforced="memory_bytes" in held,
        pids_max=limits.pids_max,
        pids_enforced="pids_max" in held,
        cgroup_enforced=any(CGROUP in (decision.mechanism or "") for decision in held.values()),
        oom_detection=detection is not None and detection.effective is True,
    )


def _cpu_time(cpu_time_sec: int, found: Found) -> Decision:
    feature = "limits.cpu_time_sec"
    if found:
        return _held(feature, cpu_time_sec, found)
    why = f"holds for each process, and for their sum as far as /proc tells it ({found.reason})"
    return _weakly_held(feature, cpu_time_sec, "RLIMIT_CPU, proc", why)


def _memory(memory_bytes: int, found: Found) -> Decision:
    feature = "limits.memory_bytes"
    if found:
        return _held(feature, memory_bytes, found)
    why = f"holds for the data of each process; their sum is looked at now and then ({found.reason})"
    return _weakly_held(feature, memory_bytes, "RLIMIT_DATA, proc", why, is_lost=True)


def _pids(pids_max: int, found: Found, *, is_counted_alone: bool) -> Decision:
    feature = "limits.pids_max"
    if found:
        return _held(feature, pids_max, found)
    if not is_counted_alone:  # The kernel counts a user's processes, and those of others are among them.
        return lost(feature, pids_max, None, found.reason)
    why = f"holds for the processes of the worker's own user ({found.reason})"
    return _weakly_held(feature, pids_max, "RLIMIT_NPROC", why, is_lost=True)


def _unasked(decision: Decision) -> Decision:
    """A default of the ledger: what the host cannot give of it, nobody asked for."""
    return replace(decision, requested=None, is_lost=False)


def _oom_detection(host: LimitCapabilities) -> Decision:
    found = host.oom_detection if host.memory else Found(None, "no control group bounds the memory")
    return always("limits.oom_detection", found)


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
    return given(feature, value, value, found)


def _weakly_held(feature: str, value: int, mechanism: str, why: str, *, is_lost: bool = False) -> Decision:
    return Decision(
        feature=feature,
        requested=value,
        effective=value,
        mechanism=mechanism,
        enforced=Enforcement.SOFT,
        reason=why,
        is_lost=is_lost,
    )
