"""Real processes: the spawn daemon, one supervisor a worker, and the server's end of both."""

from ._output import OutputChunk
from .executor import Executor, open_executor
from .exits import ProcessExit, StreamTotals, Usage
from .plan import LaunchPlan
from .process import Process

__all__ = [
    "Executor",
    "LaunchPlan",
    "OutputChunk",
    "Process",
    "ProcessExit",
    "StreamTotals",
    "Usage",
    "open_executor",
]
