"""Real processes: the spawn daemon, one supervisor a worker, and the server's end of both."""

from ._output import OutputChunk
from .executor import Executor, open_executor
from .exits import ProcessExit, StreamTotals, Usage
from .host.identity import reachable_by
from .plan import LaunchPlan
from .process import Process
from .sandbox import (
    INSIDE_SCRIPT,
    INSIDE_WORKSPACE,
    RUN_BYTES,
    TMP_BYTES,
    SandboxLaunch,
    bubblewraps,
    room_bytes,
)
from .verified import Verified

__all__ = [
    "INSIDE_SCRIPT",
    "INSIDE_WORKSPACE",
    "RUN_BYTES",
    "TMP_BYTES",
    "Executor",
    "LaunchPlan",
    "OutputChunk",
    "Process",
    "ProcessExit",
    "SandboxLaunch",
    "StreamTotals",
    "Usage",
    "Verified",
    "bubblewraps",
    "open_executor",
    "reachable_by",
    "room_bytes",
]
