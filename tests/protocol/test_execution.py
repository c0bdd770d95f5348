"""What to run: the task contract's rules of `execution`, `limits`, `sandbox`, `control_context`."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.base import ARGS_BYTES_MAX, ENV_BYTES_MAX, Wire
from watchglass.protocol.errors import InvalidRequest
from watchglass.protocol.execution import (
    ControlContext,
    ExecutionSpec,
    Limits,
    Policy,
    Sandbox,
    SandboxProfile,
    TaskLimits,
)
from watchglass.protocol.parsing import decode
from watchglass.protocol.workers import CreateWorkerRequest


def spec(**fields: Any) -> ExecutionSpec:
    return decode(ExecutionSpec, orjson.dumps(fields))


def refusal(model: type[Wire], **fields: Any) -> str:
    with pytest.raises(InvalidRequest) as refused:
        decode(model, orjson.dumps(fields))
    return str(refused.value)


def test_a_command_is_the_default_kind_and_needs_a_program() -> None:
    assert spec(program="cat").kind == "command"
    for fields in ({}, {"program": None}, {"program": ""}, {"program": " "}):
        assert "needs a program that is not blank" in refusal(ExecutionSpec, **fields)


def test_a_command_takes_no_script_but_a_blank_one() -> None:
    assert "takes no script" in refusal(ExecutionSpec, program="cat", script="true")
    assert spec(program="cat", script=" ").program == "cat"


def test_a_script_needs_a_script_and_takes_no_program_but_a_blank_one() -> None:
    assert spec(kind="script", script="true").interpreter == ["/bin/sh"]
    assert "needs a script that is not blank" in refusal(ExecutionSpec, kind="script")
    assert "takes no program" in refusal(ExecutionSpec, kind="script", script="true", program="cat")
    assert spec(kind="script", script="true", program="").script == "true"


def test_an_interpreter_that_is_given_is_not_empty() -> None:
    assert "interpreter: " in refusal(ExecutionSpec, kind="script", script="true", interpreter=[])
    assert "interpreter[0] must not be blank" in refusal(
        ExecutionSpec, kind="script", script="true", interpreter=[" ", "-u"]
    )


@pytest.mark.parametrize("name", ["", " ", "A=B", "=A"])
def test_the_name_of_a_variable_is_not_blank_and_has_no_equals_sign(name: str) -> None:
    assert "must not be blank and must not contain '='" in refusal(
        ExecutionSpec, program="env", env={name: "x"}
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"program": "ca\0t"},
        {"program": "cat", "args": ["a", "b\0"]},
        {"program": "cat", "env": {"A": "\0"}},
        {"program": "cat", "env": {"A\0": "x"}},
        {"program": "cat", "cwd": "/tmp\0"},
        {"kind": "script", "script": "\0"},
    ],
)
def test_no_text_for_the_operating_system_has_a_nul(fields: dict[str, Any]) -> None:
    assert "must not contain a NUL character" in refusal(ExecutionSpec, **fields)


def test_the_arguments_are_bounded_in_bytes() -> None:
    own_bytes = len("cat\0") + len("/bin/sh\0")
    room = ARGS_BYTES_MAX - own_bytes - 1
    assert len(spec(program="cat", args=["x" * room]).args[0]) == room
    told = refusal(ExecutionSpec, program="cat", args=["x" * (room - 1), "x"])
    assert f"have {ARGS_BYTES_MAX + 1} bytes, and {ARGS_BYTES_MAX} is the most" in told


def test_the_environment_is_bounded_in_bytes() -> None:
    room = ENV_BYTES_MAX - len("A\0") - 1
    assert spec(program="cat", env={"A": "x" * room}).env["A"]
    told = refusal(ExecutionSpec, program="cat", env={"A": "é" * (room // 2) + "xx"})
    assert f"and {ENV_BYTES_MAX} is the most" in told


@pytest.mark.parametrize("cwd", ["", " ", "relative", "./x"])
def test_a_working_directory_is_absolute(cwd: str) -> None:
    assert "cwd: " in refusal(ExecutionSpec, program="cat", cwd=cwd)


@given(st.dictionaries(st.sampled_from(["TOKEN", "KEY", "HOME"]), st.text("sk-01239", min_size=6)))
def test_a_redacted_spec_keeps_the_names_of_the_environment_and_no_value(env: dict[str, str]) -> None:
    shown = spec(program="cat", args=["-u"], env=env).redacted()
    assert shown.env == dict.fromkeys(env, "<redacted>")
    assert all(value not in shown.model_dump_json() for value in env.values())
    assert (shown.program, shown.args) == ("cat", ["-u"])


def test_a_task_has_default_limits_and_a_worker_has_none() -> None:
    assert set(Limits().model_dump().values()) == {None}
    assert TaskLimits().model_dump(exclude_none=True) == {
        "wall_time_ms": 300_000,
        "stdout_max_bytes": 4_194_304,
        "stderr_max_bytes": 4_194_304,
    }


@pytest.mark.parametrize("name", sorted(Limits.model_fields))
@pytest.mark.parametrize("value", [0, -1, 1 << 53, 1.5, "1", True])
def test_every_limit_is_a_positive_whole_number(name: str, value: object) -> None:
    assert f"{name}: " in refusal(Limits, **{name: value})


@pytest.mark.parametrize("path", ["/abs", "..", "a/../b", "../a", "a/..", ""])
def test_a_workspace_folder_stays_inside(path: str) -> None:
    assert "workspace_subdir: " in refusal(Sandbox, workspace_subdir=path)


def test_a_workspace_folder_may_be_nested() -> None:
    assert decode(Sandbox, '{"workspace_subdir": "a/b..c/.d"}').workspace_subdir == "a/b..c/.d"


@pytest.mark.parametrize(
    "fields",
    [
        {"chroot": True},
        {"chroot": True, "rootfs": "/srv/root"},
        {"chroot": True, "profile": "linux_sandbox"},
        {"chroot": True, "rootfs": "/srv/root", "profile": "process"},
    ],
)
def test_chroot_needs_a_rootfs_and_the_linux_sandbox(fields: dict[str, Any]) -> None:
    assert "chroot needs a rootfs and profile 'linux_sandbox'" in refusal(Sandbox, **fields)


def test_chroot_with_both_is_taken() -> None:
    sandbox = decode(Sandbox, '{"chroot": true, "rootfs": "/srv/root", "profile": "linux_sandbox"}')
    assert sandbox.profile is SandboxProfile.LINUX_SANDBOX


def test_namespaces_that_are_asked_for_unshare_all_but_the_network() -> None:
    sandbox = decode(Sandbox, '{"namespaces": {}}')
    assert sandbox.namespaces is not None
    assert sandbox.namespaces.model_dump() == {
        "mount": True,
        "pid": True,
        "uts": True,
        "ipc": True,
        "net": False,
    }


def test_the_capability_mode_is_the_server_s_unless_it_is_named() -> None:
    assert Policy().capability_mode is None
    assert decode(Policy, '{"capability_mode": "strict"}').capability_mode == "strict"


@given(st.dictionaries(st.text("abcxyz", min_size=1, max_size=4), st.text(max_size=4)))
def test_labels_and_metadata_come_back_in_key_order(texts: dict[str, str]) -> None:
    context = decode(ControlContext, orjson.dumps({"labels": texts}))
    assert list(context.labels.items()) == sorted(texts.items())
    request = decode(CreateWorkerRequest, orjson.dumps({"metadata": texts}))
    assert list(request.metadata.items()) == sorted(texts.items())


@pytest.mark.parametrize("name", ["control_plane_mode", "tenant", "owner", "expected_runtime_profile"])
def test_a_blank_text_of_the_control_context_is_refused(name: str) -> None:
    assert f"{name}: must not be blank" in refusal(ControlContext, **{name: " "})
