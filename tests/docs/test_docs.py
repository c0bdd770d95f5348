"""The documentation tells the truth: what it lists is what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import typer
import typer.core
import typer.main

from watchglass.client.async_client import AsyncClient
from watchglass.client.sync import SyncClient
from watchglass.protocol import base
from watchglass.protocol.errors import faults
from watchglass.protocol.events import SHAPES
from watchglass.protocol.execution import CapabilityMode, Limits, Reservation, TaskLimits
from watchglass.protocol.feed_v2 import CLOSES, COMING_BACK, PING_BYTES_MAX, FrameV2
from watchglass.protocol.frames import FeedDiagnosticCode
from watchglass.protocol.lifecycle import Phase
from watchglass.protocol.runtime import RuntimeLimits
from watchglass.protocol.start import FILTER_TYPES_MAX, TAIL_EVENTS_MAX
from watchglass.protocol.tasks import STATUS_OF, TaskErrorCode, TaskEventType, TaskStatus
from watchglass.protocol.workers import WaitingFor
from watchglass.runtime import RuntimeOptions
from watchglass.runtime.dispatcher import PASSES_MAX
from watchglass.runtime.ledger import RESOURCES
from watchglass.runtime.policy import resolve
from watchglass.runtime.speech.jsonl import LINE_BYTES_MAX
from watchglass.runtime.speech.text import DONE_CHARS_MAX
from watchglass.runtime.task_output import INLINE_BYTES_MAX
from watchglass.runtime.uids import WORKER_UID_COUNT
from watchglass.server.amounts import amount_bytes
from watchglass.server.cli.faults import ExitCode
from watchglass.server.cli.main import app
from watchglass.server.config import DURABILITIES, FeedBounds, serve_config
from watchglass.server.errors import STATUS
from watchglass.server.flags import ServeFlags
from watchglass.server.long_poll import EVENTS_MAX, WAIT_S_MAX
from watchglass.server.queries import TASKS_LIMIT_DEFAULT, WAIT_MS_MAX
from watchglass.server.tasks_errors import code_of
from watchglass.store.base import Retention
from watchglass.store.filesystem.problems import CODES

from support.hosts import EVERYTHING
from support.patience import PATIENCE_S
from support.serving import environment, serving
from support.workers import request_of

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def page(name: str) -> str:
    return (DOCS / name).read_text()


def section(text: str, heading: str) -> str:
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def rows(table: str) -> list[list[str]]:
    """The cells of a Markdown table's body."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_error_code_is_in_the_docs_with_its_status() -> None:
    documented = {
        code: int(status)
        for cell, status, _ in rows(section(page("http.md"), "Errors"))
        for code in codes(cell)
    }
    assert documented == {fault.code: STATUS[fault] for fault in faults()}


def test_every_diagnostic_of_the_feed_is_in_the_docs() -> None:
    documented = {codes(row[0])[0] for row in rows(section(page("feed.md"), "Why a feed ends"))}
    assert documented == set(FeedDiagnosticCode)


def test_every_close_code_of_version_2_is_in_the_docs_with_its_diagnostics_and_what_it_means() -> None:
    table = section(page("feed.md"), "Version 2").split("\n### Close codes\n", 1)[1]
    documented = {
        int(code): (
            {name for name in codes(names) if name.startswith("runtime.")},
            back.startswith("yes"),
            cursor.startswith(("yes", "all")),
        )
        for code, names, back, cursor in rows(table)
    }
    assert documented == {
        code: ({name for name, close in CLOSES.items() if close is code}, back.allowed, back.same_cursor)
        for code, back in COMING_BACK.items()
    }


def test_every_frame_of_version_2_is_in_the_docs_with_its_fields() -> None:
    table = section(page("feed.md"), "Version 2").split("\nAn envelope is", 1)[0]
    documented = {
        codes(kind)[0]: {name.rstrip("?") for name in codes(fields)} for kind, fields, _ in rows(table)
    }
    models = get_args(get_args(FrameV2)[0])
    assert documented == {
        model.model_fields["kind"].default: set(model.model_fields) - {"kind"} for model in models
    }


def test_the_events_that_the_docs_describe_exist() -> None:
    documented = {codes(row[0])[0] for row in rows(section(page("feed.md"), "Events"))}
    assert documented <= set(SHAPES)


def test_every_phase_is_in_the_docs() -> None:
    assert {f"`{phase}`" for phase in Phase} <= set(re.findall(r"`\w+`", page("workers.md")))


@pytest.mark.parametrize(
    ("doc", "number"),
    [
        ("http.md", base.BODY_BYTES_MAX),
        ("http.md", base.INPUT_CONTENT_BYTES_MAX),
        ("http.md", base.ENV_BYTES_MAX),
        ("http.md", base.ARGS_BYTES_MAX),
        ("http.md", base.PRODUCED_EVENTS_MAX),
        ("http.md", base.WEBSOCKET_INBOUND_BYTES_MAX),
        ("http.md", base.ID_CHARS_MAX),
        ("http.md", RuntimeOptions().import_max_bytes),
        ("http.md", base.METADATA_ENTRIES_MAX),
        ("workers.md", RuntimeOptions().input_backlog_max_bytes),
        ("workers.md", LINE_BYTES_MAX),
        ("feed.md", DONE_CHARS_MAX),
        ("feed.md", TAIL_EVENTS_MAX),
        ("feed.md", FILTER_TYPES_MAX),
        ("feed.md", PING_BYTES_MAX),
        ("feed.md", EVENTS_MAX),
        ("feed.md", WAIT_S_MAX),
    ],
)
def test_the_bounds_in_the_docs_are_those_of_the_code(doc: str, number: int) -> None:
    assert re.search(rf"(?<![\d,]){number:,}(?![\d,])", page(doc))


@pytest.mark.parametrize("doc", [*sorted(DOCS.glob("*.md")), ROOT / "README.md"], ids=lambda doc: doc.name)
def test_links_lead_somewhere(doc: Path) -> None:
    dead = [target for target in LINK.findall(doc.read_text()) if not (doc.parent / target).exists()]
    assert dead == []


def test_the_embedding_example_runs(tmp_path: Path) -> None:
    [example] = re.findall(r"```python\n(.*?)```", page("embedding.md"), re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(example)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("user: hello, glass\nassistant: hello, glass\n")


def test_the_client_examples_run(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", page("client.md"), re.DOTALL)
    assert len(examples) == 8
    with serving(tmp_path / "state") as served:
        for number, example in enumerate(examples):
            script = tmp_path / f"example_{number}.py"
            script.write_text(example)
            done = subprocess.run(
                [sys.executable, "-W", "error", str(script)],
                env=environment(served.state_dir),
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, ""), example
            assert done.stdout.endswith("hello, glass\n"), done.stdout


def test_every_method_of_the_client_is_in_the_docs() -> None:
    table = rows(section(page("client.md"), "Every request"))
    documented = {code.split("(")[0] for cells in table for code in codes(cells[0])}
    public = {name for name in vars(AsyncClient) if not name.startswith("_")}
    assert (
        documented | {"follow", "follow_all", "watch", "watch_all", "session", "ask", "url", "aclose"}
        == public
    )
    assert public - {"aclose", "session"} == {name for name in vars(SyncClient) if not name.startswith("_")}


def test_the_readme_has_one_line_to_run_and_one_line_to_test() -> None:
    readme = (ROOT / "README.md").read_text()
    lines = [line for line in readme.splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
    assert lines[0].endswith("watchglass demo")
    assert "/pytest" in lines[1]


def test_the_map_in_the_readme_names_folders_that_are_there() -> None:
    table = section((ROOT / "README.md").read_text(), "Find your way")
    assert [name for row in rows(table) for name in codes(row[0]) if not (ROOT / name).is_dir()] == []


def test_every_command_and_flag_is_in_the_docs() -> None:
    text = page("cli.md")
    program = typer.main.get_command(app)
    assert isinstance(program, typer.core.TyperGroup)
    documented = {codes(row[0])[0].split()[0] for row in rows(section(text, "Commands"))}
    assert documented == set(program.commands)
    flags = {
        max(parameter.opts, key=len)
        for command in program.commands.values()
        for parameter in command.params
        if parameter.param_type_name == "option"
    }
    assert {flag for flag in flags if f"`{flag}`" not in text} == {"--help"} & flags


def test_the_defaults_of_serve_are_those_of_the_code() -> None:
    documented = {codes(flag)[0]: default for flag, default, _ in rows(section(page("cli.md"), "`serve`"))}
    options, limits, kept = RuntimeOptions(), RuntimeLimits(), Retention()
    numbers = {
        "--retain-bytes": kept.max_bytes,
        "--retain-events": kept.max_events,
        "--output-max-bytes": options.output_max_bytes,
        "--max-running-workers": options.running_workers_max,
        "--max-waiting-workers": options.waiting_workers_max,
        "--default-memory": options.default_memory_bytes,
        "--default-pids": options.default_pids,
        "--worker-uid-base": options.worker_uid_base,
        "--max-workers": options.workers_max,
        "--max-observers": options.observers_max,
        "--input-backlog-bytes": options.input_backlog_max_bytes,
        "--import-max-bytes": options.import_max_bytes,
        "--grace-ms": options.grace_ms,
        "--result-retention-secs": options.task_retention_s,
        "--gc-interval-ms": options.gc_interval_ms,
        "--stall-s": FeedBounds().stall_s,
        "--heartbeat-s": FeedBounds().heartbeat_s,
        "--max-transcript-projection-items": limits.max_transcript_projection_items,
        "--max-event-batch-items": limits.max_event_batch_items,
    }
    assert {flag: int(default) for flag, default in documented.items() if default.isdigit()} == numbers
    assert documented["--worker-uid-count"].startswith(f"{WORKER_UID_COUNT:,}; ")
    said = {flag: amount_bytes(default) for flag, default in helped("serve")}
    assert {flag: amount for flag, amount in said.items() if amount is not None} == numbers


def helped(command: str) -> list[tuple[str, str]]:
    """The defaults that its `--help` says, by flag."""
    lines = subprocess.run(
        [sys.executable, "-m", "watchglass.server.cli", command, "--help"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    words = " ".join(re.sub(r"^  (?=-)", "\n", lines, flags=re.MULTILINE).split(" "))
    options = re.findall(r"^(--[\w-]+)(.*?)(?=^-|\Z)", words, re.MULTILINE | re.DOTALL)
    return [
        (flag, default[1])
        for flag, text in options
        if (default := re.search(r"\[default: (.*?)\]", " ".join(text.split())))
    ]


def test_the_retention_in_the_docs_is_that_of_the_code() -> None:
    table = rows(section(page("durability.md"), "How long: retention"))
    documented = {codes(flag)[0]: bound.replace(",", "") for _, bound, flag in table}
    options, kept = RuntimeOptions(), Retention()
    assert documented == {
        "--retain-bytes": str(kept.max_bytes),
        "--retain-events": str(kept.max_events),
        "--retain-age-s": str(kept.max_age_s).lower(),
        "--output-max-bytes": str(options.output_max_bytes),
        "--max-workers": str(options.workers_max),
    }


def test_the_turns_in_the_docs_are_those_of_the_code() -> None:
    turns = section(page("capacity.md"), "Whose turn it is")
    assert f"passed over {PASSES_MAX} times" in turns
    assert f"S + {PASSES_MAX} + T - 1" in turns
    documented = [name for cells in rows(turns) for name in codes(cells[0])]
    assert sorted(documented) == sorted(WaitingFor.model_fields)
    accounted = rows(page("capacity.md").split("\n## ", 1)[0].split("\n\n", 3)[2])
    assert [codes(cells[0])[0] for cells in accounted] == list(RESOURCES)


def test_the_levels_of_durability_in_the_docs_are_those_of_the_code() -> None:
    levels = [cells[0] for cells in rows(section(page("durability.md"), "How sure: `--durability`"))]
    assert [codes(level)[0] for level in levels] == list(DURABILITIES)
    store = serve_config(ServeFlags(), {"WATCHGLASS_STATE_DIR": "/state"}).store
    assert store is not None
    assert levels[0] == f"`{store.durability}` (default)"
    for flag, default, _ in rows(section(page("cli.md"), "`serve`")):
        if codes(flag)[0] == "--durability":
            assert codes(default) == [store.durability]


def test_what_the_page_about_durability_names_is_there() -> None:
    text = page("durability.md")
    program = typer.main.get_command(app)
    assert isinstance(program, typer.core.TyperGroup)
    known = {
        name
        for command in program.commands.values()
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {flag for flag in re.findall(r"--[a-z][a-z-]+", text) if flag not in known} == set()
    commands = set(re.findall(r"`watchglass ([a-z-]+)", text))
    assert commands <= set(program.commands)
    endpoints = {codes(path)[0] for _, path, *_ in rows(section(page("http.md"), "Endpoints"))}
    named = set(re.findall(r"/v1/[a-z/]+|/readyz", text))
    assert named <= endpoints
    spoken = {fault.code for fault in faults()} | set(FeedDiagnosticCode)
    assert {"store_io", "store_corrupt", "cursor_expired", "cursor_unknown_or_expired"} <= spoken & set(
        codes(text)
    )


def test_every_feature_of_a_plan_is_in_the_docs_and_no_other() -> None:
    documented: set[str] = set()
    for cells in rows(section(page("sandbox.md"), "Features")):
        whole, *endings = codes(cells[0])
        documented.add(whole)
        before = whole.rpartition(".")[0]
        documented |= {each if not each.startswith(".") else before + each for each in endings}
    everything = {
        "execution": {"program": "true", "cwd": "/"},
        "limits": dict.fromkeys(Limits.model_fields, 1 << 20),
        "sandbox": {"profile": "linux_sandbox", "rootfs": "/srv/root"},
        "control_context": {"requires_resource_reservation": True, "expected_runtime_profile": "process"},
    }
    held = Reservation(task_slots=1, memory_bytes=1 << 20, pids=1 << 20)
    plan = resolve(request_of(**everything), CapabilityMode.ADAPTIVE, EVERYTHING, held)
    assert documented == set(plan.features)


def test_the_flags_and_commands_in_the_page_about_sandboxes_are_there() -> None:
    text = page("sandbox.md")
    flags = {parameter for line in re.findall(r"watchglass .*", text) for parameter in _flags(line)}
    program = typer.main.get_command(app)
    assert isinstance(program, typer.core.TyperGroup)
    known = {name for command in program.commands.values() for each in command.params for name in each.opts}
    assert flags
    assert flags <= known
    assert set(re.findall(r"watchglass ([a-z]+)", text)) <= set(program.commands)


def _flags(line: str) -> list[str]:
    return re.findall(r"--[a-z][a-z-]+", line.split(" -- ")[0].split("Delegate")[0])


def test_every_problem_that_doctor_finds_is_in_the_docs() -> None:
    table = rows(section(page("durability.md"), "When something is broken"))
    documented = [code for cells in table for code in codes(cells[0])]
    assert sorted(documented) == sorted(CODES)


def test_the_exit_codes_in_the_docs_are_those_of_the_code() -> None:
    documented = {int(code): meaning for code, meaning in rows(section(page("cli.md"), "Exit codes"))}
    assert documented.keys() == {code.value for code in ExitCode}


def test_the_page_about_tasks_translates_every_phase_as_the_code_does() -> None:
    documented = {
        Phase(phase): TaskStatus(codes(status)[0])
        for status, phases in rows(section(page("tasks.md"), "Status"))
        for phase in codes(phases)
    }
    assert documented == STATUS_OF


def test_the_page_about_tasks_has_every_event_and_every_error() -> None:
    types = [code for cells in rows(section(page("tasks.md"), "Events")) for code in codes(cells[0])]
    assert sorted(types) == sorted(TaskEventType)
    errors = [
        code
        for cells in rows(section(page("tasks.md"), "Why a task is no success"))
        for code in codes(cells[0])
    ]
    assert sorted(errors) == sorted(TaskErrorCode)


def test_the_page_about_tasks_has_every_code_of_a_refusal_with_its_status() -> None:
    documented = {
        code: {int(status) for status in re.findall(r"\d{3}", statuses)}
        for cell, statuses in rows(section(page("tasks.md"), "Refusals"))
        for code in codes(cell)
    }
    spoken: dict[str, set[int]] = {}
    for fault in faults():
        spoken.setdefault(code_of(fault), set()).add(STATUS[fault])
    assert documented == spoken


def test_the_defaults_and_bounds_of_tasks_in_the_docs_are_those_of_the_code() -> None:
    text, limits = page("tasks.md"), TaskLimits()
    for number in (limits.wall_time_ms, limits.stdout_max_bytes, WAIT_MS_MAX, TASKS_LIMIT_DEFAULT):
        assert re.search(rf"(?<!\d){number}(?!\d)", text)
    assert f"{INLINE_BYTES_MAX:,} bytes" in text
