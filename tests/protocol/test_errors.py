"""Every fault has a code of its own and names its facts."""

from __future__ import annotations

import errno
import inspect
from collections import Counter
from typing import Any

import pytest

from watchglass.protocol.errors import (
    ArchiveInvalid,
    CursorExpired,
    CursorUnknown,
    InvalidJson,
    InvalidRequest,
    LaunchFailed,
    RangeNotSatisfiable,
    RuntimeFault,
    StoreIo,
    faults,
    shown,
)

FAULTS = [pytest.param(fault, id=fault.code) for fault in faults()]
CONTRACT_CODES = {
    "unauthorized",
    "invalid_worker_id",
    "invalid_request",
    "invalid_json",
    "invalid_query",
    "limit_too_large",
    "wrong_runtime",
    "wrong_runtime_cursor",
    "worker_not_found",
    "runtime_stopped",
    "store_io",
    "store_missing",
    "store_corrupt",
    "state_poisoned",
}


def facts_of(fault: type[RuntimeFault]) -> dict[str, Any]:
    """One distinct value for each fact that a fault takes."""
    if fault in {InvalidRequest, InvalidJson}:
        return {}
    parameters = inspect.signature(fault.__init__).parameters.values()
    return {
        parameter.name: 4000 + place if parameter.annotation == "int" else f"the-{parameter.name}"
        for place, parameter in enumerate(parameters)
        if parameter.name != "self"
    } | ({"error_number": errno.ENOENT} if issubclass(fault, LaunchFailed) else {})


def test_codes_are_unique_and_written_in_snake_case() -> None:
    counted = Counter(fault.code for fault in faults())
    assert [code for code, count in counted.items() if count > 1] == []
    assert all(code == code.lower() and code.replace("_", "").isalpha() for code in counted)


def test_the_codes_of_the_contract_keep_their_words() -> None:
    assert {fault.code for fault in faults()} >= CONTRACT_CODES


@pytest.mark.parametrize("fault", FAULTS)
def test_a_message_names_every_fact(fault: type[RuntimeFault]) -> None:
    facts = facts_of(fault)
    message = str(fault(**facts) if "__init__" in vars(fault) or facts else fault("said"))
    for value in facts.values():
        assert ("ENOENT" if value == errno.ENOENT else str(value)) in message
    assert message


@pytest.mark.parametrize("fault", FAULTS)
def test_the_facts_are_attributes(fault: type[RuntimeFault]) -> None:
    facts = facts_of(fault)
    assert vars(fault(**facts)) == facts


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_says_in_its_docstring_what_is_wrong(fault: type[RuntimeFault]) -> None:
    assert fault.__doc__
    assert fault.__doc__.strip().endswith(".")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_message_stays_short_however_long_a_caller_s_value_is(fault: type[RuntimeFault]) -> None:
    facts = {
        name: "x" * 10_000 if isinstance(value, str) and name in {"value", "asked", "key", "host"} else value
        for name, value in facts_of(fault).items()
    }
    if fault not in {RangeNotSatisfiable, CursorUnknown, CursorExpired}:  # What they show was parsed before.
        assert len(str(fault(**facts))) < 500


def test_a_shown_value_is_quoted_and_tells_when_it_is_cut() -> None:
    assert shown("a\nb") == "'a\\nb'"
    assert shown("x" * 1000).endswith("… (1002 characters)")
    assert len(shown("x" * 1000)) < 120


@pytest.mark.parametrize("fault", [StoreIo("read", "/a/\udcff", "\udcfe"), ArchiveInvalid("w/\udcff", "no")])
def test_a_name_that_is_no_utf_8_can_be_told_in_an_answer(fault: RuntimeFault) -> None:
    assert "\\udcff" in str(fault)
    for fact in (str(fault), *vars(fault).values()):
        assert str(fact).encode()


def test_an_unknown_error_number_is_shown_as_it_is() -> None:
    assert "(9999)" in str(LaunchFailed("exec", "/bin/x", 9999))
