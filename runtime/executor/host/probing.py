"""What this host can do for a worker, found by doing it, in a child of the spawn daemon.

One JSON object each way, ended by the end of the stream:

    request   what each probe asks for, in one object
    answer    {kernel, collected_at_us, and for each of `_PROBES` its answer}

A probe is handed the request and answers a JSON object. It leaves nothing behind,
also when it is killed halfway: what it forked, the spawn daemon kills.
"""

from __future__ import annotations

import json
import os
import socket
import time

from . import limits_probe, sandbox_probe

_PROBES = {"limits": limits_probe.probe, "sandbox": sandbox_probe.probe}
_READ_BYTES = 64 * 1024


def probe(server: socket.socket) -> None:
    """Answer the one request that comes. Raises OSError: the server is gone."""
    server.setblocking(True)
    asked = json.loads(_read_all(server))
    answer: dict[str, object] = {
        "kernel": os.uname().release,
        "collected_at_us": time.time_ns() // 1000,
    }
    for name, ask in _PROBES.items():
        answer[name] = ask(asked)
    server.sendall(json.dumps(answer).encode())
    server.close()


def _read_all(server: socket.socket) -> bytes:
    parts = []
    while part := server.recv(_READ_BYTES):
        parts.append(part)
    return b"".join(parts)
