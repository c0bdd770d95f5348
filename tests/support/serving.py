"""A real `watchglass serve`, as a process of its own, for tests that speak to it over sockets."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 30
STOP_S = 30
_LISTENING = re.compile(r"watchglass listening on (http://(\S+):(\d+)) \(runtime (\S+)\)")


@dataclass(frozen=True, slots=True)
class Served:
    """A server that listens."""

    url: str
    host: str
    port: int
    runtime_id: str
    token: str
    state_dir: Path
    process: subprocess.Popen[bytes]
    stderr_path: Path

    @property
    def stderr(self) -> str:
        """All that it wrote to standard error so far."""
        return self.stderr_path.read_text(errors="replace")

    def stop(self) -> int:
        """SIGTERM, then its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


def watchglass(*argv: str) -> list[str]:
    """The command line of the installed program."""
    return [sys.executable, "-m", "watchglass.server.cli.main", *argv]


def environment(state_dir: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment with a state directory of its own, and no other runtime in sight."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WATCHGLASS_")}
    return {**kept, "WATCHGLASS_STATE_DIR": str(state_dir), **(extra or {})}


@contextmanager
def serving(
    state_dir: Path, *flags: str, env: Mapping[str, str] | None = None, token: str | None = None
) -> Iterator[Served]:
    """Serve on a free port until the block ends; then it must have left.

    `token` is what a client sends; None means the one of the state directory.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    stderr_path = state_dir / "stderr.txt"
    with stderr_path.open("wb") as stderr:
        process = subprocess.Popen(
            watchglass("serve", *_bound(flags)),
            env=environment(state_dir, env),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    try:
        listening = _wait_listening(process, stderr_path)
        yield Served(
            url=listening[1],
            host=listening[2],
            port=int(listening[3]),
            runtime_id=listening[4],
            token=(state_dir / "token").read_text().strip() if token is None else token,
            state_dir=state_dir,
            process=process,
            stderr_path=stderr_path,
        )
    finally:
        _leave(process)


def _bound(flags: Sequence[str]) -> Sequence[str]:
    return flags if any(flag.startswith("--bind") for flag in flags) else ["--bind", "127.0.0.1:0", *flags]


def _wait_listening(process: subprocess.Popen[bytes], stderr_path: Path) -> re.Match[str]:
    """Until the one line of the contract; the pidfd tells when it dies instead."""
    deadline = time.monotonic() + START_S
    pidfd = os.pidfd_open(process.pid)
    try:
        while True:
            found = _LISTENING.search(stderr_path.read_text(errors="replace"))
            if found is not None:
                return found
            dead, _, _ = select.select([pidfd], [], [], 0.02)
            said = stderr_path.read_text(errors="replace")
            assert not dead, f"serve left before it listened: {said}"
            assert time.monotonic() < deadline, f"serve does not listen: {said}"
    finally:
        os.close(pidfd)


def _leave(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
