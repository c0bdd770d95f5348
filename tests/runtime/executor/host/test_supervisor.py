"""The order of a worker's life, where the machine is too slow for the usual one."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NoReturn

import pytest

from watchglass.runtime.executor import LaunchPlan
from watchglass.runtime.executor.host import wire

from support.patience import PATIENCE_S
from support.processes import wait_true
from support.supervised import supervised


def test_a_worker_whose_time_is_over_before_it_runs_is_asked_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a signal meets before the exec is no program of the worker's, and would not tell it."""
    execute = os.execvpe

    def execute_late(file: str, args: tuple[str, ...], env: dict[str, str]) -> NoReturn:
        assert os.read(0, 1) == b"", "its stdin is closed when it is asked to leave"
        wait_true(lambda: is_at_rest(os.getppid()), "the supervisor has done all that it does then")
        execute(file, args, env)

    monkeypatch.setattr(os, "execvpe", execute_late)
    plan = LaunchPlan(
        argv=("/bin/sleep", "1000"),
        env={},
        cwd="/",
        directory=tmp_path,
        cookie="A=b",
        wall_time_ms=1,
        grace_ms=PATIENCE_S * 1000,
    )
    frames = supervised(plan)
    assert wire.STARTED in [kind for kind, _ in frames]
    kind, told = frames[-1]
    assert (kind, told["cause"], told["signal"]) == (wire.EXIT, "wall_time", signal.SIGTERM)


def is_at_rest(pid: int) -> bool:
    """Whether a process waits for something to happen."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
