"""The demo passes, and leaves nothing behind, however it ends."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from watchglass.protocol.cursor import encode_cursor
from watchglass.server.cli.demo_observer import Cut, Seen, faults_of

from support.shell import command, ended, read_until, said_on_terminal, started


def left_behind(marker: str) -> list[str]:
    """Processes that have this text in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    return found


def test_the_demo_proves_that_nothing_was_missed(tmp_path: Path) -> None:
    done = command(tmp_path, "demo", "--json", env={"TMPDIR": str(tmp_path)})
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], told["faults"]) == (0, True, [])
    assert [worker["worker"] for worker in told["workers"]] == ["shell", "primes", "clerk"]
    [cut] = [worker for worker in told["workers"] if worker["cut_at"]]
    assert (cut["connections"], cut["missed"], cut["duplicated"]) == (2, 0, 0)
    assert list(tmp_path.iterdir()) == []
    assert left_behind(str(tmp_path)) == []


@pytest.mark.soak
def test_in_a_pipe_the_demo_is_lines_with_a_name(tmp_path: Path) -> None:
    done = command(tmp_path, "demo", env={"TMPDIR": str(tmp_path)})
    out = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert "\x1b" not in out
    assert " shell | line 5 of the shell with pid " in out
    assert "clerk | [tool_call_start] " in out
    assert "missed 0   duplicated 0" in out
    assert "Nothing was missed" in out


@pytest.mark.soak
def test_on_a_terminal_the_demo_shows_columns(tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path), "TERM": "xterm", "COLUMNS": "120"}
    said = said_on_terminal(tmp_path, "demo", env=env)
    assert "Nothing was missed" in said
    assert all(f" {name} " in said for name in ("shell", "primes", "clerk"))


@pytest.mark.parametrize(
    ("number", "after"),
    [
        (signal.SIGINT, b"a runtime of our own"),
        (signal.SIGINT, b"line 2 of the shell"),
        (signal.SIGTERM, b"started clerk"),
    ],
)
def test_a_demo_that_is_interrupted_leaves_nothing(
    tmp_path: Path, number: signal.Signals, after: bytes
) -> None:
    with started(tmp_path, "demo", env={"TMPDIR": str(tmp_path)}) as process:
        read_until(process, after)
        code, _, err = ended(process, number)
    assert (code, err) == (130, "")
    assert list(tmp_path.iterdir()) == []
    assert left_behind(str(tmp_path)) == []


def test_a_demo_that_cannot_start_its_runtime_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "evil" / "quart"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise SystemExit('no quart today')")
    done = command(tmp_path, "demo", env={"TMPDIR": str(tmp_path), "PYTHONPATH": str(tmp_path / "evil")})
    assert done.returncode == 1
    assert done.stderr.startswith(b"watchglass: error: the demo's runtime did not start: ")
    assert b"no quart today" in done.stderr


def seen(*seqs: int, ended: bool = True) -> Seen:
    return Seen([(encode_cursor(seq), "text_delta", {"text": f"{seq} "}) for seq in seqs], ended=ended)


def test_the_demos_checks_find_what_is_wrong() -> None:
    raw = "1 2 3 "
    assert faults_of(seen(1, 2, 3), seen(1, 2, 3), raw, speech="text") == []
    assert "missed 1 events" in faults_of(seen(1, 3), seen(1, 2, 3), raw, speech="text")
    assert "saw 1 events twice" in faults_of(seen(1, 2, 2, 3), seen(1, 2, 3), raw, speech="text")
    assert "saw 1 events that are not in the log" in faults_of(
        seen(1, 2, 3, 4), seen(1, 2, 3), raw, speech="text"
    )
    assert any("order" in fault for fault in faults_of(seen(1, 3, 2), seen(1, 2, 3), raw, speech="text"))
    assert any("wrote" in fault for fault in faults_of(seen(1, 2), seen(1, 2), raw, speech="text"))
    assert any(
        "end" in fault for fault in faults_of(seen(1, 2, 3, ended=False), seen(1, 2, 3), raw, speech="text")
    )


def test_what_came_while_an_observer_was_away_is_counted() -> None:
    watched = seen(1, 2, 3, 4, 5)
    watched.cut = Cut(at=encode_cursor(2), head_at_return=encode_cursor(4))
    assert watched.while_away() == 2
