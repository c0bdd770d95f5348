"""A socket that listens in a network which its holder is not in."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest

from watchglass.runtime.executor.host.netns import PORT, NoWayOut, listener_inside


def test_a_process_that_is_gone_is_told_as_such() -> None:
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    with pytest.raises(ProcessLookupError):
        listener_inside(ended.pid)


def test_a_network_that_is_not_a_workers_own_is_not_listened_in() -> None:
    """setns(2) refuses the user namespace that one is in, and one in which one has no rights."""
    with pytest.raises(NoWayOut, match=f"127.0.0.1:{PORT} inside") as caught:
        listener_inside(os.getpid())
    assert caught.value.errno in (errno.EINVAL, errno.EPERM)
