"""What a repair does: each function is one fix, and safe against a kill at any point of it.

Nothing is written over that was not copied aside before (`aside.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import orjson

import watchglass
from watchglass.protocol.cursor import Seq
from watchglass.protocol.events import Event
from watchglass.protocol.frames import encode_envelope
from watchglass.store.base import StreamOffsets
from watchglass.store.numbering import rfc3339

from .aside import Aside
from .ceiling import AHEAD_US
from .examining import Append, Bad, Beginning, SegmentExam, parts
from .layout import SCHEMA
from .records import RECORD_FILE, Kept, write_record
from .seal import sealed, sealed_json
from .segment import Opening, commit_line, opening_line

_CHUNK_BYTES = 1 << 20


class Alert(NamedTuple):
    """What stands in the place of lost events. `bad` None: a whole file of them is gone."""

    seq: Seq
    offsets: StreamOffsets | None
    bad: Bad | None


def alert_line(aside: Aside, seq: Seq, name: str, message: str) -> bytes:
    """The envelope of an alert."""
    facts = {
        "level": "error",
        "source": "store",
        "message": message,
        "timestamp_ms": aside.now_us // 1000,
    }
    return encode_envelope(seq, name, rfc3339(aside.now_us), Event("alert", facts))


def insert_segment(path: str, name: str, opening: Opening, alert: Alert, aside: Aside) -> None:
    """A segment of its own for an alert."""
    begin, crc = sealed(opening_line(opening))
    aside.write(path, [begin, _sealed_alert(alert, name, path, aside, crc)[0]])


def rewrite_segment(
    segment: SegmentExam,
    fresh: str,
    name: str,
    opening: Opening,
    alerts: Mapping[int, Alert],
    aside: Aside,
) -> None:
    """Write what is good of a segment, and its alerts, under the name of its first event."""
    aside.write(fresh, _pieces(segment, name, opening, alerts, aside))
    if fresh != segment.path:
        aside.move(segment.path)


def _pieces(
    segment: SegmentExam, name: str, opening: Opening, alerts: Mapping[int, Alert], aside: Aside
) -> Iterator[bytes]:
    """The bytes of a segment written anew."""
    piece, crc = sealed(opening_line(opening))
    chunk = bytearray(piece)
    for part in parts(aside.files, segment.path, name, segment.after):
        if isinstance(part, Beginning):
            continue
        if isinstance(part, Append):
            body = b"%b\n%b" % (b"\n".join(part.lines), commit_line(part.offsets))
            piece, crc = sealed(body, crc)
        elif part.begin in alerts:
            piece, crc = _sealed_alert(alerts[part.begin], name, segment.path, aside, crc)
        else:
            continue
        chunk += piece
        if len(chunk) >= _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


def _sealed_alert(alert: Alert, name: str, path: str, aside: Aside, crc: int) -> tuple[bytes, int]:
    bad = alert.bad
    if bad is None:
        folder = aside.shown(path.rpartition("/")[0])
        message = f"events before this place are gone: their file in {folder} is missing"
    else:
        message = (
            f"{bad.end - bad.begin} bytes at offset {bad.begin} of {aside.shown(path)} were unreadable "
            f"and were moved to {aside.shown(aside.place_of(path))}"
        )
    line = alert_line(aside, alert.seq, name, message)
    return sealed(b"%b\n%b" % (line, commit_line(alert.offsets)), crc)


def move(path: str, aside: Aside) -> None:
    """Take a file or a folder away."""
    aside.move(path)


def make_directory(path: str, aside: Aside) -> None:
    """Make a folder that is missing."""
    aside.files.make_directory(path)
    aside.files.sync_directory(path.rpartition("/")[0])


def restore_record(directory: str, kept: Kept, aside: Aside, *, is_there: bool) -> None:
    """Write a worker's record; one that is there is kept aside."""
    path = f"{directory}/{RECORD_FILE}"
    if is_there:
        aside.copy(path)
    write_record(aside.files, directory, kept.encoded())
    aside.files.sync_file(path)
    aside.files.sync_directory(directory)


def forget_log(directory: str, kept: Kept, aside: Aside) -> None:
    """What the record said of its complete log is no longer so; the next start looks for itself."""
    restore_record(directory, kept._replace(log=None), aside, is_there=True)


def write_runtime_json(path: str, runtime_id: str, aside: Aside) -> None:
    """Say again which runtime this is."""
    facts = {
        "schema": SCHEMA,
        "runtime_id": runtime_id,
        "created_at": rfc3339(aside.now_us),
        "version": watchglass.__version__,
    }
    aside.write(path, [orjson.dumps(facts) + b"\n"])


def write_ceiling(path: str, newest: Seq, aside: Aside) -> None:
    """Keep a ceiling above everything that is there."""
    below = max(newest, aside.now_us) + AHEAD_US + 1
    aside.write(path, [sealed_json({"below": f"{below:016x}"})])
