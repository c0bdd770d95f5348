"""The executor: launches workers as real processes, and sees that nothing of them is left.

    server --socketpair--> spawn daemon --fork--> supervisor --fork, exec--> worker

The server never forks a worker itself. It holds one channel to each supervisor;
when the server dies, however it dies, the channels end and the workers with
them. When the spawn daemon dies, workers go on and the next launch starts
another. When a supervisor dies its worker is killed and reported as lost.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from watchglass.protocol.errors import LaunchFailed

from ._spawner import Spawner
from ._sweep import sweep
from .plan import LaunchPlan
from .process import Process

LAUNCH_S_MAX = 30.0
"""From asking for a supervisor to the running program; a hanging file system may hold it up."""

CLOSE_S_MAX = 10.0
"""How long supervisors may take to kill what they have, before they are killed themselves."""


@asynccontextmanager
async def open_executor() -> AsyncIterator[Executor]:
    """A running executor. After the block no worker, supervisor or spawn daemon is left.

    Workers that still run are killed. What the kernel does not let die within
    CLOSE_S_MAX seconds is left to it.
    """
    executor = Executor()
    executor.start()
    try:
        yield executor
    finally:
        await executor.close()


class Executor:
    """Launches, and remembers every process until nothing of it is left."""

    def __init__(self) -> None:
        self._spawner = Spawner()
        self._is_closed = False
        self._processes: dict[Process, asyncio.Event] = {}
        self._sweeps: set[asyncio.Task[None]] = set()

    @property
    def spawn_daemon_pid(self) -> int | None:
        """None between its death and the next launch."""
        return self._spawner.pid

    def start(self) -> None:
        """Have the spawn daemon ready. Workers keep the limit on open files that holds for us now."""
        self._spawner.start()

    async def launch(self, plan: LaunchPlan, on_change: Callable[[], None]) -> Process:
        """Start a worker; return when its program runs.

        `on_change` is called on the loop whenever output may be there, the
        backlog moved, stdin closed, or the exit is known; calls may be merged.
        A cancelled launch leaves no process.

        Raises:
            LaunchFailed: No worker runs; the error says which step failed on what.
        """
        body = plan.encode()
        try:
            async with asyncio.timeout(LAUNCH_S_MAX):
                return await self._launch(plan, body, on_change)
        except TimeoutError:
            raise LaunchFailed("spawn", plan.argv[0], errno.ETIMEDOUT) from None

    async def close(self) -> None:
        """Kill every worker, wait until nothing is left, and end the spawn daemon.

        A launch that is under way fails, and so does every later one.
        """
        self._is_closed = True
        for process in self._processes:
            process.kill()
        if not await self._wait_gone(CLOSE_S_MAX):
            for process in self._processes:
                process.kill_supervisor()
            await self._wait_gone(CLOSE_S_MAX)
        await self._spawner.close()
        await asyncio.gather(*self._sweeps)

    async def _launch(self, plan: LaunchPlan, body: bytes, on_change: Callable[[], None]) -> Process:
        forked, ours = await self._spawner.fork()
        if self._is_closed:
            ours.close()
            os.close(forked.pidfd)
            raise LaunchFailed("spawn", plan.argv[0], errno.ECANCELED)
        process = Process(plan, forked, ours, body=body, on_change=on_change, on_dead=self._on_dead)
        self._processes[process] = asyncio.Event()
        try:
            await process.wait_started()
        except asyncio.CancelledError:
            process.kill()
            raise
        return process

    async def _wait_gone(self, timeout_s: float) -> bool:
        """Whether all processes were gone in time."""
        try:
            async with asyncio.timeout(timeout_s):
                for gone in list(self._processes.values()):
                    await gone.wait()
        except TimeoutError:
            return False
        return True

    def _on_dead(self, process: Process) -> None:
        if process.is_reported:
            self._forget(process)
            return
        task = asyncio.get_running_loop().create_task(self._end_lost(process))
        self._sweeps.add(task)
        task.add_done_callback(self._sweeps.discard)

    async def _end_lost(self, process: Process) -> None:
        """Kill what a killed supervisor left, and only then say that the worker is lost."""
        await self._spawner.settle()
        await asyncio.to_thread(sweep, process.cookie)
        process.set_lost()
        self._forget(process)

    def _forget(self, process: Process) -> None:
        self._processes.pop(process).set()
