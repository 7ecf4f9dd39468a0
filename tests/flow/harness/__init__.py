"""What the flow tests stand on: the bridge as a process, a ZeroMQ runtime, WebSocket clients, tokens.

Every wait in here is for a condition and has a deadline; `FLOW_TIME_SCALE` stretches all deadlines for slow builds.
"""
from .bridge import Bridge, run_program
from .client import Client, Closed, connect_many
from .proxy import DOWN, UP, Wire
from .raw import RawClient
from .resuming import ResumingClient
from .runtime import Command, Runtime
from .runtime_process import RuntimeProcess
from .sequenced import Question, SequencedRuntime
from .stack import Stack
from .timing import SCALE, scaled, wait_until
from .tokens import Keys

__all__ = ["Bridge", "Client", "Closed", "Command", "DOWN", "Keys", "Question", "RawClient", "ResumingClient", "Runtime",
           "RuntimeProcess", "SCALE", "SequencedRuntime", "Stack", "UP", "Wire", "connect_many", "run_program", "scaled",
           "wait_until"]
