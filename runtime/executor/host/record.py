"""What a supervisor leaves on disk about its worker, for whoever comes later.

    run.json    before the program runs: {boot_id, supervisor: {pid, start_ticks},
                worker: {pid, start_ticks}, started_at_us, cgroups: [path], plan}; the
                plan without the values of the environment. Without it, the program
                never ran
    exit.json   once the tree is empty and the output is written: {code, signal,
                cause, ended_at_us, usage: {user_cpu_ms, system_cpu_ms, max_rss_bytes,
                duration_ms, memory_peak_bytes, oom_kills, forks_refused}, stdout:
                {total_bytes, kept_bytes}, stderr: {the same}, received_input_bytes,
                undelivered_input_bytes, strays_killed, output_errno}

Both appear as a whole or not at all, but for a loss of power before a sync: a
file that is damaged says nothing. The room for exit.json is taken at the
start, so that a disk that fills up later does not cost us the exit.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os

from .pump import create

RUN = "run.json"
EXIT = "exit.json"
EXIT_BYTES_MAX = 4096
"""Far above what an exit report can need."""

DRAFT = ".draft"


class Record:
    """The two files, in the folder behind a descriptor that is not ours to close."""

    __slots__ = ("_directory", "_exit_draft")

    def __init__(self, directory_fd: int) -> None:
        """Take the room for the exit, and forget an earlier life in the same folder.

        Raises:
            OSError: The folder takes no files.
        """
        self._directory = directory_fd
        for name in (RUN, EXIT):
            self._remove(name)
        self._exit_draft = create(EXIT + DRAFT, directory_fd)
        try:
            os.posix_fallocate(self._exit_draft, 0, EXIT_BYTES_MAX)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # A file system that cannot promise room.
                raise

    def write_run(self, run: dict[str, object]) -> None:
        """Raises OSError. Not synced: what a crash of the machine makes of it still says that it ran."""
        draft = create(RUN + DRAFT, self._directory)
        try:
            try:
                _write_all(draft, json.dumps(run).encode())
            finally:
                os.close(draft)
            self._publish(RUN)
        except OSError:
            self._remove(RUN + DRAFT)
            raise

    def write_exit(self, report: bytes) -> None:
        """Whoever comes later finds it, unless the machine goes down: see `sync_exit`. Raises OSError."""
        os.pwrite(self._exit_draft, report, 0)
        os.ftruncate(self._exit_draft, len(report))
        self._publish(EXIT)

    def sync_exit(self) -> None:
        """What it says stays said. Raises OSError."""
        os.fsync(self._exit_draft)

    def fileno(self) -> int:
        """The descriptor of the exit, which `sync_exit` takes."""
        return self._exit_draft

    def close(self) -> None:
        """Its exit need not be synced any more."""
        os.close(self._exit_draft)

    def abandon(self) -> None:
        """The program never ran: there is nothing to tell of. A draft that stays says nothing."""
        for name in (RUN, EXIT + DRAFT):
            with contextlib.suppress(OSError):
                self._remove(name)

    def _publish(self, name: str) -> None:
        os.rename(name + DRAFT, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def _remove(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._directory)
        except FileNotFoundError:
            return


def _write_all(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]
