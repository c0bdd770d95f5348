"""From what was asked to what is given: the execution plan of a worker."""

from .resolving import resolve
from .verifying import Shortfall, shortfalls

__all__ = ["Shortfall", "resolve", "shortfalls"]
