"""The clients for asyncio, trio and scripts, against real servers: what one promises, all do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from watchglass.client.async_client import AsyncClient
from watchglass.client.faults import ApiError, NoRuntime, Unreachable
from watchglass.client.reading import Follow
from watchglass.protocol.errors import CursorMalformed
from watchglass.protocol.events import Exit, TextPiece
from watchglass.protocol.execution import Limits
from watchglass.protocol.lifecycle import Phase
from watchglass.protocol.said import FeedRefused, Joined, Told
from watchglass.protocol.workers import CreateWorkerRequest, TaskIntent

from support.api import Api
from support.processes import wait_true
from support.proxy import cutting
from support.restarting import killable_server
from support.serving import Served, environment, serving
from support.shells import SHELLS, AsyncioShell, Shell, TrioShell

EVENTS = 100


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(
        tmp_path_factory.mktemp("clients"), "--allow-host=127.0.0.1", "--retain-events=500"
    ) as server:
        yield server


@pytest.fixture(params=SHELLS, ids=lambda shell: shell.name)
def shell(request: pytest.FixtureRequest) -> Shell:
    found: Shell = request.param
    return found


def said(numbers: range) -> list[tuple[str, dict[str, object]]]:
    return [("text_delta", {"text": f"{number} " * 200}) for number in numbers]


async def whole(wg: AsyncClient, worker_id: str, after: str = "earliest") -> list[Told]:
    async with wg.follow(worker_id, after) as events:
        return [event async for event in events]


async def talker(wg: AsyncClient, events: int = EVENTS) -> str:
    """A passive worker that has said so much and has ended."""
    worker = await wg.create_worker()
    await wg.append_events(worker.worker_id, said(range(events)))
    await wg.stop(worker.worker_id)
    return worker.worker_id


def observers(served: Served) -> int:
    return int(Api(served).get("/v1/runtime")["runtime"]["observer_count"])


def test_a_worker_is_driven_from_its_creation_to_its_end(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            worker = await wg.create_worker(program="/bin/cat", metadata={"grüße": "☃"})
            assert worker.metadata == {"grüße": "☃"}
            worker_id = worker.worker_id
            assert worker_id in {each.worker_id for each in (await wg.list_workers()).workers}
            assert (await wg.send_input(worker_id, "hello")).transcript_sequence == 1
            assert (await wg.close_stdin(worker_id)).worker_ref.worker_id == worker_id
            events = await whole(wg, worker_id)
            polled = await wg.poll_events(worker_id, types=["text_delta"])
            assert [each.cursor for each in polled.events] == [
                each.cursor for each in events if each.name == "text_delta"
            ]
            texts = [event.shaped() for event in events if event.name == "text_delta"]
            assert "".join(text.text for text in texts if isinstance(text, TextPiece)) == "hello\n"
            [exit_] = [event.shaped() for event in events if event.name == "exit"]
            assert isinstance(exit_, Exit)
            assert (exit_.code, exit_.reason, events[-1].name) == (0, "exited", "end")
            shown = await wg.worker(worker_id)
            assert (shown.phase, shown.head) == (Phase.SUCCEEDED, events[-1].cursor)
            piece = await wg.read_log(worker_id, offset=2)
            assert (piece.content, piece.offset, piece.size_bytes, piece.next_offset) == (b"llo\n", 2, 6, 6)
            assert (await wg.read_log(worker_id, "stderr")).content == b""
            transcript = await wg.transcript(worker_id)
            assert [(entry.role, entry.content) for entry in transcript.items] == [
                ("user", "hello"),
                ("assistant", "hello\n"),
            ]
            assert (await wg.explain(worker_id)).phase is Phase.SUCCEEDED
            await wg.remove_worker(worker_id)
            with pytest.raises(ApiError) as caught:
                await wg.worker(worker_id)
            assert (caught.value.status, caught.value.code) == (404, "worker_not_found")

    shell.run(scenario)


def test_the_runtime_as_a_whole_is_asked(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            assert (await wg.runtime()).runtime_id == served.runtime_id
            assert (await wg.plan_worker(CreateWorkerRequest())).plan is None
            assert await wg.probe() is not None
            assert isinstance(await wg.observers(), list)
            assert (await wg.resources()).reserved.task_slots >= 0
            assert (await wg.health()).status == "ok"
            assert (await wg.ready()).status == "ready"
            assert "watchglass_" in await wg.metrics()
            await wg.create_worker()
            assert {note.code for note in await wg.diagnostics()} >= {"worker.tools_less"}
            first = await wg.runtime_events(limit=1)
            second = await wg.runtime_events(first.next_cursor, limit=1)
            assert first.events[0].id < second.events[0].id

    shell.run(scenario)


def test_signals_reach_a_worker(served: Served, shell: Shell) -> None:
    script = "trap 'echo two; exit 0' INT; trap 'echo one' USR1; echo up; while :; do sleep 0.01; done"

    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            worker = await wg.create_worker(program="/bin/sh", args=["-c", script])
            heard = ""
            async with wg.follow(worker.worker_id, types=["text_delta"]) as events:
                async for event in events:
                    heard += event.data["text"]
                    if heard == "up\n":
                        await wg.signal(worker.worker_id, "USR1")
                    elif heard == "up\none\n":
                        await wg.interrupt(worker.worker_id)
            assert heard == "up\none\ntwo\n"

    shell.run(scenario)


def test_a_request_may_be_given_whole_or_in_words(served: Served, shell: Shell) -> None:
    request = CreateWorkerRequest(intent=TaskIntent(objective="count"), limits=Limits(wall_time_ms=60_000))

    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            worker = await wg.create_worker(request, program="/bin/cat", initial_input="one")
            assert (worker.intent, worker.limits.wall_time_ms) == (TaskIntent(objective="count"), 60_000)
            assert worker.execution is not None
            await wg.cancel(worker.worker_id, reason="enough")
            events = await whole(wg, worker.worker_id)
            assert [event.name for event in events].count("user_message") == 1
            with pytest.raises(ValueError, match="of a program"):
                await wg.create_worker(args=["-l"])

    shell.run(scenario)


def test_an_archive_goes_out_and_comes_back(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            worker_id = await talker(wg)
            before = await whole(wg, worker_id)
            async with wg.export_worker(worker_id) as pieces:
                archive = b"".join([piece async for piece in pieces])
            await wg.remove_worker(worker_id)
            with pytest.raises(ApiError) as caught:
                await wg.import_worker(archive[:-2000])
            assert caught.value.code == "archive_invalid"
            assert (await wg.import_worker(archive)).worker.worker_id == worker_id
            assert await whole(wg, worker_id) == before
            with pytest.raises(ApiError) as caught:
                async with wg.export_worker("nobody"):
                    pass
            assert caught.value.code == "worker_not_found"

    shell.run(scenario)


def test_a_wrong_token_and_a_missing_worker_are_told_at_once(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token="wrong") as wg:
            with pytest.raises(ApiError, match="token") as caught:
                await wg.runtime()
            assert caught.value.code == "unauthorized"
            with pytest.raises(ApiError) as caught:
                await whole(wg, "wk")
            assert caught.value.code == "unauthorized"
        async with shell.connect(served.url, token=served.token) as wg:
            with pytest.raises(ApiError) as caught:
                await whole(wg, "nobody")
            assert (caught.value.status, caught.value.code) == (404, "worker_not_found")
            with pytest.raises(ApiError) as caught:
                await wg.worker("..")
            assert caught.value.code == "invalid_worker_id"

    shell.run(scenario)


def test_a_cursor_that_cannot_be_honoured_is_refused_loudly(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            worker = await wg.create_worker()
            first = (await wg.append_events(worker.worker_id, said(range(1)))).first
            for _ in range(2):
                await wg.append_events(worker.worker_id, [("tick", {})] * 1000)
            for cursor in (first, "wo_ffffffffffffffff"):
                with pytest.raises(FeedRefused, match="oldest") as caught:
                    await whole(wg, worker.worker_id, cursor)
                assert caught.value.code == "runtime.cursor_unknown_or_expired"
            with pytest.raises(CursorMalformed):
                await whole(wg, worker.worker_id, "yesterday")

    shell.run(scenario)


@pytest.mark.parametrize("seed", range(2))
def test_over_connections_cut_anywhere_the_events_are_the_log(
    served: Served, shell: Shell, seed: int
) -> None:
    dice = random.Random(seed)
    cuts = [dice.choice([1, 150, dice.randrange(300, 30_000)]) for _ in range(4)]

    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            worker_id = await talker(wg)
            log = await whole(wg, worker_id)
            assert len(log) > EVENTS
            with cutting(served.host, served.port, cuts) as proxy:
                async with shell.connect(proxy.url, token=served.token) as through:
                    assert await whole(through, worker_id) == log
                    assert await whole(through, worker_id, log[50].cursor) == log[51:]
                assert proxy.cuts_made >= 2

    shell.run(scenario)


def test_a_watcher_is_told_of_every_connection(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        with cutting(served.host, served.port) as proxy:
            async with shell.connect(proxy.url, token=served.token) as wg:
                worker = await wg.create_worker()
                joins = []
                async with wg.watch(worker.worker_id) as everything:
                    async for each in everything:
                        if isinstance(each, Joined):
                            joins.append(each.phase)
                        if len(joins) == 1 and isinstance(each, Joined):
                            proxy.cut()
                            await shell.in_thread(lambda: Api(served).act(worker.worker_id, "stop"))
                assert joins == ["running", "stopped"]

    shell.run(scenario)


def test_what_nobody_asked_for_is_not_told(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            worker_id = await talker(wg, 5)
            async with wg.follow(worker_id, types=["status"]) as events:
                assert {event.name async for event in events} == {"status"}

    shell.run(scenario)


def test_a_creation_whose_answer_was_lost_makes_one_worker(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        with cutting(served.host, served.port, [1]) as proxy:
            async with shell.connect(proxy.url, token=served.token) as wg:
                before = (await wg.list_workers(labels={"no": "such"})).workers  # A connection that was cut.
                assert before == []
                proxy.cut()
                there = {each.worker_id for each in (await wg.list_workers()).workers}
                with cutting(served.host, served.port, [1]) as worse:
                    async with shell.connect(worse.url, token=served.token) as cut:
                        worker = await cut.create_worker()
                    assert worse.cuts_made == 1
                now = {each.worker_id for each in (await wg.list_workers()).workers}
                assert now - there == {worker.worker_id}

    shell.run(scenario)


def test_an_input_whose_answer_was_lost_is_not_sent_twice(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            worker = await wg.create_worker()
            with cutting(served.host, served.port, [1]) as proxy:
                async with shell.connect(proxy.url, token=served.token) as through:
                    with pytest.raises(Unreachable) as caught:
                        await through.send_input(worker.worker_id, "once")
            assert caught.value.stage == "lost"
            assert (await wg.transcript(worker.worker_id)).total_items == 1

    shell.run(scenario)


def test_a_server_that_is_killed_and_comes_back_elsewhere_is_followed(tmp_path: Path, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(environ=environment(tmp_path)) as wg:
            worker = await wg.create_worker()
            last = (await wg.append_events(worker.worker_id, said(range(EVENTS)))).last
            seen: list[Told] = []
            async with wg.follow(worker.worker_id) as events:
                async for event in events:
                    seen.append(event)
                    if event.cursor == last:
                        await shell.in_thread(restart)
                        await wg.append_events(worker.worker_id, said(range(EVENTS, EVENTS + 50)))
                        await wg.stop(worker.worker_id)
            assert seen == await whole(wg, worker.worker_id)
            assert [event.name for event in seen].count("text_delta") == EVENTS + 50

    with killable_server(tmp_path, f"rt-{shell.name}") as restart:
        shell.run(scenario)


def test_a_server_that_is_gone_for_good_is_given_up(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        with cutting(served.host, served.port) as proxy:
            async with shell.connect(proxy.url, token=served.token) as wg:
                worker = await wg.create_worker()
                events = aiter(wg.follow(worker.worker_id, patience_s=0.3))
                assert (await anext(events)).name == "status"
                url = proxy.url
                proxy.close()
                with pytest.raises(Unreachable) as caught:
                    [event async for event in events]
                assert (caught.value.url, caught.value.stage) == (url, "unsent")
                with pytest.raises(Unreachable) as caught:
                    await wg.list_workers()
                assert caught.value.stage == "unsent"

    shell.run(scenario)


def test_without_a_runtime_there_is_none_to_find(tmp_path: Path, shell: Shell) -> None:
    async def scenario() -> None:
        with pytest.raises(NoRuntime, match="watchglass serve"):
            async with shell.connect(environ=environment(tmp_path)):
                pass

    shell.run(scenario)


def test_whoever_breaks_out_early_leaves_nothing_open(served: Served, shell: Shell) -> None:
    async def in_a_block(wg: AsyncClient, worker_id: str) -> None:
        async with wg.follow(worker_id) as events:
            async for _ in events:
                break

    async def without_one(wg: AsyncClient, worker_id: str) -> None:
        async for _ in wg.follow(worker_id):
            break

    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            worker = await wg.create_worker()
            await wg.append_events(worker.worker_id, said(range(EVENTS)))
            for leave in (in_a_block, without_one):
                await leave(wg, worker.worker_id)
                await shell.in_thread(lambda: wait_true(lambda: observers(served) == 0, "a feed is open"))

    shell.run(scenario)


def test_a_reader_that_nobody_closed_is_closed_with_its_client(served: Served, shell: Shell) -> None:
    async def first(events: AsyncIterator[Told]) -> Told:
        return await anext(events)

    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            worker = await wg.create_worker()
            kept = wg.follow(worker.worker_id)
            assert (await first(kept)).name == "status"
        if shell.name == "sync":
            del kept  # A generator of no loop: its end is its own.
        await shell.in_thread(lambda: wait_true(lambda: observers(served) == 0, "a feed is open"))

    shell.run(scenario)


def test_whoever_is_cancelled_leaves_nothing_open_and_can_go_on(served: Served) -> None:
    async def in_asyncio(shell: Shell) -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            worker = await wg.create_worker()
            events = wg.follow(worker.worker_id)
            assert (await anext(events)).name == "status"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    [event async for event in events]
            await go_on(shell, wg, events, worker.worker_id)

    async def in_trio(shell: Shell) -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            worker = await wg.create_worker()
            events = wg.follow(worker.worker_id)
            assert (await anext(events)).name == "status"
            with trio.move_on_after(0.1):
                [event async for event in events]
            await go_on(shell, wg, events, worker.worker_id)

    async def go_on(shell: Shell, wg: AsyncClient, events: Follow, worker_id: str) -> None:
        await shell.in_thread(lambda: wait_true(lambda: observers(served) == 0, "a feed is open"))
        await wg.append_events(worker_id, said(range(3)))
        await wg.stop(worker_id)
        names = [event.name async for event in events]
        assert names[:3] == ["text_delta"] * 3
        assert names[-1] == "end"

    AsyncioShell().run(lambda: in_asyncio(AsyncioShell()))
    TrioShell().run(lambda: in_trio(TrioShell()))


def test_everybody_is_followed_over_cut_connections_in_one_order(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            workers = [(await wg.create_worker()).worker_id for _ in range(3)]
            first = (await wg.poll_all_events(workers, "tail:1")).next
            for number in range(EVENTS):
                await wg.append_events(workers[number % 3], said(range(number, number + 1)))
            last = (await wg.append_events(workers[0], [("the_last", {})])).last
            polled = (await wg.poll_all_events(workers, first)).events
            with pytest.raises(ApiError, match="'nobody'"):
                await anext(aiter(wg.follow_all(["nobody"])))
            async with wg.watch_all(workers) as everything:
                joined = await anext(aiter(everything))
                assert isinstance(joined, Joined)
                assert {worker["worker_id"] for worker in joined.data["workers"]} == set(workers)
        with cutting(served.host, served.port, [900, 5_000, 20_000, 1, 40_000]) as proxy:
            async with shell.connect(proxy.url, token=served.token) as wg:
                taken: list[Told] = []
                async with wg.follow_all(workers, first) as events:
                    while not taken or taken[-1].cursor != last:
                        taken.append(await anext(events))
        assert len(taken) == EVENTS + 1
        assert [event.cursor for event in taken] == [each.cursor for each in polled]
        assert {event.worker_id for event in taken} == set(workers)

    shell.run(scenario)
