"""What a host lacks is told with what it costs a worker and what would change it."""

from __future__ import annotations

from typing import Any

import pytest

from watchglass.runtime.capabilities import Found, HostCapabilities
from watchglass.runtime.describing import described
from watchglass.server.cli.host_facts import HostFacts, host_facts
from watchglass.server.cli.host_report import Ability, abilities

from support.hosts import EVERYTHING, NOTHING, limits_with, sandbox_with

PLAIN = HostFacts(uid=1000, is_container=False)
ROOT = HostFacts(uid=0, is_container=False)
CONTAINER = HostFacts(uid=0, is_container=True)


def told(host: HostCapabilities, facts: HostFacts) -> dict[str, Ability]:
    document: Any = described(host, "rt").model_dump(mode="json")
    return {ability.name: ability for ability in abilities(document, facts)}


def advice(name: str, facts: HostFacts, reason: str = "Operation not permitted") -> str:
    refused = Found(None, reason)
    host = HostCapabilities(sandbox=sandbox_with(refused), limits=limits_with(refused))
    return "; ".join(told(host, facts)[name].advice)


def test_a_host_that_can_do_all_needs_no_advice() -> None:
    every = told(EVERYTHING, PLAIN)
    assert all(ability.is_there and ability.mechanism and not ability.advice for ability in every.values())
    assert not any(name.startswith("namespace ") for name in every)


def test_what_a_host_cannot_do_has_a_reason_and_a_price() -> None:
    nothing = told(NOTHING, PLAIN)
    assert {"namespace mount", "namespace net"} <= set(nothing)
    for name, ability in nothing.items():
        assert (ability.is_there, ability.reason) == (False, "not here"), name
        assert ability.means != told(EVERYTHING, PLAIN).get(name, ability._replace(means="")).means, name


@pytest.mark.parametrize(
    ("facts", "reason", "says"),
    [
        (PLAIN, "no bubblewrap (bwrap) is installed", "install bubblewrap"),
        (
            HostFacts(uid=1, is_container=False, userns_clone=0),
            "denied",
            "kernel.unprivileged_userns_clone=1",
        ),
        (HostFacts(uid=1, is_container=False, userns_max=0), "denied", "user.max_user_namespaces"),
        (HostFacts(uid=1, is_container=False, apparmor_userns=1), "denied", "AppArmor"),
        (CONTAINER, "denied", "seccomp=unconfined"),
    ],
)
def test_a_sandbox_that_cannot_be_had_is_explained_by_what_stands_in_its_way(
    facts: HostFacts, reason: str, says: str
) -> None:
    assert says in advice("linux_sandbox", facts, reason)


@pytest.mark.parametrize(
    ("facts", "says"), [(PLAIN, "Delegate=yes"), (ROOT, "/sys/fs/cgroup"), (CONTAINER, "--cgroupns=private")]
)
def test_how_to_come_to_control_groups_depends_on_who_asks(facts: HostFacts, says: str) -> None:
    for name in ("memory", "pids", "cpu_time", "oom_detection"):
        assert says in advice(name, facts)


def test_users_of_their_own_take_root() -> None:
    assert "as root" in advice("own_uid", PLAIN)
    assert "--worker-uid-base" in advice("own_uid", ROOT)


def test_switches_that_a_kernel_does_not_have_are_none() -> None:
    switches = {
        "/proc/sys/kernel/unprivileged_userns_clone": "0\n",
        "/proc/sys/user/max_user_namespaces": "x",
    }
    facts = host_facts(switches.get)
    assert (facts.userns_clone, facts.userns_max, facts.apparmor_userns) == (0, None, None)
