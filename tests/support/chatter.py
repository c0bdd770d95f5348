"""Workers that never stop talking (`fixtures/workers/chatty.py`), and what a reader of them must have heard.

`Heard` is a check of its own beside `Following` of the package: it knows what
such a worker says, so it sees a gap or a repetition in the words themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .programs import program

Json = dict[str, Any]

SPEAKS_ONCE = frozenset(
    {
        "text_delta",
        "text_done",
        "output",
        "heard",
        "user_message",
        "status",
        "execution_plan",
        "reserved",
        "released",
        "exit",
        "end",
    }
)


@dataclass(frozen=True, slots=True)
class Chatterer:
    """How one of them is started, and what its driver sent it."""

    name: str
    speech: Literal["text", "jsonl"]
    stderr: bool
    period_ms: int
    attempted: list[str] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Each content that was answered with an ack, in order, and the cursor of that ack."""

    def argv(self) -> list[str]:
        """Its command line."""
        extra = [
            word for word, wanted in [("jsonl", self.speech == "jsonl"), ("stderr", self.stderr)] if wanted
        ]
        return program("chatty", self.name, self.period_ms, *extra)


class Heard:
    """What one observer got of one chatty worker, over any number of connections.

    Every envelope of the log goes in once, in order; an assertion says what is
    wrong with it. Then `complete` says whether all of it was there.
    """

    def __init__(self, name: str, speech: str) -> None:
        self.name = name
        self._speech = speech
        self._cursor = ""
        self._open = ""
        self._line = ""
        self._said: list[str] = []
        self._complaints: list[str] = []
        self._complained_chars = 0
        self._digest = hashlib.sha256()
        self.events = 0
        self.counted = 0
        self.accepted: dict[str, str] = {}
        """Each content of a `user_message`, and its cursor."""
        self.repeated: list[str] = []
        """Each content that the worker said it heard."""
        self.exit: Json | None = None
        self.ended = False

    @property
    def digest(self) -> str:
        """Of every envelope, byte for byte."""
        return self._digest.hexdigest()

    @property
    def stdout(self) -> str:
        """All text that it spoke."""
        return "".join(self._said)

    @property
    def stderr(self) -> str:
        """All that it said on stderr."""
        return "".join(self._complaints)

    def take(self, envelope: Json, line: bytes) -> None:
        """The next envelope, and its bytes."""
        assert envelope["worker_id"] == self.name, f"{self.name} was told of another worker: {envelope}"
        assert envelope["cursor"] > self._cursor, f"{envelope} came after {self._cursor}"
        assert not self.ended, f"{envelope} came after the end"
        self._cursor = envelope["cursor"]
        self._digest.update(line)
        self.events += 1
        name, data = envelope["payload"]["event"], envelope["payload"]["data"]
        assert name in SPEAKS_ONCE, envelope
        if name == "text_delta":
            self._open += data["text"]
            self._stdout(data["text"])
        elif name == "text_done":
            assert data["text"] == self._open, f"{self.name}: {data['text']!r} closes {self._open!r}"
            self._open = ""
        elif name == "output":
            self._output(data)
        elif name == "heard":
            self._repeat(data["number"], data["content"])
        elif name == "user_message":
            self._accept(data["segments"][0]["content"], envelope["cursor"])
        elif name == "exit":
            self.exit = data
        elif name == "end":
            self.ended = True

    def complete(self) -> None:
        """Nothing was left in the middle, and every input in the journal reached the process, once."""
        assert self.ended
        assert (self._open, self._line) == ("", "")
        assert self.repeated == list(self.accepted), self.name
        complaints = self.stderr.splitlines()
        assert complaints == [f"{self.name} {number}" for number in range(len(complaints))]

    def _accept(self, content: str, cursor: str) -> None:
        assert content not in self.accepted, f"{content!r} is in the journal twice"
        assert self._speech == "jsonl" or self._open == "", "an input closes what was said before it"
        self.accepted[content] = cursor

    def _stdout(self, text: str) -> None:
        self._said.append(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            name, _, said = line.partition(" ")
            assert name == self.name, f"{self.name} was told {line!r}"
            if said.startswith("heard "):
                _, number, content = said.split(" ", 2)
                self._repeat(int(number), content)
            else:
                assert int(said) == self.counted, f"{self.name} was at {self.counted}, then came {said}"
                self.counted += 1

    def _repeat(self, number: int, content: str) -> None:
        assert number == len(self.repeated) + 1, f"{self.name}: {content!r} as number {number}"
        assert content not in self.repeated[-100:], f"{content!r} was heard twice"
        self.repeated.append(content)

    def _output(self, data: Json) -> None:
        assert data["stream"] == "stderr", f"{self.name} spoke properly: {data}"
        assert data["offset"] == self._complained_chars, (
            f"{self.name} was at {self._complained_chars}: {data}"
        )
        self._complaints.append(data["text"])
        self._complained_chars += len(data["text"])


def chatterers(count: int, *, period_ms: int) -> list[Chatterer]:
    """Half of them speak text, half jsonl; every third one speaks on stderr too."""
    return [
        Chatterer(f"w{number:02d}", "text" if number % 2 == 0 else "jsonl", number % 3 == 0, period_ms)
        for number in range(count)
    ]


def acknowledged_in_order(chatterer: Chatterer, heard: Heard) -> None:
    """Each acknowledged input was heard exactly once, in order; others at most once, and only those sent."""
    assert len(set(heard.repeated)) == len(heard.repeated), chatterer.name
    kept = set(chatterer.acknowledged)
    assert [content for content in heard.repeated if content in kept] == list(chatterer.acknowledged)
    assert _is_subsequence(heard.repeated, chatterer.attempted), chatterer.name
    for content, cursor in chatterer.acknowledged.items():
        assert heard.accepted[content] == cursor, "an ack names the event of its input"


def _is_subsequence(some: Sequence[str], of_all: Sequence[str]) -> bool:
    rest = iter(of_all)
    return all(word in rest for word in some)
