"""What this host can do, found by one probe for all runtimes inside the tests of a process.

Looking is most of what it takes to open a runtime. Those who test the look itself,
or a server as a process, look each time.
"""

from __future__ import annotations

from typing import Final

from watchglass.protocol.errors import LaunchFailed
from watchglass.runtime import RuntimeOptions
from watchglass.runtime.capabilities import HostCapabilities
from watchglass.runtime.executor import open_executor

_DEFAULTS: Final = RuntimeOptions()
_found: list[HostCapabilities] = []


async def known_host(options: RuntimeOptions) -> HostCapabilities | None:
    """For `open_runtime`; None, so that it looks itself, where these options look for something else."""
    if _asked(options) != _asked(_DEFAULTS):
        return None
    if not _found:
        async with open_executor(worker_uid=options.worker_uid_base) as executor:
            try:
                _found.append(await executor.probe())
            except LaunchFailed:
                return None
    return _found[0]


def _asked(options: RuntimeOptions) -> tuple[object, ...]:
    return options.cgroup_enabled, options.cgroup_root, options.worker_uid_base
