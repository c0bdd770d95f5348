"""The runtime's own events, read in bounded batches from a cursor."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from support.api import Api

FLAGS = ["--runtime-id=rt-events", "--max-event-batch-items=3", "--max-transcript-projection-items=2"]

PATH = "/v1/events/batch"


def after(batch: Any) -> str:
    """The query that continues a batch."""
    return f"cursor={quote(json.dumps(batch['next_cursor']))}"


def all_events(api: Api) -> list[Any]:
    batch = api.get(PATH)
    events = batch["events"]
    while batch["has_more"]:
        batch = api.get(f"{PATH}?{after(batch)}")
        events += batch["events"]
    return list(events)


def test_a_runtime_tells_what_happens_to_its_workers(api: Api) -> None:
    stopped, cancelled = api.create(worker_id="stopped"), api.create(worker_id="cancelled")
    api.say("stopped", "hi")
    api.act("stopped", "stop")
    api.act("cancelled", "cancel")
    events = all_events(api)
    for event in events:
        assert set(event) == {"id", "worker_ref", "kind", "message"}
    assert [event["id"] for event in events] == sorted({event["id"] for event in events})
    assert events[0]["kind"] == "runtime_started"
    assert events[0]["worker_ref"] is None

    def told(worker: Any) -> list[str]:
        return [event["kind"] for event in events if event["worker_ref"] == worker["worker_ref"]]

    assert told(stopped) == ["worker_created", "worker_input_accepted", "worker_stopped"]
    assert told(cancelled) == ["worker_created", "worker_cancelled"]


def test_a_batch_is_bounded_and_says_where_to_read_on(api: Api) -> None:
    for _ in range(4):
        api.create()
    first = api.get(PATH)
    assert set(first) == {"events", "next_cursor", "has_more"}
    assert set(first["next_cursor"]) == {"runtime_id", "next_event_id"}
    assert first["next_cursor"]["runtime_id"] == "rt-events"
    assert len(first["events"]) == 3
    assert first["has_more"] is True
    one = api.get(f"{PATH}?limit=1&{after(first)}")
    assert len(one["events"]) == 1
    assert one["events"][0]["id"] >= first["next_cursor"]["next_event_id"]


def test_a_reader_that_has_everything_gets_an_empty_batch_and_then_what_is_new(api: Api) -> None:
    batch = api.get(PATH)
    while batch["has_more"]:
        batch = api.get(f"{PATH}?{after(batch)}")
    empty = api.get(f"{PATH}?{after(batch)}")
    assert (empty["events"], empty["has_more"]) == ([], False)
    worker = api.create()
    fresh = api.get(f"{PATH}?{after(empty)}")
    assert [(event["kind"], event["worker_ref"]) for event in fresh["events"]] == [
        ("worker_created", worker["worker_ref"])
    ]


def test_the_limits_that_were_set_are_told_and_hold(api: Api) -> None:
    limits = api.get("/v1/runtime")["runtime"]["limits"]
    assert limits == {"max_transcript_projection_items": 2, "max_event_batch_items": 3}
    worker_id = api.create()["worker_id"]
    for number in range(3):
        api.say(worker_id, str(number))
    transcript = api.get(f"/v1/workers/{worker_id}/transcript")["transcript"]
    assert (transcript["limit"], transcript["next_start"]) == (2, 2)
    assert api.request("GET", f"/v1/workers/{worker_id}/transcript?limit=3").code == "limit_too_large"
    assert api.request("GET", f"{PATH}?limit=4").code == "limit_too_large"


def test_a_cursor_of_another_runtime_is_refused(api: Api) -> None:
    foreign = quote(json.dumps({"runtime_id": "rt-other", "next_event_id": 1}))
    answer = api.request("GET", f"{PATH}?cursor={foreign}")
    assert (answer.status, answer.code) == (400, "wrong_runtime_cursor")
    assert "rt-other" in answer.message
