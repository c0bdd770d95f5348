"""A session of the clients for asyncio and trio, against real servers and bad networks."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from watchglass.client import calls, task_calls
from watchglass.client.address import Address
from watchglass.client.async_client import AsyncClient
from watchglass.client.conversation import QUEUE_FRAMES_MAX
from watchglass.client.faults import ApiError, Unreachable
from watchglass.client.session import Session
from watchglass.protocol.said import FeedRefused, Joined

from support.api import Api
from support.patience import PATIENCE_S
from support.processes import wait_true
from support.proxy import Proxy, cutting
from support.serving import Served, durable_server, serving
from support.shells import AsyncioShell, Shell, TrioShell


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(
        tmp_path_factory.mktemp("session"), "--allow-host=127.0.0.1", "--retain-events=20000"
    ) as server:
        yield server


@pytest.fixture(params=[AsyncioShell(), TrioShell()], ids=lambda shell: shell.name)
def shell(request: pytest.FixtureRequest) -> Shell:
    found: Shell = request.param
    return found


def said(numbers: range) -> list[tuple[str, dict[str, object]]]:
    return [("text_delta", {"text": f"{number} " * 200}) for number in numbers]


async def together(shell: Shell, *acts: Callable[[], Coroutine[Any, Any, Any]]) -> Sequence[Any]:
    """What they come to, or raise, run beside each other."""
    if isinstance(shell, AsyncioShell):
        return await asyncio.gather(*(act() for act in acts), return_exceptions=True)
    found: list[Any] = [None] * len(acts)

    async def run(place: int) -> None:
        try:
            found[place] = await acts[place]()
        except Unreachable as fault:
            found[place] = fault

    async with trio.open_nursery() as nursery:
        for place in range(len(acts)):
            nursery.start_soon(run, place)
    return found


async def left(shell: Shell, act: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Begin it, and leave it when it has waited for something."""
    if isinstance(shell, AsyncioShell):
        task = asyncio.ensure_future(act())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(act)
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()


async def whole(session: Session, worker_id: str, after: str = "earliest") -> list[str]:
    async with session.follow(worker_id, after) as events:
        return [event.cursor async for event in events]


async def backlog(wg: AsyncClient, worker_id: str) -> list[str]:
    polled = await wg.poll_events(worker_id, types=["text_delta"], wait_s=0)
    assert polled.up_to_date
    return [envelope.cursor for envelope in polled.events]


async def log_of(wg: AsyncClient, worker_id: str) -> list[str]:
    async with wg.follow(worker_id) as events:
        return [event.cursor async for event in events]


def test_commands_are_typed_as_those_over_http(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg, wg.session() as session:
            worker = await session.call(calls.create_worker(metadata={"grüße": "☃"}))
            assert worker.metadata == {"grüße": "☃"}
            worker_id = worker.worker_id
            assert (await session.call(calls.send_input(worker_id, "hello"))).transcript_sequence == 1
            appended = await session.call(calls.append_events(worker_id, said(range(3))))
            assert appended.first < appended.last
            page = await session.call(calls.list_workers(status="running", limit=1))
            assert len(page.workers) == 1
            assert (await session.call(calls.transcript(worker_id))).items[0].content == "hello"
            assert (await session.call(calls.runtime())).runtime_id == served.runtime_id
            await session.call(calls.stop(worker_id))
            assert await whole(session, worker_id) == await log_of(wg, worker_id)
            await session.call(calls.remove_worker(worker_id))
            with pytest.raises(ApiError) as caught:
                await session.call(calls.worker(worker_id))
            assert (caught.value.status, caught.value.code) == (404, "worker_not_found")
            with pytest.raises(ApiError) as caught:
                await session.call(calls.metrics())
            assert caught.value.code == "not_on_session"
            assert session.connections == 1

    shell.run(scenario)


def test_many_commands_run_beside_each_other(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg, wg.session() as session:
            worker_id = (await session.call(calls.create_worker())).worker_id

            def say(number: int) -> Callable[[], Coroutine[Any, Any, Any]]:
                return lambda: session.call(calls.send_input(worker_id, f"input {number}"))

            acks = await together(shell, *map(say, range(200)))
            assert sorted(ack.transcript_sequence for ack in acks) == list(range(1, 201))

    shell.run(scenario)


def test_a_reader_goes_on_over_connections_that_are_cut(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            worker_id = (await wg.create_worker()).worker_id
            await wg.append_events(worker_id, said(range(600)))
            await wg.stop(worker_id)
            log = await log_of(wg, worker_id)
        with cutting(served.host, served.port, [300, 40_000, 90_000, 5_000]) as proxy:
            async with shell.connect(proxy.url, token=served.token) as wg, wg.session() as session:
                assert await whole(session, worker_id) == log
                assert await whole(session, worker_id, log[50]) == log[51:]
                assert session.connections >= 3

    shell.run(scenario)


def test_a_lost_answer_is_asked_for_again_only_if_that_is_harmless(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        with cutting(served.host, served.port) as proxy:
            async with shell.connect(proxy.url, token=served.token) as wg, wg.session() as session:
                worker_id = (await session.call(calls.create_worker())).worker_id
                os.kill(served.process.pid, signal.SIGSTOP)  # So no answer comes before the cut.

                async def cut() -> None:
                    await shell.in_thread(proxy.cut)
                    os.kill(served.process.pid, signal.SIGCONT)

                lost, shown, _ = await together(
                    shell,
                    lambda: session.call(calls.send_input(worker_id, "once at most")),
                    lambda: session.call(calls.worker(worker_id)),
                    cut,
                )
                assert isinstance(lost, Unreachable)
                assert lost.stage == "lost"
                assert shown.worker_id == worker_id
                assert (await session.call(calls.worker(worker_id))).transcript_len <= 1
                assert session.connections == 2

    shell.run(scenario)


def test_a_reader_that_reads_slowly_holds_up_nobody_and_misses_nothing(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg, wg.session() as session:
            worker_id = (await session.call(calls.create_worker())).worker_id
            async with session.follow(worker_id) as events:
                first = await anext(aiter(events))
                for number in range(2 * QUEUE_FRAMES_MAX):  # Each in a frame of its own.
                    await session.call(calls.append_events(worker_id, said(range(number, number + 1))))
                await session.call(calls.stop(worker_id))
                rest = [event.cursor async for event in events]
            assert [first.cursor, *rest] == await log_of(wg, worker_id)

    shell.run(scenario)


def test_what_cannot_be_followed_is_told_as_by_a_feed_of_its_own(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg, wg.session() as session:
            with pytest.raises(ApiError) as missing:
                await whole(session, "nobody")
            assert missing.value.code == "worker_not_found"
            worker_id = (await session.call(calls.create_worker())).worker_id
            with pytest.raises(FeedRefused) as refused:
                await whole(session, worker_id, "wo_0000000000000001")
            assert refused.value.code == "runtime.cursor_unknown_or_expired"
            assert refused.value.is_loss
            assert set(refused.value.details) == {"reason", "requested", "oldest", "head"}
            async with session.watch(worker_id, "latest") as everything:
                assert isinstance(await anext(aiter(everything)), Joined)

    shell.run(scenario)


def test_everybody_is_followed_over_connections_that_are_cut(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            ids = [(await wg.create_worker()).worker_id for _ in range(2)]
            for number in range(0, 200, 50):
                for worker_id in ids:
                    await wg.append_events(worker_id, said(range(number, number + 50)))
            logs = [(worker_id, cursor) for worker_id in ids for cursor in await backlog(wg, worker_id)]
            logs.sort(key=lambda entry: entry[1])
        with cutting(served.host, served.port, [300, 40_000, 90_000, 5_000]) as proxy:
            async with shell.connect(proxy.url, token=served.token) as wg, wg.session() as session:
                told: list[tuple[str | None, str]] = []
                async with session.follow_all(ids, types=["text_delta"]) as events:
                    async for event in events:
                        told.append((event.worker_id, event.cursor))
                        if len(told) == len(logs):
                            break
                assert told == logs
                assert session.connections >= 3
                async with session.watch_all(ids) as everything:
                    joined = await anext(aiter(everything))
                    assert isinstance(joined, Joined)
                    assert {worker["worker_id"] for worker in joined.data["workers"]} == set(ids)
                with pytest.raises(ApiError) as missing:
                    await anext(aiter(session.follow_all(["nobody"])))
                assert missing.value.code == "worker_not_found"

    shell.run(scenario)


def test_the_end_of_a_task_is_awaited_and_a_wait_that_is_left_is_none(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg, wg.session() as session:
            short = await session.call(task_calls.submit_task(program="echo", args=["hi"]))
            assert (await session.wait_task(short.task_id, timeout_s=PATIENCE_S)).stdout == "hi\n"
            program, zeros = "head", ["-c", str(2 << 20), "/dev/zero"]  # Six bytes of JSON each.
            wordy = await session.call(task_calls.submit_task(program=program, args=zeros))
            assert len((await session.wait_task(wordy.task_id, timeout_s=PATIENCE_S)).stdout) == 2 << 20
            long = await session.call(task_calls.submit_task(program="sleep", args=["60"]))
            with pytest.raises(TimeoutError):
                await session.wait_task(long.task_id, timeout_s=0.01)
            await left(shell, lambda: session.wait_task(long.task_id))
            while 'method="cancel",status="200"' not in await wg.metrics():
                pass
            killed = await session.call(task_calls.kill_task(long.task_id))
            assert killed.status == "cancelled"
            assert session.connections == 1

    shell.run(scenario)


def test_who_is_cancelled_leaves_no_half_frame(served: Served) -> None:
    async def scenario(shell: TrioShell) -> None:
        async with shell.connect(served.url, token=served.token) as wg, wg.session() as session:
            worker_id = (await session.call(calls.create_worker())).worker_id
            large = calls.append_events(worker_id, [("text_delta", {"text": "x" * 60_000})] * 15)
            os.kill(served.process.pid, signal.SIGSTOP)  # So the socket is full in the middle of a frame.
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(session.call, large)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
                os.kill(served.process.pid, signal.SIGCONT)
            await session.call(calls.stop(worker_id))
            assert session.connections == 1

    shell = TrioShell()
    shell.run(lambda: scenario(shell))


def test_a_session_goes_on_with_the_next_server(tmp_path: Path, shell: Shell) -> None:
    with durable_server(tmp_path, "--allow-host=127.0.0.1", runtime_id="rt-client-session") as place:

        async def scenario(proxy: Proxy, token: str, second: ExitStack) -> None:
            async with shell.connect(proxy.url, token=token) as wg, wg.session() as session:
                worker_id = (await session.call(calls.create_worker())).worker_id
                async with session.follow(worker_id) as events:
                    stream = aiter(events)
                    told = [(await anext(stream)).cursor]
                    await shell.in_thread(place.kill)
                    served = await shell.in_thread(lambda: second.enter_context(place.serving()))
                    proxy.aim(served.host, served.port)
                    await session.call(calls.append_events(worker_id, said(range(5))))
                    await session.call(calls.stop(worker_id))
                    told += [event.cursor async for event in stream]
                assert session.connections == 2
                assert told == await log_of(wg, worker_id)

        with ExitStack() as second, place.serving() as first, cutting(first.host, first.port) as proxy:
            shell.run(lambda: scenario(proxy, first.token, second))


def test_who_may_not_ask_is_told_so(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token="wrong") as wg, wg.session() as session:
            with pytest.raises(ApiError) as refused:
                await session.call(calls.runtime())
            assert refused.value.status == 401

    shell.run(scenario)


def test_a_runtime_that_is_not_there_is_unreachable(shell: Shell) -> None:
    async def scenario() -> None:
        async with (
            shell.connect("http://127.0.0.1:1", token="t") as wg,
            wg.session(patience_s=0.2) as session,
        ):
            with pytest.raises(Unreachable):
                await session.call(calls.runtime())

    shell.run(scenario)


def test_nobody_waits_for_a_session_that_failed_in_a_way_that_nobody_thought_of() -> None:
    places = iter([Address("http://127.0.0.1:1")] * 2)
    heard: list[Unreachable] = []

    def where() -> Address:
        for place in places:
            return place
        raise LookupError("a bug")

    async def scenario() -> None:
        async with AsyncioShell.connect("http://127.0.0.1:1", token="t") as wg:
            wg._where = where
            async with wg.session() as session:
                with pytest.raises(Unreachable) as told:
                    await session.call(calls.runtime())
                heard.append(told.value)

    with pytest.raises(LookupError):
        AsyncioShell().run(scenario)
    assert len(heard) == 1


def test_nothing_is_left_of_a_session_that_was_left(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            worker_id = (await wg.create_worker()).worker_id
            async with wg.session() as session:
                reader = session.follow(worker_id)
                await anext(aiter(reader))
            while (await wg.runtime()).observer_count:
                pass

    shell.run(scenario)
    wait_true(
        lambda: b"watchglass_sessions_open 0.0" in Api(served).request("GET", "/metrics").body,
        "the session is still open",
    )
