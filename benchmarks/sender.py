"""One process that sends one worker's events to many observers: ours, or something barer.

    python sender.py WAY --observers N --burst B --bursts K [--rate R] [--backlog E]

It says its port on stdout, waits for the observers, sends the first burst, and
the next whenever a byte comes on stdin (with `--rate`, by the clock); then says
what it took. With `--workers` each event of a burst is of the next worker in turn,
and none waits until the one before is on the disk (`ours` alone). The events are
made before the first burst, unless they are to say when they were appended (`--rate`).

    ours    watchglass, journal in files: append, then frames in bulk
    os      the same with `--durability os`: no append waits for the disk
    plain   the same, each frame through the framework
    quart   the same events by `await websocket.send(text)` of a Quart route
    picows  picows, one `send` for each event and observer
    bare    a loop of `socket.send` of bytes that were made once
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from host import allow_open_files
from producers import worker_id

from watchglass.protocol.cursor import Seq
from watchglass.protocol.events import Event, ProducedEvent
from watchglass.protocol.frames import encode_envelope, event_frame
from watchglass.protocol.ready_frames import ready_frames
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.runtime import Runtime, RuntimeOptions, open_runtime
from watchglass.server.app import create_app
from watchglass.server.auth import access
from watchglass.server.connections import Connections
from watchglass.server.given_token import Secret
from watchglass.server.leaving import Leaving
from watchglass.store.base import Retention
from watchglass.store.filesystem import open_filesystem_store

TOKEN = "for-this-benchmark"  # noqa: S105 - it guards nothing.
WORKER = worker_id(0)
PATH = f"/v1/workers/{WORKER}/events/ws"
ENVELOPES_MADE = 1000
"""Of a bare burst; they are all alike."""
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: nobody-looks\r\n\r\n"
)

Burst = Callable[[int], Awaitable[None]]


def event(number: int) -> Event:
    """About 250 bytes as an envelope, with the time of its append."""
    return Event("tick", {"ns": f"{time.monotonic_ns():019d}", "n": f"{number:07d}", "text": "w" * 17})


def envelope(number: int) -> bytes:
    """The same as a journal has it."""
    return encode_envelope(Seq((1 << 52) + number), WORKER, "2026-01-01T00:00:00.000000Z", event(number))


async def main() -> None:
    """Send, and say what it took."""
    told = _parser().parse_args()
    allow_open_files()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with _WAYS[told.way](listener, told) as burst:
            await _bursts(burst, told)


async def _bursts(burst: Burst, told: argparse.Namespace) -> None:
    go = asyncio.Queue[bytes]()
    asyncio.get_running_loop().add_reader(0, lambda: go.put_nowait(os.read(0, 4096)))
    began, began_cpu = time.perf_counter(), time.process_time()
    for number in range(told.bursts):
        await burst(number)
        if told.rate:
            await asyncio.sleep(max(0.0, began + (number + 1) * told.burst / told.rate - time.perf_counter()))
        else:
            await go.get()
    while told.rate and b"." not in await go.get():
        pass
    _say(seconds=time.perf_counter() - began, cpu_s=time.process_time() - began_cpu)


@asynccontextmanager
async def _watchglass(listener: socket.socket, told: argparse.Namespace) -> AsyncIterator[Burst]:
    with TemporaryDirectory(dir=told.dir) as root:
        kept = Retention(max_bytes=1 << 30, max_events=1 << 30)
        async with (
            open_filesystem_store(
                Path(root), retention=kept, durability="os" if told.way == "os" else "fsync"
            ) as store,
            open_runtime(RuntimeOptions(runtime_id=store.runtime_id), store) as runtime,
        ):
            workers = [worker_id(number) for number in range(told.workers or 1)]
            for each in workers:
                await runtime.create_worker(CreateWorkerRequest(worker_id=each))
            port = listener.getsockname()[1]
            rules = access(host="127.0.0.1", port=port, token=Secret(TOKEN), allowed_hosts=(), origins=())
            app = create_app(runtime, rules, Leaving(keep_workers=False))
            connections = Connections(app, stall_s=60, ready_frames=told.way != "plain")
            async with connections.accepting(listener, close_s=1):
                _say(port=port)
                await _until(lambda: runtime.summary().observer_count >= told.observers)
                await asyncio.sleep(0.2)  # The last of them has its snapshot, and is at the head.
                async with asyncio.TaskGroup() as appends:
                    yield (
                        _in_turn(runtime, workers, told.burst, appends)
                        if told.workers
                        else _of_one(runtime, workers[0], told)
                    )


def _of_one(runtime: Runtime, worker: str, told: argparse.Namespace) -> Burst:
    ready = _produced(0, told.burst)

    async def burst(number: int) -> None:
        events = _produced(number * told.burst, told.burst) if told.rate else ready
        await runtime.append_events(worker, events)

    return burst


def _in_turn(runtime: Runtime, workers: Sequence[str], size: int, appends: asyncio.TaskGroup) -> Burst:
    async def burst(number: int) -> None:
        for place in range(number * size, (number + 1) * size):
            worker = workers[place % len(workers)]
            appends.create_task(runtime.append_events(worker, _produced(place, 1)))

    return burst


def _produced(first: int, count: int) -> list[ProducedEvent]:
    events = [event(number) for number in range(first, first + count)]
    return [ProducedEvent(event=each.name, data=each.data) for each in events]


@asynccontextmanager
async def _quart(listener: socket.socket, told: argparse.Namespace) -> AsyncIterator[Burst]:
    from quart import Quart, websocket

    app = Quart(__name__)
    queues: list[asyncio.Queue[list[str]]] = []

    async def feed() -> None:
        queue = asyncio.Queue[list[str]]()
        await websocket.send("snapshot")
        queues.append(queue)
        while True:
            for text in await queue.get():
                await websocket.send(text)

    app.add_websocket(PATH, view_func=feed)

    texts = [event_frame(envelope(place)).decode() for place in range(told.burst)]

    async def burst(_number: int) -> None:
        for queue in queues:
            queue.put_nowait(texts)

    connections = Connections(app, stall_s=60)  # type: ignore[arg-type]  # Quart's own words for ASGI.
    async with connections.accepting(listener, close_s=1):
        _say(port=listener.getsockname()[1])
        await _until(lambda: len(queues) >= told.observers)
        yield burst


@asynccontextmanager
async def _picows(listener: socket.socket, told: argparse.Namespace) -> AsyncIterator[Burst]:
    from picows import WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

    class Observer(WSListener):
        def on_ws_connected(self, transport: WSTransport) -> None:
            transport.send(WSMsgType.TEXT, b"snapshot")
            transports.append(transport)

    def accept(_: WSUpgradeRequest) -> Observer:
        return Observer()

    transports: list[WSTransport] = []
    texts = [event_frame(envelope(place)) for place in range(told.burst)]

    async def burst(_number: int) -> None:
        for text in texts:
            for transport in transports:
                transport.send(WSMsgType.TEXT, text)

    server = await ws_create_server(accept, sock=listener)
    async with server:
        _say(port=listener.getsockname()[1])
        await _until(lambda: len(transports) >= told.observers)
        yield burst


@asynccontextmanager
async def _bare(listener: socket.socket, told: argparse.Namespace) -> AsyncIterator[Burst]:
    some = [envelope(place) for place in range(min(told.burst, ENVELOPES_MADE))]
    frames = ready_frames([some[place % len(some)] for place in range(told.burst)])
    _say(port=listener.getsockname()[1])
    observers: list[socket.socket] = []
    for _ in range(told.observers):
        observer, _address = listener.accept()
        observer.recv(4096)
        observer.send(SWITCHING + ready_frames([envelope(0)]))
        observers.append(observer)

    async def burst(_number: int) -> None:
        for observer in observers:
            observer.sendall(frames)

    yield burst
    for observer in observers:
        observer.close()


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nobody tells; it is not in what is measured.
        await asyncio.sleep(0.01)


def _say(**facts: float) -> None:
    print(json.dumps(facts), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=list(_WAYS))
    parser.add_argument("--dir", type=Path)
    for name in ("--observers", "--burst", "--bursts", "--rate", "--workers"):
        parser.add_argument(name, type=int, default=0)
    return parser


_WAYS = {
    "ours": _watchglass,
    "os": _watchglass,
    "plain": _watchglass,
    "quart": _quart,
    "picows": _picows,
    "bare": _bare,
}

if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
