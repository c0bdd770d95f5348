"""The one way out of a worker: a socket that listens in its network, in the hands of each of its servers."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from watchglass.runtime.egress import Gateway, SystemResolver, WorkerEgress
from watchglass.runtime.executor import LaunchPlan, SandboxLaunch, open_executor
from watchglass.runtime.executor._channel import Channel
from watchglass.runtime.executor.host import channel, wire

from support.boxes import boxed, needs_box
from support.egress import answering
from support.tasks import soon, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from runtime.executor.conftest import Lab

    UntilGone = Callable[[int], Coroutine[None, None, None]]

pytestmark = pytest.mark.asyncio

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
SERVER = """
import asyncio, json, sys
from pathlib import Path
from watchglass.runtime.egress import Gateway, SystemResolver, WorkerEgress
from watchglass.runtime.executor import LaunchPlan, SandboxLaunch, open_executor
async def main(plan, box, allowed):
    plan["directory"] = Path(plan["directory"])
    box["namespaces"] = frozenset(box["namespaces"])
    async with open_executor(log_path=plan["directory"] / "spawnd.log") as executor:
        said = asyncio.Event()
        process = await executor.launch(LaunchPlan(sandbox=SandboxLaunch(**box), **plan), said.set)
        egress = WorkerEgress(process.take_egress(), allowed, Gateway(SystemResolver()), on_news=lambda: None)
        process.write_input(sys.stdin.buffer.read())
        while True:
            for chunk in process.read_output(4000):
                print(json.dumps(chunk.data.decode()), flush=True)
            said.clear()
            await said.wait()
asyncio.run(main(*json.loads(sys.argv[1])))
"""


class Watched:
    """Somebody else's server, with one worker."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def says_line(self) -> str:
        """The worker's next whole line, in however many pieces it comes."""
        assert self.process.stdout is not None
        line = ""
        while not line.endswith("\n"):
            line += json.loads(await soon(self.process.stdout.readline()))
        return line

    async def kill(self) -> None:
        self.process.kill()
        await self.process.communicate()


async def watched(plan: LaunchPlan, allowed: list[str], said: str) -> Watched:
    fields: dict[str, Any] = {
        name: getattr(plan, name) for name in ("argv", "cwd", "cookie", "uid", "seccomp")
    }
    fields |= {"env": dict(plan.env), "directory": str(plan.directory), "outlives_server": True}
    assert plan.sandbox is not None
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVER,
        json.dumps([fields, plan.sandbox.encode(), allowed]),
        stdin=pipe,
        stdout=pipe,
    )
    assert process.stdin is not None
    process.stdin.write(said.encode())
    process.stdin.close()
    return Watched(process)


def box(lab: Lab, *allowed: str, **more: Any) -> LaunchPlan:
    return boxed(lab.plan("", **more), *allowed)


@needs_box
async def test_it_is_there_with_the_start_and_taken_once(lab: Lab) -> None:
    subject = await lab.launch(box(lab))
    listener = subject.process.take_egress()
    assert listener is not None
    assert listener.getsockname() == ("127.0.0.1", 3128)
    assert subject.process.take_egress() is None
    subject.process.write_input(b"GET any.example:80\n")
    loop = asyncio.get_running_loop()
    accepted, _ = await soon(loop.sock_accept(listener))
    assert (await soon(loop.sock_recv(accepted, 1000))).startswith(b"GET http://any.example:80/ HTTP/1.1\r\n")
    await loop.sock_sendall(accepted, HELLO)
    accepted.close()
    assert await subject.until_says(b"\n") == b"200 hello\n"
    listener.close()
    subject.process.kill()
    await subject.exit()


@needs_box
async def test_one_that_nobody_takes_is_closed_with_the_worker(lab: Lab) -> None:
    subject = await lab.launch(box(lab))  # The lab sees that no descriptor is left.
    subject.process.close_stdin()
    assert (await subject.exit()).code == 0
    assert subject.process.take_egress() is None


@needs_box
async def test_a_worker_without_one_has_none(lab: Lab) -> None:
    plan = box(lab)
    assert plan.sandbox is not None
    subject = await lab.launch(replace(plan, sandbox=replace(plan.sandbox, egress=False)))
    assert subject.process.take_egress() is None
    subject.process.write_input(b"CONNECT any.example:80\n")
    assert await subject.until_says(b"\n") == b"ECONNREFUSED\n"
    subject.process.kill()
    await subject.exit()


@needs_box
async def test_it_is_no_descriptor_of_the_worker(lab: Lab) -> None:
    plan = boxed(lab.plan(""), argv=("/bin/sh", "-c", "ls /proc/$$/fd; true"))
    assert await (await lab.launch(plan)).says() == b"0\n1\n2\n"


async def test_a_network_shared_with_the_host_has_no_one_way_out() -> None:
    with pytest.raises(ValueError, match="network namespace"):
        SandboxLaunch(bwrap="bwrap", namespaces=frozenset({"mount", "pid"}), egress=True)


@needs_box
async def test_a_sandbox_that_cannot_be_set_up_is_still_told_in_bubblewraps_words(
    lab: Lab, tmp_path: Path
) -> None:
    (tmp_path / "bare").mkdir(mode=0o755)
    plan = box(lab)
    assert plan.sandbox is not None
    with pytest.raises(Exception, match="bwrap: Can't mkdir /"):
        await lab.launch(replace(plan, sandbox=replace(plan.sandbox, rootfs=str(tmp_path / "bare"))))


@needs_box
async def test_after_a_kill_of_its_server_it_reaches_the_place_through_the_next_one(
    lab: Lab, until_gone: UntilGone
) -> None:
    async with answering(HELLO) as place:
        plan = box(lab, place.place)
        ask = f"GET {place.place}\n"
        server = await watched(plan, [place.place], f"{ask}wait go\n{ask}")
        assert await server.says_line() == "200 hello\n"
        await server.kill()
        (plan.directory / "workspace" / "go").touch()  # It asks while nobody serves, and waits in the queue.
        subject = await lab.adopt(plan, {"stdout": b"200 hello\n", "stderr": b""})
        listener = subject.process.take_egress()
        assert listener is not None
        egress = WorkerEgress(listener, [place.place], Gateway(SystemResolver()), on_news=lambda: None)
        await subject.until_says(b"found\n200 hello\n")
        subject.process.write_input(f"{ask}GET other.example:80\n".encode())
        await subject.until_says(b"other.example:80: not_allowed\n")
        assert subject.output["stdout"].startswith(b"200 hello\nfound\n200 hello\n200 hello\n403 ")
        subject.process.kill()
        await subject.exit()
        told = await egress.close()
        assert [event.name for event in told] == ["egress_denied", "egress_usage"]
        assert await egress.close() == ()


@needs_box
async def test_every_server_gets_its_own_before_anything_else(
    lab: Lab, make_lab: type[Lab], tmp_path: Path
) -> None:
    (tmp_path / "former").mkdir()
    async with open_executor() as first:
        former = make_lab(first, tmp_path / "former")
        plan = boxed(former.plan("", outlives_server=True))
        (await former.launch(plan)).process.close()
        await first.close(keep_outliving=True)
    async with open_executor() as second:
        process = (await make_lab(second, tmp_path / "second").adopt(plan)).process
        process.close()
        assert process.take_egress() is None  # Its reader has left it.
        await second.close(keep_outliving=True)
    adopted = await lab.adopt(plan)
    listener = adopted.process.take_egress()
    assert listener is not None
    assert listener.getsockname() == ("127.0.0.1", 3128)
    listener.close()
    adopted.process.kill()
    await adopted.exit()


async def test_a_descriptor_arrives_with_its_frame_whatever_is_before_and_behind_it() -> None:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sender = channel.Channel(theirs)
    blob = bytes(300_000)
    null = os.open(os.devnull, os.O_RDONLY)
    sender.send(wire.EXIT, blob)
    assert sender.wants_write
    sender.send_file(wire.EGRESS, null)
    sender.send(wire.STATE, b"{}")
    frames: list[tuple[int, int]] = []
    came: list[str] = []

    def on_frame(kind: int, body: bytes) -> None:
        frames.append((kind, len(body)))
        if kind == wire.EGRESS:
            came.append(str(Path(f"/proc/self/fd/{receiver.files[0]}").readlink()))

    receiver = Channel(ours)
    receiver.attach(on_frame, lambda: None)

    def moved() -> bool:
        sender.flush()
        return len(frames) == 3

    await until(moved)
    assert frames == [(wire.EXIT, len(blob)), (wire.EGRESS, 0), (wire.STATE, 2)]
    assert came == [os.devnull]
    left = receiver.files[0]
    receiver.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(left)
    sender.close()
    os.close(null)
