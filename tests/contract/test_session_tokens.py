"""A token with fewer rights on a session: each command and each feed is asked for by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from watchglass.protocol.scopes import Reach, Verdict, decide
from watchglass.protocol.session import METHODS
from watchglass.server.auth import OPEN_PATHS
from watchglass.server.permits import NEEDS

from support.api import Api
from support.backend import Backend, session
from support.serving import Served, serving
from support.tokens import GRANTS, being, written

pytestmark = pytest.mark.trio
LEFT_ALONE = {"runtime.drain", "runtime.probe"}
"""Where they are allowed, for they change the server for the tests that follow, or take their time."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("tokens")) as served:
        yield served


@pytest.fixture
def workers(served: Served) -> Iterator[None]:
    api = Api(served)
    written(served, GRANTS)
    for worker_id in ("mine", "other"):
        if api.request("GET", f"/v1/workers/{worker_id}").status == 404:
            api.create(worker_id=worker_id)
    yield
    written(served, {})


def code_of(answer: dict[str, object]) -> object:
    error = answer["error"]
    assert isinstance(error, dict)
    return error["code"]


async def ask(backend: Backend, method: str, worker_id: str) -> dict[str, object]:
    path = METHODS[method].path
    params = {name: worker_id for name in ("worker_id", "task_id") if f"{{{name}}}" in path}
    return await backend.ask(method, **params)


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("name", GRANTS)
@pytest.mark.parametrize("worker_id", ["mine", "other"])
async def test_every_command_is_refused_where_rest_refuses_the_token(
    served: Served, name: str, worker_id: str
) -> None:
    grant = GRANTS[name]
    async with session(being(served, name)) as backend:
        for method, route in METHODS.items():
            if route.path in OPEN_PATHS:
                assert (await backend.ask(method))["status"] == 200
                continue
            need = NEEDS[route]
            named = worker_id if need.reach is Reach.WORKER else None
            verdict = decide(grant, need, named)
            if verdict is Verdict.ALLOWED and method in LEFT_ALONE:
                continue
            answer = await ask(backend, method, worker_id)
            if verdict is Verdict.FOREIGN:
                assert answer["status"] == 404, method
            elif verdict is Verdict.MISSING_SCOPE:
                assert answer["status"] == 403, method
                assert code_of(answer) in {"insufficient_scope", "permission_denied"}
            else:
                assert answer["status"] not in {401, 403}, method
        if worker_id == "mine":
            Api(served).request("DELETE", "/v1/workers/mine")


@pytest.mark.usefixtures("workers")
async def test_lists_show_a_bound_token_its_worker_alone(served: Served) -> None:
    async with session(being(served, "observe-mine")) as backend:
        workers = (await backend.ask("workers.list"))["result"]["workers"]
        assert [worker["worker_id"] for worker in workers] == ["mine"]
        tasks = (await backend.ask("tasks.list"))["result"]["tasks"]
        assert tasks == []
        assert (await backend.ask("runtime.observers"))["result"]["observers"] == []
        told = (await backend.ask("runtime.events"))["result"]["events"]
        assert "other" not in str(told)


@pytest.mark.usefixtures("workers")
async def test_a_feed_of_a_foreign_worker_is_none_and_one_of_its_own_ends_with_the_token(
    served: Served,
) -> None:
    async with session(being(served, "observe-mine")) as backend:
        await backend.say(kind="subscribe", id=1, worker_id="other")
        refused = await backend.frame()
        assert (refused["status"], code_of(refused)) == (404, "worker_not_found")
        await backend.say(kind="subscribe", id=2, worker_id="mine", cursor="latest", snapshot="none")
        kinds = [(await backend.frame())["kind"] for _ in range(3)]
        assert kinds == ["response", "hello", "sync"]
        written(served, {})
        while (frame := await backend.frame())["kind"] != "diagnostic":
            pass
        assert (frame["subscription"], frame["close"]) == (2, 4401)
        answer = await backend.ask("workers.get", worker_id="mine")
        assert answer["status"] == 401


@pytest.mark.usefixtures("workers")
async def test_everybody_is_for_a_token_of_all_workers_and_for_as_long_as_it_is_one(served: Served) -> None:
    async with session(being(served, "observe-mine")) as backend:
        await backend.say(kind="subscribe", id="all", workers=["mine"])
        refused = await backend.frame()
        assert (refused["status"], code_of(refused)) == (403, "insufficient_scope")
    async with session(being(served, "observe")) as backend:
        await backend.say(kind="subscribe", id="all", workers="*", cursor="latest", snapshot="none")
        kinds = [(await backend.frame())["kind"] for _ in range(3)]
        assert kinds == ["response", "hello", "sync"]
        written(served, {"observe": GRANTS["observe-mine"]})
        while (frame := await backend.frame())["kind"] != "diagnostic":
            pass
        assert (frame["code"], frame["close"]) == ("runtime.forbidden", 4403)


@pytest.mark.usefixtures("workers")
async def test_observers_of_a_session_are_listed(served: Served) -> None:
    async with session(served) as backend:
        await backend.say(kind="subscribe", id="one", worker_id="mine", snapshot="none")
        assert (await backend.frame())["kind"] == "response"
        listed = Api(served).get("/v1/observers?worker_id=mine")["observers"]
        told = [(each["transport"], each["subprotocol"], each["token"]) for each in listed]
        assert told == [("session", "watchglass.session.v1", "local")]
