"""The executor: launches workers as real processes, and sees that nothing of them is left.

    server --socketpair--> spawn daemon --fork--> supervisor --fork, exec--> worker

The server never forks a worker itself. It holds one channel to each supervisor;
when the server dies, however it dies, the channels end, and the workers with
them that do not outlive it. Those stay with their supervisors until another
executor adopts them. When the spawn daemon dies, workers go on and the next
launch starts another. When a supervisor dies its worker is killed and reported
as lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from watchglass.protocol.errors import LaunchFailed
from watchglass.runtime.capabilities import HostCapabilities

from . import _adoption
from ._channel import Channel
from ._output import Output
from ._probing import probe
from ._spares import Spares, Supervisor
from ._spawner import Spawner
from ._sweep import Sweeper
from ._trial_request import trial_request
from .host import cgroup_removal, linux
from .plan import LaunchPlan
from .process import Process

LAUNCH_S_MAX = 30.0
"""From asking for a supervisor to the running program; a hanging file system may hold it up."""

ADOPT_S_MAX = 30.0
"""How long a supervisor may take to answer its new server; one that does not is killed."""

CLOSE_S_MAX = 10.0
"""How long supervisors may take to kill what they have, before they are killed themselves."""


@asynccontextmanager
async def open_executor(
    *,
    log_path: Path | None = None,
    cgroup_enabled: bool = True,
    cgroup_root: Path | None = None,
    worker_uid: int | None = None,
    at_hand: bool = True,
) -> AsyncIterator[Executor]:
    """A running executor. After the block no worker, supervisor or spawn daemon is left.

    Workers that still run are killed. What the kernel does not let die within
    CLOSE_S_MAX seconds is left to it. To leave workers running that outlive
    their server, `close(keep_outliving=True)` before the block ends.

    The spawn daemon's errors are appended to `log_path`. None: they go to our
    stderr, whose reader then sees its end only when the last worker has left.

    `cgroup_root` is the group below which `probe` tries to make those of workers
    (None: the server's own); without `cgroup_enabled` it looks for none. As
    `worker_uid` it tries sandboxes (None: as nobody when we are root, else as ourselves).
    The spawn daemon is started ahead of its first use, unless it need not be `at_hand`.
    """
    executor = Executor(
        log_path, cgroup_enabled=cgroup_enabled, cgroup_root=cgroup_root, worker_uid=worker_uid
    )
    if at_hand:
        executor.start()
    try:
        yield executor
    finally:
        await executor.close()


class Executor:
    """Launches and adopts, and remembers every process until nothing of it is left."""

    def __init__(
        self,
        log_path: Path | None = None,
        *,
        cgroup_enabled: bool = True,
        cgroup_root: Path | None = None,
        worker_uid: int | None = None,
    ) -> None:
        self._probe_asked = {
            "cgroup_enabled": cgroup_enabled,
            "cgroup_root": None if cgroup_root is None else str(cgroup_root),
        }
        self._worker_uid = worker_uid
        self._spawner = Spawner(log_path)
        self._spares = Spares()
        self._sweeper = Sweeper()
        self._is_closed = False
        self._processes: dict[Process, asyncio.Event] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._cgroup_folders: set[str] = set()

    @property
    def spawn_daemon_pid(self) -> int | None:
        """None between its death and the next launch."""
        return self._spawner.pid

    def start(self) -> None:
        """Have the spawn daemon ready. Workers keep the limit on open files that holds for us now."""
        self._spawner.start()

    async def probe(self) -> HostCapabilities:
        """Find out what this host can do for a worker, by doing it; some hundred milliseconds at most.

        What a crash left in control groups is killed and removed on the way.

        Raises:
            LaunchFailed: No answer came. Nothing is known then.
        """
        return await probe(self._spawner, {**self._probe_asked, **trial_request(self._worker_uid)})

    async def launch(self, plan: LaunchPlan, on_change: Callable[[], None]) -> Process:
        """Start a worker; return when its program runs.

        `on_change` is called on the loop whenever output may be there, the
        backlog moved, stdin closed, or the exit is known; calls may be merged.
        A cancelled launch leaves no process.

        Raises:
            LaunchFailed: No worker runs; the error says which step failed on what.
        """
        body = plan.encode()
        if plan.cgroup is not None:
            self._cgroup_folders |= {folder.path for folder in plan.cgroup.folders}
        try:
            async with asyncio.timeout(LAUNCH_S_MAX):
                return await self._launch(plan, body, on_change)
        except TimeoutError:
            raise LaunchFailed("spawn", plan.argv[0], errno.ETIMEDOUT) from None

    async def adopt(
        self,
        directory: Path,
        *,
        cookie: str,
        grace_ms: int,
        stdout_from: int,
        stderr_from: int,
        on_change: Callable[[], None],
    ) -> Process | None:
        """Take over the worker in `directory` that another executor launched there with `cookie`.

        None: its program never ran, and never will; it may be launched anew. A
        launch that a dead server left under way is waited for: it holds a lock
        on the folder until that is decided.

        Of a living worker it returns the process, which goes on as a launched
        one would: with `grace_ms`, input from `received_input_bytes` on, output
        behind the first `stdout_from` and `stderr_from` bytes. Of one that is
        over, `exit` is set already: as its supervisor reported it or, when that
        was killed or the machine went down, "lost"; then nothing is left of it.
        A supervisor that does not answer within ADOPT_S_MAX seconds is killed.

        A cancelled call changes nothing.

        Raises:
            LaunchFailed: The executor is closed, or for ADOPT_S_MAX seconds neither could be
                decided: nothing is known of the worker then.
            OSError: The folder or its files cannot be read.
        """
        await self._wait_decided(directory)
        run = _adoption.read_run(directory)
        if run is None:
            return None
        process = Process(
            directory,
            Output(directory, stdout_from=stdout_from, stderr_from=stderr_from),
            cookie=cookie,
            grace_ms=grace_ms,
            outlives_server=True,
            on_change=on_change,
            on_dead=self._on_dead,
            on_free=self._on_free,
        )
        process.set_ran(run.pid, run.started_at_us)
        process.uid = run.uid
        await self._take_over(process, run)
        return process

    async def _wait_decided(self, directory: Path) -> None:
        """Return when a launch in a folder is not under way any more. Raises LaunchFailed."""
        try:
            async with asyncio.timeout(ADOPT_S_MAX):
                await _adoption.launch_decided(directory)
        except TimeoutError:
            raise LaunchFailed("adopt", str(directory), errno.ETIMEDOUT) from None
        if self._is_closed:
            raise LaunchFailed("adopt", str(directory), errno.ECANCELED)

    async def close(self, *, keep_outliving: bool = False) -> None:
        """Kill every worker, wait until nothing is left, and end the spawn daemon.

        With `keep_outliving`, let those go on that outlive their server, with
        their supervisors and the spawn daemon: their processes announce nothing
        any more, and wait for an `adopt`. A launch of such a worker that is
        under way is waited for.

        Any other launch or adoption under way fails, and so does every later
        one. Closing again changes nothing.
        """
        self._is_closed = True
        kept = [process for process in self._processes if keep_outliving and process.outlives_server]
        for process in self._processes:
            if process not in kept:
                process.kill()
        left_any = await self._leave(kept)
        if not await self._wait_gone(CLOSE_S_MAX):
            for process in self._processes:
                process.kill_supervisor()
            await self._wait_gone(CLOSE_S_MAX)
        await self._spares.close()
        await self._spawner.close(leave_behind=left_any)
        await asyncio.gather(*self._endings)
        await self._sweeper.close()
        cgroup_removal.remove_if_empty(self._cgroup_folders)

    async def _launch(self, plan: LaunchPlan, body: bytes, on_change: Callable[[], None]) -> Process:
        directory = _adoption.lock_launch(plan.directory)
        try:
            supervisor = self._spares.take(spawn_daemon=self._spawner.pid)
            supervisor = supervisor or await self._forked(plan.argv[0])
            process = Process(
                plan.directory,
                Output(plan.directory),
                cookie=plan.cookie,
                grace_ms=plan.grace_ms,
                outlives_server=plan.outlives_server,
                stdin_closed=plan.stdin_closed,
                on_change=on_change,
                on_dead=self._on_dead,
                on_free=self._on_free,
            )
            self._processes[process] = asyncio.Event()
            process.have(supervisor)
            process.begin(body, directory)
        finally:
            os.close(directory)  # The supervisor has its own by now, and with it the lock.
        try:
            await process.wait_started()
        except asyncio.CancelledError:
            process.outlives_server = False  # Nobody would adopt what nobody knows of.
            process.kill()
            raise
        return process

    async def _forked(self, program: str) -> Supervisor:
        """A new supervisor. Raises LaunchFailed."""
        process, ours = await self._spawner.fork()
        if self._is_closed:
            ours.close()
            os.close(process.pidfd)
            raise LaunchFailed("spawn", program, errno.ECANCELED)
        return Supervisor(process, Channel(ours))

    async def _take_over(self, process: Process, run: _adoption.Run) -> None:
        """Return when the supervisor has answered, or the exit is known. Raises LaunchFailed."""
        supervisor = _adoption.find_supervisor(process.directory, run)
        gone = self._processes[process] = asyncio.Event()
        if supervisor is None:
            self._on_dead(process)
        else:
            process.watch(supervisor)
        try:
            await self._reach(process, gone)
        finally:
            if not process.is_started and process.is_watched:
                self._let_go(process)  # It raised: whoever asks next finds all as it was.

    async def _reach(self, process: Process, gone: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(ADOPT_S_MAX):
                if process.is_watched:  # Else exit.json tells, though its supervisor may still listen.
                    await self._connect(process, gone)
                await process.wait_started()
                return
        except TimeoutError:
            process.kill_supervisor()
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await process.wait_started()
        except TimeoutError:
            raise LaunchFailed("adopt", "supervisor", errno.ETIMEDOUT) from None

    async def _connect(self, process: Process, gone: asyncio.Event) -> None:
        ours = await _adoption.connect(process.directory, gone)
        if ours is not None:
            process.connect(ours)

    async def _leave(self, kept: list[Process]) -> bool:
        """Let go of those that run, kill those that do not come to it; whether any was let go."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S_MAX):
                await asyncio.gather(*(process.wait_started() for process in kept), return_exceptions=True)
        running = [process for process in kept if process.is_started and process.is_watched]
        for process in kept:
            if process not in running:
                process.kill()
            elif process.exit is None:
                self._let_go(process)
        return any(process.exit is None for process in running)

    def _let_go(self, process: Process) -> None:
        process.let_go()
        self._forget(process)

    async def _wait_gone(self, timeout_s: float) -> bool:
        """Whether all processes were gone in time."""
        try:
            async with asyncio.timeout(timeout_s):
                for gone in list(self._processes.values()):
                    await gone.wait()
        except TimeoutError:
            return False
        return True

    def _on_free(self, process: Process, supervisor: Supervisor) -> None:
        self._spares.put(supervisor)
        self._forget(process)

    def _on_dead(self, process: Process) -> None:
        if process.is_reported:
            self._forget(process)
            return
        task = asyncio.get_running_loop().create_task(self._end_unreported(process))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _end_unreported(self, process: Process) -> None:
        """What exit.json says; or kill what a killed supervisor left, and only then say that it is lost."""
        told = False
        with contextlib.suppress(OSError):
            told = process.read_exit()
        if not told:
            await self._empty_groups(process)
            await self._spawner.settle()
            await self._sweeper.sweep(process.cookie)
            process.set_lost()
        self._forget(process)

    async def _empty_groups(self, process: Process) -> None:
        """Kill what is in the worker's control groups, and remove them."""
        run = None
        with contextlib.suppress(OSError):
            run = _adoption.read_run(process.directory)
        if run is not None and run.cgroups and run.boot_id == linux.boot_id():
            await asyncio.to_thread(cgroup_removal.destroy, list(run.cgroups), within_s=CLOSE_S_MAX)

    def _forget(self, process: Process) -> None:
        self._processes.pop(process).set()
