"""A server that the tests fork is what a user's is: nothing that it can see of itself tells them apart."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support.api import Api
from support.patience import PATIENCE_S
from support.processes import wait_true
from support.serving import Launch, Served, serving

SEEN = ("SigBlk", "SigIgn", "SigCgt", "Umask", "NoNewPrivs", "Threads", "Uid", "Groups", "CapEff")

WATCHED = ("the spawn daemon", "the supervisor of the worker before")
SOCKETS = ("what listens", "one end of the loop's own", "the other", *WATCHED)
"""At rest: no probe, and no connection that is just closed."""


def descriptors(pid: int) -> list[str]:
    """What they stand for, in order; some may be closed meanwhile."""
    found: list[str] = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(path.readlink().name)
    return sorted(found)


def is_at_rest(held: list[str]) -> bool:
    pidfds, sockets = held.count("anon_inode:[pidfd]"), sum(name.startswith("socket:") for name in held)
    return (pidfds, sockets) == (len(WATCHED), len(SOCKETS))


def facts(served: Served) -> dict[str, Any]:
    """What a process has from who started it, and what its workers have from it."""
    pid, api = served.process.pid, Api(served)
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    worker_id = api.create("env")["worker_id"]
    wait_true(lambda: api.worker(worker_id)["exit"] is not None, "it does not end")
    kept = (line for line in api.log(worker_id).decode().splitlines() if worker_id not in line)
    wait_true(
        lambda: is_at_rest(descriptors(pid)),
        lambda: f"it has more than {WATCHED} and {SOCKETS}: {descriptors(pid)}",
    )
    return {
        **{name: status[name] for name in SEEN},
        "descriptors": [name.split(":")[0] for name in descriptors(pid)],
        "folder": Path(f"/proc/{pid}/cwd").readlink(),
        "limits": Path(f"/proc/{pid}/limits").read_text(),
        "group": os.getpgid(pid),
        "session": os.getsid(pid),
        "worker": sorted(kept),
    }


def test_it_has_the_signals_files_and_folders_of_one_that_was_executed(tmp_path: Path) -> None:
    flags, env = ("--runtime-id=rt-forked",), {"SEEN": "by the server"}
    found = []
    for afresh in (True, False):
        with serving(tmp_path, *flags, env=env, afresh=afresh) as served:
            found.append(facts(served))
    assert found[0] == found[1]


@pytest.mark.parametrize("afresh", [True, False], ids=["executed", "forked"])
def test_its_end_is_told_as_it_was(tmp_path: Path, afresh: bool) -> None:
    refused = Launch(tmp_path / "refused", "--bind=nowhere", afresh=afresh)
    assert refused.process.wait(PATIENCE_S) == refused.process.poll() == 2
    killed = Launch(tmp_path / "killed", afresh=afresh).listening()
    with pytest.raises(subprocess.TimeoutExpired):
        killed.process.wait(0)
    assert killed.process.poll() is None
    assert killed.end(signal.SIGKILL) == -signal.SIGKILL
    killed.process.send_signal(signal.SIGKILL)  # Nobody's by now.
