"""Capacity and turns with real processes: what is told, what is refused, who starts when."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from watchglass.protocol.cursor import BEGINNING
from watchglass.protocol.errors import InsufficientResources
from watchglass.protocol.events import Event
from watchglass.protocol.execution import Reservation
from watchglass.protocol.lifecycle import Phase
from watchglass.protocol.runtime import RuntimeResources
from watchglass.protocol.workers import WorkerDetail
from watchglass.runtime import Runtime, RuntimeOptions, open_runtime
from watchglass.runtime.ledger import amounts_of, summed
from watchglass.store.filesystem import open_filesystem_store
from watchglass.store.worker_record import WorkerRecord

from support.agents import CAT, python
from support.tasks import soon
from support.workers import request_of

pytestmark = pytest.mark.asyncio

MIB = 1 << 20
TENANTS = ("blue", "green", "red", None)


async def create(runtime: Runtime, tenant: str | None = None, **fields: Any) -> WorkerDetail:
    context = {} if tenant is None else {"tenant": tenant}
    return await runtime.create_worker(request_of(control_context=context, **fields))


async def journal(runtime: Runtime, worker_id: str, end: Callable[[Event], bool]) -> list[Event]:
    """Events of a worker from the first on, until one is the `end`."""
    told: list[Event] = []
    async with runtime.observe(worker_id, "earliest") as reader:
        async for record in reader:
            payload = orjson.loads(record.line)["payload"]
            told.append(Event(payload["event"], payload["data"]))
            if end(told[-1]):
                break
    return told


def is_end(event: Event) -> bool:
    return event.name == "end"


def is_running(event: Event) -> bool:
    return event.name == "status" and event.data["phase"] == "running"


def shares(events: list[Event]) -> list[tuple[str, Any]]:
    return [(event.name, event.data) for event in events if event.name in {"reserved", "released"}]


def check(told: RuntimeResources) -> None:
    """The sum is exact, in all and by tenant, and no bound is passed."""
    held = told.active_reservations
    assert amounts_of(told.reserved) == summed(each.reservation for each in held)
    assert told.reserved.task_slots <= told.capacity.task_slots
    for tenant in told.tenants:
        own = summed(each.reservation for each in held if each.tenant == tenant.tenant)
        assert amounts_of(tenant.reserved) == own
        assert tenant.quota is None or own.task_slots <= tenant.quota.task_slots


async def test_two_hundred_at_once_all_end_take_turns_and_are_never_more_than_the_slots() -> None:
    slots, count = 4, 200
    async with open_runtime(RuntimeOptions(running_workers_max=slots, grace_ms=500)) as runtime:
        plugs = [await create(runtime, execution=CAT) for _ in range(slots)]
        workers = [
            await create(runtime, TENANTS[number // (count // 4)], execution={"program": "true"})
            for number in range(count)  # One tenant after the other, each with all that it has.
        ]
        told = runtime.resources()
        assert (told.waiting_worker_count, told.available.task_slots) == (count, 0)
        await asyncio.gather(*(runtime.stop(plug.worker_id) for plug in plugs))
        while runtime.summary().active_worker_count:
            check(runtime.resources())
            await asyncio.sleep(0)
        ended = [runtime.worker(worker.worker_id) for worker in workers]
        assert {worker.phase for worker in ended} == {Phase.SUCCEEDED}
        assert runtime.resources().reserved == Reservation(task_slots=0)
        started = sorted(ended, key=lambda worker: worker.started_at or "")
        turns = Counter[str | None]()
        for worker in started:
            turns[worker.control_context.tenant] += 1
            assert max(turns.values()) - min(turns[tenant] for tenant in TENANTS) <= 1 + slots


async def test_a_worker_shows_what_it_holds_while_it_holds_it_and_its_journal_tells_both() -> None:
    options = RuntimeOptions(capacity_memory_bytes=900 * MIB, capacity_pids=40, default_pids=16, grace_ms=500)
    async with open_runtime(options) as runtime:
        worker = await create(runtime, "blue", execution=CAT, limits={"memory_bytes": 300 * MIB})
        held = Reservation(task_slots=1, memory_bytes=300 * MIB, pids=16)
        assert worker.reservation == held
        assert worker.reserved_at is not None
        [listed] = runtime.list_workers()[0]
        assert (listed.tenant, listed.reservation) == ("blue", held)
        told = runtime.resources()
        check(told)
        assert told.available == Reservation(task_slots=511, memory_bytes=600 * MIB, pids=24)
        [active] = told.active_reservations
        assert (active.worker_id, active.tenant, active.reservation) == (worker.worker_id, "blue", held)
        await soon(runtime.stop(worker.worker_id))
        assert runtime.worker(worker.worker_id).reservation is None
        assert runtime.resources().active_reservations == []
        events = await soon(journal(runtime, worker.worker_id, is_end))
        assert shares(events) == [("reserved", held.model_dump()), ("released", held.model_dump())]
        assert [event.name for event in events[-4:]] == ["released", "exit", "status", "end"]


async def test_a_worker_without_a_limit_is_limited_to_the_default_that_it_reserves() -> None:
    options = RuntimeOptions(
        capacity_memory_bytes=999 * MIB,
        default_memory_bytes=123 * MIB,
        grace_ms=500,
        cgroup_enabled=False,  # A worker can read what bounds it from within.
    )
    program = "import resource; print(resource.getrlimit(resource.RLIMIT_DATA)[0])"
    async with open_runtime(options) as runtime:
        worker = await create(runtime, execution=python(program))
        events = await soon(journal(runtime, worker.worker_id, is_end))
        assert (
            "".join(event.data["text"] for event in events if event.name == "text_delta") == f"{123 * MIB}\n"
        )


async def test_what_could_never_start_is_refused_and_keeps_nothing() -> None:
    options = RuntimeOptions(
        capacity_memory_bytes=100 * MIB, tenants={"blue": Reservation(task_slots=1, memory_bytes=50 * MIB)}
    )
    async with open_runtime(options) as runtime:
        with pytest.raises(InsufficientResources, match="memory_bytes 104857601 is over the 104857600"):
            await create(runtime, execution=CAT, limits={"memory_bytes": 100 * MIB + 1})
        with pytest.raises(InsufficientResources, match="tenant 'blue'"):
            await create(runtime, "blue", execution=CAT, limits={"memory_bytes": 60 * MIB})
        assert runtime.summary().worker_count == 0
        check(runtime.resources())


async def test_who_waits_is_told_what_for_and_who_is_before_it() -> None:
    options = RuntimeOptions(
        running_workers_max=9,
        capacity_memory_bytes=1000 * MIB,
        default_memory_bytes=100 * MIB,
        tenants={"blue": Reservation(task_slots=1), "idle": Reservation(task_slots=2)},
        grace_ms=500,
    )
    async with open_runtime(options) as runtime:
        large = {"execution": CAT, "limits": {"memory_bytes": 600 * MIB}}
        await create(runtime, "blue", worker_id="b1", execution=CAT)
        await create(runtime, "blue", worker_id="b2", execution=CAT)
        await create(runtime, "blue", worker_id="b3", execution=CAT)
        await create(runtime, "red", worker_id="r1", **large)
        await create(runtime, "red", worker_id="r2", **large)

        quota = runtime.explain("b3")
        assert quota.summary == "waits for a slot: 1 of 1 of tenant 'blue' are taken; 1 workers are before it"
        assert quota.waiting_for is not None
        assert (quota.waiting_for.tenant, quota.waiting_for.quota) == ("blue", Reservation(task_slots=1))
        assert quota.waiting_for.quota_available == Reservation(task_slots=0)
        assert quota.waiting_for.short_of is not None
        assert quota.waiting_for.short_of.of == "quota"

        memory = runtime.explain("r2")
        assert f"waits for {600 * MIB} bytes of memory: {700 * MIB} of {1000 * MIB}" in memory.summary
        assert memory.waiting_for is not None
        assert memory.waiting_for.tenants_before_it == ["blue"]
        assert memory.waiting_for.available.memory_bytes == 300 * MIB
        assert not memory.waiting_for.impossible

        told = runtime.resources()
        check(told)
        assert told.waiting == Reservation(task_slots=3, memory_bytes=800 * MIB)
        shown = {
            tenant.tenant: (tenant.reserved.task_slots, tenant.waiting_worker_count)
            for tenant in told.tenants
        }
        assert shown == {"blue": (1, 2), "idle": (0, 0), "red": (1, 1)}

        await soon(runtime.stop("b2"))
        await soon(runtime.stop("b1"))
        await soon(journal(runtime, "b3", is_running))
        assert runtime.explain("b3").waiting_for is None


# Over a restart.


async def test_a_reservation_is_told_once_over_any_number_of_runtimes(tmp_path: Path) -> None:
    options = RuntimeOptions(runtime_id=f"rt-once-{os.getpid()}", keep_workers=True, grace_ms=300)
    for life in range(3):
        async with (
            open_filesystem_store(tmp_path, options.runtime_id or "") as store,
            open_runtime(options, store) as runtime,
        ):
            if life == 0:
                before = await create(runtime, worker_id="w", execution=CAT)
            after = runtime.worker("w")
            assert (after.reservation, after.reserved_at) == (before.reservation, before.reserved_at)
            check(runtime.resources())
            if life == 2:
                await soon(runtime.stop("w"))
                told = shares(await soon(journal(runtime, "w", is_end)))
                assert told == [("reserved", {"task_slots": 1}), ("released", {"task_slots": 1})]


async def test_a_reservation_whose_runtime_died_before_the_launch_is_told_to_be_released(
    tmp_path: Path,
) -> None:
    runtime_id = f"rt-cut-{os.getpid()}"
    record = WorkerRecord(
        worker_id="w",
        created_us=1,
        request=request_of(worker_id="w", execution=CAT),
        plan=None,
        reservation=Reservation(task_slots=1, pids=9),
    )
    told = [
        Event("status", {"status": "running", "phase": "accepted"}),
        Event("reserved", {"task_slots": 1, "pids": 9}),
        Event("status", {"status": "running", "phase": "starting"}),
    ]
    async with open_filesystem_store(tmp_path, runtime_id) as store:
        log = await store.create(record, lambda _records, _events: None)
        assert log.head == BEGINNING
        await log.append(told)
    async with (
        open_filesystem_store(tmp_path, runtime_id) as store,
        open_runtime(RuntimeOptions(runtime_id=runtime_id, grace_ms=300), store) as runtime,
    ):
        events = await soon(journal(runtime, "w", is_running))
        assert [event.name for event in events] == [
            *("status", "reserved", "status"),
            *("released", "status"),
            *("reserved", "status", "execution_plan", "status"),  # Its record has no plan yet.
        ]
        assert shares(events) == [
            ("reserved", {"task_slots": 1, "pids": 9}),
            ("released", {"task_slots": 1, "pids": 9}),
            ("reserved", {"task_slots": 1}),
        ]
        await soon(runtime.stop("w"))
        whole = shares(await soon(journal(runtime, "w", is_end)))
        assert [name for name, _ in whole] == ["reserved", "released"] * 2


async def test_who_waits_for_more_than_the_next_runtime_has_is_told_of_and_keeps_nobody_back(
    tmp_path: Path,
) -> None:
    runtime_id = f"rt-less-{os.getpid()}"

    def options(memory_bytes: int) -> RuntimeOptions:
        return RuntimeOptions(
            runtime_id=runtime_id,
            running_workers_max=1,
            capacity_memory_bytes=memory_bytes,
            default_memory_bytes=64 * MIB,
            keep_workers=True,
            grace_ms=300,
        )

    async with (
        open_filesystem_store(tmp_path, runtime_id) as store,
        open_runtime(options(1000 * MIB), store) as runtime,
    ):
        await create(runtime, worker_id="plug", execution=CAT)
        await create(runtime, worker_id="large", execution=CAT, limits={"memory_bytes": 900 * MIB})
        await create(runtime, worker_id="small", execution=CAT)
    async with (
        open_filesystem_store(tmp_path, runtime_id) as store,
        open_runtime(options(100 * MIB), store) as runtime,
    ):
        await soon(runtime.stop("plug"))
        await soon(journal(runtime, "small", is_running))
        waiting_for = runtime.explain("large").waiting_for
        assert waiting_for is not None
        assert waiting_for.impossible
        assert "another configuration" in runtime.explain("large").summary
        assert any("more than the capacity" in note.message for note in runtime.diagnostics())
        for worker_id in ("large", "small"):
            await soon(runtime.stop(worker_id))
