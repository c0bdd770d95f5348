"""`run`: a worker in place of a program."""

from __future__ import annotations

import base64
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.patience import PATIENCE_S
from support.proxy import Fate, cutting
from support.serving import environment, serving, watchglass
from support.shell import Shell, ended, read_until, started
from support.unanswered import unanswered


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 128 + 9), ("kill -15 $$", 128 + 15)]
)
def test_run_exits_as_its_worker_did(shell: Shell, script: str, code: int) -> None:
    assert shell("run", "--", "sh", "-c", script).returncode == code


def test_stdout_and_stderr_are_kept_apart_and_exact(shell: Shell) -> None:
    script = r"printf 'out\000\377'; printf 'err\n\001' >&2"
    done = shell("run", "--", "sh", "-c", script)
    assert (done.stdout, done.stderr) == (b"out\x00\xff", b"err\n\x01")


def test_a_megabyte_goes_through_unchanged(shell: Shell) -> None:
    data = base64.encodebytes(random.Random(7).randbytes(760_000))
    assert len(data) > 1_000_000
    done = shell("run", "--", "cat", stdin=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


def test_blank_lines_travel_too(shell: Shell) -> None:
    data = b"\n\none\n\n  \ntwo\n"
    assert shell("run", "--", "cat", stdin=data).stdout == data


def test_stdin_that_is_no_text_is_told_and_makes_the_run_fail(shell: Shell) -> None:
    done = shell("run", "--", "cat", stdin=b"\xff\n")
    assert done.returncode == 1
    assert b"not UTF-8" in done.stderr


def test_a_worker_that_reads_slowly_gets_everything(tmp_path: Path) -> None:
    data = b"".join(b"%099d\n" % number for number in range(5000))
    with serving(tmp_path, "--input-backlog-bytes", "70000") as served:
        slow = "import sys, time; time.sleep(0.5); sys.stdout.write(sys.stdin.read())"
        done = Shell(served)("run", "--", "python3", "-c", slow, stdin=data)
    assert (done.returncode, done.stdout == data, done.stderr) == (0, True, b"")


def test_a_worker_that_does_not_read_does_not_hold_us_up(shell: Shell) -> None:
    assert shell("run", "--", "true", stdin=b"x\n" * 100_000).returncode == 0


def test_a_jsonl_worker_gets_one_input_a_line(shell: Shell) -> None:
    done = shell("run", "--speech", "jsonl", "--", "cat", stdin=b"one\ntwo\n")
    assert done.stdout == b'{"kind":"user","content":"one"}\n{"kind":"user","content":"two"}\n'


def test_with_json_the_events_are_shown_instead(shell: Shell) -> None:
    lines = shell.lines("run", "--", "echo", "hello")
    told = [line["payload"]["event"] for line in lines]
    assert told[-5:] == [
        "text_done",
        "released",
        "exit",
        "status",
        "end",
    ]
    assert [line["cursor"] for line in lines] == sorted(line["cursor"] for line in lines)


def test_rm_leaves_no_trace_and_detach_leaves_it_running(shell: Shell) -> None:
    assert shell("run", "--rm", "--id", "fleeting", "--", "true").returncode == 0
    assert shell("status", "fleeting").returncode == 3
    worker = shell.text("run", "--detach", "--", "sleep", "60").strip()
    assert shell.json("status", worker)["worker"]["phase"] == "running"
    shell("rm", "--force", worker)


def test_a_worker_that_cannot_be_removed_has_ended_as_it_did(tmp_path: Path) -> None:
    with (
        serving(tmp_path, "--allow-host", "127.0.0.1") as served,
        cutting(served.host, served.port, [Fate(unasked=b"DELETE ")] * 99) as proxy,
    ):
        shell = Shell(served)
        there = {"WATCHGLASS_URL": proxy.url, "WATCHGLASS_TOKEN": served.token}
        for how, code in ((["--id", "w"], 9), (["--id", "t", "--task"], 1)):  # As a task: it was no success.
            done = shell("run", "--rm", *how, "--", "sh", "-c", "exit 9", env=there)
            assert done.returncode == code
            told, kept = done.stderr.decode(), how[1]
            assert told.startswith(
                f"watchglass: {kept} has ended, and is not removed: cannot reach the runtime"
            )
            assert told.endswith(f"; remove it with: watchglass rm {kept}\n")
            assert shell("rm", kept).returncode == 0


def test_a_script_gets_its_arguments_and_an_ended_stdin(shell: Shell) -> None:
    done = shell("run", "--script", "-", "--", "you", stdin=b'cat; echo "hello $1"\n')
    assert (done.returncode, done.stdout) == (0, b"hello you\n")


def test_a_program_that_cannot_be_started_is_one_line(shell: Shell) -> None:
    done = shell("run", "--", "/no/such/program")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)


def test_what_is_not_given_is_told(shell: Shell, tmp_path: Path) -> None:
    plain = shell("run", "--cpu-time", "10m", "--network", "host", "--", "true")
    assert (plain.returncode, plain.stderr) == (0, b"")
    with serving(tmp_path, "--no-cgroups") as served:
        bare = Shell(served)
        less = bare("run", "--id", "unbounded", "--pids", "64", "--", "true")
        assert less.returncode == 0
        assert less.stderr.startswith(b"watchglass: not given: ")
        assert "[not given] " in bare.text("attach", "unbounded", "--cursor", "earliest")
        assert bare("run", "--strict", "--pids", "64", "--", "true").returncode == 1


def test_a_wall_time_that_is_over_is_told(shell: Shell) -> None:
    done = shell("run", "--wall-time", "300ms", "--", "sleep", "60")
    assert done.returncode > 128
    assert b"its wall time was over" in done.stderr


STUBBORN = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]
"""A worker that does not mind to be asked to leave."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_worker(shell: Shell, number: signal.Signals) -> None:
    argv = ["run", "--id", f"asked-{number.name}", "--", "sh", "-c", "echo ready; exec sleep 60"]
    with started(shell.state_dir, *argv) as process:
        read_until(process, b"ready")
        code, _, err = ended(process, number)
    assert code == 128 + 15
    assert "Ctrl-C again cancels" in err
    assert shell.json("status", f"asked-{number.name}")["worker"]["phase"] == "stopped"


def test_a_second_ctrl_c_cancels_a_stubborn_worker(shell: Shell) -> None:
    with started(shell.state_dir, "run", "--id", "stubborn", "--", *STUBBORN) as process:
        read_until(process, b"ready")
        process.send_signal(signal.SIGINT)
        read_until(process, b"Ctrl-C again cancels", stream="stderr")
        code, _, _ = ended(process, signal.SIGINT)
    assert code == 128 + 9
    assert shell.json("status", "stubborn")["worker"]["phase"] == "cancelled"


@pytest.mark.parametrize("how", [[], ["--task"]], ids=["a worker", "a task"])
def test_ctrl_c_does_not_wait_for_a_connection(tmp_path: Path, how: list[str]) -> None:
    with unanswered() as nowhere:
        argv = ["run", *how, "--url", nowhere.url, "--", "true"]
        with started(tmp_path, *argv) as process:
            nowhere.wait_somebody()
            assert ended(process, signal.SIGINT) == (130, "", "")  # And not 5, as when it had waited.


def test_where_nobody_reads_the_worker_is_cancelled(shell: Shell) -> None:
    line = " ".join(
        [
            *watchglass("run", "--id", "unheard", "--", "sh", "-c", "'while sleep 0.05; do echo y; done'"),
            "| head -n 2",
        ]
    )
    done = subprocess.run(
        ["/bin/bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"],
        env=environment(shell.state_dir),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, b"y\ny\n", b"")
    assert shell.json("status", "unheard")["worker"]["phase"] == "cancelled"


def test_a_worker_that_has_to_wait_for_a_slot_still_gets_its_end_of_input(tmp_path: Path) -> None:
    with serving(tmp_path, "--max-running-workers", "1") as served:
        shell = Shell(served)
        first = shell.create("--", "sleep", "60")
        with subprocess.Popen(
            watchglass("run", "--id", "second", "--", "cat"),
            env=environment(tmp_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            process.stdin.write(b"hello\n")
            process.stdin.close()
            process.stdin = None
            wait_there(shell, "second")
            shell("cancel", first)
            assert process.communicate(timeout=PATIENCE_S)[0] == b"hello\n"
            assert process.returncode == 0


def wait_there(shell: Shell, worker: str) -> None:
    """Until a worker is listed; another process creates it."""
    deadline = time.monotonic() + PATIENCE_S
    while worker not in shell.text("ps", "-q").splitlines():
        assert time.monotonic() < deadline


def test_a_terminal_is_not_read_unless_asked(shell: Shell) -> None:
    ours, theirs = os.openpty()
    with subprocess.Popen(
        watchglass("run", "-i", "--", "sh", "-c", 'read line; echo "got $line"'),
        env=environment(shell.state_dir),
        stdin=theirs,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        os.write(ours, b"typed\n")
        assert process.communicate(timeout=PATIENCE_S)[0] == b"got typed\n"
    os.close(ours)
    assert process.returncode == 0
