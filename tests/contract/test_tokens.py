"""Tokens with fewer rights, on a real server: every face, every transport, every change of their file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from watchglass.client import ApiError, FeedRefused
from watchglass.client.sync import connect
from watchglass.protocol.scopes import Grant, Reach, TokenScope, Verdict, decide
from watchglass.server.permits import NEEDS

from support.api import Answer, Api
from support.feed import UPGRADE
from support.patience import PATIENCE_S
from support.processes import children, wait_true
from support.serving import Served, serving
from support.shell import Shell, command
from support.tokens import BOUND, GRANTS, PLAIN, being, text_of, written
from support.watching import (
    OF_EVERYBODY,
    SUBPROTOCOL,
    TRANSPORTS,
    Farewell,
    opened,
    socket_farewell,
    socket_feed,
)

FLAGS = ["--runtime-id=rt-tokens", "--log-level=info"]
AFRESH = True


@pytest.fixture
def tokens(served: Served) -> Iterator[None]:
    written(served, GRANTS)
    yield
    written(served, {})


@pytest.fixture
def workers(api: Api) -> Iterator[None]:
    for worker_id in ("mine", "other"):
        api.create(worker_id=worker_id)
    yield
    for worker_id in ("mine", "other"):
        if api.request("POST", f"/v1/workers/{worker_id}/cancel").status == 200:
            api.request("DELETE", f"/v1/workers/{worker_id}")


def code_of(answer: Answer) -> str:
    """The code of a refusal, in the shape of either contract."""
    return str(answer.json["error"]["code"])


def ensure(api: Api, worker_id: str) -> None:
    if api.request("GET", f"/v1/workers/{worker_id}").status == 404:
        api.create(worker_id=worker_id)


@pytest.mark.usefixtures("tokens", "workers")
@pytest.mark.parametrize("name", GRANTS)
@pytest.mark.parametrize("worker_id", ["mine", "other"])
def test_every_endpoint_is_answered_as_the_token_may(
    served: Served, api: Api, name: str, worker_id: str
) -> None:
    grant, asking = GRANTS[name], Api(being(served, name))
    for (method, route), need in NEEDS.items():
        if route.endswith("/ws") or (route == "/v1/runtime/drain" and grant == PLAIN["admin"]):
            continue  # The feeds have their own tests, and one drain is enough for a server.
        ensure(api, worker_id)
        path = route.format(worker_id=worker_id, task_id=worker_id, stream="stdout") + (
            "?wait_s=0" if route.endswith("/events") and method == "GET" else ""
        )
        answer = asking.request(method, path, {} if method == "POST" else None)
        named = worker_id if need.reach is Reach.WORKER else None
        verdict = decide(grant, need, named)
        below_api = route.startswith("/api/")
        if verdict is Verdict.FOREIGN:
            nobody = Api(served).request(method, path.replace("other", "nobody"))
            assert (answer.status, code_of(answer)) == (404, "not_found" if below_api else "worker_not_found")
            if method == "GET" and not below_api:
                assert answer.body.replace(b"other", b"nobody") == nobody.body
        elif verdict is Verdict.MISSING_SCOPE:
            code = "permission_denied" if below_api else "insufficient_scope"
            assert (answer.status, code_of(answer)) == (403, code), (method, path)
            assert need.scope in answer.json["error"]["message"]
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
        else:
            assert answer.status not in {401, 403}, (method, path)


@pytest.mark.usefixtures("tokens", "workers")
def test_lists_show_a_bound_token_its_own_worker_alone(served: Served, api: Api) -> None:
    mine = Api(being(served, "observe-mine"))
    assert [each["worker_id"] for each in mine.get("/v1/workers")["workers"]] == ["mine"]
    assert mine.request("GET", "/v1/workers?after=other").body == (
        mine.request("GET", "/v1/workers?after=nobody").body.replace(b"nobody", b"other")
    )
    events = mine.get("/v1/events/batch")
    assert {event["worker_ref"]["worker_id"] for event in events["events"]} == {"mine"}
    whole = api.get("/v1/events/batch")
    assert events["next_cursor"] == whole["next_cursor"]
    assert {"other", "mine"} < {
        (event["worker_ref"] or {}).get("worker_id", "runtime") for event in whole["events"]
    }
    with TRANSPORTS["websocket_v2"](served, "mine"), TRANSPORTS["websocket_v2"](served, "other"):
        assert {each["worker_id"] for each in api.get("/v1/observers")["observers"]} == {"mine", "other"}
        assert {each["worker_id"] for each in mine.get("/v1/observers")["observers"]} == {"mine"}
        foreign = mine.request("GET", "/v1/observers?worker_id=other")
        assert (foreign.status, foreign.code) == (404, "worker_not_found")


@pytest.mark.usefixtures("tokens")
def test_tasks_are_as_workers_and_their_owners_keep_their_say(served: Served, api: Api) -> None:
    grants = {**GRANTS, "job": Grant(TokenScope.DRIVE, "job"), "watcher": Grant(TokenScope.OBSERVE, "job")}
    written(served, grants)
    for task_id in ("job", "other-job"):
        sleep = {"program": "sleep", "args": ["600"]}
        owned = {"task_id": task_id, "execution": sleep, "control_context": {"owner": "ann"}}
        api.post("/api/v1/tasks", owned)
    job = Api(being(served, "job"))
    assert [each["task_id"] for each in job.get("/api/v1/tasks")["tasks"]] == ["job"]
    assert job.get("/api/v1/tasks/job")["task_id"] == "job"
    for path in ("/api/v1/tasks/other-job", "/api/v1/tasks/other-job/events", "/api/v1/tasks/nobody"):
        refused = job.request("GET", path)
        assert (refused.status, code_of(refused)) == (404, "not_found")
    assert Api(being(served, "watcher")).request("POST", "/api/v1/tasks/job/kill").status == 403
    assert job.request("POST", "/api/v1/tasks/other-job/kill").status == 404
    kill = "/api/v1/tasks/job/kill"
    for owner in ({}, {"x-execgo-owner": "bob"}):
        refused = job.request("POST", kill, headers=owner)
        assert refused.json["error"]["details"]["fault"] == "permission_denied"
    assert job.request("POST", kill, headers={"x-execgo-owner": "ann"}).json["status"] == "cancelled"
    api.request("POST", "/api/v1/tasks/other-job/kill", headers={"x-execgo-owner": "ann"})


@pytest.mark.usefixtures("tokens", "workers")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_each_transport_lets_in_whom_it_may(served: Served, transport: str) -> None:
    for name in GRANTS:
        assert opened(being(served, name), transport, "mine") is None
    for name in PLAIN:
        assert opened(being(served, name), transport, "other") is None
    for name in BOUND:
        foreign = opened(being(served, name), transport, "other")
        assert foreign == opened(served, transport, "nobody") == Farewell(404, "worker_not_found")
    assert opened(replace(served, token="wg_wrong"), transport, "mine") == Farewell(401, "unauthorized")


@pytest.mark.usefixtures("tokens", "workers")
def test_a_missing_scope_is_told_on_a_socket_of_version_2_and_before_any_other(served: Served) -> None:
    path = "/v1/workers/mine/nothing/ws"
    with socket_feed(being(served, "observe"), path, SUBPROTOCOL) as connection:
        assert connection.subprotocol == SUBPROTOCOL
        assert socket_farewell(connection) == Farewell(4403, "runtime.forbidden")
    plain = Api(being(served, "observe")).request("GET", path, headers=UPGRADE)
    assert (plain.status, plain.code) == (403, "insufficient_scope")


REVOKED = {
    "websocket_v1": Farewell(1001, "runtime.upstream_closed"),
    "websocket_v2": Farewell(4401, "runtime.unauthorized"),
    "sse": Farewell(200, "runtime.unauthorized"),
    "long_poll": Farewell(401, "unauthorized"),
}
REBOUND = {
    "websocket_v1": Farewell(1001, "runtime.upstream_closed"),
    "websocket_v2": Farewell(4404, "runtime.worker_not_found"),
    "sse": Farewell(200, "runtime.worker_not_found"),
    "long_poll": Farewell(404, "worker_not_found"),
}


def watches(api: Api, name: str) -> int:
    return sum(each["token"] == name for each in api.get("/v1/observers")["observers"])


@pytest.mark.usefixtures("tokens", "workers")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_revoked_token_ends_what_it_opened_and_no_other_feed(
    served: Served, api: Api, transport: str
) -> None:
    watch = TRANSPORTS[transport]
    with watch(being(served, "observe"), "mine") as revoked, watch(being(served, "drive"), "mine"):
        wait_true(lambda: watches(api, "observe") + watches(api, "drive") == 2, "they watch")
        written(served, {name: grant for name, grant in GRANTS.items() if name != "observe"})
        gone = Api(being(served, "observe")).request("GET", "/v1/workers/mine")
        assert (gone.status, gone.code) == (401, "unauthorized")
        assert revoked.farewell() == REVOKED[transport]
        assert watches(api, "drive") == 1


@pytest.mark.usefixtures("tokens", "workers")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_token_that_is_of_another_worker_now_ends_what_it_opened(
    served: Served, api: Api, transport: str
) -> None:
    with TRANSPORTS[transport](being(served, "observe"), "mine") as watch:
        wait_true(lambda: watches(api, "observe") == 1, "it watches")
        written(served, {**GRANTS, "observe": Grant(TokenScope.OBSERVE, "other")})
        assert watch.farewell() == REBOUND[transport]


BOUND_NOW = {
    "websocket_v2": Farewell(4403, "runtime.forbidden"),
    "sse": Farewell(200, "runtime.forbidden"),
    "long_poll": Farewell(403, "insufficient_scope"),
}


@pytest.mark.usefixtures("tokens", "workers")
@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/ws"])
def test_everybodys_feed_is_for_tokens_of_the_whole_runtime(served: Served, path: str) -> None:
    for name in PLAIN:
        with socket_feed(being(served, name), path, SUBPROTOCOL) as connection:
            assert json.loads(connection.recv(PATIENCE_S))["kind"] == "hello"
    for name in BOUND:
        with socket_feed(being(served, name), f"{path}?workers=mine", SUBPROTOCOL) as connection:
            assert socket_farewell(connection) == Farewell(4403, "runtime.forbidden")
        for accept in ("text/event-stream", "application/json"):
            bound = Api(being(served, name))
            answer = bound.request("GET", "/v1/events?workers=mine", headers={"Accept": accept})
            assert (answer.status, answer.code) == (403, "insufficient_scope")


@pytest.mark.usefixtures("tokens", "workers")
@pytest.mark.parametrize("transport", OF_EVERYBODY)
def test_a_token_that_is_of_one_worker_now_ends_its_feed_of_everybody(
    served: Served, api: Api, transport: str
) -> None:
    with OF_EVERYBODY[transport](being(served, "observe"), None) as watch:
        wait_true(lambda: watches(api, "observe") == 1, "it watches")
        written(served, {**GRANTS, "observe": Grant(TokenScope.OBSERVE, "mine")})
        assert watch.farewell() == BOUND_NOW[transport]


@pytest.mark.usefixtures("workers")
def test_a_token_is_made_printed_once_listed_and_revoked(served: Served, api: Api) -> None:
    shell = Shell(served)
    token = shell.text("token", "new", "--scope=observe", "--worker=mine", "--name=ci").strip()
    mine = Api(replace(served, token=token))
    assert mine.worker("mine")["worker_id"] == "mine"
    assert mine.request("GET", "/v1/workers/other").status == 404
    [listed] = [each for each in shell.json("token", "list")["tokens"] if each["name"] == "ci"]
    assert (listed["scope"], listed["worker_id"]) == ("observe", "mine")
    assert "sha256" not in listed
    assert token not in shell.text("token", "list")
    again = shell("token", "new", "--scope=admin", "--name=ci")
    assert again.returncode == 1
    assert b"there is a token 'ci' already" in again.stderr
    assert shell.json("token", "revoke", "ci") == {"revoked": "ci"}
    assert mine.request("GET", "/v1/workers/mine").status == 401
    assert shell("token", "revoke", "ci").returncode == 3
    server = served.process.pid
    for found in served.state_dir.rglob("*"):
        assert not found.is_file() or token.encode() not in found.read_bytes(), found
    for pid in (server, *children(server)):
        assert token.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert api.get("/v1/runtime")


@pytest.mark.usefixtures("tokens", "workers")
def test_a_client_that_follows_hears_why_it_may_not_go_on(served: Served, api: Api) -> None:
    with connect(served.url, token=text_of("observe")) as wg:
        said = wg.watch("mine")
        next(said)
        written(served, {name: grant for name, grant in GRANTS.items() if name != "observe"})
        with pytest.raises(FeedRefused) as caught:
            list(said)
        assert caught.value.code == "runtime.unauthorized"
        with pytest.raises(ApiError) as refused:
            wg.worker("mine")
        assert refused.value.code == "unauthorized"
    assert api.worker("mine")


@pytest.mark.usefixtures("tokens")
def test_why_a_worker_waits_is_told_without_the_others(tmp_path: Path) -> None:
    flags = ("--max-running-workers=1", "--capacity-memory=1073741824")
    with serving(tmp_path, *flags) as crowded:
        local = Api(crowded)
        written(crowded, BOUND)
        local.create("sleep", "600", worker_id="first")
        for number in range(3):
            local.create("true", worker_id=f"other-{number}", control_context={"tenant": f"tenant-{number}"})
        local.create("true", worker_id="mine", control_context={"tenant": "tenant-mine"})
        path = "/v1/workers/mine/explain"
        assert b"tenant-0" in local.request("GET", path).body
        told = Api(being(crowded, "observe-mine")).request("GET", path)
        assert told.status == 200
        for foreign in (b"tenant-0", b"tenant-1", b"other-", b"first"):
            assert foreign not in told.body
        assert len(told.json["explanation"]["waiting_for"]["tenants_before_it"]) == 3


@pytest.mark.usefixtures("tokens", "workers")
def test_the_log_names_the_token_and_never_shows_it(served: Served) -> None:
    driver = Api(being(served, "drive-mine"))
    driver.say("mine", "hello")
    driver.request("GET", "/v1/workers/other")
    with TRANSPORTS["websocket_v2"](being(served, "observe-mine"), "mine"):
        pass
    Api(replace(served, token="wg_nobodys")).request("GET", "/v1/workers")

    def lines() -> list[dict[str, object]]:
        return [json.loads(line) for line in served.stderr.splitlines() if line.startswith("{")]

    def told(**facts: object) -> bool:
        return any(facts.items() <= line.items() for line in lines())

    route = "/v1/workers/{worker_id}"
    wait_true(
        lambda: told(message="feed closed", token="observe-mine", reason="client_closed"), "the feed is over"
    )
    assert told(message="answered", method="POST", route=f"{route}/input", status=200, token="drive-mine")
    assert told(message="answered", status=404, token="drive-mine")
    assert told(message="answered", status=401, token=None)
    assert told(message="feed opened", token="observe-mine", transport="websocket_v2", worker_id="mine")
    for name in (*map(text_of, GRANTS), "wg_nobodys", served.token):
        assert name not in served.stderr


def test_the_file_may_be_elsewhere_and_has_to_be_right_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere"
    flag = f"--tokens-file={file}"
    missing = command(tmp_path, "serve", flag)
    assert missing.returncode == 2
    assert b"token new" in missing.stderr
    made = command(tmp_path, "token", "new", flag, "--scope=drive", "--name=d")
    assert made.returncode == 0
    with serving(tmp_path / "state", flag) as served:
        driver = Api(replace(served, token=made.stdout.decode().strip()))
        assert driver.create()["worker_id"]
        assert driver.request("POST", "/v1/runtime/drain").status == 403
    for spoil in (lambda: file.chmod(0o644), lambda: file.write_text("nonsense")):
        spoil()
        refused = command(tmp_path, "serve", flag)
        assert (refused.returncode, str(file).encode() in refused.stderr) == (2, True)
        file.chmod(0o600)
    assert command(tmp_path, "serve", flag, "--no-auth").returncode == 2
