"""The faults of the store."""

from __future__ import annotations

from .base import RuntimeFault, printable


class StoreFault(RuntimeFault):
    """Base of the faults of the store."""

    def __init__(self, operation: str, path: str, reason: str) -> None:
        self.operation = operation
        self.path = printable(path)
        self.reason = printable(reason)
        super().__init__(f"{operation} {self.path}: {self.reason}")


class StoreIo(StoreFault):
    """The operating system refused to read or write."""

    code = "store_io"


class StoreMissing(StoreFault):
    """Something that the store wrote is not there."""

    code = "store_missing"


class StoreCorrupt(StoreFault):
    """Something that the store wrote cannot be read back."""

    code = "store_corrupt"
