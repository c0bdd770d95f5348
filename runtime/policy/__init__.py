"""From what was asked to what is given: the execution plan of a worker."""

from .resolving import resolve

__all__ = ["resolve"]
