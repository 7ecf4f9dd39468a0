"""The bridges that have said HELLO, and their live connections. Both bounded: what has not been heard of for the longest time
is forgotten first."""
from __future__ import annotations

import collections
import logging
from typing import List, Optional, Tuple

from .messages import Connection
from .wire import Command

LOG = logging.getLogger("agentbridge")
MAX_BRIDGES = 256
MAX_CONNECTIONS = 100_000


class Registry:
    """Changed in the loop's thread only; the lists may be asked for in any."""

    def __init__(self) -> None:
        self._bridges: collections.OrderedDict[bytes, str] = collections.OrderedDict()
        self._connections: collections.OrderedDict[Tuple[bytes, str], Connection] = collections.OrderedDict()

    def hello(self, bridge: bytes, name: str) -> None:
        """A bridge begins (anew); CONNECT comes after that for each connection that is alive."""
        self._bridges[bridge] = name
        self._bridges.move_to_end(bridge)
        self._forget_connections(bridge)
        while len(self._bridges) > MAX_BRIDGES:
            gone, name = self._bridges.popitem(last=False)
            self._forget_connections(gone)
            LOG.warning("bridge %r is forgotten: more than %d have said HELLO", name, MAX_BRIDGES)

    def _forget_connections(self, bridge: bytes) -> None:
        for key in [key for key in self._connections if key[0] == bridge]:
            del self._connections[key]

    def add(self, connection: Connection) -> None:
        """CONNECT."""
        key = connection.bridge, connection.id
        self._connections[key] = connection
        self._connections.move_to_end(key)
        while len(self._connections) > MAX_CONNECTIONS:
            _, gone = self._connections.popitem(last=False)
            LOG.warning("what CONNECT said of %s is forgotten: more than %d connections", gone.id, MAX_CONNECTIONS)

    def of(self, bridge: bytes, command: Command) -> Connection:
        """The connection that a command names; a bare one when CONNECT has not come."""
        known = self._connections.get((bridge, command.connection))
        if known is not None and known.user == command.user:
            return known
        return Connection(command.connection, command.user, bridge)

    def remove(self, connection: Connection) -> None:
        """DISCONNECT."""
        self._connections.pop((connection.bridge, connection.id), None)

    def connections(self, user: Optional[str] = None) -> List[Connection]:
        """All, or those of this user."""
        return [one for one in self._connections.copy().values() if user in (None, one.user)]

    def bridges(self) -> List[Tuple[bytes, str]]:
        """(routing id, name), the one heard of last at the end."""
        return list(self._bridges.copy().items())
