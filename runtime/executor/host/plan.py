"""What a supervisor is to run, as the server sent it."""

from __future__ import annotations

import json


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
        "memory_bytes",
        "outlives_server",
        "pids_max",
        "stderr_max_bytes",
        "stdout_max_bytes",
        "wall_time_ms",
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
        self.outlives_server: bool = fields["outlives_server"]

    def for_disk(self) -> dict[str, object]:
        """The plan without the values of the environment: secrets stay off the disk."""
        plan: dict[str, object] = {name: getattr(self, name) for name in self.__slots__ if name != "env"}
        plan["env_names"] = sorted(self.env)
        return plan
