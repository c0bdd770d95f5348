"""The machine that a runtime is on, as its own files and variables tell."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from watchglass.protocol.task_runtime import Platform

_MARKS = (".dockerenv", "run/.containerenv")
_GROUPS = ("docker", "containerd", "kubepods", "libpod", "lxc")


def this_platform(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> Platform:
    """Docker and podman leave a mark in the root; others are named by the init's cgroup or variable.

    Kubernetes gives each container the address of its API.
    """
    kubernetes = "KUBERNETES_SERVICE_HOST" in environ
    return Platform(
        os=platform.system().lower(),
        arch=platform.machine(),
        containerized=kubernetes
        or "container" in environ
        or any((root / mark).exists() for mark in _MARKS)
        or any(name in _init_groups(root) for name in _GROUPS),
        kubernetes=kubernetes,
    )


def _init_groups(root: Path) -> str:
    try:
        return (root / "proc/1/cgroup").read_text()
    except OSError:
        return ""
