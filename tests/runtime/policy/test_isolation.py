"""What a sandbox asks for by its name, and what is left of it where it cannot be had."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from watchglass.protocol.execution import Enforcement, FilesystemAccess, Network, Sandbox, SandboxProfile
from watchglass.runtime.capabilities import Found, SandboxCapabilities
from watchglass.runtime.policy.decision import Decision
from watchglass.runtime.policy.isolation import effective_sandbox, isolation, wanted_network

from support.hosts import BWRAP, NOT_HERE, sandbox_with

FULL = sandbox_with()
LANDLOCK = Found("Landlock ABI 6")


def decided(host: SandboxCapabilities, **asked: Any) -> tuple[dict[str, Decision], Sandbox]:
    wanted = Sandbox.model_validate(asked)
    decisions = {decision.feature: decision for decision in isolation(wanted, host)}
    return decisions, effective_sandbox(wanted, decisions)


@pytest.mark.parametrize(
    ("asked", "network"),
    [
        ({}, None),
        ({"namespaces": {}}, None),
        ({"namespaces": {"net": True}}, Network.NONE),
        ({"network": "host"}, Network.HOST),
        ({"profile": "linux_sandbox"}, Network.NONE),
        ({"profile": "linux_sandbox", "namespaces": {}}, Network.HOST),
        ({"profile": "linux_sandbox", "namespaces": {"net": True}}, Network.NONE),
        ({"profile": "linux_sandbox", "network": "host"}, Network.HOST),
        ({"profile": "linux_sandbox", "namespaces": {}, "network": "none"}, Network.NONE),
    ],
)
def test_network_is_off_in_a_sandbox_unless_the_request_says_otherwise(
    asked: dict[str, Any], network: Network | None
) -> None:
    assert wanted_network(Sandbox.model_validate(asked)) == network


def test_a_full_sandbox_unshares_all_and_holds_hard() -> None:
    decisions, given = decided(FULL, profile="linux_sandbox")
    assert given.namespaces is not None
    assert set(given.namespaces.model_dump().values()) == {True}
    assert (given.network, given.filesystem) == (Network.NONE, FilesystemAccess.RESTRICTED)
    asked_for = [decision for decision in decisions.values() if decision.requested is not None]
    assert {decision.enforced for decision in asked_for} == {Enforcement.HARD}


def test_a_namespace_that_was_not_asked_for_is_left_shared_but_the_mounts() -> None:
    none = dict.fromkeys(("mount", "pid", "uts", "ipc"), False)
    decisions, given = decided(FULL, profile="linux_sandbox", namespaces=none)
    assert given.namespaces is not None
    assert given.namespaces.model_dump() == {**none, "mount": True, "net": False}
    assert not any(decision.is_lost for decision in decisions.values())


def test_one_namespace_that_the_host_refuses_is_lost_alone() -> None:
    namespaces = {**FULL.namespaces, "pid": NOT_HERE}
    decisions, given = decided(replace(FULL, namespaces=namespaces), profile="linux_sandbox")
    assert [name for name, decision in decisions.items() if decision.is_lost] == ["sandbox.namespaces.pid"]
    assert given.profile is SandboxProfile.LINUX_SANDBOX


def test_without_the_sandbox_landlock_and_the_filter_are_what_is_left() -> None:
    host = sandbox_with(NOT_HERE, restricted_filesystem=LANDLOCK, seccomp=Found("seccomp(2)"))
    decisions, given = decided(host, profile="linux_sandbox")
    assert given.filesystem is FilesystemAccess.RESTRICTED
    assert decisions["sandbox.filesystem"].mechanism == LANDLOCK.mechanism
    assert decisions["sandbox.seccomp"].effective is True
    assert [name for name, decision in decisions.items() if decision.is_lost] == ["sandbox.profile"]


def test_profile_process_closes_the_network_by_the_filter_and_says_what_stays_open() -> None:
    decisions, given = decided(sandbox_with(NOT_HERE, seccomp=Found("seccomp(2)")), network="none")
    assert given.network is Network.NONE
    assert decisions["sandbox.network"].mechanism == "seccomp(2)"
    assert decisions["sandbox.network"].is_weak
    without, given = decided(sandbox_with(NOT_HERE), network="none")
    assert without["sandbox.network"].is_lost
    assert given.network is Network.HOST


def test_a_root_of_its_own_takes_a_sandbox() -> None:
    asked = {"profile": "linux_sandbox", "rootfs": "/srv/root", "chroot": True}
    assert decided(FULL, **asked)[1].chroot
    for host in (replace(FULL, rootfs=NOT_HERE), sandbox_with(NOT_HERE)):
        decisions, given = decided(host, **asked)
        assert decisions["sandbox.rootfs"].is_lost
        assert (given.rootfs, given.chroot) == (None, False)


def test_what_is_weak_about_a_thing_that_is_given_is_told() -> None:
    weak = replace(BWRAP, reason="/proc is the host's")
    decisions, _ = decided(replace(FULL, linux_sandbox=weak), profile="linux_sandbox")
    assert decisions["sandbox.profile"].is_weak
    assert decisions["sandbox.profile"].told == "sandbox.profile: /proc is the host's"


def test_a_filter_beside_landlock_is_given_where_it_can_be_and_missed_nowhere() -> None:
    with_filter, _ = decided(FULL, filesystem="restricted")
    assert with_filter["sandbox.seccomp"].effective is True
    without, _ = decided(replace(FULL, seccomp=NOT_HERE), filesystem="restricted")
    assert not without["sandbox.seccomp"].is_lost


def test_a_uid_of_its_own_and_an_exact_exit_are_told_of_sandboxes_and_asked_by_nobody() -> None:
    decisions, _ = decided(replace(FULL, own_uid=NOT_HERE, exact_exit=NOT_HERE), profile="linux_sandbox")
    for feature in ("sandbox.own_uid", "exit.exact"):
        assert (decisions[feature].effective, decisions[feature].is_lost) == (False, False)
    plain, _ = decided(FULL)
    assert set(plain) == {"sandbox.profile", "sandbox.no_new_privs"}


@pytest.mark.parametrize("asked", [{"filesystem": "restricted"}, {"profile": "linux_sandbox"}])
def test_who_is_kept_by_landlock_has_a_uid_of_its_own_where_it_can_be_brought_to_its_workspace(
    asked: dict[str, Any],
) -> None:
    host = replace(FULL, linux_sandbox=NOT_HERE)
    with_uid, _ = decided(host, **asked)
    assert with_uid["sandbox.own_uid"].effective is True
    assert with_uid["sandbox.filesystem"].reason is None
    for lacking in (replace(host, own_uid=NOT_HERE), replace(host, own_place=NOT_HERE)):
        without, _ = decided(lacking, **asked)
        told = without["sandbox.own_uid"]
        assert (told.effective, told.reason) == (False, NOT_HERE.reason)
        assert without["sandbox.filesystem"].is_weak
        assert not without["sandbox.filesystem"].is_lost
    kept_by_nothing, _ = decided(replace(host, restricted_filesystem=NOT_HERE), **asked)
    assert "sandbox.own_uid" not in kept_by_nothing
