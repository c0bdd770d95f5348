"""The token and the discovery files of this user."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from watchglass.client.local import (
    Discovery,
    LocalFault,
    discovery_path,
    look,
    start_ticks,
    state_directory,
    token_path,
    withdraw,
)
from watchglass.server.local import announce, local_token


def a_server(runtime_id: str = "rt", started_at: str = "2026-01-01") -> Discovery:
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    return Discovery(
        url="http://127.0.0.1:1",
        pid=os.getpid(),
        pid_start_ticks=ticks,
        runtime_id=runtime_id,
        display_name=None,
        token_file=None,
        started_at=started_at,
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHGLASS_STATE_DIR": "/a", "XDG_STATE_HOME": "/b"}, Path("/a")),
        ({"WATCHGLASS_STATE_DIR": "here", "XDG_STATE_HOME": "/b"}, Path.cwd() / "here"),
        ({"XDG_STATE_HOME": "/b"}, Path("/b/watchglass")),
        ({}, Path.home() / ".local/state/watchglass"),
        ({"WATCHGLASS_STATE_DIR": "", "XDG_STATE_HOME": ""}, Path.home() / ".local/state/watchglass"),
        ({"XDG_STATE_HOME": "relative"}, Path.home() / ".local/state/watchglass"),
    ],
)
def test_the_state_directory_is_where_the_environment_says(environ: dict[str, str], expected: Path) -> None:
    assert state_directory(environ) == expected


def test_a_token_is_made_once_and_is_private(tmp_path: Path) -> None:
    state = tmp_path / "state" / "watchglass"
    token = local_token(state)
    assert len(token) >= 43
    assert local_token(state) == token
    assert mode(state) == 0o700
    assert mode(token_path(state)) == 0o600
    assert [path.name for path in state.iterdir()] == ["token"]


def test_servers_that_start_at_once_agree_on_one_token(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib, watchglass.server.local as l; print(l.local_token(pathlib.Path(sys.argv[1])))"
    )
    with ThreadPoolExecutor(4) as pool:
        tokens = list(
            pool.map(
                lambda _: subprocess.check_output([sys.executable, "-c", script, str(tmp_path / "s")]),
                range(4),
            )
        )
    assert len(set(tokens)) == 1


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    local_token(tmp_path)
    token_path(tmp_path).chmod(0o640)
    with pytest.raises(LocalFault, match="chmod 600"):
        local_token(tmp_path)


def test_an_empty_token_file_is_refused(tmp_path: Path) -> None:
    token_path(tmp_path).touch(mode=0o600)
    with pytest.raises(LocalFault, match="is empty"):
        local_token(tmp_path)


def test_a_state_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(LocalFault, match="chmod 700"):
        local_token(tmp_path)


def test_a_state_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalFault, match=r"Not a directory|File exists"):
        local_token(tmp_path / "file" / "state")


def test_running_servers_are_found_the_newest_first(tmp_path: Path) -> None:
    old, new = a_server("old", "2026-01-01"), a_server("new", "2026-01-02")
    announce(tmp_path, new)
    announce(tmp_path, old)
    assert look(tmp_path).running == [new, old]
    assert mode(tmp_path / "servers") == 0o700
    assert mode(tmp_path / "servers" / "old.json") == 0o600
    withdraw(tmp_path, "new", os.getpid())
    assert look(tmp_path).running == [old]


def test_a_server_that_died_is_told_apart_and_forgotten_at_the_next_start(tmp_path: Path) -> None:
    announce(tmp_path, replace(a_server("dead"), pid_start_ticks=1))
    dead = subprocess.Popen(["true"])
    dead.wait()
    announce(tmp_path, replace(a_server("gone"), pid=dead.pid))
    assert look(tmp_path).running == []
    assert [server.runtime_id for server in look(tmp_path).gone] == ["gone"]
    announce(tmp_path, a_server("next"))
    assert [path.name for path in (tmp_path / "servers").iterdir()] == ["next.json"]


def test_what_no_server_wrote_is_left_alone(tmp_path: Path) -> None:
    announce(tmp_path, a_server())
    foreign = tmp_path / "servers" / "foreign.json"
    foreign.write_text("{")
    assert look(tmp_path).running == [a_server()]
    assert foreign.exists()


def test_a_newer_server_of_the_same_name_stays_when_the_older_leaves(tmp_path: Path) -> None:
    announce(tmp_path, a_server())
    withdraw(tmp_path, "rt", os.getpid() + 1)
    assert look(tmp_path).running == [a_server()]


def test_nobody_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert look(tmp_path / "nowhere").running == []


def test_finding_a_server_needs_the_standard_library_alone() -> None:
    loaded = subprocess.check_output(
        [sys.executable, "-c", "import sys, watchglass.client.finding; print(*sys.modules)"], text=True
    )
    assert {"asyncio", "pydantic", "quart", "hypercorn", "orjson"}.isdisjoint(loaded.split())


def test_a_server_that_knows_of_no_certificate_is_found_too(tmp_path: Path) -> None:
    announce(tmp_path, a_server())
    path = discovery_path(tmp_path, "rt")
    told = json.loads(path.read_text())
    del told["certificate"]
    path.write_text(json.dumps(told))
    assert look(tmp_path).running == [a_server()]
