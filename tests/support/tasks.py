"""Waiting in tests: always with a bound, never by sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
SOON_S = 10.0


async def soon(awaitable: Awaitable[T]) -> T:
    """What it comes to; a test that would hang fails instead."""
    async with asyncio.timeout(SOON_S):
        return await awaitable


async def begun(act: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that has run to its first wait."""
    task = asyncio.create_task(act)
    await asyncio.sleep(0)
    return task


async def until(condition: Callable[[], bool]) -> None:
    """Return when something is so that nobody announces."""
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for.
            await asyncio.sleep(0)
