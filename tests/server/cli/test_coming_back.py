"""attach, events and run over a server that dies, leaves, or has dropped what they want; on both versions."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api
from support.processes import wait_true
from support.proxy import Fate, cutting
from support.serving import Served, durable_server, serving
from support.shell import Shell, ended, read_until, started

COUNTING = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo line $i; sleep 0.003; done"
COUNTED = "".join(f"line {number}\n" for number in range(1, 201))
SLOWLY = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; sleep 0.02; done"
SLOWLY_COUNTED = [f"line {number}" for number in range(1, 301)]
KEPT = 500


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A server that keeps few events, and answers to the name of a proxy."""
    flags = ("--allow-host", "127.0.0.1", f"--retain-events={KEPT}")
    with serving(tmp_path_factory.mktemp("forgetful"), *flags) as served:
        yield Shell(served)


def frames(served: Served) -> dict[str, float]:
    """How many frames each transport was sent."""
    text = Api(served).request("GET", "/metrics").body.decode()
    found = re.findall(r'^watchglass_feed_frames_total\{transport="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {transport: float(count) for transport, count in found}


def routes(served: Served) -> set[str]:
    """What was asked for and answered."""
    text = Api(served).request("GET", "/metrics").body.decode()
    found = re.findall(r'^watchglass_http_requests_total\{.*route="([^"]*)"', text, re.MULTILINE)
    return {route.replace("<", "{").replace(">", "}") for route in found}


def at(url: str, state_dir: Path) -> list[str]:
    """What a command is told to reach the server there."""
    return ["--url", url, "--token-file", str(state_dir / "token")]


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("line ")]


def test_what_follows_speaks_version_2(forgetful: Shell) -> None:
    before = frames(forgetful.served)
    worker = forgetful.create("--", "echo", "hello")
    forgetful.text("attach", worker)
    forgetful.text("events", "-f", worker)
    forgetful.text("logs", "-f", worker)
    forgetful.text("run", "--", "true")
    after = frames(forgetful.served)
    assert after["websocket_v2"] >= before.get("websocket_v2", 0) + 4
    assert after.get("websocket_v1", 0) == before.get("websocket_v1", 0)


def test_a_server_without_version_2_is_followed_in_version_1(forgetful: Shell) -> None:
    served = forgetful.served
    before = frames(served)
    with cutting(served.host, served.port, speaks_v2=False) as proxy:
        env = {"WATCHGLASS_URL": proxy.url, "WATCHGLASS_TOKEN": served.token}
        with started(served.state_dir, "run", "--", "sh", "-c", COUNTING, env=env) as process:
            said = read_until(process, b"line 30\n")
            proxy.cut()
            code, out, _ = ended(process)
        assert (said.decode() + out, code) == (COUNTED, 0)
        worker = forgetful.create("--id", "old", "--", "sh", "-c", "read go; echo heard $go")
        with started(served.state_dir, "attach", worker, env=env) as process:
            read_until(process, b"attached", stream="stderr")
            forgetful.text("input", worker, "it")
            code, out, _ = ended(process)
        assert (code, out.splitlines()[0], "heard it" in out) == (0, "> it", True)
        ours = forgetful("events", "--json", worker).stdout
        kept = [line.partition(b',"prev"')[0] for line in ours.splitlines()]
        through = forgetful("events", "--json", worker, env=env).stdout.splitlines()
        assert [line.removesuffix(b"}") for line in through] == kept
    after = frames(served)
    assert after["websocket_v1"] > before.get("websocket_v1", 0)


def test_a_cursor_whose_events_are_gone_is_a_code_of_its_own_and_says_what_is_kept(forgetful: Shell) -> None:
    worker = forgetful.create("--passive")
    first = Api(forgetful.served).post(f"/v1/workers/{worker}/events", said(1))["first"]
    for _ in range(3):
        Api(forgetful.served).post(f"/v1/workers/{worker}/events", said(KEPT))
    oldest = forgetful.json("status", worker)["worker"]["oldest"]
    for name in ("attach", "events"):
        done = forgetful(name, worker, "--cursor", first)
        told = done.stderr.decode()
        assert (done.returncode, told.count("\n")) == (7, 1)
        assert all(word in told for word in (first, oldest, "retention", "--on-expired snapshot")), told


def test_who_asks_for_it_goes_on_after_what_is_gone(forgetful: Shell) -> None:
    worker = forgetful.create("--passive")
    first = Api(forgetful.served).post(f"/v1/workers/{worker}/events", said(1))["first"]
    for _ in range(3):
        Api(forgetful.served).post(f"/v1/workers/{worker}/events", said(KEPT))
    with started(
        forgetful.state_dir, "attach", worker, "--cursor", first, "--on-expired", "snapshot"
    ) as process:
        told = read_until(process, b"attached", stream="stderr").decode()
        assert "dropped by retention" in told
        assert "going on after wo_" in told
        Api(forgetful.served).post(f"/v1/workers/{worker}/events", said(1, "live\n"))
        read_until(process, b"live\n")
        forgetful.text("stop", worker)
        assert ended(process)[0] == 0
    [reset, *_] = forgetful.lines("events", worker, "--cursor", first, "--on-expired", "snapshot")
    assert (reset["kind"], reset["reason"], reset["requested"]) == ("reset", "retention", first)


def test_who_reads_everybody_hears_in_the_same_words_what_is_gone(forgetful: Shell) -> None:
    worker = forgetful.create("--passive")
    first = Api(forgetful.served).post(f"/v1/workers/{worker}/events", said(1))["first"]
    for _ in range(3):
        Api(forgetful.served).post(f"/v1/workers/{worker}/events", said(KEPT))
    for follow in ([], ["--follow"]):
        done = forgetful("events", *follow, "--cursor", first)
        told = done.stderr.decode()
        assert (done.returncode, told.count("\n")) == (7, 1)
        assert all(word in told for word in (first, "retention", "--on-expired snapshot")), told
    [reset] = forgetful.lines("events", "--cursor", first, "--on-expired", "snapshot")
    assert (reset["kind"], reset["reason"], reset["requested"]) == ("reset", "retention", first)
    with started(
        forgetful.state_dir, "events", "-f", "--cursor", first, "--on-expired", "snapshot"
    ) as process:
        assert "dropped by retention" in read_until(process, b"going on after wo_", stream="stderr").decode()
        Api(forgetful.served).post(f"/v1/workers/{worker}/events", said(1, "live\n"))
        read_until(process, b"live")
        assert ended(process, signal.SIGINT)[0] == 0


def test_a_version_that_knows_no_reset_is_told_apart(forgetful: Shell) -> None:
    served, worker = forgetful.served, forgetful.create("--passive")
    with cutting(served.host, served.port, speaks_v2=False) as proxy:
        env = {"WATCHGLASS_URL": proxy.url, "WATCHGLASS_TOKEN": served.token}
        done = forgetful(
            "events", worker, "--cursor", "wo_ffffffffffffffff", "--on-expired", "snapshot", env=env
        )
    assert (done.returncode, b"speaks version 1" in done.stderr) == (7, True)


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_a_server_that_dies_or_leaves_while_somebody_is_attached_is_gone_on_with(
    tmp_path: Path, way: str
) -> None:
    with durable_server(tmp_path, runtime_id=f"rt-back-{way}") as place, place.serving() as served:
        worker = Shell(served).create("--", "sh", "-c", f"read go; {SLOWLY}")
        with started(tmp_path, "attach", worker) as process:
            told = read_until(process, b"attached", stream="stderr").decode()
            Shell(served).text("input", worker, "go")
            said_first = read_until(process, b"line 30\n")
            getattr(place, way)()
            with place.serving():
                code, out, err = ended(process)
    assert lines_of(said_first.decode() + out) == SLOWLY_COUNTED
    assert code == 0
    assert "taken up again where it was cut" in err
    if way == "stop":  # It said when to come back.
        assert re.search(r"the runtime has stopped.*; coming back in [0-9.]+ s", told + err)


def test_run_goes_on_with_the_next_server_and_closes_the_workers_stdin_there(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    with durable_server(tmp_path, runtime_id="rt-back-run") as place, place.serving():
        script = f"echo begin; {COUNTING}; cat; exit 5"
        with started(tmp_path, "run", "--", "sh", "-c", script, stdin=ours) as process:
            os.close(ours)
            said_first = read_until(process, b"begin\n")
            place.kill()
            os.close(theirs)  # While nobody is there to be told.
            with place.serving():
                code, out, err = ended(process)
    assert (said_first.decode() + out, code) == (f"begin\n{COUNTED}", 5), err


def test_a_wait_for_a_task_goes_on_with_the_next_server(tmp_path: Path) -> None:
    with durable_server(tmp_path, runtime_id="rt-back-task") as place, place.serving() as served:
        task = Shell(served).text("submit", "--", "sh", "-c", f"{SLOWLY}; exit 3").strip()
        with started(tmp_path, "wait", task) as process:
            wait_true(lambda: "/api/v1/tasks/{task_id}" in routes(served), "nobody asked for the task")
            place.kill()
            with place.serving():
                code, out, _ = ended(process)
    final = json.loads(out)
    assert (code, final["exit_code"], final["error"]["code"]) == (1, 3, "exit_non_zero")
    assert final["stdout"].splitlines() == SLOWLY_COUNTED


def test_ctrl_c_while_the_server_is_away_leaves_at_once_with_the_way_back(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        worker = Shell(served).create("--passive")
        with started(tmp_path, "attach", worker) as process:
            read_until(process, b"attached", stream="stderr")
            served.kill()
            read_until(process, b"coming back in", stream="stderr")
            code, _, err = ended(process, signal.SIGINT)
    assert (code, f"watchglass attach {worker} --cursor wo_" in err) == (0, True)


def said(count: int, text: str = "x") -> dict[str, list[dict[str, object]]]:
    return {"events": [{"event": "text_delta", "data": {"text": text}} for _ in range(count)]}


LOUD = "import sys; [print(f'{n:032767}', flush=True) for n in range(1500)]; sys.exit(7)"
LOUDLY = "".join(f"{number:032767}\n" for number in range(1500))


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_run_is_exact_even_where_it_is_held_up_and_retention_overtakes_it(
    forgetful: Shell, unbuffered: str
) -> None:
    worker = f"loud{unbuffered}"
    argv = ("run", "--id", worker, "--", sys.executable, "-c", LOUD)
    env = {"PYTHONUNBUFFERED": unbuffered}  # A raw stdout would write a part, and drop the rest.
    with started(forgetful.state_dir, *argv, env=env) as process:
        said_first = read_until(process, b"1\n")
        process.send_signal(signal.SIGSTOP)
        wait_true(lambda: forgetful.json("status", worker)["worker"]["phase"] == "failed", "it does not end")
        process.send_signal(signal.SIGCONT)
        code, out, err = ended(process)
    assert said_first.decode() + out == LOUDLY
    assert (code, err) == (7, "")
    text = Api(forgetful.served).request("GET", "/metrics").body.decode()
    assert re.search(r'^watchglass_feed_resets_total\{reason="retention"\} [1-9]', text, re.MULTILINE)


def test_run_ends_the_workers_input_even_where_retention_has_dropped_its_start(tmp_path: Path) -> None:
    late = Fate(1, ends="pause", of="client", pause_s=2.0)  # The feed's, the second one.
    with (
        serving(tmp_path, "--allow-host", "127.0.0.1", "--retain-events=5") as served,
        cutting(served.host, served.port, [Fate(), late]) as proxy,
        started(tmp_path, "run", *at(proxy.url, tmp_path), "--", "sh", "-c", f"{COUNTING}; cat") as process,
    ):
        assert ended(process) == (0, COUNTED, "")


def test_run_comes_back_for_the_rest_of_the_logs_when_their_connections_are_lost(tmp_path: Path) -> None:
    fates = [Fate(), Fate(), *[Fate(1)] * 20]  # The creation's and the feed's; then those for logs and input.
    with (
        serving(tmp_path, "--allow-host", "127.0.0.1") as served,
        cutting(served.host, served.port, fates) as proxy,
        started(tmp_path, "run", *at(proxy.url, tmp_path), "--", "echo", "seen") as process,
    ):
        code, out, err = ended(process)
    assert (code, out, len(err.splitlines())) == (0, "seen\n", 1)
