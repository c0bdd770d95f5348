"""A server's life as a process: it listens, it tells where, it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from watchglass.client.local import look

from support.patience import PATIENCE_S
from support.refusals import refused_start
from support.serving import serving


def test_it_says_one_line_and_leaves_one_file_while_it_runs(tmp_path: Path) -> None:
    with serving(tmp_path, "--runtime-id", "rt-1", "--display-name", "The Glass") as served:
        assert served.stderr == f"watchglass listening on {served.url} (runtime rt-1)\n"
        [found] = look(tmp_path).running
        assert (found.url, found.pid, found.display_name) == (served.url, served.process.pid, "The Glass")
        assert found.token_file == str(tmp_path / "token")
        assert served.stop() == 0
        assert served.stderr.count("\n") == 1
    assert list((tmp_path / "servers").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_code_0(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as served:
        served.process.send_signal(number)
        assert served.process.wait(PATIENCE_S) == 0


def test_the_discovery_file_never_has_the_token(tmp_path: Path) -> None:
    with serving(tmp_path, "--local-token", "s3cret-s3cret", token="s3cret-s3cret"):
        [file] = (tmp_path / "servers").glob("*.json")
        assert json.loads(file.read_text())["token_file"] is None
        assert "s3cret" not in file.read_text()


def test_an_address_in_use_starts_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused_start(tmp_path, "--bind", f"127.0.0.1:{port}")
    assert f"127.0.0.1:{port}" in said
    assert "in use" in said
    assert not (tmp_path / "servers").exists()


def test_no_auth_is_a_loud_line(tmp_path: Path) -> None:
    with serving(tmp_path, "--no-auth", token="") as served:
        assert served.stderr.startswith("watchglass: WARNING: --no-auth")
        [found] = look(tmp_path).running
        assert found.token_file is None
    assert not (tmp_path / "token").exists()


def test_a_state_directory_that_cannot_be_used_starts_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "token").write_text("others can read this")
    os.chmod(state / "token", 0o644)  # noqa: PTH101 - As a careless user does.
    assert "chmod 600" in refused_start(state)


def test_the_token_is_in_no_log(tmp_path: Path) -> None:
    with serving(tmp_path, "--log-level", "debug") as served:
        served.stop()
        assert '"message":"serving"' in served.stderr
        assert served.token not in served.stderr
        assert "<redacted>" in served.stderr
