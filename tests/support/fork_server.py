"""The program behind `forked`: a Python that has our server imported, and forks one for each order.

    in    {"argv": […], "env": {…}, "cwd": "…",
           "stdout": "…", "stderr": "…"}           start one; its pid comes back
          {"reap": pid}                            one that ended; its status comes back

One JSON object a line on stdin, one number a line on stdout; it leaves when stdin ends.
What it forks returns from `_ordered` with its arguments and goes on as the program does,
but that the modules are not taken apart at its end: they are nearly all of its memory,
which it shares with us for as long as it does not write there.
"""

from __future__ import annotations

import atexit
import encodings.idna  # noqa: F401 - see the others.
import gc
import json
import logging
import os
import signal
import sys
import threading
from typing import Any

import watchglass.server.cli.serving
import watchglass.server.config
import watchglass.server.serving
import watchglass.store.filesystem  # noqa: F401 - imported for who is forked, like the others.
from watchglass.server.cli.main import main


def _ordered() -> list[str]:
    """The arguments of a new process: this returns in that alone."""
    for line in sys.stdin:
        order = json.loads(line)
        if "reap" in order:
            _, answer = os.waitpid(order["reap"], 0)
        else:
            assert threading.active_count() == 1, "who has threads must not fork"
            answer = os.fork()
            if answer == 0:
                return _begun(order)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
    os._exit(0)


def _begun(order: dict[str, Any]) -> list[str]:
    """What an exec would have set."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.unfreeze()
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    for number, path in enumerate((os.devnull, order["stdout"], order["stderr"])):
        opened = os.open(path, os.O_RDWR)
        os.dup2(opened, number)
        os.close(opened)
    return list(order["argv"])


def _end_with(code: int) -> None:
    """When no thread is left: what the end of an interpreter does that can be seen from outside."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # A Ctrl-C in the terminal is for those who were started.
    gc.collect()
    gc.freeze()
    ended = main(_ordered())
    atexit.register(_end_with, ended)
    sys.exit(ended)
