"""The server's end of a probe: asks the spawn daemon for one, and reads what it found."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
from collections.abc import Mapping
from typing import Any

from watchglass.protocol.errors import LaunchFailed
from watchglass.runtime.capabilities import Found, HostCapabilities, LimitCapabilities, SandboxCapabilities
from watchglass.runtime.cgroups import CgroupFolder, CgroupLaunch

from ._spawner import Spawner
from .host.wire import PROBE

PROBE_S_MAX = 10.0
"""A probe that takes longer is killed: something of this host hangs."""

_RECEIVE_BYTES = 64 * 1024


async def probe(spawner: Spawner, asked: Mapping[str, object]) -> HostCapabilities:
    """What `host/probing.py` found. Raises LaunchFailed: it gave no answer."""
    prober, ours = await spawner.fork(PROBE)
    try:
        with ours:
            ours.setblocking(False)
            async with asyncio.timeout(PROBE_S_MAX):
                answer = await _exchange(ours, json.dumps(asked).encode())
        return _capabilities(json.loads(answer))
    except TimeoutError:
        raise LaunchFailed("probe", "host", errno.ETIMEDOUT) from None
    except (OSError, ValueError):  # It died; its traceback is where the spawn daemon's errors go.
        raise LaunchFailed("probe", "host", errno.EOWNERDEAD) from None
    finally:
        with contextlib.suppress(ProcessLookupError):  # As a rule: it has answered and left.
            signal.pidfd_send_signal(prober.pidfd, signal.SIGKILL)
        os.close(prober.pidfd)


async def _exchange(ours: socket.socket, request: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(ours, request)
    ours.shutdown(socket.SHUT_WR)
    parts = []
    while part := await loop.sock_recv(ours, _RECEIVE_BYTES):
        parts.append(part)
    return b"".join(parts)


def _capabilities(told: Mapping[str, Any]) -> HostCapabilities:
    return HostCapabilities(
        sandbox=_sandbox(told["sandbox"]),
        limits=_limits(told["limits"]),
        collected_at_us=told["collected_at_us"],
        kernel=told["kernel"],
    )


def _sandbox(told: Mapping[str, Any]) -> SandboxCapabilities:
    answers = dict(told["found"])
    namespaces = {name: Found(**answer) for name, answer in answers.pop("namespaces").items()}
    return SandboxCapabilities(
        **{name: Found(**answer) for name, answer in answers.items()},
        namespaces=namespaces,
        bwrap=told["bwrap"],
        follows_links=told["follows_links"],
    )


def _limits(told: Mapping[str, Any]) -> LimitCapabilities:
    found = {name: Found(**answer) for name, answer in told["found"].items()}
    return LimitCapabilities(
        **found,
        survives_restart=survival(os.getpid()),
        cgroup=_cgroup(told["cgroup"]),
        memory_capacity_bytes=told["memory_capacity_bytes"],
        pids_capacity=told["pids_capacity"],
    )


def survival(server_pid: int) -> Found:
    """Whether workers can go on when the server, which has this pid, ends."""
    if server_pid == 1:
        return Found(None, "the server is process 1, with which everything beside it ends")
    return Found("supervisor")


def _cgroup(folders: list[dict[str, Any]]) -> CgroupLaunch | None:
    if not folders:
        return None
    return CgroupLaunch(
        tuple(
            CgroupFolder(path=told["path"], version=told["version"], serves=frozenset(told["serves"]))
            for told in folders
        )
    )
