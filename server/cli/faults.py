"""Exit codes, and the one line that says why."""

from __future__ import annotations

import re
from enum import IntEnum

from watchglass.client.faults import ApiError, ClientFault, NoRuntime, NoToken, NoTrust, Unreachable


class ExitCode(IntEnum):
    """What a command's exit code says. `run` exits with its worker's own code."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_AUTHORISED = 4
    UNREACHABLE = 5
    TIMED_OUT = 6
    EXPIRED = 7


EXIT_CODES = """Exit codes:
  0  done
  1  the worker failed, or the runtime refused
  2  the command line is wrong
  3  no such worker
  4  not authorised: the token is missing, is not the right one, or may not do this
  5  no runtime can be reached
  6  the task had not finished in time ('wait --timeout-ms')
  7  events after the cursor are gone ('attach', 'events'); '--on-expired snapshot' goes on
'run' exits with the worker's own code, 128 + N when signal N ended it."""

INTERRUPTED = 130
BROKEN_PIPE = 141
"""What shells show of a process that SIGPIPE ended."""


class CliError(Exception):
    """A command cannot go on; the text is one line for a person."""

    def __init__(self, text: str, exit_code: int = ExitCode.FAILED) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class UsageFault(CliError):
    """The command line asks for what cannot be; `main` adds where the help is."""

    def __init__(self, text: str) -> None:
        super().__init__(text, ExitCode.USAGE)
        self.command = "watchglass"


def as_option(fault: ApiError) -> str:
    """What the runtime says of a parameter or a header, said of the option that it came from."""
    if fault.code == "unauthorized":
        return (
            "no token came that the runtime takes (one that was revoked is none); "
            "give it with --token-file, or in WATCHGLASS_TOKEN"
        )
    if fault.code == "invalid_query":
        return option_worded(str(fault))
    field, colon, said = str(fault).partition(": ")
    return f"{_FIELDS.get(field, field)}{colon}{said}"


_FIELDS = {
    "worker_id": "--id",
    "task_id": "--id",
    "control_context.tenant": "--tenant",
    "control_context.owner": "--owner",
    "initial_input.content": "--input",
    "execution.cwd": "--cwd",
    "limits.wall_time_ms": "--wall-time",
    "limits.cpu_time_sec": "--cpu-time",
    "limits.memory_bytes": "--memory",
    "limits.pids_max": "--pids",
    "limits.file_size_bytes": "--file-size",
    "reason": "--reason",
    "content": "what is said",
}
"""From which option a field of a request is, where its name does not tell."""


def option_worded(said: str) -> str:
    """The same, where `said` is the runtime's word."""
    named = _PARAMETER.sub(lambda match: f"--{match[1].replace('_', '-')} ", said, count=1)
    return named.replace(" (write + as %2B)", "")


_PARAMETER = re.compile(r"\Aquery parameter (\w+)=")


def exit_code(fault: CliError | ClientFault) -> int:
    """The exit code of a fault."""
    if isinstance(fault, CliError):
        return fault.exit_code
    if isinstance(fault, Unreachable | NoRuntime | NoTrust):
        return ExitCode.UNREACHABLE
    if isinstance(fault, NoToken):
        return ExitCode.NOT_AUTHORISED
    if isinstance(fault, ApiError):
        if fault.code == "invalid_query":
            return ExitCode.USAGE
        if fault.code == "tls_required":
            return ExitCode.UNREACHABLE
        return _OF_STATUS.get(fault.status, ExitCode.FAILED)
    return ExitCode.FAILED


_OF_STATUS = {
    401: ExitCode.NOT_AUTHORISED,
    403: ExitCode.NOT_AUTHORISED,
    404: ExitCode.NOT_FOUND,
}
