"""`drain`: end every worker and the server, and return when the server is gone.

The server answers at once and goes on answering until its last worker has
ended, so what is left can be asked for meanwhile. Then its port closes, and
where it runs on this machine, its process is waited for.
"""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING, Any, Final

from watchglass.client.faults import Unreachable
from watchglass.client.local import Discovery, start_ticks

from . import options
from .faults import CliError
from .reaching import client_for, found
from .showing import write_json_line, write_line

if TYPE_CHECKING:
    from watchglass.client.http import Client

Json = dict[str, Any]

ASK_EVERY_S: Final = 0.1


def drain(
    reason: options.DrainReason = None,
    *,
    where: options.Where,
    as_json: options.AsJsonLines = False,
) -> None:
    """End a runtime: stop every worker, then the server; wait for it.

    Does what Ctrl-C does where 'serve' runs. Ctrl-C here stops the waiting alone.
    """
    from watchglass.client.call import END_TIMEOUT_S

    reached = found(where)
    deadline_s = time.monotonic() + END_TIMEOUT_S
    with client_for(reached) as client:
        answer = client.post("/v1/runtime/drain", {} if reason is None else {"reason": reason})
        runtime_id = _watch(client, answer, deadline_s, as_json=as_json)
    if reached.server is not None:
        _wait_gone(reached.server, deadline_s)
    if as_json:
        write_json_line({"drained": runtime_id})
    elif reached.server is not None:
        write_line(f"{runtime_id} has ended")
    else:
        write_line(f"{runtime_id} no longer answers")


def _watch(client: Client, answer: Json, deadline_s: float, *, as_json: bool) -> str:
    """Tell how many workers are left whenever that changes, until nobody answers; the runtime's id."""
    drained = answer["runtime"]
    now: Json = drained
    told: int | None = None
    while _is_same(now, drained):
        left = now["active_worker_count"]
        if left != told:
            told = left
            if as_json:
                write_json_line(answer)
            else:
                write_line(f"{drained['runtime_id']}: {_counted(left)} left")
        _check(deadline_s, drained["runtime_id"])
        time.sleep(ASK_EVERY_S)
        try:
            answer = client.get("/v1/runtime")
        except Unreachable:
            break
        now = answer["runtime"]
    return str(drained["runtime_id"])


def _is_same(now: Json, drained: Json) -> bool:
    """Whether who answers is still the server that drains, and not another one on its port."""
    return (now["runtime_id"], now.get("started_at")) == (drained["runtime_id"], drained.get("started_at"))


def _wait_gone(server: Discovery, deadline_s: float) -> None:
    try:
        process = os.pidfd_open(server.pid)
    except ProcessLookupError:
        return
    try:
        if start_ticks(server.pid) == server.pid_start_ticks:
            ended, _, _ = select.select([process], [], [], max(0.0, deadline_s - time.monotonic()))
            if not ended:
                raise _too_long(server.runtime_id)
    finally:
        os.close(process)


def _check(deadline_s: float, runtime_id: str) -> None:
    if time.monotonic() > deadline_s:
        raise _too_long(runtime_id)


def _too_long(runtime_id: str) -> CliError:
    return CliError(f"{runtime_id} is still there; its workers have had more than the longest grace")


def _counted(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"
