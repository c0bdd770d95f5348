"""Requests of a session that wait: they hold up nobody, and each is answered once, even if cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from watchglass.protocol.session import WAITS_MAX
from watchglass.server.session import LARGE_AT_ONCE

from support.inprocess import InProcess
from support.peers import Peer, peer
from support.tasks import until
from support.watched import url, watched

pytestmark = pytest.mark.asyncio
OUTPUT_BYTES = 200_000
"""Six times as much in JSON, for all of it is NUL."""
SLEEP = {"kind": "command", "program": "sleep", "args": ["60"]}


@pytest_asyncio.fixture
async def server() -> AsyncIterator[InProcess]:
    async with watched() as server:
        yield server


@pytest_asyncio.fixture
async def backend(server: InProcess) -> AsyncIterator[Peer]:
    async with peer(url(server)) as backend:
        yield backend


async def wait_begun(backend: Peer, *names: object) -> str:
    """A task that lives, and requests that wait for its end; its id."""
    task_id: str = (await backend.ask("tasks.submit", execution=SLEEP))["result"]["task_id"]
    for name in names:
        waiting = {"task_id": task_id, "wait_ms": 60_000}
        await backend.say(kind="request", id=name, method="tasks.get", params=waiting)
    return task_id


async def cancel(backend: Peer, name: object) -> int:
    await backend.say(kind="cancel", id="cancel", request=name)
    status: int = (await backend.answer("cancel"))["status"]
    return status


async def test_as_many_waits_as_there_may_be_hold_up_no_command(server: InProcess, backend: Peer) -> None:
    task_id = await wait_begun(backend, *range(WAITS_MAX), "one more")
    refused = await backend.answer("one more")
    assert (refused["status"], refused["error"]["code"]) == (429, "resource_limit_exceeded")
    assert (await backend.ask("runtime.health"))["status"] == 200
    assert (await backend.ask("tasks.get", task_id=task_id))["result"]["status"] in {"accepted", "running"}
    killed = await backend.ask("tasks.kill", task_id=task_id)
    assert killed["result"]["status"] == "cancelled"
    told = [frame for frame in backend.told if frame["id"] in range(WAITS_MAX)]
    while len(told) < WAITS_MAX:
        told.append(await backend.frame())
    assert {frame["id"] for frame in told} == set(range(WAITS_MAX))
    assert {frame["result"]["status"] for frame in told} == {"cancelled"}
    assert (await backend.ask("tasks.get", task_id=task_id, wait_ms=60_000))["status"] == 200


async def test_a_wait_that_is_cancelled_is_answered_at_once_and_once(backend: Peer) -> None:
    task_id = await wait_begun(backend, "a", "b")
    assert await cancel(backend, "a") == 200
    assert (await backend.answer("a"))["result"]["status"] in {"accepted", "running"}
    assert await cancel(backend, "a") == 400
    await backend.ask("tasks.kill", task_id=task_id)
    while not {"tasks.kill", "b"} <= {frame["id"] for frame in backend.told}:
        await backend.frame()
    assert [frame["id"] for frame in backend.told].count("a") == 1
    assert await cancel(backend, "b") == 400


async def test_one_that_is_cancelled_in_the_same_breath_is_answered_too(backend: Peer) -> None:
    task_id = await wait_begun(backend)
    for frame in (
        f'{{"kind":"request","id":7,"method":"tasks.get","params":{{"task_id":"{task_id}","wait_ms":9999}}}}',
        '{"kind":"cancel","id":8,"request":7}',
    ):
        await backend.socket.send(frame)
    assert (await backend.answer(7))["result"]["task_id"] == task_id
    assert next(frame for frame in backend.told if frame["id"] == 8)["status"] == 200


async def test_only_what_waits_can_be_cancelled(backend: Peer) -> None:
    assert await cancel(backend, "nobody") == 400
    assert await cancel(backend, [1]) == 400
    await backend.say(kind="subscribe", id="s", worker_id="w")
    await backend.until("sync", "s")
    assert await cancel(backend, "s") == 400


async def test_nobody_waits_any_more_for_a_peer_that_is_gone(server: InProcess) -> None:
    async with peer(url(server)) as backend:
        task_id = await wait_begun(backend, *range(10))
        waits = server.runtime.tasks._waits
        await until(lambda: len(waits) == 10)
    await until(lambda: not waits)
    assert (await server.ask("POST", f"/api/v1/tasks/{task_id}/kill")).status == 200


async def test_answers_with_much_output_do_not_pile_up_in_front_of_a_peer(
    server: InProcess, backend: Peer
) -> None:
    execution = {"kind": "script", "script": f"head -c {OUTPUT_BYTES} /dev/zero; sleep 60"}
    task_id = (await backend.ask("tasks.submit", execution=execution))["result"]["task_id"]
    while len((await backend.ask("tasks.get", task_id=task_id))["result"]["stdout"]) < OUTPUT_BYTES:
        pass
    for name in range(30):
        waiting = {"task_id": task_id, "wait_ms": 60_000}
        await backend.say(kind="request", id=name, method="tasks.get", params=waiting)
    await until(lambda: len(server.runtime.tasks._waits) == 30)
    assert (await server.ask("POST", f"/api/v1/tasks/{task_id}/kill")).status == 200
    for _ in range(30):
        assert len((await backend.frame())["result"]["stdout"]) == OUTPUT_BYTES
        buffered = sum(each.transport.get_write_buffer_size() for each in server.connections._open)
        assert buffered < (LARGE_AT_ONCE + 1) * 6 * OUTPUT_BYTES
