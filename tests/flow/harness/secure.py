"""A bridge whose public port speaks TLS, and clients that trust it."""
import http.client
import pathlib
import socket

from .bridge import Response
from .timing import scaled


class Secure:
    """`pair` is what the files in `folder` hold at first; `bridge` the bridge that was made last."""

    def __init__(self, stack, runtime, authority, folder):
        self.stack = stack
        self.runtime = runtime
        self.authority = authority
        self.folder = pathlib.Path(folder)
        self.pair = authority.pair()
        self.options = self.pair.write(self.folder)
        self.trust = authority.context()
        self.bridge = None

    def start(self, **options):
        """A bridge, ready to deliver."""
        self.bridge = self.stack.bridge(self.runtime, **{**self.options, **options})
        return self.bridge

    def connect(self, user="alice", **options):
        """A client that has seen connection_established."""
        return self.stack.connect(user, tls=self.trust, **options)

    def raw_connect(self, user="alice", **options):
        """The same, made of bytes."""
        return self.stack.raw_connect(user, tls=self.trust, **options)

    def tcp(self):
        """A socket on which nobody has spoken yet."""
        return socket.create_connection(("127.0.0.1", self.bridge.ports["public"]), timeout=scaled(10))

    def handshake(self, context=None):
        """A TLS socket."""
        return (context or self.trust).wrap_socket(self.tcp(), server_hostname="127.0.0.1")

    def serial(self):
        """Of the certificate that a new connection is shown."""
        with self.handshake() as client:
            return int(client.getpeercert()["serialNumber"], 16)

    def https(self, path):
        """One request on its own connection."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.bridge.ports["public"], timeout=scaled(10),
                                                 context=self.trust)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def all_gone(self):
        """Until no relay is left."""
        self.bridge.wait_metric("tls_connections", 0)
