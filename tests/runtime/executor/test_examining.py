"""What supervisors leave: damage is told, every byte of output can be read after a repair."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from watchglass.runtime.executor._adoption import read_run
from watchglass.runtime.executor._output import Output
from watchglass.runtime.executor.examining import SupervisorFiles
from watchglass.runtime.executor.exits import read_report
from watchglass.runtime.executor.host import linux
from watchglass.runtime.executor.host.pump import RECORD
from watchglass.store.filesystem.aside import Aside
from watchglass.store.filesystem.files import Files
from watchglass.store.filesystem.layout import Layout

from support.damage import flip

PIECES = [(1, b"hello "), (2, b"oh\n"), (1, b"there\n"), (1, b"and more\n"), (2, b"no\n"), (1, b"bye\n")]
STDOUT = b"hello there\nand more\nbye\n"
STDERR = b"oh\nno\n"


class Worker:
    """A worker's folder in a runtime's."""

    def __init__(self, base: Path) -> None:
        self.layout = Layout(base)
        self.directory = base / "workers" / "w"
        self.directory.mkdir(parents=True)

    def wrote(self) -> None:
        ends = {1: 0, 2: 0}
        index = b""
        for number, (stream, data) in enumerate(PIECES):
            index += RECORD.pack(1000 + number, ends[stream], len(data), stream)
            ends[stream] += len(data)
        (self.directory / "output.idx").write_bytes(index)
        (self.directory / "stdout.log").write_bytes(STDOUT)
        (self.directory / "stderr.log").write_bytes(STDERR)

    def ran(self, *, is_running: bool = False) -> None:
        pid = os.getpid() if is_running else 1
        ticks = linux.start_ticks(pid) if is_running else 0
        process = {"pid": pid, "start_ticks": ticks}
        run = {
            "boot_id": linux.boot_id(),
            "supervisor": process,
            "worker": process,
            "started_at_us": 1,
            "plan": {},
        }
        (self.directory / "run.json").write_text(json.dumps(run))

    def exited(self) -> None:
        usage = {"user_cpu_ms": 1, "system_cpu_ms": 1, "max_rss_bytes": 1, "duration_ms": 1}
        report: dict[str, Any] = {
            "code": 0,
            "signal": None,
            "cause": None,
            "ended_at_us": 1,
            "usage": usage,
            "stdout": {"total_bytes": len(STDOUT), "kept_bytes": len(STDOUT)},
            "stderr": {"total_bytes": len(STDERR), "kept_bytes": len(STDERR)},
            "undelivered_input_bytes": 0,
            "strays_killed": 0,
            "output_errno": None,
            "received_input_bytes": 0,
        }
        (self.directory / "exit.json").write_text(json.dumps(report))

    def path(self, name: str) -> Path:
        return self.directory / name

    def codes(self) -> list[str]:
        return [each.code for each in SupervisorFiles().examine(str(self.directory), "w").problems]

    def repair(self) -> None:
        """Repair; then nothing is wrong, and what was there is there or aside."""
        before = {path.read_bytes() for path in self.directory.iterdir()}
        aside = Aside(Files(), self.layout, 1_700_000_000_000_000)
        for fix in SupervisorFiles().examine(str(self.directory), "w").fixes:
            fix(aside)
        assert self.codes() == []
        after = {path.read_bytes() for path in self.layout.path.rglob("*") if path.is_file()}
        assert before <= after

    def read(self) -> dict[str, bytes]:
        """All output, as the runtime reads it."""
        output = Output(self.directory)
        said = {"stdout": b"", "stderr": b""}
        while chunks := output.read(7):
            for chunk in chunks:
                assert chunk.offset == len(said[chunk.stream])
                said[chunk.stream] += chunk.data
        report = read_report(self.directory)
        if report is not None:
            output.finish(report.exit.stdout.kept_bytes, report.exit.stderr.kept_bytes)
        output.close()
        return said


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    worker = Worker(tmp_path)
    worker.wrote()
    worker.ran()
    worker.exited()
    return worker


def test_what_a_supervisor_leaves_has_no_problem(worker: Worker, tmp_path: Path) -> None:
    assert worker.codes() == []
    assert Worker(tmp_path / "passive").codes() == []


def test_every_bit_of_the_index_may_flip_and_every_byte_can_still_be_read(worker: Worker) -> None:
    index = worker.path("output.idx").read_bytes()
    for offset in range(len(index)):
        if offset % RECORD.size < 8:
            continue  # The time: any is as good as another.
        worker.path("output.idx").write_bytes(index)
        flip(worker.path("output.idx"), offset, offset % 8)
        assert worker.codes() in (["output_index_corrupt"], ["output_index_short"])
        worker.repair()
        assert worker.read() == {"stdout": STDOUT, "stderr": STDERR}


@pytest.mark.parametrize("size", [0, 24, 24 * 5, 24 * 5 + 11])
def test_an_index_that_was_cut_is_made_again(worker: Worker, size: int) -> None:
    path = worker.path("output.idx")
    path.write_bytes(path.read_bytes()[:size])
    assert worker.codes() == ["output_index_short"]
    worker.repair()
    assert worker.read() == {"stdout": STDOUT, "stderr": STDERR}


def test_half_a_record_behind_the_last_is_cut_off(worker: Worker) -> None:
    with worker.path("output.idx").open("ab") as file:
        file.write(b"half")
    assert worker.codes() == ["output_index_torn"]
    worker.repair()
    assert worker.read() == {"stdout": STDOUT, "stderr": STDERR}


def test_a_log_that_was_cut_is_told_and_what_is_left_can_be_read(worker: Worker) -> None:
    worker.path("stdout.log").write_bytes(STDOUT[:9])
    assert worker.codes() == ["output_index_corrupt", "output_log_short"]
    worker.repair()
    assert worker.read() == {"stdout": STDOUT[:9], "stderr": STDERR}
    report = read_report(worker.directory)
    assert report is not None
    assert report.exit.stdout.is_truncated


def test_nothing_is_done_to_an_index_while_its_program_runs(worker: Worker) -> None:
    worker.ran(is_running=True)
    worker.path("exit.json").unlink()
    flip(worker.path("output.idx"), 33, 1)
    exam = SupervisorFiles().examine(str(worker.directory), "w")
    assert [(each.code, each.repair) for each in exam.problems] == [("output_index_corrupt", None)]
    assert exam.fixes == []
    assert SupervisorFiles().running(str(worker.directory)) == os.getpid()


def test_a_run_that_cannot_be_read_still_says_that_the_program_ran(worker: Worker) -> None:
    worker.path("run.json").write_bytes(b'{"boot_id": "x')
    before = read_run(worker.directory)
    assert worker.codes() == ["run_unreadable"]
    worker.repair()
    assert read_run(worker.directory) == before


def test_an_exit_that_cannot_be_read_goes_aside(worker: Worker) -> None:
    worker.path("exit.json").write_bytes(bytes(4096))
    assert worker.codes() == ["exit_unreadable"]
    worker.repair()
    assert not worker.path("exit.json").exists()
