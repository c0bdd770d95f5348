"""What a supervisor is to run, as the server sent it."""

from __future__ import annotations

import json


class Sandbox:
    """How bubblewrap is to be run; see `SandboxLaunch`."""

    __slots__ = ("bwrap", "cwd", "egress", "namespaces", "rootfs", "run_bytes", "tmp_bytes")

    def __init__(
        self,
        *,
        bwrap: str,
        cwd: str,
        namespaces: list[str],
        rootfs: str | None,
        tmp_bytes: int,
        run_bytes: int,
        egress: bool,
    ) -> None:
        self.bwrap = bwrap
        self.cwd = cwd
        self.namespaces = frozenset(namespaces)
        self.rootfs = rootfs
        self.tmp_bytes = tmp_bytes
        self.run_bytes = run_bytes
        self.egress = egress

    def for_disk(self) -> dict[str, object]:
        fields: dict[str, object] = {name: getattr(self, name) for name in self.__slots__}
        return fields | {"namespaces": sorted(self.namespaces)}


class Plan:
    """One worker's launch plan. Limits that are None are not set.

    Trusted: the server checked it, and nobody else holds the control channel.
    """

    __slots__ = (
        "argv",
        "cgroup",
        "cookie",
        "cpu_time_s",
        "cwd",
        "directory",
        "env",
        "file_size_bytes",
        "grace_ms",
        "internet",
        "memory_bytes",
        "outlives_server",
        "pids_max",
        "restricted_filesystem",
        "sandbox",
        "script",
        "seccomp",
        "stderr_max_bytes",
        "stdin_closed",
        "stdout_max_bytes",
        "uid",
        "wall_time_ms",
        "workspace",
    )

    def __init__(self, body: bytes) -> None:
        fields = json.loads(body)
        self.argv: list[str] = fields["argv"]
        self.env: dict[str, str] = fields["env"]
        self.cwd: str = fields["cwd"]
        self.directory: str = fields["directory"]
        self.cookie: str = fields["cookie"]
        self.grace_ms: int = fields["grace_ms"]
        self.wall_time_ms: int | None = fields["wall_time_ms"]
        self.cpu_time_s: int | None = fields["cpu_time_s"]
        self.memory_bytes: int | None = fields["memory_bytes"]
        self.pids_max: int | None = fields["pids_max"]
        self.file_size_bytes: int | None = fields["file_size_bytes"]
        self.cgroup: list[dict[str, object]] = fields["cgroup"]  # [{path, version, serves: [service]}]
        self.stdout_max_bytes: int = fields["stdout_max_bytes"]
        self.stderr_max_bytes: int = fields["stderr_max_bytes"]
        self.stdin_closed: bool = fields["stdin_closed"]
        self.outlives_server: bool = fields["outlives_server"]
        self.workspace: str = fields["workspace"]
        self.script: str | None = fields["script"]
        self.uid: int | None = fields["uid"]
        self.seccomp: bool = fields["seccomp"]
        self.internet: bool = fields["internet"]
        self.restricted_filesystem: bool = fields["restricted_filesystem"]
        self.sandbox = None if fields["sandbox"] is None else Sandbox(**fields["sandbox"])

    def for_disk(self) -> dict[str, object]:
        """The plan without the values of the environment: secrets stay off the disk."""
        plan: dict[str, object] = {name: getattr(self, name) for name in self.__slots__ if name != "env"}
        plan["env_names"] = sorted(self.env)
        plan["sandbox"] = None if self.sandbox is None else self.sandbox.for_disk()
        return plan
