"""`token` on a command line that is wrong, and on files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.shell import here


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["new", "--name=a"], "--scope"),
        (["new", "--scope=root", "--name=a"], "observe, drive, admin"),
        (["new", "--scope=observe"], "--name"),
        (["new", "--scope=observe", "--name=a b"], "--name 'a b'"),
        (["new", "--scope=observe", "--name=a", "--worker=../b"], "--worker '../b'"),
        (["list", "--scope=observe"], "for 'token new'"),
        (["revoke"], "name the token"),
        (["renew"], "new, list or revoke"),
        ([], "Missing"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong_and_writes_nothing(
    tmp_path: Path, argv: list[str], says: str
) -> None:
    code, out, err = here(tmp_path, ["token", *argv])
    assert (code, out) == (2, "")
    assert says.lower() in err.lower()
    assert not (tmp_path / "tokens.jsonl").exists()


def test_without_a_file_there_are_no_tokens(tmp_path: Path) -> None:
    assert here(tmp_path, ["token", "list", "--json"])[:2] == (0, '{\n  "tokens": []\n}\n')
    assert here(tmp_path, ["token", "revoke", "a"])[0] == 3


def test_a_name_that_is_taken_is_refused_with_what_to_do(tmp_path: Path) -> None:
    argv = ["token", "new", "--scope=observe", "--name=a"]
    assert here(tmp_path, argv)[0] == 0
    code, out, err = here(tmp_path, argv)
    assert (code, out) == (1, "")
    assert "there is a token 'a' already" in err
    assert "choose another --name, or revoke that one first" in err


def test_a_file_that_others_may_read_is_refused_and_kept(tmp_path: Path) -> None:
    assert here(tmp_path, ["token", "new", "--scope=observe", "--name=a"])[0] == 0
    path = tmp_path / "tokens.jsonl"
    path.chmod(0o644)
    before = path.read_bytes()
    for argv in (["list"], ["new", "--scope=observe", "--name=b"], ["revoke", "a"]):
        code, out, err = here(tmp_path, ["token", *argv])
        assert (code, out) == (1, "")
        assert "chmod 600" in err
    assert path.read_bytes() == before


def test_each_token_is_another_one_and_goes_to_stdout_alone(tmp_path: Path) -> None:
    made = [here(tmp_path, ["token", "new", "--scope=drive", f"--name=t{number}"]) for number in range(3)]
    texts = [out.strip() for _, out, _ in made]
    assert len(set(texts)) == 3
    for (code, _, err), text in zip(made, texts, strict=True):
        assert (code, text in err) == (0, False)
        assert text.encode() not in (tmp_path / "tokens.jsonl").read_bytes()
    rows = here(tmp_path, ["token", "list"])[1].splitlines()
    assert [row.split()[:3] for row in rows[1:]] == [[f"t{number}", "drive", "all"] for number in range(3)]
