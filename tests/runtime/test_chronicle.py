"""The logs of many read as one, live: their union in order, whatever waits for its round meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchglass.protocol.all_workers import Chosen
from watchglass.protocol.cursor import BEGINNING, encode_cursor
from watchglass.protocol.errors import CursorExpired, CursorUnknown, WorkerNotFound
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.runtime import Reader, Runtime, RuntimeOptions, open_runtime
from watchglass.store.base import Log, Record, Retention, Run, Store
from watchglass.store.memory import system_clock_us

from support.known_host import known_host
from support.stores import OPENERS, read_all, said
from support.tasks import soon

pytestmark = pytest.mark.asyncio
EVERYBODY = Chosen(None)
NAMES = ("a", "b", "c")


@asynccontextmanager
async def runtime_with(
    store_name: str, retention: Retention | None = None
) -> AsyncIterator[tuple[Runtime, Store]]:
    async with OPENERS[store_name](retention or Retention(), system_clock_us) as store:
        options = RuntimeOptions(runtime_id=store.runtime_id)
        async with open_runtime(options, store, capabilities=await known_host(options)) as runtime:
            for name in NAMES:
                await runtime.create_worker(CreateWorkerRequest(worker_id=name))
            yield runtime, store


async def log_of(store: Store, name: str) -> Log:
    return await store.open(name, lambda _records, _events: None)


async def union(store: Store, *names: str) -> list[Record]:
    logs = [store.runtime_log, *[await log_of(store, name) for name in names]]
    return sorted([record for log in logs for record in await read_all(log, after=BEGINNING)])


async def take_through(reader: Reader, last: int, *, sit: bool) -> list[bytes]:
    """What a reader gets, by itself and sitting with others, up to a sequence."""
    taken: list[bytes] = []

    def hear(run: Run) -> bool:
        taken.extend(run.lines)
        return run.last < last

    while reader.position < last:
        run = await reader.take_ready()
        if run:
            taken.extend(run.lines)
        elif sit:
            await reader.listen(hear)
        else:
            await reader.wait()
    return taken


STEPS = st.lists(
    st.tuples(st.sampled_from((*NAMES, "runtime")), st.booleans(), st.integers(1, 4), st.booleans()),
    min_size=1,
    max_size=30,
)


@pytest.mark.parametrize("store_name", ["memory", "fs"])
@settings(max_examples=12, deadline=None)
@given(steps=STEPS, joins=st.lists(st.tuples(st.integers(0, 29), st.booleans()), max_size=4))
async def test_whenever_a_reader_joins_it_gets_exactly_what_follows(
    store_name: str, steps: list[tuple[str, bool, int, bool]], joins: list[tuple[int, bool]]
) -> None:
    async with runtime_with(store_name) as (runtime, store):
        logs = {name: await log_of(store, name) for name in NAMES} | {"runtime": store.runtime_log}
        done = asyncio.Event()
        last = 0

        async def watch(*, sit: bool) -> tuple[int, list[bytes]]:
            async with runtime.observe_all(EVERYBODY, "latest") as reader:
                start = reader.position
                taken: list[bytes] = []
                waiting = asyncio.create_task(done.wait())
                while not waiting.done():
                    run = await reader.take_ready()
                    taken += run.lines
                    await asyncio.sleep(0)
                taken += await take_through(reader, last, sit=sit)
                return start, taken

        async with asyncio.TaskGroup() as group:
            readers = []
            appends = []
            for number, (name, durable, count, breathes) in enumerate(steps):
                readers += [group.create_task(watch(sit=sit)) for at, sit in joins if at == number]
                appends.append(group.create_task(logs[name].append(said(*"x" * count), durable=durable)))
                if breathes:
                    await asyncio.sleep(0)
            for append in appends:
                await append
            readers.append(group.create_task(watch(sit=True)))
            await asyncio.sleep(0.001)
            [final] = await logs["a"].append(said("the last"), durable=True)
            last = final.seq
            done.set()
        everything = await union(store, *NAMES)
        for reading in readers:
            start, taken = reading.result()
            assert taken == [record.line for record in everything if start < record.seq <= last]


@pytest.mark.parametrize("store_name", ["memory", "fs"])
async def test_those_behind_and_those_who_sit_get_the_same_while_many_write(store_name: str) -> None:
    async with runtime_with(store_name) as (runtime, store):
        logs = [await log_of(store, name) for name in NAMES]
        last = asyncio.get_running_loop().create_future()

        async def watch(cursor: str, *, sit: bool) -> tuple[int, list[bytes]]:
            async with runtime.observe_all(EVERYBODY, cursor) as reader:
                start = reader.position
                return start, await take_through(reader, await asyncio.shield(last), sit=sit)

        readers = [
            asyncio.create_task(watch(cursor, sit=sit))
            for cursor in ("earliest", "latest")
            for sit in (True, False)
        ]
        for number in range(600):
            await logs[number % 3].append(said("x" * 2000), durable=number % 50 == 0)
            if number % 7 == 0:
                await asyncio.sleep(0)
        [final] = await logs[0].append(said("the last"))
        last.set_result(final.seq)
        everything = await union(store, *NAMES)
        for reading in readers:
            start, taken = await soon(reading)
            assert taken == [record.line for record in everything if start < record.seq <= final.seq]


async def test_readers_of_the_same_workers_are_handed_the_same_run() -> None:
    async with runtime_with("memory") as (runtime, store):
        runs: list[Run] = []

        def hear(run: Run) -> bool:
            runs.append(run)
            return False

        async with (
            runtime.observe_all(Chosen(frozenset("a"))) as one,
            runtime.observe_all(Chosen(frozenset("a"))) as two,
        ):
            sitting = [asyncio.create_task(reader.listen(hear)) for reader in (one, two)]
            await asyncio.sleep(0)
            await (await log_of(store, "b")).append(said("unheard"))
            await (await log_of(store, "a")).append(said("heard"))
            await soon(asyncio.gather(*sitting))
        assert runs[0] is runs[1]
        assert len(runs[0]) == 1


async def test_nothing_is_heard_when_nobody_watches() -> None:
    async with runtime_with("memory") as (runtime, store):
        async with runtime.observe_all(EVERYBODY):
            pass
        await (await log_of(store, "a")).append(said("x"))
        assert runtime._chronicle._heard == []
        assert runtime._chronicle._logs == {}


async def test_a_worker_that_ended_before_the_cursor_is_not_opened() -> None:
    async with runtime_with("memory") as (runtime, store):
        await runtime.stop("b")
        read_of: list[str] = []
        log = runtime._catalog.get("b").worker.log
        real = log.read

        async def read(**bounds: int) -> Run:
            read_of.append("b")
            return await real(**bounds)  # type: ignore[arg-type]  # As it was called.

        log.read = read  # type: ignore[method-assign]  # To see whether it is.
        head = encode_cursor((await (await log_of(store, "a")).append(said("x")))[-1].seq)
        await (await log_of(store, "a")).append(said("y"))
        async with runtime.observe_all(EVERYBODY, head) as reader:
            assert len(await reader.take_ready()) == 1
        assert read_of == []


async def test_retention_that_overtakes_a_reader_says_whose_log_it_was() -> None:
    async with runtime_with("memory", Retention(max_events=50)) as (runtime, store):
        log = await log_of(store, "c")
        async with runtime.observe_all(EVERYBODY, "earliest") as reader:
            for _ in range(4):
                await log.append(said(*"x" * 40))
            with pytest.raises(CursorExpired, match="worker 'c'"):
                await take_through(reader, log.head, sit=False)
        with pytest.raises(CursorUnknown, match="worker 'c'") as told:
            async with runtime.observe_all(EVERYBODY, encode_cursor(store.runtime_log.head)):
                pass
        assert told.value.loss == "retention"
        async with runtime.observe_all(EVERYBODY, "earliest") as reader:
            assert reader.position == log.trimmed_through


async def test_one_who_is_not_there_cannot_be_chosen() -> None:
    async with runtime_with("memory") as (runtime, _store):
        with pytest.raises(WorkerNotFound, match="'nobody'"):
            async with runtime.observe_all(Chosen(frozenset({"a", "nobody"}))):
                pass
        assert runtime.summary().observer_count == 0


async def test_a_reader_whose_next_events_left_with_their_worker_waits_for_what_comes() -> None:
    async with runtime_with("memory") as (runtime, store):
        [before] = await (await log_of(store, "a")).append(said("before"))
        await (await log_of(store, "b")).append(said("the newest of all"))
        async with runtime.observe_all(Chosen(frozenset("b")), encode_cursor(before.seq)) as reader:
            runtime._catalog.remove("b")  # It has left, and nobody told of it yet.
            assert not await reader.take_ready()
            waiting = asyncio.create_task(reader.wait())
            await asyncio.sleep(0)
            assert not waiting.done()
            [later] = await store.runtime_log.append(said("later"))
            await soon(waiting)
            assert (await reader.take_ready()).last == later.seq
