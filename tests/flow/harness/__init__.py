"""What the flow tests stand on: the bridge as a process, a ZeroMQ runtime, WebSocket clients, tokens.

Every wait in here is for a condition and has a deadline; `FLOW_TIME_SCALE` stretches all deadlines for slow builds.
"""
import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2]))  # ports.py

# pylint: disable=wrong-import-position
from .bridge import Bridge, run_program  # noqa: E402
from .certificates import Authority, key_pem  # noqa: E402
from .client import Client, Closed, connect_many  # noqa: E402
from .proxy import DOWN, UP, Wire  # noqa: E402
from .raw import RawClient  # noqa: E402
from .resuming import ResumingClient  # noqa: E402
from .runtime import Command, Runtime  # noqa: E402
from .runtime_process import RuntimeProcess  # noqa: E402
from .secure import Records, Secure  # noqa: E402
from .sequenced import Question, SequencedRuntime  # noqa: E402
from .stack import Stack  # noqa: E402
from .timing import SCALE, scaled, wait_until  # noqa: E402
from .tokens import Keys  # noqa: E402

__all__ = ["Authority", "Bridge", "Client", "Closed", "Command", "DOWN", "Keys", "Question", "RawClient", "Records",
           "ResumingClient", "Runtime", "RuntimeProcess", "SCALE", "Secure", "SequencedRuntime", "Stack", "UP", "Wire",
           "connect_many", "key_pem", "run_program", "scaled", "wait_until"]
