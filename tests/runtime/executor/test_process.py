"""A worker's life after its start: how it ends, how it is made to end, and what it reads."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.executor.conftest import Lab, Subject

pytestmark = pytest.mark.asyncio

DAEMON = """
import os, signal, sys
def daemon(close_stdio=False, clear_env=False):
    ready, tell = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if close_stdio:
            os.closerange(0, 3)
        os.write(tell, str(os.getpid()).encode())
        if clear_env:
            os.execve("/bin/sleep", ["sleep", "1000"], {})
        while True:
            signal.pause()
    os.close(tell)
    pid = os.read(ready, 20).decode()
    os.wait()  # The one between has left.
    print(pid, flush=True)
"""


WALL_TIMES_MS = (500, 5_000, 50_000)


async def daemon_of(subject: Subject) -> int:
    """The pid that a worker with DAEMON told."""
    return int(await subject.until_says(b"\n"))


@pytest.mark.parametrize(
    ("script", "code", "number"),
    [
        ("exit 0", 0, None),
        ("exit 3", 3, None),
        ("exit 137", 137, None),
        ("kill -KILL $$", None, signal.SIGKILL),
        ("kill -SEGV $$", None, signal.SIGSEGV),
    ],
)
async def test_exit_code_and_signal_are_told_apart(
    lab: Lab, script: str, code: int | None, number: int | None
) -> None:
    ended = await (await lab.sh(script)).exit()
    assert (ended.code, ended.signal, ended.cause) == (code, number, None)


async def test_a_worker_that_exits_at_once_is_reported_every_time(lab: Lab) -> None:
    for _ in range(20):
        assert (await (await lab.run("true")).exit()).code == 0


async def test_usage_counts_the_whole_tree(lab: Lab) -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    subject = await lab.python(f"import os\nif os.fork() == 0:\n exec({burn!r})\nelse: os.wait()")
    usage = (await subject.exit()).usage
    assert usage is not None
    assert usage.user_cpu_ms + usage.system_cpu_ms >= 200
    assert usage.duration_ms >= 200
    assert usage.max_rss_bytes > 1 << 20


async def test_stop_asks_with_sigterm(lab: Lab) -> None:
    subject = await lab.run("sleep", "1000")
    subject.process.stop()
    ended = await subject.exit()
    assert (ended.code, ended.signal, ended.cause) == (None, signal.SIGTERM, "stop")


async def test_a_worker_that_handles_sigterm_ends_in_its_own_way(lab: Lab) -> None:
    subject = await lab.sh("trap 'echo bye; exit 7' TERM; sleep 1000 & echo ready; wait")
    await subject.until_says(b"ready")
    subject.process.stop()
    assert await subject.says() == b"ready\nbye\n"
    ended = await subject.exit()
    assert (ended.code, ended.cause) == (7, "stop")


async def test_a_worker_that_ignores_sigterm_is_killed_after_its_grace(lab: Lab) -> None:
    subject = await lab.sh("trap '' TERM; echo ready; while :; do sleep 1000; done")
    await subject.until_says(b"ready")
    subject.process.stop(grace_ms=100)
    ended = await subject.exit()
    assert (ended.code, ended.signal, ended.cause) == (None, signal.SIGKILL, "stop")


async def test_a_second_stop_shortens_the_grace_and_kill_ends_it(lab: Lab) -> None:
    deaf = "trap '' TERM; echo ready; while :; do sleep 1000; done"
    hurried, killed = await lab.sh(deaf), await lab.sh(deaf)
    for subject in (hurried, killed):
        await subject.until_says(b"ready")
        subject.process.stop(grace_ms=1_000_000)
    hurried.process.stop(grace_ms=1)
    killed.process.kill()
    assert (await hurried.exit()).cause == "stop"
    assert (await killed.exit()).cause == "kill"


async def test_the_group_shares_the_grace_of_its_leader(lab: Lab) -> None:
    """A shell dies of SIGTERM at once; the program that it runs may still save its work."""
    program = "trap 'sleep 0.2; echo saved; exit' TERM; sleep 1000 & echo ready; wait"
    subject = await lab.sh(f'sh -c "{program}" & wait')
    await subject.until_says(b"ready")
    subject.process.stop()
    assert await subject.says() == b"ready\nsaved\n"
    ended = await subject.exit()
    assert (ended.signal, ended.cause) == (signal.SIGTERM, "stop")


async def test_stop_of_a_worker_that_is_over_changes_nothing(lab: Lab) -> None:
    subject = await lab.sh("exit 5")
    ended = await subject.exit()
    subject.process.stop()
    subject.process.kill()
    subject.process.signal(signal.SIGUSR1)
    assert (await subject.exit()) is ended


async def test_a_signal_reaches_the_group(lab: Lab) -> None:
    subject = await lab.sh("trap 'echo usr1; exit' USR1; sleep 1000 & echo ready; wait")
    await subject.until_says(b"ready")
    subject.process.signal(signal.SIGUSR1)
    assert await subject.says() == b"ready\nusr1\n"
    with pytest.raises(ValueError, match="no signal"):
        subject.process.signal(0)


async def test_a_worker_that_was_paused_still_hears_a_stop(lab: Lab) -> None:
    subject = await lab.sh("trap 'echo bye; exit 7' TERM; sleep 1000 & echo ready; wait")
    await subject.until_says(b"ready")
    subject.process.signal(signal.SIGSTOP)
    subject.process.stop()
    assert (await subject.exit()).code == 7


async def test_wall_time_ends_a_worker_by_the_same_ladder(lab: Lab) -> None:
    polite = await lab.run("sleep", "1000", wall_time_ms=100)
    deaf = await deaf_before_its_time_is_over(lab)
    for subject, number in ((polite, signal.SIGTERM), (deaf, signal.SIGKILL)):
        ended = await subject.exit()
        assert (ended.signal, ended.cause) == (number, "wall_time")


async def deaf_before_its_time_is_over(lab: Lab) -> Subject:
    """One whose wall time was enough to become deaf in, which on a busy machine may take long."""
    script = "trap '' TERM; echo deaf; while :; do sleep 1000; done"
    for wall_time_ms in WALL_TIMES_MS:
        subject = await lab.sh(script, wall_time_ms=wall_time_ms, grace_ms=100)
        if await subject.says() == b"deaf\n":
            return subject
    pytest.fail(f"a shell did not say a word in {WALL_TIMES_MS[-1]} ms")


@pytest.mark.parametrize("closes_stdio", [False, True])
async def test_a_daemon_dies_when_its_worker_is_stopped(
    lab: Lab, closes_stdio: bool, is_alive: Callable[[int], bool]
) -> None:
    subject = await lab.python(DAEMON + f"daemon({closes_stdio})\nsignal.pause()")
    daemon = await daemon_of(subject)
    subject.process.stop()
    ended = await subject.exit()
    assert (ended.signal, ended.cause, ended.strays_killed) == (signal.SIGTERM, "stop", 1)
    assert not is_alive(daemon)


async def test_a_daemon_dies_when_its_worker_is_killed(lab: Lab, is_alive: Callable[[int], bool]) -> None:
    subject = await lab.python(DAEMON + "daemon()\nsignal.pause()")
    daemon = await daemon_of(subject)
    subject.process.kill()
    ended = await subject.exit()
    assert (ended.signal, ended.cause, ended.strays_killed) == (signal.SIGKILL, "kill", 1)
    assert not is_alive(daemon)


@pytest.mark.parametrize("closes_stdio", [False, True])
async def test_a_daemon_dies_when_its_worker_ends(
    lab: Lab, closes_stdio: bool, is_alive: Callable[[int], bool]
) -> None:
    """Also one that holds stdout: the exit does not wait for it."""
    subject = await lab.python(DAEMON + f"daemon({closes_stdio})\nsys.exit(4)")
    ended = await subject.exit()
    assert (ended.code, ended.cause, ended.strays_killed) == (4, None, 1)
    assert not is_alive(await daemon_of(subject))


async def test_a_tree_that_forks_without_end_is_killed(lab: Lab) -> None:
    subject = await lab.python(
        """
import os, signal
for n in range(50):
    if os.fork() == 0:
        os.setsid()
        while n % 2 == 0:
            if os.fork():
                os._exit(0)
        signal.pause()
print("ready", flush=True)
signal.pause()
"""
    )
    await subject.until_says(b"ready")
    subject.process.kill()
    ended = await subject.exit()
    assert ended.cause == "kill"
    assert ended.strays_killed >= 50
    assert lab.left() == []


async def test_a_stray_whose_first_thread_has_ended_is_killed(lab: Lab) -> None:
    """To /proc it is a zombie, yet it runs."""
    subject = await lab.python(
        """
import ctypes, os, signal, threading, time
if os.fork() == 0:
    os.setsid()
    def run():
        while b"zombie" not in open(f"/proc/{os.getpid()}/status", "rb").read():
            time.sleep(0.001)
        os.write(1, b"ready")
        while True:
            signal.pause()
    threading.Thread(target=run).start()
    ctypes.CDLL(None).pthread_exit(None)
signal.pause()
"""
    )
    await subject.until_says(b"ready")
    subject.process.stop()
    ended = await subject.exit()
    assert (ended.cause, ended.strays_killed) == ("stop", 1)


async def test_a_megabyte_comes_back_from_cat_exactly(lab: Lab) -> None:
    sent = os.urandom(1 << 20)
    subject = await lab.run("cat")
    for start in range(0, len(sent), 300_000):
        subject.process.write_input(sent[start : start + 300_000])
    subject.process.close_stdin()
    assert await subject.says() == sent
    ended = await subject.exit()
    assert (ended.code, ended.undelivered_input_bytes, subject.process.backlog_bytes) == (0, 0, 0)


async def test_the_end_of_input_is_an_end_of_file(lab: Lab) -> None:
    subject = await lab.sh("cat; echo end")
    subject.process.write_input(b"last words\n")
    subject.process.close_stdin()
    assert await subject.says() == b"last words\nend\n"


async def test_a_worker_without_input_reads_the_end_of_file_at_once(lab: Lab) -> None:
    subject = await lab.sh("cat; echo end; exec sleep 1000", stdin_closed=True)
    assert (subject.process.stdin_closing, subject.process.stdin_closed) == (True, True)
    assert await subject.until_says(b"\n") == b"end\n"
    subject.process.write_input(b"too late")
    subject.process.kill()  # Which comes behind it.
    assert (await subject.exit()).undelivered_input_bytes == 8


async def test_a_worker_that_never_reads_costs_nobody_anything(lab: Lab) -> None:
    subject = await lab.sh("echo ready; exec sleep 1000")
    subject.process.write_input(bytes(1 << 20))
    waiting = (1 << 20) - 65536  # What a pipe does not take.
    await subject.until(lambda: subject.process.backlog_bytes == waiting)
    await subject.until_says(b"ready")
    subject.process.kill()
    ended = await subject.exit()
    assert (ended.cause, ended.undelivered_input_bytes) == ("kill", waiting)


async def test_input_after_the_worker_closed_its_stdin_is_reported_as_undelivered(lab: Lab) -> None:
    subject = await lab.sh("exec 0</dev/null; echo closed; exec sleep 1000")
    await subject.until(lambda: subject.process.stdin_closed)
    subject.process.write_input(b"too late")
    assert subject.process.backlog_bytes == 8
    subject.process.stop()
    assert (await subject.exit()).undelivered_input_bytes == 8
