"""A real `watchglass serve`, as a process of its own, for tests that speak to it over sockets.

with serving(tmp_path) as served: …                    a memory store; nothing outlives the block

with durable_server(tmp_path) as place:                a store on disk, over any number of servers
    with place.serving() as served: …                  SIGTERM at its end: workers run on
    with place.serving() as served: place.kill()       kill -9 in the middle
    with place.serving("--durability=os") as served: place.drain()
    launch = place.launch(); launch.kill()             one that is killed before it listens
# Here every worker was drained, and no process of them is left.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .forked import Forked
from .patience import PATIENCE_S
from .processes import described, holding, marked, wait_gone, wait_true

_LISTENING = re.compile(r"watchglass listening on (https?://(\S+):(\d+)) \(runtime (\S+)\)")
_OWN_ID = f"rt-durable-{os.getpid()}"
"""No other process that runs tests beside us gives it: at its end a place kills all that has its id."""
ServerProcess = subprocess.Popen[bytes] | Forked
_EARLY = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "TZ")
_STORE_FLAGS = ("--store", "--fs-root", "--durability", "--keep-workers")


@dataclass(frozen=True, slots=True)
class Served:
    """A server that listens."""

    url: str
    host: str
    port: int
    runtime_id: str
    token: str
    state_dir: Path
    process: ServerProcess
    stderr_path: Path

    @property
    def stderr(self) -> str:
        """All that it wrote to standard error so far."""
        return self.stderr_path.read_text(errors="replace")

    def stop(self) -> int:
        """SIGTERM, then its exit code."""
        return self.end(signal.SIGTERM)

    def drain(self) -> int:
        """SIGINT, which ends its workers whatever its store is; then its exit code."""
        return self.end(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL; return when it is gone."""
        self.end(signal.SIGKILL)

    def end(self, number: signal.Signals) -> int:
        """A signal, then its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


class Launch:
    """A server that was started, and may not listen yet."""

    def __init__(
        self,
        state_dir: Path,
        *flags: str,
        env: Mapping[str, str] | None = None,
        by: Sequence[str] = (),
        afresh: bool = False,
    ) -> None:
        """`by` is a command line that becomes the one that follows it, the server's.

        Without one the server is forked where its code is imported already, unless
        it is wanted `afresh`: as a user starts it, for who looks at its command
        line, its environment or its memory. So it is when `env` has what is
        looked at before there is a `main`.
        """
        afresh = afresh or any(name.startswith(_EARLY) for name in env or ())
        state_dir.mkdir(parents=True, exist_ok=True)
        self._state_dir = state_dir
        self._stderr_path = state_dir / "stderr.txt"
        self._stderr_path.write_bytes(b"")
        argv = ["serve", *_completed(flags)]
        whole = environment(state_dir, env)
        self.process: ServerProcess = (
            _executed([*by, *watchglass(*argv)], whole, self._stderr_path)
            if by or afresh
            else Forked(argv, env=whole, stderr=self._stderr_path)
        )

    def listening(self, token: str | None = None) -> Served:
        """The server, when it listens; `token` is what a client sends, None means the state directory's."""
        listening = _wait_listening(self.process, self._stderr_path)
        return Served(
            url=listening[1],
            host=listening[2],
            port=int(listening[3]),
            runtime_id=listening[4],
            token=(self._state_dir / "token").read_text().strip() if token is None else token,
            state_dir=self._state_dir,
            process=self.process,
            stderr_path=self._stderr_path,
        )

    def kill(self) -> None:
        """SIGKILL; return when it is gone."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def leave(self) -> None:
        """SIGTERM to one that is still there; it must leave."""
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Place:
    """A state directory and the store in it: what lasts from one server to the next."""

    def __init__(self, state_dir: Path, runtime_id: str, flags: Sequence[str], root: Path) -> None:
        self.state_dir = state_dir
        self.runtime_id = runtime_id
        self.root = root
        self._flags = flags
        self._process: ServerProcess | None = None
        self._served: Served | None = None

    @property
    def runtime_dir(self) -> Path:
        """Where the runtime's files are."""
        return self.root / "runtimes" / self.runtime_id

    def worker_dir(self, worker_id: str) -> Path:
        """Where a worker's files are."""
        return self.runtime_dir / "workers" / worker_id

    def processes(self, worker_id: str | None = None) -> set[int]:
        """What runs of the runtime's workers (of this worker)."""
        return marked(self.runtime_id, worker_id)

    def family(self) -> set[int]:
        """The same and their supervisors: all that is there without the server."""
        server = set() if self._process is None else {self._process.pid}
        return self.processes() | holding(self.runtime_dir.resolve()) - server

    @contextmanager
    def serving(
        self, *flags: str, env: Mapping[str, str] | None = None, afresh: bool = False
    ) -> Iterator[Served]:
        """Serve until the block ends; a server that is still there then gets SIGTERM, so its workers run on.

        Any number of blocks, one after the other. `afresh` is as a `Launch` takes it.
        """
        launch = self.launch(*flags, env=env, afresh=afresh)
        try:
            self._served = launch.listening()
            yield self._served
        finally:
            launch.leave()

    def launch(self, *flags: str, env: Mapping[str, str] | None = None, afresh: bool = False) -> Launch:
        """Start a server and do not wait for it; the caller kills it, or makes it leave."""
        assert self._process is None or self._process.poll() is not None, "one server at a time"
        store = ("--store=fs", f"--fs-root={self.root}", f"--runtime-id={self.runtime_id}")
        told = (*store, *self._flags, *flags)
        launch = Launch(self.state_dir, *told, env=env, afresh=afresh)
        self._process = launch.process
        return launch

    def kill(self) -> None:
        """SIGKILL to the server that runs; its workers are left to themselves."""
        self._running().kill()

    def stop(self) -> int:
        """SIGTERM to the server that runs, which keeps its workers; its exit code."""
        return self._running().stop()

    def drain(self) -> int:
        """SIGINT to the server that runs, which ends its workers; its exit code."""
        return self._running().drain()

    def wipe(self) -> None:
        """SIGKILL to every worker and supervisor, without a server: as when the machine goes down."""
        while family := self.family():
            for number in (signal.SIGSTOP, signal.SIGKILL):  # Nobody sees another die and writes that down.
                for pid in family:
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
            for pid in family:
                wait_gone(pid)

    def _running(self) -> Served:
        assert self._served is not None, "no server was started"
        return self._served


@contextmanager
def durable_server(
    state_dir: Path, *flags: str, runtime_id: str = _OWN_ID, root: Path | None = None
) -> Iterator[Place]:
    """A place whose servers share one state directory, one store on disk and one runtime id.

    `flags` are those of each of its servers; `root` is where the store is, in
    the state directory when nothing is said. At the end of the block workers
    that are left are ended in order, by one more server that is drained; then
    no process of them may be there. A test with servers of its own beside
    others gives an id of its own, for its processes are known by that.
    """
    place = Place(state_dir, runtime_id, flags, state_dir / "store" if root is None else root)
    try:
        yield place
    finally:
        _end_all(place)


def watchglass(*argv: str) -> list[str]:
    """The command line of the installed program."""
    return [sys.executable, "-m", "watchglass.server.cli", *argv]


def environment(state_dir: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment with a state directory of its own, and no other runtime in sight."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WATCHGLASS_")}
    return {**kept, "WATCHGLASS_STATE_DIR": str(state_dir), **(extra or {})}


@contextmanager
def serving(
    state_dir: Path,
    *flags: str,
    env: Mapping[str, str] | None = None,
    token: str | None = None,
    by: Sequence[str] = (),
    afresh: bool = False,
) -> Iterator[Served]:
    """Serve on a free port until the block ends; then it must have left.

    The store is the memory store unless a flag says something about it: with
    one on disk workers may be left behind, which `durable_server` takes care
    of. `token` is what a client sends; None means the one of the state directory.
    `by` and `afresh` are as a `Launch` takes them.
    """
    launch = Launch(state_dir, *flags, env=env, by=by, afresh=afresh)
    try:
        yield launch.listening(token)
    finally:
        launch.leave()


def _completed(flags: Sequence[str]) -> list[str]:
    """The flags, and what no flag says: a free port of loopback, and the memory store."""
    bound = [] if any(flag.startswith("--bind") for flag in flags) else ["--bind", "127.0.0.1:0"]
    stored = [] if any(flag.startswith(_STORE_FLAGS) for flag in flags) else ["--store", "memory"]
    return [*bound, *stored, *flags]


def _end_all(place: Place) -> None:
    """By a server that is drained; what even that leaves is killed, and the test fails."""
    try:
        if place.family():
            with place.serving("--grace-ms=200"):
                assert place.drain() == 0
        wait_true(lambda: not place.family(), lambda: f"the last server left {described(place.family())}")
    finally:
        place.wipe()


def _executed(command: Sequence[str], env: Mapping[str, str], stderr_path: Path) -> subprocess.Popen[bytes]:
    with stderr_path.open("wb") as stderr:
        return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=stderr)


def _wait_listening(process: ServerProcess, stderr_path: Path) -> re.Match[str]:
    """Until the one line of the contract; the pidfd tells when it dies instead."""
    deadline = time.monotonic() + PATIENCE_S
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
