"""What the pages show of following a worker without a client, and the README of the client, really runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pytest

from support.api import Api
from support.patience import PATIENCE_S
from support.processes import wait_true
from support.proxy import Fate, cutting
from support.serving import Served, environment, serving

ROOT = Path(__file__).parent.parent.parent
WORKER = "echo"

takes_tools = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("curl", "jq")), reason="takes curl and jq"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("pages"), "--allow-host=127.0.0.1") as server:
        yield server


@pytest.fixture
def api(served: Served) -> Iterator[Api]:
    """With the worker that the pages speak of; it ends with its input."""
    api = Api(served)
    api.create("/bin/cat", worker_id=WORKER)
    yield api
    api.act(WORKER, "cancel")
    assert api.request("DELETE", f"/v1/workers/{WORKER}").status == 204


def scripts(page: str, heading: str) -> list[str]:
    """The shell scripts of a section."""
    text = (ROOT / "docs" / page).read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


@contextmanager
def running(script: str, url: str, token: str) -> Iterator[subprocess.Popen[str]]:
    """A script of a page, with the two variables that it names."""
    env = {"PATH": os.environ["PATH"], "URL": url, "TOKEN": token}
    with subprocess.Popen(
        ["/bin/sh", "-c", script], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def feeds_open(api: Api) -> float:
    text = api.request("GET", "/metrics").body.decode()
    return sum(map(float, re.findall(r"^watchglass_feeds_open{.*} (\S+)$", text, re.MULTILINE)))


@takes_tools
@pytest.mark.parametrize("number", [0, 1], ids=["sse", "long-poll"])
def test_the_scripts_follow_a_worker_live_to_its_end(served: Served, api: Api, number: int) -> None:
    script = scripts("client.md", "Without a client")[number]
    api.say(WORKER, "before")
    with running(script, served.url, served.token) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "before\n"
        wait_true(lambda: feeds_open(api) > 0, "the script does not listen")
        api.say(WORKER, "hello, glass")
        assert process.stdout.readline() == "hello, glass\n"
        api.act(WORKER, "close-stdin")
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, err) == (0, "", "")


@takes_tools
def test_the_loop_of_long_polls_goes_on_over_cuts_and_leaves_when_it_is_refused(
    served: Served, api: Api
) -> None:
    script = scripts("client.md", "Without a client")[1]
    for number in range(20):
        api.say(WORKER, f"line {number}")
    api.act(WORKER, "close-stdin")
    fates = [Fate(1), Fate(400, "close"), Fate(10, of="client")]
    with (
        cutting(served.host, served.port, fates) as proxy,
        running(script, proxy.url, served.token) as process,
    ):
        out, _ = process.communicate(timeout=PATIENCE_S)
        assert proxy.cuts_made == 3
    assert (process.returncode, out) == (0, "".join(f"line {number}\n" for number in range(20)))
    with running(script, served.url, "wrong") as process:
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1


@takes_tools
@pytest.mark.parametrize("heading", ["Server-sent events", "Long poll", "Everybody's events"])
def test_the_page_of_the_feed_shows_what_curl_gets(served: Served, api: Api, heading: str) -> None:
    [script] = scripts("feed.md", heading)
    api.say(WORKER, "one")
    api.act(WORKER, "close-stdin")
    wait_true(lambda: api.worker(WORKER)["phase"] == "succeeded", "it does not end")
    with running(script, served.url, served.token) as process:
        out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    if heading == "Long poll":
        assert '"ended":true' in out
    elif heading == "Everybody's events":
        assert '"text":"one\\n"' in out
        assert '"worker_id":"runtime"' in out
    else:
        told = [line.removeprefix("event: ") for line in out.splitlines() if line.startswith("event: ")]
        assert [name for name, _ in groupby(told)] == [  # One word may come in pieces.
            *("feed.hello", "text_delta", "end", "feed.sync", "feed.end")
        ]


def test_the_client_in_the_readme_runs(served: Served, tmp_path: Path) -> None:
    [body] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    script = tmp_path / "readme.py"
    script.write_text(body)  # As it is pasted.
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env=environment(served.state_dir),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(" hello, glass\n")
