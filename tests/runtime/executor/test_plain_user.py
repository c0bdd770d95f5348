"""A supervisor without root: its sandbox is as tight, and its workers end as exactly.

Forked from the test and made nobody, for a program that nobody may read could
not be executed by nobody; what is tested is the supervisor itself.
"""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from watchglass.protocol.execution import SandboxProfile
from watchglass.runtime.executor import LaunchPlan, SandboxLaunch, bubblewraps
from watchglass.runtime.executor.host import identity, sandbox_probe, tracing, wire
from watchglass.runtime.executor.host.sandbox_trial import said_by
from watchglass.runtime.executor.sandbox import NAMESPACES

from support.boxes import TRIES, boxed, needs_box
from support.exits import told_from_inside
from support.passing import let_others_pass
from support.patience import PATIENCE_S
from support.supervised import Frames, supervised

NOBODY = 65534
ASK = TRIES[-1].partition("for line in")[0] + "print(told('GET', 'any.example:80'))"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root to become nobody"),
    pytest.mark.skipif(
        not any(identity.reachable_by(NOBODY, path) for path in bubblewraps()),
        reason="no bubblewrap that nobody may execute is installed",
    ),
]


def supervised_by_nobody(plan: LaunchPlan) -> Frames:
    """See `supervised`; one connection of the worker is answered."""
    return supervised(plan, become=lambda: identity.become(NOBODY), on_listener=answer_once)


def answer_once(listener: int) -> None:
    """Serve one connection of the worker, which has asked when it comes to that."""
    with socket.socket(fileno=listener) as listening:
        listening.settimeout(PATIENCE_S)
        accepted, _ = listening.accept()
        with accepted, accepted.makefile("rb") as heard:
            while heard.readline().strip():
                pass
            accepted.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of nobody's."""
    let_others_pass(tmp_path)
    worker = tmp_path / "worker"
    (worker / "workspace").mkdir(parents=True)
    for folder in (worker, worker / "workspace"):
        folder.chmod(0o700)
        os.chown(folder, NOBODY, NOBODY)
    return worker


def counts_namespaces() -> bool:
    return not said_by(lambda: sandbox_probe.fork_alone(NOBODY))


def plan_of(place: Path, *argv: str, is_boxed: bool) -> LaunchPlan:
    usable = next(path for path in bubblewraps() if identity.reachable_by(NOBODY, path))
    return LaunchPlan(
        argv=argv,
        env={"PATH": "/usr/bin:/bin"},
        cwd=str(place / "workspace"),
        directory=place,
        cookie="NOBODY=1",
        seccomp=True,
        sandbox=SandboxLaunch(bwrap=usable) if is_boxed else None,
    )


@pytest.mark.parametrize("profile", SandboxProfile)
@pytest.mark.parametrize(
    ("script", "code", "number"),
    [("exit 137", 137, None), ("kill -KILL $$", None, 9), ("echo x > file; cat file", 0, None)],
)
def test_its_workers_are_held_back_and_end_exactly(
    place: Path, profile: SandboxProfile, script: str, code: int | None, number: int | None
) -> None:
    plan = plan_of(place, "/bin/sh", "-c", script, is_boxed=profile is SandboxProfile.LINUX_SANDBOX)
    frames = supervised_by_nobody(plan)
    started = next(told for kind, told in frames if kind == wire.STARTED)
    verified = started["verified"]
    if plan.sandbox is not None:
        assert isinstance(verified, dict)
        assert {"pid", "net", "mount"} <= set(verified["unshared"])
        assert (verified["uid"], verified["capabilities"], verified["seccomp"]) == (NOBODY, 0, True)
    kind, told = frames[-1]
    assert kind == wire.EXIT
    ended = (code, number) if plan.sandbox is None else told_from_inside(code, number)
    assert (told["code"], told["signal"]) == ended


@pytest.mark.parametrize(
    ("script", "code", "number"),
    [("exit 137", 137, None), ("read -r go; kill -KILL $$", None, 9), ("exit 0", 0, None)],
)
def test_a_supervisor_that_may_not_trace_finds_the_program_by_looking(
    place: Path, script: str, code: int | None, number: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "seize", lambda _pid: False)
    frames = supervised_by_nobody(plan_of(place, "/bin/sh", "-c", script, is_boxed=True))
    assert wire.STARTED in [kind for kind, _ in frames]
    kind, told = frames[-1]
    assert kind == wire.EXIT
    assert (told["code"], told["signal"]) == told_from_inside(code, number)


@needs_box
def test_its_workers_have_a_way_out(place: Path) -> None:
    usable = next(path for path in bubblewraps() if identity.reachable_by(NOBODY, path))
    plan = boxed(plan_of(place, "", is_boxed=True), argv=(*TRIES[:-1], ASK))
    plan = replace(plan, uid=None, sandbox=SandboxLaunch(bwrap=usable, egress=True))
    frames = supervised_by_nobody(plan)
    kinds = [kind for kind, _ in frames]
    assert kinds.index(wire.EGRESS) < kinds.index(wire.STARTED)
    assert (place / "stdout.log").read_text() == "200 hello\n"


@pytest.mark.parametrize("may_trace", [True, False])
def test_a_program_that_is_not_there_has_never_run(
    place: Path, may_trace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not may_trace:
        monkeypatch.setattr(tracing, "seize", lambda _pid: False)
    frames = supervised_by_nobody(plan_of(place, "no-such-program", is_boxed=True))
    assert wire.STARTED not in [kind for kind, _ in frames]
    kind, told = frames[-1]
    assert kind == wire.FAILED
    assert told == {"step": "exec", "subject": "no-such-program", "error_number": 2}


@pytest.mark.parametrize("namespaces", [NAMESPACES, NAMESPACES - {"pid"}])
def test_without_a_group_its_user_namespace_bounds_its_processes_and_nobody_elses(
    place: Path, namespaces: frozenset[str]
) -> None:
    """The supervisor and this test's other processes of nobody's do not count."""
    if not counts_namespaces():
        pytest.skip("this kernel counts a user's processes over all namespaces")
    script = "for n in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo never"
    usable = next(path for path in bubblewraps() if identity.reachable_by(NOBODY, path))
    plan = plan_of(place, "/bin/sh", "-c", script, is_boxed=True)
    plan = replace(plan, sandbox=SandboxLaunch(bwrap=usable, namespaces=namespaces), pids_max=8)
    kind, told = supervised_by_nobody(plan)[-1]
    assert (kind, told["code"]) == (wire.EXIT, 2)
    assert (place / "stdout.log").read_bytes() == b""
    assert b"Cannot fork" in (place / "stderr.log").read_bytes()
    kind, told = supervised_by_nobody(replace(plan, argv=("/bin/sh", "-c", "sleep 0 & sleep 0 & wait")))[-1]
    assert (kind, told["code"]) == (wire.EXIT, 0)
