"""What the probe says of sandboxes is what then holds, here and where something is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from watchglass.runtime.executor import _trial_request as request
from watchglass.runtime.executor import bubblewraps, open_executor

from support.passing import let_others_pass

pytestmark = pytest.mark.asyncio


async def test_it_names_the_bubblewrap_that_works_or_why_none_does() -> None:
    async with open_executor() as executor:
        found = (await executor.probe()).sandbox
    assert bool(found.linux_sandbox) == (found.bwrap is not None)
    assert set(found.namespaces) == {"mount", "pid", "uts", "ipc", "net"}
    told = (found.linux_sandbox, found.rootfs, found.seccomp, found.own_uid, found.exact_exit)
    for answer in (*told, found.network_proxy):
        assert bool(answer) == (answer.reason is None)
    if found.bwrap is not None:
        assert found.bwrap in bubblewraps()
        assert all(found.namespaces.values())
        assert found.network_proxy


async def test_without_a_bubblewrap_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "bubblewraps", list)
    async with open_executor() as executor:
        found = (await executor.probe()).sandbox
    assert found.linux_sandbox.reason == "no bubblewrap (bwrap) is installed"
    assert {answer.mechanism for answer in found.namespaces.values()} == {None}
    assert found.bwrap is None


async def test_a_bubblewrap_that_fails_is_quoted_and_the_next_one_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    broken.chmod(0o755)
    let_others_pass(tmp_path)
    monkeypatch.setattr(request, "bubblewraps", lambda: [str(broken)])
    async with open_executor() as executor:
        alone = (await executor.probe()).sandbox
    assert alone.linux_sandbox.reason == "bwrap: setting up uid map: Permission denied"
    assert alone.namespaces["net"].reason == alone.linux_sandbox.reason
    assert alone.network_proxy.reason == alone.linux_sandbox.reason
    monkeypatch.setattr(request, "bubblewraps", lambda: [str(broken), *bubblewraps()])
    async with open_executor() as executor:
        followed = (await executor.probe()).sandbox
    assert followed.bwrap != str(broken)


def left_places_of_trials() -> set[Path]:
    """Those whose maker is gone; other runtimes may be probing here, and leave after their place is gone."""
    places = Path("/tmp").glob("watchglass-probe-*")
    gone = {place for place in places if not Path("/proc", place.name.split("-")[2]).exists()}
    return {place for place in gone if place.exists()}


async def test_it_leaves_nothing_behind() -> None:
    before = left_places_of_trials()
    async with open_executor() as executor:
        await executor.probe()
    assert left_places_of_trials() <= before


async def test_a_server_that_is_not_root_has_no_uids_to_give() -> None:
    async with open_executor() as executor:
        found = (await executor.probe()).sandbox
    assert bool(found.own_uid) == (os.geteuid() == 0)
    assert bool(found.own_place) <= bool(found.own_uid)
    if os.geteuid() != 0:
        assert found.own_place.reason == "the server is not root"
