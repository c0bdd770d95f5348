"""Routes whose addresses are put together as Quart's own are, though they wait until somebody asks."""

from __future__ import annotations

from typing import Any

import pytest
from quart import Quart, url_for
from quart.routing import QuartRule

from watchglass.server.route import Route

pytestmark = pytest.mark.asyncio


def application(route: type[QuartRule]) -> Quart:
    app = Quart(__name__, static_folder=None)
    app.url_rule_class = route
    for rule in ("/", "/things", "/things/<thing>", "/things/<thing>/parts/<int:part>", "/files/<path:file>"):
        app.add_url_rule(rule, rule, lambda **values: values)
    return app


@pytest.mark.parametrize("route", [QuartRule, Route])
@pytest.mark.parametrize(
    ("rule", "values", "address"),
    [
        ("/", {}, "/"),
        ("/things", {"like": "a b"}, "/things?like=a+b"),
        ("/things/<thing>", {"thing": "a b ü"}, "/things/a%20b%20%C3%BC"),
        ("/things/<thing>/parts/<int:part>", {"thing": "x", "part": 7, "q": "1"}, "/things/x/parts/7?q=1"),
        ("/files/<path:file>", {"file": "a/b"}, "/files/a/b"),
    ],
)
async def test_an_address_can_be_asked_for_again_and_again(
    route: type[QuartRule], rule: str, values: dict[str, Any], address: str
) -> None:
    async with application(route).test_request_context("/"):
        assert url_for(rule, **values) == address
        assert url_for(rule, **values) == address
