"""What can keep a worker from the host, found by doing it. Each answer names its mechanism or its obstacle.

    request   {bwraps: paths, best first, worker_uid: one that workers get, or null,
               trial_plan: any worker's plan, with a seccomp filter}
    answer    {found: as `SandboxCapabilities`, bwrap: the path that works, or null,
               follows_links: whether its mount destinations do, or null}

Everything is tried in forked children with a time limit, and in a folder that is
removed again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Iterator

from . import identity, landlock, linux, seccomp, staging
from .inside import exit_status
from .sandbox_trial import ALL, Trial, said_by

NOBODY = 65534
"""Whose rights a trial has when the server is root and no uid is named."""

_CLONE_NEWUSER = 0x10000000

_PLACES = "/tmp"  # noqa: S108 - the names below it are random, and made by mkdir.
_EXACT_CODE = 137

_Found = dict[str, str | None]


def probe(asked: dict[str, object]) -> dict[str, object]:
    """See the module. Raises OSError: there is no folder or no process for the trials."""
    bwraps, uid, template = asked["bwraps"], asked["worker_uid"], asked["trial_plan"]
    assert isinstance(bwraps, list)
    assert uid is None or isinstance(uid, int)
    assert isinstance(template, dict)
    os.umask(0o022)  # Of this process alone; the trials' folders are to be seen by the uid of a worker.
    is_root = os.geteuid() == 0
    uid = (NOBODY if uid is None else uid) if is_root else None
    own_uid = _own_uid(uid)
    box = _Box(bwraps, uid if own_uid["mechanism"] else None, template)
    return {
        "found": {
            **box.found,
            "restricted_filesystem": _answer(_restrict_files, "landlock"),
            "seccomp": _answer(_filter_calls, "seccomp"),
            "own_uid": own_uid,
            "own_place": _own_place(uid),
            "own_count": _answer(lambda: fork_alone(uid), "RLIMIT_NPROC"),
            "exact_exit": _exact_exit(),
        },
        "bwrap": box.bwrap,
        "follows_links": box.follows_links,
    }


class _Box:
    """What bubblewrap can do here; `bwrap` is the first that does all of it."""

    def __init__(self, bwraps: list[str], uid: int | None, template: dict[str, object]) -> None:
        self._template = template
        self.bwrap: str | None = None
        self.follows_links: bool | None = None
        self.found: dict[str, object] = {}
        refusal = "no bubblewrap (bwrap) is installed"
        if os.geteuid() == 0 and uid is None:
            bwraps, refusal = (
                [],
                "bubblewrap as root is no sandbox, and workers cannot have a uid of their own",
            )
        for bwrap in bwraps:
            refusal = self._try(bwrap, uid, lambda trial: trial.run())
            if not refusal:
                self.bwrap = bwrap
                break
        self._tell(bwraps, uid, refusal)

    def _tell(self, bwraps: list[str], uid: int | None, refusal: str) -> None:
        if self.bwrap is None:
            partly = {name: self._partly(bwraps, uid, name, refusal) for name in sorted(ALL)}
            nothing = self._partly(bwraps, uid, None, refusal)
            self.found = dict.fromkeys(("linux_sandbox", "rootfs", "network_proxy"), _no(refusal))
            self.found["namespaces"] = {**partly, "mount": nothing}
            return
        works = _yes("bubblewrap")
        self.found = {"linux_sandbox": works, "namespaces": dict.fromkeys((*sorted(ALL), "mount"), works)}
        self.found["rootfs"] = _of(self._try(self.bwrap, uid, lambda trial: trial.rootfs()), "pivot_root")
        egress = self._try(self.bwrap, uid, lambda trial: trial.egress())
        self.found["network_proxy"] = _of(egress, "netns listener")
        self.follows_links = bool(self._try(self.bwrap, uid, lambda trial: "yes" * trial.follows_links()))

    def _partly(self, bwraps: list[str], uid: int | None, name: str | None, refusal: str) -> _Found:
        """One namespace alone, asked only when all together failed."""
        if not bwraps:
            return _no(refusal)
        namespaces = frozenset() if name is None else frozenset({name})
        return _of(self._try(bwraps[0], uid, lambda trial: trial.run(namespaces)), "bubblewrap")

    def _try(self, bwrap: str, uid: int | None, act: Callable[[Trial], str]) -> str:
        with _new_place() as place:
            trial = Trial(bwrap, uid, place, self._template)
            try:
                return act(trial)
            finally:
                trial.close()


@contextlib.contextmanager
def _new_place() -> Iterator[str]:
    """A folder that is ours alone, and gone after the block."""
    place = f"{_PLACES}/watchglass-probe-{os.getpid()}-{os.urandom(8).hex()}"
    os.mkdir(place, 0o700)  # noqa: PTH102 - pathlib would weigh on the spawn daemon.
    try:
        yield place
    finally:
        _remove(place)


def _remove(place: str) -> None:
    for path, folders, files in os.walk(place, topdown=False):
        for name in files:
            os.unlink(f"{path}/{name}")  # noqa: PTH108
        for name in folders:
            _remove_folder(f"{path}/{name}")
    os.rmdir(place)  # noqa: PTH106


def _remove_folder(path: str) -> None:
    """Or a link to one, which `os.walk` counts as a folder."""
    if os.path.islink(path):  # noqa: PTH114
        os.unlink(path)  # noqa: PTH108
    else:
        os.rmdir(path)  # noqa: PTH106


def _yes(mechanism: str, reason: str | None = None) -> _Found:
    return {"mechanism": mechanism, "reason": reason}


def _no(reason: str) -> _Found:
    return {"mechanism": None, "reason": reason}


def _of(refusal: str, mechanism: str) -> _Found:
    return _no(refusal) if refusal else _yes(mechanism)


def _answer(act: Callable[[], None], mechanism: str) -> _Found:
    return _of(said_by(act), mechanism)


def _own_uid(uid: int | None) -> _Found:
    if uid is None:
        return _no("the server is not root")
    return _answer(lambda: identity.become(uid), "setresuid")


def _own_place(uid: int | None) -> _Found:
    """Whether another user can be brought to a folder of its own below one that is closed to it."""
    if uid is None:
        return _no("the server is not root")
    with _new_place() as place:
        return _answer(lambda: _go_there(uid, place), "mount namespace")


def _go_there(uid: int, place: str) -> None:
    own = f"{place}/own"
    os.mkdir(own, 0o700)  # noqa: PTH102
    os.chown(own, uid, uid)
    staging.stage_in_place(place, os.open(own, os.O_RDONLY | os.O_DIRECTORY), own, None)
    identity.become(uid)
    os.chdir(own)


def fork_alone(uid: int | None) -> None:
    """In a user namespace, fork once under a limit of two, and see that a second time is refused.

    Outside it are more of us: the server, the spawn daemon, and whoever probes.
    """
    if uid is not None:
        identity.become(uid)
    linux.unshare(_CLONE_NEWUSER)
    resource.setrlimit(resource.RLIMIT_NPROC, (2, 2))
    if os.fork() == 0:
        os._exit(0)  # It counts until it is waited for.
    try:
        if os.fork() == 0:
            os._exit(0)
    except BlockingIOError:
        return
    raise OSError(errno.ENOSYS, "limited, but more processes were made")


def _restrict_files() -> None:
    """Restrict to an own folder, and see that another one is closed."""
    linux.refuse_new_privileges()
    here = os.open("/usr", os.O_RDONLY | os.O_DIRECTORY)
    landlock.restrict(here, internet=True)
    try:
        os.listdir("/")  # noqa: PTH208
    except PermissionError:
        return
    raise OSError(errno.ENOSYS, "restricted, but / can be read")


def _filter_calls() -> None:
    linux.refuse_new_privileges()
    try:
        seccomp.load(seccomp.own_filter())
    except seccomp.Unsupported as unsupported:
        raise OSError(errno.ENOSYS, f"no filter for {unsupported}") from None
    if not seccomp.denied_call_is_refused():
        raise OSError(errno.ENOSYS, "loaded, but a denied call passed")


def _exact_exit() -> _Found:
    """Whether the kernel tells how a process ended to one who is not its parent."""
    pid = os.fork()
    if pid == 0:
        os._exit(_EXACT_CODE)
    pidfd = os.pidfd_open(pid)
    try:
        os.waitpid(pid, 0)
        status = exit_status(pidfd)
    finally:
        os.close(pidfd)
    if status is None:
        return _no("PIDFD_GET_INFO does not tell (Linux 6.15 does)")
    return _of(
        "" if os.waitstatus_to_exitcode(status) == _EXACT_CODE else "it told another", "PIDFD_GET_INFO"
    )
