"""TCP ports for servers that the tests start, free until the test is over, whatever else runs beside it.

A port that the kernel picked (bind to 0) and that was closed again is anybody's: the next outgoing connection may have it.
These lie outside the range from which the kernel picks, and each is held for as long as this process lives by a name in
the abstract namespace (unix(7)), so that no other process which asks here is given it.
"""
import os
import pathlib
import random
import socket
import threading

EPHEMERAL = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST, HIGHEST = 10240, 65535
_held = []
_taking = threading.Lock()


def _candidates():
    """All ports that the kernel leaves alone, from a random one on."""
    low, high = (int(word) for word in EPHEMERAL.read_text().split())
    ports = [port for port in range(LOWEST, HIGHEST + 1) if not low <= port <= high]
    if not ports:
        raise RuntimeError(f"{EPHEMERAL} leaves no port from {LOWEST} on")
    start = random.SystemRandom().randrange(len(ports))
    return ports[start:] + ports[:start]


def _hold(port):
    """Whether nobody else holds it."""
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(f"\0agentbridge-tests-port-{os.getuid()}-{port}")
    except OSError:
        holder.close()
        return False
    _held.append(holder)
    return True


def _unused(port):
    """Whether nothing is bound to it, on any address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def free_port():
    """A port that nothing is bound to; it is not given again while this process lives."""
    with _taking:
        for port in _candidates():
            if _hold(port):
                if _unused(port):
                    return port
                _held.pop().close()
    raise RuntimeError("every port is taken")
