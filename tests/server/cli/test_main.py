"""What every command promises: its manual, its one line on an error, its exit code, its quick start."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from watchglass import __version__
from watchglass.server.cli.contents import CONTENTS
from watchglass.server.cli.main import main

from support.patience import PATIENCE_S
from support.serving import environment, serving
from support.shell import Shell, command

COMMANDS = [entry.name for entry in CONTENTS]
HEAVY = ["pydantic", "quart", "hypercorn", "httpx", "rich", "asyncio"]


def run_main(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_all_commands_are_there() -> None:
    asked = (
        "serve ps create run input attach logs events transcript stop cancel interrupt signal close-stdin rm"
    )
    ours = "plan submit wait kill status top observers explain export import drain doctor token demo"
    assert set(COMMANDS) == {*asked.split(), *ours.split()}


def test_without_arguments_there_is_the_manual(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_main(capsys)
    assert (code, err) == (0, "")
    assert all(f"  {name} " in out for name in COMMANDS)


def test_the_manual_documents_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run_main(capsys, "--help")
    for line in [
        "1  the worker failed",
        "2  the command line",
        "3  no such worker",
        "4  not authorised",
        "5  no ",
        "6  the task",
        "7  events after",
    ]:
        assert line in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_manual_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_main(capsys, name, "--help")
    assert (code, err) == (0, "")
    assert f"Usage: watchglass {name} [OPTIONS]" in out
    assert f"Examples:\n    watchglass {name}" in out
    assert out.isascii(), "no boxes"
    assert "<" not in out.replace("cat < notes.txt", ""), "no types of a programming language"
    assert max(map(len, out.splitlines())) <= 100


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(capsys, "--version") == (0, f"watchglass {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["frobnicate"], "watchglass"),
        (["--frobnicate"], "watchglass"),
        (["ps", "--frobnicate"], "watchglass ps"),
        (["ps", "too-much"], "watchglass ps"),
        (["attach"], "watchglass attach"),
        (["stop"], "watchglass stop"),
        (["signal", "wk"], "watchglass signal"),
        (["run"], "watchglass run"),
        (["create"], "watchglass create"),
        (["create", "--passive", "--", "cat"], "watchglass create"),
        (["create", "--speech", "morse", "--", "cat"], "watchglass create"),
        (["create", "--wall-time", "soon", "--", "cat"], "watchglass create"),
        (["create", "--label", "novalue", "--", "cat"], "watchglass create"),
        (["create", "-e", "SURELY_NOT_SET", "--", "cat"], "watchglass create"),
        (["run", "--detach", "--rm", "--", "cat"], "watchglass run"),
        (["logs", "-f", "--limit", "3", "wk"], "watchglass logs"),
        (["logs", "--offset", "some", "wk"], "watchglass logs"),
        (["logs", "--offset", "-1", "wk"], "watchglass logs"),
        (["ps", "--url", "gopher://h"], "watchglass ps"),
        (["ps", "--url", "http://h", "--runtime", "rt"], "watchglass ps"),
        (["serve", "--bind", "nowhere"], "watchglass serve"),
        (["serve", "--bind=127.0.0.1:99999"], "watchglass serve"),
        (["serve", "--max-workers", "many"], "watchglass serve"),
        (["serve", "--local-token", ""], "watchglass serve"),
        (["serve", "--frobnicate"], "watchglass serve"),
        (["serve", "--store", "papyrus"], "watchglass serve"),
        (["serve", "--store", "memory", "--keep-workers"], "watchglass serve"),
        (["drain", "rt-1"], "watchglass drain"),
        (["doctor", "/no/such/folder"], "watchglass doctor"),
        (["doctor", "/etc"], "watchglass doctor"),
    ],
    ids=str,
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    arguments: list[str], where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run_main(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("watchglass: error: ")
    assert err.endswith(f"; try '{where} --help'\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "--pids", "many", "--", "cat"], "--pids 'many': use a whole number"),
        (["run", "--pids", "0", "--", "true"], "--pids 0: use 1 or more; try"),
        (["logs", "--offset", "-1", "w"], "--offset -1: use 0 or more; try"),
        (["top", "--every", "soon"], "--every 'soon': use a number; try"),
        (["attach", "--on-expired", "wait", "w"], "--on-expired 'wait': use one of 'close', 'snapshot'; try"),
        (["serve", "--display-name"], "--display-name: its value is missing; try 'watchglass serve --help'"),
        (["run", "-e"], "-e: its value is missing; try 'watchglass run --help'"),
        (["run", "--rm=yes", "--", "true"], "--rm: it takes no value; try 'watchglass run --help'"),
        (["attach"], "WORKER is missing; try"),
        (["stop"], "WORKER is missing; try"),
        (["ps", "all", "of", "them"], "all of them: more than it takes; try"),
        (["server"], "no such command 'server'; did you mean 'serve', 'observers'?; try 'watchglass --help'"),
        (["serve", "--memory", "1G"], "no such option: --memory; did you mean "),
        (
            ["serve", "--capacity-memory", "much"],
            "use a size such as 4096 (bytes), 64K, 512M or 2G, from",
        ),
        (["token", "new", "--scope=root", "--name=a"], "--scope 'root': use one of"),
        (["token", "new", "--name=a"], "--scope is missing: use one of"),
        (["token", "new", "a", "--scope=drive"], "'a': a NAME is for 'token revoke'; use --name a"),
        (["token", "list", "a"], "'a': a NAME is for 'token revoke'; try"),
        (["token", "remove", "a"], "'remove': use new, list or revoke"),
        (["ps", "--url", "http://h:99999"], "'http://h:99999': a port is a number from 0 to 65535; try"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_words_of_ours(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in run_main(capsys, *arguments)[2]


def test_a_file_that_is_not_there_is_named_without_an_error_number(tmp_path: Path) -> None:
    with serving(tmp_path):
        done = command(tmp_path, "import", "/no/such.tar")
    assert (done.returncode, done.stderr.decode()) == (
        1,
        "watchglass: error: /no/such.tar: No such file or directory\n",
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_without_a_stdout_or_stderr_a_command_does_what_it_does(tmp_path: Path, closed: str) -> None:
    with serving(tmp_path) as served:
        script = f'exec "$0" -m watchglass.server.cli ps {closed}'
        done = subprocess.run(
            ["/bin/sh", "-c", script, sys.executable],
            env=environment(served.state_dir),
            capture_output=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_behind_stdout_is_said_once(tmp_path: Path) -> None:
    with serving(tmp_path) as served, Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "watchglass.server.cli", "ps"],
            env=environment(served.state_dir),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"watchglass: error: No space left on device\n")


def test_a_wrong_token_is_answered_with_where_to_give_another(tmp_path: Path) -> None:
    with serving(tmp_path):
        done = command(tmp_path, "ps", env={"WATCHGLASS_TOKEN": "wrong"})
    assert done.returncode == 4
    assert b"give it with --token-file, or in WATCHGLASS_TOKEN" in done.stderr


def test_no_sentence_of_the_manual_is_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    assert "..." not in run_main(capsys, "--help")[1].replace("[ARGS]...", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_s_own_options_stand_before_those_of_all(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run_main(capsys, name, "--help")[1]
    reaching = out.partition("Which runtime, and how to answer:")[2]
    common = {"--url", "--cacert", "--token-file", "--runtime", "--json", "--help"}
    assert set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", reaching, re.MULTILINE)) <= common
    assert bool(reaching) == ("--url URL" in out)


def test_a_token_is_never_shown_back(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err = run_main(capsys, "serve", "--local-token", "s3cret token")
    assert "s3cret" not in err


def test_the_value_of_a_variable_is_never_shown_back(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err = run_main(capsys, "create", "-e", "=s3cret", "--", "cat")
    assert "s3cret" not in err


def test_where_no_runtime_runs_the_exit_code_is_5(tmp_path: Path) -> None:
    done = command(tmp_path, "ps")
    assert (done.returncode, done.stdout) == (5, b"")
    assert done.stderr.decode() == (
        f"watchglass: error: no runtime is running here (looked in {tmp_path}); "
        "start one with 'watchglass serve', or name one elsewhere by its URL (WATCHGLASS_URL)\n"
    )


def test_where_nobody_listens_the_exit_code_is_5(tmp_path: Path) -> None:
    done = command(tmp_path, "status", "--url", "http://127.0.0.1:9")
    assert done.returncode == 5
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("name", ["attach", "events", "logs", "transcript", "status", "explain", "interrupt"])
def test_a_worker_that_is_not_there_is_exit_code_3(shell: Shell, name: str) -> None:
    done = shell(name, "nobody")
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr == b"watchglass: error: no worker 'nobody'\n"


def test_a_wrong_token_is_exit_code_4(shell: Shell) -> None:
    done = shell("ps", env={"WATCHGLASS_TOKEN": "wrong"})
    assert (done.returncode, done.stdout) == (4, b"")
    assert shell("attach", "wk", env={"WATCHGLASS_TOKEN": "wrong"}).returncode == 4


def test_a_token_file_that_cannot_be_read_is_exit_code_4(shell: Shell) -> None:
    done = shell("ps", "--token-file", "/no/such/file")
    assert done.returncode == 4
    assert b"/no/such/file" in done.stderr


def test_what_the_runtime_refuses_is_exit_code_1(shell: Shell) -> None:
    worker = shell.create("--", "cat")
    done = shell("rm", worker)
    assert done.returncode == 1
    assert b"stop or cancel it" in done.stderr
    shell("rm", "--force", worker)


def test_nobody_who_reads_on_is_no_error_to_talk_about(shell: Shell) -> None:
    script = f"{sys.executable} -m watchglass.server.cli.main --help | head -c 1"
    done = subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {script}"],
        env=environment(shell.state_dir),
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stderr == b""
    assert done.returncode in {0, 141}


@pytest.mark.parametrize(
    "arguments",
    [
        ["ps"],
        ["status"],
        ["create", "--passive"],
        ["--version"],
        ["stop", "nobody"],
        ["drain", "--url", "http://127.0.0.1:9"],
    ],
    ids=str,
)
def test_a_short_command_loads_nothing_heavy(shell: Shell, arguments: list[str]) -> None:
    assert loaded(shell, arguments, [*HEAVY, "websockets"]) == []


def test_a_command_that_follows_loads_websockets_and_nothing_heavy(shell: Shell) -> None:
    heavy = [name for name in HEAVY if name != "asyncio"]  # websockets.sync has some of it.
    assert loaded(shell, ["attach", "nobody"], heavy) == []


def loaded(shell: Shell, arguments: list[str], names: list[str]) -> list[str]:
    probe = (
        "import sys; from watchglass.server.cli.main import main; main(sys.argv[1:]);"
        f"print([name for name in {names} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, *arguments],
        env=environment(shell.state_dir),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    found: list[str] = eval(done.stderr.splitlines()[-1])  # noqa: S307 - It is the list that we printed.
    return found
