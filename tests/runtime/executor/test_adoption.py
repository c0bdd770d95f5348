"""Workers that outlive their server, and the next server that takes them over."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import resource
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from watchglass.protocol.errors import LaunchFailed
from watchglass.runtime.executor import Executor, LaunchPlan, StreamTotals, open_executor
from watchglass.runtime.executor._adoption import lock_launch
from watchglass.runtime.executor._output import Output
from watchglass.runtime.executor._spawner import Forked, Spawner
from watchglass.runtime.executor.host import wire
from watchglass.runtime.executor.host.linux import start_ticks

from support.passing import let_others_pass
from support.patience import PATIENCE_S
from support.processes import pids, wait_gone, wait_true

if TYPE_CHECKING:
    from runtime.executor.conftest import Lab

    UntilGone = Callable[[int], Coroutine[None, None, None]]

pytestmark = pytest.mark.asyncio

SLEEP = "echo ready; exec sleep 1000"
DAEMON = """
import os, signal
ready, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.write(tell, str(os.getpid()).encode())
    os.close(tell)
    if {is_unmarked}:
        os.execve("/bin/sleep", ["sleep", "1000"], {{}})
    while True:
        signal.pause()
os.close(tell)
print(os.read(ready, 20).decode(), flush=True)
signal.pause()
"""
COUNTER = """
import os
for number in range({lines}):
    os.write(1 + number % 3 // 2, b"%d\\n" % number)
"""
SERVER = """
import asyncio, json, sys
from pathlib import Path
from watchglass.runtime.executor import LaunchPlan, open_executor
async def main(told):
    told["directory"] = Path(told["directory"])
    async with open_executor(log_path=told["directory"] / "spawnd.log") as executor:
        changed = asyncio.Event()
        process = await executor.launch(LaunchPlan(outlives_server=True, **told), changed.set)
        process.write_input(sys.stdin.buffer.read())
        print(json.dumps([executor.spawn_daemon_pid, process.supervisor_pid, process.pid]), flush=True)
        while True:
            changed.clear()
            while chunks := process.read_output(4000):
                for chunk in chunks:
                    print(json.dumps([chunk.stream, chunk.data.decode()]), flush=True)
            await changed.wait()
asyncio.run(main(json.loads(sys.argv[1])))
"""


class Server:
    """A server in a process of its own, which launches one worker and tells what it reads."""

    def __init__(self, process: asyncio.subprocess.Process, plan: LaunchPlan) -> None:
        self.process = process
        self.plan = plan
        self.spoken = {"stdout": b"", "stderr": b""}
        self.order = ""
        self.spawn_daemon_pid = self.supervisor_pid = self.pid = 0

    async def hear(self) -> bool:
        """Take one chunk that it tells of; False when it is dead and all was taken."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line.endswith(b"\n"):  # It was killed while it wrote this: it was never told.
            return False
        stream, data = json.loads(line)
        self.spoken[stream] += data.encode()
        self.order += stream[3] * len(data)
        return True

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()
        while await self.hear():
            pass


async def serve(plan: LaunchPlan, said: str = "") -> Server:
    told: dict[str, Any] = {"argv": plan.argv, "env": dict(plan.env), "cwd": plan.cwd, "cookie": plan.cookie}
    told |= {"directory": str(plan.directory), "grace_ms": plan.grace_ms}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, json.dumps(told), stdin=pipe, stdout=pipe, stderr=pipe
    )
    server = Server(process, plan)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(said.encode())
    process.stdin.close()
    server.spawn_daemon_pid, server.supervisor_pid, server.pid = json.loads(await process.stdout.readline())
    return server


@asynccontextmanager
async def former(make_lab: type[Lab], root: Path) -> AsyncIterator[Lab]:
    """A lab whose executor keeps, at the end of the block, what outlives it."""
    place = root / "former"
    place.mkdir()
    async with open_executor() as executor:
        lab = make_lab(executor, place)
        yield lab
        await executor.close(keep_outliving=True)
    for subject in lab.subjects:
        subject.process.close()


@contextmanager
def connected(directory: Path) -> Iterator[socket.socket]:
    """A bare connection to a supervisor."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as ours:
            ours.settimeout(PATIENCE_S)
            ours.connect(wire.control_path(fd))
            yield ours
    finally:
        os.close(fd)


def next_frame(ours: socket.socket) -> tuple[int, Any]:
    decoder = wire.Decoder()
    while not (frames := decoder.feed(ours.recv(1))):
        pass
    return frames[0][0], json.loads(frames[0][1])


def descriptors_of(pid: int) -> set[int]:
    return {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}


def stderr_of(pid: int) -> Path:
    return Path(f"/proc/{pid}/fd/2").readlink()


def names(plan: LaunchPlan) -> set[str]:
    return {path.name for path in plan.directory.iterdir()}


# Output


@pytest.mark.parametrize("chunks", [1, 3, 40])
async def test_output_goes_on_exactly_where_a_killed_server_stopped(
    lab: Lab, chunks: int, until_gone: UntilGone
) -> None:
    lines = 30_000
    server = await serve(lab.plan(sys.executable, "-ISc", COUNTER.format(lines=lines)))
    for _ in range(chunks):
        assert await server.hear()
    await server.kill()
    subject = await lab.adopt(server.plan, server.spoken)
    order = server.order
    while True:
        ended = subject.process.exit
        for chunk in subject.process.read_output(10_000):
            assert chunk.offset == len(subject.output[chunk.stream])
            subject.output[chunk.stream] += chunk.data
            order += chunk.stream[3] * len(chunk.data)
            ended = None
        if ended is not None:
            break
        await asyncio.sleep(0)
    assert ended.code == 0
    numbers = range(lines)
    assert subject.output == {
        "stdout": b"".join(b"%d\n" % number for number in numbers if number % 3 < 2),
        "stderr": b"".join(b"%d\n" % number for number in numbers if number % 3 == 2),
    }
    whole = Output(server.plan.directory)
    assert order == "".join(chunk.stream[3] * len(chunk.data) for chunk in whole.read(1 << 20))
    whole.close()
    await until_gone(server.spawn_daemon_pid)


async def test_output_of_a_worker_that_ended_unwatched_is_read_to_its_end(
    lab: Lab, make_lab: type[Lab], tmp_path: Path, until_gone: UntilGone
) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.sh("echo one; echo two >&2; read go; echo three", outlives_server=True)
        await subject.until_said(8)
        subject.process.write_input(b"\n")
        await before.executor.close(keep_outliving=True)
    await until_gone(subject.process.supervisor_pid)
    adopted = await lab.adopt(subject.plan, {"stdout": b"o", "stderr": b"two\n"})
    assert adopted.process.exit is not None
    assert adopted.read_all() == {"stdout": b"one\nthree\n", "stderr": b"two\n"}
    again = await lab.adopt(subject.plan)
    assert again.read_all() == {"stdout": b"one\nthree\n", "stderr": b"two\n"}


@pytest.mark.parametrize(("size", "read"), [(0, 0), (4, 0), (4, 4), (6, 5)])
async def test_a_file_that_was_cut_is_an_error_and_no_silence(lab: Lab, size: int, read: int) -> None:
    subject = await lab.sh("echo one; sleep 0.01; echo two", outlives_server=True)
    await subject.exit()
    os.truncate(subject.directory / "stdout.log", size)
    adopted = await lab.adopt(subject.plan, {"stdout": b"one\ntwo\n"[:read], "stderr": b""})
    with pytest.raises(OSError, match="shorter") as caught:
        adopted.read_all()
    assert caught.value.errno == errno.EIO


# Input


async def test_whole_frames_count_and_half_ones_do_not_wherever_the_cut_is(
    lab: Lab, make_lab: type[Lab], tmp_path: Path
) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.run("cat", outlives_server=True)
    frames = wire.pack(wire.INPUT, b"one") + wire.pack(wire.INPUT, b"second")
    heard = b""
    for cut in [*range(len(frames) + 1), 0]:
        with connected(subject.directory) as ours:
            kind, state = next_frame(ours)
            assert (kind, state["received_input_bytes"]) == (wire.STATE, len(heard))
            ours.sendall(frames[:cut])
        heard += b"".join(body for _, body in wire.Decoder().feed(frames[:cut]))
    adopted = await lab.adopt(subject.plan)
    assert adopted.process.received_input_bytes == len(heard)
    adopted.process.close_stdin()
    assert await adopted.says() == heard


@pytest.mark.parametrize("size", [10, 100_000, 1_000_000])
async def test_input_goes_on_exactly_where_the_supervisor_stands(
    lab: Lab, size: int, until_gone: UntilGone
) -> None:
    """The worker does not read before the server is dead, so what is on its way fills all there is."""
    said = "".join(random.Random(size).choices("abcdef\n", k=size))
    plan = lab.plan("/bin/sh", "-c", "trap 'exec cat' USR1; echo ready; while :; do sleep 0.01; done")
    server = await serve(plan, said)
    assert await server.hear()
    await server.kill()
    adopted = await lab.adopt(plan, server.spoken)
    process = adopted.process
    received = process.received_input_bytes
    assert min(size, wire.INPUT_WINDOW_BYTES) <= received <= min(size, wire.INPUT_WINDOW_BYTES + 65536)
    assert process.backlog_bytes == max(0, received - 65536)
    assert not process.stdin_closed
    process.write_input(said.encode()[received:])
    assert process.backlog_bytes == max(0, size - 65536)
    process.close_stdin()
    process.signal(signal.SIGUSR1)
    assert await adopted.says() == b"ready\n" + said.encode()
    assert process.exit is not None
    assert (process.exit.undelivered_input_bytes, process.backlog_bytes) == (0, 0)


async def test_an_end_of_input_that_was_asked_for_is_known(
    lab: Lab, make_lab: type[Lab], tmp_path: Path
) -> None:
    async with former(make_lab, tmp_path) as before:
        reader = await before.sh("echo ready; sleep 1000", outlives_server=True)
        closed = await before.sh("exec 0</dev/null; echo closed; exec sleep 1000", outlives_server=True)
        without = await before.run("sleep", "1000", outlives_server=True, stdin_closed=True)
        reader.process.write_input(bytes(70_000))
        reader.process.close_stdin()
        await reader.until_says(b"ready")
        await closed.until(lambda: closed.process.stdin_closed)
        await reader.until(lambda: reader.process.backlog_bytes == 70_000 - 65536)
    adopted = (await lab.adopt(reader.plan)).process
    assert (adopted.stdin_closing, adopted.stdin_closed) == (True, False)
    adopted.kill()
    adopted = (await lab.adopt(closed.plan)).process
    assert (adopted.stdin_closing, adopted.stdin_closed) == (False, True)
    adopted = (await lab.adopt(without.plan)).process
    assert (adopted.stdin_closing, adopted.stdin_closed) == (True, True)


async def test_what_a_worker_never_read_is_told_though_nobody_watched(
    lab: Lab, make_lab: type[Lab], tmp_path: Path, until_gone: UntilGone
) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.sh(SLEEP, outlives_server=True)
        subject.process.write_input(bytes(70_000))
        await subject.until(lambda: subject.process.backlog_bytes == 70_000 - 65536)
    os.kill(subject.process.pid, signal.SIGTERM)
    await until_gone(subject.process.supervisor_pid)
    adopted = await lab.adopt(subject.plan)
    ended = await adopted.exit()
    assert ended.undelivered_input_bytes == adopted.process.backlog_bytes == 70_000 - 65536
    assert adopted.process.received_input_bytes == 70_000


# The end


@pytest.mark.parametrize(
    ("script", "code", "number"),
    [("exit 0", 0, None), ("exit 137", 137, None), ("kill -KILL $$", None, signal.SIGKILL)],
)
async def test_the_exit_is_true_though_nobody_watched(
    lab: Lab,
    make_lab: type[Lab],
    tmp_path: Path,
    script: str,
    code: int | None,
    number: int | None,
    until_gone: UntilGone,
) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.sh(f"echo ready; read go; {script}", outlives_server=True)
        await subject.until_says(b"ready")
    with connected(subject.directory) as ours:
        ours.sendall(wire.pack(wire.INPUT, b"\n"))
    await until_gone(subject.process.supervisor_pid)
    assert "ctl.sock" not in names(subject.plan)
    adopted = (await lab.adopt(subject.plan)).process
    assert adopted.exit is not None
    assert (adopted.exit.code, adopted.exit.signal, adopted.exit.cause) == (code, number, None)
    assert adopted.exit.usage is not None
    assert adopted.exit.stdout == StreamTotals(total_bytes=6, kept_bytes=6)
    assert (adopted.pid, adopted.started_at_us) == (subject.process.pid, subject.process.started_at_us)


async def test_a_worker_that_ends_while_it_is_adopted_ends_truly(
    lab: Lab, make_lab: type[Lab], tmp_path: Path
) -> None:
    async with former(make_lab, tmp_path) as before:
        subjects = [await before.sh("read go; exit 7", outlives_server=True) for _ in range(20)]
        for subject in subjects:
            subject.process.write_input(b"\n")
    for subject in subjects:
        assert (await (await lab.adopt(subject.plan)).exit()).code == 7


async def test_limits_hold_without_a_server(
    lab: Lab, make_lab: type[Lab], tmp_path: Path, until_gone: UntilGone
) -> None:
    deaf = "trap '' TERM; seq 1000; while :; do sleep 1000; done"
    whole = StreamTotals(total_bytes=3893, kept_bytes=100)
    for wall_time_ms in (1000, 5_000, 50_000):  # On a busy machine it may come to speak late.
        place = tmp_path / str(wall_time_ms)
        place.mkdir()
        limits = {"wall_time_ms": wall_time_ms, "grace_ms": 100, "stdout_max_bytes": 100}
        async with former(make_lab, place) as before:
            subject = await before.sh(deaf, outlives_server=True, **limits)
        await until_gone(subject.process.supervisor_pid)
        ended = await (await lab.adopt(subject.plan)).exit()
        assert ended.cause == "wall_time"
        if ended.stdout == whole:
            break
    assert (ended.stdout, ended.signal) == (whole, signal.SIGKILL)


async def test_an_adopted_worker_is_stopped_and_killed_as_any_other(
    lab: Lab, make_lab: type[Lab], tmp_path: Path, is_alive: Callable[[int], bool]
) -> None:
    async with former(make_lab, tmp_path) as before:
        polite = await before.sh(
            "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done", outlives_server=True
        )
        deaf = await before.sh("trap '' TERM; " + SLEEP, outlives_server=True)
        killed = await before.python(DAEMON.format(is_unmarked=False), outlives_server=True)
        for subject in (polite, deaf, killed):
            await subject.until_says(b"\n")
        daemon = int(killed.output["stdout"])
    adopted = [await lab.adopt(subject.plan, subject.output) for subject in (polite, deaf, killed)]
    adopted[0].process.stop()
    adopted[1].process.stop(grace_ms=50)
    adopted[2].process.kill()
    assert await adopted[0].says() == b"ready\nbye\n"
    told = [(await subject.exit()) for subject in adopted]
    assert [(ended.code, ended.cause) for ended in told] == [(3, "stop"), (None, "stop"), (None, "kill")]
    assert not is_alive(daemon)


@pytest.mark.parametrize(
    "uid", [None, pytest.param(64_323, marks=pytest.mark.skipif(os.geteuid() != 0, reason="takes root"))]
)
async def test_whom_a_worker_became_is_known_whether_it_lives_or_is_over(
    lab: Lab, make_lab: type[Lab], tmp_path: Path, uid: int | None
) -> None:
    let_others_pass(tmp_path)
    async with former(make_lab, tmp_path) as before:
        for script in (SLEEP, "exit 0"):
            plan = before.plan("/bin/sh", "-c", script, uid=uid, outlives_server=True)
            plan.directory.chmod(0o711)
            (plan.directory / "workspace").mkdir(mode=0o700)
            await before.launch(replace(plan, cwd=str(plan.directory / "workspace")))
        living, over = before.subjects
        await over.exit()
    adopted = [await lab.adopt(subject.plan) for subject in (living, over)]
    assert [subject.process.uid for subject in adopted] == [uid, uid]
    assert [subject.process.exit is None for subject in adopted] == [True, False]


async def test_a_worker_that_was_asked_to_leave_is_known_as_such(
    lab: Lab, make_lab: type[Lab], tmp_path: Path
) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.sh(
            "trap 'echo asked' TERM; echo ready; while :; do sleep 0.01; done",
            outlives_server=True,
            grace_ms=100_000,
        )
        await subject.until_says(b"ready")
        subject.process.stop()
        await subject.until_says(b"asked")
    adopted = await lab.adopt(subject.plan)
    assert adopted.process.asked == "stop"
    adopted.process.stop(grace_ms=1)
    assert (await adopted.exit()).cause == "stop"


async def test_a_worker_that_does_not_outlive_its_server_never_does(
    lab: Lab, make_lab: type[Lab], tmp_path: Path
) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.sh(SLEEP)
    assert before.left() == []
    assert (await (await lab.adopt(subject.plan)).exit()).cause == "kill"


# Who is lost


@pytest.mark.parametrize("is_unmarked", [False, True])
async def test_with_its_supervisor_killed_a_worker_is_gone_before_it_is_lost(
    lab: Lab, make_lab: type[Lab], tmp_path: Path, is_unmarked: bool, is_alive: Callable[[int], bool]
) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.python(DAEMON.format(is_unmarked=is_unmarked), outlives_server=True)
        await subject.until_says(b"\n")
        daemon = int(subject.output["stdout"])
        spawn_daemon = before.executor.spawn_daemon_pid
    assert spawn_daemon is not None
    if not is_unmarked:
        os.kill(spawn_daemon, signal.SIGKILL)
    os.kill(subject.process.supervisor_pid, signal.SIGKILL)
    wait_gone(spawn_daemon)
    adopted = await lab.adopt(subject.plan)
    assert not is_alive(daemon)
    assert not is_alive(subject.process.pid)
    ended = adopted.process.exit
    assert ended is not None
    assert (ended.code, ended.signal, ended.cause, ended.usage) == (None, None, "lost", None)
    assert adopted.read_all() == subject.output
    assert ended.stdout.kept_bytes == len(subject.output["stdout"])


async def test_an_adopted_worker_whose_supervisor_is_killed_is_lost(
    lab: Lab, make_lab: type[Lab], tmp_path: Path
) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.sh(SLEEP, outlives_server=True)
    adopted = await lab.adopt(subject.plan)
    os.kill(adopted.process.supervisor_pid, signal.SIGKILL)
    assert (await adopted.exit()).cause == "lost"


@pytest.mark.parametrize("changes", [{"boot_id": "another"}, {"start_ticks": 1}, {"pid": 0}, "damaged"])
async def test_another_process_with_the_number_of_the_supervisor_is_left_alone(
    lab: Lab,
    make_lab: type[Lab],
    tmp_path: Path,
    changes: dict[str, Any] | str,
    is_alive: Callable[[int], bool],
) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.sh(SLEEP, outlives_server=True)
    os.kill(subject.process.supervisor_pid, signal.SIGKILL)
    wait_gone(subject.process.supervisor_pid)
    innocent = await asyncio.create_subprocess_exec("sleep", "1000")
    try:
        path = subject.directory / "run.json"
        run = json.loads(path.read_text())
        run["supervisor"] = {"pid": innocent.pid, "start_ticks": start_ticks(innocent.pid)}
        if isinstance(changes, str):
            path.write_text(json.dumps(run)[:40])
        else:
            run["boot_id"] = changes.get("boot_id", run["boot_id"])
            run["supervisor"] |= {name: value for name, value in changes.items() if name != "boot_id"}
            path.write_text(json.dumps(run))
        assert (await (await lab.adopt(subject.plan)).exit()).cause == "lost"
        assert is_alive(innocent.pid)
    finally:
        innocent.kill()
        await innocent.wait()


async def test_a_supervisor_that_does_not_answer_is_killed(
    lab: Lab, make_lab: type[Lab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.sh(SLEEP, outlives_server=True)
    os.kill(subject.process.supervisor_pid, signal.SIGSTOP)
    monkeypatch.setattr("watchglass.runtime.executor.executor.ADOPT_S_MAX", 0.2)
    assert (await (await lab.adopt(subject.plan)).exit()).cause == "lost"


async def test_a_cancelled_adoption_changes_nothing(lab: Lab, make_lab: type[Lab], tmp_path: Path) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.sh(SLEEP, outlives_server=True)
    os.kill(subject.process.supervisor_pid, signal.SIGSTOP)
    for steps in range(12):
        task = asyncio.create_task(lab.adopt(subject.plan))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
    os.kill(subject.process.supervisor_pid, signal.SIGCONT)
    adopted = await lab.adopt(subject.plan)
    assert adopted.process.exit is None
    adopted.process.kill()
    assert (await adopted.exit()).cause == "kill"


# Launches that their server did not see through


@asynccontextmanager
async def a_supervisor() -> AsyncIterator[tuple[Forked, socket.socket]]:
    """One without a plan."""
    spawner = Spawner(None)
    forked, ours = await spawner.fork()
    try:
        yield forked, ours
    finally:
        ours.close()
        os.close(forked.pidfd)
        await spawner.close(leave_behind=False)


def hand_over(ours: socket.socket, plan: LaunchPlan, *, size: int | None = None) -> None:
    """Send the plan as a server does (so many bytes of it), and die."""
    locked = lock_launch(plan.directory)
    socket.send_fds(ours, [wire.pack(wire.PLAN, plan.encode())[:size]], [locked])
    os.close(locked)
    ours.close()


async def test_a_launch_goes_on_when_its_server_dies_under_it_and_the_adoption_waits(lab: Lab) -> None:
    plan = lab.plan("/bin/sh", "-c", "cat; exit 3", outlives_server=True)
    async with a_supervisor() as (forked, ours):
        os.kill(forked.pid, signal.SIGSTOP)
        hand_over(ours, plan)
        adoption = asyncio.create_task(lab.adopt(plan))
        done, _ = await asyncio.wait([adoption], timeout=0.1)
        assert not done
        assert "run.json" not in names(plan)
        with pytest.raises(LaunchFailed) as caught:
            await lab.launch(plan)
        assert (caught.value.step, caught.value.error_number) == ("setup", errno.EWOULDBLOCK)
        os.kill(forked.pid, signal.SIGCONT)
        subject = await adoption
        assert subject.process.supervisor_pid == forked.pid
        assert subject.process.started_at_us > 0
        subject.process.write_input(b"from another")
        subject.process.close_stdin()
        assert await subject.says() == b"from another"
        assert (await subject.exit()).code == 3


async def test_a_launch_that_fails_unseen_leaves_nothing_to_adopt(lab: Lab) -> None:
    missing = lab.plan("no-such-program", outlives_server=True)
    nowhere = lab.plan("cat", cwd="/no", outlives_server=True)
    for plan in (missing, nowhere):
        async with a_supervisor() as (forked, ours):
            os.kill(forked.pid, signal.SIGSTOP)
            hand_over(ours, plan)
            adoption = asyncio.create_task(lab.adopt_if_any(plan))
            os.kill(forked.pid, signal.SIGCONT)
            assert await adoption is None
            assert names(plan) <= {"stdout.log", "stderr.log", "output.idx"}


async def test_a_plan_that_was_not_sent_in_whole_is_never_run(lab: Lab) -> None:
    plan = lab.plan("cat", outlives_server=True)
    for size in (1, 5, len(plan.encode()) + 4):
        async with a_supervisor() as (_, ours):
            hand_over(ours, plan, size=size)
            assert await lab.adopt_if_any(plan) is None
            assert names(plan) == set()


async def test_a_launch_that_failed_leaves_nothing_to_adopt(lab: Lab) -> None:
    for plan in (lab.plan("no-such-program", outlives_server=True), lab.plan("no-such-program")):
        with pytest.raises(LaunchFailed):
            await lab.launch(plan)
        assert names(plan) == {"stdout.log", "stderr.log", "output.idx"}
        assert await lab.adopt_if_any(plan) is None


async def test_in_a_folder_where_nothing_was_launched_there_is_nothing_to_adopt(lab: Lab) -> None:
    plan = lab.plan("cat", outlives_server=True)
    assert await lab.adopt_if_any(plan) is None
    plan.directory.rmdir()
    with pytest.raises(FileNotFoundError):
        await lab.adopt_if_any(plan)


async def test_launches_under_way_at_a_leave_run_and_are_adopted_or_never_ran(
    lab: Lab, make_lab: type[Lab], tmp_path: Path
) -> None:
    for steps in (0, 1, 2, 4, 8, 16, 32, 500):
        place = tmp_path / str(steps)
        place.mkdir()
        async with open_executor() as executor:
            before = make_lab(executor, place)
            plans = [before.plan("sleep", "1000", outlives_server=True) for _ in range(5)]
            launches = [asyncio.create_task(before.launch(plan)) for plan in plans]
            for _ in range(steps):
                await asyncio.sleep(0)
            await executor.close(keep_outliving=True)
        for plan, launched in zip(
            plans, await asyncio.gather(*launches, return_exceptions=True), strict=True
        ):
            adopted = await lab.adopt_if_any(plan)
            if isinstance(launched, LaunchFailed):
                assert adopted is None
            else:
                assert not isinstance(launched, BaseException)
                assert adopted is not None
                assert (adopted.process.exit, adopted.process.pid) == (None, launched.process.pid)
                adopted.process.kill()


# The way to the supervisor


async def test_the_control_socket_of_a_deep_folder(lab: Lab, make_lab: type[Lab], tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 200)
    deep.mkdir()
    async with former(make_lab, deep) as before:
        subject = await before.run("cat", outlives_server=True)
        control = (subject.directory / "ctl.sock").lstat()
        assert control.st_mode & 0o777 == 0o600
    adopted = await lab.adopt(subject.plan)
    adopted.process.write_input(b"deep")
    await adopted.until_says(b"deep")


async def test_a_stale_control_socket_is_replaced(lab: Lab, make_lab: type[Lab], tmp_path: Path) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.sh(SLEEP, outlives_server=True)
    os.kill(subject.process.supervisor_pid, signal.SIGKILL)
    assert (await (await lab.adopt(subject.plan)).exit()).cause == "lost"
    assert "ctl.sock" in names(subject.plan)
    async with open_executor() as executor:
        await make_lab(executor, tmp_path).launch(subject.plan)
        await executor.close(keep_outliving=True)
    adopted = await lab.adopt(subject.plan)
    assert adopted.process.exit is None
    await adopted.until_says(b"ready")


async def test_another_user_is_refused(lab: Lab) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        subject = await lab.launch(lab.plan("cat", directory=place, outlives_server=True))
        for path in (place, place / "ctl.sock"):
            path.chmod(0o777)
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(PATIENCE_S)
            os.seteuid(65534)
            try:
                stranger.connect(str(place / "ctl.sock"))
            finally:
                os.seteuid(0)
            assert stranger.recv(1) == b""
        subject.process.write_input(b"still yours")
        await subject.until_says(b"still yours")
        subject.process.kill()
        await subject.exit()
        subject.process.close()


async def test_a_connection_that_there_is_no_descriptor_for_is_taken_later(
    lab: Lab, make_lab: type[Lab], tmp_path: Path
) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.run("cat", outlives_server=True)
    supervisor = subject.process.supervisor_pid
    files_max = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    with connected(subject.directory) as one, connected(subject.directory) as other:
        next_frame(one)
        next_frame(other)  # By now it has dropped the one, as well as the channel of its first server.
        free = next(number for number in range(1000) if number not in descriptors_of(supervisor))
        assert free >= 6  # It polls so many, and the limit holds for that too.
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (free, files_max[1]))
        adoption = asyncio.create_task(lab.adopt(subject.plan))
        done, _ = await asyncio.wait([adoption], timeout=0.1)
        assert not done
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, files_max)
        adopted = await adoption
    adopted.process.write_input(b"at last")
    await adopted.until_says(b"at last")


async def test_who_sends_nonsense_is_dropped_and_harms_nobody(
    lab: Lab, make_lab: type[Lab], tmp_path: Path
) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.run("cat", outlives_server=True)
    nonsense = (b"\xff" * 64, wire.pack(99), wire.pack(wire.STOP, b"short"), wire.pack(wire.SIGNAL))
    for sent in nonsense:
        with connected(subject.directory) as ours:
            assert next_frame(ours)[0] == wire.STATE
            ours.sendall(sent)
            with suppress(ConnectionResetError):
                assert ours.recv(1) == b""
    adopted = await lab.adopt(subject.plan)
    adopted.process.write_input(b"fine")
    await adopted.until_says(b"fine")


async def test_the_newest_connection_is_the_channel_and_the_older_one_does_no_harm(
    lab: Lab, make_lab: type[Lab], tmp_path: Path
) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.sh("read line; echo $line; exit 5", outlives_server=True)
        adopted = await lab.adopt(subject.plan)
        adopted.process.write_input(b"heard\n")
        assert await adopted.says() == b"heard\n"
        assert (await subject.exit()).code == (await adopted.exit()).code == 5
        assert await subject.says() == b"heard\n"


async def test_a_server_that_never_reads_keeps_no_worker_and_no_exit_waiting(
    lab: Lab, make_lab: type[Lab], tmp_path: Path, until_gone: UntilGone
) -> None:
    """Only the supervisor itself then stays, to say its last word, until the connection ends."""
    async with former(make_lab, tmp_path) as before:
        subject = await before.sh("while read line; do echo $line; done; exit 4", outlives_server=True)
    with connected(subject.directory) as ours:
        for number in range(5000):
            ours.sendall(wire.pack(wire.INPUT, b"%d\n" % number))
        ours.sendall(wire.pack(wire.CLOSE_STDIN))
        wait_true(lambda: "exit.json" in names(subject.plan), "the exit is on the disk")
    await until_gone(subject.process.supervisor_pid)
    assert (await (await lab.adopt(subject.plan)).exit()).code == 4


async def test_an_exit_that_is_on_record_is_taken_from_there_though_its_supervisor_still_listens(
    lab: Lab, make_lab: type[Lab], tmp_path: Path, until_gone: UntilGone
) -> None:
    """Nobody is asked who could tell it a second time, and nothing stays open to hear that."""
    async with former(make_lab, tmp_path) as before:
        over = await before.sh("exit 4")
        await over.exit()
        subject = await before.run("cat", outlives_server=True)
    shutil.copy(over.directory / "exit.json", subject.directory)  # A moment before it is told.
    descriptors = descriptors_of(os.getpid())
    adopted = (await lab.adopt(subject.plan)).process
    assert descriptors_of(os.getpid()) == descriptors
    assert adopted.exit is not None
    assert adopted.exit.code == 4
    with connected(subject.directory) as ours:
        ours.sendall(wire.pack(wire.KILL))
        await until_gone(subject.process.supervisor_pid)


async def test_a_hundred_workers_are_adopted_at_once(lab: Lab, make_lab: type[Lab], tmp_path: Path) -> None:
    async with former(make_lab, tmp_path) as before:
        subjects = await asyncio.gather(*(before.run("cat", outlives_server=True) for _ in range(100)))
    for lost in subjects[:10]:
        os.kill(lost.process.supervisor_pid, signal.SIGKILL)
    adopted = await asyncio.gather(*(lab.adopt(subject.plan) for subject in subjects))
    for number, subject in enumerate(adopted):
        subject.process.write_input(b"%d" % number)
        subject.process.close_stdin()
    said = [await subject.says() for subject in adopted]
    assert said == [b""] * 10 + [b"%d" % number for number in range(10, 100)]
    causes = [(await subject.exit()).cause for subject in adopted]
    assert causes == ["lost"] * 10 + [None] * 90


# What a server leaves behind


async def test_a_reader_of_the_servers_stderr_sees_its_end_though_workers_go_on(
    lab: Lab, is_alive: Callable[[int], bool]
) -> None:
    server = await serve(lab.plan("cat"))
    await server.kill()
    assert server.process.stderr is not None
    async with asyncio.timeout(PATIENCE_S):
        assert await server.process.stderr.read() == b""
    assert is_alive(server.pid)
    assert is_alive(server.spawn_daemon_pid)
    adopted = await lab.adopt(server.plan)
    adopted.process.kill()
    await adopted.exit()
    wait_gone(server.spawn_daemon_pid)


async def test_a_spawn_daemon_left_behind_leaves_after_its_last_supervisor_and_is_reaped(
    lab: Lab, make_lab: type[Lab], tmp_path: Path
) -> None:
    async with former(make_lab, tmp_path) as before:
        subject = await before.run("cat", outlives_server=True)
        left = before.executor.spawn_daemon_pid
    assert left in pids()
    (await lab.adopt(subject.plan)).process.kill()
    wait_true(lambda: not Path(f"/proc/{left}").exists(), "the spawn daemon is reaped")


async def test_errors_of_the_spawn_daemon_go_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    async with open_executor(log_path=log) as executor:
        assert executor.spawn_daemon_pid is not None
        assert stderr_of(executor.spawn_daemon_pid) == log
    assert log.read_text() == "before\n"
    executor = Executor(tmp_path / "missing" / "log")
    plan = LaunchPlan(argv=("true",), env={}, cwd="/", directory=tmp_path, cookie="A=b")
    with pytest.raises(LaunchFailed) as caught:
        await executor.launch(plan, lambda: None)
    assert caught.value.error_number == errno.ENOENT
    await executor.close()
