"""Appends to a store that drops nothing, in a process of its own: `python appending.py ROOT EVENTS`.

Prints one line of JSON: the memory after the first tenth and at the end, in MiB,
and the events a second. The log's files stay.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import orjson
from host import MIB, rss_bytes
from producers import EVENT, EVERYTHING, nobody, passive_record

from watchglass.store.filesystem import open_filesystem_store

APPEND_EVENTS = 64
TURN_APPENDS = 16


async def main(root: Path, events: int) -> None:
    """Append, say what it took."""
    appends = events // APPEND_EVENTS
    first = 0
    async with open_filesystem_store(root, retention=EVERYTHING) as store:
        log = await store.create(passive_record(0), nobody)
        began = time.perf_counter()
        for number in range(appends):
            await log.append([EVENT] * APPEND_EVENTS)
            if number % TURN_APPENDS == 0:
                await asyncio.sleep(0)
            if number == appends // 10:
                first = rss_bytes(os.getpid())
        taken_s = time.perf_counter() - began
        last = rss_bytes(os.getpid())
    print(
        orjson.dumps(
            {"first": first / MIB, "last": last / MIB, "rate": appends * APPEND_EVENTS / taken_s}
        ).decode()
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
