"""`export` and `import`: a worker through a file and through a pipe."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from watchglass.server.cli.faults import ExitCode

from support.archives import file, folder, link, members_of, packed
from support.shell import Shell, on_terminal


@pytest.fixture
def ended(shell: Shell) -> str:
    """A worker that has said something, and has ended."""
    worker = shell.create("--label", "team=blue", "--", "sh", "-c", "echo hello; cd; echo made > file")
    shell.wait_ended(worker)
    return worker


def test_a_worker_goes_into_a_pipe_and_comes_out_of_it(shell: Shell, ended: str) -> None:
    done = shell("export", ended)
    assert (done.returncode, done.stderr) == (0, b"")
    was, events = shell.json("status", ended), shell.text("events", ended)
    shell.text("rm", ended)
    assert shell.text("import", "-", stdin=done.stdout) == f"{ended}\n"
    assert shell.json("status", ended) == was
    assert shell.text("events", ended) == events
    assert shell.text("logs", ended) == "hello\n"


def test_a_worker_goes_into_a_file_and_comes_out_of_it(shell: Shell, ended: str, tmp_path: Path) -> None:
    archive = tmp_path / "worker.tar"
    assert shell.text("export", "-o", str(archive), ended) == ""
    with tarfile.open(archive) as tar:
        assert tar.getnames()[0] == "format.json"
        assert tar.getnames()[-1] == "SHA256SUMS"
    assert [path.name for path in tmp_path.iterdir()] == ["worker.tar"]
    shell.text("rm", ended)
    answer = shell.json("import", str(archive))
    assert answer["worker"]["worker_id"] == ended
    assert (answer["left_out"], answer["left_out_count"]) == ([], 0)
    told = shell.json("export", "--output", str(archive), ended)
    assert told == {"worker_id": ended, "file": str(archive), "size_bytes": archive.stat().st_size}


def test_what_was_left_out_is_said(shell: Shell) -> None:
    data = packed(members_of("links", folder("workspace"), link("workspace/out", "/etc/passwd")))
    done = shell("import", "-", stdin=data)
    assert (done.returncode, done.stdout) == (0, b"links\n")
    assert b"watchglass: left out: workspace/out: a symbolic link that leads out" in done.stderr


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the archive: it is cut off after 0 bytes"),
        (b"\x1f\x8b" + bytes(600), "is a pax tar, not compressed"),
        (packed(members_of("bad", file("workspace/f"))), "'workspace/f' of the archive: comes without"),
    ],
)
def test_a_refusal_is_one_line(shell: Shell, data: bytes, says: str) -> None:
    done = shell("import", "-", stdin=data)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (ExitCode.FAILED, b"", 1)
    assert says in done.stderr.decode()


def test_a_large_archive_of_an_id_that_is_there_is_refused_with_the_reason(
    shell: Shell, tmp_path: Path
) -> None:
    shell.create("--passive", "--id", "there")
    archive = tmp_path / "large.tar"
    archive.write_bytes(packed(members_of("there", file("stdout.log", bytes(60 << 20)))))
    done = shell("import", str(archive))
    assert done.returncode == ExitCode.FAILED
    assert b"worker 'there' exists already" in done.stderr


def test_what_cannot_be_exported_leaves_no_file(shell: Shell, tmp_path: Path) -> None:
    shell.create("--passive", "--id", "alive")
    archive = tmp_path / "worker.tar"
    done = shell("export", "-o", str(archive), "alive")
    assert (done.returncode, done.stdout) == (ExitCode.FAILED, b"")
    assert b"worker 'alive' is running" in done.stderr
    assert shell("export", "nobody").returncode == ExitCode.NOT_FOUND
    assert list(tmp_path.iterdir()) == []
    shell.text("stop", "alive")
    archive.mkdir()
    assert shell("export", "-o", str(archive), "alive").returncode == ExitCode.FAILED
    assert [path.name for path in tmp_path.iterdir()] == ["worker.tar"]


def test_a_file_that_is_not_there_is_said(shell: Shell) -> None:
    done = shell("import", "/no/such/file.tar")
    assert (done.returncode, done.stdout) == (ExitCode.FAILED, b"")
    assert b"/no/such/file.tar: No such file or directory" in done.stderr


def test_json_of_an_export_needs_a_file(shell: Shell, ended: str) -> None:
    done = shell("export", "--json", ended)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, b"")
    assert b"--output" in done.stderr


def test_an_archive_is_nothing_for_a_terminal(shell: Shell, ended: str) -> None:
    code, shown = on_terminal(shell.state_dir, "export", ended)
    assert code == ExitCode.USAGE
    assert "redirect it, or name a file with --output" in shown
    code, shown = on_terminal(shell.state_dir, "import", "-")
    assert code == ExitCode.USAGE
    assert "stdin is a terminal" in shown


def test_a_terminal_sees_no_rest_of_the_progress(shell: Shell, ended: str, tmp_path: Path) -> None:
    code, shown = on_terminal(shell.state_dir, "export", "-o", str(tmp_path / "w.tar"), ended)
    assert (code, shown.endswith("\r\x1b[K")) == (0, True)
    assert (tmp_path / "w.tar").exists()
