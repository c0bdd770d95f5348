"""Tenants and capacity over the wire, and over the death of a server."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.api import Api
from support.feed import data_of, in_thread, journal, names
from support.processes import wait_gone, wait_true
from support.serving import Place, Served, durable_server

FLAGS = [
    "--runtime-id=rt-capacity",
    "--max-running-workers=3",
    "--max-waiting-workers=2",
    "--capacity-memory=1000000000",
    "--default-memory=100000000",
    "--tenant=blue=slots:1,memory:500000000",
]


@pytest.fixture(autouse=True)
def _emptied(api: Api) -> None:
    for worker in api.get("/v1/workers")["workers"]:
        api.act(worker["worker_id"], "cancel")


def resources(api: Api) -> Any:
    """What the server says, of which the sum must be exact."""
    told = api.get("/v1/runtime/resources")["resources"]
    for resource in ("task_slots", "memory_bytes", "pids"):
        held = [each["reservation"][resource] for each in told["active_reservations"]]
        assert (told["reserved"][resource] or 0) == sum(part or 0 for part in held)
        if told["capacity"][resource] is not None:
            assert told["available"][resource] == max(0, told["capacity"][resource] - sum(held))
    return told


def refusal(api: Api, **request: Any) -> Any:
    return api.request("POST", "/v1/workers", {"execution": {"program": "cat"}, **request})


def test_a_tenant_with_a_quota_shows_without_any_worker(api: Api) -> None:
    told = resources(api)
    assert told["runtime_id"] == "rt-capacity"
    assert told["capacity"] == {"task_slots": 3, "memory_bytes": 1_000_000_000, "pids": None}
    assert told["available"] == told["capacity"]
    assert (told["active_reservations"], told["waiting_worker_count"]) == ([], 0)
    quota = {"task_slots": 1, "memory_bytes": 500_000_000, "pids": None}
    assert told["tenants"] == [
        {
            "tenant": "blue",
            "quota": quota,
            "reserved": {"task_slots": 0, "memory_bytes": 0, "pids": None},
            "available": quota,
            "waiting_worker_count": 0,
        }
    ]


def test_what_a_worker_holds_is_shown_where_it_is_asked_for(api: Api) -> None:
    worker = api.create("cat", limits={"memory_bytes": 300_000_000}, control_context={"tenant": "blue"})
    held = {"task_slots": 1, "memory_bytes": 300_000_000, "pids": None}
    assert worker["reservation"] == held
    [active] = resources(api)["active_reservations"]
    assert active == {
        "worker_id": worker["worker_id"],
        "phase": "running",
        "tenant": "blue",
        "reservation": held,
        "reserved_at": worker["reserved_at"],
        "pid": worker["pid"],
    }
    api.act(worker["worker_id"], "stop")
    assert api.worker(worker["worker_id"])["reservation"] is None
    assert resources(api)["active_reservations"] == []


@pytest.mark.parametrize(
    ("memory_bytes", "tenant", "bound"),
    [(1_000_000_001, "red", 1_000_000_000), (500_000_001, "blue", 500_000_000)],
)
def test_more_than_there_is_is_refused_by_resource_and_bound(
    api: Api, memory_bytes: int, tenant: str, bound: int
) -> None:
    answer = refusal(api, limits={"memory_bytes": memory_bytes}, control_context={"tenant": tenant})
    assert (answer.status, answer.code) == (400, "insufficient_resources")
    assert f"memory_bytes {memory_bytes} is over the {bound}" in answer.message


def test_a_full_queue_counts_those_who_lack_memory_and_says_when_to_come_back(api: Api) -> None:
    large = {"limits": {"memory_bytes": 600_000_000}}
    assert [api.create("cat", **large)["phase"] for _ in range(3)] == ["running", "accepted", "accepted"]
    answer = refusal(api, **large)
    assert (answer.status, answer.code) == (429, "resource_limit_exceeded")
    assert int(answer.headers["retry-after"]) >= 1
    told = resources(api)
    assert (told["waiting_worker_count"], told["waiting"]["memory_bytes"]) == (2, 1_200_000_000)


def test_metrics_tell_of_every_resource_and_of_tenants_with_a_quota(api: Api) -> None:
    api.create("cat", control_context={"tenant": "blue"})
    api.create("cat", control_context={"tenant": "blue"})
    api.create("cat", control_context={"tenant": "nobody's business"})
    text = api.request("GET", "/metrics").body.decode()
    for line in (
        'watchglass_resource_capacity{resource="memory_bytes"} 1e+09',
        'watchglass_resource_reserved{resource="memory_bytes"} 2e+08',
        'watchglass_resource_reserved{resource="task_slots"} 2.0',
        'watchglass_resource_waiting{resource="memory_bytes"} 1e+08',
        'watchglass_tenant_quota{resource="task_slots",tenant="blue"} 1.0',
        'watchglass_tenant_reserved{resource="memory_bytes",tenant="blue"} 1e+08',
        'watchglass_tenant_workers_waiting{tenant="blue"} 1.0',
    ):
        assert f"\n{line}\n" in text
    assert "nobody" not in text


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    flags = ("--max-running-workers=4", "--capacity-memory=1000000000", "--default-memory=150000000")
    with durable_server(tmp_path, "--grace-ms=300", *flags, runtime_id="rt-sum") as place:
        yield place


def fill(served: Served) -> None:
    """Two tenants, four who run and eight who wait."""
    for number in range(12):
        tenant = "blue" if number % 3 else "red"
        Api(served).create("cat", worker_id=f"w{number}", control_context={"tenant": tenant})


@pytest.mark.trio
async def test_after_the_death_of_a_server_the_sum_is_that_of_the_workers_that_live(place: Place) -> None:
    with place.serving() as served:
        await in_thread(fill, served)
        before = await in_thread(resources, Api(served))
        assert before["reserved"] == {"task_slots": 4, "memory_bytes": 600_000_000, "pids": None}
        gone = before["active_reservations"][1]["worker_id"]
        pid = (await in_thread(Api(served).worker, gone))["pid"]
        place.kill()
    os.kill(pid, signal.SIGKILL)
    await in_thread(wait_gone, pid)
    with place.serving() as served:
        api = Api(served)
        ended = await journal(served, gone)
        await in_thread(
            wait_true, lambda: resources(api)["reserved"]["task_slots"] == 4, "one more has started"
        )
        after = await in_thread(resources, api)
        kept = [each for each in before["active_reservations"] if each["worker_id"] != gone]
        assert after["active_reservations"][:3] == kept
        assert after["waiting_worker_count"] == before["waiting_worker_count"] - 1
        assert data_of(ended, "reserved") == data_of(ended, "released")
        assert len(data_of(ended, "reserved")) == 1
        for number in range(12):
            await in_thread(api.act, f"w{number}", "stop")
            await in_thread(resources, api)
        assert (await in_thread(resources, api))["reserved"]["task_slots"] == 0
        for number in range(12):
            told = await journal(served, f"w{number}")
            assert len(data_of(told, "reserved")) == len(data_of(told, "released")) <= 1
        assert place.drain() == 0


@pytest.mark.soak
@pytest.mark.trio
async def test_two_hundred_tasks_over_a_killed_server_all_end_and_each_journal_takes_turns(
    place: Place,
) -> None:
    ids = [f"t{number}" for number in range(200)]

    def submit(served: Served) -> None:
        for number, worker_id in enumerate(ids):
            Api(served).create(
                *("sh", "-c", "read line"),
                worker_id=worker_id,
                control_context={"tenant": f"tenant-{number % 5}"},
                initial_input={"content": "go"},
            )

    def sampled(served: Served, active_max: int) -> bool:
        told = resources(Api(served))
        assert told["reserved"]["task_slots"] <= 4
        runtime = Api(served).get("/v1/runtime")["runtime"]
        return bool(runtime["active_worker_count"] <= active_max)

    with place.serving() as served:
        await in_thread(submit, served)
        await in_thread(wait_true, lambda: sampled(served, 120), "a good part of them has ended")
        place.kill()
    with place.serving() as served:
        await in_thread(wait_true, lambda: sampled(served, 0), "all have ended")
        assert (await in_thread(resources, Api(served)))["reserved"]["task_slots"] == 0
        for worker_id in ids:
            told = await journal(served, worker_id)
            turns = [name for name in names(told) if name in {"reserved", "released"}]
            assert turns == ["reserved", "released"] * (len(turns) // 2) != []
            assert data_of(told, "exit") == [{"code": 0, "signal": None, "reason": "exited"}]
        assert place.drain() == 0
