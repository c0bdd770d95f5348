"""What bubblewrap is asked for: where two words protect from the same, no sandbox shows one missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest

from watchglass.runtime.executor.host.bubblewrap import WORKSPACE, Doors, arguments

ALL = frozenset({"pid", "uts", "ipc", "net"})
ALWAYS = ["--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"]
MOUNTS = {
    "--bind-fd": 2,
    "--ro-bind": 2,
    "--ro-bind-try": 2,
    "--ro-bind-fd": 2,
    "--symlink": 2,
    "--file": 2,
    "--tmpfs": 1,
    "--proc": 1,
    "--dev": 1,
    "--dir": 1,
}
"""Options that make something, and how many words behind them the place is."""


def said(namespaces: frozenset[str] = ALL, rootfs: int | None = None) -> list[str]:
    doors = Doors(workspace=10, status=11, block=12, passwd=13, groups=14)
    doors.rootfs, doors.script, doors.seccomp = rootfs, 15, 16
    return arguments(doors, namespaces=namespaces, cwd=WORKSPACE, tmp_bytes=1 << 20, run_bytes=1 << 20)


def places(words: list[str]) -> Iterator[str]:
    """Where something is made, in order."""
    for at, word in enumerate(words):
        if word in MOUNTS:
            yield words[at + MOUNTS[word]]


def follows(words: list[str], one: str, other: str) -> bool:
    return (one, other) in list(pairwise(words))


@pytest.mark.parametrize("rootfs", [None, 20])
@pytest.mark.parametrize("namespaces", [ALL, frozenset[str]()])
def test_no_request_takes_away_what_every_sandbox_has(namespaces: frozenset[str], rootfs: int | None) -> None:
    words = said(namespaces, rootfs)
    assert [word for word in ALWAYS if word not in words] == []
    for pair in (("--cap-drop", "ALL"), ("--remount-ro", "/"), ("--seccomp", "16"), ("--block-fd", "12")):
        assert follows(words, *pair)


@pytest.mark.parametrize("wanted", [ALL, frozenset(), frozenset({"net"}), ALL - {"net"}, frozenset({"pid"})])
def test_a_namespace_is_unshared_when_it_is_asked_for(wanted: Iterable[str]) -> None:
    words = said(frozenset(wanted))
    assert {name for name in ALL if f"--unshare-{name}" in words} == set(wanted)


@pytest.mark.parametrize("rootfs", [None, 20])
def test_the_workspace_is_bound_last_and_nothing_lies_in_it(rootfs: int | None) -> None:
    """A link that its worker left there can lead no mount astray."""
    made = list(places(said(rootfs=rootfs)))
    assert made[-1] == WORKSPACE
    assert [place for place in made if place.startswith(f"{WORKSPACE}/")] == []
