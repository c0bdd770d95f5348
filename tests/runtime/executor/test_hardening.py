"""Profile `process`, held back: the filter, the file system, the uid, each alone and all together."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from watchglass.protocol.errors import LaunchFailed
from watchglass.runtime.executor.host import landlock

from support.passing import let_others_pass

if TYPE_CHECKING:
    from runtime.executor.conftest import Lab, Subject

pytestmark = pytest.mark.asyncio

SYSTEM_PYTHON = "/usr/bin/python3"
needs_python = pytest.mark.skipif(not Path(SYSTEM_PYTHON).exists(), reason="needs a Python in /usr")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
WORKER_UID = 64_322


def landlock_abi() -> int:
    try:
        return landlock.abi()
    except OSError:
        return 0


needs_landlock = pytest.mark.skipif(landlock_abi() < 1, reason="this kernel has no Landlock")


async def hardened(lab: Lab, *argv: str, **more: Any) -> Subject:
    plan = lab.plan(*argv, **more)
    workspace = plan.directory / "workspace"
    workspace.mkdir(mode=0o700)
    return await lab.launch(replace(plan, cwd=str(workspace)))


async def test_nothing_is_held_back_unasked_but_new_privileges(lab: Lab) -> None:
    subject = await lab.run("cat")
    found = subject.process.verified
    assert found is not None
    assert found.no_new_privs
    assert not found.seccomp
    assert found.uid == os.geteuid()
    assert not found.unshared
    subject.process.close_stdin()
    await subject.exit()


async def test_the_filter_of_calls_is_in_force(lab: Lab) -> None:
    subject = await hardened(lab, "/bin/sh", "-c", "unshare -r true; cat", seccomp=True)
    assert subject.process.verified is not None
    assert subject.process.verified.seccomp
    subject.process.close_stdin()
    await subject.exit()
    assert b"Operation not permitted" in subject.read_all()["stderr"]


@needs_python
async def test_without_the_internet_it_makes_no_socket_but_unix_ones(lab: Lab) -> None:
    script = (
        "import errno, socket\n"
        "for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):\n"
        "    try:\n"
        "        socket.socket(family).close(); print(family.name, 'made')\n"
        "    except OSError as error:\n"
        "        print(family.name, errno.errorcode[error.errno])\n"
    )
    subject = await hardened(lab, SYSTEM_PYTHON, "-I", "-S", "-c", script, internet=False)
    assert await subject.says() == b"AF_UNIX made\nAF_INET EAFNOSUPPORT\nAF_INET6 EAFNOSUPPORT\n"


@needs_landlock
async def test_a_restricted_file_system_is_the_workspace_and_a_system_to_read(
    lab: Lab, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    script = f"""
        echo kept > file && cat file
        echo temporary > $TMPDIR/x && cat $TMPDIR/x
        cat {secret}; echo x > /etc/x; echo x > /tmp/x-{os.getpid()}
        ls /root; cat /proc/{os.getpid()}/environ
        head -c1 /etc/passwd > /dev/null && echo read
    """
    subject = await hardened(lab, "/bin/sh", "-c", script, restricted_filesystem=True)
    assert await subject.says() == b"kept\ntemporary\nread\n"
    assert subject.read_all()["stderr"].count(b"ermission denied") == 5
    assert (subject.directory / "workspace" / "file").read_text() == "kept\n"


@needs_landlock
@pytest.mark.parametrize("uid", [None, pytest.param(WORKER_UID, marks=needs_root)])
async def test_a_restricted_one_reads_its_script_and_nothing_else_beside_its_workspace(
    lab: Lab, uid: int | None
) -> None:
    plan = lab.plan("/bin/sh", "to be named", "word", restricted_filesystem=True, script="script", uid=uid)
    workspace, script = plan.directory / "workspace", plan.directory / "script"
    workspace.mkdir(mode=0o700)
    script.write_text("echo ran with $1; echo spoiled > $0; ls ..; cat ../run.json")
    script.chmod(0o600)
    argv = ("/bin/sh", str(script), "word")
    subject = await lab.launch(replace(plan, argv=argv, cwd=str(workspace)))
    assert await subject.says() == b"ran with word\n"
    assert subject.read_all()["stderr"].count(b"\n") == 3
    assert "spoiled >" in script.read_text()


@needs_root
@needs_landlock
async def test_a_restricted_one_of_its_own_uid_sees_its_own_below_closed_folders_and_has_no_rights_of_root(
    lab: Lab, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "secret").write_text("hunter2")
    plan = replace(lab.plan("/bin/sh", "-c", ""), directory=closed / "worker")
    workspace = plan.directory / "workspace"
    workspace.mkdir(parents=True, mode=0o700)
    script = f"""
        pwd; echo kept > file; cat {workspace}/file; echo temporary > $TMPDIR/x && cat $TMPDIR/x
        cat {closed}/secret; chmod 777 {closed}; chmod u+s /usr/bin/env; cat /etc/shadow
    """
    argv = ("/bin/sh", "-c", script)
    plan = replace(plan, argv=argv, cwd=str(workspace), uid=WORKER_UID, restricted_filesystem=True)
    subject = await lab.launch(plan)
    assert (await subject.says()).decode().split() == [str(workspace), "kept", "temporary"]
    assert subject.read_all()["stderr"].count(b"\n") == 4
    assert closed.stat().st_mode & 0o777 == 0o700
    assert (workspace / "file").stat().st_uid == WORKER_UID


@needs_landlock
async def test_a_restricted_root_has_no_capability(lab: Lab) -> None:
    subject = await hardened(lab, "cat", restricted_filesystem=True)
    assert subject.process.verified is not None
    assert subject.process.verified.capabilities == 0
    subject.process.close_stdin()
    await subject.exit()


@needs_python
@pytest.mark.skipif(landlock_abi() < 6, reason="this kernel's Landlock has no scopes")
async def test_a_restricted_one_reaches_no_abstract_socket_and_signals_nobody_else(lab: Lab) -> None:
    script = (
        "import errno, os, socket, sys\n"
        "for act in (lambda: socket.socket(socket.AF_UNIX).connect('\\0' + sys.argv[1]),"
        " lambda: os.kill(int(sys.argv[2]), 0)):\n"
        "    try:\n"
        "        act(); print('done')\n"
        "    except OSError as error:\n"
        "        print(errno.errorcode[error.errno])\n"
    )
    with socket.socket(socket.AF_UNIX) as host:
        name = f"watchglass-hardening-{os.getpid()}"
        host.bind("\0" + name)
        host.listen()
        argv = (SYSTEM_PYTHON, "-I", "-S", "-c", script, name, str(os.getpid()))
        subject = await hardened(lab, *argv, restricted_filesystem=True)
        assert await subject.says() == b"EPERM\nEPERM\n"


@needs_root
async def test_a_uid_of_its_own_has_one_group_and_no_rights(lab: Lab, tmp_path: Path) -> None:
    let_others_pass(tmp_path)
    plan = lab.plan("/bin/sh", "-c", "id -u; id -G; pwd; echo mine > file; cat", uid=WORKER_UID)
    plan.directory.chmod(0o711)
    workspace = plan.directory / "workspace"
    workspace.mkdir(mode=0o700)
    subject = await lab.launch(replace(plan, cwd=str(workspace)))
    found = subject.process.verified
    assert found is not None
    assert (found.uid, found.capabilities) == (WORKER_UID, 0)
    subject.process.close_stdin()
    assert (await subject.says()).decode().split() == [str(WORKER_UID), str(WORKER_UID), str(workspace)]
    assert (workspace / "file").stat().st_uid == WORKER_UID


@needs_root
async def test_a_working_directory_that_its_uid_cannot_reach_is_refused(lab: Lab, tmp_path: Path) -> None:
    let_others_pass(tmp_path)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    plan = lab.plan("/bin/true", uid=WORKER_UID)
    (plan.directory / "workspace").mkdir(mode=0o700)
    with pytest.raises(LaunchFailed) as caught:
        await lab.launch(replace(plan, cwd=str(closed)))
    assert (caught.value.step, caught.value.error_number) == ("chdir", errno.EACCES)


async def test_a_missing_workspace_is_refused(lab: Lab) -> None:
    with pytest.raises(LaunchFailed) as caught:
        await lab.run("true", restricted_filesystem=True)
    assert (caught.value.step, caught.value.subject) == ("workspace", "workspace")
    assert caught.value.error_number == errno.ENOENT
