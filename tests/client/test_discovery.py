"""Each client finds the runtime of this machine, or says in a sentence why not and what to do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from watchglass.client.faults import NoRuntime, NoToken

from support.serving import environment, serving
from support.shells import SHELLS, Shell

NOBODY = 65534


@pytest.fixture(params=SHELLS, ids=lambda shell: shell.name)
def shell(request: pytest.FixtureRequest) -> Shell:
    found: Shell = request.param
    return found


def refused(shell: Shell, state: Path, kind: type[Exception], **choice: object) -> str:
    """What a client says that finds no runtime to speak to."""
    told: list[str] = []

    async def scenario() -> None:
        with pytest.raises(kind) as caught:
            async with shell.connect(environ=environment(state), **choice):
                pass
        told.append(str(caught.value))

    shell.run(scenario)
    return told[0]


def found(shell: Shell, state: Path, **choice: object) -> str:
    """The id of the runtime that answers."""
    told: list[str] = []

    async def scenario() -> None:
        async with shell.connect(environ=environment(state), **choice) as wg:
            told.append((await wg.runtime()).runtime_id)

    shell.run(scenario)
    return told[0]


def test_of_several_the_newest_is_meant_or_the_one_that_is_named(tmp_path: Path, shell: Shell) -> None:
    with (
        serving(tmp_path, "--runtime-id=rt-first"),
        serving(tmp_path, "--runtime-id=rt-second"),
    ):
        assert found(shell, tmp_path) == "rt-second"
        assert found(shell, tmp_path, runtime_id="rt-first") == "rt-first"
        told = refused(shell, tmp_path, NoRuntime, runtime_id="rt-third")
    assert told == "no runtime 'rt-third' is running here; there is rt-second, rt-first: choose one of them"
    told = refused(shell, tmp_path, NoRuntime)
    assert told.startswith(f"no runtime is running here (looked in {tmp_path}); start one with 'watchglass")


def test_one_that_was_killed_is_told_apart_from_none(tmp_path: Path, shell: Shell) -> None:
    with serving(tmp_path, "--runtime-id=rt-gone") as served:
        served.kill()
    told = refused(shell, tmp_path, NoRuntime)
    assert told == (
        f"no runtime is running: the server of runtime 'rt-gone' (process {served.process.pid}) died; "
        "start it again with 'watchglass serve --runtime-id rt-gone'"
    )
    with serving(tmp_path, "--runtime-id=rt-gone"):
        assert found(shell, tmp_path) == "rt-gone"


def test_a_token_that_cannot_be_used_is_told_with_what_to_do(tmp_path: Path, shell: Shell) -> None:
    with serving(tmp_path, "--runtime-id=rt-token"):
        token = tmp_path / "token"
        kept = token.read_bytes()
        token.chmod(0o644)
        assert f"run 'chmod 600 {token}'" in refused(shell, tmp_path, NoToken)
        token.chmod(0o600)
        token.write_bytes(b"")
        assert f"{token}: is empty" in refused(shell, tmp_path, NoToken)
        token.unlink()
        told = refused(shell, tmp_path, NoToken)
        assert told == (
            f"cannot read {token}: No such file or directory; "
            "give another file (WATCHGLASS_TOKEN_FILE), or the token itself (WATCHGLASS_TOKEN)"
        )
        token.mkdir()  # As unreadable for root as a closed file is for others.
        assert "Is a directory" in refused(shell, tmp_path, NoToken)
        assert found(shell, tmp_path, token=kept.decode().strip()) == "rt-token"


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to give a file away")
def test_a_token_of_another_user_is_not_used(tmp_path: Path, shell: Shell) -> None:
    with serving(tmp_path, "--runtime-id=rt-other"):
        os.chown(tmp_path / "token", NOBODY, NOBODY)
        told = refused(shell, tmp_path, NoToken)
    assert f"belongs to user {NOBODY}, who may change it; use a file of your own" in told


def test_a_folder_that_cannot_be_looked_into_is_not_taken_for_an_empty_one(
    tmp_path: Path, shell: Shell
) -> None:
    (tmp_path / "servers").write_text("no folder")
    told = refused(shell, tmp_path, NoRuntime)
    assert told.startswith(f"cannot read {tmp_path / 'servers'}: Not a directory; ")
    shutil.rmtree(tmp_path)
    assert "looked in" in refused(shell, tmp_path, NoRuntime)
