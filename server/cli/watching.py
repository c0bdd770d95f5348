"""The commands that follow a worker: attach, events, logs."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from watchglass.client.faults import ClientFault, Unreachable
from watchglass.protocol.cursor import encode_cursor

from . import options
from .all_events import Wish, print_as_it_comes, print_until_now
from .copying import Copier, LogCopy
from .faults import UsageFault
from .following import Leave, ended_code, following, leaving_on_interrupt
from .outage import Outage
from .reaching import client_for, found, path_of
from .screens import JsonScreen, Screen, TextScreen, facts_of, show_loss
from .showing import note, one_line, short, write_bytes, write_json_line, write_line

if TYPE_CHECKING:
    from watchglass.client.finding import Found
    from watchglass.client.follower import Follower
    from watchglass.protocol.said import Joined, Said, Told

Json = dict[str, Any]

CONTEXT_ENTRIES = 5

_PLACES = "Begin after this event; or 'earliest', 'latest', 'tail:N' (the newest N) or 'time:RFC3339'."
CursorOption = Annotated[
    str | None,
    typer.Option("--cursor", metavar="CURSOR", help=_PLACES, show_default=False),
]
CursorOrAfter = Annotated[
    str | None,
    typer.Option("--cursor", "--after", metavar="CURSOR", help=_PLACES, show_default=False),
]
OnExpired = Annotated[
    Literal["close", "snapshot"],
    typer.Option(
        "--on-expired",
        metavar="close|snapshot",
        help="When events after the cursor are gone: leave with exit code 7, or go on with what comes now.",
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
    on_expired: OnExpired = "close",
    retry_for: RetryFor = None,
    *,
    where: options.Where,
    as_json: options.AsJsonLines = False,
) -> None:
    """Watch a worker live, until it ends; Ctrl-C leaves it running.

    Shows the newest of what was said before, then everything as it comes. A lost connection is taken up
    again where it was cut: nothing is missed and nothing shown twice. Exits with 0 when the worker succeeded
    or was stopped, with 1 when it failed, was cancelled or lost.
    """
    place = found(where)
    before = _said_before(place, worker) if cursor is None else None
    screen: Screen = JsonScreen() if as_json else TextScreen(worker, before)
    outage = Outage(place, worker, before_note=screen.close)
    with (
        following(
            place, worker, cursor, retry_for, on_expired=on_expired, before_note=screen.close
        ) as follower,
        outage.watched(),
    ):
        phase = _show_all(follower, screen, outage)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events, and from where on."""

    workers: Annotated[
        str | None,
        typer.Option(
            "--workers",
            metavar="IDS",
            help="Whose events, beside the runtime's own: ids with commas between, or '*'.  [default: *]",
            show_default=False,
        ),
    ] = None
    types: Annotated[
        str | None,
        typer.Option(
            "--types",
            metavar="NAMES",
            help="Only events of these names, with commas between them.",
            show_default=False,
        ),
    ] = None
    cursor: CursorOrAfter = None
    on_expired: OnExpired = "close"
    retry_for: RetryFor = None

    @property
    def names(self) -> list[str]:
        """Of events; none: all of them."""
        return [] if self.types is None else self.types.split(",")

    @property
    def begin(self) -> str:
        """Where to begin."""
        return self.cursor or "earliest"


def events(
    worker: Annotated[
        str | None,
        typer.Argument(
            metavar="[WORKER]", help="The worker's id; without it, everybody.", show_default=False
        ),
    ] = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the worker ends; of everybody, until Ctrl-C.")
    ] = False,
    wanted: Wanted,
    where: options.Where,
    as_json: options.AsJsonLines = False,
) -> None:
    """Print a worker's journal, or everybody's: one event a line, from the earliest that is kept up to now.

    Without a worker, the events of all workers and the runtime's own come in one order; a cursor
    of any of them is a place to go on from.
    """
    place = found(where)
    if worker is not None:
        _print_of_one(place, worker, wanted, follow=follow, as_json=as_json)
        return
    whose = "*" if wanted.workers is None else wanted.workers
    wish = Wish(whose, wanted.names, wanted.begin, wanted.on_expired, as_json)
    if follow:
        print_as_it_comes(place, wish, wanted.retry_for)
    else:
        print_until_now(place, wish)


def _print_of_one(place: Found, worker: str, wanted: Wanted, *, follow: bool, as_json: bool) -> None:
    if wanted.workers is not None:
        raise UsageFault("--workers is for everybody's events: leave out WORKER")
    names = wanted.names
    # Up to now all is read, for an event that does not pass tells nobody how far this is.
    passing = names if follow else []
    with following(
        place, worker, wanted.begin, wanted.retry_for, types=passing, on_expired=wanted.on_expired
    ) as follower:
        with leaving_on_interrupt(follower):
            for said in _until_now(follower) if not follow else follower.everything():
                if said.kind != "told" or not names or said.name in names:
                    _print(said, as_json=as_json)
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
    *,
    where: options.Where,
    as_json: options.AsJsonLines = False,
) -> None:
    """Print what a worker wrote, byte for byte."""
    if follow and limit is not None:
        raise UsageFault("--follow and --limit: give one of them")
    stream = "stderr" if stderr else "stdout"
    place = found(where)
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
    with (
        following(place, worker, "latest", on_expired="snapshot") as follower,  # The bytes are in the log.
        leaving_on_interrupt(follower) as left,
    ):
        copier = Copier(place, {stream: copy}, follower.leave)
        for _ in follower:
            copier.wake()
        if not left.is_lost:  # Else nobody is there who would have the rest.
            _finish(copier, left)


def _finish(copier: Copier, left: Leave) -> None:
    from watchglass.client.journey import PATIENCE_S

    try:
        copier.finish(patience_s=0.0 if left.is_asked else PATIENCE_S)
    except Unreachable:
        if not left.is_asked:  # Who leaves need not be told that there is nobody.
            raise


_NOTHING = encode_cursor(0)


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


def _show_all(follower: Follower, screen: Screen, outage: Outage) -> str | None:
    """Show everything until the end, or until the reader leaves; the last phase that was told."""
    phase: str | None = None
    with leaving_on_interrupt(follower):
        for said in follower.everything():
            outage.heard()
            if said.kind == "told":
                screen.tell(said)
                if said.name == "status":
                    phase = said.data.get("phase", said.data["status"])
            elif said.kind == "joined":
                screen.join(said)
                phase = said.phase
            else:
                screen.reset(said)
    return phase


def _said_before(runtime: Found, worker: str) -> Callable[[Joined], list[Json]]:
    """Asks for the newest entries of a worker's transcript as of a join."""

    def ask(joined: Joined) -> list[Json]:
        if joined.version == 1:
            return list(joined.data.get("entries", []))[-CONTEXT_ENTRIES:]
        length = joined.data["transcript_len"]
        query = {"start": max(0, length - CONTEXT_ENTRIES), "limit": CONTEXT_ENTRIES}
        try:
            with client_for(runtime) as client:
                items = client.get(path_of(worker, "transcript"), query)["transcript"]["items"]
        except ClientFault as fault:
            note(f"what was said before cannot be shown: {fault}")
            return []
        return [entry for entry in items if entry["sequence"] <= length]  # Later ones come as events.

    return ask


def _until_now(follower: Follower) -> Iterator[Said]:
    """What is said up to the worker's head at the moment of the first join."""
    head = ""
    for said in follower.everything():
        yield said
        if said.kind == "joined":
            head = head or said.as_of
        position = _NOTHING if follower.cursor in {None, "earliest"} else follower.cursor
        assert position is not None
        if head and position >= head:  # Cursors sort as text as they do as numbers.
            return


def _print(said: Said, *, as_json: bool) -> None:
    if said.kind == "told":
        _print_event(said, as_json=as_json)
    elif said.kind == "reset":
        show_loss(facts_of(said), as_json=as_json)


def _print_event(told: Told, *, as_json: bool) -> None:
    if as_json:
        write_json_line(told.envelope)
        return
    time = told.envelope.get("ts") or ""
    write_line(f"{time}  {told.cursor}  {one_line(told.name):<14}  {short(told.data)}")
