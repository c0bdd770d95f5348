"""What the probe of the sandbox is asked: which bubblewraps to try, with which plan, as whom."""

from __future__ import annotations

import json
from pathlib import Path

from .plan import LaunchPlan
from .sandbox import bubblewraps


def trial_request(worker_uid: int | None) -> dict[str, object]:
    """The fields of `host/sandbox_probe.py`; it fills program, folder and sandbox in."""
    nothing = LaunchPlan(argv=("true",), env={}, cwd="/", directory=Path("/"), cookie="", seccomp=True)
    return {
        "bwraps": bubblewraps(),
        "worker_uid": worker_uid,
        "trial_plan": json.loads(nothing.encode()),
    }
