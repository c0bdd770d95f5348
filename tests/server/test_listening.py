"""Where serve listens, and by which names it is reached."""

from __future__ import annotations

import pytest

from watchglass.server.config import serve_config
from watchglass.server.flags import ServeFlags
from watchglass.server.listening import is_loopback

from support.refusals import refusal

TOKEN = "s3cret-s3cret"


@pytest.mark.parametrize(
    ("bind", "host", "port"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("localhost:8080", "localhost", 8080),
        ("[::1]:65535", "::1", 65535),
        ("127.1.2.3:1", "127.1.2.3", 1),
    ],
)
def test_an_address_is_a_host_and_a_port(bind: str, host: str, port: int) -> None:
    config = serve_config(ServeFlags(bind=bind))
    assert (config.host, config.port) == (host, port)


@pytest.mark.parametrize(
    "bind",
    ["", "127.0.0.1", "127.0.0.1:", ":8080", "127.0.0.1:port", "127.0.0.1:-1", "::1:80", "[nope]:1", "a:1:2"],
)
def test_a_bad_address_is_refused_by_name_and_value(bind: str) -> None:
    text = refusal(bind=bind)
    assert text.startswith("--bind ")
    assert repr(bind) in text


def test_a_port_out_of_range_is_refused() -> None:
    assert "65535 is the most" in refusal(bind="127.0.0.1:65536")


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "example.org:80"])
def test_an_address_that_others_can_reach_needs_a_token_that_was_given(bind: str) -> None:
    assert "needs a token" in refusal(bind=bind)
    assert "--no-auth" in refusal(bind=bind, no_auth=True)
    assert serve_config(ServeFlags(bind=bind, local_token=TOKEN)).token is not None


def test_hosts_and_origins_are_lower_case_and_checked() -> None:
    config = serve_config(
        ServeFlags(allow_host=["Glass.Example:8080"], allow_origin=["HTTPS://App.Example", "null"])
    )
    assert config.allowed_hosts == ("glass.example:8080",)
    assert config.allowed_origins == ("https://app.example", "null")
    assert refusal(allow_host=["http://x"]).startswith("--allow-host")
    assert refusal(allow_origin=["app.example"]).startswith("--allow-origin")
    assert refusal(allow_origin=["https://app.example/"]).startswith("--allow-origin")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.evil", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
