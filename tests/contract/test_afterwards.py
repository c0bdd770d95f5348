"""What was acknowledged before `kill -9` of the server is there after it, and what was gone stays gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.api import Api
from support.feed import data_of, in_thread, journal, names, observing, text_of
from support.processes import wait_gone
from support.programs import program
from support.serving import Place, Served, durable_server

EVENTS = "/v1/events/batch"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with durable_server(tmp_path, "--grace-ms=300", runtime_id="rt-after") as place:
        yield place


def windows(api: Api, worker_id: str) -> list[Any]:
    """Every window of three entries of a transcript."""
    path = f"/v1/workers/{worker_id}/transcript"
    total = api.get(path)["transcript"]["total_items"]
    return [api.get(f"{path}?start={start}&limit=3")["transcript"] for start in range(total + 1)]


async def snapshot(served: Served, worker_id: str) -> Any:
    """What an observer is shown first, but where in the journal that is."""
    async with observing(served, worker_id) as observer:
        data = (await observer.event())["payload"]["data"]
    return {**data, "as_of": None}


async def details(served: Served, worker_id: str) -> Any:
    """A worker's detail, but where its journal ends: a process that is adopted has its status said again."""
    worker = await in_thread(Api(served).worker, worker_id)
    return worker if worker["pid"] is None else {**worker, "head": None, "last_event_id": None}


@pytest.mark.trio
async def test_transcripts_and_snapshots_are_the_same_before_and_after(place: Place) -> None:
    with place.serving() as served:
        api = Api(served)
        await in_thread(api.create, "cat", worker_id="open")
        await in_thread(api.create, *program("agent"), worker_id="agent", speech="jsonl")
        await in_thread(api.create, worker_id="passive")
        await in_thread(api.create, *program("lines", "x", 5), worker_id="ended")
        await journal(served, "ended")
        for worker_id in ("open", "agent", "passive"):
            for number in range(4):
                await in_thread(api.say, worker_id, f"line {number}", "user" if number % 2 else "system")
        calls = [
            {"event": "text_delta", "data": {"text": "not "}},
            {"event": "text_delta", "data": {"text": "finished"}},
            {"event": "tool_call_start", "data": {"id": "t", "name": "ls"}},
        ]
        await in_thread(api.post, "/v1/workers/passive/events", {"events": calls})
        async with observing(served, "open", "earliest") as observer:
            await observer.until_text("line 3\n")
        async with observing(served, "agent", "earliest") as observer:
            for _ in range(4):
                await observer.until("turn_end")
        ids = ("open", "agent", "passive", "ended")
        workers = [await details(served, worker_id) for worker_id in ids]
        seen = [await in_thread(windows, api, worker_id) for worker_id in ids]
        shown = [await snapshot(served, worker_id) for worker_id in ids]
        place.kill()
    with place.serving() as served:
        api = Api(served)
        assert [await snapshot(served, worker_id) for worker_id in ids] == shown
        assert [await in_thread(windows, api, worker_id) for worker_id in ids] == seen
        assert [await details(served, worker_id) for worker_id in ids] == workers
        place.drain()


@pytest.mark.trio
async def test_a_passive_worker_goes_on(place: Place) -> None:
    with place.serving() as served:
        api = Api(served)
        await in_thread(api.create, worker_id="w", initial_input={"content": "first"})
        said = [{"event": "mine", "data": {"n": number}} for number in range(3)]
        before = await in_thread(api.post, "/v1/workers/w/events", {"events": said})
        place.kill()
    with place.serving() as served:
        api = Api(served)
        async with observing(served, "w", before["first"]) as observer:
            await observer.event()
            assert (await in_thread(api.say, "w", "second"))["transcript_sequence"] == 2
            more = await in_thread(api.post, "/v1/workers/w/events", {"events": said})
            assert more["first"] > before["last"]
            got = await observer.until_true(lambda event: event["cursor"] == more["last"])
        assert names(got) == ["mine", "mine", "user_message", "mine", "mine", "mine"]
        await in_thread(api.act, "w", "stop")
        assert data_of(await journal(served, "w"), "exit")[0]["reason"] == "stopped"


def test_a_key_gets_the_same_worker_after_the_restart(place: Place) -> None:
    request, key = {"execution": {"program": "cat"}}, {"Idempotency-Key": "once"}

    def ask(api: Api, body: Any) -> Any:
        return api.request("POST", "/v1/workers", body, headers=key)

    with place.serving() as served:
        worker = ask(Api(served), request).json["worker"]
        place.kill()
    with place.serving() as served:
        again = ask(Api(served), request)
        assert again.json["worker"]["worker_id"] == worker["worker_id"]
        assert again.json["worker"]["pid"] == worker["pid"]
        assert (ask(Api(served), {}).status, ask(Api(served), {}).code) == (409, "idempotency_conflict")
        assert len(Api(served).get("/v1/workers")["workers"]) == 1
        place.drain()


def test_a_removed_worker_stays_removed(place: Place) -> None:
    with place.serving() as served:
        api = Api(served)
        for worker_id in ("gone", "kept", "again"):
            api.create(worker_id=worker_id)
            api.say(worker_id, "old")
            api.act(worker_id, "stop")
        for worker_id in ("gone", "again"):
            assert api.request("DELETE", f"/v1/workers/{worker_id}").status == 204
        api.create(worker_id="again")
        place.kill()
    with place.serving() as served:
        api = Api(served)
        assert [worker["worker_id"] for worker in api.get("/v1/workers")["workers"]] == ["kept", "again"]
        assert api.request("GET", "/v1/workers/gone").code == "worker_not_found"
        assert not place.worker_dir("gone").exists()
        assert (api.worker("again")["phase"], api.worker("again")["transcript_len"]) == ("running", 0)
        api.create(worker_id="gone")


def test_the_runtimes_own_events_go_on_from_their_cursor(place: Place) -> None:
    def read(api: Api, cursor: Any = None) -> tuple[list[Any], Any]:
        events: list[Any] = []
        while True:
            query = "" if cursor is None else f"?cursor={quote(json.dumps(cursor))}"
            batch = api.get(f"{EVENTS}{query}")
            events += batch["events"]
            cursor = batch["next_cursor"]
            if not batch["has_more"]:
                return events, cursor

    with place.serving() as served:
        api = Api(served)
        api.create(worker_id="w")
        first, cursor = read(api)
        api.say("w", "after the cursor")
        unread, _ = read(api, cursor)
        assert [event["kind"] for event in unread] == ["worker_input_accepted"]
        place.kill()
    with place.serving() as served:
        api = Api(served)
        api.act("w", "stop")
        later, _ = read(api, cursor)
        assert later[0] == unread[0]
        kinds = [event["kind"] for event in later]
        assert (kinds[0], kinds[-1]) == ("worker_input_accepted", "worker_stopped")
        assert kinds.count("runtime_started") == 1
        assert read(api)[0] == first + later
        ids = [event["id"] for event in first + later]
        assert ids == sorted(set(ids))


@pytest.mark.parametrize("durability", [pytest.param("os", marks=pytest.mark.soak), "fsync"])
def test_what_was_acknowledged_an_instant_before_the_kill_is_there(place: Place, durability: str) -> None:
    acks: dict[str, Any] = {}
    for life in range(2):
        with place.serving(f"--durability={durability}") as served:
            api = Api(served)
            worker_id = f"w{life}"
            api.create(worker_id=worker_id, metadata={"life": str(life)})
            acks[worker_id] = [api.say(worker_id, f"input {number}") for number in range(3)]
            place.kill()
    with place.serving(f"--durability={durability}") as served:
        api = Api(served)
        for life, (worker_id, told) in enumerate(acks.items()):
            assert api.worker(worker_id)["metadata"] == {"life": str(life)}
            assert api.worker(worker_id)["head"] == told[-1]["event_id"]
            items = api.get(f"/v1/workers/{worker_id}/transcript")["transcript"]["items"]
            assert [item["event_id"] for item in items] == [ack["event_id"] for ack in told]
        order = [ack["event_id"] for told in acks.values() for ack in told]
        assert order == sorted(set(order))


@pytest.mark.trio
async def test_a_cursor_that_retention_dropped_meanwhile_is_told_and_never_clamped(place: Place) -> None:
    with place.serving("--retain-events=100") as served:
        api = Api(served)
        worker = await in_thread(
            api.create, *program("events", "x", 500, "wait"), worker_id="w", speech="jsonl"
        )
        before = (await in_thread(api.worker, "w"))["head"]
        await in_thread(api.create, *program("lines", "y", 3), worker_id="quiet")
        quiet = await journal(served, "quiet")
        await in_thread(api.say, "w", "go")
        place.kill()
    await in_thread(wait_gone, worker["pid"])
    with place.serving("--retain-events=100") as served:
        kept = await journal(served, "w")
        assert len(kept) <= 100
        said = text_of(kept).splitlines()
        assert said == [f"x {number}" for number in range(500 - len(said), 500)]
        async with observing(served, "w", before) as observer:
            diagnostic = await observer.diagnostic()
        assert diagnostic["code"] == "runtime.cursor_unknown_or_expired"
        assert kept[0]["cursor"] in diagnostic["message"]
        assert await journal(served, "quiet") == quiet
