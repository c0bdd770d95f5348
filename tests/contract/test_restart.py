"""A server over files: what a restart finds, which way of leaving keeps workers, when it does not start."""

from __future__ import annotations

import json
import signal
import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from subprocess import TimeoutExpired

import pytest

from support.api import Api
from support.disks import fill, small_disk
from support.feed import in_thread, names, observing
from support.patience import PATIENCE_S
from support.processes import is_pending, pids, wait_true
from support.programs import program
from support.refusals import refused_start
from support.serving import Place, Served, durable_server, serving
from support.shell import command


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with durable_server(tmp_path, "--grace-ms=300", runtime_id="rt-restart") as place:
        yield place


def kept_lines(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if " running; " in line]


def test_a_restart_finds_ids_workers_and_journals_as_they_were(place: Place) -> None:
    with place.serving() as served:
        api = Api(served)
        runtime = api.get("/v1/runtime")["runtime"]
        assert (runtime["backend"], runtime["durability"], runtime["keep_workers"]) == (
            "fs_store",
            "fsync",
            True,
        )
        worker_id = api.create(metadata={"team": "blue"})["worker_id"]
        api.say(worker_id, "hello")
        api.post(f"/v1/workers/{worker_id}/events", {"events": [{"event": "mine", "data": {"n": 1}}]})
        ended = api.create("sh", "-c", "echo done")["worker_id"]
        command(place.state_dir, "events", "-f", ended)
        before = [api.worker(worker) for worker in (worker_id, ended)]
        transcript = api.get(f"/v1/workers/{worker_id}/transcript")
        assert served.stop() == 0
        assert kept_lines(served.stderr) == []  # No process was left running.
    assert stat.S_IMODE(place.runtime_dir.stat().st_mode) & 0o077 == 0
    with place.serving() as served:
        api = Api(served)
        assert [api.worker(worker) for worker in (worker_id, ended)] == before
        assert api.get(f"/v1/workers/{worker_id}/transcript") == transcript
        assert api.log(ended) == b"done\n"
        api.say(worker_id, "and again")


def test_without_an_id_the_only_runtime_is_taken_and_several_are_named(tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        with serving(tmp_path, "--store=fs") as served:
            ids.append(served.runtime_id)
    assert ids[0] == ids[1]
    with serving(tmp_path, "--store=fs", "--runtime-id=rt-other") as served:
        assert served.runtime_id == "rt-other"
    said = refused_start(tmp_path)
    assert "rt-other" in said
    assert ids[0] in said


def test_a_runtime_that_another_server_holds_is_one_line_that_names_it(place: Place) -> None:
    with place.serving() as served:
        said = refused_start(place.state_dir, "--runtime-id", place.runtime_id)
        assert place.runtime_id in said
        assert str(served.process.pid) in said
        assert Api(served).get("/readyz")["status"] == "ready"


def test_files_of_a_newer_version_are_refused(place: Place) -> None:
    with place.serving():
        pass
    manifest = place.runtime_dir / "runtime.json"
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**told, "schema": told["schema"] + 1}))
    assert str(told["schema"] + 1) in refused_start(place.state_dir, "--runtime-id", place.runtime_id)


def test_a_root_that_is_no_folder_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refused_start(tmp_path, "--fs-root", str(tmp_path / "file"))
    assert not (tmp_path / "servers").exists()


def test_a_disk_without_room_starts_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        fill(disk)
        done = command(tmp_path / "state", "serve", "--fs-root", str(disk / "store"))
        assert done.returncode in {1, 2}
        assert done.stderr.count(b"\n") == 1
        assert str(disk).encode() in done.stderr


@pytest.mark.trio
@pytest.mark.parametrize("way", ["SIGTERM", "SIGKILL"])
async def test_workers_outlive_their_server_and_the_next_one_speaks_to_them(place: Place, way: str) -> None:
    with place.serving() as served:
        worker = await in_thread(Api(served).create, "cat", worker_id="echo")
        await in_thread(Api(served).say, "echo", "one")
        async with observing(served, "echo", "earliest") as observer:
            await observer.until_text("one\n")
            cursor = observer.cursor
            if way == "SIGKILL":
                await in_thread(served.kill)
            else:
                served.process.send_signal(signal.SIGTERM)
                envelopes, diagnostic = await observer.farewell()
                assert "exit" not in names(envelopes)
                assert diagnostic["code"] == "runtime.upstream_closed"
                assert await in_thread(served.process.wait, PATIENCE_S) == 0
                [line] = kept_lines(served.stderr)
                assert line.startswith("watchglass: 1 worker keeps running; 'watchglass serve --fs-root ")
                assert str(place.root) in line
                assert f"--runtime-id {place.runtime_id}' adopts it" in line
                assert "'watchglass drain' ends it" in line
    assert worker["pid"] in place.processes("echo")
    with place.serving() as served:
        assert (await in_thread(Api(served).worker, "echo"))["pid"] == worker["pid"]
        async with observing(served, "echo", cursor) as observer:
            await in_thread(Api(served).say, "echo", "two")
            assert await observer.until_text("two\n") == "two\n"
        assert await in_thread(served.drain) == 0
    assert place.family() == set()


@pytest.mark.trio
@pytest.mark.parametrize("way", ["SIGINT", "drain", "--no-keep-workers"])
async def test_who_asks_for_the_end_of_workers_gets_it(place: Place, way: str) -> None:
    flags = [way] if way.startswith("--") else []
    with place.serving(*flags) as served:
        await in_thread(Api(served).create, *program("stubborn"), worker_id="w")
        async with observing(served, "w", "earliest") as observer:
            await observer.until_text("ready\n")
            if way == "drain":
                assert (await in_thread(Api(served).request, "POST", "/v1/runtime/drain")).status == 202
            else:
                served.process.send_signal(signal.SIGINT if way == "SIGINT" else signal.SIGTERM)
            envelopes, _ = await observer.farewell()
            assert names(envelopes)[-3:] == ["exit", "status", "end"]
        assert await in_thread(served.process.wait, PATIENCE_S) == 0
        assert kept_lines(served.stderr) == []
    assert place.family() == set()
    with place.serving() as served:
        assert (await in_thread(Api(served).worker, "w"))["phase"] == "stopped"


def test_workers_that_are_not_to_be_kept_end_with_a_server_that_is_killed(place: Place) -> None:
    with place.serving("--no-keep-workers") as served:
        Api(served).create("sleep", "600", worker_id="w")
        served.kill()
        wait_true(lambda: not place.family(), "a worker outlives the server that was to keep none")
    with place.serving() as served:
        assert Api(served).worker("w")["exit"]["signal"] == signal.SIGKILL


@pytest.mark.trio
async def test_a_second_signal_does_not_end_workers_that_were_let_go(place: Place) -> None:
    with place.serving() as served:
        worker = await in_thread(Api(served).create, "cat")
        async with observing(served, worker["worker_id"]) as observer:
            await observer.event()
            await in_thread(terminated, served)
            served.process.send_signal(signal.SIGINT)
            await observer.farewell()
        assert await in_thread(served.process.wait, PATIENCE_S) == 0
    assert worker["pid"] in pids()


def terminated(served: Served) -> None:
    """Send SIGTERM, and return when it has come: of two that wait, the kernel hands out SIGINT first."""
    served.process.send_signal(signal.SIGTERM)
    wait_true(lambda: not is_pending(served.process.pid, signal.SIGTERM), "it hears no signal")


def test_impatient_signals_do_not_change_how_it_leaves(place: Place) -> None:
    with place.serving(afresh=True) as served:
        worker = Api(served).create("cat")
        terminated(served)
        for number in cycle((signal.SIGINT, signal.SIGTERM)):
            with suppress(TimeoutExpired):
                assert served.process.wait(0.01) == 0
                break
            served.process.send_signal(number)
        assert served.stderr.count("\n") == 2, served.stderr
    assert worker["pid"] in pids()


def test_what_a_start_had_to_cut_is_shown(place: Place) -> None:
    with place.serving() as served:
        worker_id = Api(served).create()["worker_id"]
        Api(served).say(worker_id, "hello")
    [segment] = (place.worker_dir(worker_id) / "events").iterdir()
    with segment.open("ab") as file:
        file.write(b'{"half a li')
    with place.serving() as served:
        notes = Api(served).get("/v1/diagnostics")["diagnostics"]
        [note] = [note for note in notes if note["severity"] != "info"]
        assert note["worker_ref"]["worker_id"] == worker_id
        shown = command(place.state_dir, "status").stdout.decode()
        assert f"{worker_id}: {note['message']} ({note['code']})" in shown
        assert Api(served).say(worker_id, "and again")["transcript_sequence"] == 2
    assert list((place.runtime_dir / "broken").rglob("*"))
