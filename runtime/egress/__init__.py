"""The one way out of a worker whose network is a proxy: to listed places, and to nothing else."""

from .environment import proxy_environment
from .gateway import CONNECTIONS_MAX, Gateway
from .proxy import EgressLimits, EgressProxy
from .resolving import Resolver, SystemResolver
from .worker_egress import WorkerEgress

__all__ = [
    "CONNECTIONS_MAX",
    "EgressLimits",
    "EgressProxy",
    "Gateway",
    "Resolver",
    "SystemResolver",
    "WorkerEgress",
    "proxy_environment",
]
