"""`watchglass drain` returns when the server is gone, and says meanwhile what is left."""

from __future__ import annotations

import json
from pathlib import Path

from watchglass.server.cli.reading import warning_facts

from support.api import Api
from support.patience import PATIENCE_S
from support.processes import marked, wait_true
from support.programs import program
from support.serving import serving
from support.shell import command, ended, read_until, started


def test_it_counts_down_and_returns_when_the_server_is_gone(tmp_path: Path) -> None:
    with serving(tmp_path, "--runtime-id=rt-drained") as served:
        for argv in (["cat"], ["sleep", "600"]):
            Api(served).create(*argv)
        done = command(tmp_path, "drain", "--reason", "enough")
        assert (done.returncode, done.stderr) == (0, b"")
        assert served.process.poll() == 0
        first, *_, last = done.stdout.decode().splitlines()
    assert (first, last) == ("rt-drained: 2 workers left", "rt-drained has ended")
    assert marked("rt-drained") == set()


def test_in_json_it_says_what_the_runtime_says_and_then_that_it_is_drained(tmp_path: Path) -> None:
    with serving(tmp_path, "--runtime-id=rt-drained", "--grace-ms=300") as served:
        Api(served).create(*program("stubborn"))
        done = command(tmp_path, "drain", "--json")
        first, *rest, last = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0
        assert served.process.poll() == 0
    assert first["runtime"]["active_worker_count"] == 1
    assert all(said["runtime"]["status"] == "stopped" for said in rest)
    assert last == {"drained": "rt-drained"}


def test_a_worker_that_takes_its_time_is_waited_for(tmp_path: Path) -> None:
    with serving(tmp_path, "--runtime-id=rt-slow", "--grace-ms=60000") as served:
        worker = Api(served).create(*program("stubborn"))
        wait_true(lambda: Api(served).log(worker["worker_id"]) == b"ready\n", "it does not begin")
        with started(tmp_path, "drain") as draining:
            read_until(draining, b"1 worker left\n")
            assert draining.poll() is None
            assert served.process.poll() is None
            served.process.terminate()
            code, out, _ = ended(draining)
        assert (code, out) == (0, "rt-slow has ended\n")
        assert served.process.poll() == 0
    assert worker["pid"] not in marked("rt-slow")


def test_where_the_process_is_not_known_the_last_word_is_what_is_known(tmp_path: Path) -> None:
    with serving(tmp_path / "there", "--runtime-id=rt-far") as served:
        done = command(
            tmp_path / "here", "drain", "--url", served.url, env={"WATCHGLASS_TOKEN": served.token}
        )
        assert served.process.wait(PATIENCE_S) == 0
    assert done.returncode == 0
    assert done.stdout.decode().splitlines()[-1] == "rt-far no longer answers"


def test_there_must_be_a_runtime_and_its_token(tmp_path: Path) -> None:
    assert command(tmp_path, "drain").returncode == 5
    with serving(tmp_path) as served:
        assert command(tmp_path, "drain", env={"WATCHGLASS_TOKEN": "wrong"}).returncode == 4
        assert Api(served).get("/v1/runtime")["runtime"]["status"] == "running"


def test_the_status_shows_the_newest_warnings_and_how_many_there_are() -> None:
    def note(number: int, severity: str, worker: str | None = None) -> dict[str, object]:
        ref = None if worker is None else {"runtime_id": "rt", "worker_id": worker}
        return {"severity": severity, "code": "c", "message": f"m{number}", "worker_ref": ref}

    assert warning_facts([note(1, "info")]) == []
    notes = [note(1, "error", "wk"), note(2, "info"), *(note(number, "warning") for number in range(3, 9))]
    shown = warning_facts(notes)
    assert shown[:2] == [("warnings", "7"), ("warning", "m8 (c)")]
    assert len(shown) == 6
    assert warning_facts(notes[:1]) == [("warnings", "1"), ("error", "wk: m1 (c)")]
