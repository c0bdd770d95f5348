"""The table of what each endpoint asks of a token: whole, and read as requests are routed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.errors import InsufficientScope, TaskNotFound, WorkerNotFound
from watchglass.protocol.scopes import DENIED_TO_MOST, Grant, Reach, TokenScope
from watchglass.server.auth import OPEN_PATHS
from watchglass.server.callers import LOCAL, Caller
from watchglass.server.permits import NEEDS, asked, check

from support.inprocess import listening

OBSERVER = Caller(Grant(TokenScope.OBSERVE), "observer")
BOUND = Caller(Grant(TokenScope.DRIVE, "mine"), "bound")
NOWHERE = ("/", "/v1", "/v1/workers/", "/v1/workers/mine/", "/v1/workers/mine/nothing", "/v2/workers", "//")


@pytest.mark.asyncio
async def test_every_route_says_what_it_asks_and_nothing_else_does() -> None:
    async with listening() as server:
        paths: dict[str, dict[str, Any]] = (await server.ask("GET", "/openapi.json")).json["paths"]
        routes = {(method.upper(), path) for path, methods in paths.items() for method in methods}
        assert routes - {("GET", path) for path in OPEN_PATHS} == set(NEEDS)
        http = server.app._http
        quart = {
            (method, rule.rule)
            for rule in http.url_map.iter_rules()
            for method in rule.methods or ()
            if method not in {"HEAD", "OPTIONS"}
        }
        unlisted = {rule for method, rule in quart if asked(method, _filled(rule)).need is DENIED_TO_MOST}
        assert unlisted == OPEN_PATHS


def _filled(rule: str) -> str:
    """A path that a rule of Quart matches."""
    parts = [("stdout" if "stream" in part else "w") if "<" in part else part for part in rule.split("/")]
    return "/".join(parts)


def test_what_names_a_worker_is_of_that_worker() -> None:
    for (_, route), need in NEEDS.items():
        names_one = "{worker_id}" in route or "{task_id}" in route
        assert (need.reach is Reach.WORKER) == names_one, route


def test_reading_takes_no_more_than_observe_and_changing_never_so_little() -> None:
    for (method, route), need in NEEDS.items():
        reads = method == "GET" and not route.endswith("/export")
        assert (need.scope is TokenScope.OBSERVE) == reads, route


@given(worker_id=st.text("abc.-_%2FéZ0", min_size=1), method=st.sampled_from(["GET", "HEAD", "POST"]))
def test_a_worker_is_found_in_its_path_and_a_foreign_one_is_not_there(worker_id: str, method: str) -> None:
    act = "events" if method == "POST" else "transcript"
    asks = asked(method, f"/v1/workers/{worker_id}/{act}")
    assert (asks.need.reach, asks.worker_id) == (Reach.WORKER, worker_id)
    with pytest.raises(WorkerNotFound):
        check(BOUND, asks)


@given(
    rest=st.text("abc./%-", max_size=12), method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"])
)
def test_no_path_of_another_worker_lets_a_bound_token_in(rest: str, method: str) -> None:
    asks = asked(method, f"/v1/workers/other/{rest}")
    with pytest.raises((WorkerNotFound, InsufficientScope)):
        check(BOUND, asks)


@pytest.mark.parametrize("path", NOWHERE)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_what_is_not_in_the_table_is_denied_but_to_who_may_do_all(method: str, path: str) -> None:
    asks = asked(method, path)
    if asks.need is not DENIED_TO_MOST:
        return  # Such as a POST of a worker by the name of nothing.
    check(LOCAL, asks)
    for caller in (OBSERVER, BOUND):
        with pytest.raises(InsufficientScope):
            check(caller, asks)


def test_tasks_are_foreign_in_their_own_words() -> None:
    with pytest.raises(TaskNotFound):
        check(BOUND, asked("POST", "/api/v1/tasks/other/kill"))
    check(BOUND, asked("POST", "/api/v1/tasks/mine/kill"))


def test_an_import_is_none_of_a_worker_of_that_name() -> None:
    named_import = Caller(Grant(TokenScope.ADMIN, "import"), "odd")
    check(named_import, asked("GET", "/v1/workers/import"))
    with pytest.raises(InsufficientScope):
        check(named_import, asked("POST", "/v1/workers/import"))
