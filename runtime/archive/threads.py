"""Work that is over when its caller is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def over(work: asyncio.Future[T]) -> T:
    """What it comes to.

    A caller that is cancelled leaves when it is over, so it may take away what it uses.
    """
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # Seen: nobody waits for it any more.
        raise


async def in_thread(work: Callable[..., T], *arguments: object) -> T:
    """What blocking work returns or raises, from a thread; see `over`."""
    return await over(asyncio.ensure_future(asyncio.to_thread(work, *arguments)))
