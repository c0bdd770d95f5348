"""Waiting in tests: always with a bound, never by sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any, TypeVar

from .patience import PATIENCE_S

T = TypeVar("T")
_TURNS = 100
_LOOK_S = 0.002


async def soon(awaitable: Awaitable[T]) -> T:
    """What it comes to; a test that would hang fails instead."""
    async with asyncio.timeout(PATIENCE_S):
        return await awaitable


async def begun(act: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that has run to its first wait."""
    task = asyncio.create_task(act)
    await asyncio.sleep(0)
    return task


async def until(condition: Callable[[], bool]) -> None:
    """Return when something is so that nobody announces.

    It looks at every turn of the loop, and when that does not help soon, every
    _LOOK_S seconds: whoever it waits for may need the processor.
    """
    async with asyncio.timeout(PATIENCE_S):
        for turn in count():
            if condition():
                return
            await asyncio.sleep(0 if turn < _TURNS else _LOOK_S)
