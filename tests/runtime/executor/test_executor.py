"""Launching: what is refused, and that nothing survives whoever is killed."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from watchglass.protocol.errors import LaunchFailed
from watchglass.runtime.executor import LaunchPlan, open_executor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from runtime.executor.conftest import Lab

pytestmark = pytest.mark.asyncio

KEEPER = """
import os, signal, sys
def daemon(*program):
    ready, tell = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.write(tell, str(os.getpid()).encode())
        if program:
            os.execve(program[0], program, {})
        while True:
            signal.pause()
    os.close(tell)
    print(os.read(ready, 20).decode(), flush=True)
"""
WITH_A_DAEMON = KEEPER + "daemon()\nsignal.pause()"
WITH_AN_UNMARKED_DAEMON = KEEPER + "daemon('/bin/sleep', '1000')\nsignal.pause()"


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


async def refusal(lab: Lab, *argv: str, **more: object) -> LaunchFailed:
    with pytest.raises(LaunchFailed) as caught:
        await lab.run(*argv, **more)
    return caught.value


async def test_a_program_that_does_not_exist_is_refused(lab: Lab) -> None:
    for name in ("no-such-program", "/no/such/program"):
        error = await refusal(lab, name)
        assert (error.step, error.subject, error.error_number) == ("exec", name, errno.ENOENT)
        assert "No such file or directory" in str(error)


async def test_a_program_that_may_not_be_executed_is_refused(lab: Lab) -> None:
    assert (await refusal(lab, "/etc/passwd")).error_number == errno.EACCES


async def test_a_file_that_is_no_program_is_refused(lab: Lab, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a program")
    text.chmod(0o700)
    assert (await refusal(lab, str(text))).error_number == errno.ENOEXEC


async def test_a_missing_working_directory_is_refused(lab: Lab) -> None:
    error = await refusal(lab, "true", cwd="/no/such/place")
    assert (error.step, error.subject, error.error_number) == ("chdir", "/no/such/place", errno.ENOENT)


async def test_a_missing_folder_for_the_files_is_refused(lab: Lab, tmp_path: Path) -> None:
    error = await refusal(lab, "true", directory=tmp_path / "missing")
    assert (error.step, error.subject) == ("setup", str(tmp_path / "missing"))


async def test_an_impossible_command_line_is_refused(lab: Lab) -> None:
    assert (await refusal(lab)).error_number == errno.EINVAL
    assert (await refusal(lab, "echo", "nul\0byte")).error_number == errno.EINVAL
    assert (await refusal(lab, "echo", "x" * (1 << 20))).error_number == errno.E2BIG
    assert (await refusal(lab, "echo", "x" * (1 << 24))).error_number == errno.E2BIG


async def test_a_refused_launch_leaves_no_exit(lab: Lab) -> None:
    plan = lab.plan("no-such-program")
    with pytest.raises(LaunchFailed):
        await lab.launch(plan)
    assert not [path for path in plan.directory.iterdir() if path.name.startswith(("run", "exit"))]


async def test_fifty_workers_start_at_once_and_keep_apart(lab: Lab) -> None:
    subjects = await asyncio.gather(*(lab.sh(f"echo {n}; cat") for n in range(50)))
    for subject in subjects:
        subject.process.write_input(b"in")
        subject.process.close_stdin()
    assert [await subject.says() for subject in subjects] == [b"%d\nin" % n for n in range(50)]


async def test_the_records_on_disk_tell_who_ran_and_how_it_ended_but_no_secret(lab: Lab) -> None:
    subject = await lab.sh("echo $KEY | wc -c; exit 9", env={"PATH": os.environ["PATH"], "KEY": "hunter2"})
    ended = await subject.exit()
    run = json.loads((subject.directory / "run.json").read_text())
    assert run["worker"]["pid"] == subject.process.pid
    assert run["supervisor"]["pid"] == subject.process.supervisor_pid
    assert run["boot_id"] == boot_id()
    assert run["plan"]["env_names"] == ["KEY", "PATH", "WATCHGLASS_WORKER_ID"]
    told = json.loads((subject.directory / "exit.json").read_text())
    assert (told["code"], told["signal"], told["cause"]) == (ended.code, None, None) == (9, None, None)
    files = {path.name: path for path in subject.directory.iterdir()}
    assert set(files) == {"run.json", "exit.json", "stdout.log", "stderr.log", "output.idx"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files.values())
    assert not any(b"hunter2" in path.read_bytes() for path in files.values())


async def test_a_cancelled_launch_leaves_nothing(lab: Lab) -> None:
    await (await lab.run("true")).exit()
    for steps in (0, 1, 2, 3, 5, 8, 13, 21, 34, 1000):
        task = asyncio.create_task(lab.run("sleep", "1000"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await lab.executor.close()
    assert lab.left() == []


async def test_launches_under_way_when_the_block_ends_leave_nothing(
    tmp_path: Path, make_lab: Callable[..., Lab]
) -> None:
    for steps in (0, 1, 2, 4, 8, 16, 500):
        async with open_executor() as executor:
            (tmp_path / str(steps)).mkdir()
            lab = make_lab(executor, tmp_path / str(steps))
            launches = [asyncio.create_task(lab.run("sleep", "1000")) for _ in range(5)]
            for _ in range(steps):
                await asyncio.sleep(0)
        assert lab.left() == []
        for result in await asyncio.gather(*launches, return_exceptions=True):
            if isinstance(result, BaseException):
                assert isinstance(result, LaunchFailed)
            else:
                assert (await result.exit()).cause == "kill"
        assert executor.spawn_daemon_pid is None
        with pytest.raises(LaunchFailed):
            await lab.run("true")


async def test_after_the_block_nothing_is_left(
    tmp_path: Path, make_lab: Callable[..., Lab], is_alive: Callable[[int], bool]
) -> None:
    async with open_executor() as executor:
        lab = make_lab(executor, tmp_path)
        subject = await lab.python(WITH_A_DAEMON)
        await subject.until_says(b"\n")
        spawn_daemon = executor.spawn_daemon_pid
    assert lab.left() == []
    assert spawn_daemon is not None
    assert not is_alive(spawn_daemon)
    assert (await subject.exit()).cause == "kill"


async def test_a_supervisor_that_hangs_does_not_outlive_the_block(
    tmp_path: Path, make_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchglass.runtime.executor.executor.CLOSE_S_MAX", 1.0)
    async with open_executor() as executor:
        lab = make_lab(executor, tmp_path)
        subject = await lab.python(WITH_A_DAEMON)
        await subject.until_says(b"\n")
        os.kill(subject.process.supervisor_pid, signal.SIGSTOP)
    assert lab.left() == []
    assert (await subject.exit()).cause == "lost"


async def test_a_terminal_cannot_reach_the_spawn_daemon(lab: Lab) -> None:
    subject = await lab.run("cat")
    spawn_daemon = lab.executor.spawn_daemon_pid
    assert spawn_daemon is not None
    sessions = {
        os.getsid(pid) for pid in (0, spawn_daemon, subject.process.supervisor_pid, subject.process.pid)
    }
    assert len(sessions) == 4
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.kill(spawn_daemon, number)
        os.kill(subject.process.supervisor_pid, number)
    subject.process.write_input(b"still here")
    await subject.until_says(b"still here")
    await lab.run("cat")
    assert lab.executor.spawn_daemon_pid == spawn_daemon


async def test_workers_outlive_their_spawn_daemon_and_the_next_launch_starts_another(
    lab: Lab, until_gone: Callable[[int], Coroutine[None, None, None]]
) -> None:
    subject = await lab.run("cat")
    first = lab.executor.spawn_daemon_pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until_gone(first)
    subject.process.write_input(b"still here")
    await subject.until_says(b"still here")
    other = await lab.sh("echo new")
    assert await other.says() == b"new\n"
    assert lab.executor.spawn_daemon_pid not in (None, first)
    subject.process.stop()
    assert (await subject.exit()).cause == "stop"


async def test_a_launch_survives_the_death_of_the_spawn_daemon_under_it(lab: Lab) -> None:
    for _ in range(5):
        await lab.run("cat")  # It takes the supervisor that is left from the round before.
        daemon = lab.executor.spawn_daemon_pid
        assert daemon is not None
        os.kill(daemon, signal.SIGSTOP)
        launch = asyncio.create_task(lab.run("true"))
        await asyncio.sleep(0)
        os.kill(daemon, signal.SIGKILL)
        assert (await (await launch).exit()).code == 0


async def test_a_spawn_daemon_that_hangs_is_replaced(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = await lab.run("cat")
    hanging = lab.executor.spawn_daemon_pid
    assert hanging is not None
    os.kill(hanging, signal.SIGSTOP)
    monkeypatch.setattr("watchglass.runtime.executor._spawner.FORK_S_MAX", 0.1)
    assert (await refusal(lab, "true")).error_number == errno.ETIMEDOUT
    monkeypatch.undo()
    assert (await (await lab.run("true")).exit()).code == 0
    subject.process.close_stdin()
    assert (await subject.exit()).code == 0


@pytest.mark.parametrize("script", [WITH_A_DAEMON, WITH_AN_UNMARKED_DAEMON])
async def test_a_killed_supervisor_loses_its_worker_and_leaves_nothing(
    lab: Lab, script: str, is_alive: Callable[[int], bool]
) -> None:
    subject = await lab.python(script)
    daemon = int(await subject.until_says(b"\n"))
    os.kill(subject.process.supervisor_pid, signal.SIGKILL)
    ended = await subject.exit()
    assert not is_alive(daemon)
    assert not is_alive(subject.process.pid)
    assert (ended.code, ended.signal, ended.cause, ended.usage) == (None, None, "lost", None)
    assert ended.stdout.kept_bytes == len(subject.output["stdout"])


async def test_with_the_spawn_daemon_dead_too_the_cookie_finds_what_is_left(
    lab: Lab, is_alive: Callable[[int], bool]
) -> None:
    subject = await lab.python(WITH_A_DAEMON)
    daemon = int(await subject.until_says(b"\n"))
    spawn_daemon = lab.executor.spawn_daemon_pid
    assert spawn_daemon is not None
    os.kill(spawn_daemon, signal.SIGKILL)
    os.kill(subject.process.supervisor_pid, signal.SIGKILL)
    assert (await subject.exit()).cause == "lost"
    assert not is_alive(daemon)
    assert lab.left() == []


SERVER = """
import asyncio, sys
from pathlib import Path
from watchglass.runtime.executor import LaunchPlan, open_executor
async def main(directory, cookie, argv):
    async with open_executor() as executor:
        name, _, value = cookie.partition("=")
        plan = LaunchPlan(argv=argv, env={name: value}, cwd="/", directory=Path(directory), cookie=cookie)
        changed = asyncio.Event()
        process = await executor.launch(plan, changed.set)
        said = b""
        while not said.endswith(b"\\n"):
            changed.clear()
            said += b"".join(chunk.data for chunk in process.read_output(100))
            if not said.endswith(b"\\n"):
                await changed.wait()
        pids = executor.spawn_daemon_pid, process.supervisor_pid, process.pid, int(said)
        print(*pids, flush=True)
        await asyncio.Event().wait()
asyncio.run(main(sys.argv[1], sys.argv[2], tuple(sys.argv[3:])))
"""


@pytest.mark.parametrize("script", [WITH_A_DAEMON, WITH_AN_UNMARKED_DAEMON])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_killed_server_leaves_nothing(
    tmp_path: Path,
    script: str,
    number: int,
    until_gone: Callable[[int], Coroutine[None, None, None]],
    pids_with: Callable[[str], list[int]],
) -> None:
    cookie = f"WATCHGLASS_WORKER_ID={tmp_path}"
    worker = [sys.executable, "-I", "-S", "-c", script]
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(tmp_path), cookie, *worker, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    pids = [int(pid) for pid in (await server.stdout.readline()).split()]
    assert len(pids) == 4
    server.send_signal(number)
    await server.wait()
    for pid in pids:
        await until_gone(pid)
    assert pids_with(cookie) == []
    assert json.loads((tmp_path / "exit.json").read_text())["cause"] == "lease"


async def test_workers_keep_the_limit_on_open_files_that_held_at_the_start(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    cookie = {"WATCHGLASS_WORKER": "rt/limits"}
    plan = LaunchPlan(
        argv=("/bin/sh", "-c", "ulimit -Sn; ulimit -Hn"),
        env=cookie,
        cwd="/",
        directory=tmp_path,
        cookie="WATCHGLASS_WORKER=rt/limits",
    )
    changed = asyncio.Event()
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        async with open_executor() as executor:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            process = await executor.launch(plan, changed.set)
            while process.exit is None:
                await changed.wait()
                changed.clear()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (tmp_path / "stdout.log").read_bytes() == b"256\n%d\n" % hard
