"""What a worker gets is told before it is there, on it, and in its journal; and nowhere differently."""

from __future__ import annotations

from typing import Any

import pytest

from support.api import Api
from support.feed import in_thread, observing
from support.processes import wait_true
from support.serving import Served

FLAGS = ["--runtime-id=rt-plan", "--max-running-workers=1", "--max-waiting-workers=1", "--max-workers=3"]
CAT = {"kind": "command", "program": "cat"}
ASKED: dict[str, Any] = {"execution": CAT, "limits": {"wall_time_ms": 60_000, "cpu_time_sec": 5}}


@pytest.fixture(autouse=True)
def _emptied(api: Api) -> None:
    for worker in api.get("/v1/workers")["workers"]:
        api.act(worker["worker_id"], "cancel")
        assert api.request("DELETE", f"/v1/workers/{worker['worker_id']}").status == 204


def plan_of(api: Api, **fields: Any) -> Any:
    answer = api.request("POST", "/v1/plan", fields)
    assert answer.status == 200, answer
    return answer.json


@pytest.mark.trio
async def test_the_plan_is_the_same_before_on_and_in_the_journal(served: Served) -> None:
    api = Api(served)
    planned = await in_thread(lambda: plan_of(api, **ASKED))
    worker = (await in_thread(lambda: api.request("POST", "/v1/workers", ASKED))).json["worker"]
    assert worker["execution_plan"] == planned["plan"]
    assert set(planned["plan"]["features"]) >= {"limits.wall_time_ms", "limits.cpu_time_sec"}
    async with observing(served, worker["worker_id"], "earliest") as observer:
        _snapshot, first, second = [await observer.event() for _ in range(3)]
    assert first["payload"]["event"] == "status"
    assert second["payload"] == {"event": "execution_plan", "data": planned["plan"]}


def test_a_plan_starts_nothing_and_keeps_nothing(api: Api) -> None:
    wait_true(lambda: api.get("/v1/runtime")["runtime"]["observer_count"] == 0, "somebody still watches")
    before = api.get("/v1/runtime")["runtime"]
    assert plan_of(api, worker_id="mine", **ASKED)["would_wait"] is False
    assert api.get("/v1/runtime")["runtime"] == before
    assert api.request("GET", "/v1/workers/mine").code == "worker_not_found"


def test_a_plan_says_whether_the_worker_would_wait(api: Api) -> None:
    assert plan_of(api, execution=CAT)["reservation"]["task_slots"] == 1
    api.create("cat")
    assert plan_of(api, execution=CAT)["would_wait"] is True
    api.create("cat")
    refused = api.request("POST", "/v1/plan", {"execution": CAT})
    assert (refused.status, refused.code) == (429, "resource_limit_exceeded")


def test_a_worker_without_an_execution_takes_no_room(api: Api) -> None:
    assert plan_of(api) == {"plan": None, "reservation": None, "would_wait": False, "before_it": 0}


def test_a_plan_is_refused_as_a_creation_is(api: Api) -> None:
    asked = {
        "execution": CAT,
        "sandbox": {"network": "proxy", "network_allow": ["pypi.org:443"]},
    }
    planned, created = (api.request("POST", path, asked) for path in ("/v1/plan", "/v1/workers"))
    assert planned.code == "unsupported_capability"
    assert (planned.status, planned.json) == (created.status, created.json)


def test_what_contradicts_itself_is_no_request(api: Api) -> None:
    asked = {"execution": CAT, "sandbox": {"network": "host", "namespaces": {"net": True}}}
    assert api.request("POST", "/v1/plan", asked).code == "invalid_request"


def test_what_the_host_can_do_is_told_with_mechanism_or_reason(api: Api) -> None:
    told = api.get("/v1/runtime/capabilities")["capabilities"]
    assert told["runtime_id"] == "rt-plan"
    rows = [*told["sandbox"].items(), *told["limits"].items(), *told["namespaces"].items()]
    assert {"linux_sandbox", "seccomp", "memory", "pids", "tree_kill"} <= {name for name, _ in rows}
    for name, row in rows:
        assert row["available"] == (row["mechanism"] is not None), name
        assert row["available"] or row["reason"], name
    assert told["limits"]["tree_kill"]["available"]


def test_a_plan_says_on_which_probe_it_rests(api: Api) -> None:
    for probe in (lambda: None, lambda: api.request("POST", "/v1/runtime/probe")):
        probe()
        found = api.get("/v1/runtime/capabilities")["capabilities"]["collected_at"]
        assert plan_of(api, execution=CAT)["plan"]["probed_at"] == found


def test_a_probe_finds_out_anew(api: Api) -> None:
    before = api.get("/v1/runtime/capabilities")["capabilities"]
    probed = api.request("POST", "/v1/runtime/probe")
    assert probed.status == 200
    after = probed.json["capabilities"]
    assert after["collected_at"] > before["collected_at"]
    assert after["limits"] == before["limits"]
    assert api.get("/v1/runtime/capabilities")["capabilities"] == after
