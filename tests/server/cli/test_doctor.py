"""What `doctor` says and does, in words, in JSON and by its exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from watchglass.server.cli.main import main

from support.damage import Built, build, flip, is_alert, read_back
from support.serving import durable_server, environment
from support.shell import Shell


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("healthy"))


@pytest.fixture
def built(healthy: Built, tmp_path: Path) -> Built:
    root = tmp_path / "store"
    shutil.copytree(healthy.path.parent.parent, root)
    return Built(root / "runtimes" / "rt", healthy.appends)


@pytest.fixture
def damaged(built: Built) -> Built:
    flip(built.segments[0], 400, 0)
    return built


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    code = main(["doctor", *map(str, arguments)])
    said = capsys.readouterr()
    assert said.err == ""
    return code, said.out


def document(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, Any]:
    code, out = doctor(capsys, "--json", *arguments)
    [runtime] = json.loads(out)["runtimes"]
    return code, runtime


def test_a_healthy_store_is_said_to_be_so(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    for directory in (built.path, built.path.parent.parent):
        code, out = doctor(capsys, directory)
        assert code == 0
        assert out.splitlines()[0].startswith("runtime rt: nothing is wrong (3 workers, 45 events in ")
    code, runtime = document(capsys, built.path)
    assert (code, runtime["ok"], runtime["problems"], runtime["open_in"]) == (0, True, [], None)


def test_the_host_is_looked_at_with_the_group_that_serve_would_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHGLASS_STATE_DIR", str(tmp_path))
    assert main(["doctor", "--json", "--cgroup-root", "/no/such/group"]) == 0
    found = json.loads(capsys.readouterr().out)["host"]["abilities"]
    [memory] = [ability for ability in found if ability["name"] == "memory"]
    assert memory["mechanism"] != "cgroup_v1"
    assert memory["mechanism"] != "cgroup_v2"
    assert any("make the group /no/such/group" in advice for advice in memory["advice"])
    assert main(["doctor", "--cgroup-root", "agents"]) == 2
    assert "--cgroup-root 'agents': use the absolute path of a group" in capsys.readouterr().err
    assert main(["doctor", "--cgroup-root", "/agents", str(tmp_path)]) == 2
    assert "leave out DIR" in capsys.readouterr().err


def test_a_problem_is_told_with_its_place_and_its_repair(
    damaged: Built, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = doctor(capsys, damaged.path)
    assert code == 1
    assert out.startswith("runtime rt: 1 problem (3 workers, ")
    name = damaged.segments[0].relative_to(damaged.path)
    assert f"  error segment_corrupt: {name}, offset " in out
    assert "    --repair puts an alert in their place\n" in out
    code, runtime = document(capsys, damaged.path)
    assert (code, runtime["ok"]) == (1, False)
    [problem] = runtime["problems"]
    assert problem["path"] == str(damaged.segments[0])
    assert (problem["code"], problem["worker_id"], problem["repaired"]) == ("segment_corrupt", "a", False)


def test_a_repair_says_where_what_was_broken_is(damaged: Built, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = doctor(capsys, "--repair", damaged.path.parent.parent)
    assert code == 0
    assert out.startswith("runtime rt: 1 problem, all repaired (")
    assert "    repaired\n" in out
    assert f"  what was broken is in {damaged.path}/broken/" in out
    assert doctor(capsys, "--repair", damaged.path)[1].startswith("runtime rt: nothing is wrong")
    read, findings = read_back(damaged)
    assert list(findings) == []
    assert len([each for each in read["a"] if is_alert(each)]) == 1


def test_what_was_repaired_is_said_in_json(damaged: Built, capsys: pytest.CaptureFixture[str]) -> None:
    code, runtime = document(capsys, "--repair", damaged.path)
    assert (code, runtime["ok"], [each["repaired"] for each in runtime["problems"]]) == (0, True, [True])
    assert Path(runtime["moved_to"]).is_dir()


def test_what_is_newer_is_left_alone(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    path = built.path / "runtime.json"
    path.write_bytes(path.read_bytes().replace(b'"schema":1', b'"schema":7'))
    code, out = doctor(capsys, "--repair", built.path)
    assert code == 1
    assert "is of schema 7, and this version of watchglass knows schema 1" in out
    assert "    --repair can do nothing about it\n" in out


def test_where_nothing_was_kept_yet_nothing_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHGLASS_STATE_DIR", str(tmp_path))
    assert main(["doctor"]) == 0
    assert "no runtime" in capsys.readouterr().err
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runtimes"] == []


def test_without_a_folder_the_host_is_told_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHGLASS_STATE_DIR", str(tmp_path))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("this host, as ")
    assert main(["doctor", "--json"]) == 0
    abilities = json.loads(capsys.readouterr().out)["host"]["abilities"]
    assert {"linux_sandbox", "memory", "pids", "tree_kill"} <= {ability["name"] for ability in abilities}
    for ability in abilities:
        mark = "can   " if ability["available"] else "cannot"
        assert f"  {mark}  {ability['name']}: {ability['means']}" in out


def test_with_a_folder_or_a_repair_the_host_is_left_alone(
    built: Built, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WATCHGLASS_STATE_DIR", str(tmp_path / "empty"))
    for arguments in ([str(built.path)], ["--repair"]):
        assert main(["doctor", "--json", *arguments]) == 0
        assert set(json.loads(capsys.readouterr().out)) == {"runtimes"}


def test_beside_a_running_server_nothing_is_wrong_and_a_repair_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with durable_server(tmp_path, runtime_id="rt-doctor") as place:
        for name, value in environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        with place.serving() as served:
            shell = Shell(served)
            shell.create("--", "cat")
            shell.wait_ended(shell.create("--", "echo", "hello"))
            code, runtime = document(capsys)
            assert (code, runtime["problems"], runtime["workers"]) == (0, [], 2)
            pid = served.process.pid
            assert runtime["open_in"]["pid"] == pid
            code, out = doctor(capsys, "--repair")
            assert code == 1
            assert f"  open in a server: process {pid}, since " in out
            assert f"  not repaired: {place.runtime_dir} is in use by process {pid} " in out
            place.kill()
        code, runtime = document(capsys, "--repair")
        assert (code, runtime["problems"], runtime["open_in"]) == (0, [], None)
