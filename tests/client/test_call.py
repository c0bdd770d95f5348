"""A call and its answer, without a connection: what is sent, what is read, what may be sent again."""

from __future__ import annotations

import json

import pytest

from watchglass.client import calls
from watchglass.client.call import Answer, Call, worker_path
from watchglass.client.faults import ApiError, BadAnswer, Unreachable
from watchglass.protocol.workers import CreateWorkerRequest, TaskIntent


def answer(status: int, body: object, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, "Said", named, json.dumps(body).encode())


def test_a_refusal_keeps_its_code_its_status_and_when_to_come_back() -> None:
    refusal = answer(429, {"error": {"code": "input_backlog", "message": "full"}}, retry_after="7")
    with pytest.raises(ApiError, match="full") as caught:
        calls.runtime().read(refusal)
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (429, "input_backlog", 7.0)


def test_a_refusal_by_somebody_else_is_one_too() -> None:
    with pytest.raises(ApiError) as caught:
        calls.runtime().read(Answer(502, "Bad Gateway", {}, b"<html>"))
    assert (caught.value.code, caught.value.retry_after_s) == ("http_502", None)


@pytest.mark.parametrize("body", [{}, [], None, {"runtime": {"runtime_id": 1}}])
def test_what_is_no_answer_of_a_runtime_is_told_so(body: object) -> None:
    with pytest.raises(BadAnswer, match="/v1/runtime"):
        calls.runtime().read(answer(200, body))


@pytest.mark.parametrize(
    ("call", "stage", "moved", "again"),
    [
        (calls.runtime(), "lost", False, True),
        (calls.runtime(), "late", False, False),
        (calls.runtime(), "unsent", False, False),
        (calls.runtime(), "unsent", True, True),
        (calls.create_worker(), "lost", False, True),
        (calls.stop("wk"), "lost", False, True),
        (calls.send_input("wk", "once"), "lost", True, False),
        (calls.send_input("wk", "once"), "unsent", True, True),
        (calls.append_events("wk", [("tick", {})]), "lost", False, False),
        (calls.remove_worker("wk"), "lost", False, False),
    ],
)
def test_what_may_be_sent_again(call: Call[object], stage: str, moved: bool, again: bool) -> None:
    fault = Unreachable("http://h", "gone", stage)  # type: ignore[arg-type]  # The table names them.
    assert call.may_repeat(fault, moved=moved) is again


def test_every_creation_has_a_key_of_its_own_unless_one_is_given() -> None:
    keys = {calls.create_worker().headers["Idempotency-Key"] for _ in range(10)}
    assert len(keys) == 10
    assert calls.create_worker(idempotency_key="mine").headers["Idempotency-Key"] == "mine"


def test_words_go_before_the_request_they_come_with() -> None:
    request = CreateWorkerRequest(intent=TaskIntent(objective="count"), worker_id="theirs")
    call = calls.create_worker(request, program="/bin/true", worker_id="mine")
    assert call.content is not None
    sent = CreateWorkerRequest.model_validate_json(call.content)
    assert (sent.worker_id, sent.intent) == ("mine", request.intent)
    assert sent.execution is not None
    assert sent.execution.program == "/bin/true"


def test_a_list_is_asked_for_by_labels_and_page() -> None:
    call = calls.list_workers(status="running", labels={"team": "blue", "é": "&"}, limit=2, after="wk-1")
    assert call.target == "/v1/workers?status=running&label=team%3Dblue&label=%C3%A9%3D%26&limit=2&after=wk-1"


@pytest.mark.parametrize("worker_id", ["", " ", "..", "a/b", "x" * 129])
def test_what_can_be_no_worker_id_is_refused_before_it_is_sent(worker_id: str) -> None:
    with pytest.raises(ApiError) as caught:
        calls.worker(worker_id)
    assert caught.value.code == "invalid_worker_id"
    assert ".." not in worker_path("a/../b").split("/")


def test_a_piece_of_a_log_knows_its_place() -> None:
    call = calls.read_log("wk", "stderr", offset=2, limit=3)
    assert call.target == "/v1/workers/wk/logs/stderr?offset=2&limit=3"
    piece = call.read(Answer(200, "OK", {"content-range": "bytes 2-4/9"}, b"abc"))
    assert (piece.offset, piece.next_offset, piece.size_bytes) == (2, 5, 9)
    nothing = call.read(Answer(200, "OK", {"content-range": "bytes */2"}, b""))
    assert (nothing.content, nothing.offset, nothing.next_offset) == (b"", 2, 2)
    with pytest.raises(BadAnswer):
        call.read(Answer(200, "OK", {}, b"abc"))
