"""Tasks through the three clients, and the tables' promise: what a runtime serves, a client can ask for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from watchglass.client import calls, endpoints, task_calls
from watchglass.client.async_client import AsyncClient
from watchglass.client.call import Call
from watchglass.client.faults import ApiError, Unreachable
from watchglass.client.sync import SyncClient
from watchglass.client.task_endpoints import TASK_ENDPOINTS
from watchglass.client.task_places import ROUND_MS, TaskWait
from watchglass.protocol.execution import TaskLimits
from watchglass.protocol.tasks import SubmitTaskRequest, TaskEventType, TaskStatus
from watchglass.protocol.workers import CreateWorkerRequest

from support.api import Api
from support.patience import PATIENCE_S
from support.proxy import Fate, cutting
from support.restarting import killable_server
from support.serving import Served, environment, serving
from support.shells import SHELLS, Shell

NEED_NONE = {
    ("GET", "/v1/workers/{worker_id}/events/ws"): "the feed: `follow` and `watch` speak it",
    ("GET", "/v1/session/ws"): "the session: `session` speaks it",
    ("GET", "/v1/events/ws"): "the feed of everybody: `follow_all` speaks it",
}
"""What is served and has no call, and why."""

IN_A_BLOCK = {
    ("GET", "/v1/workers/{worker_id}/export"): "export_worker",
    ("POST", "/v1/workers/import"): "import_worker",
}
"""What is no single call but a method of its own."""

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "append_events": ("W", [("tick", {})]),
    "create_worker": (CreateWorkerRequest(),),
    "plan_worker": (CreateWorkerRequest(),),
    "send_input": ("W", "hello"),
    "signal": ("W", "SIGUSR1"),
    "submit_task": (SubmitTaskRequest.model_validate({"execution": {"program": "true"}}),),
}
"""What a call is made of that takes more than an id; a log is stdout."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("tasks"), "--allow-host=127.0.0.1") as server:
        yield server


@pytest.fixture(params=SHELLS, ids=lambda shell: shell.name)
def shell(request: pytest.FixtureRequest) -> Shell:
    found: Shell = request.param
    return found


def builders() -> dict[str, Callable[..., Call[Any]]]:
    """Every function that makes a call, by its name."""
    return {
        name: build
        for module in (calls, task_calls)
        for name, build in inspect.getmembers(module, inspect.isfunction)
        if build.__module__ == module.__name__ and not name.startswith("_")
    }


def asked_by(name: str, build: Callable[..., Call[Any]]) -> tuple[str, str]:
    """Method and path of what a call asks for, as the interface's document writes it."""
    first = next(iter(inspect.signature(build).parameters), "")
    arguments = ARGUMENTS.get(name, ("W",) if first in {"worker_id", "task_id"} else ())
    call = build(*arguments)
    ident = "task_id" if call.path.startswith("/api/") else "worker_id"
    path = call.path.replace("/W", f"/{{{ident}}}").replace("/stdout", "/{stream}")
    return call.method, path


def test_whatever_is_served_has_a_method_of_every_client(served: Served) -> None:
    paths = Api(served).get("/openapi.json")["paths"]
    documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    by_call = {asked_by(name, build): name for name, build in builders().items()}
    assert documented == {*by_call, *IN_A_BLOCK, *NEED_NONE}
    for name in [*by_call.values(), *IN_A_BLOCK.values()]:
        assert callable(getattr(AsyncClient, name))
        assert callable(getattr(SyncClient, name))


def test_the_tables_have_what_is_served_and_nothing_else(served: Served) -> None:
    paths = Api(served).get("/openapi.json")["paths"]
    documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    tables = {(place.method, place.path) for place in (*endpoints.ENDPOINTS, *TASK_ENDPOINTS)}
    assert tables | set(NEED_NONE) == documented


def test_a_task_is_submitted_awaited_and_read(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            answer = await wg.submit_task(
                program="/bin/sh", args=["-c", "echo out; echo err >&2"], metadata={"grüße": "☃"}
            )
            final = await wg.wait_task(answer.task_id, timeout_s=PATIENCE_S)
            assert (final.status, final.exit_code) == (TaskStatus.SUCCESS, 0)
            assert (final.stdout, final.stderr, final.metadata) == ("out\n", "err\n", {"grüße": "☃"})
            assert await wg.task(answer.task_id) == final
            types = [event.event_type for event in await wg.task_events(answer.task_id)]
            assert (types[0], types[-1]) == (TaskEventType.SUBMITTED, TaskEventType.FINISHED)
            listed = (await wg.list_tasks(status=TaskStatus.SUCCESS)).tasks
            assert answer.task_id in {each.task_id for each in listed}
            [first] = (await wg.list_tasks(limit=1)).tasks
            assert first.task_id not in {
                each.task_id for each in (await wg.list_tasks(after=first.task_id)).tasks
            }
            piece = await wg.read_log(answer.task_id)
            assert piece.content == b"out\n"
            async with wg.follow(answer.task_id) as events:
                assert [event.name async for event in events][-1] == "end"

    shell.run(scenario)


def test_a_tasks_owner_alone_may_kill_it(served: Served, shell: Shell) -> None:
    request = SubmitTaskRequest.model_validate(
        {"execution": {"program": "sleep", "args": ["60"]}, "control_context": {"owner": "x", "tenant": "t"}}
    )

    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            task = (await wg.submit_task(request, owner="ann", task_id=f"owned-{shell.name}")).task_id
            assert task == f"owned-{shell.name}"
            with pytest.raises(TimeoutError, match=f"{task} is .* after 50 ms"):
                await wg.wait_task(task, timeout_s=0.05)
            for owner in (None, "x"):
                with pytest.raises(ApiError) as caught:
                    await wg.kill_task(task, owner=owner)
                assert (caught.value.status, caught.value.code) == (403, "permission_denied")
                assert caught.value.details["fault"] == "permission_denied"
            killed = await wg.kill_task(task, owner="ann", reason="enough")
            assert killed.status is TaskStatus.CANCELLED
            assert await wg.kill_task(task, owner="ann") == killed
            with pytest.raises(ApiError) as caught:
                await wg.submit_task(request, task_id=task)
            assert (caught.value.status, caught.value.code) == (409, "conflict")

    shell.run(scenario)


def test_what_can_be_no_task_is_refused_as_the_runtime_would(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            for task, status, code in (("..", 400, "invalid_input"), ("nobody", 404, "not_found")):
                for ask in (wg.task, wg.kill_task, wg.task_events, wg.wait_task):
                    with pytest.raises(ApiError) as caught:
                        await ask(task)
                    assert (caught.value.status, caught.value.code) == (status, code)
            with pytest.raises(ValueError, match="of a program"):
                await wg.submit_task(args=["-l"])

    shell.run(scenario)


def test_the_runtime_says_what_it_is_in_the_words_of_tasks(served: Served, shell: Shell) -> None:
    request = SubmitTaskRequest.model_validate({"execution": {"program": "sleep", "args": ["60"]}})
    limits = TaskLimits(wall_time_ms=30_000)

    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            assert (await wg.task_runtime()).runtime_id == served.runtime_id
            assert (await wg.task_capabilities()).runtime_id == served.runtime_id
            assert (await wg.task_config()).listen_addr == f"{served.host}:{served.port}"
            task = (await wg.submit_task(request.model_copy(update={"limits": limits}))).task_id
            async with wg.watch(task) as said:
                async for each in said:
                    if each.kind == "joined" and each.phase == "running":
                        break
                    if each.kind == "told" and each.data.get("phase") == "running":
                        break
            held = {each.task_id for each in (await wg.task_resources()).active_reservations}
            assert task in held
            await wg.kill_task(task)

    shell.run(scenario)


def test_a_wait_goes_on_over_lost_answers(served: Served, shell: Shell) -> None:
    async def scenario() -> None:
        fates = [Fate(1, ends) for ends in ("reset", "close", "reset", "reset")]
        with cutting(served.host, served.port, fates) as proxy:
            async with shell.connect(proxy.url, token=served.token) as through:
                async with shell.connect(served.url, token=served.token) as wg:
                    task = (await wg.submit_task(program="true")).task_id
                assert (await through.wait_task(task, timeout_s=PATIENCE_S)).status is TaskStatus.SUCCESS
            assert proxy.cuts_made == 4

    shell.run(scenario)


def test_a_wait_goes_on_with_the_next_server(tmp_path: Path, shell: Shell) -> None:
    async def scenario() -> None:
        async with shell.connect(environ=environment(tmp_path)) as wg:
            task = (await wg.submit_task(program="sh", args=["-c", "read x; echo $?"])).task_id
            await shell.in_thread(restart)
            assert (await wg.wait_task(task, timeout_s=PATIENCE_S)).stdout == "1\n"

    with killable_server(tmp_path, f"rt-wait-{shell.name}") as restart:
        shell.run(scenario)


def test_a_wait_asks_for_what_is_left_of_its_time_and_gives_up_after_its_patience() -> None:
    wait = TaskWait("t", 100.0, timeout_s=30.0, patience_s=10.0)
    assert [wait.wait_ms(now) for now in (100.0, 115.0, 131.0)] == [ROUND_MS, 15_000, 0]
    assert wait.answered(115.0, "success")
    assert not wait.answered(120.0, "running")
    lost = Unreachable("http://h", "gone")
    assert 0 < wait.lost(121.0, lost, jitter=0.0) < wait.lost(122.0, lost, jitter=0.0)
    with pytest.raises(Unreachable):
        wait.lost(130.0 - 1e-9, lost, jitter=1.0)
    with pytest.raises(TimeoutError, match="task t is running after 30000 ms"):
        wait.answered(130.0, "running")
    assert TaskWait("t", 0.0).wait_ms(10.0**6) == ROUND_MS
