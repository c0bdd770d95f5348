"""attach, events and logs: nothing missed, nothing twice."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from support.processes import wait_true
from support.proxy import cutting
from support.serving import Served, serving
from support.shell import Shell, ended, read_until, said_on_terminal, started

COUNTING = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo line $i; sleep 0.003; done"
COUNTED = "".join(f"line {number}\n" for number in range(1, 201))
COUNTING_AS_ASKED = (
    "i=0; while read end; do while [ $i -lt $end ]; do i=$((i+1)); echo line $i; sleep 0.003; done; done"
)


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that answers to the name of a proxy."""
    with serving(tmp_path_factory.mktemp("proxied"), "--allow-host", "127.0.0.1") as served:
        yield served


def through(served: Served, url: str) -> dict[str, str]:
    return {"WATCHGLASS_URL": url, "WATCHGLASS_TOKEN": served.token}


def test_attach_misses_nothing_and_repeats_nothing_over_cuts(behind_proxy: Served) -> None:
    shell = Shell(behind_proxy)
    with cutting(behind_proxy.host, behind_proxy.port) as proxy:
        worker = shell.create("--", "sh", "-c", COUNTING_AS_ASKED)
        env = through(behind_proxy, proxy.url)
        with started(shell.state_dir, "attach", worker, env=env) as process:
            told = read_until(process, b"attached", stream="stderr")
            shell.text("input", worker, "30")
            said = read_until(process, b"line 30\n")
            for end in (80, 130, 200):
                shell.text("input", worker, f"{end}")
                proxy.cut()  # While it counts.
                told += read_until(process, b"taken up again", stream="stderr")
                said = read_until(process, b"line %d\n" % end, said=said)
            shell.text("close-stdin", worker)
            code, out, err = ended(process)
        assert proxy.connections == 5  # The feed's four, and one that asked what was said before.
    lines = [line for line in (said.decode() + out).splitlines() if line.startswith("line ")]
    assert "".join(f"{line}\n" for line in lines) == COUNTED
    assert (code, (told.decode() + err).count("taken up again")) == (0, 3)


def test_run_is_exact_over_cuts(behind_proxy: Served) -> None:
    with cutting(behind_proxy.host, behind_proxy.port) as proxy:
        env = through(behind_proxy, proxy.url)
        with started(behind_proxy.state_dir, "run", "--", "sh", "-c", COUNTING, env=env) as process:
            said = read_until(process, b"line 30\n")
            proxy.cut()
            said = read_until(process, b"line 100\n", said=said)
            proxy.cut()
            code, out, _ = ended(process)
    assert (said.decode() + out, code) == (COUNTED, 0)


def test_attach_shows_what_was_said_before(shell: Shell) -> None:
    worker = shell.create("--", "cat")
    shell.text("input", worker, "once")
    wait_true(lambda: spoken(shell, worker) == "once\n", "it does not answer")
    shell.text("input", worker, "twice")
    shell.text("close-stdin", worker)
    assert shell.wait_ended(worker)["phase"] == "succeeded"
    out = shell.text("attach", worker)
    assert out == "> once\n< once\n> twice\n< twice\n"


def spoken(shell: Shell, worker: str) -> str:
    """The text of its stdout that is in its journal."""
    payloads = (line["payload"] for line in shell.lines("events", worker))
    return "".join(payload["data"]["text"] for payload in payloads if payload["event"] == "text_delta")


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 1)])
def test_attach_tells_how_the_worker_ended(shell: Shell, script: str, code: int) -> None:
    worker = shell.create("--", "sh", "-c", f"read go; {script}")
    with started(shell.state_dir, "attach", worker) as process:
        read_until(process, b"attached", stream="stderr")
        shell.text("input", worker, "go")
        got, out, err = ended(process)
    assert got == code
    assert out.splitlines()[0] == "> go"
    assert "has ended" in err


def test_ctrl_c_detaches_and_says_how_to_come_back(shell: Shell) -> None:
    worker = shell.create("--", "sh", "-c", "echo begin; read go; echo end")
    with started(shell.state_dir, "attach", worker, "--cursor", "earliest") as process:
        said = read_until(process, b"begin\n").decode()
        code, out, err = ended(process, signal.SIGINT)
    assert code == 0
    assert "begin" in said + out
    way_back = re.search(r"watchglass (attach \S+ --cursor wo_[0-9a-f]{16})\n", err)
    assert way_back is not None, err
    assert shell.json("status", worker)["worker"]["phase"] == "running"
    with started(shell.state_dir, *way_back[1].split()) as process:
        shell.text("input", worker, "go")
        code, out, _ = ended(process)
    assert (code, "begin" in out, "end\n" in out) == (0, False, True)


def test_attach_with_json_prints_the_events_alone(shell: Shell) -> None:
    worker = shell.create("--", "echo", "hello")
    shell.wait_ended(worker)
    attached = shell.lines("attach", worker, "--cursor", "earliest")
    assert attached == shell.lines("events", worker)
    assert attached[-1]["payload"]["event"] == "end"


def test_an_agents_steps_are_lines_of_their_own(shell: Shell) -> None:
    steps = [
        {"event": "tool_call_start", "data": {"id": "1", "name": "count"}},
        {"event": "text_delta", "data": {"text": "half a line"}},
        {"event": "turn_end", "data": {"turn": 1}},
        {"event": "its.own", "data": {"a": "\x1b[2J"}},
    ]
    script = "".join(f"{json.dumps(step)}\n" for step in steps)
    worker = shell.create("--speech", "jsonl", "--script", "-", stdin=f"cat <<'EOF'\n{script}EOF\n".encode())
    shell.wait_ended(worker)
    out = shell.text("attach", worker, "--cursor", "earliest").splitlines()
    begin = out.index('[tool_call_start] {"id": "1", "name": "count"}')
    assert out[begin + 1 : begin + 4] == [
        "half a line",
        '[turn_end] {"turn": 1}',
        '[its.own] {"a": "\\u001b[2J"}',
    ]


def test_events_go_up_to_now_and_end_there(shell: Shell) -> None:
    worker = shell.create("--", "sh", "-c", "echo hello; exec sleep 60")
    with started(shell.state_dir, "events", "-f", worker) as process:
        read_until(process, b"text_delta")
        wait_true(lambda: spoken(shell, worker) == "hello\n", "it does not say all of it")
        lines = shell.text("events", worker).splitlines()
        names = [line.split()[2] for line in lines]
        assert names[:5] == ["status", "execution_plan", "reserved", "status", "status"]
        assert set(names[5:]) == {"text_delta"}  # In pieces, perhaps.
        cursor = lines[1].split()[1]
        later = shell.lines("events", worker, "--cursor", cursor)
        assert [line["cursor"] for line in later] == [line.split()[1] for line in lines[2:]]
        assert shell.text("events", worker, "--cursor", "latest") == ""
        shell.text("stop", worker)
        code, out, err = ended(process)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].split()[2] == "end"


def test_a_journal_that_does_not_fit_one_read_is_printed_whole(shell: Shell) -> None:
    worker = shell.create("--", "sh", "-c", "seq 1 20000")
    shell.wait_ended(worker)
    lines = shell.lines("events", worker)
    texts = [line["payload"]["data"]["text"] for line in lines if line["payload"]["event"] == "text_delta"]
    assert "".join(texts).split() == [str(number) for number in range(1, 20001)]


def test_a_cursor_that_is_none_is_a_wrong_command_line(shell: Shell) -> None:
    worker = shell.create("--passive")
    for name in ("attach", "events"):
        done = shell(name, worker, "--cursor", "yesterday")
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    done = shell("events", worker, "--cursor", "wo_ffffffffffffffff")
    assert (done.returncode, b"does not reach so far" in done.stderr) == (7, True)
    done = shell("events", worker, "--cursor", "tail:many")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)


def test_logs_are_the_exact_bytes(shell: Shell) -> None:
    worker = shell.create("--", "sh", "-c", r"printf 'a\000\377b\n'; printf 'oh\n' >&2")
    shell.wait_ended(worker)
    assert shell("logs", worker).stdout == b"a\x00\xffb\n"
    assert shell("logs", "--stderr", worker).stdout == b"oh\n"
    assert shell("logs", "--offset", "1", "--limit", "2", worker).stdout == b"\x00\xff"
    assert shell("logs", "--offset", "5", worker).stdout == b""
    assert shell("logs", "--offset", "6", worker).returncode == 1
    [piece] = shell.lines("logs", worker)
    assert piece == {"stream": "stdout", "offset": 0, "length": 5, "base64": "YQD/Ygo="}
    [piece] = shell.lines("logs", "--stderr", worker)
    assert piece == {"stream": "stderr", "offset": 0, "length": 3, "text": "oh\n"}
    assert shell("logs", shell.create("--passive")).returncode == 1


def test_logs_go_on_until_the_worker_ends(shell: Shell) -> None:
    worker = shell.create("--", "sh", "-c", f"echo begin; read go; {COUNTING}")
    with started(shell.state_dir, "logs", "-f", worker) as process:
        said = read_until(process, b"begin\n")
        shell.text("input", worker, "go")
        code, out, err = ended(process)
    assert (said.decode() + out, code, err) == (f"begin\n{COUNTED}", 0, "")


def test_a_runtime_that_comes_back_elsewhere_is_found_again(tmp_path: Path) -> None:
    with serving(tmp_path, "--runtime-id", "rt-moving") as served:
        worker = Shell(served).create("--", "sleep", "60")
        with started(tmp_path, "attach", worker, "--retry-for", "20") as process:
            read_until(process, b"attached", stream="stderr")
            served.process.kill()
            served.process.wait()
            with serving(tmp_path, "--runtime-id", "rt-moving"):
                code, _, err = ended(process)
    assert (code, "no worker" in err) == (3, True)  # The memory store forgets; the new server said so.


def test_a_runtime_that_does_not_come_back_is_exit_code_5(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        worker = Shell(served).create("--passive")
        with started(tmp_path, "attach", worker, "--retry-for", "0.5") as process:
            read_until(process, b"attached", stream="stderr")
            served.process.kill()
            served.process.wait()
            began = time.monotonic()
            code, _, err = ended(process)
    assert (code, "cannot reach" in err) == (5, True)
    assert time.monotonic() - began < 30, "it tried as long as it does untold"


def test_on_a_terminal_there_are_tables_and_colours_unless_they_are_unwanted(shell: Shell) -> None:
    shell.create("--passive", "--label", "screen=1")
    assert "\x1b[" in listed_on_terminal(shell, {"TERM": "xterm-256color"})
    assert "\x1b[3" not in listed_on_terminal(shell, {"TERM": "xterm-256color", "NO_COLOR": "1"})


def test_a_terminal_too_narrow_for_a_table_gets_whole_words(shell: Shell) -> None:
    shell.create("--passive", "--label", "screen=1")
    said = listed_on_terminal(shell, {"TERM": "xterm-256color", "COLUMNS": "40"})
    assert said.split()[:6] == ["WORKER", "PHASE", "EXIT", "CREATED", "SAID", "PROGRAM"]


def listed_on_terminal(shell: Shell, env: dict[str, str]) -> str:
    return said_on_terminal(shell.state_dir, "ps", "--label", "screen=1", env=env)


def without_prev(envelopes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`prev` is the event before in the same feed."""
    return [{name: value for name, value in each.items() if name != "prev"} for each in envelopes]


def test_of_a_worker_s_events_those_of_some_names_may_be_asked_for(shell: Shell) -> None:
    worker = shell.create("--", "echo", "hello, glass")
    followed = shell.lines("events", "-f", "--types", "text_delta,exit", worker)
    heard = [line["payload"]["event"] for line in followed]
    assert [name for name, _ in groupby(heard)] == ["text_delta", "exit"]
    for names in ("text_delta,exit", "status", "nonesuch"):
        wanted = [
            line for line in shell.lines("events", worker) if line["payload"]["event"] in names.split(",")
        ]
        told = shell.lines("events", "--types", names, worker)
        assert without_prev(told) == without_prev(wanted)


def test_everybodys_events_come_in_one_order_up_to_now(shell: Shell) -> None:
    one, two = shell.create("--passive"), shell.create("--passive")
    shell.text("stop", one)
    lines = shell.lines("events")
    cursors = [line["cursor"] for line in lines]
    assert cursors == sorted(set(cursors))
    theirs = [line for line in lines if line["worker_id"] == one]
    assert without_prev(theirs) == without_prev(shell.lines("events", one))
    after = shell.lines("events", "--workers", two, "--after", cursors[-2])
    assert [line["cursor"] for line in after] == [
        line["cursor"] for line in lines[-1:] if line["worker_id"] in {two, "runtime"}
    ]
    created = shell.text("events", "--types", "worker_created").splitlines()
    assert [line.split()[2:4] for line in created[-2:]] == [["runtime", "worker_created"]] * 2


def test_everybody_is_followed_until_somebody_leaves(shell: Shell) -> None:
    with started(shell.state_dir, "events", "-f", "--types", "worker_created") as process:
        worker = shell.create("--passive")
        read_until(process, worker.encode())
        process.send_signal(signal.SIGINT)
        code, _, err = ended(process)
    assert code == 0
    assert "go on with: watchglass events -f --workers '*' --cursor wo_" in err


def test_what_cannot_be_asked_of_everybody_is_a_wrong_command_line(shell: Shell) -> None:
    worker = shell.create("--passive")
    for wrong in (("--workers", "a b"), ("--cursor", "yesterday"), (worker, "--workers", "*")):
        done = shell("events", *wrong)
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1), done
    done = shell("events", "--workers", "nobody")
    assert (done.returncode, b"'nobody'" in done.stderr) == (3, True), done
