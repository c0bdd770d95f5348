"""`plan`: what a worker would get, told before there is one."""

from __future__ import annotations

from support.shell import Shell


def test_it_shows_each_feature_and_starts_nothing(shell: Shell) -> None:
    before = shell.json("ps")["workers"]
    said = shell.text("plan", "--wall-time", "10m", "--", "cat")
    assert said.splitlines()[0].split() == ["FEATURE", "ASKED", "GIVEN", "HOW", "HOLDS"]
    assert "limits.wall_time_ms" in said
    assert "600000" in said
    assert said.splitlines()[-1].split() == ["start", "at", "once"]
    assert shell.json("ps")["workers"] == before


def test_in_json_it_is_the_runtime_s_answer(shell: Shell) -> None:
    answer = shell.json("plan", "--json", "--file-size", "64M")
    assert answer["plan"]["features"]["limits.file_size_bytes"]["enforced"] == "hard"
    assert (answer["reservation"]["task_slots"], answer["would_wait"]) == (1, False)


def test_what_create_would_refuse_is_refused_in_the_same_words(shell: Shell) -> None:
    asked = ("--network", "proxy", "--allow", "pypi.org:443")
    planned, created = shell("plan", *asked), shell("create", *asked, "--", "cat")
    assert planned.returncode == created.returncode == 1
    assert planned.stderr == created.stderr
    assert b"sandbox.network" in planned.stderr


def test_whose_quota_it_would_take_from_can_be_said(shell: Shell) -> None:
    request = shell.json("plan", "--json", "--tenant", "acme")["plan"]
    assert request["degraded"] is False
    blank = shell("plan", "--tenant", " ")
    assert (blank.returncode, b"--tenant: must not be blank" in blank.stderr) == (1, True)
