"""Programs find the proxy, and a worker's own loopback without it."""

from __future__ import annotations

from watchglass.runtime.egress import proxy_environment


def test_the_proxy_is_named_in_both_spellings() -> None:
    env = proxy_environment(["example.org:443"])
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        assert env[name] == env[name.lower()] == "http://127.0.0.1:3128"
    assert env["NO_PROXY"] == env["no_proxy"] == "localhost,127.0.0.1,::1"


def test_a_listed_place_on_the_hosts_loopback_is_reached_through_the_proxy() -> None:
    assert proxy_environment(["127.0.0.1:8080"])["NO_PROXY"] == "localhost,::1"
    assert proxy_environment(["LOCALHOST:80", "[::1]:80", "127.0.0.1:80"])["no_proxy"] == ""
