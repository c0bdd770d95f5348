"""Who may talk to a server."""

from __future__ import annotations

from typing import Any

import pytest

from watchglass.protocol.errors import ForbiddenHost, ForbiddenOrigin, Unauthorized
from watchglass.server.auth import OPEN_PATHS, Access, access
from watchglass.server.given_token import Secret

PORT = 8080
TOKEN = "t0ken"


def rules(host: str = "127.0.0.1", *, port: int = PORT, **more: Any) -> Access:
    given: dict[str, Any] = {"token": Secret(TOKEN), "allowed_hosts": (), "origins": (), **more}
    return access(host=host, port=port, **given)


def asked(
    path: str = "/v1/workers", server: tuple[str, int] = ("127.0.0.1", PORT), **headers: str
) -> dict[str, Any]:
    sent = {"host": f"127.0.0.1:{PORT}", **headers}
    return {
        "type": "http",
        "path": path,
        "server": server,
        "headers": [(name.encode(), value.encode("latin1")) for name, value in sent.items()],
    }


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "LocalHost:8080", "[::1]:8080"])
def test_our_own_names_are_ours(host: str) -> None:
    rules().check_caller(asked(host=host))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "127.0.0.1",
        "localhost",
        "127.0.0.1:80",
        "evil.example",
        "evil.example:8080",
        "192.0.2.1:8080",
        "localhost.evil:8080",
        "127.0.0.1:8080.evil",
        "127.0.0.1:8080@evil",
    ],
)
def test_another_host_is_refused(host: str) -> None:
    with pytest.raises(ForbiddenHost):
        rules().check_caller(asked(host=host))


def test_a_request_without_a_host_is_refused() -> None:
    with pytest.raises(ForbiddenHost):
        rules().check_caller({**asked(), "headers": []})


def test_an_allowed_name_is_ours_with_its_port_or_with_any() -> None:
    allowed = rules(allowed_hosts=("glass.example", "other.example:443"))
    for host in ("glass.example", "glass.example:1", "GLASS.example:99", "other.example:443"):
        allowed.check_caller(asked(host=host))
    for host in ("other.example", "other.example:80", "x.glass.example"):
        with pytest.raises(ForbiddenHost):
            allowed.check_caller(asked(host=host))


def test_on_port_80_a_host_may_leave_the_port_out() -> None:
    rules(port=80).check_caller(asked(host="127.0.0.1"))


def test_a_server_on_all_addresses_is_the_address_that_was_reached() -> None:
    everywhere = rules("0.0.0.0")
    everywhere.check_caller(asked(server=("192.0.2.7", PORT), host="192.0.2.7:8080"))
    everywhere.check_caller(
        asked(server=("127.0.0.1", PORT), host="0.0.0.0:8080")
    )  # As the listening line says.
    with pytest.raises(ForbiddenHost):
        everywhere.check_caller(asked(server=("192.0.2.7", PORT), host="192.0.2.8:8080"))
    with pytest.raises(ForbiddenHost):
        everywhere.check_caller(asked(server=("192.0.2.7", PORT), host="evil.example:8080"))
    rules("::").check_caller(asked(server=("2001:db8::1", PORT), host="[2001:db8::1]:8080"))


def test_an_origin_that_is_not_listed_is_refused() -> None:
    for origin in ("http://127.0.0.1:8080", "null", "", "https://app.example.evil"):
        with pytest.raises(ForbiddenOrigin):
            rules(origins=("https://app.example",)).check_caller(asked(origin=origin))
    rules(origins=("https://app.example",)).check_caller(asked(origin="https://App.Example"))


@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER  {TOKEN} "])
def test_the_token_lets_in(authorization: str) -> None:
    rules().caller(asked(authorization=authorization))


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        TOKEN,
        "Bearer",
        "Bearer ",
        "Bearer nope",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN} {TOKEN}",
        "Bearer t\xf6ken",
    ],
)
def test_anything_else_does_not(authorization: str) -> None:
    with pytest.raises(Unauthorized):
        rules().caller(asked(authorization=authorization))
    with pytest.raises(Unauthorized):
        rules().caller(asked())


def test_a_token_in_the_query_does_not_count() -> None:
    with pytest.raises(Unauthorized):
        rules().caller({**asked(), "query_string": f"token={TOKEN}&access_token={TOKEN}".encode()})


def test_some_paths_need_no_token_and_nothing_near_them_does_without() -> None:
    for path in OPEN_PATHS:
        rules().caller(asked(path))
        for near in (f"{path}/", f"/{path}", path.upper(), f"{path}x"):
            with pytest.raises(Unauthorized):
                rules().caller(asked(near))


def test_without_a_token_everybody_is_let_in() -> None:
    rules(token=None).caller(asked())
