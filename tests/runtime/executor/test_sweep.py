"""The last resort, where the system has not what it takes to look for processes."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from watchglass.runtime.executor import _sweep
from watchglass.runtime.executor._sweep import Sweeper, sweep

END_S = 20
COOKIE = f"WATCHGLASS_TEST_COOKIE=sweep-{os.getpid()}"


@contextmanager
def no_descriptor_free() -> Iterator[None]:
    """Every descriptor that is opened in the block is one too many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_asks_while_a_sweep_fails_is_answered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sweep, "SWEEP_S_MAX", 0.1)

    async def scenario() -> None:
        sweeper = Sweeper()
        with no_descriptor_free():
            first = asyncio.create_task(sweeper.sweep("first=1"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # Its sweep has begun.
            second = asyncio.create_task(sweeper.sweep("second=1"))
            answered, _ = await asyncio.wait([first, second], timeout=END_S)
        assert answered == {first, second}
        await sweeper.close()

    asyncio.run(scenario())


def test_a_sweep_finds_what_it_could_not_look_for_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    has_tried = threading.Event()
    killed: list[int] = []

    def pause(_: float) -> None:
        has_tried.set()
        os.sched_yield()

    monkeypatch.setattr("watchglass.runtime.executor._sweep.time.sleep", pause)
    name, _, value = COOKIE.partition("=")
    with subprocess.Popen(["/bin/sleep", "600"], env={**os.environ, name: value}) as process:
        looking = threading.Thread(target=lambda: killed.append(sweep({COOKIE})), daemon=True)
        try:
            with no_descriptor_free():
                looking.start()
                assert has_tried.wait(END_S)
            looking.join(END_S)
        finally:
            process.kill()  # If the sweep did not.
    assert killed == [1]
