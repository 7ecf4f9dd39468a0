"""What handlers are given. All of it is read-only."""
from __future__ import annotations

import dataclasses
import json
import time
from typing import Any, Dict, Mapping, Optional, Tuple

from .errors import MessageError
from .wire import Command, Malformed, unpack

NO_CLAIMS: Mapping[str, Any] = {}
OPCODES = ("text", "binary")


@dataclasses.dataclass(frozen=True)
class Connection:
    """One WebSocket of a client, and the bridge that it is at. Goes into Runtime.send(), send_frame() and close().

    When commands of an earlier life of this runtime arrive before the bridge has said CONNECT again, all but `id`, `user`
    and `bridge` is empty.
    """

    id: str
    user: str
    bridge: bytes = dataclasses.field(repr=False)  # its routing id
    claims: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)  # of the client's token
    remote: str = ""                     # the client's address
    origin: Optional[str] = None
    subprotocol: str = ""
    traceparent: Optional[str] = None
    resumed: bool = False                # the client came back and lost nothing, or this runtime is new and the client is not


@dataclasses.dataclass(frozen=True)
class Message:
    """A frame that a client has sent."""

    connection: Connection
    seq: int                             # per connection, from 1, without gaps
    ts: float                            # when the bridge got it, Unix time in seconds
    opcode: str                          # "text" or "binary"
    body: bytes = dataclasses.field(repr=False)  # byte for byte what the client sent
    traceparent: Optional[str] = None

    @property
    def user(self) -> str:
        """The authenticated user."""
        return self.connection.user

    @property
    def text(self) -> str:
        """The body as text; MessageError when it is not UTF-8 (text frames always are)."""
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            raise MessageError("the message is not UTF-8") from None

    def json(self) -> Dict[str, Any]:
        """The object that a text frame holds as JSON, a binary one as MessagePack. MessageError when it holds none."""
        try:
            value = json.loads(self.body) if self.opcode == "text" else unpack(self.body)
        except (ValueError, RecursionError) as fault:
            form = "JSON" if self.opcode == "text" else "MessagePack"
            raise MessageError(f"the message is no {form}: {fault}") from None
        if not isinstance(value, dict):
            raise MessageError(f"the message is a {type(value).__name__}, not an object")
        return value


@dataclasses.dataclass(frozen=True)
class Disconnect:
    """A connection has gone."""

    connection: Connection
    code: int        # of the close frame; 1006 when there was none
    reason: str
    remaining: int   # the user's other connections

    @property
    def user(self) -> str:
        """The authenticated user."""
        return self.connection.user


@dataclasses.dataclass(frozen=True)
class Abandoned:
    """The user has been away for a while (`abandon-grace-s` of the bridge): nobody reads these runs."""

    user: str
    runs: Tuple[str, ...]  # run_ids


def read_connection(bridge: bytes, command: Command) -> Connection:
    """CONNECT."""
    get = command.header
    return Connection(command.connection, command.user, bridge, get("claims", dict, NO_CLAIMS), get("remote", str, ""),
                      get("origin", str), get("subprotocol", str, ""), get("traceparent", str), get("resumed", bool, False))


def read_message(connection: Connection, command: Command) -> Message:
    """MESSAGE."""
    opcode = command.header("opcode", str, "text")
    if opcode not in OPCODES:
        raise Malformed(f"opcode {opcode[:32]!r}")
    return Message(connection, command.header("seq", int, 0), command.header("ts", float, time.time()), opcode, command.body,
                   command.header("traceparent", str))


def read_disconnect(connection: Connection, command: Command) -> Disconnect:
    """DISCONNECT."""
    return Disconnect(connection, command.header("code", int, 1006), command.header("reason", str, ""),
                      command.header("remaining", int, 0))


def read_abandoned(command: Command) -> Abandoned:
    """ABANDONED."""
    runs = command.header("runs", list, [])
    if not all(isinstance(run, str) for run in runs):
        raise Malformed("a run_id is no string")
    return Abandoned(command.user, tuple(runs))


def read_replay(command: Command) -> Tuple[str, int, int]:
    """REPLAY: publisher, and the first and last number asked for."""
    publisher, first, last = (command.header("publisher", str), command.header("from", int), command.header("to", int))
    if publisher is None or first is None or last is None or not 1 <= first <= last < 2**62:
        raise Malformed("REPLAY wants publisher, from and to, from not above to")
    return publisher, first, last
