"""`export` and `import`: one ended worker as a tar, to a file or a pipe and back."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, Final

import typer

from . import options
from .faults import CliError, UsageFault
from .reaching import path_of, reaching
from .showing import note, one_line, write_document, write_line

PIECE_BYTES: Final = 256 << 10
_SHOWN_EVERY_S: Final = 0.2
_MIB: Final = 1 << 20


def export_worker(
    worker: options.Worker,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write it; it appears when it is whole. Else stdout.",
        ),
    ] = None,
    *,
    where: options.Where,
    as_json: options.AsJson = False,
) -> None:
    """Write an ended worker as a tar: all that there is of it, with checksums.

    Its record, its journal, its raw output, its workspace; 'tar' and 'sha256sum -c SHA256SUMS' read it, too.
    A worker that still runs is refused: stop it first.
    """
    if output is None and as_json:
        raise UsageFault("--json: the archive itself goes to stdout; name a file with --output")
    if output is None and sys.stdout.isatty():
        raise UsageFault("an archive is nothing for a terminal; redirect it, or name a file with --output")
    with reaching(where) as client, _destination(output) as file:
        size_bytes = 0
        for piece in _with_progress(client.download(path_of(worker, "export"))):
            file.write(piece)
            size_bytes += len(piece)
    if as_json:
        write_document({"worker_id": worker, "file": str(output), "size_bytes": size_bytes})


def import_worker(
    source: Annotated[
        str, typer.Argument(metavar="FILE|-", help="What 'export' wrote; '-' for stdin.", show_default=False)
    ],
    *,
    where: options.Where,
    as_json: options.AsJson = False,
) -> None:
    """Bring back a worker that was exported, and print its id.

    It is there as it was: its events have their cursors, its logs and files their bytes. An archive that is
    not what 'export' wrote is refused whole, and nothing of it is kept.
    """
    with _source(source) as file, reaching(where) as client:
        size_bytes = _size_bytes(file)
        pieces = _with_progress(_pieces(file), size_bytes)
        answer = client.upload("/v1/workers/import", pieces, size_bytes)
    if as_json:
        write_document(answer)
        return
    write_line(answer["worker"]["worker_id"])
    _note_left_out(answer)


def _note_left_out(answer: dict[str, Any]) -> None:
    first = answer["left_out"]
    for left_out in first:
        note(f"left out: {left_out['name']}: {left_out['reason']}")
    if answer["left_out_count"] > len(first):
        note(f"left out: {answer['left_out_count'] - len(first)} more")


def _opened(partial: Path, output: Path) -> IO[bytes]:
    """Raises CliError, which names what was given, and not the file beside it."""
    try:
        return partial.open("wb")
    except OSError as fault:
        raise CliError(f"--output {output}: {fault.strerror or fault}") from None


@contextmanager
def _destination(output: Path | None) -> Iterator[IO[bytes]]:
    """Where the archive goes; a file gets its name when it is complete."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = output.with_name(f"{output.name}.part")
    try:
        with _opened(partial, output) as file:
            yield file
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _source(source: str) -> Iterator[IO[bytes]]:
    if source != "-":
        with Path(source).open("rb") as file:
            yield file
    elif sys.stdin.isatty():
        raise UsageFault("stdin is a terminal; name a file, or redirect one into it")
    else:
        yield sys.stdin.buffer


def _size_bytes(file: IO[bytes]) -> int | None:
    """How much will come; None for a pipe."""
    said = os.fstat(file.fileno())
    return said.st_size - file.tell() if stat.S_ISREG(said.st_mode) else None


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece


def _with_progress(pieces: Iterable[bytes], whole_bytes: int | None = None) -> Iterator[bytes]:
    """The same; when stderr is a terminal it shows how far they are."""
    if not sys.stderr.isatty():
        yield from pieces
        return
    size_bytes, shown_s = 0, time.monotonic()
    of = "" if whole_bytes is None else f" of {whole_bytes / _MIB:.1f}"
    try:
        for piece in pieces:
            yield piece
            size_bytes += len(piece)
            if time.monotonic() - shown_s >= _SHOWN_EVERY_S:
                shown_s = time.monotonic()
                sys.stderr.write(f"\r{one_line(f'watchglass: {size_bytes / _MIB:.1f}{of} MiB')} ")
                sys.stderr.flush()
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
