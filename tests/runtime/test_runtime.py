"""The one entrance, embedded: real processes, a real store, no HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from watchglass.protocol.errors import (
    IdempotencyConflict,
    InputBacklog,
    InvalidRequest,
    LaunchFailed,
    ResourceLimitExceeded,
    RuntimeStopped,
    WorkerActive,
    WorkerExists,
    WorkerNotFound,
    WrongRuntime,
)
from watchglass.protocol.events import Event, ProducedEvent
from watchglass.protocol.execution import Reservation
from watchglass.protocol.identity import WorkerRef
from watchglass.protocol.lifecycle import Phase
from watchglass.protocol.runtime import RuntimeEventKind
from watchglass.protocol.workers import LifecycleRequest, Shortage, WorkerDetail, WorkerInput
from watchglass.runtime import Runtime, RuntimeOptions, open_runtime
from watchglass.store.base import LogClosed
from watchglass.store.memory import open_memory_store

from support.agents import CAT, DEEP, DIGEST, INTERRUPTIBLE, JSONL_ECHO, python, shell
from support.processes import marked
from support.tasks import begun, soon, until
from support.workers import request_of

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with open_runtime(RuntimeOptions(grace_ms=500)) as opened:
        yield opened


@pytest_asyncio.fixture
async def narrow() -> AsyncIterator[Runtime]:
    """A runtime with one slot, and room for one that waits."""
    options = RuntimeOptions(grace_ms=500, running_workers_max=1, waiting_workers_max=1)
    async with open_runtime(options) as opened:
        yield opened


async def create(runtime: Runtime, **fields: Any) -> WorkerDetail:
    return await soon(runtime.create_worker(request_of(**fields)))


async def say(runtime: Runtime, worker: WorkerDetail, content: str) -> None:
    await soon(runtime.send_input(worker.worker_id, WorkerInput(content=content)))


async def journal(
    runtime: Runtime, worker: WorkerDetail, until: Callable[[list[Event]], bool]
) -> list[Event]:
    """A worker's events from the first on, as an observer sees them, until a condition holds."""
    seen: list[Event] = []

    async def watch() -> None:
        async with runtime.observe(worker.worker_id, "earliest") as reader:
            async for record in reader:
                payload = orjson.loads(record.line)["payload"]
                seen.append(Event(payload["event"], payload["data"]))
                if until(seen):
                    return

    await soon(watch())
    return seen


def has_ended(events: list[Event]) -> bool:
    return events[-1].name == "end"


def says(text: str) -> Callable[[list[Event]], bool]:
    return lambda events: text in spoken(events)


def spoken(events: list[Event]) -> str:
    return "".join(event.data["text"] for event in events if event.name == "text_delta")


def phases(events: list[Event]) -> list[str]:
    return [event.data["phase"] for event in events if event.name == "status"]


def exit_of(events: list[Event]) -> dict[str, Any]:
    [told] = [event.data for event in events if event.name == "exit"]
    return told


def is_alive(pid: int | None) -> bool:
    assert pid is not None
    return Path(f"/proc/{pid}").exists()


async def told(runtime: Runtime) -> list[RuntimeEventKind]:
    return [event.kind for event in (await runtime.runtime_events(None, None)).events]


# A passive worker.


async def test_a_passive_worker_runs_at_once_and_others_write_its_journal(runtime: Runtime) -> None:
    worker = await create(runtime)
    assert (worker.phase, worker.status, worker.pid) == ("running", "running", None)
    produced = [ProducedEvent(event="text_delta", data={"text": "hi"}), ProducedEvent(event="x", data={})]
    answer = await soon(runtime.append_events(worker.worker_id, produced))
    ack = await soon(runtime.send_input(worker.worker_id, WorkerInput(content="hello")))
    assert answer.first < answer.last < ack.event_id
    await soon(runtime.stop(worker.worker_id))
    events = await journal(runtime, worker, has_ended)
    assert [event.name for event in events if event.name != "status"] == [
        "text_delta",
        "x",
        "user_message",
        "exit",
        "end",
    ]
    assert exit_of(events) == {"code": None, "signal": None, "reason": "stopped"}


async def test_a_produced_event_of_the_wrong_shape_is_refused_with_its_place(runtime: Runtime) -> None:
    worker = await create(runtime)
    head = runtime.worker(worker.worker_id).head
    good, bad = ProducedEvent(event="x", data={}), ProducedEvent(event="text_delta", data={})
    with pytest.raises(
        InvalidRequest, match=r"^events\.1\.data\.text: field required \(event 'text_delta'\)$"
    ):
        await soon(runtime.append_events(worker.worker_id, [good, bad]))
    assert runtime.worker(worker.worker_id).head == head


async def test_a_worker_with_a_process_writes_its_events_alone(runtime: Runtime) -> None:
    worker = await create(runtime, execution=CAT)
    with pytest.raises(InvalidRequest, match="has a process, which alone writes its events"):
        await soon(runtime.append_events(worker.worker_id, [ProducedEvent(event="x", data={})]))


async def test_a_passive_worker_can_be_cancelled(runtime: Runtime) -> None:
    worker = await create(runtime)
    ack = await soon(runtime.cancel(worker.worker_id))
    assert (ack.status, ack.phase) == ("cancelled", "cancelled")


# A worker with a process.


async def test_cat_echoes_and_stops(runtime: Runtime) -> None:
    worker = await create(runtime, execution=CAT)
    assert worker.phase == "running"
    assert is_alive(worker.pid)
    await say(runtime, worker, "hello")
    await journal(runtime, worker, says("hello\n"))
    ack = await soon(runtime.stop(worker.worker_id, LifecycleRequest(reason="enough")))
    assert (ack.status, ack.phase) == ("stopped", "stopped")
    assert not is_alive(worker.pid)
    events = await journal(runtime, worker, has_ended)
    assert phases(events) == ["accepted", "starting", "running", "stopping", "stopped"]
    assert [event.name for event in events[-5:]] == ["text_done", "released", "exit", "status", "end"]
    assert exit_of(events)["reason"] == "stopped"
    assert exit_of(events)["asked_because"] == "enough"


async def test_an_observer_sees_all_output_then_exit_status_and_end(runtime: Runtime) -> None:
    script = "seq 1 20000; echo done >&2; exit 3"
    worker = await create(runtime, execution=shell(script))
    events = await journal(runtime, worker, has_ended)
    assert spoken(events) == "".join(f"{number}\n" for number in range(1, 20001))
    assert [event.name for event in events[-3:]] == ["exit", "status", "end"]
    assert exit_of(events) == {"code": 3, "signal": None, "reason": "exited"}
    assert [event.data["text"] for event in events if event.name == "output"] == ["done\n"]
    detail = runtime.worker(worker.worker_id)
    assert (detail.phase, detail.status) == ("failed", "stopped")
    assert detail.usage is not None
    assert detail.finished_at is not None
    assert detail.last_event_id == detail.head


async def test_the_end_of_the_journal_is_the_end_of_the_feed_only_when_the_store_closes() -> None:
    async with open_memory_store() as store:
        async with open_runtime(store=store) as runtime:
            worker = await create(runtime, execution=CAT)
            async with runtime.observe(worker.worker_id) as reader:
                await runtime.drain()
                ending = (await reader.next_batch())[-3:]
        names = [orjson.loads(record.line)["payload"]["event"] for record in ending]
        assert names == ["exit", "status", "end"]
        with pytest.raises(LogClosed):
            await soon(reader.next_batch())


async def test_a_runtime_that_is_told_what_the_host_can_do_starts_no_process_before_its_first_worker(
    runtime: Runtime,
) -> None:
    async with open_runtime(capabilities=runtime.capabilities) as told:
        assert told.capabilities is runtime.capabilities
        before = told.executor.spawn_daemon_pid
        assert before is None
        worker = await create(told, execution=CAT)
        await say(told, worker, "first")
        await journal(told, worker, says("first"))
        assert told.executor.spawn_daemon_pid is not None
        assert (await soon(told.probe())).collected_at_us > runtime.capabilities.collected_at_us


async def test_a_jsonl_agent_speaks_events_both_ways(runtime: Runtime) -> None:
    worker = await create(runtime, execution=python(JSONL_ECHO), speech="jsonl")
    await say(runtime, worker, "one two")
    events = await journal(runtime, worker, lambda seen: seen[-1].name == "text_done")
    said = [event.data["text"] for event in events if event.name in {"text_delta", "text_done"}]
    assert said == ["one", "two", "one two"]
    transcript = await runtime.transcript(worker.worker_id, 0, 10)
    assert [(entry.role, entry.content) for entry in transcript.items] == [
        ("user", "one two"),
        ("assistant", "one two"),
    ]


async def test_an_agent_s_line_that_is_too_deep_is_output_and_the_agent_lives(runtime: Runtime) -> None:
    worker = await create(runtime, execution=python(DEEP), speech="jsonl")
    events = await journal(runtime, worker, lambda seen: seen[-1].name == "output")
    assert events[-1].data["reason"] == "nested over 128 levels"
    assert runtime.worker(worker.worker_id).phase == "running"


async def test_an_initial_input_is_delivered_first(runtime: Runtime) -> None:
    worker = await create(runtime, execution=CAT, initial_input={"content": "first"})
    await say(runtime, worker, "second")
    events = await journal(runtime, worker, says("second"))
    assert spoken(events) == "first\nsecond\n"
    messages = [event.data["segments"][0]["content"] for event in events if event.name == "user_message"]
    assert messages == ["first", "second"]


async def test_a_closed_stdin_ends_after_what_was_sent_and_takes_no_more(runtime: Runtime) -> None:
    worker = await create(runtime, execution=CAT)
    await say(runtime, worker, "last")
    await soon(runtime.close_stdin(worker.worker_id))
    with pytest.raises(InvalidRequest):
        await say(runtime, worker, "too late")
    events = await journal(runtime, worker, has_ended)
    assert spoken(events) == "last\n"
    assert runtime.worker(worker.worker_id).phase == "succeeded"


async def test_an_interrupt_ends_the_turn_and_keeps_the_worker(runtime: Runtime) -> None:
    worker = await create(runtime, execution=python(INTERRUPTIBLE))
    await journal(runtime, worker, says("ready"))
    await soon(runtime.interrupt(worker.worker_id))
    await journal(runtime, worker, says("interrupted"))
    assert runtime.worker(worker.worker_id).phase == "running"


async def test_a_signal_that_does_not_exist_is_refused(runtime: Runtime) -> None:
    worker = await create(runtime, execution=CAT)
    with pytest.raises(InvalidRequest, match="'SIGNONE' is no signal of this system"):
        await soon(runtime.signal(worker.worker_id, "SIGNONE"))


async def test_a_worker_that_ignores_its_stop_is_killed_after_the_grace(runtime: Runtime) -> None:
    worker = await create(runtime, execution=shell("trap '' TERM; echo ready; while :; do sleep 1; done"))
    await journal(runtime, worker, says("ready"))
    ack = await soon(runtime.stop(worker.worker_id))
    assert ack.phase == "stopped"
    assert exit_of(await journal(runtime, worker, has_ended))["signal"] == 9


async def test_a_wall_time_that_is_over_ends_the_worker(runtime: Runtime) -> None:
    worker = await create(runtime, execution=shell("sleep 60"), limits={"wall_time_ms": 100})
    assert exit_of(await journal(runtime, worker, has_ended))["reason"] == "timeout"
    assert runtime.worker(worker.worker_id).phase == "failed"


@pytest.mark.parametrize(
    ("script", "limits", "reason"),
    [
        ("while :; do :; done", {"cpu_time_sec": 1}, "cpu_limit_exceeded"),
        ("exec head -c 5000 /dev/zero > long", {"file_size_bytes": 4096}, "resource_limit_exceeded"),
    ],
)
async def test_a_limit_that_ended_a_worker_is_its_reason(
    runtime: Runtime, script: str, limits: dict[str, int], reason: str
) -> None:
    worker = await create(runtime, execution=shell(script), limits=limits)
    assert exit_of(await journal(runtime, worker, has_ended))["reason"] == reason
    assert runtime.worker(worker.worker_id).phase == "failed"
    assert runtime.explain(worker.worker_id).summary.startswith("ended as failed by signal")


# Ending, again and again.


async def test_a_stop_or_cancel_of_an_ended_worker_changes_nothing(runtime: Runtime) -> None:
    worker = await create(runtime, execution=CAT)
    first = await soon(runtime.stop(worker.worker_id))
    assert await soon(runtime.stop(worker.worker_id)) == first
    assert await soon(runtime.cancel(worker.worker_id)) == first
    assert runtime.worker(worker.worker_id).head == first.event_id


async def test_stops_at_the_same_time_are_all_answered_with_the_one_end(runtime: Runtime) -> None:
    worker = await create(runtime, execution=CAT)
    acks = await soon(asyncio.gather(*(runtime.stop(worker.worker_id) for _ in range(5))))
    assert len({ack.event_id for ack in acks}) == 1


async def test_a_cancel_hastens_a_stop(runtime: Runtime) -> None:
    worker = await create(runtime, execution=shell("trap '' TERM; echo ready; while :; do sleep 1; done"))
    await journal(runtime, worker, says("ready"))
    stopping = await begun(runtime.stop(worker.worker_id))
    await journal(runtime, worker, lambda seen: "stopping" in phases(seen))
    cancelled = await soon(runtime.cancel(worker.worker_id))
    assert cancelled.phase == "cancelled"
    assert await soon(stopping) == cancelled


async def test_an_ended_worker_takes_no_input_and_no_signal(runtime: Runtime) -> None:
    worker = await create(runtime, execution=CAT)
    await soon(runtime.stop(worker.worker_id))
    for act in (
        runtime.send_input(worker.worker_id, WorkerInput(content="hi")),
        runtime.interrupt(worker.worker_id),
        runtime.close_stdin(worker.worker_id),
    ):
        with pytest.raises(InvalidRequest, match=r"has ended \(stopped\)"):
            await soon(act)


async def test_a_failed_launch_leaves_nothing(runtime: Runtime) -> None:
    for number in range(2):
        with pytest.raises(LaunchFailed, match=r"/does/not/exist.*ENOENT"):
            await create(runtime, worker_id="w", execution={"program": "/does/not/exist"})
        with pytest.raises(WorkerNotFound):
            runtime.worker("w")
        assert runtime.summary().reserved.task_slots == 0
        assert runtime.summary().worker_count == 0
        assert runtime.tally.launches_failed == number + 1
    assert await told(runtime) == [RuntimeEventKind.RUNTIME_STARTED]
    assert (await create(runtime, worker_id="w", execution=CAT)).phase == "running"


async def test_only_an_ended_worker_can_be_removed_and_then_it_is_gone(runtime: Runtime) -> None:
    worker = await create(runtime, worker_id="w", execution=CAT)
    folder = runtime.output_file("w", "stdout").parent
    with pytest.raises(WorkerActive, match="'w' is running"):
        await soon(runtime.remove("w"))
    async with runtime.observe("w") as reader:
        await soon(runtime.stop("w"))
        await soon(runtime.remove("w"))
        assert await soon(reader.next_batch())
        with pytest.raises(LogClosed) as gone:
            await soon(reader.next_batch())
        assert gone.value.removed
    assert not folder.exists()
    with pytest.raises(WorkerNotFound):
        await soon(runtime.stop(worker.worker_id))
    assert (await create(runtime, worker_id="w")).phase == "running"


# Waiting for a slot.


async def test_the_second_worker_waits_says_so_and_starts_when_the_first_ends(narrow: Runtime) -> None:
    first = await create(narrow, execution=CAT)
    second = await create(narrow, execution=CAT)
    assert (first.phase, second.phase, second.status) == ("running", "accepted", "running")
    explained = narrow.explain(second.worker_id)
    assert explained.summary == "waits for a slot: 1 of 1 are taken; 0 workers are before it"
    waiting_for = explained.waiting_for
    assert waiting_for is not None
    assert waiting_for.asked == waiting_for.reserved == waiting_for.capacity == Reservation(task_slots=1)
    assert (waiting_for.available.task_slots, waiting_for.before_it) == (0, 0)
    assert waiting_for.short_of == Shortage(
        resource="task_slots", asked=1, available=0, bound=1, of="capacity"
    )
    await say(narrow, second, "sent while it waited")
    await soon(narrow.stop(first.worker_id))
    events = await journal(narrow, second, says("sent while it waited\n"))
    assert phases(events) == ["accepted", "starting", "running"]
    assert narrow.explain(second.worker_id).waiting_for is None
    assert narrow.summary().reserved.task_slots == 1


async def test_a_worker_that_waits_is_stopped_at_once_and_never_starts(narrow: Runtime) -> None:
    first = await create(narrow, execution=CAT)
    second = await create(narrow, execution=CAT)
    assert (await soon(narrow.stop(second.worker_id))).phase == "stopped"
    third = await create(narrow, execution=CAT)
    await soon(narrow.cancel(third.worker_id))
    await soon(narrow.stop(first.worker_id))
    assert phases(await journal(narrow, second, has_ended)) == ["accepted", "stopped"]
    assert phases(await journal(narrow, third, has_ended)) == ["accepted", "cancelled"]
    assert narrow.summary().reserved.task_slots == 0


async def test_a_full_queue_refuses_and_keeps_nothing(narrow: Runtime) -> None:
    created = await soon(
        asyncio.gather(
            *(narrow.create_worker(request_of(execution=CAT)) for _ in range(6)), return_exceptions=True
        )
    )
    kept = [worker for worker in created if isinstance(worker, WorkerDetail)]
    refused = [fault for fault in created if isinstance(fault, ResourceLimitExceeded)]
    assert (len(kept), len(refused)) == (2, 4)
    assert narrow.summary().worker_count == 2
    assert (await create(narrow)).phase == "running"  # A passive worker needs no slot.


@pytest.mark.parametrize("turns", range(8))
async def test_a_stop_in_the_midst_of_a_creation_leaves_no_slot_taken(narrow: Runtime, turns: int) -> None:
    creating = asyncio.create_task(narrow.create_worker(request_of(worker_id="w", execution=CAT)))
    for _ in range(turns):
        await asyncio.sleep(0)
    try:
        ack = await soon(narrow.stop("w"))
    except WorkerNotFound:  # It came before the worker did.
        await soon(creating)
        ack = await soon(narrow.stop("w"))
    await soon(creating)
    assert ack.phase == "stopped"
    assert narrow.summary().reserved.task_slots == 0
    assert (await told(narrow))[1:] == [RuntimeEventKind.WORKER_CREATED, RuntimeEventKind.WORKER_STOPPED]


# Input that is not read.


async def test_an_input_over_the_backlog_is_refused_and_no_acknowledged_byte_is_lost() -> None:
    async with open_runtime(RuntimeOptions(input_backlog_max_bytes=256 << 10)) as runtime:
        worker = await create(runtime, execution=python(DIGEST))
        await journal(runtime, worker, says("ready"))
        await say(runtime, worker, "begin")
        sent = hashlib.sha256()

        async def say_without_end() -> None:
            for number in range(1000):
                content = f"{number:08d}" * (4 << 10)
                await say(runtime, worker, content)
                sent.update(f"{content}\n".encode())

        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)  # From here on it reads nothing.
        with pytest.raises(InputBacklog) as refused:
            await say_without_end()
        assert refused.value.limit_bytes == 256 << 10
        os.kill(worker.pid, signal.SIGCONT)
        await soon(runtime.close_stdin(worker.worker_id))
        events = await journal(runtime, worker, has_ended)
        assert spoken(events).split() == ["ready", sent.hexdigest()]
        assert runtime.tally.inputs_refused == 1
        accepted = [event for event in events if event.name == "user_message"]
        assert runtime.tally.inputs_accepted == len(accepted)


# One key, one worker.


async def test_requests_with_one_key_at_the_same_time_make_one_worker(runtime: Runtime) -> None:
    request = request_of(execution=CAT)
    workers = await soon(
        asyncio.gather(*(runtime.create_worker(request, idempotency_key="k") for _ in range(5)))
    )
    assert len({worker.worker_id for worker in workers}) == 1
    assert runtime.summary().worker_count == 1
    again = await soon(runtime.create_worker(request, idempotency_key="k"))
    assert again.worker_id == workers[0].worker_id
    with pytest.raises(IdempotencyConflict):
        await soon(runtime.create_worker(request_of(), idempotency_key="k"))


async def test_a_key_of_a_failed_creation_may_be_used_again(runtime: Runtime) -> None:
    bad = request_of(execution={"program": "/does/not/exist"})
    failed = await soon(
        asyncio.gather(
            *(runtime.create_worker(bad, idempotency_key="k") for _ in range(3)), return_exceptions=True
        )
    )
    assert [type(fault) for fault in failed] == [LaunchFailed] * 3
    assert (await soon(runtime.create_worker(request_of(), idempotency_key="k"))).phase == "running"


async def test_a_taken_id_is_refused(runtime: Runtime) -> None:
    created = await soon(
        asyncio.gather(
            *(runtime.create_worker(request_of(worker_id="w")) for _ in range(3)), return_exceptions=True
        )
    )
    assert sorted(type(each).__name__ for each in created) == ["WorkerDetail", "WorkerExists", "WorkerExists"]
    with pytest.raises(WorkerExists):
        await create(runtime, worker_id="w")


# Who may, and when.


async def test_a_reference_of_another_runtime_is_refused_everywhere(runtime: Runtime) -> None:
    worker = await create(runtime, execution=CAT)
    foreign = WorkerRef(runtime_id="other", worker_id=worker.worker_id)
    for act in (
        runtime.send_input(worker.worker_id, WorkerInput(content="x", worker_ref=foreign)),
        runtime.stop(worker.worker_id, LifecycleRequest(worker_ref=foreign)),
        runtime.cancel(worker.worker_id, LifecycleRequest(worker_ref=foreign)),
        runtime.interrupt(worker.worker_id, LifecycleRequest(worker_ref=foreign)),
        runtime.create_worker(request_of(initial_input={"content": "x", "worker_ref": foreign.model_dump()})),
    ):
        with pytest.raises(WrongRuntime, match="'other'"):
            await soon(act)
    assert runtime.worker(worker.worker_id).phase == "running"
    assert runtime.summary().worker_count == 1


async def test_a_cancelled_caller_s_change_is_finished(runtime: Runtime) -> None:
    creating = await begun(runtime.create_worker(request_of(worker_id="w", execution=CAT)))
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    await until(lambda: runtime.summary().active_worker_count == 1)
    [worker] = runtime.list_workers()[0]
    stopping = await begun(runtime.stop("w"))
    stopping.cancel()
    events = await journal(runtime, runtime.worker(worker.worker_id), has_ended)
    assert phases(events)[-1] == "stopped"
    await soon(runtime.drain())  # Waits for every change.
    assert RuntimeEventKind.WORKER_CREATED in await told(runtime)


async def test_after_the_block_no_process_is_left_and_every_worker_has_ended() -> None:
    async with open_runtime(RuntimeOptions(grace_ms=200, running_workers_max=3)) as runtime:
        running = [await create(runtime, execution=CAT) for _ in range(2)]
        running.append(await create(runtime, execution=shell("trap '' TERM; sleep 60 & sleep 60")))
        waiting = await create(runtime, execution=CAT)
        passive = await create(runtime)
        await until(lambda: {worker.pid for worker in running} <= marked(runtime.runtime_id))
    assert marked(runtime.runtime_id) == set()
    ended = {worker.worker_id: worker.phase for worker in runtime.list_workers()[0]}
    assert set(ended.values()) == {Phase.STOPPED}
    assert {waiting.worker_id, passive.worker_id} <= set(ended)
    assert runtime.summary().reserved.task_slots == 0
    assert (await told(runtime))[-1] is RuntimeEventKind.RUNTIME_STOPPED


async def test_a_runtime_that_stops_takes_no_changes_and_still_reads(runtime: Runtime) -> None:
    worker = await create(runtime)
    await soon(runtime.drain())
    assert runtime.summary().status == "stopped"
    for act in (
        runtime.create_worker(request_of()),
        runtime.send_input(worker.worker_id, WorkerInput(content="x")),
        runtime.append_events(worker.worker_id, [ProducedEvent(event="x")]),
        runtime.remove(worker.worker_id),
        runtime.check(),
    ):
        with pytest.raises(RuntimeStopped):
            await soon(act)
    assert (await soon(runtime.stop(worker.worker_id))).phase == "stopped"
    assert runtime.worker(worker.worker_id).phase == "stopped"
    assert (await journal(runtime, worker, has_ended))[-1].name == "end"


async def test_the_runtime_tells_of_a_worker_in_the_order_of_its_life(runtime: Runtime) -> None:
    await create(runtime, execution=shell("read line"), worker_id="w", initial_input={"content": "x"})
    await journal(runtime, runtime.worker("w"), has_ended)
    await soon(runtime.stop("w"))  # It has ended: this waits until that was told.
    assert await told(runtime) == [
        RuntimeEventKind.RUNTIME_STARTED,
        RuntimeEventKind.WORKER_CREATED,
        RuntimeEventKind.WORKER_INPUT_ACCEPTED,
        RuntimeEventKind.WORKER_STOPPED,
    ]


async def test_a_secret_of_the_environment_reaches_the_worker_and_nobody_else(runtime: Runtime) -> None:
    environment = {"TOKEN": "sk-secret"}
    worker = await create(runtime, execution={**shell('test "$TOKEN" = sk-secret'), "env": environment})
    events = await journal(runtime, worker, has_ended)
    assert runtime.worker(worker.worker_id).phase == "succeeded"
    shown = runtime.worker(worker.worker_id).model_dump_json(exclude={"execution": {"script"}})
    assert "sk-secret" not in str(events) + shown
