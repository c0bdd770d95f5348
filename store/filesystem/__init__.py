"""The store in files: a runtime's journal and catalog, over any kill of its process.

`open_store.py` is the way in. From there: `store.py`, `log.py` and `log_reading.py`
(one log), `segments.py` (where it stands), `segment.py` and `wal.py` (the formats),
`settling.py` (what happens behind), `recovery.py` (what happens first).
"""

from .layout import runtime_directories as runtime_directories
from .open_store import open_filesystem_store as open_filesystem_store
from .store import FilesystemStore as FilesystemStore
