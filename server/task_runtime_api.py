"""`/api/v1/runtime`: the runtime itself, in the words of the task contract."""

from __future__ import annotations

from typing import cast

from quart import Blueprint, Response, request
from quart_schema import document_response

from watchglass.protocol.task_runtime import (
    TaskRuntimeCapabilities,
    TaskRuntimeConfig,
    TaskRuntimeInfo,
    TaskRuntimeResources,
)

from .asgi import Scope
from .auth import bracketed
from .exchange import answer, the_runtime

task_runtime_api = Blueprint("task_runtime", __name__, url_prefix="/api/v1/runtime")


@task_runtime_api.get("/info")
@document_response(TaskRuntimeInfo)
async def show_runtime_info() -> Response:
    """Show who answers, and on what machine."""
    return answer(the_runtime().task_runtime.info())


@task_runtime_api.get("/capabilities")
@document_response(TaskRuntimeCapabilities)
async def show_runtime_capabilities() -> Response:
    """Show what this host was found to be able to do."""
    return answer(await the_runtime().task_runtime.capabilities())


@task_runtime_api.get("/config")
@document_response(TaskRuntimeConfig)
async def show_runtime_config() -> Response:
    """Show how this runtime is set; nothing secret."""
    return answer(the_runtime().task_runtime.config(_listen_addr()))


@task_runtime_api.get("/resources")
@document_response(TaskRuntimeResources)
async def show_runtime_resources() -> Response:
    """Show the ledger: what there is, and who holds it."""
    return answer(the_runtime().task_runtime.resources())


def _listen_addr() -> str:
    """The address that this connection came to."""
    host, port = cast("Scope", request.scope)["server"]
    return f"{bracketed(host)}:{port}"
