"""What was promised beside what is in force: the difference has a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from watchglass.protocol.execution import CapabilityMode
from watchglass.runtime.executor import LaunchPlan, Verified
from watchglass.runtime.policy import resolve, shortfalls

from support.hosts import EVERYTHING
from support.workers import request_of

FULL = Verified(
    pid=2,
    no_new_privs=True,
    seccomp=True,
    uid=100,
    capabilities=0,
    unshared=frozenset({"mount", "pid", "uts", "ipc", "net", "user"}),
    held_by=frozenset({"memory", "pids", "cpu_time", "kill"}),
)
LAUNCH = LaunchPlan(argv=("true",), env={}, cwd="/", directory=Path("/"), cookie="A=b", seccomp=True, uid=100)
NO_LIMITS: Mapping[str, int] = {}
PLAIN = replace(LAUNCH, seccomp=False, uid=None)


def missing(
    found: Verified, launch: LaunchPlan = LAUNCH, limits: Mapping[str, int] = NO_LIMITS, **sandbox: Any
) -> list[str]:
    request = request_of(execution={"program": "true"}, sandbox=sandbox, limits=limits)
    plan = resolve(request, CapabilityMode.ADAPTIVE, EVERYTHING)
    return [shortfall.feature for shortfall in shortfalls(plan, launch, found)]


@pytest.mark.parametrize(
    ("found", "feature"),
    [
        (replace(FULL, no_new_privs=False), "sandbox.no_new_privs"),
        (replace(FULL, seccomp=False), "sandbox.seccomp"),
        (replace(FULL, uid=0), "sandbox.own_uid"),
        (replace(FULL, capabilities=1), "sandbox.profile"),
        (replace(FULL, unshared=FULL.unshared - {"net"}), "sandbox.network"),
        (replace(FULL, unshared=FULL.unshared - {"mount"}), "sandbox.namespaces.mount"),
        (replace(FULL, unshared=FULL.unshared - {"pid"}), "sandbox.namespaces.pid"),
        (replace(FULL, unshared=FULL.unshared - {"uts"}), "sandbox.namespaces.uts"),
        (replace(FULL, unshared=FULL.unshared - {"ipc"}), "sandbox.namespaces.ipc"),
    ],
)
def test_each_promise_of_a_sandbox_is_looked_at(found: Verified, feature: str) -> None:
    assert missing(FULL, profile="linux_sandbox") == []
    assert missing(found, profile="linux_sandbox") == [feature]


def test_what_is_not_promised_is_not_missed() -> None:
    nothing: frozenset[str] = frozenset()
    bare = replace(FULL, seccomp=False, uid=0, capabilities=(1 << 40) - 1, unshared=nothing, held_by=nothing)
    assert missing(bare, PLAIN) == []
    shared = replace(FULL, unshared=FULL.unshared - {"net", "uts"})
    assert missing(shared, profile="linux_sandbox", network="host", namespaces={"uts": False}) == []


def test_a_network_that_the_filter_closes_needs_the_filter() -> None:
    closed = replace(PLAIN, internet=False)
    assert missing(replace(FULL, seccomp=False), closed, network="none") == ["sandbox.network"]


@pytest.mark.parametrize(
    ("limit", "service"), [("memory_bytes", "memory"), ("pids_max", "pids"), ("cpu_time_sec", "cpu_time")]
)
def test_a_limit_that_a_control_group_holds_needs_the_process_in_it(limit: str, service: str) -> None:
    limits = {limit: 1 << 20}
    assert missing(FULL, PLAIN, limits) == []
    assert missing(replace(FULL, held_by=FULL.held_by - {service}), PLAIN, limits) == [f"limits.{limit}"]


def test_a_user_of_its_own_is_looked_at_without_a_sandbox_too() -> None:
    assert missing(FULL, replace(PLAIN, uid=FULL.uid)) == []
    assert missing(replace(FULL, uid=0), replace(PLAIN, uid=FULL.uid)) == ["sandbox.own_uid"]
