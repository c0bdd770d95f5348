"""Which runtime a client speaks to, and which token it sends where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from watchglass.client.address import Address
from watchglass.client.faults import NoRuntime, NoToken
from watchglass.client.finding import Choice, find
from watchglass.client.local import Discovery, start_ticks, token_path, withdraw
from watchglass.server.local import announce, local_token


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"WATCHGLASS_STATE_DIR": str(tmp_path / "state")}


def start(environ: dict[str, str], runtime_id: str, port: int, started_at: str, *, alive: bool = True) -> str:
    """A server's discovery file, with a token; ours is the process that lives."""
    state = Path(environ["WATCHGLASS_STATE_DIR"])
    token = local_token(state)
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    announce(
        state,
        Discovery(
            url=f"http://127.0.0.1:{port}",
            pid=os.getpid(),
            pid_start_ticks=ticks if alive else ticks - 1,
            runtime_id=runtime_id,
            display_name=None,
            token_file=str(token_path(state)),
            started_at=started_at,
        ),
    )
    return token


def test_without_any_there_is_a_hint_what_to_do(environ: dict[str, str]) -> None:
    with pytest.raises(NoRuntime, match="watchglass serve"):
        find(Choice(), environ)


def test_the_newest_one_is_meant(environ: dict[str, str]) -> None:
    start(environ, "rt-old", 1001, "2026-01-01T00:00:00Z")
    token = start(environ, "rt-new", 1002, "2026-01-02T00:00:00Z")
    start(environ, "rt-older", 1003, "2025-01-01T00:00:00Z")
    assert find(Choice(), environ).address == Address("http://127.0.0.1:1002", token)


def test_one_can_be_named(environ: dict[str, str]) -> None:
    token = start(environ, "rt-old", 1001, "2026-01-01T00:00:00Z")
    start(environ, "rt-new", 1002, "2026-01-02T00:00:00Z")
    assert find(Choice(runtime_id="rt-old"), environ).address == Address("http://127.0.0.1:1001", token)
    with pytest.raises(NoRuntime, match="there is rt-new, rt-old"):
        find(Choice(runtime_id="rt-other"), environ)


def test_a_server_that_is_gone_is_not_found(environ: dict[str, str]) -> None:
    start(environ, "rt-dead", 1001, "2026-01-01T00:00:00Z", alive=False)
    with pytest.raises(NoRuntime, match="no runtime is running"):
        find(Choice(), environ)


def test_a_url_says_it_all(environ: dict[str, str]) -> None:
    start(environ, "rt", 1001, "2026-01-01T00:00:00Z")
    environ["WATCHGLASS_URL"] = "http://elsewhere:80/"
    assert find(Choice(), environ).address == Address("http://elsewhere:80")
    assert find(Choice(url="https://there"), environ).address == Address("https://there")


def test_the_local_token_goes_to_the_local_runtime_alone(environ: dict[str, str]) -> None:
    token = start(environ, "rt", 1001, "2026-01-01T00:00:00Z")
    assert find(Choice(url="http://127.0.0.1:1001"), environ).address.token == token
    assert find(Choice(url="http://127.0.0.1:1002"), environ).address.token is None


def test_a_token_can_come_from_a_file_or_a_variable(environ: dict[str, str], tmp_path: Path) -> None:
    for name in ("flag", "variable"):
        file = tmp_path / name
        file.write_text(f"{name}-token\n")
        file.chmod(0o600)
    here = Choice(url="http://h")
    environ["WATCHGLASS_TOKEN_FILE"] = str(tmp_path / "variable")
    assert find(here, environ).address.token == "variable-token"
    environ["WATCHGLASS_TOKEN"] = "own"
    assert find(here, environ).address.token == "own"
    flagged = Choice(url="http://h", token_file=tmp_path / "flag")
    assert find(flagged, environ).address.token == "flag-token"


def test_a_token_that_others_can_read_is_not_used(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("t")
    file.chmod(0o644)
    with pytest.raises(NoToken, match="chmod 600"):
        find(Choice(url="http://h", token_file=file), environ)


def test_a_token_that_no_header_can_carry_is_refused(environ: dict[str, str]) -> None:
    environ["WATCHGLASS_TOKEN"] = "two\nlines"
    with pytest.raises(NoToken):
        find(Choice(url="http://h"), environ)


def test_a_token_that_is_given_beats_all_others(environ: dict[str, str]) -> None:
    start(environ, "rt", 1001, "2026-01-01T00:00:00Z")
    environ["WATCHGLASS_TOKEN"] = "variable"
    assert find(Choice(token="given"), environ).address.token == "given"
    assert "given" not in repr(Choice(token="given"))


def test_what_contradicts_itself_is_no_choice(environ: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="give one of them"):
        find(Choice(url="http://h", runtime_id="rt"), environ)


def test_a_restarted_runtime_is_found_at_its_new_place(environ: dict[str, str]) -> None:
    start(environ, "rt", 1001, "2026-01-01T00:00:00Z")
    found = find(Choice(), environ)
    start(environ, "rt-newer", 1003, "2026-01-03T00:00:00Z")
    token = start(environ, "rt", 1002, "2026-01-02T00:00:00Z")
    assert found.again() == Address("http://127.0.0.1:1002", token)
    withdraw(Path(environ["WATCHGLASS_STATE_DIR"]), "rt", os.getpid())
    assert found.again() == found.address
