"""Workers that leave as an archive, and come back from one.

    export    an ended worker ─▶ bytes, while they are taken
    import    bytes ─▶ a folder that nobody looks at ─▶ all of it is there and checked
              ─▶ one step of the store ─▶ the catalog

An archive that is refused, a caller that leaves and a kill keep nothing.
`archive/` has the format.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from watchglass import __version__
from watchglass.protocol.errors import StoreIo, WorkerActive
from watchglass.protocol.identity import RuntimeId, WorkerId
from watchglass.store.base import Store
from watchglass.store.incoming import make_incoming, remove_tree
from watchglass.store.numbering import rfc3339
from watchglass.store.worker_record import WorkerEnd, WorkerRecord

from .announcements import Announcements
from .archive.intake import Arrived, Intake
from .archive.members import FormatNote, LeftOut
from .archive.outgoing import Outgoing
from .archive.threads import in_thread, over
from .catalog import Catalog, Entry
from .changes import Changes
from .worker import Worker

IMPORTS_AT_ONCE: Final = 4
"""More of them wait, and their senders with them."""
PIECE_BYTES: Final = 256 << 10
