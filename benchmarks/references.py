"""Appending without a store: what the disk, an event loop and SQLite cost by themselves.

Each takes records that are ready: no numbering, no encoding, no checksums.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from report import Measured, percentile

RECORD = b"w" * 249 + b"\n"
_Asked = tuple[bytes, asyncio.Future[None]]


@contextmanager
def appended_file(directory: Path) -> Iterator[int]:
    """A fresh file to append to; it goes with the block."""
    path = directory / "reference"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
    try:
        yield fd
    finally:
        os.close(fd)
        path.unlink()


class LoopGroup:
    """Group commit on the loop's thread, without a sync: one write a turn of the loop."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._asked: list[_Asked] = []

    def append(self, record: bytes) -> asyncio.Future[None]:
        """Done when it is written."""
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.call_soon(self._write)
        done = loop.create_future()
        self._asked.append((record, done))
        return done

    def _write(self) -> None:
        asked, self._asked = self._asked, []
        os.write(self._fd, b"".join([record for record, _ in asked]))
        for _, done in asked:
            done.set_result(None)


class ThreadGroup:
    """Group commit by one writer thread: write, fdatasync, then all that came meanwhile."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._asked: list[_Asked] = []
        self._batches: SimpleQueue[list[_Asked] | None] = SimpleQueue()
        self._busy = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def append(self, record: bytes) -> asyncio.Future[None]:
        """Done when it is on the disk."""
        done = self._loop.create_future()
        if not self._busy and not self._asked:
            self._loop.call_soon(self._hand_over)
        self._asked.append((record, done))
        return done

    def close(self) -> None:
        """End the thread."""
        self._batches.put(None)
        self._thread.join()

    def _hand_over(self) -> None:
        if self._asked:
            self._busy = True
            asked, self._asked = self._asked, []
            self._batches.put(asked)

    def _run(self) -> None:
        while (asked := self._batches.get()) is not None:
            os.write(self._fd, b"".join([record for record, _ in asked]))
            os.fdatasync(self._fd)
            self._loop.call_soon_threadsafe(self._written, asked)

    def _written(self, asked: list[_Asked]) -> None:
        self._busy = False
        self._hand_over()
        for _, done in asked:
            done.set_result(None)


def written(directory: Path, count: int, *, sync: bool) -> Measured:
    """`os.write` of one record after the other, each with fdatasync or none with."""
    taken: list[float] = []
    with appended_file(directory) as fd:
        began, began_cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            before = time.perf_counter()
            os.write(fd, RECORD)
            if sync:
                os.fdatasync(fd)
            taken.append(time.perf_counter() - before)
        return measured(count, time.perf_counter() - began, taken, time.process_time() - began_cpu)


def inserted(directory: Path, count: int, *, batch: int, synchronous: Literal["NORMAL", "FULL"]) -> Measured:
    """SQLite in WAL mode: `batch` records a transaction."""
    path = directory / "reference.sqlite"
    taken: list[float] = []
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, line BLOB)")
        began, began_cpu = time.perf_counter(), time.process_time()
        for first in range(0, count, batch):
            before = time.perf_counter()
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO events VALUES (?, ?)", [(seq, RECORD) for seq in range(first, first + batch)]
            )
            connection.execute("COMMIT")
            taken.append(time.perf_counter() - before)
        return measured(count, time.perf_counter() - began, taken, time.process_time() - began_cpu)
    finally:
        connection.close()
        for left in directory.glob("reference.sqlite*"):
            left.unlink()


def measured(count: int, taken_s: float, latencies_s: list[float], cpu_s: float) -> Measured:
    """The rate, and what one append takes in µs: of processor time, and as its producer sees it."""
    return {
        "rate": count / taken_s,
        "cpu_us": 1e6 * cpu_s / count,
        "p50": 1e6 * percentile(latencies_s, 50),
        "p99": 1e6 * percentile(latencies_s, 99),
    }
