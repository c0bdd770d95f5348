"""`demo`: a runtime of its own, three workers side by side, a cut, and the proof that nothing was missed.

    shell    a real /bin/sh, which is told commands
    primes   a Python program that counts aloud; its observer is cut off in the middle
    clerk    a small agent that speaks jsonl: thoughts, a tool, an answer

What every observer saw is laid beside a second read of the log from its
earliest event, and beside the raw output of the process. A check that fails is
named, and the exit code is 1.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import typer

from . import options
from .demo_observer import Observer, Stage, differences, faults_of, raw_text, whole_log
from .demo_stage import LiveStage, PlainStage, SilentStage
from .faults import CliError, ExitCode
from .interrupts import interrupts
from .own_runtime import OwnRuntime, own_runtime
from .showing import is_terminal, write_document, write_line

if TYPE_CHECKING:
    from watchglass.client.http import Client

Json = dict[str, Any]

CUT_AFTER_EVENTS: Final = 80
GO_ON_EVENTS: Final = 120
PART_TIMEOUT_S: Final = 30.0
"""How long one part of the demo may take; on most machines it is 2 s."""
_AGENTS: Final = "watchglass.server.cli.agents"


@dataclass(frozen=True, slots=True)
class Part:
    """One worker of the demo: how it is started, what it is told, and the words of its answer."""

    name: str
    argv: tuple[str, ...]
    speech: str
    told: str
    answers: str
    cut_after: int = 0


PARTS: Final = (
    Part(
        "shell",
        ("/bin/sh",),
        "text",
        'for i in 1 2 3 4 5; do echo "line $i of the shell with pid $$"; sleep 0.2; done; echo done >&2',
        "line 5 of the shell",
    ),
    Part(
        "primes",
        (sys.executable, "-u", "-m", f"{_AGENTS}.primes"),
        "text",
        "how far are you?",
        "you said 'how far are you?'",
        CUT_AFTER_EVENTS,
    ),
    Part(
        "clerk",
        (sys.executable, "-u", "-m", f"{_AGENTS}.clerk"),
        "jsonl",
        "count the words of this sentence",
        "That is 6 words",
    ),
)


def demo(as_json: options.AsJson = False) -> None:
    """See it work: three workers, a cut connection, and the proof that nothing was missed.

    Starts a runtime of its own and ends it again; takes some seconds, leaves nothing behind.
    """
    names = [part.name for part in PARTS]
    with interrupts() as interrupt, own_runtime(interrupt) as runtime:
        with SilentStage() if as_json else LiveStage(names) if is_terminal() else PlainStage(names) as stage:
            reports = _play(runtime, stage)
        processes = runtime.look()
    faults = [f"{report['worker']}: {fault}" for report in reports for fault in report["faults"]]
    faults += [f"process {left} was left" for left in runtime.leftovers]
    if runtime.exit_code != 0:
        faults.append(f"the runtime ended with exit code {runtime.exit_code}")
    if as_json:
        write_document({"ok": not faults, "faults": faults, "processes": processes, "workers": reports})
    else:
        _tell(reports, processes, faults)
    raise typer.Exit(ExitCode.FAILED if faults else ExitCode.OK)


def _play(runtime: OwnRuntime, stage: Stage) -> list[Json]:
    """The three workers from their creation to their end; a report of each."""
    from watchglass.client.http import Client

    stage.say(f"a runtime of our own listens on {runtime.address.url}")
    changed = threading.Condition()
    with Client(runtime.address) as client:
        observers = [_start(client, runtime, part, stage, changed) for part in PARTS]
        runtime.look()
        stage.say("told each of them something")
        for part, observer in zip(PARTS, observers, strict=True):
            client.post(f"/v1/workers/{observer.worker}/input", {"kind": "user", "content": part.told})
        _wait(
            changed, observers, lambda: all(map(_has_answered, PARTS, observers)), "an answer of each worker"
        )
        runtime.look()
        stage.say("stopping them all")
        for observer in observers:
            client.post(f"/v1/workers/{observer.worker}/stop", {"reason": "the demo is over"})
    for observer in observers:
        observer.join(PART_TIMEOUT_S)
    stage.say("all have ended; reading every log again, from its beginning")
    return [_report(runtime, part, observer) for part, observer in zip(PARTS, observers, strict=True)]


def _start(
    client: Client, runtime: OwnRuntime, part: Part, stage: Stage, changed: threading.Condition
) -> Observer:
    program, *args = part.argv
    execution = {"kind": "command", "program": program, "args": args}
    request = {"worker_id": part.name, "speech": part.speech, "execution": execution}
    worker = client.post("/v1/workers", request)["worker"]
    stage.say(f"started {part.name}, process {worker['pid']}: {' '.join(part.argv)}")
    observer = Observer(runtime.address, part.name, stage, changed, cut_after=part.cut_after)
    observer.start()
    return observer


def _has_answered(part: Part, observer: Observer) -> bool:
    """Whether a worker said what it was asked for, and went on well after a cut."""
    seen = observer.seen
    if part.answers not in seen.text():
        return False
    if not part.cut_after:
        return True
    back = seen.cut is not None and seen.cut.head_at_return is not None
    return back and len(seen.events) >= part.cut_after + GO_ON_EVENTS


def _wait(
    changed: threading.Condition, observers: list[Observer], ready: Callable[[], bool], what: str
) -> None:
    deadline = time.monotonic() + PART_TIMEOUT_S
    with changed:
        while not ready():
            for observer in observers:
                if observer.seen.fault is not None:
                    raise CliError(f"the feed of {observer.worker} broke: {observer.seen.fault}")
            if not changed.wait(max(0.0, deadline - time.monotonic())):
                raise CliError(f"the demo waited {PART_TIMEOUT_S:.0f} s for {what}, and it did not come")


def _report(runtime: OwnRuntime, part: Part, observer: Observer) -> Json:
    """What was seen, and whether it is the truth."""
    seen = observer.seen
    again = whole_log(runtime.address, observer.worker)
    raw = raw_text(runtime.address, observer.worker)
    faults = faults_of(seen, again, raw, speech=part.speech)
    if part.cut_after and (seen.cut is None or seen.connections < 2):
        faults.append("was to be cut off, and was not")
    missed, doubled, _ = differences(seen, again)
    return {
        "worker": part.name,
        "events": len(again.events),
        "connections": seen.connections,
        "cut_at": None if seen.cut is None else seen.cut.at,
        "while_away": seen.while_away(),
        "missed": missed,
        "duplicated": doubled,
        "faults": faults,
    }


def _tell(reports: list[Json], processes: int, faults: list[str]) -> None:
    write_line("")
    for report in reports:
        write_line(
            f"{report['worker']:<8}{report['events']:>5} events   "
            f"missed {report['missed']}   duplicated {report['duplicated']}"
        )
        if report["cut_at"] is not None:
            lost = f"{report['missed']} of all were lost" if report["missed"] else "none was lost"
            write_line(
                f"{'':8}      cut off at {report['cut_at']}, resumed there; "
                f"{report['while_away']} events came meanwhile and {lost}"
            )
    for fault in faults:
        write_line(f"FAILED: {fault}")
    if not faults:
        write_line(
            f"Nothing was missed: what was seen live is the log, and the log is what the processes wrote. "
            f"All {processes} processes are gone."
        )
        us = _ourselves()
        write_line(f"Your turn: '{us} serve' in one terminal, '{us} run -- PROGRAM' in another.")


def _ourselves() -> str:
    """How to call us again: by our name where the shell finds us, else by our path."""
    return "watchglass" if shutil.which("watchglass") else shlex.quote(sys.argv[0])
