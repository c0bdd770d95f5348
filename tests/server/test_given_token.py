"""The token that serve is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchglass.protocol.errors import shown
from watchglass.server.config import serve_config
from watchglass.server.flags import ServeFlags

from support.refusals import refusal

TOKEN = "s3cret-s3cret"


def test_a_token_comes_from_one_source(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    environ = {"NAME": TOKEN}
    for config in (
        serve_config(ServeFlags(local_token=TOKEN)),
        serve_config(ServeFlags(local_token_env="NAME"), environ),
        serve_config(ServeFlags(local_token_file=file)),
    ):
        assert config.token is not None
        assert config.token.reveal() == TOKEN
    assert serve_config(ServeFlags(local_token_file=file)).token_file == file
    text = refusal(local_token=TOKEN, local_token_env="NAME", environ=environ)
    assert "--local-token and --local-token-env" in text
    assert TOKEN not in text
    assert "leave out the token" in refusal(local_token=TOKEN, no_auth=True)


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_an_empty_token_is_refused_wherever_it_comes_from(empty: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(empty)
    assert refusal(local_token=empty) == "--local-token: the token is empty"
    assert "'NAME': the token is empty" in refusal(local_token_env="NAME", environ={"NAME": empty})
    assert f"{shown(str(file))}: the token is empty" in refusal(local_token_file=file)


def test_a_token_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "'NOPE': this environment variable is not set" in refusal(local_token_env="NOPE", environ={})
    assert "No such file" in refusal(local_token_file=tmp_path / "nope")
    assert "directory" in refusal(local_token_file=tmp_path)


@pytest.mark.parametrize("token", ["two words", "tökén", "a\tb", "x" * 5000])
def test_a_token_that_cannot_travel_is_refused_and_never_shown(token: str) -> None:
    assert token not in refusal(local_token=token)


def test_the_token_is_never_shown() -> None:
    config = serve_config(ServeFlags(local_token=TOKEN))
    assert TOKEN not in repr(config)
    assert "<redacted>" in repr(config)
    assert TOKEN not in f"{config.token} {config.token!r}"
