"""Every benchmark, in the order of the table."""

from __future__ import annotations

from report import Case

from . import (
    append,
    chatty,
    cli_start,
    create,
    echo,
    fan_out,
    fs_append,
    fs_memory,
    fs_replay,
    fs_seek,
    idle,
    live_workers,
    long_writer,
    memory,
    replay,
    restart,
    task_exit,
    worker_rate,
)

CASES: tuple[Case, ...] = (
    create.CASE,
    echo.CASE,
    worker_rate.CASE,
    task_exit.CASE,
    chatty.CASE,
    fan_out.CASE,
    replay.CASE,
    memory.CASE,
    idle.CASE,
    live_workers.CASE,
    append.CASE,
    fs_append.CASE,
    fs_replay.CASE,
    fs_seek.CASE,
    restart.CASE,
    fs_memory.CASE,
    cli_start.CASE,
    long_writer.CASE,
)
