"""A bridge whose public port speaks TLS, and clients that trust it."""
import http.client
import pathlib
import socket
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

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


class Records:
    """Puts TLS 1.3 records of its own on a client's connection (RFC 8446 sections 5.2 and 7), which the client's library
    knows nothing of; it must send nothing itself from then on. `sent`: the records that it has sent after the handshake."""

    HANDSHAKE = 22

    def __init__(self, client, log, sent):
        assert client.cipher()[0] == "TLS_AES_256_GCM_SHA384", client.cipher()
        self._tcp = socket.socket(fileno=socket.dup(client.fileno()))
        secrets = dict(line.split()[::2] for line in log.read_text().splitlines() if not line.startswith("#"))
        self._secret = bytes.fromhex(secrets["CLIENT_TRAFFIC_SECRET_0"])
        self._number = sent

    def _expand(self, label, length):
        label = b"tls13 " + label
        info = struct.pack("!HB", length, len(label)) + label + b"\0"
        return HKDFExpand(algorithm=hashes.SHA384(), length=length, info=info).derive(self._secret)

    def record(self, kind, data):
        """One record."""
        iv = int.from_bytes(self._expand(b"iv", 12), "big") ^ self._number
        head = struct.pack("!BHH", 23, 0x0303, len(data) + 1 + 16)
        self._number += 1
        return head + AESGCM(self._expand(b"key", 32)).encrypt(iv.to_bytes(12, "big"), data + bytes([kind]), head)

    def update(self):
        """After a key update."""
        self._secret, self._number = self._expand(b"traffic upd", 48), 0

    def send(self, data):
        """Records as they are."""
        self._tcp.sendall(data)

    def close(self):
        """Only our own descriptor of the socket."""
        self._tcp.close()
