"""Who may call: the token and where it comes from, the `Host`, the `Origin`."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from support.api import Api
from support.feed import UPGRADE
from support.processes import children, wait_true
from support.serving import Served, serving

FLAGS = ["--runtime-id=rt-access"]
AFRESH = True

TOKEN = "geheim-789"


def cmdline(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def environ(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text(errors="replace")


def test_the_token_of_the_state_directory_is_made_for_its_owner_alone(served: Served) -> None:
    path = served.state_dir / "token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_nlink == 1
    assert len(served.token) >= 32
    assert sorted(entry.name for entry in served.state_dir.iterdir()) == ["servers", "stderr.txt", "token"]


def test_the_token_is_shown_nowhere(served: Served, api: Api) -> None:
    worker = api.create("sleep", "600")
    server = served.process.pid
    family = [server, *children(server), worker["pid"]]
    for pid in family:
        assert served.token not in cmdline(pid)
        assert served.token not in environ(pid)
    assert served.token not in served.stderr
    for path in ("/v1/runtime", "/v1/workers", "/metrics", "/openapi.json", "/docs", "/healthz"):
        assert served.token.encode() not in api.request("GET", path).body
    for found in served.state_dir.rglob("*"):
        if found.is_file() and found.name != "token":
            assert served.token.encode() not in found.read_bytes(), found
    api.act(worker["worker_id"], "cancel")


def test_a_server_with_the_same_state_keeps_its_token(served: Served, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("kept-from-before\n")
    (tmp_path / "token").chmod(0o600)
    with serving(tmp_path) as server:
        assert server.token == "kept-from-before"
        assert Api(server).get("/v1/runtime")


@pytest.mark.parametrize("way", ["flag", "flag=", "env", "file"])
def test_the_token_may_come_from_elsewhere(tmp_path: Path, way: str) -> None:
    file = tmp_path / "my-token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    flags = {
        "flag": ["--local-token", TOKEN],
        "flag=": [f"--local-token={TOKEN}"],
        "env": ["--local-token-env=MY_TOKEN"],
        "file": ["--local-token-file", str(file)],
    }[way]
    state = tmp_path / "state"
    with serving(state, *flags, env={"MY_TOKEN": TOKEN}, token=TOKEN, afresh=True) as server:
        api = Api(server)
        assert api.get("/v1/runtime")
        wrong = api.request("GET", "/v1/runtime", headers={"Authorization": "Bearer geheim-788"})
        assert (wrong.status, wrong.code) == (401, "unauthorized")
        assert not (state / "token").exists()
        worker = api.create("env")
        assert TOKEN not in server.stderr
        wait_true(lambda: api.worker(worker["worker_id"])["exit"] is not None, "it does not end")
        assert TOKEN.encode() not in api.log(worker["worker_id"])
        if way in {"env", "file"}:
            assert TOKEN not in cmdline(server.process.pid)
        for child in children(server.process.pid):
            assert TOKEN not in cmdline(child)
            assert TOKEN not in environ(child)


def test_without_auth_a_token_is_neither_needed_nor_made(tmp_path: Path) -> None:
    with serving(tmp_path, "--no-auth", token="") as server:
        assert Api(server).get("/v1/runtime")
        assert Api(server).request("GET", "/v1/runtime", headers={"Host": "evil.example"}).status == 403
        assert not (tmp_path / "token").exists()


def test_health_readiness_and_the_docs_need_no_token(api: Api) -> None:
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert api.request("GET", path, headers={"Authorization": ""}).status == 200
    for path in ("/metrics", "/v1/runtime", "/v1/workers", "/v1/events/batch", "/v1/diagnostics"):
        assert api.request("GET", path, headers={"Authorization": ""}).code == "unauthorized"


def test_the_scheme_of_the_token_is_not_case_sensitive(served: Served, api: Api) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        answer = api.request("GET", "/v1/runtime", headers={"Authorization": f"{scheme} {served.token}"})
        assert answer.status == 200


def test_a_token_in_the_query_is_no_token(served: Served, api: Api) -> None:
    for name in ("token", "access_token", "authorization"):
        answer = api.request("GET", f"/v1/runtime?{name}={served.token}", headers={"Authorization": ""})
        assert answer.code == "unauthorized"
        assert served.token.encode() not in answer.body


def test_a_refused_caller_learns_nothing_of_workers(api: Api) -> None:
    worker_id = api.create()["worker_id"]
    answers = [
        api.request("GET", f"/v1/workers/{asked}", headers={"Authorization": "Bearer wrong"})
        for asked in (worker_id, "nobody", "%20")
    ]
    assert {(answer.status, answer.body) for answer in answers} == {(401, answers[0].body)}


def test_own_names_are_ours(served: Served, api: Api) -> None:
    for host in (f"127.0.0.1:{served.port}", f"localhost:{served.port}", f"LOCALHOST:{served.port}"):
        assert api.request("GET", "/v1/runtime", headers={"Host": host}).status == 200


def test_other_names_and_pages_may_be_allowed(tmp_path: Path) -> None:
    flags = ["--allow-host", "box.internal", "--allow-origin", "https://ui.example"]
    with serving(tmp_path, *flags) as server:
        api = Api(server)
        for headers, status in [
            ({"Host": f"box.internal:{server.port}"}, 200),
            ({"Host": "other.internal"}, 403),
            ({"Origin": "https://ui.example"}, 200),
            ({"Origin": "http://ui.example"}, 403),
            ({"Origin": "https://ui.example.evil"}, 403),
        ]:
            assert api.request("GET", "/v1/runtime", headers=headers).status == status, headers
            feed = api.request("GET", "/v1/workers/nobody/events/ws", headers={**UPGRADE, **headers})
            assert feed.status == (404 if status == 200 else 403), headers


def test_a_server_on_all_addresses_needs_a_token_and_gets_one(tmp_path: Path) -> None:
    with serving(tmp_path, "--bind=0.0.0.0:0", f"--local-token={TOKEN}", token=TOKEN) as server:
        assert server.host == "0.0.0.0"
        api = Api(replace(server, host="127.0.0.1"))
        assert api.get("/v1/runtime")
        assert api.request("GET", "/v1/runtime", headers={"Authorization": ""}).status == 401
        assert api.request("GET", "/v1/runtime", headers={"Host": "evil.example"}).status == 403
