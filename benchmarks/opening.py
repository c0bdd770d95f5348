"""Opens a store and a runtime on it, in a process of its own: `python opening.py ROOT`.

Prints one line of JSON: how long each took until the runtime would serve, the
processor time of both, the memory afterwards, and how many workers there are.
Then it leaves all as it was.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import orjson
from host import MIB, rss_bytes

from watchglass.runtime import RuntimeOptions, open_runtime
from watchglass.store.filesystem import open_filesystem_store


async def main(root: Path) -> None:
    """Open, say so, leave."""
    before = rss_bytes(os.getpid())
    began, began_cpu = time.perf_counter(), time.process_time()
    async with open_filesystem_store(root) as store:
        store_s = time.perf_counter() - began
        async with open_runtime(RuntimeOptions(keep_workers=True), store) as runtime:
            measured = {
                "open_s": time.perf_counter() - began,
                "store_s": store_s,
                "cpu_s": time.process_time() - began_cpu,
                "rss_mib": (rss_bytes(os.getpid()) - before) / MIB,
                "workers": runtime.summary().worker_count,
            }
    print(orjson.dumps(measured).decode())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
