"""The observers of a `sender.py`: raw sockets that count bytes; one that looked would be what is measured."""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol, Self

from frames import Frames
from producers import worker_id
from report import Measured, percentile
from serving import TIMEOUT_S, Feed, Server

SENDER = Path(__file__).with_name("sender.py")
TOKEN = "for-this-benchmark"  # noqa: S105 - it guards nothing.
_SENT_NS = re.compile(rb'"ns":"(\d+)"')


class Sending:
    """A sender that runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        self.port = int(self.said()["port"])

    def said(self) -> dict[str, float]:
        """What it says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the sender has failed; its stderr says why")
        facts: dict[str, float] = json.loads(line)
        return facts

    def tell(self, word: bytes) -> None:
        """Let it go on."""
        assert self._process.stdin is not None
        self._process.stdin.write(word)
        self._process.stdin.flush()

    def observe(self, worker: int = 0) -> Feed:
        """One observer of one worker."""
        return Feed(Server("127.0.0.1", self.port, TOKEN, self.pid, Path()), worker_id(worker), "latest")


@contextmanager
def sending(way: str, directory: Path, core: int, **amounts: int) -> Iterator[Sending]:
    """A sender on one core, until the block ends."""
    flags = [text for name, amount in amounts.items() for text in (f"--{name}", str(amount))]
    argv = ["taskset", "-c", str(core), sys.executable, str(SENDER), way, "--dir", str(directory), *flags]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Sending(process)
        finally:
            process.kill()


def fanned_out(way: str, directory: Path, core: int, observers: int, burst: int, bursts: int) -> Measured:
    """Deliveries a second: the next burst when all have the last."""
    with sending(way, directory, core, observers=observers, burst=burst, bursts=bursts) as sender:
        feeds = [sender.observe() for _ in range(observers)]
        poll = select.epoll()
        for feed in feeds:
            poll.register(feed.fileno(), select.EPOLLIN)
        by_fd = {feed.fileno(): feed for feed in feeds}
        burst_bytes = _first_burst(feeds, burst)
        for _ in range(bursts - 1):
            sender.tell(b"+")
            missing = burst_bytes * observers
            while missing:
                for fd, _ in poll.poll(TIMEOUT_S):
                    missing -= by_fd[fd].count_bytes()
        sender.tell(b"+")
        said = sender.said()
        for feed in feeds:
            feed.close()
    deliveries = observers * burst * bursts
    return {"rate": deliveries / said["seconds"], "cpu_us": 1e6 * said["cpu_s"] / deliveries}


def _first_burst(feeds: list[Feed], burst: int) -> int:
    """Read it everywhere; how many bytes it has."""
    size = 0
    for feed in feeds:
        frames = 0
        size = 0
        while frames < burst:
            ready = feed.ready()
            frames += len(ready)
            size += sum(len(content) + (4 if len(content) >= 126 else 2) for content in ready)
    return size


def paced(way: str, directory: Path, core: int, observers: int, rate: int, seconds: float) -> Measured:
    """Milliseconds from the append to the receipt, at a tenth of the observers."""
    bursts = int(rate * seconds)
    latencies_s: list[float] = []
    with sending(way, directory, core, observers=observers, burst=1, bursts=bursts, rate=rate) as sender:
        feeds = [sender.observe() for _ in range(observers)]
        looked_at = {feed.fileno(): (feed, Frames()) for feed in feeds[:: max(1, observers // 10)]}
        others = {feed.fileno(): feed for feed in feeds if feed.fileno() not in looked_at}
        poll = select.epoll()
        for fd in (*looked_at, *others):
            poll.register(fd, select.EPOLLIN)
        awaited = len(looked_at) * bursts
        while len(latencies_s) < awaited:
            for fd, _ in poll.poll(TIMEOUT_S):
                if fd in others:
                    others[fd].count_bytes()
                    continue
                now_ns = time.monotonic_ns()
                sent = _SENT_NS.findall(b"".join(looked_at[fd][0].ready()))
                latencies_s += [(now_ns - int(each)) / 1e9 for each in sent]
        sender.tell(b".")
        sender.said()
        for feed in feeds:
            feed.close()
    return {"p50": 1000 * percentile(latencies_s, 50), "p99": 1000 * percentile(latencies_s, 99)}


def crowded(
    directory: Path, core: int, *, workers: int, observers_each: int, rate_each: int, seconds: int
) -> Measured:
    """All observers of many workers: events a second, milliseconds to them, the server's share of a core.

    The workers take turns, some in each millisecond; a tenth of the observers look at the time.
    """
    rate = workers * rate_each
    burst = max(1, rate // 1000)
    bursts = rate * seconds // burst
    observers = workers * observers_each
    latencies_s: list[float] = []
    amounts = {"observers": observers, "workers": workers, "burst": burst, "bursts": bursts, "rate": rate}
    with sending("ours", directory, core, **amounts) as sender, ExitStack() as left:
        feeds = [left.enter_context(sender.observe(number % workers)) for number in range(observers)]
        by_fd = {feed.fileno(): feed for feed in feeds}
        poll = left.enter_context(select.epoll())
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN)
        look = {feed.fileno() for feed in feeds[::10]}
        began, missing = 0.0, bursts * burst * observers_each
        while missing > 0:
            for fd, _ in poll.poll(TIMEOUT_S):
                began = began or time.perf_counter()
                if fd not in look:
                    missing -= by_fd[fd].count_ready()
                    continue
                now_ns = time.monotonic_ns()
                sent = _SENT_NS.findall(b"".join(by_fd[fd].ready()))
                missing -= len(sent)
                latencies_s += [(now_ns - int(each)) / 1e9 for each in sent]
        taken_s = time.perf_counter() - began
        sender.tell(b".")
        said = sender.said()
    return {
        "rate": bursts * burst * observers_each / taken_s,
        "p50": 1000 * percentile(latencies_s, 50),
        "p99": 1000 * percentile(latencies_s, 99),
        "cpu": 100 * said["cpu_s"] / taken_s,
    }


class Counted(Protocol):
    """A connection that counts the events which come by it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def fileno(self) -> int:
        """For select."""

    def count_ready(self) -> int:
        """How many came that nobody counted, after one wait for bytes if there are none."""


def count_all(observers: Sequence[Counted], events: int) -> None:
    """Return when each has so many more."""
    by_fd = {observer.fileno(): observer for observer in observers}
    missing = {fd: events - observer.count_ready() for fd, observer in by_fd.items()}
    with select.epoll() as poll:
        for fd in [fd for fd, count in missing.items() if count > 0]:
            poll.register(fd, select.EPOLLIN)
        while any(count > 0 for count in missing.values()):
            for fd, _ in poll.poll(TIMEOUT_S):
                missing[fd] -= by_fd[fd].count_ready()
                if missing[fd] <= 0:
                    poll.unregister(fd)


def replayed(observe: Callable[[], Counted], observers: int, events: int) -> Measured:
    """Events a second to observers who begin at the first; each of them connects in that time."""
    with ExitStack() as left:
        began = time.perf_counter()
        connected = [left.enter_context(observe()) for _ in range(observers)]
        count_all(connected, events)
        return {"rate": observers * events / (time.perf_counter() - began)}


def replayed_bare(directory: Path, core: int, events: int) -> Measured:
    """The same to one observer, whose bytes are ready in memory: one `socket.sendall`."""
    with sending("bare", directory, core, observers=1, burst=events, bursts=1) as sender:
        return replayed(sender.observe, 1, events)


def resumed(observe: Callable[[], Feed]) -> Measured:
    """Milliseconds from the connect to the first event."""
    began = time.perf_counter()
    with observe() as feed:
        while not feed.count_ready():
            pass
        return {"ms": 1000 * (time.perf_counter() - began)}
