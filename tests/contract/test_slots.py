"""Slots: one runs, one waits and is told why, the third is refused and told when to come back."""

from __future__ import annotations

import pytest

from support.api import Api
from support.feed import data_of, in_thread, observing
from support.processes import marked
from support.serving import Served

FLAGS = ["--runtime-id=rt-slots", "--max-running-workers=1", "--max-waiting-workers=1", "--max-workers=8"]


@pytest.fixture(autouse=True)
def _emptied(api: Api) -> None:
    """Each test has the slot and the catalog for itself."""
    for worker in api.get("/v1/workers")["workers"]:
        api.act(worker["worker_id"], "cancel")
        assert api.request("DELETE", f"/v1/workers/{worker['worker_id']}").status == 204
    runtime = api.get("/v1/runtime")["runtime"]
    assert runtime["reserved"]["task_slots"] == 0
    assert runtime["worker_count"] == runtime["waiting_worker_count"] == 0


@pytest.mark.trio
async def test_a_worker_without_a_slot_is_accepted_explained_and_started_later(served: Served) -> None:
    api = Api(served)
    first = await in_thread(api.create, "cat")
    second = await in_thread(api.create, "cat", initial_input={"content": "patience"})
    assert (second["status"], second["phase"], second["pid"]) == ("running", "accepted", None)
    path = f"/v1/workers/{second['worker_id']}"
    explanation = (await in_thread(api.get, f"{path}/explain"))["explanation"]
    assert explanation["phase"] == "accepted"
    assert "1 of 1" in explanation["summary"]
    waiting_for = explanation["waiting_for"]
    short_of = {"resource": "task_slots", "asked": 1, "available": 0, "bound": 1, "of": "capacity"}
    assert waiting_for["short_of"] == short_of
    assert {waiting_for[told]["task_slots"] for told in ("asked", "reserved", "capacity")} == {1}
    assert (waiting_for["tenant"], waiting_for["before_it"], waiting_for["tenants_before_it"]) == (
        None,
        0,
        [],
    )
    runtime = (await in_thread(api.get, "/v1/runtime"))["runtime"]
    assert runtime["waiting_worker_count"] == 1
    assert runtime["capacity"]["task_slots"] == runtime["reserved"]["task_slots"] == 1
    assert marked("rt-slots", second["worker_id"]) == set()

    async with observing(served, second["worker_id"], "earliest") as observer:
        await in_thread(api.say, second["worker_id"], "more")
        await in_thread(api.act, first["worker_id"], "stop")
        assert await observer.until_text("more\n") == "patience\nmore\n"
    assert (await in_thread(api.worker, second["worker_id"]))["phase"] == "running"
    explanation = (await in_thread(api.get, f"{path}/explain"))["explanation"]
    assert explanation["waiting_for"] is None


@pytest.mark.parametrize(("what", "status"), [("stop", "stopped"), ("cancel", "cancelled")])
def test_a_worker_that_waits_can_be_ended_and_never_runs(api: Api, what: str, status: str) -> None:
    api.create("cat")
    waiting = api.create("cat")["worker_id"]
    ack = api.act(waiting, what)
    assert (ack["status"], ack["phase"]) == (status, status)
    worker = api.worker(waiting)
    assert worker["started_at"] is None
    assert worker["exit"] == {"code": None, "signal": None, "reason": status}
    assert api.get("/v1/runtime")["runtime"]["waiting_worker_count"] == 0
    assert api.create("cat")["phase"] == "accepted"


def test_a_full_queue_refuses_and_says_when_to_come_back(api: Api) -> None:
    api.create("cat")
    api.create("cat")
    answer = api.request("POST", "/v1/workers", {"execution": {"program": "cat"}})
    assert (answer.status, answer.code) == (429, "resource_limit_exceeded")
    assert int(answer.headers["retry-after"]) >= 1
    assert "1" in answer.message
    assert len(api.get("/v1/workers")["workers"]) == 2


def test_a_passive_worker_needs_no_slot(api: Api) -> None:
    api.create("cat")
    api.create("cat")
    assert api.create()["phase"] == "running"


def test_a_full_catalog_refuses_until_one_is_removed(api: Api) -> None:
    workers = [api.create()["worker_id"] for _ in range(8)]
    answer = api.request("POST", "/v1/workers", {})
    assert (answer.status, answer.code) == (429, "resource_limit_exceeded")
    assert "8" in answer.message
    api.act(workers[0], "stop")
    assert api.request("DELETE", f"/v1/workers/{workers[0]}").status == 204
    api.create()


def test_a_failed_launch_gives_its_slot_back(api: Api) -> None:
    for _ in range(3):
        answer = api.request("POST", "/v1/workers", {"execution": {"program": "/no/such/program"}})
        assert answer.code == "launch_failed"
    assert api.create("cat")["phase"] == "running"


@pytest.mark.trio
async def test_a_launch_that_fails_after_a_wait_is_told_in_the_journal(served: Served) -> None:
    api = Api(served)
    first = await in_thread(api.create, "cat")
    waiting = (await in_thread(api.create, "/no/such/program"))["worker_id"]
    async with observing(served, waiting, "earliest") as observer:
        await in_thread(api.act, first["worker_id"], "cancel")
        ended = await observer.until("end")
    assert data_of(ended, "error")[0]["code"] == "launch_failed"
    assert "/no/such/program" in data_of(ended, "error")[0]["message"]
    assert data_of(ended, "exit") == [{"code": None, "signal": None, "reason": "launch_failed"}]
    assert data_of(ended, "status")[-1] == {"status": "stopped", "phase": "failed"}
    assert (await in_thread(api.create, "cat"))["phase"] == "running"
