"""The commands that follow a worker: attach, events, logs."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from watchglass.protocol.cursor import encode_cursor

from . import options
from .all_events import print_as_it_comes, print_until_now, shown_as
from .copying import Copier, LogCopy
from .faults import UsageFault
from .following import ended_code, following, leaving_on_interrupt
from .reaching import client_for, found
from .showing import is_terminal, note, one_line, short, write_bytes, write_json_line, write_line

if TYPE_CHECKING:
    from watchglass.client.follower import Follower
    from watchglass.protocol.said import Joined, Told

Json = dict[str, Any]

CONTEXT_ENTRIES = 5

CursorOption = Annotated[
    str | None,
    typer.Option(
        "--cursor",
        metavar="CURSOR",
        help="Begin after this event; or 'earliest', or 'latest'.",
        show_default=False,
    ),
]
RetryFor = Annotated[
    float | None,
    typer.Option(
        "--retry-for",
        metavar="SECONDS",
        min=0,
        help="How long to try to come back after a lost connection.  [default: 60]",
        show_default=False,
    ),
]


def attach(
    worker: options.Worker,
    cursor: CursorOption = None,
    retry_for: RetryFor = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJsonLines = False,
) -> None:
    """Watch a worker live, until it ends; Ctrl-C leaves it running.

    Shows the newest of what was said before, then everything as it comes. A lost connection is taken up
    again where it was cut: nothing is missed and nothing shown twice. Exits with 0 when the worker succeeded
    or was stopped, with 1 when it failed, was cancelled or lost.
    """
    screen: Screen = JsonScreen() if as_json else TextScreen(worker, context=cursor is None)
    with following(found(url, token_file, runtime), worker, cursor, retry_for) as follower:
        phase = _show_all(follower, screen)
        detached = not follower.ended
        last = follower.cursor
    screen.close()
    if detached:
        after = "" if last is None else f" --cursor {last}"
        note(f"detached; {worker} goes on. Come back with: watchglass attach {worker}{after}")
        return
    code = ended_code(phase)
    if not as_json:
        note(f"{worker} has ended ({phase})")
    raise typer.Exit(code)


def events(
    worker: Annotated[
        str | None,
        typer.Argument(
            metavar="[WORKER]", help="The worker's id; without it, everybody.", show_default=False
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the worker ends; of everybody, until Ctrl-C.")
    ] = False,
    workers: Annotated[
        str | None,
        typer.Option(
            "--workers",
            metavar="IDS",
            help="Whose events, beside the runtime's own: ids with commas between, or '*'.  [default: *]",
            show_default=False,
        ),
    ] = None,
    types: Annotated[
        str | None,
        typer.Option(
            "--types",
            metavar="NAMES",
            help="Only events of these names, with commas between them.",
            show_default=False,
        ),
    ] = None,
    cursor: Annotated[
        str | None,
        typer.Option(
            "--cursor",
            "--after",
            metavar="CURSOR",
            help="Begin after this event; or 'earliest', or 'latest'.",
            show_default=False,
        ),
    ] = None,
    retry_for: RetryFor = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJsonLines = False,
) -> None:
    """Print a worker's journal, or everybody's: one event a line, from the earliest that is kept up to now.

    Without a worker, the events of all workers and the runtime's own come in one order; a cursor
    of any of them is a place to go on from.
    """
    names = [] if types is None else types.split(",")
    if worker is None:
        place, show = found(url, token_file, runtime), shown_as(as_json=as_json)
        chosen, begin = "*" if workers is None else workers, cursor or "earliest"
        if follow:
            print_as_it_comes(place, chosen, begin, names, retry_for, show)
        else:
            print_until_now(place, chosen, begin, names, show)
        return
    if workers is not None or types is not None:
        raise UsageFault("--workers and --types are for everybody's events: leave out WORKER")
    with following(found(url, token_file, runtime), worker, cursor or "earliest", retry_for) as follower:
        with leaving_on_interrupt(follower):
            for said in _until_now(follower) if not follow else follower:
                if said.kind == "told":
                    _print_event(said, as_json=as_json)
        if follow and not follower.ended:
            note(f"left; go on with: watchglass events -f {worker} --cursor {follower.cursor}")


def logs(
    worker: options.Worker,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the worker ends.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="Its stderr, in place of its stdout.")] = False,
    offset: Annotated[int, typer.Option("--offset", metavar="BYTES", min=0, help="Leave out so much.")] = 0,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="BYTES", min=0, help="At most so much.", show_default=False),
    ] = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJsonLines = False,
) -> None:
    """Print what a worker wrote, byte for byte."""
    if follow and limit is not None:
        raise UsageFault("--follow and --limit: give one of them")
    stream = "stderr" if stderr else "stdout"
    place = found(url, token_file, runtime)
    chunks = JsonChunks(stream, offset)
    copy = LogCopy(
        worker,
        stream,
        chunks.write if as_json else lambda data: write_bytes(sys.stdout, data),
        offset=offset,
        limit=limit,
    )
    with client_for(place) as client:
        copy.copy(client)  # Also tells at once what is wrong with the worker or the offset.
    if not follow:
        return
    with following(place, worker, "latest") as follower, leaving_on_interrupt(follower):
        copier = Copier(place, {stream: copy}, follower.leave)
        for _ in follower:
            copier.wake()
        copier.finish()


class Screen(Protocol):
    """Where `attach` shows what it sees."""

    def join(self, joined: Joined) -> None:
        """A connection begins."""

    def tell(self, told: Told) -> None:
        """An event, once."""

    def close(self) -> None:
        """Nothing more is shown."""


class JsonScreen:
    """Envelopes, one a line."""

    def join(self, joined: Joined) -> None:
        """Nothing: a snapshot is no event."""

    def tell(self, told: Told) -> None:
        """The envelope."""
        write_json_line(told.envelope)

    def close(self) -> None:
        """Nothing."""


class TextScreen:
    """What a worker says, as it says it; what it does, one line each.

    Text goes to stdout as it is, a worker's stderr to stderr; lines of our own
    begin on a line of their own.
    """

    def __init__(self, worker: str, *, context: bool) -> None:
        self._worker = worker
        self._context = context
        self._connections = 0
        self._at_line_start = True
        self._deltas_shown = False

    def join(self, joined: Joined) -> None:
        """Say where we are; at the first connection, what was said before."""
        self._connections += 1
        if self._connections > 1:
            self._begin_line()
            note("connection lost and taken up again where it was cut")
            return
        said = joined.data
        note(f"attached to {self._worker} ({said.get('phase', said['status'])}); Ctrl-C detaches")
        # A text of speech `text` always comes in deltas, so its end brings nothing new.
        self._deltas_shown = (said.get("greeting") or {}).get("speech") == "text"
        if self._context:
            for entry in said.get("entries", [])[-CONTEXT_ENTRIES:]:
                self._said(_MARKS.get(entry["role"], entry["role"]), entry["content"])
            open_text = (said.get("in_flight") or {}).get("text", "")
            self._deltas_shown = self._deltas_shown or bool(open_text)
            self._text(open_text)

    def tell(self, told: Told) -> None:
        """Show an event in its own way."""
        name, data = told.name, told.data
        if name in {"text_delta", "thinking_delta"}:
            self._deltas_shown = True
            self._text(data["text"])
        elif name in {"text_done", "thinking_done"}:
            self._text("" if self._deltas_shown else data["text"])
            self._deltas_shown = False
            self._begin_line()
        elif name == "output":
            self._output(data)
        elif name in {"user_message", "system_item"}:
            self._said(_MARKS["user" if name == "user_message" else "system"], input_text(data))
        elif name == "execution_plan":
            for reason in data["fallback_reasons"]:
                self._line(f"[not given] {one_line(reason)}")
        elif name != "end":
            self._line(f"[{name}] {short(data)}")

    def close(self) -> None:
        """End the line."""
        self._begin_line()

    def _output(self, data: Json) -> None:
        if data["stream"] == "stdout":
            self._text(data["text"])
            return
        sys.stdout.flush()
        sys.stderr.write(data["text"])
        sys.stderr.flush()

    def _text(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._at_line_start = text.endswith("\n")

    def _said(self, mark: str, content: str) -> None:
        for line in content.splitlines() or [""]:
            self._line(f"{mark} {one_line(line)}")

    def _line(self, text: str) -> None:
        self._begin_line()
        write_line(f"\x1b[2m{text}\x1b[0m" if _in_colour() else text)

    def _begin_line(self) -> None:
        if not self._at_line_start:
            write_line("")
            self._at_line_start = True


_NOTHING = encode_cursor(0)
_MARKS = {"user": ">", "system": "#", "assistant": "<", "tool": "*"}


class JsonChunks:
    """Pieces of a log as JSON: `text` for what is UTF-8, else `base64`."""

    def __init__(self, stream: str, offset: int) -> None:
        self._stream = stream
        self._offset = offset

    def write(self, data: bytes) -> None:
        """One piece, one line."""
        piece: Json = {"stream": self._stream, "offset": self._offset, "length": len(data)}
        try:
            piece["text"] = data.decode()
        except UnicodeDecodeError:
            piece["base64"] = base64.b64encode(data).decode()
        write_json_line(piece)
        self._offset += len(data)


def input_text(data: Json) -> str:
    """The text of a `user_message` or a `system_item`."""
    if "segments" in data:
        return "".join(segment.get("content") or "" for segment in data["segments"])
    item = data.get("item")
    content = item.get("content") if isinstance(item, dict) else item
    return content if isinstance(content, str) else json.dumps(item)


def _show_all(follower: Follower, screen: Screen) -> str | None:
    """Show everything until the end, or until the reader leaves; the last phase that was told."""
    phase: str | None = None
    with leaving_on_interrupt(follower):
        for said in follower:
            if said.kind == "told":
                screen.tell(said)
                if said.name == "status":
                    phase = said.data.get("phase", said.data["status"])
            else:
                screen.join(said)
                phase = said.data.get("phase", said.data["status"])
    return phase


def _until_now(follower: Follower) -> Iterator[Joined | Told]:
    """The frames up to the worker's head at the moment of the first join."""
    head = ""
    for said in follower:
        yield said
        head = head or said.data.get("as_of", said.cursor)
        position = _NOTHING if follower.cursor in {None, "earliest"} else follower.cursor
        assert position is not None
        if position >= head:  # Cursors sort as text as they do as numbers.
            return


def _print_event(told: Told, *, as_json: bool) -> None:
    if as_json:
        write_json_line(told.envelope)
        return
    time = told.envelope.get("ts") or ""
    write_line(f"{time}  {told.cursor}  {one_line(told.name):<14}  {short(told.data)}")


def _in_colour() -> bool:
    return is_terminal() and not os.environ.get("NO_COLOR")
