"""Bytes both ways between two streams, until both have said all that they had to say."""

from __future__ import annotations

import asyncio

from .stream import Patience, Stream


async def tunnel(inside: Stream, outside: Stream, *, early: bytes, idle_s: float) -> None:
    """Carry, beginning with `early` from inside.

    An end is passed on alone, for the other way may go on. Where one side breaks
    off, or nothing moves for `idle_s` seconds, both are broken off.
    """
    try:
        patience = Patience(idle_s)
        async with patience.lasting():
            await outside.send(early)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_carry(inside, outside, patience))
                ways.create_task(_carry(outside, inside, patience))
    except* OSError:  # As is TimeoutError.
        inside.break_off()
        outside.break_off()


async def _carry(source: Stream, target: Stream, patience: Patience) -> None:
    while data := await source.receive():
        patience.renew()
        await target.send(data)
        patience.renew()
    target.end()
