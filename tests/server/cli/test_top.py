"""`top`: what it shows of a real runtime, once, as JSON and live on a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from collections.abc import Iterator

import pytest

from watchglass.server.cli.trees import Stat, parse_stat, read_stats, usage_of

from support.patience import PATIENCE_S
from support.processes import wait_true
from support.serving import environment, serving, watchglass
from support.shell import Shell

FORKING = "(exec sleep 60) & setsid sleep 60 & echo ready; wait"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    flags = ("--max-running-workers=2", "--capacity-memory=1073741824", "--tenant=blue=slots:1")
    with serving(tmp_path_factory.mktemp("state"), "--default-memory=268435456", *flags) as served:
        yield Shell(served)


@pytest.fixture
def workers(shared: Shell) -> Iterator[Shell]:
    for worker_id in ("first", "second", "third"):
        shared.create("--id", worker_id, "--", "sh", "-c", FORKING)
    yield shared
    shared.text("rm", "--force", "third", "second", "first")


def test_it_shows_who_holds_what_and_who_waits(workers: Shell) -> None:
    lines = workers.text("top", "--once").splitlines()
    assert lines[0].endswith("2 of 2 slots, 512.0 MiB of 1.0 GiB memory")
    assert lines[1] == "2 running, 1 waiting"
    assert lines[2] == "tenant blue: 0 of 1 slots, 0 B memory, 0 waiting"
    rows = [line.split() for line in lines[4:]]
    assert rows[0] == [
        "WORKER",
        "PHASE",
        "TENANT",
        "SLOTS",
        "MEMORY",
        "PIDS",
        "CPU",
        "RSS",
        "PROCS",
        "PROGRAM",
    ]
    assert [row[:2] for row in rows[1:]] == [
        ["first", "running"],
        ["second", "running"],
        ["third", "accepted"],
    ]
    assert rows[1][2:5] == ["1", "256.0", "MiB"]
    [program] = rows[3][2:]
    assert program.endswith("sh")


def test_a_workers_whole_tree_is_counted_also_what_left_its_session(workers: Shell) -> None:
    def processes() -> int:
        told = workers.json("top")["workers"]
        return int(next(each for each in told if each["worker_id"] == "first")["usage_now"]["processes"])

    wait_true(lambda: processes() == 3, "the shell and both that it forked")
    usage = workers.json("top")["workers"][0]["usage_now"]
    assert usage["rss_bytes"] > 0
    assert usage["cpu_s"] >= 0


def test_as_json_it_is_what_the_runtime_says(workers: Shell) -> None:
    told = workers.json("top")
    assert told["resources"]["reserved"]["task_slots"] == 2
    assert [each["worker_id"] for each in told["workers"]] == ["first", "second", "third"]
    assert told["workers"][2]["usage_now"] is None


def test_on_a_terminal_it_goes_on_until_ctrl_c(workers: Shell) -> None:
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            watchglass("top", "--every", "0.1"),
            env=environment(workers.state_dir, {"TERM": "xterm", "COLUMNS": "120"}),
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
        ) as process:
            os.close(theirs)
            shown = b""
            while shown.count(b"first") < 2:
                shown += os.read(ours, 65536)
            process.send_signal(signal.SIGINT)
            left = b""
            while piece := _read(ours):
                left += piece
            _, said = process.communicate(timeout=PATIENCE_S)
            assert (process.returncode, said) == (0, b"")
    finally:
        os.close(ours)
    assert b"2 of 2 slots" in shown


def _read(terminal: int) -> bytes:
    """What was written to a terminal; nothing when its other side is closed (EIO)."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def test_a_name_of_a_process_may_hold_anything() -> None:
    head = "7 (a) R (b) S 3 7 7 0 -1 4194560 1 2 3 4 50 25 6 7 20 0 1 0 99 1000 42 18446744073709551615"
    assert parse_stat(head) == Stat(parent=3, cpu_ticks=75, rss_pages=42)


def test_a_tree_is_what_stands_below_the_parent_of_the_program() -> None:
    stats = {1: Stat(0, 9, 9), 5: Stat(1, 9, 9), 6: Stat(5, 100, 2), 7: Stat(6, 50, 1), 8: Stat(5, 50, 1)}
    used = usage_of([6, 99], stats)
    assert used.keys() == {6}
    assert used[6].processes == 3
    assert used[6].cpu_s == 200 / os.sysconf("SC_CLK_TCK")
    assert used[6].rss_bytes == 4 * os.sysconf("SC_PAGE_SIZE")


def test_our_own_process_is_read_as_the_system_has_it() -> None:
    assert read_stats()[os.getpid()].parent == os.getppid()
