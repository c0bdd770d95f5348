"""Every endpoint's answer has exactly the contract's fields and the additions that the docs name."""

from __future__ import annotations

import re
from typing import Any

import pytest

from support.api import Api
from support.processes import wait_true
from support.serving import Served

FLAGS = ["--runtime-id=rt-answers", "--display-name=the answers"]

CURSOR = re.compile(r"wo_[0-9a-f]{16}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

RUNTIME_FIELDS = {
    "runtime_id",
    "display_name",
    "backend",
    "status",
    "worker_count",
    "active_worker_count",
    "stopped_worker_count",
    "cancelled_worker_count",
    "diagnostic_count",
    "limits",
}
RUNTIME_ADDED = {
    "version",
    "started_at",
    "durability",
    "keep_workers",
    "capacity",
    "reserved",
    "waiting_worker_count",
    "observer_count",
}
BOTH_FIELDS = {
    "worker_ref",
    "runtime_id",
    "worker_id",
    "status",
    "intent",
    "profile",
    "transcript_len",
    "last_event_id",
}
BOTH_ADDED = {
    "face",
    "phase",
    "created_at",
    "started_at",
    "finished_at",
    "exit",
    "head",
    "oldest",
    "metadata",
    "reservation",
}
SUMMARY_FIELDS = BOTH_FIELDS | {"requested_capability_count", "has_config_bundle"}
SUMMARY_ADDED = BOTH_ADDED | {"program", "tenant"}
DETAIL_FIELDS = BOTH_FIELDS | {"config_bundle", "requested_capabilities", "workspace_refs", "mount_refs"}
DETAIL_ADDED = BOTH_ADDED | {
    "speech",
    "execution",
    "limits",
    "control_context",
    "execution_plan",
    "reserved_at",
    "usage",
    "pid",
    "input_backlog_bytes",
}


def ref(worker: Any) -> dict[str, str]:
    return {"runtime_id": "rt-answers", "worker_id": worker["worker_id"]}


def test_a_runtime_describes_itself(api: Api) -> None:
    answer = api.get("/v1/runtime")
    assert set(answer) == {"runtime"}
    runtime = answer["runtime"]
    assert set(runtime) == RUNTIME_FIELDS | RUNTIME_ADDED
    assert runtime["runtime_id"] == "rt-answers"
    assert runtime["display_name"] == "the answers"
    assert runtime["backend"] == "memory"
    assert runtime["status"] == "running"
    assert runtime["limits"] == {"max_transcript_projection_items": 256, "max_event_batch_items": 256}
    assert runtime["durability"] == "none"


def test_a_runtime_counts_its_workers_by_status(api: Api) -> None:
    before = api.get("/v1/runtime")["runtime"]
    stopped, cancelled, _active = api.create(), api.create(), api.create()
    api.act(stopped["worker_id"], "stop")
    api.act(cancelled["worker_id"], "cancel")
    after = api.get("/v1/runtime")["runtime"]
    grown = {name: after[name] - before[name] for name in after if name.endswith("worker_count")}
    assert grown == {
        "worker_count": 3,
        "active_worker_count": 1,
        "stopped_worker_count": 1,
        "cancelled_worker_count": 1,
        "waiting_worker_count": 0,
    }


def test_a_worker_of_an_empty_request_has_the_defaults_of_the_contract(api: Api) -> None:
    answer = api.post("/v1/workers", {})
    assert set(answer) == {"worker"}
    worker = answer["worker"]
    assert set(worker) == DETAIL_FIELDS | DETAIL_ADDED
    assert worker["worker_ref"] == ref(worker)
    assert worker["runtime_id"] == "rt-answers"
    assert worker["status"] == "running"
    assert worker["phase"] == "running"
    assert worker["intent"] == {"kind": "assistant", "purpose": None}
    assert worker["profile"] == {"kind": "runtime_default"}
    assert worker["config_bundle"] is None
    assert worker["requested_capabilities"] == worker["workspace_refs"] == worker["mount_refs"] == []
    assert worker["transcript_len"] == 0
    assert worker["speech"] == "text"
    assert worker["execution"] is None
    assert worker["pid"] is None
    assert CURSOR.fullmatch(worker["last_event_id"])
    assert TIME.fullmatch(worker["created_at"])


@pytest.mark.parametrize(
    "intent",
    [
        {"kind": "assistant", "purpose": "to help"},
        {"kind": "task", "objective": "count"},
        {"kind": "role", "role": "critic", "purpose": None},
        {"kind": "role", "role": "critic", "purpose": "to doubt"},
    ],
)
def test_every_intent_is_kept_and_shown(api: Api, intent: dict[str, str]) -> None:
    assert api.create(intent=intent)["intent"] == intent


@pytest.mark.parametrize(
    "profile",
    [
        {"kind": "runtime_default"},
        {"kind": "builtin", "value": "coder"},
        {"kind": "named", "value": "mine"},
    ],
)
def test_every_profile_is_kept_and_shown(api: Api, profile: dict[str, str]) -> None:
    assert api.create(profile=profile)["profile"] == profile


def test_what_a_worker_is_for_is_kept_and_shown(api: Api) -> None:
    asked: Any = {
        "config_bundle": {"id": "bundle-7"},
        "requested_capabilities": [
            {"name": "web", "reason": "to read"},
            {"name": "shell", "reason": None},
        ],
        "workspace_refs": [{"name": "src", "reference": "git:main"}],
        "mount_refs": [{"name": "data", "reference": "/srv/data"}],
        "metadata": {"ticket": "42"},
    }
    worker = api.create(**asked)
    assert {name: worker[name] for name in asked} == asked
    listed = next(
        listed for listed in api.get("/v1/workers")["workers"] if listed["worker_id"] == worker["worker_id"]
    )
    assert listed["requested_capability_count"] == 2
    assert listed["has_config_bundle"] is True
    assert listed["metadata"] == {"ticket": "42"}


def test_a_worker_is_shown_as_it_was_created(api: Api) -> None:
    created = api.create(metadata={"a": "b"})
    assert api.worker(created["worker_id"]) == created


def test_a_list_has_the_summary_of_every_worker_in_order_of_creation(api: Api) -> None:
    created = [api.create()["worker_id"] for _ in range(3)]
    answer = api.get("/v1/workers")
    assert set(answer) == {"workers", "next_after"}
    assert answer["next_after"] is None
    assert [worker["worker_id"] for worker in answer["workers"]][-3:] == created
    assert sorted(created) == created
    for worker in answer["workers"]:
        assert set(worker) == SUMMARY_FIELDS | SUMMARY_ADDED
        assert worker["worker_ref"] == ref(worker)


def test_a_list_is_filtered_and_paged(api: Api) -> None:
    labels = {"labels": {"team": "pages", "x": "1=2"}}
    created = [api.create(control_context=labels)["worker_id"] for _ in range(5)]
    api.act(created[0], "stop")

    def listed(query: str) -> tuple[list[str], str | None]:
        answer = api.get(f"/v1/workers?label=team=pages&{query}")
        return [worker["worker_id"] for worker in answer["workers"]], answer["next_after"]

    assert listed("") == (created, None)
    assert listed("status=running") == (created[1:], None)
    assert listed("phase=stopped") == (created[:1], None)
    assert listed("label=x=1%3D2") == (created, None)
    assert listed("label=x=3") == ([], None)
    assert listed("limit=2") == (created[:2], created[1])
    assert listed(f"limit=2&after={created[1]}") == (created[2:4], created[3])
    assert listed(f"limit=2&after={created[3]}") == (created[4:], None)


def test_a_worker_may_have_the_id_that_its_creator_chose(api: Api) -> None:
    worker = api.create(worker_id="My.own_worker-1")
    assert worker["worker_id"] == "My.own_worker-1"
    assert api.worker("My.own_worker-1")["worker_ref"] == ref(worker)


def test_unknown_fields_are_ignored(api: Api) -> None:
    worker = api.create(hue="blue", intent={"kind": "assistant", "mood": 1}, limits={"gold": 3})
    assert set(worker) == DETAIL_FIELDS | DETAIL_ADDED
    worker_id = worker["worker_id"]
    ack = api.post(f"/v1/workers/{worker_id}/input", {"kind": "user", "content": "hi", "volume": 11})["ack"]
    assert ack["transcript_sequence"] == 1
    assert api.act(worker_id, "stop", {"reason": "r", "more": [1]})["status"] == "stopped"


def test_an_input_is_acknowledged_with_its_place_in_the_transcript(api: Api) -> None:
    worker = api.create()
    first = api.say(worker["worker_id"], "one")
    second = api.say(worker["worker_id"], "two", kind="system")
    for sequence, ack in enumerate([first, second], start=1):
        assert set(ack) == {"worker_ref", "status", "transcript_sequence", "event_id"}
        assert ack["worker_ref"] == ref(worker)
        assert ack["status"] == "running"
        assert ack["transcript_sequence"] == sequence
    assert worker["last_event_id"] < first["event_id"] < second["event_id"]
    assert api.worker(worker["worker_id"])["last_event_id"] == second["event_id"]


def test_the_initial_input_is_the_first_entry(api: Api) -> None:
    worker = api.create(initial_input={"kind": "system", "content": "be kind"})
    assert worker["transcript_len"] == 1
    transcript = api.get(f"/v1/workers/{worker['worker_id']}/transcript")["transcript"]
    assert [(item["role"], item["content"]) for item in transcript["items"]] == [("system", "be kind")]


def test_a_transcript_is_read_in_windows(api: Api) -> None:
    worker = api.create()
    worker_id = worker["worker_id"]
    acks = [api.say(worker_id, f"entry {number}") for number in range(5)]

    whole = api.get(f"/v1/workers/{worker_id}/transcript")
    assert set(whole) == {"transcript"}
    transcript = whole["transcript"]
    assert set(transcript) == {
        "worker_ref",
        "start",
        "limit",
        "total_items",
        "items",
        "next_start",
        "in_flight",  # Ours.
    }
    assert (transcript["start"], transcript["limit"], transcript["total_items"]) == (0, 256, 5)
    assert transcript["next_start"] is None
    assert transcript["items"] == [
        {
            "sequence": number + 1,
            "worker_ref": ref(worker),
            "role": "user",
            "content": f"entry {number}",
            "event_id": acks[number]["event_id"],
        }
        for number in range(5)
    ]

    window = api.get(f"/v1/workers/{worker_id}/transcript?start=1&limit=2")["transcript"]
    assert [item["sequence"] for item in window["items"]] == [2, 3]
    assert window["next_start"] == 3
    rest = api.get(f"/v1/workers/{worker_id}/transcript?start=3&limit=2")["transcript"]
    assert [item["sequence"] for item in rest["items"]] == [4, 5]
    assert rest["next_start"] is None
    behind = api.get(f"/v1/workers/{worker_id}/transcript?start=99")["transcript"]
    assert behind["items"] == []
    assert behind["next_start"] is None


@pytest.mark.parametrize(("what", "status"), [("stop", "stopped"), ("cancel", "cancelled")])
def test_an_end_is_acknowledged_and_repeating_it_changes_nothing(api: Api, what: str, status: str) -> None:
    worker = api.create()
    worker_id = worker["worker_id"]
    ack = api.act(worker_id, what, {"reason": "enough"})
    assert set(ack) == {"worker_ref", "status", "event_id", "phase"}
    assert ack["worker_ref"] == ref(worker)
    assert ack["status"] == ack["phase"] == status
    assert api.act(worker_id, what) == ack
    assert api.act(worker_id, "stop") == ack
    assert api.act(worker_id, "cancel") == ack
    assert api.worker(worker_id)["last_event_id"] == ack["event_id"]


@pytest.mark.parametrize("body", [None, b"", {}, {"reason": None}, {"reason": ""}])
def test_the_body_of_a_stop_is_optional(api: Api, body: Any) -> None:
    worker_id = api.create()["worker_id"]
    assert api.act(worker_id, "stop", body)["status"] == "stopped"


def test_a_worker_ref_in_a_body_may_name_the_worker_again(api: Api) -> None:
    worker = api.create()
    worker_id = worker["worker_id"]
    said = {"kind": "user", "content": "hi", "worker_ref": ref(worker)}
    assert api.post(f"/v1/workers/{worker_id}/input", said)["ack"]["transcript_sequence"] == 1
    assert api.act(worker_id, "stop", {"worker_ref": ref(worker)})["status"] == "stopped"


def test_a_producer_appends_events_to_a_passive_worker(api: Api) -> None:
    worker_id = api.create()["worker_id"]
    events = [
        {"event": "turn_start", "data": {"turn": 1}},
        {"event": "text_done", "data": {"text": "hello", "extra": True}},
        {"event": "of_my_own", "data": {"deep": [{"er": None}]}},
    ]
    answer = api.post(f"/v1/workers/{worker_id}/events", {"events": events})
    assert set(answer) == {"first", "last"}
    assert answer["first"] < answer["last"] == api.worker(worker_id)["head"]
    transcript = api.get(f"/v1/workers/{worker_id}/transcript")["transcript"]
    assert [(item["role"], item["content"]) for item in transcript["items"]] == [("assistant", "hello")]


def test_an_ended_worker_can_be_forgotten(api: Api) -> None:
    worker_id = api.create()["worker_id"]
    api.act(worker_id, "stop")
    answer = api.request("DELETE", f"/v1/workers/{worker_id}")
    assert (answer.status, answer.body) == (204, b"")
    assert api.request("GET", f"/v1/workers/{worker_id}").code == "worker_not_found"
    assert api.request("DELETE", f"/v1/workers/{worker_id}").code == "worker_not_found"
    assert api.create(worker_id=worker_id)["worker_id"] == worker_id


def test_a_worker_explains_where_it_is(api: Api) -> None:
    worker = api.create()
    answer = api.get(f"/v1/workers/{worker['worker_id']}/explain")
    assert set(answer) == {"explanation"}
    explanation = answer["explanation"]
    assert set(explanation) == {"worker_ref", "phase", "summary", "waiting_for", "store_fault"}
    assert explanation["worker_ref"] == ref(worker)
    assert explanation["phase"] == "running"
    assert explanation["summary"]


def test_a_process_is_shown_without_its_secrets(api: Api) -> None:
    worker = api.create("cat", execution={"env": {"API_KEY": "geheim-123"}})
    assert worker["execution"]["program"] == "cat"
    assert worker["execution"]["env"] == {"API_KEY": "<redacted>"}
    assert isinstance(worker["pid"], int)
    plan = worker["execution_plan"]
    assert plan["capability_mode"] == "adaptive"
    assert plan["degraded"] is False
    worker_id = worker["worker_id"]
    for path in ("/v1/workers", f"/v1/workers/{worker_id}", f"/v1/workers/{worker_id}/explain", "/metrics"):
        assert b"geheim" not in api.request("GET", path).body
    api.act(worker_id, "cancel")
    ended = api.worker(worker_id)
    assert ended["exit"] == {"code": None, "signal": 9, "reason": "cancelled"}
    assert ended["pid"] is None
    assert ended["started_at"] <= ended["finished_at"]
    assert ended["usage"]["duration_ms"] >= 0


def test_a_log_is_read_whole_and_in_pieces(api: Api, served: Served) -> None:
    worker = api.create("sh", "-c", "printf 0123456789; printf warn >&2; exec sleep 600")
    worker_id = worker["worker_id"]
    path = f"/v1/workers/{worker_id}/logs"
    wait_true(lambda: api.log(worker_id) + api.log(worker_id, "stderr") == b"0123456789warn", "it speaks")
    api.act(worker_id, "stop")

    whole = api.request("GET", f"{path}/stdout")
    assert (whole.status, whole.body) == (200, b"0123456789")
    assert whole.headers["content-range"] == "bytes 0-9/10"
    assert whole.headers["content-type"] == "application/octet-stream"
    assert api.request("GET", f"{path}/stderr").body == b"warn"

    middle = api.request("GET", f"{path}/stdout?offset=3&limit=4")
    assert (middle.body, middle.headers["content-range"]) == (b"3456", "bytes 3-6/10")
    at_the_end = api.request("GET", f"{path}/stdout?offset=10")
    assert (at_the_end.status, at_the_end.body) == (200, b"")

    for asked, status, body, told in [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=1-2,4-5", 200, b"0123456789", "bytes 0-9/10"),
        ("lines=1-2", 200, b"0123456789", "bytes 0-9/10"),
    ]:
        ranged = api.request("GET", f"{path}/stdout", headers={"Range": asked})
        assert (ranged.status, ranged.body, ranged.headers["content-range"]) == (status, body, told), asked


def test_creating_a_worker_leaves_the_diagnostics_of_the_contract(api: Api) -> None:
    bare = api.create()
    rich = api.create(config_bundle={"id": "b"}, requested_capabilities=[{"name": "c"}])
    answer = api.get("/v1/diagnostics")
    assert set(answer) == {"diagnostics"}
    for diagnostic in answer["diagnostics"]:
        assert set(diagnostic) == {"id", "severity", "code", "message", "worker_ref"}
    told = [
        (note["severity"], note["code"]) for note in answer["diagnostics"] if note["worker_ref"] == ref(bare)
    ]
    assert told == [("info", "runtime.local_default_resources"), ("info", "worker.tools_less")]
    assert not [note for note in answer["diagnostics"] if note["worker_ref"] == ref(rich)]
    assert api.get("/v1/runtime")["runtime"]["diagnostic_count"] == len(answer["diagnostics"])
