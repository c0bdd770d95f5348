"""A worker below bubblewrap: what it sees, what it cannot do, and that all else holds as without."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from watchglass.protocol.errors import LaunchFailed, SandboxSetupFailed
from watchglass.runtime.executor import (
    INSIDE_SCRIPT,
    INSIDE_WORKSPACE,
    LaunchPlan,
    SandboxLaunch,
    bubblewraps,
    open_executor,
)
from watchglass.runtime.executor.host import bubblewrap
from watchglass.runtime.executor.host.seccomp import call_numbers

from support.exits import told_from_inside
from support.processes import wait_true

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.executor.conftest import Lab, Subject

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(not bubblewraps(), reason="no bubblewrap is installed"),
]

SYSTEM_PYTHON = "/usr/bin/python3"
needs_python = pytest.mark.skipif(
    not Path(SYSTEM_PYTHON).exists(), reason="the system has no Python of its own to show inside"
)
WORKER_UID = 64_321
PATH = "/usr/local/bin:/usr/bin:/bin"


def sandboxed(lab: Lab, *argv: str, **more: Any) -> LaunchPlan:
    """A plan for `argv` in a sandbox, as a uid of its own when we are root."""
    box = {name: more.pop(name) for name in ("cwd", "namespaces", "rootfs") if name in more}
    plan: dict[str, Any] = {
        "sandbox": SandboxLaunch(bwrap=bubblewraps()[0], **box),
        "uid": WORKER_UID if os.geteuid() == 0 else None,
        "seccomp": True,
    }
    made = lab.plan(*argv, **(plan | more))
    (made.directory / "workspace").mkdir(mode=0o700, exist_ok=True)
    return made


async def boxed(lab: Lab, script: str, **more: Any) -> Subject:
    return await lab.launch(sandboxed(lab, "/bin/sh", "-c", script, **more))


def lines(said: bytes) -> dict[str, str]:
    """What a worker printed as "name: value" lines."""
    return dict(line.split(": ", 1) for line in said.decode().splitlines() if ": " in line)


async def test_it_starts_in_its_workspace_and_writes_only_there(lab: Lab) -> None:
    subject = await boxed(lab, "pwd; echo kept > file; for d in / /usr /etc /dev; do echo x > $d/x; done; :")
    assert await subject.says() == f"{INSIDE_WORKSPACE}\n".encode()
    assert (subject.directory / "workspace" / "file").read_text() == "kept\n"
    assert subject.read_all()["stderr"].count(b"Read-only file system") == 4


async def test_it_starts_where_it_was_asked_to(lab: Lab) -> None:
    assert await (await boxed(lab, "pwd", cwd="/usr/bin")).says() == b"/usr/bin\n"
    with pytest.raises(LaunchFailed) as caught:
        await boxed(lab, "pwd", cwd="/no/such/place")
    assert (caught.value.step, caught.value.subject) == ("chdir", "/no/such/place")
    assert caught.value.error_number == errno.ENOENT


async def test_it_sees_no_process_and_no_folder_of_the_host(lab: Lab) -> None:
    said = await (await boxed(lab, "echo /proc/[0-9]*; echo /home/* /root/* /var/* /work*; hostname")).says()
    pids, folders, name = said.decode().splitlines()
    assert {"/proc/1", "/proc/2"} <= set(pids.split())
    assert len(pids.split()) == 2
    assert folders == "/home/* /root/* /var/* /workspace"
    assert name == "worker"


async def test_its_descriptors_are_stdin_stdout_and_stderr(lab: Lab) -> None:
    assert await (await boxed(lab, "ls /proc/$$/fd; true")).says() == b"0\n1\n2\n"


async def test_what_is_in_force_is_told_with_the_start(lab: Lab) -> None:
    subject = await boxed(lab, "cat")
    found = subject.process.verified
    assert found is not None
    assert (found.no_new_privs, found.seccomp, found.capabilities) == (True, True, 0)
    assert found.uid == (WORKER_UID if os.geteuid() == 0 else os.geteuid())
    assert found.unshared == {"mount", "pid", "uts", "ipc", "net", "user"}
    subject.process.close_stdin()
    await subject.exit()


async def test_namespaces_that_were_not_asked_for_are_shared(lab: Lab) -> None:
    subject = await boxed(lab, "cat", namespaces=frozenset({"mount", "pid"}))
    assert subject.process.verified is not None
    assert subject.process.verified.unshared == {"mount", "pid", "user"}
    subject.process.close_stdin()
    await subject.exit()


@pytest.mark.parametrize("namespaces", [frozenset({"mount", "pid", "net"}), frozenset({"mount"})])
@pytest.mark.parametrize(
    ("script", "code", "number"),
    [
        ("exit 0", 0, None),
        ("exit 137", 137, None),
        ("kill -KILL $$", None, signal.SIGKILL),
        ("kill -SEGV $$", None, signal.SIGSEGV),
    ],
)
async def test_exit_code_and_signal_are_told_apart(
    lab: Lab, script: str, code: int | None, number: int | None, namespaces: frozenset[str]
) -> None:
    ended = await (await boxed(lab, script, namespaces=namespaces)).exit()
    assert (ended.code, ended.signal) == told_from_inside(code, number)
    assert ended.cause is None


async def test_a_program_that_does_not_exist_inside_is_refused_as_outside(lab: Lab) -> None:
    with pytest.raises(LaunchFailed) as caught:
        await lab.launch(sandboxed(lab, "no-such-program"))
    assert (caught.value.step, caught.value.subject) == ("exec", "no-such-program")
    assert caught.value.error_number == errno.ENOENT


async def test_a_sandbox_that_cannot_be_set_up_is_told_in_bubblewraps_words(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir(mode=0o755)
    plan = sandboxed(lab, "/bin/true", rootfs=str(tmp_path / "bare"))
    with pytest.raises(LaunchFailed) as caught:
        await lab.launch(plan)
    assert caught.value.step == "sandbox"
    assert caught.value.subject.startswith("bwrap: Can't mkdir /")
    assert not [path for path in plan.directory.iterdir() if path.name.startswith(("run", "exit"))]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
@pytest.mark.parametrize("uid", [None, 0])
async def test_bubblewrap_as_root_is_refused(lab: Lab, uid: int | None) -> None:
    with pytest.raises(LaunchFailed, match="bubblewrap as root is no sandbox") as caught:
        await lab.launch(sandboxed(lab, "/bin/true", uid=uid))
    assert (caught.value.step, caught.value.error_number) == ("sandbox", errno.EPERM)


async def test_a_workspace_behind_a_symbolic_link_is_refused(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "sub").mkdir(parents=True)
    for workspace in ("workspace/link", "workspace/link/sub", "workspace/../.."):
        plan = sandboxed(lab, "/bin/true", workspace=workspace)
        (plan.directory / "workspace" / "link").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(LaunchFailed) as caught:
            await lab.launch(plan)
        assert (caught.value.step, caught.value.subject) == ("workspace", workspace)
        assert caught.value.error_number in (errno.ENOTDIR, errno.ELOOP, errno.EPERM)


async def test_a_folder_of_the_workspace_can_be_the_workspace(lab: Lab) -> None:
    plan = sandboxed(lab, "/bin/sh", "-c", "echo here > file", workspace="workspace/a/b")
    (plan.directory / "workspace" / "a" / "b").mkdir(parents=True)
    assert (await (await lab.launch(plan)).exit()).code == 0
    assert (plan.directory / "workspace" / "a" / "b" / "file").read_text() == "here\n"


async def test_what_lies_in_the_workspace_becomes_the_workers_own(lab: Lab, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    secret.chmod(0o600)
    before = secret.stat()
    plan = sandboxed(lab, "/bin/sh", "-c", "echo more >> deep/file; cat link")
    deep = plan.directory / "workspace" / "deep"
    deep.mkdir(mode=0o700)
    (deep / "file").write_text("some\n")
    (plan.directory / "workspace" / "link").symlink_to(secret)
    subject = await lab.launch(plan)
    assert await subject.says() == b""
    assert (deep / "file").read_text() == "some\nmore\n"
    assert (secret.stat().st_uid, secret.stat().st_mode) == (before.st_uid, before.st_mode)


async def test_its_script_is_a_copy_that_it_can_read(lab: Lab) -> None:
    plan = sandboxed(lab, "/bin/sh", INSIDE_SCRIPT, "word", script="script")
    script = plan.directory / "script"
    script.write_text("echo ran with $1; chmod u+w $0; echo spoiled > $0; exit 4")
    script.chmod(0o600)
    subject = await lab.launch(plan)
    assert await subject.says() == b"ran with word\n"
    assert (await subject.exit()).code == 4
    assert "spoiled >" in script.read_text()
    assert script.stat().st_uid == os.geteuid()


async def test_a_given_root_is_the_root(lab: Lab, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("proc", "dev", "tmp", "run", "workspace"):
        (root / name).mkdir(parents=True)
    for file in await files_of("/bin/ls"):
        inside = root / file.lstrip("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, inside)
        inside.chmod(0o755)
    before = {path.name for path in root.iterdir()}
    subject = await lab.launch(sandboxed(lab, "/bin/ls", "/", rootfs=str(root)))
    assert set((await subject.says()).decode().split()) == before


@pytest.mark.parametrize("name", ["proc", "dev", "tmp", "run", "workspace"])
async def test_a_root_with_a_link_for_a_mount_point_is_refused(lab: Lab, tmp_path: Path, name: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (*bubblewrap.MOUNT_POINTS, name):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / name).rmdir()
    (root / name).symlink_to(f"/oldroot{outside}")
    with pytest.raises(SandboxSetupFailed) as caught:
        await lab.launch(sandboxed(lab, "/bin/true", rootfs=str(root)))
    assert (caught.value.step, caught.value.error_number) == ("rootfs", errno.ENOTDIR)
    assert not outside.exists()


async def files_of(program: str) -> list[str]:
    """The program and the libraries that it needs, as ldd(1) tells."""
    ldd = await asyncio.create_subprocess_exec("ldd", program, stdout=asyncio.subprocess.PIPE)
    told, _ = await ldd.communicate()
    return [program, *(word for word in told.decode().split() if word.startswith("/"))]


async def test_no_mount_gives_rights_by_a_setuid_file_or_a_device(lab: Lab) -> None:
    subject = await boxed(lab, "cat /proc/self/mountinfo")
    mounts = [line.split() for line in (await subject.says()).decode().splitlines()]
    assert len(mounts) > 8
    assert all("nosuid" in mount[5] for mount in mounts)
    assert {mount[4] for mount in mounts if "nodev" not in mount[5]} <= {
        *(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "pts"))
    }


async def test_stop_reaches_the_program_and_its_children(lab: Lab) -> None:
    subject = await boxed(lab, "trap 'echo bye; exit 7' TERM; sleep 1000 & echo ready; wait")
    await subject.until_says(b"ready")
    subject.process.stop()
    assert await subject.says() == b"ready\nbye\n"
    ended = await subject.exit()
    assert (ended.code, ended.cause) == (7, "stop")


async def test_a_signal_reaches_the_group(lab: Lab) -> None:
    subject = await boxed(lab, "trap 'echo usr1; exit' USR1; sleep 1000 & echo ready; wait")
    await subject.until_says(b"ready")
    subject.process.signal(signal.SIGUSR1)
    assert await subject.says() == b"ready\nusr1\n"


async def test_a_deaf_one_is_killed_with_all_that_it_started(lab: Lab) -> None:
    subject = await boxed(lab, "trap '' TERM; setsid sleep 1000 & echo ready; while :; do sleep 1000; done")
    await subject.until_says(b"ready")
    subject.process.stop(grace_ms=100)
    ended = await subject.exit()
    assert (ended.code, ended.signal, ended.cause) == (None, signal.SIGKILL, "stop")
    assert lab.left() == []


async def test_a_daemon_ends_with_the_program(lab: Lab) -> None:
    subject = await boxed(lab, "setsid sh -c 'sleep 1000 & sleep 1000' & echo ready")
    assert await subject.says() == b"ready\n"
    assert (await subject.exit()).code == 0
    assert lab.left() == []


async def test_a_killed_supervisor_takes_the_sandbox_with_it(lab: Lab) -> None:
    subject = await boxed(lab, "setsid sleep 1000 & echo ready; sleep 1000")
    await subject.until_says(b"ready")
    os.kill(subject.process.supervisor_pid, signal.SIGKILL)
    assert (await subject.exit()).cause == "lost"
    assert lab.left() == []


async def test_every_byte_of_output_and_input_passes(lab: Lab) -> None:
    subject = await boxed(lab, "cat; head -c 3000000 /dev/zero; echo end >&2")
    subject.process.write_input(b"word " * 20_000)
    subject.process.close_stdin()
    assert await subject.says() == b"word " * 20_000 + bytes(3_000_000)
    assert subject.read_all()["stderr"] == b"end\n"
    ended = await subject.exit()
    assert ended.strays_killed == 0
    assert ended.usage is not None
    assert ended.usage.max_rss_bytes > 0


async def test_it_outlives_its_server_and_is_adopted(
    tmp_path: Path, make_lab: Callable[..., Lab], lab: Lab
) -> None:
    (tmp_path / "first").mkdir()
    async with open_executor() as executor:
        first = make_lab(executor, tmp_path / "first")
        plan = sandboxed(
            first, "/bin/sh", "-c", "echo one; read word; echo $word; exit 137", outlives_server=True
        )
        subject = await first.launch(plan)
        output = {"stdout": await subject.until_says(b"one\n"), "stderr": b""}
        verified = subject.process.verified
        await executor.close(keep_outliving=True)
    again = await lab.adopt(plan, output)
    assert again.process.verified == verified is not None
    again.process.write_input(b"two\n")
    assert await again.says() == b"one\ntwo\n"
    ended = await again.exit()
    assert (ended.code, ended.signal) == (137, None)


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_the_record_names_the_sandbox_and_no_secret_is_in_a_command_line(lab: Lab) -> None:
    subject = await boxed(lab, "cat", env={"PATH": PATH, "KEY": "hunter2"})
    run = json.loads((subject.directory / "run.json").read_text())
    assert run["plan"]["sandbox"]["namespaces"] == ["ipc", "mount", "net", "pid", "uts"]
    wait_true(lambda: len(lab.left()) >= 3, "each has the environment of its program")
    seen = [command_line(pid) for pid in lab.left()]
    assert not any(b"hunter2" in line for line in seen)
    assert sum(line.startswith(b"watchglass-sandbox\0--args\0") for line in seen) == 2
    subject.process.close_stdin()
    await subject.exit()


async def test_its_environment_is_what_was_given(lab: Lab) -> None:
    plan = sandboxed(lab, "/usr/bin/env", "-0", env={"GIVEN": "a value\nof two lines", "PATH": PATH})
    said = await (await lab.launch(plan)).says()
    found = dict(entry.split(b"=", 1) for entry in said.split(b"\0") if entry)
    assert found.pop(b"PWD") == INSIDE_WORKSPACE.encode()
    assert found == {name.encode(): value.encode() for name, value in plan.env.items()}


async def test_its_whole_tree_shares_one_budget_of_processes(lab: Lab) -> None:
    limits = (await lab.executor.probe()).limits
    if not limits.pids:
        pytest.skip(f"no group bounds processes here: {limits.pids.reason}")
    forks = "for n in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo never"
    subject = await boxed(lab, forks, cgroup=limits.cgroup, pids_max=8)
    assert await subject.says() == b""
    ended = await subject.exit()
    assert b"Cannot fork" in subject.read_all()["stderr"]
    assert ended.cause == "pids"
    assert lab.left() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to give it a user of its own")
async def test_without_a_group_its_own_user_bounds_its_processes_and_nobody_elses(lab: Lab) -> None:
    uid = 1_000_000_000 + 2 * os.getpid()  # Also not that of the same test beside us.
    forks = "for n in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo never"
    bounded = await boxed(lab, forks, pids_max=8, uid=uid)
    assert await bounded.says() == b""
    assert b"Cannot fork" in bounded.read_all()["stderr"]
    crowd = "for n in 1 2 3 4 5 6 7; do sleep 1000 & done; echo up; wait"
    others = await boxed(lab, crowd, uid=uid + 1)
    await others.until_says(b"up\n")
    free = await boxed(lab, "sleep 0 & sleep 0 & wait; echo all", pids_max=8, uid=uid)
    assert await free.says() == b"all\n"
    others.process.kill()
    await others.exit()


@needs_python
async def test_it_reaches_no_port_of_the_host_without_the_network(lab: Lab) -> None:
    script = "import socket, sys\nsocket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)\nprint('in')"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        shut = await lab.launch(sandboxed(lab, SYSTEM_PYTHON, "-I", "-S", "-c", script, port))
        shared = frozenset({"mount", "pid", "uts", "ipc"})
        plan = sandboxed(lab, SYSTEM_PYTHON, "-I", "-S", "-c", script, port, namespaces=shared)
        open_ = await lab.launch(plan)
        assert await open_.says() == b"in\n"
        assert await shut.says() == b""
        assert b"Error" in shut.read_all()["stderr"]


CALLS = ("keyctl", "add_key", "bpf", "io_uring_setup")
ESCAPES = """
import ctypes, errno, fcntl, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)

def attempt(name, act):
    try:
        act()
    except OSError as error:
        print(name + ":", errno.errorcode.get(error.errno, error.errno), flush=True)
    else:
        print(name + ": done", flush=True)

def call(*arguments):
    ctypes.set_errno(0)
    if libc.syscall(*(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def libc_call(name, *arguments):
    ctypes.set_errno(0)
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

def device():
    os.mknod("/tmp/disk", 0o060600, os.makedev(254, 0))

def setuid_shell():
    os.setuid(0)

def abstract():
    with socket.socket(socket.AF_UNIX) as one:
        one.connect("\\0" + sys.argv[1])

def injected():
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, 0x5412 | TALL, b"x")

REMOUNT, BIND, NEWUSER = 32, 4096, 0x10000000
attempt("remount", lambda: libc_call("mount", b"none", b"/usr", None, ctypes.c_ulong(REMOUNT | BIND), None))
attempt("mount", lambda: libc_call("mount", b"t", b"/tmp", b"tmpfs", ctypes.c_ulong(0), None))
attempt("unmount", lambda: libc_call("umount2", b"/usr", 2))
attempt("chroot", lambda: os.chroot("/tmp"))
attempt("unshare", lambda: libc_call("unshare", NEWUSER))
attempt("setns", lambda: libc_call("setns", os.open("/proc/1/ns/mnt", os.O_RDONLY), 0))
attempt("ptrace", lambda: libc_call("ptrace", 16, 1, None, None))
attempt("keyring", lambda: call(CALLS["keyctl"], 0, -4, 1))
attempt("add_key", lambda: call(CALLS["add_key"], b"user", b"k", b"v", 1, -4))
attempt("bpf", lambda: call(CALLS["bpf"], 0, 0, 0))
attempt("io_uring", lambda: call(CALLS["io_uring_setup"], 1, 0))
attempt("clone3", lambda: call(435, 0, 0))
attempt("device", device)
attempt("setuid", setuid_shell)
attempt("server environ", lambda: open("/proc/" + sys.argv[2] + "/environ").read())
attempt("host root", lambda: os.listdir("/oldroot"))
attempt("proc write", lambda: open("/proc/sys/kernel/core_pattern", "w"))
attempt("abstract", abstract)
TALL = 0
attempt("tiocsti", injected)
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("vsock", lambda: socket.socket(40, socket.SOCK_STREAM))
"""


@needs_python
async def test_no_way_out_is_open(lab: Lab) -> None:
    """One sandbox, many attempts; each is refused in its own words."""
    numbers = {name: call_numbers(os.uname().machine)[name] for name in CALLS}
    with socket.socket(socket.AF_UNIX) as host:
        name = f"watchglass-test-{os.getpid()}"
        host.bind("\0" + name)
        host.listen()
        script = f"CALLS = {numbers!r}\n{ESCAPES}"
        argv = (SYSTEM_PYTHON, "-I", "-S", "-c", script, name, str(os.getpid()))
        subject = await lab.launch(sandboxed(lab, *argv))
        said = lines(await subject.says())
    assert subject.read_all()["stderr"] == b""
    assert said == {
        "remount": "EPERM",
        "mount": "EPERM",
        "unmount": "EPERM",
        "chroot": "EPERM",
        "unshare": "EPERM",
        "setns": "EPERM",
        "ptrace": "EPERM",
        "keyring": "EPERM",
        "add_key": "EPERM",
        "bpf": "EPERM",
        "io_uring": "EPERM",
        "clone3": "ENOSYS",
        "device": "EPERM",
        "setuid": "EINVAL",
        "server environ": "ENOENT",
        "host root": "ENOENT",
        "proc write": "EACCES",
        "abstract": "ECONNREFUSED",
        "tiocsti": "EPERM",
        "packet": "EAFNOSUPPORT",
        "vsock": "EAFNOSUPPORT",
    }
