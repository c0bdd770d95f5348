"""The one table from faults to answers."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from watchglass.protocol import errors as faults
from watchglass.protocol.errors import RuntimeFault
from watchglass.server.errors import STATUS, error_body, error_headers

BY_CONTRACT = {
    "unauthorized": 401,
    "invalid_worker_id": 400,
    "invalid_request": 400,
    "invalid_json": 400,
    "invalid_query": 400,
    "limit_too_large": 400,
    "wrong_runtime": 400,
    "wrong_runtime_cursor": 400,
    "worker_not_found": 404,
    "runtime_stopped": 409,
    "store_io": 500,
    "store_missing": 500,
    "store_corrupt": 500,
    "state_poisoned": 500,
}


def test_every_fault_has_a_status() -> None:
    assert set(STATUS) == set(faults.faults())


def test_the_contracts_codes_have_the_contracts_status() -> None:
    ours = {fault.code: status for fault, status in STATUS.items()}
    assert {code: ours[code] for code in BY_CONTRACT} == BY_CONTRACT


def test_a_refusal_is_a_code_and_a_sentence() -> None:
    assert orjson.loads(error_body(faults.WorkerNotFound("w"))) == {
        "error": {"code": "worker_not_found", "message": "no worker 'w'"}
    }


@pytest.mark.parametrize(
    ("fault", "name", "value"),
    [
        (faults.Unauthorized(), "www-authenticate", 'Bearer realm="watchglass"'),
        (faults.InputBacklog("w", 2, 1), "retry-after", "1"),
        (faults.ResourceLimitExceeded("observers", 1), "retry-after", "1"),
        (faults.RangeNotSatisfiable("offset 3", 2), "content-range", "bytes */2"),
    ],
)
def test_a_status_brings_its_header(fault: RuntimeFault, name: str, value: Any) -> None:
    assert error_headers(fault)[name] == value
