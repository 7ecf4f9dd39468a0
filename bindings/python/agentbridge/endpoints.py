"""Endpoints in czmq notation, and CURVE."""
from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any, List, Optional, Sequence, Tuple

import zmq
import zmq.auth.thread

from .errors import StartError

ZAP_DOMAIN = b"agentbridge"


@dataclasses.dataclass(frozen=True)
class Curve:
    """Keys for links that leave the host, each as Z85 text (40 characters), as zmq.curve_keypair() makes them.

    For endpoints that bind leave `server_key` None: the runtime is the CURVE server, and lets in the bridges whose public
    keys are in `clients` (None: everybody who knows the runtime's public key). For endpoints that connect `server_key` is the
    bridge's public key.
    """

    public_key: str
    secret_key: str = dataclasses.field(repr=False)
    server_key: Optional[str] = None
    clients: Optional[Sequence[str]] = None

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Before it is bound or connected."""
        socket.curve_publickey = self.public_key.encode()
        socket.curve_secretkey = self.secret_key.encode()
        if self.server_key is None:
            socket.curve_server = True
            socket.zap_domain = ZAP_DOMAIN
        else:
            socket.curve_serverkey = self.server_key.encode()

    def callback(self, _domain: str, key: bytes) -> bool:
        """Whether this client may come in; asked by the authenticator, with the key in Z85."""
        return self.clients is None or key.decode() in self.clients


def authenticator(context: zmq.Context[Any], curve: Optional[Curve]) -> Optional[zmq.auth.thread.ThreadAuthenticator]:
    """Asks `curve` about every client; None when nobody need be asked. The caller stops it."""
    if curve is None or curve.server_key is not None or curve.clients is None:
        return None
    auth = zmq.auth.thread.ThreadAuthenticator(context)
    auth.start()
    auth.configure_curve_callback(domain=ZAP_DOMAIN.decode(), credentials_provider=curve)
    return auth


def parse(endpoints: str) -> List[Tuple[bool, str]]:
    """(whether to bind, address) of each: `@` binds, `>` connects, without either it binds."""
    words = [word.strip() for word in endpoints.split(",")]
    if not all(words):
        raise StartError(f"endpoints {endpoints!r}: a list with commas, such as @tcp://127.0.0.1:5555")
    return [(not word.startswith(">"), word.lstrip("@>")) for word in words]


def is_local(address: str) -> bool:
    """Whether it cannot be reached from another host."""
    transport, _, rest = address.partition("://")
    if transport != "tcp":
        return transport in ("ipc", "inproc")
    host = rest.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def attach(socket: zmq.Socket[bytes], endpoints: str, curve: Optional[Curve]) -> List[str]:
    """Bind and connect; the addresses, with the ports that ZeroMQ chose for `*`. StartError names what does not go."""
    found = []
    if curve:
        curve.apply(socket)
    for binds, address in parse(endpoints):
        if not curve and "://" in address and not is_local(address):
            raise StartError(f"{address}: neither loopback nor ipc, so it wants curve=Curve(...): who reaches it can send "
                             "messages as any user")
        try:
            (socket.bind if binds else socket.connect)(address)
        except zmq.ZMQError as fault:
            raise StartError(f"cannot {'bind' if binds else 'connect'} {address}: {fault}") from None
        found.append(socket.getsockopt_string(zmq.LAST_ENDPOINT) if binds else address)
    return found
