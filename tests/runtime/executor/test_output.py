"""A worker's output: exact in its files, in common order, and never a reason to wait."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from watchglass.runtime.executor import OutputChunk, StreamTotals
from watchglass.runtime.executor._output import Output

from support.patience import PATIENCE_S
from support.processes import wait_true
from support.tasks import until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from runtime.executor.conftest import Lab


pytestmark = pytest.mark.asyncio

MIB = 1 << 20
NUMBERED_BLOCKS = """
import os
for number in range({blocks}):
    block = number.to_bytes(8, "little") * 8192
    while block:
        block = block[os.write(1, block):]
"""


async def test_both_streams_keep_their_common_order(lab: Lab) -> None:
    subject = await lab.sh("while read to; do echo said >&$to; done")
    order = [1, 2, 2, 1, 2, 1, 1]
    for number, to in enumerate(order, start=1):
        subject.process.write_input(b"%d\n" % to)
        await subject.until_said(5 * number)
    streams = [chunk.stream for chunk in _one_by_one(subject.directory)]
    assert streams == [{1: "stdout", 2: "stderr"}[to] for to in order]


def _one_by_one(directory: Path) -> Iterator[OutputChunk]:
    output = Output(directory)
    while chunks := output.read(5):
        yield from chunks
    output.close()


async def test_neighbours_of_one_stream_are_merged(lab: Lab) -> None:
    subject = await lab.sh("echo one; read -r go; echo two; read -r go; echo three >&2")
    for said in (b"one\n", b"one\ntwo\n"):
        await _until_kept(subject.directory / "stdout.log", said)
        subject.process.write_input(b"\n")
    await subject.exit()
    chunks = subject.process.read_output(1000)
    assert [(chunk.stream, chunk.offset, chunk.data) for chunk in chunks] == [
        ("stdout", 0, b"one\ntwo\n"),
        ("stderr", 0, b"three\n"),
    ]
    assert subject.process.started_at_us <= chunks[0].time_us < chunks[1].time_us
    assert subject.process.read_output(1000) == []


async def _until_kept(log: Path, said: bytes) -> None:
    await until(lambda: log.read_bytes() == said)


@pytest.mark.parametrize("piece_bytes", [1000, 65537, 10 * MIB])
async def test_the_pieces_of_any_size_join_to_the_files(lab: Lab, piece_bytes: int) -> None:
    subject = await lab.sh("seq 1 20000; seq 1 20000 >&2; seq 1 100")
    await subject.exit()
    joined = {"stdout": b"", "stderr": b""}
    while chunks := subject.process.read_output(piece_bytes):
        assert 0 < sum(len(chunk.data) for chunk in chunks) <= piece_bytes
        for chunk in chunks:
            assert chunk.offset == len(joined[chunk.stream])
            joined[chunk.stream] += chunk.data
    assert joined == {name: (subject.directory / f"{name}.log").read_bytes() for name in joined}
    assert joined["stdout"].count(b"\n") == 20100


async def test_a_quarter_of_a_gigabyte_under_a_cap_is_counted_and_not_kept(lab: Lab) -> None:
    script = NUMBERED_BLOCKS.format(blocks=4096)
    subject = await lab.python(script, stdout_max_bytes=MIB + 1)
    ended = await subject.exit()
    assert (ended.code, ended.stdout) == (0, StreamTotals(total_bytes=256 * MIB, kept_bytes=MIB + 1))
    kept = (subject.directory / "stdout.log").read_bytes()
    assert kept == b"".join(number.to_bytes(8, "little") * 8192 for number in range(17))[: MIB + 1]
    assert subject.read_all()["stdout"] == kept


async def test_a_server_that_does_nothing_slows_no_worker(lab: Lab) -> None:
    """The loop stands still here from the start of the worker to its end on record."""
    blocks = 1024
    subject = await lab.python(NUMBERED_BLOCKS.format(blocks=blocks))
    _block_until_there(subject.directory / "exit.json")
    log = subject.directory / "stdout.log"
    digest = hashlib.sha256()
    for number in range(blocks):
        digest.update(number.to_bytes(8, "little") * 8192)
    assert hashlib.sha256(log.read_bytes()).digest() == digest.digest()
    assert (await subject.exit()).stdout == StreamTotals(total_bytes=64 * MIB, kept_bytes=64 * MIB)


def _block_until_there(path: Path) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


async def test_the_last_line_before_the_end_is_there(lab: Lab) -> None:
    subject = await lab.sh("echo first; echo last; kill -KILL $$")
    assert await subject.says() == b"first\nlast\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small tmpfs")
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", place], check=False)
    if mounted.returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)  # A failed test may still be in it.


async def test_a_full_disk_makes_the_worker_wait_and_loses_nothing(lab: Lab, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(256 * 1024))
    script = "print('ready', flush=True)\ninput()" + NUMBERED_BLOCKS.format(blocks=6)
    subject = await lab.python(
        script + "os.write(2, b'still here')\nraise SystemExit(6)", directory=small_disk
    )
    await subject.until_says(b"ready\n")
    subject.process.write_input(b"\n")
    _wait_full(small_disk)
    ballast.unlink()
    ended = await subject.exit()
    assert (ended.code, ended.output_errno) == (6, None)
    blocks = b"".join(number.to_bytes(8, "little") * 8192 for number in range(6))
    assert subject.read_all() == {"stdout": b"ready\n" + blocks, "stderr": b"still here"}
    assert (small_disk / "stdout.log").read_bytes() == b"ready\n" + blocks
    subject.process.close()


@pytest.mark.soak
async def test_a_disk_that_stays_full_costs_output_but_not_the_exit(lab: Lab, small_disk: Path) -> None:
    subject = await lab.python(NUMBERED_BLOCKS.format(blocks=64), directory=small_disk)
    _wait_full(small_disk)
    subject.process.stop()
    ended = await subject.exit()
    assert (ended.signal, ended.cause, ended.output_errno) == (signal.SIGTERM, "stop", errno.ENOSPC)
    kept = (small_disk / "stdout.log").read_bytes()
    assert 0 < len(kept) == ended.stdout.kept_bytes < 512 * 1024
    assert len(kept) < ended.stdout.total_bytes < 4 * MIB
    assert kept == b"".join(number.to_bytes(8, "little") * 8192 for number in range(8))[: len(kept)]
    assert (small_disk / "exit.json").stat().st_size > 0
    assert subject.read_all()["stdout"] == kept
    subject.process.close()


async def test_wall_time_holds_while_the_disk_is_full(
    lab: Lab, small_disk: Path, until_gone: Callable[[int], Coroutine[None, None, None]]
) -> None:
    """We fill the disk as soon as it runs, for it may come to speak only when its time is over."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(256 * 1024))
    subject = await lab.python(NUMBERED_BLOCKS.format(blocks=64), directory=small_disk, wall_time_ms=500)
    _fill(small_disk / "more")
    await until_gone(subject.process.pid)
    ballast.unlink()
    ended = await subject.exit()
    assert (ended.cause, ended.output_errno) == ("wall_time", None)
    assert len(subject.read_all()["stdout"]) == ended.stdout.total_bytes
    subject.process.close()


def _fill(path: Path) -> None:
    """Write until the disk takes no more; it may be full already."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def _wait_full(place: Path) -> None:
    """Nobody tells of a full disk."""
    wait_true(lambda: os.statvfs(place).f_bavail == 0, "the disk is full")
