"""The events of a run as types, and how an event is put together."""
from __future__ import annotations

import time
import uuid
from typing import Any, Dict, List, Mapping, TypedDict

from .errors import EventError
from .wire import check_user

RESERVED = frozenset({"type", "user_id", "event_id", "timestamp"})
RUN_FIELDS = frozenset({"run_id", "thread_id", "agent_name"})
MAX_RUN_ID_BYTES = 255


class Event(TypedDict, total=False):
    """What every event has. Unix times are seconds."""

    type: str
    event_id: str
    timestamp: float
    user_id: str
    thread_id: str
    run_id: str
    agent_name: str
    connection_id: str


class AgentStarted(Event, total=False):
    """The run begins."""

    task_description: str


class AgentThinking(Event, total=False):
    """A piece of a thought (`delta`) or a whole one (`reasoning`)."""

    delta: str
    reasoning: str
    step_number: int


class ToolExecuting(Event, total=False):
    """A tool begins."""

    tool_name: str
    tool_args: Any
    execution_id: str


class ToolCompleted(Event, total=False):
    """The same tool has ended; `execution_time` in seconds."""

    tool_name: str
    results: Any
    success: bool
    execution_id: str
    execution_time: float


class AgentCompleted(Event, total=False):
    """The run has ended well."""

    status: str
    final_response: Any
    duration_ms: int


class AgentFailed(Event, total=False):
    """`agent_error`: the run has ended otherwise."""

    error_code: str
    error_message: str


class OpenTool(TypedDict):
    """A tool of a run that has not completed."""

    tool_name: str
    execution_id: str


class RunSummary(TypedDict, total=False):
    """One run of `runs_snapshot`, which clients get."""

    run_id: str
    thread_id: str
    agent_name: str
    started_at: float
    last_type: str
    open_tools: List[OpenTool]


def new_id(prefix: str) -> str:
    """An id that nobody else has."""
    return f"{prefix}_{uuid.uuid4().hex[:16]}"


def check_fields(fields: Mapping[str, Any], more: frozenset[str] = frozenset()) -> None:
    """EventError when a field's name is taken: what the binding writes itself, and keys that begin with "_" (the bridge's)."""
    taken = sorted(key for key in fields if key in RESERVED or key in more or str(key).startswith("_"))
    if taken:
        raise EventError(f"field {', '.join(map(repr, taken))}: the name is reserved, take another")


def check_type(kind: str) -> None:
    """EventError unless it can be the type of an event."""
    if not isinstance(kind, str) or not kind:
        raise EventError(f"type {kind!r}: an event has a string type that is not empty")


def make_event(user: str, kind: str, fields: Mapping[str, Any]) -> Dict[str, Any]:
    """The whole event. `fields` have been checked."""
    check_user(user)
    check_type(kind)
    return {"type": kind, "event_id": uuid.uuid4().hex, "timestamp": time.time(), "user_id": user, **fields}
