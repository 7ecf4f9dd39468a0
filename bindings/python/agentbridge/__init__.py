"""The runtime's side of agentbridge, for agents in Python. `Runtime` is for asyncio, `agentbridge.sync` for threads."""
from __future__ import annotations

import inspect
from typing import Any, Callable, Union

from . import events, sync
from .core import Core
from .endpoints import Curve
from .errors import (AgentBridgeError, AgentError, BridgeBusy, BridgeGone, EventError, MessageError, NotRunning,
                     RunCancelled, RunEnded, StartError)
from .messages import Abandoned, Connection, Disconnect, Message
from .run import Run, Tool
from .runtime import Runtime
from .stats import Stats
from .version import __version__


def serve(on_message: Callable[[Message], Any], **options: Any) -> None:
    """A whole agent with one handler: serve_forever() of a Runtime with these options, of asyncio's when `on_message` is a
    coroutine function, else of that for threads."""
    kind: type[Union[Runtime, sync.Runtime]] = Runtime if inspect.iscoroutinefunction(on_message) else sync.Runtime
    runtime = kind(**options)
    runtime.on_message(on_message)
    runtime.serve_forever()


__all__ = ["Abandoned", "AgentBridgeError", "AgentError", "BridgeBusy", "BridgeGone", "Connection", "Core", "Curve",
           "Disconnect", "EventError", "Message", "MessageError", "NotRunning", "Run", "RunCancelled", "RunEnded", "Runtime",
           "StartError", "Stats", "Tool", "__version__", "events", "serve", "sync"]
