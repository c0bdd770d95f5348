"""Where workers' control groups are made, and what each of them is good for.

Found out by a probe (`Executor.probe`), and handed to each launch as it was found,
so that what a plan promises is what a worker gets. A worker has one group below
each folder; see cgroups(7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Service = Literal["memory", "pids", "cpu_time", "kill", "freeze"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupFolder:
    """A folder of one hierarchy; `path` is made when the first group in it is."""

    path: str
    version: Literal[1, 2]
    serves: frozenset[Service]
    """Each service is in one folder alone."""


@dataclass(frozen=True, slots=True)
class CgroupLaunch:
    """The folders in which a launch makes its groups."""

    folders: tuple[CgroupFolder, ...]

    def version_for(self, service: Service) -> Literal[1, 2] | None:
        """Which cgroups give this service; None: none do."""
        return next((folder.version for folder in self.folders if service in folder.serves), None)
