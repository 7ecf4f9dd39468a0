"""A run: from agent_started to exactly one end, and the tools in it."""
from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Type

from .errors import AgentError, EventError, RunCancelled, RunEnded
from .events import MAX_RUN_ID_BYTES, RUN_FIELDS, check_fields, make_event, new_id

if TYPE_CHECKING:
    from .core import Core

CANCELLED = "CANCELLED"
AGENT_FAILED = "AGENT_FAILED"
FAILED_TEXT = "The agent failed on this message."  # never the text of an exception, which may tell what no client may know

OWN_VERBS = {"agent_started": "entering the run", "agent_completed": "Run.complete()", "agent_error": "Run.fail()",
             "tool_executing": "Run.tool()", "tool_completed": "Run.tool()"}


class Tool:
    """One use of a tool: `tool_executing` when its block begins, `tool_completed` when it ends, also when the body raises
    (`success` false then). Made by Run.tool()."""

    def __init__(self, run: Run, name: str, args: Any, fields: Mapping[str, Any]) -> None:
        check_fields(fields, RUN_FIELDS | {"tool_name", "tool_args", "execution_id"})
        if not isinstance(name, str) or not name:
            raise EventError("a tool has a name, a string that is not empty")
        self.name = name
        self.args = {} if args is None else args
        self.execution_id = new_id("exec")
        self._run = run
        self._fields = fields
        self._results: Any = None
        self._success = True
        self._started = 0.0

    def result(self, results: Any) -> None:
        """What `tool_completed` will tell as `results`, with `success` true. A later call replaces it."""
        self._results, self._success = results, True

    def error(self, message: str) -> None:
        """The tool has failed in a way that the client may know: `success` false, `results` {"error": message}."""
        self._results, self._success = {"error": message}, False

    def _begin(self) -> None:
        self._run._begin_tool(self, {"tool_name": self.name, "tool_args": self.args, "execution_id": self.execution_id,
                                     **self._fields})

    def _completed(self) -> Dict[str, Any]:
        return {"tool_name": self.name, "results": self._results, "success": self._success,
                "execution_id": self.execution_id, "execution_time": time.perf_counter() - self._started}

    def _end(self, fault: Optional[BaseException]) -> None:
        if isinstance(fault, AgentError):
            self.error(fault.message)
        elif isinstance(fault, (asyncio.CancelledError, RunCancelled)):
            self.error("The tool was cancelled.")
        elif fault is not None:
            self.error("The tool failed.")
        try:
            self._run._end_tool(self)
        except EventError:  # the results cannot be sent, but an end there must be
            self.error("The tool gave results that cannot be sent.")
            self._run._end_tool(self)
            if fault is None:
                raise

    def __enter__(self) -> Tool:
        self._begin()
        return self

    def __exit__(self, _kind: Optional[Type[BaseException]], fault: Optional[BaseException],
                 _trace: Optional[TracebackType]) -> None:
        self._end(fault)

    async def __aenter__(self) -> Tool:
        return self.__enter__()

    async def __aexit__(self, kind: Optional[Type[BaseException]], fault: Optional[BaseException],
                        trace: Optional[TracebackType]) -> None:
        self.__exit__(kind, fault, trace)


class Run:
    """One answer of the agent. Made by Runtime.run(); `async with` (in a task) or `with` (anywhere) begins and ends it.

    Its methods may be called from any thread and never wait. After the end they raise RunEnded.
    """

    def __init__(self, core: Core, user: str, fixed: Dict[str, Any], started: Dict[str, Any]) -> None:
        self.user = user
        self.run_id: str = fixed["run_id"]
        self.thread_id: Optional[str] = fixed.get("thread_id")
        self._core = core
        self._fixed = fixed
        self._started_fields = started
        self._lock = threading.RLock()
        self._began: Optional[float] = None
        self._ended = False
        self._cancelled: Optional[str] = None            # why
        self._task: Optional[asyncio.Task[Any]] = None    # of `async with`
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._cancelling = 0                              # what others had asked of the task before
        self._task_cancelled = False                      # by cancel()
        self._tools: Dict[str, Tool] = {}                 # open ones

    # facts

    @property
    def ended(self) -> bool:
        """Whether its end has been sent."""
        return self._ended

    @property
    def cancelled(self) -> bool:
        """Whether cancel() was called. A body in a `with` block that computes for long looks here."""
        return self._cancelled is not None

    # what it tells

    def emit(self, kind: str, /, **fields: Any) -> None:
        """Any event of this run. EventError: a reserved name or an unfit value; RunEnded; RunCancelled (`with` only)."""
        check_fields(fields, RUN_FIELDS)
        if kind in OWN_VERBS:
            raise EventError(f"{kind} is told by {OWN_VERBS[kind]}, which sees to it that it comes once")
        with self._lock:
            self._check()
            self._send(kind, fields)

    def thinking(self, delta: Optional[str] = None, /, *, reasoning: Optional[str] = None,
                 step_number: Optional[int] = None, **fields: Any) -> None:
        """`agent_thinking`: a piece of a thought, `thinking("…")`, which clients append; or a whole one,
        `thinking(reasoning="…")`."""
        if (delta is None) == (reasoning is None):
            raise EventError("thinking wants either a delta or reasoning=")
        given = {"delta": delta, "reasoning": reasoning, "step_number": step_number}
        self.emit("agent_thinking", **{key: value for key, value in given.items() if value is not None}, **fields)

    def chunk(self, delta: str, /, **fields: Any) -> None:
        """`stream_chunk`: a piece of the answer, which clients append."""
        self.emit("stream_chunk", delta=delta, **fields)

    def progress(self, message: Optional[str] = None, /, **fields: Any) -> None:
        """`progress_update`; a later one may replace it at a slow client."""
        self.emit("progress_update", **({} if message is None else {"message": message}), **fields)

    def tool(self, name: str, args: Any = None, /, **fields: Any) -> Tool:
        """`(async) with run.tool("search", {"q": "…"}) as t: t.result(…)`. `fields` go into `tool_executing`."""
        return Tool(self, name, args, fields)

    def complete(self, final_response: Any = "", /, *, status: str = "completed", **fields: Any) -> None:
        """The end, `agent_completed`. Without it the end of the block does the same with no final_response."""
        check_fields(fields, RUN_FIELDS)
        with self._lock:
            self._check()
            self._complete(status, final_response, fields)

    def fail(self, code: str, message: str, /, **fields: Any) -> None:
        """The end, `agent_error`, with words meant for the client."""
        check_fields(fields, RUN_FIELDS)
        with self._lock:
            self._check()
            self._end("agent_error", {"error_code": code, "error_message": message, **fields})

    def cancel(self, reason: str = "The run was cancelled.") -> None:
        """End the run with CANCELLED and `reason` as its text. In `async with` the task is interrupted at its next await; in
        `with` the next event raises. Either way RunCancelled leaves the block. From any thread; a second call changes nothing."""
        with self._lock:
            if self._ended or self._cancelled is not None:
                return
            self._cancelled = reason
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._interrupt)

    # inside

    def _interrupt(self) -> None:
        with self._lock:
            if self._task is not None and not self._ended:
                self._task_cancelled = True
                self._task.cancel()

    def _check(self) -> None:
        if self._began is None:
            raise RunEnded(f"run {self.run_id} has not begun: use it as `async with rt.run(...) as run:`")
        if self._ended:
            raise RunEnded(f"run {self.run_id} has ended; begin another one")
        if self._cancelled is not None and self._task is None:
            raise RunCancelled(self._cancelled)

    def _send(self, kind: str, fields: Mapping[str, Any]) -> None:
        self._core._publish(self.user, make_event(self.user, kind, {**self._fixed, **fields}))

    def _complete(self, status: str, final_response: Any, fields: Mapping[str, Any]) -> None:
        duration_ms = round((time.monotonic() - (self._began or 0)) * 1000)
        self._end("agent_completed",
                  {"status": status, "final_response": final_response, "duration_ms": duration_ms, **fields})

    def _end(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Tools that are open end before their run does."""
        event = make_event(self.user, kind, {**self._fixed, **fields})
        self._core._check_event(event)
        for tool in list(self._tools.values()):
            tool.error("The run ended before the tool did.")
            self._end_tool(tool)
        self._core._publish(self.user, event)
        self._ended = True
        self._core._run_ended(self)

    def _end_cancelled(self, reason: str) -> None:
        with self._lock:
            if self._began is not None and not self._ended:
                self._end("agent_error", {"error_code": CANCELLED, "error_message": self._cancelled or reason})

    def _begin_tool(self, tool: Tool, fields: Mapping[str, Any]) -> None:
        with self._lock:
            self._check()
            if tool._started or tool.execution_id in self._tools:
                raise EventError("this use of the tool has begun already; call run.tool() again")
            self._send("tool_executing", fields)
            tool._started = time.perf_counter()
            self._tools[tool.execution_id] = tool

    def _end_tool(self, tool: Tool) -> None:
        """Nothing when the run's end has told it already."""
        with self._lock:
            if tool.execution_id in self._tools:
                self._send("tool_completed", tool._completed())
                del self._tools[tool.execution_id]

    def _begin(self, task: Optional[asyncio.Task[Any]]) -> None:
        with self._lock:
            if self._began is not None:
                raise RunEnded(f"run {self.run_id} has begun already; begin another one")
            self._core._run_begins(self)
            try:
                self._send("agent_started", self._started_fields)
            except BaseException:
                self._core._run_ended(self)
                raise
            self._began = time.monotonic()
            if task is not None:
                self._task, self._loop = task, asyncio.get_running_loop()
                self._cancelling = _cancelling(task)

    def _leave(self, fault: Optional[BaseException]) -> None:
        """The one end, unless the body has told it."""
        with self._lock:
            if self._ended:
                return
            if isinstance(fault, AgentError):
                self._end("agent_error", {"error_code": fault.code, "error_message": fault.message})
            elif self._cancelled is not None or _is_cancellation(fault):
                self._end_cancelled("The run was cancelled.")
            elif fault is not None:
                self._end("agent_error", {"error_code": AGENT_FAILED, "error_message": FAILED_TEXT})
            else:
                self._complete("completed", "", {})

    def __enter__(self) -> Run:
        self._begin(None)
        return self

    def __exit__(self, _kind: Optional[Type[BaseException]], fault: Optional[BaseException],
                 _trace: Optional[TracebackType]) -> None:
        ended = self._ended
        self._leave(fault)
        if fault is None and not ended and self._cancelled is not None:
            raise RunCancelled(self._cancelled)

    async def __aenter__(self) -> Run:
        self._begin(asyncio.current_task())
        return self

    async def __aexit__(self, _kind: Optional[Type[BaseException]], fault: Optional[BaseException],
                        _trace: Optional[TracebackType]) -> None:
        ended = self._ended
        self._leave(fault)
        asked_by_others = self._task_cancelled and self._task is not None and _uncancel(self._task) > self._cancelling
        if self._cancelled is None or asked_by_others:
            return
        if isinstance(fault, asyncio.CancelledError) and self._task_cancelled:
            raise RunCancelled(self._cancelled) from None
        if fault is None and not ended:
            raise RunCancelled(self._cancelled)


def _is_cancellation(fault: Optional[BaseException]) -> bool:
    """Cancelled from outside, KeyboardInterrupt and the like included."""
    return isinstance(fault, RunCancelled) or (fault is not None and not isinstance(fault, Exception))


# asyncio.Task counts who has asked for its end from Python 3.11 on; before that an interrupted task is as good as not asked.

def _cancelling(task: asyncio.Task[Any]) -> int:
    return task.cancelling() if hasattr(task, "cancelling") else 0


def _uncancel(task: asyncio.Task[Any]) -> int:
    return task.uncancel() if hasattr(task, "uncancel") else 0


def fixed_fields(run_id: Optional[str], thread_id: Optional[str], agent_name: str) -> Dict[str, Any]:
    """What every event of a run has."""
    run_id = new_id("run") if run_id is None else run_id
    if not isinstance(run_id, str) or not 1 <= len(run_id.encode(errors="replace")) <= MAX_RUN_ID_BYTES:
        raise EventError(f"run_id {run_id!r}: a string of 1 to {MAX_RUN_ID_BYTES} bytes, or the bridge does not follow the run")
    thread = {} if thread_id is None else {"thread_id": thread_id}
    return {"run_id": run_id, **thread, "agent_name": agent_name}
