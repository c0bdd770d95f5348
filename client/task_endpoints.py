"""The endpoints below `/api/v1`, as `endpoints.py` has the others (docs/tasks.md)."""

from __future__ import annotations

from typing import Final

from watchglass.protocol.task_runtime import (
    TaskRuntimeCapabilities,
    TaskRuntimeConfig,
    TaskRuntimeInfo,
    TaskRuntimeResources,
)
from watchglass.protocol.tasks import (
    KillTaskRequest,
    SubmitTaskAnswer,
    SubmitTaskRequest,
    TasksAnswer,
    TaskStatusResponse,
)

from .call import END_TIMEOUT_S
from .endpoints import Endpoint, Place
from .task_places import TASK, TASK_RUNTIME, TASKS

WAIT_TIMEOUT_S: Final = 90.0
"""An answer may wait a minute for a task's end (docs/tasks.md)."""

SUBMIT_TASK: Final = Endpoint("POST", TASKS, SubmitTaskRequest, answer=SubmitTaskAnswer)
LIST_TASKS: Final = Endpoint("GET", TASKS, answer=TasksAnswer)
SHOW_TASK: Final = Endpoint("GET", TASK, timeout_s=WAIT_TIMEOUT_S, answer=TaskStatusResponse)
KILL_TASK: Final = Endpoint(
    "POST",
    f"{TASK}/kill",
    KillTaskRequest,
    timeout_s=END_TIMEOUT_S,
    repeatable=True,
    answer=TaskStatusResponse,
)
"""Killing a finished task changes nothing."""
TASK_EVENTS: Final = Place("GET", f"{TASK}/events")
"""A list of TaskEvent."""
TASK_RUNTIME_INFO: Final = Endpoint("GET", f"{TASK_RUNTIME}/info", answer=TaskRuntimeInfo)
TASK_CAPABILITIES: Final = Endpoint("GET", f"{TASK_RUNTIME}/capabilities", answer=TaskRuntimeCapabilities)
TASK_CONFIG: Final = Endpoint("GET", f"{TASK_RUNTIME}/config", answer=TaskRuntimeConfig)
TASK_RESOURCES: Final = Endpoint("GET", f"{TASK_RUNTIME}/resources", answer=TaskRuntimeResources)

TASK_ENDPOINTS: Final = (
    SUBMIT_TASK,
    LIST_TASKS,
    SHOW_TASK,
    KILL_TASK,
    TASK_EVENTS,
    TASK_RUNTIME_INFO,
    TASK_CAPABILITIES,
    TASK_CONFIG,
    TASK_RESOURCES,
)
