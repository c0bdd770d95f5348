"""The faults of the store."""

from __future__ import annotations

from .base import RuntimeFault


class StoreFault(RuntimeFault):
    """Base of the faults of the store."""

    def __init__(self, operation: str, path: str, reason: str) -> None:
        super().__init__(f"{operation} {path}: {reason}")
        self.operation = operation
        self.path = path
        self.reason = reason


class StoreIo(StoreFault):
    """The operating system refused to read or write."""

    code = "store_io"


class StoreMissing(StoreFault):
    """Something that the store wrote is not there."""

    code = "store_missing"


class StoreCorrupt(StoreFault):
    """Something that the store wrote cannot be read back."""

    code = "store_corrupt"
