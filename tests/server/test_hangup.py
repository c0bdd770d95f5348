"""SIGHUP: the host is looked at anew, unless it says that the terminal is gone."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

from watchglass.client.local import look

from support.api import Api
from support.patience import PATIENCE_S
from support.processes import wait_true
from support.serving import environment, serving, watchglass


def collected_at(api: Api) -> str:
    return str(api.get("/v1/runtime/capabilities")["capabilities"]["collected_at"])


def test_a_hangup_that_somebody_sends_probes_the_host_again(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        api = Api(served)
        before = collected_at(api)
        served.process.send_signal(signal.SIGHUP)
        wait_true(lambda: collected_at(api) > before, "no probe came of the hangup")
        assert served.stop() == 0


def test_a_hangup_of_the_terminal_ends_the_server_as_sigterm_does(tmp_path: Path) -> None:
    inside = (
        "import os, sys; os.setsid(); os.open(os.ttyname(0), os.O_RDWR); os.execv(sys.argv[1], sys.argv[1:])"
    )
    ours, theirs = pty.openpty()
    with (tmp_path / "stderr.txt").open("wb") as stderr:
        server = subprocess.Popen(
            [sys.executable, "-c", inside, *watchglass("serve", "--store", "memory")],
            env=environment(tmp_path),
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    os.close(theirs)
    try:
        wait_true(lambda: bool(look(tmp_path).running), "it does not listen")
        os.close(ours)  # The window is closed: the kernel hangs up.
        assert server.wait(PATIENCE_S) == 0
    finally:
        server.kill()
        server.wait(PATIENCE_S)
    assert look(tmp_path).running == []
