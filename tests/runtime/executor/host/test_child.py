"""What a worker finds when it starts: exactly what was planned, nothing of ours."""

from __future__ import annotations

import os
import resource
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.executor.conftest import Lab

pytestmark = pytest.mark.asyncio


async def test_its_environment_is_exactly_what_was_given(lab: Lab) -> None:
    plan = lab.plan("/usr/bin/env", "-0", env={"GIVEN": "a value\nof two lines", "ÜMLAUT": "\udcff"})
    said = await (await lab.launch(plan)).says()
    found = dict(entry.split(b"=", 1) for entry in said.split(b"\0") if entry)
    assert found == {os.fsencode(name): os.fsencode(value) for name, value in plan.env.items()}


async def test_its_program_is_looked_up_in_its_own_path(lab: Lab, tmp_path: Path) -> None:
    program = tmp_path / "only-here"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o700)
    subject = await lab.run("only-here", env={"PATH": str(tmp_path)})
    assert await subject.says() == b"found\n"


async def test_it_runs_in_its_working_directory(lab: Lab) -> None:
    assert await (await lab.run("pwd", cwd="/usr")).says() == b"/usr\n"


async def test_its_descriptors_are_stdin_stdout_and_stderr(lab: Lab) -> None:
    assert await (await lab.sh("ls /proc/$$/fd; true")).says() == b"0\n1\n2\n"


async def test_it_leads_its_own_session_and_group(lab: Lab) -> None:
    subject = await lab.python("import os; print(os.getpid(), os.getsid(0), os.getpgrp())")
    assert (await subject.says()).split() == [b"%d" % subject.process.pid] * 3


async def test_its_signals_are_as_in_a_fresh_program(lab: Lab) -> None:
    said = (await (await lab.run("cat", "/proc/self/status")).says()).decode()
    status = dict(line.split(":\t", 1) for line in said.splitlines())
    for mask in ("SigBlk", "SigIgn", "SigCgt"):
        assert int(status[mask], 16) == 0
    assert status["Umask"] == "0077"
    assert status["NoNewPrivs"] == "1"


async def test_its_limits_are_set_before_it_runs(lab: Lab) -> None:
    subject = await lab.run("cat", "/proc/self/limits", cpu_time_s=7, memory_bytes=256 << 20)
    limits = {
        line[:25].strip(): line[25:].split()[:2] for line in (await subject.says()).decode().splitlines()
    }
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max cpu time"] == ["8", "10"]
    assert limits["Max data size"] == [str(256 << 20)] * 2
    assert limits["Max open files"] == [str(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE)]


async def test_too_much_cpu_time_is_told_from_a_kill(lab: Lab) -> None:
    ended = await (await lab.sh("while :; do :; done", cpu_time_s=1)).exit()
    assert (ended.signal, ended.cause) == (signal.SIGXCPU, "cpu_time")


async def test_too_much_memory_is_refused_to_it(lab: Lab) -> None:
    subject = await lab.python("bytearray(400 << 20)", memory_bytes=128 << 20)
    assert (await subject.exit()).code == 1
    assert b"MemoryError" in subject.read_all()["stderr"]
