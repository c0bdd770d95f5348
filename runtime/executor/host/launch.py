"""From the fork to the program that runs, or to why there is none.

without a sandbox   ready at once; over when the child's report ends: empty by
                    its exec, or with the step that failed
below bubblewrap    ready when bubblewrap has told its init, and waits for the go;
                    over when the program is executed, or bubblewrap has ended
"""

from __future__ import annotations

import errno
import os

from . import netns
from .loop import Loop
from .worker import Worker

_REPORT_BYTES = 64
_AS_ITS_USER = ("chdir", "exec")
"""Steps that may fail for what the server may do and the worker's user may not."""


class Launch:
    """Watches one worker until it `is_over`. Before that `go` is to be called once it `is_ready`."""

    __slots__ = ("_has_go", "_loop", "_report", "_worker", "is_over", "is_ready")

    def __init__(self, worker: Worker, loop: Loop) -> None:
        self._worker = worker
        self._loop = loop
        self._report = b""
        self._has_go = False
        self.is_ready = worker.inside is None
        self.is_over = False
        loop.watch(worker.report, self._on_report)
        if worker.inside is not None:
            loop.watch(worker.inside.pipe, self._on_status)

    def egress(self) -> int | None:
        """Before `go`: the socket that listens in the worker's network, if one is planned.

        Raises:
            NoWayOut, ProcessLookupError: See `netns.py`.
        """
        inside, sandbox = self._worker.inside, self._worker.plan.sandbox
        if inside is None or sandbox is None or not sandbox.egress:
            return None
        return netns.listener_inside(inside.init)

    def go(self) -> None:
        """Put it on record, and let the program run. Raises OSError: it cannot be put on record."""
        self._worker.start()
        self._has_go = True
        self.look()

    def look(self) -> None:
        """After each reaping: let those run who stopped, and see whether bubblewrap became the program."""
        inside = self._worker.inside
        if inside is None:
            return
        while self._worker.reaper.stopped:
            inside.on_stop(*self._worker.reaper.stopped.pop(0))
        if self._has_go and not self.is_over:
            self.is_over = inside.look()

    @property
    def needs_looks(self) -> bool:
        """Whether `look` has to be called again and again, for nothing will wake us."""
        inside = self._worker.inside
        return inside is not None and self._has_go and not self.is_over and inside.needs_looks

    def failure(self) -> dict[str, object] | None:
        """Once it is over: why no program runs, as a FAILED frame; None: it does."""
        if not self._report:
            inside = self._worker.inside
            return None if inside is None or inside.look() else self._worker.failure_inside()
        step, number = self._report.decode().split()
        plan = self._worker.plan
        subjects = {"cgroup": " ".join(self._worker.groups.paths)}
        subjects |= {"chdir": plan.cwd, "exec": plan.argv[0]}
        subjects |= {"workspace": plan.workspace, "identity": str(plan.uid)}
        if plan.sandbox is None:
            subjects["sandbox"] = "restrictions"
        else:
            subjects |= {"sandbox": plan.sandbox.bwrap, "rootfs": plan.sandbox.rootfs or ""}
        told = failed(step, subjects.get(step, "process"), OSError(int(number), ""))
        return told if plan.uid is None or step not in _AS_ITS_USER else {**told, "uid": plan.uid}

    def _on_report(self, _events: int) -> None:
        """The child said why it goes no further; the end alone says that it has become another program."""
        part = os.read(self._worker.report, _REPORT_BYTES)
        self._report += part
        if not part:
            self._loop.forget(self._worker.report)
            os.close(self._worker.report)
            if self._report or self._worker.inside is None:
                self._end()

    def _on_status(self, _events: int) -> None:
        """bubblewrap said who the init is, or how the program ended; or it has ended itself."""
        inside = self._worker.inside
        assert inside is not None
        if not inside.read():
            self._loop.forget(inside.pipe)
            self._end()
        elif inside.init:
            self.is_ready = True

    def _end(self) -> None:
        self.is_ready = True
        self.is_over = True


def failed(step: str, subject: str, error: OSError) -> dict[str, object]:
    """The content of FAILED."""
    return {"step": step, "subject": subject, "error_number": error.errno or errno.EIO}
