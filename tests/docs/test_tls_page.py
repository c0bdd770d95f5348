"""What the page about TLS shows really runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from watchglass.server.secure_streams import GOODBYE_S_MAX, HANDSHAKE_S_MAX

from support.certificates import takes_openssl
from support.patience import PATIENCE_S
from support.serving import serving
from support.shell import command

PAGE = Path(__file__).parent.parent.parent / "docs" / "tls.md"


def scripts(heading: str) -> str:
    """The shell script of a section."""
    text = PAGE.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    [script] = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return str(script)


def curl_has_http2() -> bool:
    curl = shutil.which("curl")
    return (
        curl is not None and b"HTTP2" in subprocess.run([curl, "-V"], capture_output=True, check=True).stdout
    )


@takes_openssl
@pytest.mark.skipif(not curl_has_http2(), reason="takes a curl that speaks HTTP/2")
def test_the_scripts_make_a_server_and_reach_it_over_http2(tmp_path: Path) -> None:
    make, serve = scripts("A server with a certificate").rsplit("\nwatchglass serve ", 1)
    subprocess.run(["/bin/sh", "-ec", make], cwd=tmp_path, capture_output=True, check=True)
    flags = [str(tmp_path / word) if word.startswith("glass.") else word for word in serve.split()]
    with serving(tmp_path / "state", *flags) as served, serving(tmp_path / "plain") as plain:
        assert command(served.state_dir, "run", "--id", "echo", "--", "/bin/echo", "seen").stdout == b"seen\n"
        ports = {"URL": served.url, "TOKEN": served.token}
        script = scripts("HTTP/2").replace("PORT", str(plain.port)).replace("curl ", "curl -sSv ")
        done = subprocess.run(
            ["/bin/sh", "-ec", script],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **ports},
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(b"< HTTP/2 200") == 3
    assert b'"runtime_id"' in done.stdout
    assert b"event: feed.end" in done.stdout


def test_the_bounds_on_the_page_are_those_of_the_code() -> None:
    bounds = PAGE.read_text().split("\n## Bounds\n", 1)[1]
    assert re.findall(r"(\d+) seconds", bounds) == [f"{HANDSHAKE_S_MAX:.0f}", f"{GOODBYE_S_MAX:.0f}"]
