"""`watchglass serve` as a process: one line when it listens, one line when it cannot, an exit code."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from support.api import Api
from support.forked import Forked
from support.patience import PATIENCE_S
from support.processes import wait_true
from support.serving import environment, serving, watchglass

SECRET = "geheim-012"


def failed(tmp_path: Path, *flags: str, env: dict[str, str] | None = None) -> str:
    """The one line of a `serve` that must refuse to start."""
    state, stdout, stderr = (tmp_path / name for name in ("state", "stdout.txt", "stderr.txt"))
    for written in (stdout, stderr):
        written.touch()
    ended = Forked(["serve", *flags], env=environment(state, env), stdout=stdout, stderr=stderr)
    code, said = ended.wait(PATIENCE_S), stderr.read_text()
    assert code == 2, said
    assert stdout.read_text() == ""
    assert len(said.splitlines()) == 1, said
    assert not (state / "servers").exists()
    assert "listening" not in said
    assert SECRET not in said
    return said


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--local-token", ""], "empty"),
        (["--local-token", "  "], "empty"),
        (["--local-token-env", "NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE"),
        (["--local-token-file", "/no/such/token"], "/no/such/token"),
        (["--local-token", SECRET, "--local-token-env", "A"], "--local-token-env"),
        (["--no-auth", "--local-token", SECRET], "--no-auth"),
        (["--no-auth", "--bind", "0.0.0.0:0"], "--no-auth"),
        (["--bind", "0.0.0.0:0"], "token"),
        (["--bind", "127.0.0.1"], "127.0.0.1"),
        (["--bind", "127.0.0.1:http"], "127.0.0.1:http"),
        (["--bind", "no-such-host.invalid:0", "--local-token", SECRET], "no-such-host.invalid"),
        (["--no-such-flag"], "--no-such-flag"),
        (["--no-such-flag=1"], "--no-such-flag"),
        (["stray"], "stray"),
        (["--store", "paper"], "paper"),
        (["--worker-uids", "every"], "--worker-uids 'every': use one of sandboxed, all"),
        (["--store", "memory", "--fs-root", "/srv"], "--fs-root"),
        (["--store=memory", "--durability=os"], "--durability"),
        (["--store", "memory", "--keep-workers"], "--keep-workers"),
        (["--durability", "maybe"], "maybe"),
        (["--retain-age-s=0"], "--retain-age-s"),
        (["--runtime-id", ""], "--runtime-id"),
        (["--max-event-batch-items", "0"], "--max-event-batch-items"),
        (["--max-transcript-projection-items=-1"], "--max-transcript-projection-items"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_a_wrong_option_is_one_clear_line_and_nothing_is_started(
    tmp_path: Path, flags: list[str], says: str
) -> None:
    assert says in failed(tmp_path, *flags, env={"A": "b"})


def test_an_address_that_is_taken_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = failed(tmp_path, "--bind", f"127.0.0.1:{port}")
    assert f"127.0.0.1:{port}" in line
    assert "in use" in line


def test_a_token_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "token").write_text(SECRET)
    (state / "token").chmod(0o644)
    line = failed(tmp_path)
    assert str(state / "token") in line
    assert "chmod 600" in line


@pytest.mark.parametrize("form", [["--runtime-id", "rt-line"], ["--runtime-id=rt-line"]])
def test_the_listening_line_is_exact_and_the_only_one(tmp_path: Path, form: list[str]) -> None:
    with serving(tmp_path, *form) as server:
        api = Api(server)
        worker_id = api.create("cat")["worker_id"]
        api.request("GET", "/v1/workers/nobody")
        api.act(worker_id, "stop")
        assert server.stop() == 0
        assert server.stderr == f"watchglass listening on {server.url} (runtime rt-line)\n"


def test_a_runtime_without_a_given_id_makes_one_up(tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        with serving(tmp_path) as server:
            assert Api(server).get("/v1/runtime")["runtime"]["runtime_id"] == server.runtime_id
            ids.append(server.runtime_id)
    assert all(re.fullmatch(r"rt-[0-9a-z]{12}-[0-9a-z]{8}", found) for found in ids)
    assert ids[0] < ids[1]


def test_an_address_may_be_ipv6(tmp_path: Path) -> None:
    state = tmp_path
    with serving(state, "--bind=[::1]:0") as server:
        assert server.host == "[::1]"
        assert server.url == f"http://[::1]:{server.port}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_code_0_and_nothing_is_left(tmp_path: Path, number: int) -> None:
    with serving(tmp_path) as server:
        assert list((tmp_path / "servers").iterdir())
        server.process.send_signal(number)
        assert server.process.wait(PATIENCE_S) == 0
        assert list((tmp_path / "servers").iterdir()) == []
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["servers", "stderr.txt", "token"]


def test_a_second_signal_does_not_wait_for_workers(tmp_path: Path) -> None:
    with serving(tmp_path, "--grace-ms=60000") as server:
        worker = Api(server).create(
            "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 600 & wait; done"
        )
        wait_true(lambda: Api(server).log(worker["worker_id"]) == b"ready\n", "it does not begin")
        server.process.send_signal(signal.SIGTERM)
        while Api(server).get("/v1/runtime")["runtime"]["status"] == "running":
            pass
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE_S) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(worker["pid"], 0)


def test_help_names_every_option_of_the_contract(tmp_path: Path) -> None:
    done = subprocess.run(
        watchglass("serve", "--help"),
        env={**environment(tmp_path), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    for flag in (
        "--bind",
        "--runtime-id",
        "--display-name",
        "--store",
        "--fs-root",
        "--local-token",
        "--local-token-env",
        "--local-token-file",
        "--max-transcript-projection-items",
        "--max-event-batch-items",
    ):
        assert flag in done.stdout, flag
