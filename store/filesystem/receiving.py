"""Makes a worker that ended elsewhere into a worker's folder, before anybody can see it.

    <runtime>/incoming-…/files/      raw output, workspace; then, from here:
        events/…  view.json  worker.json
    ─▶ all of it on the disk ─▶ workers/<worker_id>/     one rename, and the name on the disk

A kill before the rename leaves what the next start removes; after it, all is there.
Plain file operations, for a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from watchglass.protocol.cursor import Seq
from watchglass.store.base import READ_BYTES_MAX, READ_RECORDS_MAX, Record, Retention
from watchglass.store.numbering import Numbering

from .files import Files
from .ground import SEGMENTS_KEPT, Ground
from .layout import EVENTS
from .loading import LogFacts, LogState, Salvage
from .log import FileLog
from .records import Kept, complete_log, write_record, write_view


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiving:
    """One worker's arrival."""

    files: Files
    numbering: Numbering
    retention: Retention
    salvage: Salvage
    kept: Kept
    trimmed_through: Seq
    view: bytes | None
    is_synced: bool

    def make(self, folder: str, records: Iterable[Record]) -> tuple[Kept, LogFacts]:
        """Complete the folder; the record as it is kept, and what is known of its log.

        Raises:
            OSError, StoreIo: The disk refused something, or the records could not be read.
        """
        log = self._log(folder)
        try:
            for batch in _batches(records, self.retention):
                log.restore(batch, None)
            kept = self.kept._replace(log=complete_log(log))
            facts = log.facts()
        finally:
            log.rest(finally_=True)
        if self.view is not None:
            write_view(self.files, folder, self.view)
        write_record(self.files, folder, kept.encoded())
        if self.is_synced:
            self.files.sync_disk(folder)
        return kept, facts

    def _log(self, folder: str) -> FileLog:
        """A log that nobody else knows, on a ground of its own: what it owes is nobody's concern."""
        directory = f"{folder}/{EVENTS}"
        self.files.make_directory(directory)
        ground = Ground(self.files, self.numbering, self.retention, self.salvage, folder)
        begin = LogState(head=self.trimmed_through, trimmed_through=self.trimmed_through)
        return FileLog(ground, self.kept.record.worker_id, directory, begin)


def _batches(records: Iterable[Record], retention: Retention) -> Iterator[list[Record]]:
    """Appends that are read at once, and of which a segment holds some: retention drops whole segments."""
    records_max = max(1, min(READ_RECORDS_MAX, retention.max_events // SEGMENTS_KEPT))
    bytes_max = min(READ_BYTES_MAX, retention.max_bytes // SEGMENTS_KEPT)
    batch: list[Record] = []
    size_bytes = 0
    for record in records:
        size_bytes += len(record.line)
        if batch and (len(batch) == records_max or size_bytes > bytes_max):
            yield batch
            batch, size_bytes = [], len(record.line)
        batch.append(record)
    if batch:
        yield batch
