"""The task contract's face of the module's server."""

from __future__ import annotations

import pytest

from support.api import Api
from support.task_face import TaskFace


@pytest.fixture
def tasks(api: Api) -> TaskFace:
    return TaskFace(api)
