"""One key, one request, one worker."""

from __future__ import annotations

import pytest

from watchglass.protocol.errors import IdempotencyConflict
from watchglass.runtime.idempotency import KEYS_MAX, IdempotencyKeys

from support.workers import request_of

pytestmark = pytest.mark.asyncio


async def test_a_new_key_is_unknown_and_a_claimed_one_gives_the_same_worker() -> None:
    keys = IdempotencyKeys()
    assert keys.find("k", request_of()) is None
    claimed = keys.claim("k", request_of())
    found = keys.find("k", request_of())
    claimed.set_result("w")
    assert found is not None
    assert await found == "w"


async def test_the_same_key_with_another_request_is_a_conflict_that_names_the_key() -> None:
    keys = IdempotencyKeys()
    keys.claim("k", request_of())
    with pytest.raises(IdempotencyConflict, match="'k'"):
        keys.find("k", request_of(worker_id="other"))


async def test_a_request_is_the_same_however_its_objects_are_ordered() -> None:
    keys = IdempotencyKeys()
    env = {"A": "1", "B": "2"}
    keys.claim("k", request_of(execution={"program": "cat", "env": env}))
    turned = {"env": dict(reversed(env.items())), "program": "cat"}
    assert keys.find("k", request_of(execution=turned)) is not None


async def test_the_order_of_arguments_makes_another_request() -> None:
    keys = IdempotencyKeys()
    keys.claim("k", request_of(execution={"program": "cat", "args": ["a", "b"]}))
    with pytest.raises(IdempotencyConflict):
        keys.find("k", request_of(execution={"program": "cat", "args": ["b", "a"]}))


async def test_a_creation_that_failed_frees_its_key() -> None:
    keys = IdempotencyKeys()
    keys.claim("k", request_of())
    keys.forget("k")
    assert keys.find("k", request_of(worker_id="other")) is None
    keys.forget("k")


async def test_the_newest_keys_are_remembered() -> None:
    keys, request = IdempotencyKeys(), request_of()
    for number in range(KEYS_MAX + 1):
        keys.claim(f"k{number}", request)
    assert keys.find("k0", request) is None
    assert keys.find("k1", request) is not None
    assert keys.find(f"k{KEYS_MAX}", request) is not None
