"""A runtime's HTTP interface and feeds, for asyncio and trio: httpx runs on both."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import update_wrapper
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from watchglass.protocol.follow import EARLIEST, LATEST, OnExpired
from watchglass.protocol.follow_all import EVERYBODY, workers_of
from watchglass.protocol.tasks import TaskStatusResponse
from watchglass.protocol.workers import ImportAnswer

from . import calls, endpoints, task_calls
from .address import Address
from .call import ARCHIVE_TYPE, CONNECT_TIMEOUT_S, Answer, Call, api_error
from .faults import Unreachable
from .finding import Choice, find
from .jitter import jitter
from .journey import PATIENCE_S
from .reading import Feeds, Follow, Watch
from .session import Session
from .sockets import Loop
from .task_places import TaskWait
from .trust import Trust, tls_reason

try:
    import httpx
except ModuleNotFoundError as fault:
    raise ModuleNotFoundError(
        "the asynchronous clients need httpx: pip install 'watchglass[client]' or 'watchglass[trio]'",
        name=fault.name,
    ) from None

A = TypeVar("A")
P = ParamSpec("P")

CONNECTIONS_MAX: Final = 256
KEPT_CONNECTIONS_MAX: Final = 16


def asked(build: Callable[P, Call[A]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, A]]:
    """The method that makes a call and returns what is answered."""

    async def ask(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> A:
        return await self.ask(build(*args, **kwargs))

    update_wrapper(ask, build)  # Its name and what it promises; not `wraps`, which hides the types.
    return ask


class AsyncClient:
    """One runtime. Every method may raise `ApiError`, `Unreachable` and `BadAnswer`.

    A request may be cancelled; what it asked for may be done all the same. When
    the connection broke, a call that is safe to repeat is sent once more, and
    one that nobody has got goes to where the runtime is now.
    """

    def __init__(self, where: Callable[[], Address], loop: Loop) -> None:
        self._where = where
        self._address = where()
        self._pools: dict[Trust | None, httpx.AsyncClient] = {}
        self._feeds = Feeds(where, loop)

    @property
    def url(self) -> str:
        """Where the runtime is."""
        return self._address.url

    async def ask(self, call: Call[A]) -> A:
        """What is answered to a call of `watchglass.client.calls`; the methods below make them."""
        try:
            return call.read(await self._exchange(call))
        except Unreachable as fault:
            before, self._address = self._address, self._where()
            if not call.may_repeat(fault, moved=self._address != before):
                raise
        return call.read(await self._exchange(call))

    runtime = asked(calls.runtime)
    resources = asked(calls.resources)
    capabilities = asked(calls.capabilities)
    probe = asked(calls.probe)
    plan_worker = asked(calls.plan_worker)
    drain = asked(calls.drain)
    diagnostics = asked(calls.diagnostics)
    observers = asked(calls.observers)
    runtime_events = asked(calls.runtime_events)
    list_workers = asked(calls.list_workers)
    create_worker = asked(calls.create_worker)
    worker = asked(calls.worker)
    remove_worker = asked(calls.remove_worker)
    send_input = asked(calls.send_input)
    stop = asked(calls.stop)
    cancel = asked(calls.cancel)
    interrupt = asked(calls.interrupt)
    signal = asked(calls.signal)
    close_stdin = asked(calls.close_stdin)
    transcript = asked(calls.transcript)
    append_events = asked(calls.append_events)
    poll_events = asked(calls.poll_events)
    poll_all_events = asked(calls.poll_all_events)
    explain = asked(calls.explain)
    read_log = asked(calls.read_log)
    metrics = asked(calls.metrics)
    health = asked(calls.health)
    ready = asked(calls.ready)
    submit_task = asked(task_calls.submit_task)
    list_tasks = asked(task_calls.list_tasks)
    task = asked(task_calls.task)
    kill_task = asked(task_calls.kill_task)
    task_events = asked(task_calls.task_events)
    task_runtime = asked(task_calls.task_runtime)
    task_capabilities = asked(task_calls.task_capabilities)
    task_config = asked(task_calls.task_config)
    task_resources = asked(task_calls.task_resources)

    def follow(
        self,
        worker_id: str,
        after: str = EARLIEST,
        *,
        types: Collection[str] = (),
        patience_s: float = PATIENCE_S,
    ) -> Follow:
        """The events of a worker after a cursor, each once, until it has ended; see `Reader`.

        Raises:
            CursorMalformed: `after` is no cursor, nor `earliest`, `latest`, `tail:<n>` or `time:<RFC 3339>`.
        """
        return Follow(self._feeds, worker_id, after, types=types, patience_s=patience_s)

    def follow_all(
        self,
        workers: str | Iterable[str] = EVERYBODY,
        after: str = EARLIEST,
        *,
        types: Collection[str] = (),
        patience_s: float = PATIENCE_S,
    ) -> Follow:
        """The runtime's own events and those of `workers`, in one order, each once; it never ends by itself.

        `workers`: `*` for everybody, ids, or nothing at all.

        Raises:
            CursorMalformed: See `follow`.
        """
        return Follow(self._feeds, workers_of(workers), after, types=types, patience_s=patience_s)

    def watch(
        self,
        worker_id: str,
        after: str = LATEST,
        *,
        types: Collection[str] = (),
        on_expired: OnExpired = "close",
        patience_s: float = PATIENCE_S,
    ) -> Watch:
        """The same with snapshots and, if `on_expired` is `snapshot`, resets in the place of a refusal."""
        return Watch(self._feeds, worker_id, after, types=types, on_expired=on_expired, patience_s=patience_s)

    def watch_all(
        self,
        workers: str | Iterable[str] = EVERYBODY,
        after: str = LATEST,
        *,
        types: Collection[str] = (),
        on_expired: OnExpired = "close",
        patience_s: float = PATIENCE_S,
    ) -> Watch:
        """As `follow_all`, with snapshots and resets; see `watch`."""
        whose = workers_of(workers)
        return Watch(self._feeds, whose, after, types=types, on_expired=on_expired, patience_s=patience_s)

    async def wait_task(
        self, task_id: str, *, timeout_s: float | None = None, patience_s: float = PATIENCE_S
    ) -> TaskStatusResponse:
        """The final status of a task, over lost connections and restarted servers.

        Raises:
            TimeoutError: It had not finished after `timeout_s`; it goes on.
            Unreachable: Nothing has answered for `patience_s`.
        """
        wait = TaskWait(task_id, time.monotonic(), timeout_s, patience_s)
        while True:
            try:
                said = await self.task(task_id, wait_ms=wait.wait_ms(time.monotonic()))
            except Unreachable as fault:
                wait_s = wait.lost(time.monotonic(), fault, jitter=jitter())
                await self._feeds.loop.sleep(wait_s)
            else:
                if wait.answered(time.monotonic(), said.status):
                    return said

    @asynccontextmanager
    async def session(self, *, patience_s: float = PATIENCE_S) -> AsyncIterator[Session]:
        """Commands and feeds on one connection (docs/session.md); it comes back by itself when it is lost."""
        session = Session(self._where, self._feeds.loop, patience_s=patience_s)
        async with session.loop.background(session.run):
            try:
                yield session
            finally:
                session.close()

    @asynccontextmanager
    async def export_worker(self, worker_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """An ended worker as a tar, piece by piece. One that is cut off raises Unreachable."""
        call = endpoints.EXPORT_WORKER.call_raw(lambda _: None, worker_id)
        pool = self._pool()
        try:
            response = await pool.send(self._request(pool, call), stream=True)
        except httpx.TransportError as fault:
            raise self._unreachable(fault) from fault
        try:
            if not response.is_success:
                await response.aread()
                raise api_error(_answer(response))
            yield self._pieces(response)
        finally:
            await response.aclose()

    async def import_worker(self, archive: bytes | AsyncIterable[bytes]) -> ImportAnswer:
        """Bring back a worker that was exported. Not repeated by itself."""
        call = endpoints.IMPORT_WORKER.call(lambda answer: answer)
        return call.read(await self._exchange(call, archive, {"Content-Type": ARCHIVE_TYPE}))

    async def aclose(self) -> None:
        """Leave every feed, close every connection."""
        await self._feeds.aclose()
        for pool in self._pools.values():
            await pool.aclose()

    def _pool(self) -> httpx.AsyncClient:
        """The kept connections of all that is trusted alike; where the runtime is now may show another."""
        trust = self._address.trust if self._address.secure else None
        if trust not in self._pools:
            self._pools[trust] = _new_pool(self._address)
        return self._pools[trust]

    def _request(
        self,
        pool: httpx.AsyncClient,
        call: Call[A],
        content: bytes | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Request:
        return pool.build_request(
            call.method,
            self._address.url.rstrip("/") + call.target,
            content=call.content if content is None else content,
            headers={**self._address.headers(), **call.headers, **(headers or {})},
            timeout=httpx.Timeout(call.timeout_s, connect=CONNECT_TIMEOUT_S),
        )

    async def _exchange(
        self,
        call: Call[A],
        content: bytes | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        pool = self._pool()
        try:
            return _answer(await pool.send(self._request(pool, call, content, headers)))
        except httpx.TransportError as fault:
            raise self._unreachable(fault) from fault

    async def _pieces(self, response: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for piece in response.aiter_raw():
                yield piece
        except httpx.TransportError as fault:
            raise self._unreachable(fault) from fault

    def _unreachable(self, fault: httpx.TransportError) -> Unreachable:
        url = self._address.url
        of_tls = tls_reason(fault)
        if of_tls is not None and isinstance(fault, httpx.ConnectError):
            return Unreachable(url, of_tls, "unsent")
        if isinstance(fault, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            return Unreachable(url, str(fault).lower() or "no connection in time", "unsent")
        if isinstance(fault, httpx.TimeoutException):
            return Unreachable(url, "no answer in time", "late")
        return Unreachable(url, str(fault) or "the connection was lost", "lost")


@asynccontextmanager
async def connected(
    choice: Choice, environ: Mapping[str, str] | None, loop: Loop
) -> AsyncIterator[AsyncClient]:
    """A client of the chosen runtime; after the block none of its connections is left."""
    client = AsyncClient(find(choice, environ).again, loop)
    try:
        yield client
    finally:
        await client.aclose()


def _new_pool(address: Address) -> httpx.AsyncClient:
    """Raises NoTrust. No proxy and no redirect: the token goes to the runtime alone."""
    return httpx.AsyncClient(
        verify=address.tls() or False,  # Without TLS nothing is there to verify, and no store to load.
        limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=KEPT_CONNECTIONS_MAX),
        trust_env=False,
        follow_redirects=False,
    )


def _answer(response: httpx.Response) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, response.reason_phrase, headers, response.content)
