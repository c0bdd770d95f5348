"""The client for scripts: the same calls and the same reader, without an event loop.

    with watchglass.client.sync.connect() as wg:
        worker = wg.create_worker(program="date")
        for event in wg.follow(worker.worker_id):
            print(event.name, event.data)

It needs neither httpx nor trio. A client belongs to one thread; a `Follower`
may be made to leave from any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import update_wrapper
from itertools import chain
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from watchglass.protocol.follow import EARLIEST, LATEST, OnExpired
from watchglass.protocol.follow_all import EVERYBODY, Workers, workers_of
from watchglass.protocol.said import Said, Told
from watchglass.protocol.tasks import TaskStatusResponse
from watchglass.protocol.workers import ImportAnswer

from . import calls, endpoints, task_calls
from .address import Address
from .call import Call
from .faults import Unreachable
from .finding import Choice, find
from .follower import Follower
from .http import Client
from .jitter import jitter
from .journey import PATIENCE_S
from .task_places import TaskWait

A = TypeVar("A")
P = ParamSpec("P")


def asked(build: Callable[P, Call[A]]) -> Callable[Concatenate[SyncClient, P], A]:
    """The method that makes a call and returns what is answered."""

    def ask(self: SyncClient, /, *args: P.args, **kwargs: P.kwargs) -> A:
        return self.ask(build(*args, **kwargs))

    update_wrapper(ask, build)  # Its name and what it promises; not `wraps`, which hides the types.
    return ask


class SyncClient:
    """One runtime. Every method may raise `ApiError`, `Unreachable` and `BadAnswer`.

    When the connection broke, a call that is safe to repeat is sent once more,
    and one that nobody has got goes to where the runtime is now.
    """

    def __init__(self, where: Callable[[], Address], http: Client) -> None:
        self._where = where
        self._http = http

    @property
    def url(self) -> str:
        """Where the runtime is."""
        return self._http.address.url

    def ask(self, call: Call[A]) -> A:
        """What is answered to a call of `watchglass.client.calls`; the methods below make them."""
        try:
            return self._http.ask(call)
        except Unreachable as fault:
            before = self._http.address
            self._http.move(self._where())
            if not call.may_repeat(fault, moved=self._http.address != before):
                raise
        return self._http.ask(call)

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
    ) -> Generator[Told, None, None]:
        """The events of a worker after a cursor, each once, until it has ended; see `Follower`.

        Raises (when it is read):
            CursorMalformed: `after` is no cursor, nor `earliest`, `latest`, `tail:<n>` or `time:<RFC 3339>`.
        """
        with closing(self.watch(worker_id, after, types=types, patience_s=patience_s)) as everything:
            for said in everything:
                if isinstance(said, Told):
                    yield said

    def follow_all(
        self,
        workers: str | Iterable[str] = EVERYBODY,
        after: str = EARLIEST,
        *,
        types: Collection[str] = (),
        patience_s: float = PATIENCE_S,
    ) -> Generator[Told, None, None]:
        """The runtime's own events and those of `workers`, in one order, each once; it never ends by itself.

        `workers`: `*` for everybody, ids, or nothing at all.

        Raises (when it is read):
            CursorMalformed: See `follow`.
        """
        with closing(self.watch_all(workers, after, types=types, patience_s=patience_s)) as everything:
            for said in everything:
                if isinstance(said, Told):
                    yield said

    def watch(
        self,
        worker_id: str,
        after: str = LATEST,
        *,
        types: Collection[str] = (),
        on_expired: OnExpired = "close",
        patience_s: float = PATIENCE_S,
    ) -> Generator[Said, None, None]:
        """The same with snapshots and, if `on_expired` is `snapshot`, resets in the place of a refusal."""
        yield from self._watch(worker_id, after, types, on_expired, patience_s)

    def watch_all(
        self,
        workers: str | Iterable[str] = EVERYBODY,
        after: str = LATEST,
        *,
        types: Collection[str] = (),
        on_expired: OnExpired = "close",
        patience_s: float = PATIENCE_S,
    ) -> Generator[Said, None, None]:
        """As `follow_all`, with snapshots and resets; see `watch`."""
        yield from self._watch(workers_of(workers), after, types, on_expired, patience_s)

    def _watch(
        self,
        whose: str | Workers,
        after: str,
        types: Collection[str],
        on_expired: OnExpired,
        patience_s: float,
    ) -> Generator[Said, None, None]:
        with Follower(
            self._where, whose, cursor=after, types=types, on_expired=on_expired, patience_s=patience_s
        ) as follower:
            yield from follower.everything()

    def wait_task(
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
                said = self.task(task_id, wait_ms=wait.wait_ms(time.monotonic()))
            except Unreachable as fault:
                wait_s = wait.lost(time.monotonic(), fault, jitter=jitter())
                time.sleep(wait_s)
            else:
                if wait.answered(time.monotonic(), said.status):
                    return said

    @contextmanager
    def export_worker(self, worker_id: str) -> Iterator[Iterator[bytes]]:
        """An ended worker as a tar, piece by piece. One that is cut off raises Unreachable."""
        call = endpoints.EXPORT_WORKER.call_raw(lambda _: None, worker_id)
        with closing(self._http.download(call.path)) as pieces:
            first = next(pieces, b"")  # A refusal comes now, and not in the middle.
            yield chain([first], pieces)

    def import_worker(self, archive: bytes | Iterable[bytes]) -> ImportAnswer:
        """Bring back a worker that was exported. Not repeated by itself."""
        pieces = [archive] if isinstance(archive, bytes) else archive
        answer = self._http.upload(endpoints.IMPORT_WORKER.path, pieces, None)
        return ImportAnswer.model_validate(answer, strict=False)


@contextmanager
def connect(
    url: str | None = None,
    *,
    token: str | None = None,
    token_file: Path | None = None,
    runtime_id: str | None = None,
    cacert: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[SyncClient]:
    """A client of a runtime, for one thread; the same as `watchglass.client.connect` in asyncio."""
    found = find(Choice(url, token_file, runtime_id, token, cacert), environ)
    with Client(found.address) as http:
        yield SyncClient(found.again, http)
