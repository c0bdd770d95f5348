"""Sandboxed workers whose one way out is a proxy, and a program that tries the network as it is told."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from watchglass.runtime.egress import proxy_environment
from watchglass.runtime.executor import LaunchPlan, SandboxLaunch, bubblewraps

SYSTEM_PYTHON = "/usr/bin/python3"
WORKER_UID = 64_321

needs_box = pytest.mark.skipif(
    not bubblewraps() or not Path(SYSTEM_PYTHON).exists(),
    reason="takes bubblewrap, and a Python of the system's own to show inside",
)

TRIES = (
    SYSTEM_PYTHON,
    "-I",
    "-S",
    "-u",
    "-c",
    """
import errno, os, socket, sys, time
def heard(connected):
    said = b""
    while part := connected.recv(65536):
        said += part
    return said
def told(kind, place):
    host, _, port = place.rpartition(":")
    if kind == "wait":
        while not os.path.exists(place):
            time.sleep(0.01)
        return "found"
    if kind == "direct":
        socket.create_connection((host, int(port)), 5).close()
        return "reached"
    proxy, _, number = os.environ["http_proxy"].removeprefix("http://").rpartition(":")
    with socket.create_connection((proxy, int(number)), 30) as connected:
        target = place if kind == "CONNECT" else "http://" + place + "/"
        connected.sendall((kind + " " + target + " HTTP/1.1\\r\\nHost: " + place + "\\r\\n\\r\\n").encode())
        if kind == "CONNECT":
            connected.sendall(b"through the tunnel")
            connected.shutdown(socket.SHUT_WR)
        said = heard(connected)
        return said.split()[1].decode() + " " + said.rpartition(b"\\r\\n\\r\\n")[2].decode().strip()
for line in sys.stdin:
    try:
        print(told(*line.split()))
    except OSError as error:
        print(errno.errorcode.get(error.errno, error))
""",
)
"""For each line "METHOD host:port" or "direct host:port": the status and the body, or the error's name.

"wait file" goes on when the workspace has that file.
"""


def boxed(plan: LaunchPlan, *allowed: str, argv: tuple[str, ...] = TRIES) -> LaunchPlan:
    """The same plan below bubblewrap, as a uid of its own when we are root, with a way out."""
    (plan.directory / "workspace").mkdir(mode=0o700, exist_ok=True)
    return replace(
        plan,
        argv=argv,
        env={**plan.env, **proxy_environment(allowed)},
        sandbox=SandboxLaunch(bwrap=bubblewraps()[0], egress=True),
        uid=WORKER_UID if os.geteuid() == 0 else None,
        seccomp=True,
    )
