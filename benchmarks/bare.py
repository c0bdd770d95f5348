"""The same things done with `subprocess.Popen` and a pipe: what the operating system itself costs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

PIPE_READ_BYTES = 64 << 10


def first_line_s(argv: Sequence[str]) -> float:
    """From the start of a process to the first line that it says."""
    began = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return time.perf_counter() - began


def echoes_s(count: int, line: bytes) -> list[float]:
    """How long each of `count` lines takes to `cat` and back."""
    taken: list[float] = []
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(count):
            began = time.perf_counter()
            process.stdin.write(line)
            process.stdout.read(len(line))
            taken.append(time.perf_counter() - began)
        process.stdin.close()
    return taken


def processes_per_s(argv: Sequence[str], count: int, at_once: int) -> float:
    """Processes started and ended in a second, by so many threads."""

    def run_one(_: int) -> None:
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)

    with ThreadPoolExecutor(at_once) as threads:
        began = time.perf_counter()
        list(threads.map(run_one, range(count)))
        return count / (time.perf_counter() - began)


def read_all(argv: Sequence[str]) -> tuple[int, int, float]:
    """Lines and bytes that a process says, and the seconds it takes to read and count them."""
    lines = size = 0
    began = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        while read := os.read(process.stdout.fileno(), PIPE_READ_BYTES):
            lines += read.count(b"\n")
            size += len(read)
    return lines, size, time.perf_counter() - began
