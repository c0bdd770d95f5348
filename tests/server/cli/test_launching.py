"""From a command line to a request: what `create -- python agent.py` means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.runtime import executor
from watchglass.server.cli.confining import INSIDE_WORKSPACE, Confinement
from watchglass.server.cli.faults import CliError, UsageFault
from watchglass.server.cli.launching import Launch, create_request, found_program, pairs

ENVIRON = {"PATH": "/usr/bin:/bin", "HOME": "/home/me", "KEY": "k"}


def request_of(**asked: object) -> dict[str, object]:
    return create_request(Launch(environ=ENVIRON, **asked))  # type: ignore[arg-type]


def execution_of(**asked: object) -> dict[str, object]:
    execution = request_of(**asked)["execution"]
    assert isinstance(execution, dict)
    return execution


def test_the_program_is_found_on_the_callers_path_and_runs_in_the_callers_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    execution = execution_of(command=["sh", "agent.sh"])
    assert Path(str(execution["program"])).name == "sh"
    assert str(execution["program"]).startswith("/")
    assert execution["args"] == ["agent.sh"]
    assert execution["cwd"] == str(tmp_path)


def test_a_program_of_this_folder_is_sent_with_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = tmp_path / "agent"
    agent.write_text("#!/bin/sh\n")
    agent.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert execution_of(command=["./agent"])["program"] == str(agent)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to("/bin/sh")
    assert found_program("python", str(tmp_path)) == str(tmp_path / "python")


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="no program 'nonesuch' on your PATH"):
        found_program("nonesuch", str(tmp_path))
    with pytest.raises(CliError, match=r"no program '\./nonesuch' here"):
        found_program("./nonesuch", str(tmp_path))


def test_an_absolute_program_is_for_the_runtime_to_find() -> None:
    assert found_program("/only/there", None) == "/only/there"


def test_of_the_environment_a_worker_gets_the_path_and_what_is_named() -> None:
    assert execution_of(command=["sh"])["env"] == {"PATH": ENVIRON["PATH"]}
    assert execution_of(command=["sh"], env=["KEY", "NEW=1=2", "EMPTY="])["env"] == {
        "PATH": ENVIRON["PATH"],
        "KEY": "k",
        "NEW": "1=2",
        "EMPTY": "",
    }


def test_an_env_file_has_one_variable_a_line(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# secrets\n\nA=1\nKEY\nB=x y\n")
    env = execution_of(command=["sh"], env_files=[file], env=["A=2"])["env"]
    assert env == {"PATH": ENVIRON["PATH"], "A": "2", "KEY": "k", "B": "x y"}


def test_a_script_is_sent_as_it_is(tmp_path: Path) -> None:
    script = tmp_path / "do.sh"
    script.write_text("echo $1\n")
    execution = execution_of(script=str(script), command=["one"])
    assert (execution["kind"], execution["script"], execution["args"]) == ("script", "echo $1\n", ["one"])


def test_a_passive_worker_has_no_execution() -> None:
    assert "execution" not in request_of(passive=True)


@pytest.mark.parametrize(("passive", "says"), [(None, "or --script FILE"), (False, "or --passive")])
def test_who_names_no_program_is_told_what_this_command_takes(passive: bool | None, says: str) -> None:
    with pytest.raises(UsageFault) as caught:
        request_of(passive=passive)
    assert str(caught.value).endswith(says)


def test_it_says_on_whose_behalf_and_nothing_of_nobody() -> None:
    whose = request_of(command=["sh"], tenant="acme", owner="anna", labels=["team=blue"])["control_context"]
    assert whose == {"tenant": "acme", "owner": "anna", "labels": {"team": "blue"}}
    assert "control_context" not in request_of(command=["sh"])


def test_everything_that_can_be_asked_is_a_request_of_the_contract(tmp_path: Path) -> None:
    asked = request_of(
        command=["sh", "-c", "true"],
        worker_id="mine",
        speech="jsonl",
        env=["A=1"],
        cwd=tmp_path,
        first_input="begin",
        confinement=Confinement(wall_time="1.5s"),
        labels=["team=blue"],
        metadata=["note=a=b"],
    )
    request = CreateWorkerRequest.model_validate(asked)
    assert request.worker_id == "mine"
    assert request.limits.wall_time_ms == 1500
    assert request.control_context.labels == {"team": "blue"}
    assert request.metadata == {"note": "a=b"}
    assert request.initial_input is not None
    assert request.execution is not None
    assert request.execution.cwd == str(tmp_path)


def test_who_is_kept_to_its_workspace_starts_there_unless_a_folder_is_named(tmp_path: Path) -> None:
    kept = Confinement(filesystem="restricted")
    assert "cwd" not in execution_of(command=["sh"], confinement=kept)
    assert execution_of(command=["sh"], cwd=tmp_path, confinement=kept)["cwd"] == str(tmp_path)


def test_a_sandbox_finds_its_program_inside_and_gets_no_path_of_the_callers() -> None:
    shut_in = Confinement(sandbox="linux_sandbox")
    execution = execution_of(command=("python3", "-V"), env=("A=1",), confinement=shut_in)
    assert (execution["program"], execution["env"]) == ("python3", {"A": "1"})
    with pytest.raises(UsageFault, match="blank"):
        execution_of(command=(" ",), confinement=shut_in)


def test_a_sandbox_has_no_folder_of_the_callers_unless_one_is_asked_for(tmp_path: Path) -> None:
    shut_in = Confinement(sandbox="linux_sandbox")
    assert "cwd" not in execution_of(command=["sh"], confinement=shut_in)
    assert execution_of(command=["sh"], confinement=shut_in, cwd=tmp_path)["cwd"] == str(tmp_path)
    assert execution_of(command=["sh"], confinement=shut_in, cwd=Path("src"))["cwd"] == "/workspace/src"
    assert str(INSIDE_WORKSPACE) == executor.INSIDE_WORKSPACE


@pytest.mark.parametrize("text", ["", "=", "=value", "name"])
def test_a_pair_has_a_name_and_a_value(text: str) -> None:
    with pytest.raises(UsageFault):
        pairs("--label", [text])


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(CliError, match="No such file"):
        request_of(script="/no/such/script")
    with pytest.raises(CliError, match="No such file"):
        request_of(command=["sh"], env_files=[Path("/no/such/env")])


def test_without_a_path_a_worker_gets_the_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    assert create_request(Launch(command=["/bin/sh"], environ=os.environ))["execution"]["env"] == {}
