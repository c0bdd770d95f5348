"""`doctor` without a folder: this host, probed as a server would probe it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .host_facts import HostFacts, host_facts
from .host_report import Ability, abilities
from .showing import one_line, write_line

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostExam:
    """What was found; or `fault`, why nothing could be."""

    facts: HostFacts
    kernel: str = ""
    found: tuple[Ability, ...] = ()
    fault: str | None = None

    def show(self) -> None:
        """In words, on stdout."""
        if self.fault is not None:
            write_line(f"this host: {one_line(self.fault)}")
            return
        write_line(f"this host, {self.facts.shown}, Linux {one_line(self.kernel)}")
        for ability in self.found:
            _show(ability)

    def document(self) -> Json:
        """As JSON."""
        return {
            "kernel": self.kernel,
            "uid": self.facts.uid,
            "container": self.facts.is_container,
            "fault": self.fault,
            "abilities": [ability.document() for ability in self.found],
        }


def examined_host(cgroup_root: Path | None = None) -> HostExam:
    """Probe it, with workers' groups below this one; some hundred milliseconds."""
    from watchglass.protocol.errors import LaunchFailed
    from watchglass.runtime.describing import described

    facts = replace(host_facts(), cgroup_root=cgroup_root)
    try:
        host = asyncio.run(_probed(cgroup_root))
    except LaunchFailed as fault:
        return HostExam(facts=facts, fault=str(fault))
    told = described(host, "doctor").model_dump(mode="json")
    return HostExam(facts=facts, kernel=host.kernel, found=tuple(abilities(told, facts)))


async def _probed(cgroup_root: Path | None) -> Any:
    """Raises LaunchFailed."""
    from watchglass.runtime.executor import open_executor
    from watchglass.runtime.uids import WORKER_UID_BASE

    async with open_executor(cgroup_root=cgroup_root, worker_uid=WORKER_UID_BASE) as executor:
        return await executor.probe()


def _show(ability: Ability) -> None:
    mark = "can   " if ability.is_there else "cannot"
    means = "" if ability.mechanism is None else f" ({one_line(ability.mechanism)})"
    write_line(f"  {mark}  {ability.name}: {ability.means}{means}")
    if ability.reason is not None:
        write_line(f"          {'but' if ability.is_there else 'why'}: {one_line(ability.reason)}")
    for advice in ability.advice:
        write_line(f"          do: {advice}")
