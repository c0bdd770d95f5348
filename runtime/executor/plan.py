"""What a worker is to run, as the runtime asks for it."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from watchglass.protocol.errors import LaunchFailed
from watchglass.runtime.cgroups import CgroupLaunch

from .host.wire import BODY_BYTES_MAX
from .sandbox import SandboxLaunch

GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """One worker's program, place and limits.

    The program runs in `cwd` with exactly `env`; an `argv[0]` without a slash
    is looked up in the PATH of that `env`. `directory` exists already and
    receives the worker's files; those of an earlier launch are overwritten.

    `cookie` is one entry of `env` ("NAME=value") that no other worker has: by it
    the worker's processes are found when everyone who watched them was killed.

    `cgroup` are the folders in which the worker gets its control groups, as
    `Executor.probe` found them; a group that cannot be made, limited or joined
    ends the launch. What the folders serve holds for the worker's whole tree:

        memory_bytes     with swap; the kernel kills whom it must (OOM)
        pids_max         processes and threads
        cpu_time_s       of all processes together, looked at in time to notice

    Without such a folder `memory_bytes` bounds the data of each process
    (RLIMIT_DATA), and the resident sum of the tree is looked at twice a second;
    `pids_max` bounds those of its `uid`, or without one those of its sandbox (RLIMIT_NPROC;
    what `own_count` of the probe found), and without a sandbox nothing;
    `cpu_time_s` is summed from /proc. A second later the kernel holds each process
    to it too (RLIMIT_CPU), and each file to `file_size_bytes` (RLIMIT_FSIZE). None: no limit.

    With `stdin_closed` it reads the end of its input from the start: there is none to come.

    With `outlives_server` the worker goes on without its server, under the same
    limits, until it is over or another executor adopts it. Without, it ends with it.

    `workspace` is a folder below `directory`, and `script` a file in it that the worker
    may read however it is confined. With `uid` the worker runs as that user, with the
    group of the same number and no other, and both become that user's; only root can do
    so. Where folders above are closed to that user, it sees them empty but for its own.
    `seccomp` loads the filter of `host/seccomp.py`.

    `sandbox` puts the worker below bubblewrap: `argv` and PATH are looked up inside,
    the workspace is /workspace there, and the `cwd` that counts is the sandbox's.
    Without one, `restricted_filesystem` leaves it the workspace to write and the
    system to read, by Landlock, with TMPDIR in the workspace; and without `internet`
    it makes no socket but unix ones. A kernel that cannot do so refuses the launch.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    directory: Path
    cookie: str
    grace_ms: int = 5000
    wall_time_ms: int | None = None
    cpu_time_s: int | None = None
    memory_bytes: int | None = None
    pids_max: int | None = None
    file_size_bytes: int | None = None
    cgroup: CgroupLaunch | None = None
    stdout_max_bytes: int = GIB
    stderr_max_bytes: int = GIB
    stdin_closed: bool = False
    outlives_server: bool = False
    workspace: str = "workspace"
    script: str | None = None
    uid: int | None = None
    seccomp: bool = False
    sandbox: SandboxLaunch | None = None
    restricted_filesystem: bool = False
    internet: bool = True

    def encode(self) -> bytes:
        """The plan as the supervisor reads it.

        Raises:
            LaunchFailed: No program is named, or the plan is too long to be executed.
        """
        if not self.argv:
            raise LaunchFailed("exec", "", errno.EINVAL)
        body = json.dumps(
            {
                "argv": self.argv,
                "env": dict(self.env),
                "cwd": self.cwd,
                "directory": str(self.directory.absolute()),
                "cookie": self.cookie,
                "grace_ms": self.grace_ms,
                "wall_time_ms": self.wall_time_ms,
                "cpu_time_s": self.cpu_time_s,
                "memory_bytes": self.memory_bytes,
                "pids_max": self.pids_max,
                "file_size_bytes": self.file_size_bytes,
                "cgroup": _folders(self.cgroup),
                "stdout_max_bytes": self.stdout_max_bytes,
                "stderr_max_bytes": self.stderr_max_bytes,
                "stdin_closed": self.stdin_closed,
                "outlives_server": self.outlives_server,
                "workspace": self.workspace,
                "script": self.script,
                "uid": self.uid,
                "seccomp": self.seccomp,
                "sandbox": None if self.sandbox is None else self.sandbox.encode(),
                "restricted_filesystem": self.restricted_filesystem,
                "internet": self.internet,
            }
        ).encode()
        if len(body) > BODY_BYTES_MAX:
            raise LaunchFailed("exec", self.argv[0], errno.E2BIG)
        return body


def _folders(cgroup: CgroupLaunch | None) -> list[dict[str, object]]:
    if cgroup is None:
        return []
    return [
        {"path": folder.path, "version": folder.version, "serves": sorted(folder.serves)}
        for folder in cgroup.folders
    ]
