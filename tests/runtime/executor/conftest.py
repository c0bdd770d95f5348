"""A lab for workers: small programs as real processes, and waits that end or fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from watchglass.runtime.cgroups import CgroupLaunch
from watchglass.runtime.executor import Executor, LaunchPlan, Process, ProcessExit, open_executor

from support.patience import PATIENCE_S

PYTHON = (sys.executable, "-I", "-S", "-c")
PATH = "/usr/local/bin:/usr/bin:/bin"


class Subject:
    """One launched worker, with waits on what it does."""

    def __init__(
        self, process: Process, changed: asyncio.Event, plan: LaunchPlan, output: dict[str, bytes]
    ) -> None:
        self.process = process
        self.plan = plan
        self.directory = plan.directory
        self._changed = changed
        self.output = output

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                if not condition():
                    await self._changed.wait()

    async def exit(self) -> ProcessExit:
        await self.until(lambda: self.process.exit is not None)
        assert self.process.exit is not None
        return self.process.exit

    def read_all(self) -> dict[str, bytes]:
        while chunks := self.process.read_output(1 << 20):
            for chunk in chunks:
                assert chunk.offset == len(self.output[chunk.stream])
                self.output[chunk.stream] += chunk.data
        return self.output

    async def until_says(self, text: bytes, stream: str = "stdout") -> bytes:
        await self.until(lambda: text in self.read_all()[stream])
        return self.output[stream]

    async def until_said(self, size_bytes: int) -> None:
        """Until so many bytes came, of both streams together."""
        await self.until(lambda: sum(map(len, self.read_all().values())) == size_bytes)

    async def says(self) -> bytes:
        """Everything on stdout, once it is over."""
        await self.exit()
        return self.read_all()["stdout"]


class Lab:
    """Launches workers that share one executor, each with its own folder and cookie."""

    def __init__(self, executor: Executor, root: Path) -> None:
        self.executor = executor
        self.subjects: list[Subject] = []
        self.cookies: list[str] = []
        self._root = root

    def plan(self, *argv: str, env: dict[str, str] | None = None, **more: Any) -> LaunchPlan:
        """By default it runs in its own folder, and can find the usual programs."""
        directory = self._root / f"worker-{len(self.cookies)}"
        directory.mkdir()
        value = str(directory)
        self.cookies.append(f"WATCHGLASS_WORKER_ID={value}")
        place: dict[str, Any] = {"cwd": value, "directory": directory, "cookie": self.cookies[-1]}
        given = {"PATH": PATH} if env is None else env
        return LaunchPlan(argv=argv, env={**given, "WATCHGLASS_WORKER_ID": value}, **(place | more))

    async def launch(self, plan: LaunchPlan) -> Subject:
        changed = asyncio.Event()
        process = await self.executor.launch(plan, changed.set)
        return self._subject(process, changed, plan, {"stdout": b"", "stderr": b""})

    async def adopt_if_any(
        self, plan: LaunchPlan, output: dict[str, bytes] | None = None, **more: Any
    ) -> Subject | None:
        """Take over what somebody else launched, of which `output` was read already."""
        changed = asyncio.Event()
        output = dict(output or {"stdout": b"", "stderr": b""})
        known: dict[str, Any] = {"stdout_from": len(output["stdout"]), "stderr_from": len(output["stderr"])}
        known |= {"cookie": plan.cookie, "grace_ms": plan.grace_ms, "on_change": changed.set}
        process = await self.executor.adopt(plan.directory, **(known | more))
        self.cookies.append(plan.cookie)
        return None if process is None else self._subject(process, changed, plan, output)

    async def adopt(self, plan: LaunchPlan, output: dict[str, bytes] | None = None, **more: Any) -> Subject:
        subject = await self.adopt_if_any(plan, output, **more)
        assert subject is not None
        return subject

    def _subject(
        self, process: Process, changed: asyncio.Event, plan: LaunchPlan, output: dict[str, bytes]
    ) -> Subject:
        self.subjects.append(Subject(process, changed, plan, output))
        return self.subjects[-1]

    async def run(self, *argv: str, **more: Any) -> Subject:
        return await self.launch(self.plan(*argv, **more))

    async def sh(self, script: str, **more: Any) -> Subject:
        return await self.run("/bin/sh", "-c", script, **more)

    async def python(self, script: str, **more: Any) -> Subject:
        return await self.run(*PYTHON, script, **more)

    def left(self) -> list[int]:
        """The processes of all its workers that live."""
        return [pid for cookie in self.cookies for pid in _pids_with(cookie)]

    def groups_left(self) -> list[str]:
        """The control groups of its workers that are still there."""
        return [
            str(path)
            for subject in self.subjects
            if subject.plan.cgroup is not None
            for folder in subject.plan.cgroup.folders
            for path in Path(folder.path).glob(f"{subject.process.supervisor_pid}.*")
        ]


def _pids_with(cookie: str) -> list[int]:
    """The living processes that were started with this entry in their environment."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                if os.fsencode(cookie) in (path / "environ").read_bytes().split(b"\0"):
                    found.append(int(path.name))
    return found


def _is_alive(pid: int) -> bool:
    """Whether the process runs, so not as a zombie that only waits for its parent."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


async def _until_gone(pid: int) -> None:
    """Return when the process is dead, whoever its parent is."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    dead = asyncio.Event()
    loop.add_reader(pidfd, dead.set)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await dead.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def open_descriptors() -> dict[str, str]:
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = str(path.readlink())
    return {name: target for name, target in found.items() if not target.endswith("/fd")}


@pytest_asyncio.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """A fresh executor. When the test is over, nothing of it may be left: no process, no descriptor."""
    before = open_descriptors()
    async with open_executor() as executor:
        lab = Lab(executor, tmp_path)
        yield lab
        spawn_daemon = executor.spawn_daemon_pid
    for subject in lab.subjects:
        subject.process.close()
        assert not _is_alive(subject.process.supervisor_pid)
        assert not _is_alive(subject.process.pid)
    assert lab.left() == []
    assert lab.groups_left() == []
    assert spawn_daemon is None or not _is_alive(spawn_daemon)
    assert open_descriptors() == before


async def _groups_of(executor: Executor) -> CgroupLaunch:
    limits = (await executor.probe()).limits
    if limits.cgroup is None:
        pytest.skip(f"no control group can be made here: {limits.cgroup_writable.reason}")
    return limits.cgroup


@pytest_asyncio.fixture
async def cgroup(lab: Lab) -> CgroupLaunch:
    """Groups as a worker gets them on this host; the test is skipped where it gets none."""
    return await _groups_of(lab.executor)


@pytest_asyncio.fixture(params=["with groups", "without groups"])
async def cgroup_if_any(lab: Lab, request: pytest.FixtureRequest) -> CgroupLaunch | None:
    """The test runs in both ways; what it says must not depend on it."""
    return None if request.param == "without groups" else await _groups_of(lab.executor)


@pytest.fixture
def pids_with() -> Callable[[str], list[int]]:
    return _pids_with


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    return _is_alive


@pytest.fixture
def until_gone() -> Callable[[int], Coroutine[None, None, None]]:
    return _until_gone


@pytest.fixture
def make_lab() -> type[Lab]:
    return Lab
