"""Threads that wait for the disk, so that the event loop does not.

A job is a plain function that may raise OSError; its outcome is told on the
loop. Jobs of one thread run one after the other, in the order of their asking.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue

Job = Callable[[], None]
Done = Callable[[OSError | None], None]


class SyncThread:
    """One thread, begun with its first job."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[tuple[Job, Done] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, job: Job, done: Done) -> None:
        """Run a job; then `done` is called on the loop with what the system refused, or None."""
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put((job, done))

    async def run(self, job: Job) -> None:
        """Run a job and wait for it. Raises the OSError that it raised."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(fault: OSError | None) -> None:
            if waiter.done():
                return
            if fault is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(fault)

        self.submit(job, done)
        await waiter

    def close(self) -> None:
        """Let it end when its jobs are done, and wait for that."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        loop = self._loop
        assert loop is not None
        while (item := self._jobs.get()) is not None:
            job, done = item
            fault: OSError | None = None
            try:
                job()
            except OSError as refused:
                fault = refused
            loop.call_soon_threadsafe(done, fault)
