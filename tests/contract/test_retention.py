"""What retention dropped is refused by name, and a chatty worker expires nobody else's events."""

from __future__ import annotations

import json
from urllib.parse import quote

from support.api import Api

FLAGS = ["--runtime-id=rt-retention", "--retain-events=8"]


def test_transcript_entries_behind_retention_are_refused(api: Api) -> None:
    worker_id = api.create()["worker_id"]
    for number in range(20):
        api.say(worker_id, str(number))
    path = f"/v1/workers/{worker_id}/transcript"
    kept = api.get(path)["transcript"]
    assert (kept["start"], kept["total_items"]) == (12, 20)
    assert [item["content"] for item in kept["items"]] == [str(number) for number in range(12, 20)]
    answer = api.request("GET", f"{path}?start=0")
    assert (answer.status, answer.code) == (410, "transcript_expired")
    assert "12" in answer.message


def test_runtime_events_behind_retention_are_refused(api: Api) -> None:
    first = api.get("/v1/events/batch?limit=1")
    for _ in range(20):
        api.create()
    cursor = quote(json.dumps(first["next_cursor"]))
    answer = api.request("GET", f"/v1/events/batch?cursor={cursor}")
    assert (answer.status, answer.code) == (410, "cursor_expired")


def test_a_chatty_worker_expires_nobody_elses_events(api: Api) -> None:
    quiet, chatty = api.create(), api.create()
    for number in range(20):
        api.say(chatty["worker_id"], str(number))
    assert api.worker(quiet["worker_id"])["oldest"] == quiet["oldest"]
    assert api.worker(chatty["worker_id"])["oldest"] > chatty["head"]
