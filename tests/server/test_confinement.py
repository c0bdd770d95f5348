"""What serve is told of its host, and how it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchglass.protocol.execution import CapabilityMode
from watchglass.runtime import RuntimeOptions
from watchglass.server.config import serve_config
from watchglass.server.config_error import ConfigError
from watchglass.server.confinement import (
    WORKER_UID_MAX,
    WORKER_UIDS_MAX,
    ConfinementFault,
    capability_mode_of,
    cgroup_root_of,
    worker_uids_of,
)
from watchglass.server.flags import ServeFlags


def test_without_a_word_it_is_adaptive_with_the_groups_that_can_be_made() -> None:
    assert serve_config(ServeFlags()).runtime == RuntimeOptions(keep_workers=True)
    assert capability_mode_of(None) is RuntimeOptions().capability_mode is CapabilityMode.ADAPTIVE


def test_serve_takes_mode_groups_and_users() -> None:
    options = serve_config(
        ServeFlags(
            capability_mode="strict", cgroup_root="/agents", worker_uid_base="20000", capacity_memory="host"
        )
    ).runtime
    assert (options.capability_mode, options.cgroup_root) == (CapabilityMode.STRICT, Path("/agents"))
    assert (options.worker_uid_base, options.capacity_memory_bytes) == (20_000, "host")
    assert serve_config(ServeFlags(cgroups=False)).runtime.cgroup_enabled is False
    assert serve_config(ServeFlags(worker_uid_count="1000")).runtime.worker_uid_count == 1000


@pytest.mark.parametrize("count", ["0", "many", str(WORKER_UIDS_MAX + 1)])
def test_workers_are_at_least_one_user_and_at_most_a_million(count: str) -> None:
    with pytest.raises(ConfigError, match="--worker-uid-count"):
        serve_config(ServeFlags(worker_uid_count=count))


@pytest.mark.parametrize("mode", ["", "STRICT", "lenient"])
def test_another_mode_is_refused(mode: str) -> None:
    with pytest.raises(ConfinementFault, match="use one of adaptive, strict"):
        capability_mode_of(mode)


@pytest.mark.parametrize("root", ["", "agents", "../agents", "/agents/../..", "/a\0b"])
def test_a_group_is_named_by_an_absolute_path(root: str) -> None:
    with pytest.raises(ConfinementFault, match=r"--cgroup-root .*absolute path"):
        cgroup_root_of(root, cgroups=True)


def test_a_root_for_groups_that_are_not_made_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--cgroup-root '/agents': not with --no-cgroups"):
        serve_config(ServeFlags(cgroup_root="/agents", cgroups=False))


@pytest.mark.parametrize("uid", ["0", "-1", "worker", str(WORKER_UID_MAX + 1)])
def test_no_worker_is_root_or_nobody_at_all(uid: str) -> None:
    with pytest.raises(ConfigError, match="--worker-uid-base"):
        serve_config(ServeFlags(worker_uid_base=uid))


def test_users_of_their_own_are_for_sandboxes_or_for_all_of_a_server_that_is_root() -> None:
    for uid in (0, 1000):
        assert worker_uids_of(None, server_uid=uid) == RuntimeOptions().worker_uids == "sandboxed"
        assert worker_uids_of("sandboxed", server_uid=uid) == "sandboxed"
    assert worker_uids_of("all", server_uid=0) == "all"
    with pytest.raises(ConfinementFault, match=r"--worker-uids all: .* this is user 1000; start it as root"):
        worker_uids_of("all", server_uid=1000)


@pytest.mark.parametrize("who", ["", "ALL", "none"])
def test_others_than_these_are_refused(who: str) -> None:
    with pytest.raises(ConfigError, match=r"--worker-uids .*: use one of sandboxed, all"):
        serve_config(ServeFlags(worker_uids=who))


def test_a_capacity_is_a_number_or_the_host() -> None:
    with pytest.raises(ConfigError, match="--capacity-memory 'all': use a size"):
        serve_config(ServeFlags(capacity_memory="all"))
