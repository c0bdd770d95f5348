"""What a worker says: `{"event": name, "data": {...}}`.

The names and shapes are the worker runtime contract's ("Payloads"); `output`,
`egress_denied`, `egress_usage`, `execution_plan`, `exit` and `end` are ours. An
agent may use names that are not here: they are passed on unchanged, never dropped.
Known names are checked, so that a reader of `text_delta` can count on `text`.

In memory an event is the plain pair `Event`; the models only check shapes, at
the edge, and are never built on the way from a worker to its observers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from .base import NAME_CHARS_MAX, PRODUCED_EVENTS_MAX, Wire
from .lifecycle import Phase, WorkerStatus
from .reasons import fields_of, reason_of

Json = dict[str, Any]


class Event(NamedTuple):
    """One thing said: a name and its data, ready to be encoded."""

    name: str
    data: Json


class Shape(Wire):
    """Base of the data of known events: more fields than named are kept."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class Segment(Shape):
    """A piece of what a user said."""

    kind: str
    content: str | None = None


class Snapshot(Shape):
    """A worker as of `as_of`: the newest transcript entries and the open text.

    `entries` is a bounded window: `entries_start` is the position of its first
    entry among `transcript_len`.
    """

    entries: list[Json]
    greeting: Json
    status: WorkerStatus
    in_flight: Json | None = None
    as_of: str
    phase: Phase
    entries_start: int
    transcript_len: int


class UserMessage(Shape):
    """Input of kind `user` was accepted."""

    segments: list[Segment]


class SystemItem(Shape):
    """Input of kind `system` was accepted."""

    item: Any


class InvokeStart(Shape):
    """A run of the agent begins."""

    kind: str


class TurnStart(Shape):
    """A turn begins."""

    turn: Any


class TurnEnd(Shape):
    """A turn is over."""

    turn: Any
    result: Any = None


class LlmCall(Shape):
    """A call of a model begins or ends."""

    llm_call: Any


class TextPiece(Shape):
    """Text that the worker says or thinks: a piece of it, or (`_done`) the whole."""

    text: str


class Nothing(Shape):
    """An event that carries nothing that is fixed."""


class ToolCallStart(Shape):
    """A tool is about to be called."""

    id: str
    name: str


class ToolCallArgsDelta(Shape):
    """A piece of the arguments, as JSON text."""

    id: str
    json_: str = Field(alias="json")


class ToolCallDone(Shape):
    """The call is complete."""

    id: str
    name: str
    arguments: Any


class ToolResult(Shape):
    """What the tool answered."""

    id: str
    summary: str
    output: Any = None
    is_error: bool = False


class TokenUsage(Shape):
    """Tokens used so far."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None = None


class RunEnd(Shape):
    """A run of the agent is over."""

    result: Any = None


class Error(Shape):
    """Something failed."""

    code: str
    message: str


class StatusChange(Shape):
    """The worker's life went on."""

    status: str
    phase: str | None = None


class Alert(Shape):
    """Somebody should look."""

    level: str
    source: str
    message: str
    timestamp_ms: int


class Output(Shape):
    """Bytes of a stream that are not speech, as text; `offset` is where they stand in its log."""

    stream: Literal["stdout", "stderr"]
    text: str
    offset: int


class EgressDenied(Shape):
    """The worker asked its proxy for a place that it must not reach; the `count`-th time.

    Of the same place and reason the 1st, 10th, 100th, ... is told. Without a
    place none could be read, or it stands for many.
    """

    host: str | None
    port: int | None
    reason: str
    count: int


class EgressUsage(Shape):
    """What went through the worker's proxy since this server has the worker; before its `exit`."""

    connections: int
    sent_bytes: int
    received_bytes: int
    denied: int


class PlanMade(Shape):
    """What was asked of the host, and what is given: an `ExecutionPlan`."""

    capability_mode: str
    degraded: bool
    fallback_reasons: list[str]
    features: Json


class Share(Shape):
    """The ledger holds this part of the capacity for the worker (`reserved`), or got it back (`released`)."""

    task_slots: int
    memory_bytes: int | None = None
    pids: int | None = None


class Exit(Shape):
    """How the process ended: a code, or a signal, and why."""

    code: int | None
    signal: int | None
    reason: str


SHAPES: dict[str, type[Shape]] = {
    "snapshot": Snapshot,
    "user_message": UserMessage,
    "system_item": SystemItem,
    "invoke_start": InvokeStart,
    "turn_start": TurnStart,
    "turn_end": TurnEnd,
    "llm_call_start": LlmCall,
    "llm_call_end": LlmCall,
    "llm_retry": Nothing,
    "text_delta": TextPiece,
    "text_done": TextPiece,
    "thinking_start": Nothing,
    "thinking_delta": TextPiece,
    "thinking_done": TextPiece,
    "tool_call_start": ToolCallStart,
    "tool_call_args_delta": ToolCallArgsDelta,
    "tool_call_done": ToolCallDone,
    "tool_result": ToolResult,
    "usage": TokenUsage,
    "run_end": RunEnd,
    "error": Error,
    "status": StatusChange,
    "alert": Alert,
    "shutdown": Nothing,
    "output": Output,
    "egress_denied": EgressDenied,
    "egress_usage": EgressUsage,
    "execution_plan": PlanMade,
    "reserved": Share,
    "released": Share,
    "exit": Exit,
    "end": Nothing,
    "submitted": Nothing,
    "degraded": Nothing,
    "kill_requested": Nothing,
    "timeout_triggered": Nothing,
    "recovered": Nothing,
}

RUNTIME_ONLY = frozenset(
    {"snapshot", "execution_plan", "reserved", "released", "egress_denied", "egress_usage", "exit", "end"}
)
"""Names that the runtime alone may write, for they say what it did or saw itself."""

PROCESS_RESERVED = RUNTIME_ONLY | {"user_message", "system_item", "output"}
"""Names that a process may not write either: the runtime tells of its inputs and its raw output."""


def _checked_event_name(name: str) -> str:
    if not name.strip():
        raise ValueError("must not be blank")
    if name in RUNTIME_ONLY:
        raise ValueError("is a name that the runtime alone writes")
    return name


EventName = Annotated[str, StringConstraints(max_length=NAME_CHARS_MAX), AfterValidator(_checked_event_name)]


class ProducedEvent(Wire):
    """An event that a producer appends, or that an agent writes as a line."""

    event: EventName
    data: Json = Field(default_factory=dict)


class AppendEventsRequest(Wire):
    """`POST /v1/workers/{id}/events`: 1 to 10,000 events for a passive worker."""

    events: list[ProducedEvent] = Field(min_length=1, max_length=PRODUCED_EVENTS_MAX)


class AppendEventsAnswer(Wire):
    """The cursors of the first and the last event appended."""

    first: str
    last: str


_CHECKS = {name: TypeAdapter(shape).validator.validate_python for name, shape in SHAPES.items()}


def shape_fault(event: Event) -> str | None:
    """Which field of a known event's data has the wrong shape, and why; None for unknown names."""
    check = _CHECKS.get(event.name)
    if check is None:
        return None
    try:
        check(event.data)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        place = ".".join(["data", *fields_of(first)])
        return f"{place}: {reason_of(first)} (event {event.name!r})"
    return None
