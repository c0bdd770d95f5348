"""`doctor`: what this host can do, and whether a store's files are whole; it speaks to no server.

The host is probed as a server probes it (`host_doctor.py`). The store's own code
decides what is wrong and what is done about it (`store/filesystem/checking.py`,
`repairing.py`); this is how it is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from .faults import ExitCode, UsageFault
from .host_doctor import examined_host
from .showing import note, one_line, write_document, write_line

if TYPE_CHECKING:
    from watchglass.store.filesystem.inspection import RuntimeCheck
    from watchglass.store.filesystem.problems import Problem

Json = dict[str, Any]


class Outcome(NamedTuple):
    """What came of one runtime. `refused`: why nothing was repaired, if that was asked for."""

    found: RuntimeCheck
    left: RuntimeCheck
    moved_to: str | None = None
    refused: str | None = None


def doctor(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]",
            help="What 'serve' has as --fs-root, or one runtime's folder in it; without it, the host and the "
            "default store.",
            show_default=False,
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move what is broken aside and make the rest readable.")
    ] = False,
    cgroup_root: Annotated[
        str | None,
        typer.Option("--cgroup-root", metavar="DIR", help="Look at the host as 'serve' does with this flag."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON, as one object.")] = False,
) -> None:
    """Say what this host can do for workers, and check the files of a store.

    Without DIR, first the host: which isolation and which limits workers can have here, what a worker loses
    where it cannot, and what to install or to switch on. That holds for a server that you start as you are.

    Then the files, beside a running server or without one. Everything is read whole; what is wrong is told
    with its place, what it means, and what --repair would do. --repair deletes nothing: what is broken goes
    to the folder 'broken' of its runtime, and readers who pass the place are told by an alert in the
    journal. It is refused while a server has the runtime open.

    Exit codes: 0 no file is wrong (any more), whatever the host can do; 1 one is, or the host could not be
    probed; 2 the folder is no store or cannot be read.
    """
    is_of_host = directory is None and not repair
    root = _cgroup_root(cgroup_root, is_of_host=is_of_host)
    paths = _runtimes(directory)
    host = examined_host(root) if is_of_host else None
    if host is not None and not as_json:
        host.show()
    if not paths and not as_json:
        note("there is no runtime in this store yet")
    outcomes = [_examined(path, is_to_repair=repair) for path in paths]
    if as_json:
        runtimes = [_document(outcome) for outcome in outcomes]
        write_document(
            {"runtimes": runtimes} if host is None else {"host": host.document(), "runtimes": runtimes}
        )
    else:
        for outcome in outcomes:
            _show(outcome)
    is_known = host is None or host.fault is None
    if not is_known or not all(
        outcome.left.exam.is_clean and outcome.refused is None for outcome in outcomes
    ):
        raise typer.Exit(ExitCode.FAILED)


def _cgroup_root(given: str | None, *, is_of_host: bool) -> Path | None:
    """The group that is meant. Raises UsageFault."""
    if given is None:
        return None
    from watchglass.server.confinement import ConfinementFault, cgroup_root_of

    if not is_of_host:
        raise UsageFault("--cgroup-root: it is for the look at the host; leave out DIR and --repair")
    try:
        return cgroup_root_of(given, cgroups=True)
    except ConfinementFault as fault:
        raise UsageFault(str(fault)) from None


def _runtimes(directory: Path | None) -> Sequence[Path]:
    """The runtimes' folders that are meant. Raises UsageFault."""
    from watchglass.client.local import state_directory
    from watchglass.server.local import store_root
    from watchglass.store.filesystem.layout import runtime_directories

    root = store_root(state_directory()) if directory is None else directory.absolute()
    try:
        names = {path.name for path in root.iterdir()}
        if "runtimes" in names:
            return runtime_directories(root)
        if root.parent.name == "runtimes" and names & {"runtime.json", "workers", "journal"}:
            return [root]
    except FileNotFoundError:
        if directory is None:
            return []
        raise UsageFault(f"{directory}: there is no such folder") from None
    except OSError as fault:
        raise UsageFault(f"{fault.filename or root}: {fault.strerror or fault}") from None
    if directory is None and not names:
        return []
    raise UsageFault(f"{root} is no store, and no runtime's folder in one")


def _examined(path: Path, *, is_to_repair: bool) -> Outcome:
    from watchglass.runtime.executor.examining import SupervisorFiles
    from watchglass.store.base import StoreUnusable
    from watchglass.store.filesystem.checking import check_runtime

    companion = SupervisorFiles()
    refused: str | None = None
    if is_to_repair:
        from watchglass.store.filesystem.repairing import repair_runtime
        from watchglass.store.numbering import system_clock_us

        try:
            repair = repair_runtime(path, system_clock_us, companion=companion)
            return Outcome(repair.found, repair.left, repair.moved_to)
        except StoreUnusable as fault:
            refused = str(fault)
        except OSError as fault:
            refused = f"{fault.filename or path}: {fault.strerror or fault}; nothing is lost, run it again"
    found = check_runtime(path, companion=companion)
    return Outcome(found, found, refused=refused)


# Words.


def _show(outcome: Outcome) -> None:
    found, left, moved_to, refused = outcome
    write_line(f"runtime {found.runtime_id}: {_summary(outcome)}")
    write_line(f"  {found.path}")
    if found.holder is not None:
        write_line(f"  open in a server: {_holder(found)}")
    still = {problem.place for problem in left.exam.problems}
    for problem in found.exam.problems:
        is_repaired = left is not found and problem.place not in still
        _show_problem(problem, found, is_repaired=is_repaired)
    known = {problem.place for problem in found.exam.problems}
    for problem in left.exam.problems:
        if problem.place not in known:
            _show_problem(problem, found, is_repaired=False)
    if moved_to is not None:
        write_line(f"  what was broken is in {moved_to}")
    if refused is not None:
        write_line(f"  not repaired: {one_line(refused)}")


def _show_problem(problem: Problem, found: RuntimeCheck, *, is_repaired: bool) -> None:
    where = _relative(problem.path, found)
    if problem.offset is not None:
        where += f", offset {problem.offset}"
    write_line(f"  {problem.severity} {problem.code}: {one_line(where)}")
    write_line(f"    {one_line(problem.meaning)}")
    if is_repaired:
        write_line("    repaired")
    elif problem.severity != "info":
        write_line(f"    --repair {problem.repair or 'can do nothing about it'}")


def _summary(outcome: Outcome) -> str:
    found, left = outcome.found, outcome.left
    events = f"{_count(found.events, 'event')} in {_count(found.segments, 'file')}"
    seen = f"{_count(found.workers, 'worker')}, {events}"
    wrong = len([each for each in found.exam.problems if each.severity != "info"])
    if not wrong:
        return f"nothing is wrong ({seen})"
    said = _count(wrong, "problem")
    if left is not found:
        still = len([each for each in left.exam.problems if each.severity != "info"])
        said += f", {still} left" if still else ", all repaired"
    return f"{said} ({seen})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _holder(found: RuntimeCheck) -> str:
    assert found.holder is not None
    pid, since = found.holder
    return "nobody knows which" if pid is None else f"process {pid}, since {since}"


def _relative(path: str, found: RuntimeCheck) -> str:
    return path.removeprefix(f"{found.path}/")


def _document(outcome: Outcome) -> Json:
    found, left, moved_to, refused = outcome
    holder = found.holder
    still = {problem.place for problem in left.exam.problems}
    known = {problem.place for problem in found.exam.problems}
    problems = [*found.exam.problems, *(each for each in left.exam.problems if each.place not in known)]
    return {
        "runtime_id": found.runtime_id,
        "path": str(found.path),
        "schema": found.schema,
        "open_in": None if holder is None else {"pid": holder.pid, "since": holder.since},
        "workers": found.workers,
        "events": found.events,
        "files": found.segments,
        "ok": left.exam.is_clean,
        "problems": [
            {
                "severity": each.severity,
                "code": each.code,
                "worker_id": each.worker_id,
                "path": each.path,
                "offset": each.offset,
                "meaning": each.meaning,
                "repair": each.repair,
                "repaired": each.place not in still,
            }
            for each in problems
        ],
        "moved_to": moved_to,
        "refused": refused,
    }
