"""Which commands there are, where they live, and examples of their use.

A command's module is imported, and its options are built, when it is asked for:
all of them together would take longer than most commands do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

import typer

from .manual import as_command
from .trusting import trusting

_RUN, _WATCH, _DRIVE, _RUNTIME = "Start workers", "Watch workers", "Drive workers", "The runtime"


class Entry(NamedTuple):
    """One command: `function` of the module `.module`."""

    name: str
    group: str
    module: str
    function: str
    examples: tuple[str, ...]


CONTENTS: Final = (
    Entry(
        "run",
        _RUN,
        "running",
        "run",
        (
            "watchglass run -- python agent.py",
            "watchglass run --rm -- cat < notes.txt",
            "watchglass run -e API_KEY --wall-time 10m -- ./agent --fast",
            "watchglass run --sandbox linux_sandbox --memory 512M -- python3 -c 'print(6 * 7)'",
            "watchglass run --task -- make test",
        ),
    ),
    Entry(
        "create",
        _RUN,
        "driving",
        "create",
        (
            "watchglass create -- python agent.py",
            "watchglass create --id echo -- cat",
            "watchglass create --passive --label team=blue",
        ),
    ),
    Entry(
        "plan",
        _RUN,
        "planning",
        "plan",
        (
            "watchglass plan --sandbox linux_sandbox",
            "watchglass plan --strict --memory 512M --pids 64 -- ./agent",
        ),
    ),
    Entry(
        "submit",
        _RUN,
        "tasking",
        "submit",
        (
            "watchglass submit -- make test",
            "watchglass submit --id nightly --wall-time 1h --owner me -- ./nightly.sh",
            "watchglass submit --request task.json",
        ),
    ),
    Entry(
        "ps",
        _WATCH,
        "reading",
        "ps",
        (
            "watchglass ps",
            "watchglass ps --phase failed --label team=blue",
            "watchglass rm $(watchglass ps -q --status stopped)",
        ),
    ),
    Entry(
        "top",
        _WATCH,
        "top",
        "top",
        ("watchglass top", "watchglass top --once", "watchglass top --json | jq .resources.tenants"),
    ),
    Entry(
        "observers",
        _WATCH,
        "observers",
        "observers",
        (
            "watchglass observers",
            "watchglass observers WORKER",
            "watchglass observers --json | jq '.observers[] | select(.lag_s > 1)'",
        ),
    ),
    Entry(
        "attach",
        _WATCH,
        "watching",
        "attach",
        ("watchglass attach WORKER", "watchglass attach WORKER --cursor wo_00064a2b3c4d5e6f"),
    ),
    Entry(
        "logs",
        _WATCH,
        "watching",
        "logs",
        ("watchglass logs WORKER > out.bin", "watchglass logs -f --stderr WORKER"),
    ),
    Entry(
        "events",
        _WATCH,
        "watching",
        "events",
        (
            "watchglass events WORKER",
            "watchglass events -f --json WORKER | jq .payload",
            "watchglass events WORKER --cursor wo_00064a2b3c4d5e6f",
        ),
    ),
    Entry(
        "transcript",
        _WATCH,
        "reading",
        "transcript",
        ("watchglass transcript WORKER", "watchglass transcript --json WORKER | jq .transcript.items"),
    ),
    Entry("status", _WATCH, "reading", "status", ("watchglass status", "watchglass status WORKER")),
    Entry(
        "wait",
        _WATCH,
        "tasking",
        "wait",
        ("watchglass wait TASK", "watchglass wait --timeout-ms 5000 TASK | jq -r .stdout"),
    ),
    Entry("explain", _WATCH, "reading", "explain", ("watchglass explain WORKER",)),
    Entry(
        "input",
        _DRIVE,
        "driving",
        "send_input",
        ("watchglass input WORKER hello there", "git diff | watchglass input WORKER"),
    ),
    Entry("interrupt", _DRIVE, "driving", "interrupt", ("watchglass interrupt WORKER",)),
    Entry("signal", _DRIVE, "driving", "send_signal", ("watchglass signal WORKER SIGUSR1",)),
    Entry("close-stdin", _DRIVE, "driving", "close_stdin", ("watchglass close-stdin WORKER",)),
    Entry(
        "stop",
        _DRIVE,
        "driving",
        "stop",
        ("watchglass stop WORKER", "watchglass stop $(watchglass ps -q --status running)"),
    ),
    Entry(
        "kill",
        _DRIVE,
        "tasking",
        "kill",
        ("watchglass kill TASK", "watchglass kill --owner me --reason 'too slow' TASK"),
    ),
    Entry("cancel", _DRIVE, "driving", "cancel", ("watchglass cancel WORKER",)),
    Entry(
        "export",
        _DRIVE,
        "archiving",
        "export_worker",
        (
            "watchglass export WORKER > worker.tar",
            "watchglass export -o worker.tar WORKER",
            "watchglass export WORKER | ssh there watchglass import -",
        ),
    ),
    Entry(
        "import",
        _DRIVE,
        "archiving",
        "import_worker",
        ("watchglass import worker.tar", "ssh there watchglass export WORKER | watchglass import -"),
    ),
    Entry("rm", _DRIVE, "driving", "remove", ("watchglass rm WORKER", "watchglass rm --force WORKER")),
    Entry(
        "serve",
        _RUNTIME,
        "serving",
        "serve",
        (
            "watchglass serve",
            "watchglass serve --bind 127.0.0.1:8080 --log-level info",
            "watchglass serve --fs-root /var/lib/watchglass --retain-age-s 604800",
            "watchglass serve --store memory",
            "watchglass serve --bind 0.0.0.0:8080 --local-token-file /run/secrets/watchglass",
        ),
    ),
    Entry(
        "drain",
        _RUNTIME,
        "draining",
        "drain",
        ("watchglass drain", "watchglass drain --runtime rt-1 --reason 'a new machine'"),
    ),
    Entry(
        "doctor",
        _RUNTIME,
        "doctor",
        "doctor",
        (
            "watchglass doctor",
            "watchglass doctor --json /var/lib/watchglass | jq .runtimes[].problems",
            "watchglass doctor --repair /var/lib/watchglass",
        ),
    ),
    Entry(
        "token",
        _RUNTIME,
        "tokens",
        "token",
        (
            "watchglass token new --scope observe --name dashboard",
            "watchglass token new --scope drive --worker echo --name echo-driver",
            "watchglass token list",
            "watchglass token revoke dashboard",
        ),
    ),
    Entry("demo", _RUNTIME, "demo", "demo", ("watchglass demo",)),
)

_SHORT_HELP_CHARS_MAX: Final = 200
"""More than a first sentence has, so none is cut off: it is wrapped to the terminal."""
_TAKE_A_PROGRAM: Final = frozenset({"run", "create", "plan", "submit"})


class Commands(Mapping[str, Any]):
    """The commands by name, in order; each is made when it is first looked up."""

    def __init__(self) -> None:
        self._entries = {entry.name: entry for entry in CONTENTS}
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        entry = self._entries[name]
        if name not in self._made:
            function = getattr(import_module(f".{entry.module}", __package__), entry.function)
            self._made[name] = trusting(
                as_command(function, name, entry.group, entry.examples, takes_program=name in _TAKE_A_PROGRAM)
            )
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class Contents(typer.core.TyperGroup):
    """The program: its commands in their groups."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = Commands()  # type: ignore[assignment]  # typer only ever looks commands up.

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - The signature is typer's.
        """In the order of the table."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - As above.
        """One section a group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for entry in CONTENTS:
            text = self.commands[entry.name].get_short_help_str(_SHORT_HELP_CHARS_MAX)
            groups.setdefault(entry.group, []).append((entry.name, text))
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)
