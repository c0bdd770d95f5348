"""A creation that is sent again with its `Idempotency-Key` makes one worker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from support.api import Api
from support.patience import PATIENCE_S

REQUEST = {"execution": {"program": "cat"}, "metadata": {"a": "1", "b": "2"}}


def create(api: Api, key: str, request: object = None) -> str:
    answer = api.request("POST", "/v1/workers", request or REQUEST, headers={"Idempotency-Key": key})
    assert answer.status == 200, answer
    return str(answer.json["worker"]["worker_id"])


def test_the_same_key_with_the_same_request_gets_the_same_worker(api: Api) -> None:
    first = create(api, "same")
    assert create(api, "same") == first
    reordered = {"metadata": {"b": "2", "a": "1"}, "execution": {"program": "cat"}}
    assert create(api, "same", reordered) == first
    api.act(first, "cancel")
    assert create(api, "same") == first


def test_the_same_key_with_another_request_is_refused(api: Api) -> None:
    create(api, "other")
    answer = api.request("POST", "/v1/workers", {}, headers={"Idempotency-Key": "other"})
    assert (answer.status, answer.code) == (409, "idempotency_conflict")
    assert "other" in answer.message


def test_another_key_gets_another_worker(api: Api) -> None:
    assert create(api, "one") != create(api, "two")


def test_many_at_once_with_one_key_make_one_worker(api: Api) -> None:
    barrier = Barrier(16)
    before = len(api.get("/v1/workers")["workers"])

    def at_once(_number: int) -> str:
        barrier.wait(PATIENCE_S)
        return create(api, "at once")

    with ThreadPoolExecutor(16) as pool:
        made = set(pool.map(at_once, range(16)))
    assert len(made) == 1
    assert len(api.get("/v1/workers")["workers"]) == before + 1


def test_a_creation_that_failed_frees_its_key(api: Api) -> None:
    broken = {"execution": {"program": "/no/such/program"}}
    for _ in range(2):
        answer = api.request("POST", "/v1/workers", broken, headers={"Idempotency-Key": "free"})
        assert answer.code == "launch_failed"
    assert create(api, "free")
