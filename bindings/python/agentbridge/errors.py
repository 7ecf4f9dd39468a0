"""What can go wrong, one class for each kind. All of them are AgentBridgeError."""
from __future__ import annotations


class AgentBridgeError(Exception):
    """Base of everything that this package raises on purpose."""


class AgentError(AgentBridgeError):
    """Raise it inside a run to end the run with words meant for the client.

    The run ends with `agent_error` and exactly this `error_code` and `error_message`. The text of every other exception
    stays in the log.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class RunCancelled(AgentBridgeError):
    """The run was cancelled (Run.cancel(), or nobody reads it any more). Leaves the `with` block of the run.

    Let it pass: the run ends with `agent_error`, `error_code` CANCELLED.
    """


class RunEnded(AgentBridgeError):
    """The run has ended already; an event after its end would be dropped by the bridge. Begin another run."""


class EventError(AgentBridgeError, ValueError):
    """This cannot be sent: a reserved field name, a value that MessagePack does not know, too large, too deep, a bad id.

    Nothing was sent.
    """


class MessageError(AgentBridgeError, ValueError):
    """The body of a client's message is not what the handler asked for (not JSON, not MessagePack, not an object)."""


class NotRunning(AgentBridgeError):
    """The runtime is not started yet, or is stopped already; nothing was sent."""


class StartError(AgentBridgeError):
    """The runtime cannot start; the text names the endpoint or option. What was opened is closed again."""


class BridgeGone(AgentBridgeError):
    """The bridge that this command is for is not connected; nothing was sent."""


class BridgeBusy(AgentBridgeError):
    """The bridge has not taken anything for `send_timeout_s`; nothing was sent."""
