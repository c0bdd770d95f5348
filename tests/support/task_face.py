"""A client of the task contract, over `Api`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .api import Answer, Api, Json
from .processes import wait_true

WAIT_MS = 30_000


@dataclass(frozen=True, slots=True)
class TaskFace:
    """`/api/v1` of one server."""

    api: Api

    def submit(self, program: str, *args: str, **more: Json) -> str:
        """Submit a command; its id."""
        execution = {"kind": "command", "program": program, "args": list(args), **more.pop("execution", {})}
        return self.submit_request({"execution": execution, **more})

    def sh(self, script: str, **more: Json) -> str:
        """The same for a line of shell."""
        return self.submit("/bin/sh", "-c", script, **more)

    def submit_request(self, request: Json) -> str:
        """Submit what is given; its id."""
        answer = self.api.post("/api/v1/tasks", request)
        assert answer == {"task_id": answer["task_id"], "handle_id": answer["task_id"], "status": "accepted"}
        return str(answer["task_id"])

    def status(self, task_id: str) -> Json:
        """The status answer, now."""
        return self.api.get(f"/api/v1/tasks/{task_id}")

    def finished(self, task_id: str) -> Json:
        """The final status answer."""
        said = self.api.get(f"/api/v1/tasks/{task_id}?wait_ms={WAIT_MS}")
        assert said["status"] in {"success", "failed", "cancelled"}, said
        return said

    def ran(self, script: str, **more: Json) -> Json:
        """The final status of a line of shell."""
        return self.finished(self.sh(script, **more))

    def kill(self, task_id: str, owner: str | None = None) -> Answer:
        """Ask for a task's end."""
        headers = {} if owner is None else {"x-execgo-owner": owner}
        return self.api.request("POST", f"/api/v1/tasks/{task_id}/kill", headers=headers)

    def events(self, task_id: str) -> list[Json]:
        """Its events."""
        told: list[Any] = self.api.get(f"/api/v1/tasks/{task_id}/events")
        return told

    def types(self, task_id: str) -> list[str]:
        """Their types."""
        return [event["event_type"] for event in self.events(task_id)]

    def wait_running(self, task_id: str) -> Json:
        """The status of a task that says a line when it runs: its output is there."""
        wait_true(lambda: self._speaks(task_id), f"task {task_id} does not run, or says nothing")
        return self.status(task_id)

    def _speaks(self, task_id: str) -> bool:
        said = self.status(task_id)
        return bool(said["status"] == "running" and said["stdout"].endswith("\n"))


def refusal(answer: Answer) -> tuple[int, str, Json]:
    """Status, code and details of a refusal, which must have the contract's shape."""
    assert set(answer.json) == {"error"}, answer
    error = answer.json["error"]
    assert set(error) == {"code", "message", "details"}, answer
    assert error["message"], answer
    assert "\n" not in error["message"]
    return answer.status, error["code"], error["details"]
