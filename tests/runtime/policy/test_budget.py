"""Which limits hold for the whole tree, which for each process, and which only on paper."""

from __future__ import annotations

import pytest

from watchglass.protocol.execution import Enforcement, Limits, Reservation, ResourceEnforcement
from watchglass.runtime.capabilities import Found, LimitCapabilities
from watchglass.runtime.ledger import held_to
from watchglass.runtime.policy.budget import budget, enforcement
from watchglass.runtime.policy.decision import Decision

from support.hosts import NOT_HERE, limits_with

ALL = Limits(wall_time_ms=5, cpu_time_sec=6, memory_bytes=7, pids_max=8, stdout_max_bytes=9)


def decided(host: LimitCapabilities, asked: Limits = ALL) -> dict[str, Decision]:
    return {decision.feature: decision for decision in budget(asked, host)}


def test_with_control_groups_every_budget_is_the_tree_s() -> None:
    decisions = decided(limits_with())
    assert {decision.enforced for decision in decisions.values()} == {Enforcement.HARD}
    held = enforcement(ALL, decisions)
    assert held.memory_enforced
    assert held.pids_enforced
    assert held.cpu_time_enforced
    assert held.cgroup_enforced
    assert held.oom_detection


def test_without_them_memory_and_cpu_hold_for_each_process_and_pids_not_at_all() -> None:
    decisions = decided(limits_with(NOT_HERE))
    memory, cpu, pids = (decisions[f"limits.{name}"] for name in ("memory_bytes", "cpu_time_sec", "pids_max"))
    assert (memory.mechanism, memory.enforced, memory.is_lost) == (
        "RLIMIT_DATA, proc",
        Enforcement.SOFT,
        True,
    )
    assert (cpu.mechanism, cpu.enforced, cpu.is_lost) == ("RLIMIT_CPU, proc", Enforcement.SOFT, False)
    assert cpu.is_weak
    assert (pids.effective, pids.enforced, pids.is_lost) == (None, Enforcement.NONE, True)
    held = enforcement(ALL, decisions)
    assert (held.memory_enforced, held.cpu_time_enforced, held.pids_enforced) == (True, True, False)
    assert not held.cgroup_enforced
    assert not held.oom_detection


@pytest.mark.parametrize("name", ["wall_time_ms", "stdout_max_bytes"])
def test_what_the_supervisor_holds_takes_nothing_of_the_host(name: str) -> None:
    decision = decided(limits_with(NOT_HERE))[f"limits.{name}"]
    assert (decision.mechanism, decision.enforced) == ("supervisor", Enforcement.HARD)


def test_a_budget_that_nobody_asked_for_is_not_in_the_plan() -> None:
    assert set(decided(limits_with(), Limits())) == {"tree_kill"}


def test_a_tree_is_always_killed_but_not_by_one_call_everywhere() -> None:
    assert decided(limits_with(tree_kill=Found("cgroup.kill")))["tree_kill"].enforced is Enforcement.HARD
    for found in (NOT_HERE, Found("subreaper")):
        by_hand = decided(limits_with(tree_kill=found))["tree_kill"]
        assert (by_hand.mechanism, by_hand.enforced) == ("subreaper", Enforcement.SOFT)


def test_a_limit_on_processes_that_needs_no_control_group_is_not_called_one() -> None:
    by_uid = limits_with(NOT_HERE, pids=Found("RLIMIT_NPROC of an own uid"))
    held = enforcement(ALL, decided(by_uid))
    assert held.pids_enforced
    assert not held.cgroup_enforced


DEFAULTS = Reservation(task_slots=1, memory_bytes=70, pids=80)


def imposed(host: LimitCapabilities, asked: Limits) -> tuple[dict[str, Decision], ResourceEnforcement]:
    decisions = {decision.feature: decision for decision in budget(asked, host, DEFAULTS)}
    return decisions, enforcement(held_to(asked, DEFAULTS), decisions)


def test_a_default_of_the_ledger_is_told_with_what_holds_it() -> None:
    decisions, told = imposed(limits_with(), Limits())
    assert (told.memory_bytes, told.memory_enforced, told.pids_max, told.pids_enforced) == (
        70,
        True,
        80,
        True,
    )
    assert (told.cgroup_enforced, told.oom_detection) == (True, True)
    assert [decisions[f"limits.{name}"].requested for name in ("memory_bytes", "pids_max")] == [None, None]


def test_a_default_that_the_host_cannot_hold_is_no_loss_and_no_warning() -> None:
    decisions, told = imposed(limits_with(NOT_HERE), Limits())
    assert not any(decision.is_lost or decision.is_weak for decision in decisions.values())
    assert (told.memory_enforced, told.pids_enforced) == (True, False)


def test_a_limit_beside_a_default_is_a_limit() -> None:
    decisions, told = imposed(limits_with(NOT_HERE), Limits(pids_max=8))
    assert (told.pids_max, decisions["limits.pids_max"].is_lost) == (8, True)
    assert (told.memory_bytes, decisions["limits.memory_bytes"].is_lost) == (70, False)


def test_a_user_of_its_own_holds_the_processes_where_no_group_does_but_strict_wants_a_group() -> None:
    [pids] = [
        decision
        for decision in budget(Limits(pids_max=8), limits_with(NOT_HERE), is_counted_alone=True)
        if decision.feature == "limits.pids_max"
    ]
    assert (pids.effective, pids.mechanism, pids.enforced) == (8, "RLIMIT_NPROC", Enforcement.SOFT)
    assert pids.is_lost
    told = enforcement(Limits(pids_max=8), {pids.feature: pids})
    assert (told.pids_enforced, told.cgroup_enforced) == (True, False)
