"""Every decision about workers; it runs as well without HTTP."""

from __future__ import annotations

from .catalog import WorkerFilter
from .observation import Reader
from .options import RuntimeOptions
from .pins import Pin, pinned_frame, pinned_watched, unpinned
from .runtime import Runtime, open_runtime

__all__ = [
    "Pin",
    "Reader",
    "Runtime",
    "RuntimeOptions",
    "WorkerFilter",
    "open_runtime",
    "pinned_frame",
    "pinned_watched",
    "unpinned",
]
