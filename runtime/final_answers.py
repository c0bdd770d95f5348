"""The status answers of tasks that finished a moment ago.

A task's final answer is put together once, for `result.json`. Who waited for the
end asks for the same in that moment, and is given it from here. A task that is
not here any more is read from its worker and its files, which say the same.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from watchglass.protocol.tasks import TaskId, TaskStatusResponse

from .worker import Worker

ANSWERS_MAX: Final = 64
OUTPUT_CHARS_MAX: Final = 4 << 10
"""An answer that shows more of its task's output is not kept here."""


class FinalAnswers:
    """The newest few, bounded."""

    __slots__ = ("_answers",)

    def __init__(self) -> None:
        self._answers: OrderedDict[TaskId, tuple[Worker, TaskStatusResponse]] = OrderedDict()

    def keep(self, worker: Worker, answer: TaskStatusResponse) -> None:
        """A task has finished, and nothing of this will change."""
        if len(answer.stdout) + len(answer.stderr) > OUTPUT_CHARS_MAX:
            return
        self._answers[worker.worker_id] = worker, answer
        if len(self._answers) > ANSWERS_MAX:
            self._answers.popitem(last=False)

    def find(self, worker: Worker) -> TaskStatusResponse | None:
        """That of a task, if it is still here, and not of an earlier one of the same id."""
        whose, answer = self._answers.get(worker.worker_id, (None, None))
        return answer if whose is worker else None
