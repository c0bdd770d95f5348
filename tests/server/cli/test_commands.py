"""The commands that ask once: what they do, and the JSON that they print."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.shell import Shell


@pytest.fixture
def cat(shell: Shell) -> str:
    """A worker that says what it is told."""
    return shell.create("--", "cat")


def test_a_relative_program_file_runs_from_the_callers_folder(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("import os; print(os.getcwd(), sorted(os.environ))\n")
    worker = shell.create("-e", "MINE=1", "--", Path(sys.executable).name, "agent.py", cwd=tmp_path)
    assert shell.wait_ended(worker)["phase"] == "succeeded"
    said = shell.text("logs", worker)
    assert said.startswith(str(tmp_path))
    for name in ("MINE", "PATH", "WATCHGLASS_WORKER"):
        assert name in said
    assert "WATCHGLASS_STATE_DIR" not in said


def test_create_prints_the_id_alone(shell: Shell) -> None:
    assert shell.text("create", "--id", "mine.1", "--passive") == "mine.1\n"
    assert shell.json("create", "--passive")["worker"]["phase"] == "running"
    done = shell("create", "--id", "mine.1", "--passive")
    assert done.returncode == 1
    assert b"exists already" in done.stderr


def test_a_script_can_come_from_stdin(shell: Shell) -> None:
    worker = shell.create("--script", "-", "--", "there", stdin=b"echo hello $1\n")
    shell.wait_ended(worker)
    assert shell.text("logs", worker) == "hello there\n"


def test_input_is_said_and_answered(shell: Shell, cat: str) -> None:
    assert shell.text("input", cat, "hello", "there") == ""
    assert shell.json("input", cat, stdin=b"and here\n")["ack"]["transcript_sequence"] >= 2
    shell.text("input", "--system", cat, "from above")
    shell.text("close-stdin", cat)
    shell.wait_ended(cat)
    assert shell.text("logs", cat) == "hello there\nand here\nfrom above\n"
    entries = shell.json("transcript", cat)["transcript"]["items"]
    assert {entry["role"] for entry in entries} == {"user", "system", "assistant"}
    assert [entry["content"] for entry in entries if entry["role"] == "user"] == ["hello there", "and here"]
    assert "user         hello there" in shell.text("transcript", cat)
    assert (
        shell.json("transcript", cat, "--start", "1", "--limit", "1")["transcript"]["items"] == entries[1:2]
    )


def test_a_long_transcript_is_put_together(shell: Shell) -> None:
    worker = shell.create("--", "cat")
    for number in range(3):
        shell.text("input", worker, f"line {number}")
    window = shell.json("transcript", worker, "--limit", "2")["transcript"]
    assert (len(window["items"]), window["next_start"]) == (2, 2)
    shell("rm", "-f", worker)


def test_blank_input_is_refused(shell: Shell, cat: str) -> None:
    done = shell("input", cat, " ")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"must not be blank" in done.stderr


def test_ps_lists_and_filters(shell: Shell) -> None:
    worker = shell.create("--passive", "--label", "colour=blue")
    other = shell.create("--passive", "--label", "colour=red")
    listed = [each["worker_id"] for each in shell.json("ps", "--label", "colour=blue")["workers"]]
    assert listed == [worker]
    everything = shell.text("ps").splitlines()
    assert everything[0].split() == ["WORKER", "PHASE", "EXIT", "CREATED", "SAID", "PROGRAM"]
    assert {worker, other} <= {line.split()[0] for line in everything}
    shell("stop", worker)
    assert worker in shell.text("ps", "-q", "--status", "stopped").splitlines()
    assert worker not in shell.text("ps", "-q", "--phase", "running").splitlines()
    asleep = shell("ps", "--status", "asleep")
    assert asleep.returncode == 2
    assert b"--status 'asleep': use one of 'running', 'stopped' or 'cancelled'" in asleep.stderr


def test_stop_waits_for_the_end_and_may_be_repeated(shell: Shell, cat: str) -> None:
    [first] = shell.lines("stop", cat, "--reason", "enough")
    [again] = shell.lines("stop", cat)
    assert first == again
    assert first["ack"]["phase"] == "stopped"
    assert shell.json("status", cat)["worker"]["exit"]["reason"] == "stopped"


def test_cancel_takes_several(shell: Shell) -> None:
    workers = [shell.create("--", "sleep", "60") for _ in range(2)]
    assert [line["ack"]["phase"] for line in shell.lines("cancel", *workers)] == ["cancelled"] * 2


def test_rm_forgets(shell: Shell, cat: str) -> None:
    other = shell.create("--passive")
    shell.text("stop", other)
    assert shell.lines("rm", "--force", cat, other) == [{"removed": cat}, {"removed": other}]
    assert shell("status", cat).returncode == 3
    assert shell("rm", cat).returncode == 3


def test_a_signal_reaches_the_process(shell: Shell) -> None:
    worker = shell.create("--", "sleep", "60")
    assert shell.json("signal", worker, "sigusr1")["ack"]["worker_ref"]["worker_id"] == worker
    assert shell.wait_ended(worker)["exit"] == {"code": None, "signal": 10, "reason": "signalled"}
    other = shell.create("--", "sleep", "60")
    assert shell("signal", other, "SIGNONE").returncode == 1
    assert shell.text("interrupt", other) == ""
    assert shell.wait_ended(other)["exit"]["signal"] == 2


def test_status_shows_a_worker_or_the_runtime(shell: Shell, cat: str) -> None:
    assert shell.json("status")["runtime"]["runtime_id"] == shell.served.runtime_id
    assert shell.served.url in shell.text("status")
    assert shell.json("status", cat)["worker"]["worker_id"] == cat
    shown = shell.text("status", cat)
    assert "status   running\n" in shown
    assert "cat" in shown


def test_explain_is_a_sentence(shell: Shell, cat: str) -> None:
    assert shell.json("explain", cat)["explanation"]["phase"] == "running"
    assert shell.text("explain", cat) == f"{cat} is running\n"


def test_a_refused_field_is_named_as_the_option_that_it_came_from(shell: Shell, cat: str) -> None:
    for argv, says in (
        (["run", "--id", "a b", "--", "true"], b"error: --id: may have letters"),
        (["create", "--tenant", " ", "--", "true"], b"error: --tenant: must not be blank"),
        (["submit", "--owner", " ", "--", "true"], b"error: --owner: must not be blank"),
        (["input", cat, " "], b"error: what is said: must not be blank"),
    ):
        done = shell(*argv)
        assert (done.returncode, says in done.stderr) == (1, True), done.stderr


def test_a_refused_field_of_a_whole_request_is_named_as_it_stands_there(shell: Shell) -> None:
    done = shell("submit", "--request", "-", stdin=b'{"task_id": "a b", "execution": {"program": "true"}}')
    assert (done.returncode, done.stderr.startswith(b"watchglass: error: task_id: may")) == (1, True)


def test_a_worker_where_a_task_belongs_is_told_what_is_for_workers(shell: Shell, cat: str) -> None:
    for argv, instead in (("wait", "watchglass attach"), ("kill", "watchglass stop")):
        done = shell(argv, cat)
        assert (done.returncode, done.stdout) == (3, b"")
        told = done.stderr.decode()
        assert told.startswith(f"watchglass: error: {cat!r} is a worker, and no task; '{instead}' ")
        assert shell(argv, "nobody").stderr == b"watchglass: error: no task 'nobody'\n"
    assert shell.json("status", cat)["worker"]["phase"] == "running"


def test_a_program_that_is_not_there_is_one_line(shell: Shell) -> None:
    for program in ("nonesuch", "/no/such/program"):
        done = shell("create", "--", program)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
        assert program.encode() in done.stderr


def test_nothing_that_a_worker_says_moves_the_cursor_of_a_terminal(shell: Shell) -> None:
    worker = shell.create("--passive", "--metadata", "note=\x1b[2J")
    assert "\x1b" not in shell.text("status", worker)
