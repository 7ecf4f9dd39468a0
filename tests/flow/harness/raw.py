"""A WebSocket client made of bytes, for handshakes and frames that no library would send."""
import base64
import collections
import json
import os
import socket
import struct
import time

from .timing import scaled

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

Frame = collections.namedtuple("Frame", "fin opcode payload")
RawResponse = collections.namedtuple("RawResponse", "status headers body")


def upgrade_head(port, target="/ws", changes=None, method="GET", version="HTTP/1.1"):
    """The bytes of an upgrade request. `changes` replaces headers: None leaves one out, a list sends it several times."""
    headers = {"Host": f"127.0.0.1:{port}", "Upgrade": "websocket", "Connection": "Upgrade",
               "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), "Sec-WebSocket-Version": "13"}
    headers.update(changes or {})
    lines = [f"{method} {target} {version}"]
    for name, value in headers.items():
        lines += [f"{name}: {one}" for one in (value if isinstance(value, list) else [value]) if one is not None]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def encode_frame(opcode, payload=b"", fin=True, masked=True, rsv=0):
    """One frame."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 65536:
        head += struct.pack("!BH", bit | 126, len(payload))
    else:
        head += struct.pack("!BQ", bit | 127, len(payload))
    if not masked:
        return head + payload
    mask = os.urandom(4)
    whole = mask * (len(payload) // 4 + 1)
    number = int.from_bytes(payload, "big") ^ int.from_bytes(whole[:len(payload)], "big")
    return head + mask + number.to_bytes(len(payload), "big")


class RawClient:
    """One TCP connection, with TLS in it when there is a context for it; `source` is the address that it comes from (all
    of 127.0.0.0/8 is this machine)."""

    def __init__(self, bridge, port="public", receive_buffer=None, source=None, tls=None):
        self.port = bridge.ports[port]
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.socket.bind((source, 0))
        self.socket.settimeout(scaled(10))
        self.socket.connect(("127.0.0.1", self.port))
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self._buffer = bytearray()

    # bytes

    def send(self, data):
        """Bytes as they are."""
        self.socket.sendall(data)

    def _fill(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self._buffer += data
        return bool(data)

    def take(self, count):
        """Exactly so many bytes; None at the end of the stream."""
        while len(self._buffer) < count:
            if not self._fill():
                return None
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def wait_eof(self, timeout=10):
        """The seconds until the bridge closes the TCP connection; what comes before is thrown away."""
        start = time.monotonic()
        self.socket.settimeout(scaled(timeout))
        while self._fill():
            self._buffer.clear()
        return time.monotonic() - start

    def rest(self):
        """All bytes until the bridge closes the TCP connection."""
        while self._fill():
            pass
        return self.take(len(self._buffer))

    def close(self):
        """Close the socket without any frame."""
        self.socket.close()

    def reset(self):
        """End with a TCP RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # HTTP

    def upgrade(self, target="/ws", changes=None, method="GET", version="HTTP/1.1"):
        """Send an upgrade request and read the answer."""
        self.send(upgrade_head(self.port, target, changes, method, version))
        return self.response()

    def response(self):
        """The next HTTP response; None when the connection ends instead."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._fill():
                return None
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        body = self.take(int(headers["content-length"])) if "content-length" in headers else b""
        return RawResponse(int(status.split()[1]), headers, body)

    # frames

    def send_frame(self, opcode, payload=b"", **how):
        """One frame; see encode_frame."""
        self.send(encode_frame(opcode, payload, **how))

    def recv_frame(self):
        """The next frame; None when the stream ends instead."""
        head = self.take(2)
        if head is None:
            return None
        length = head[1] & 0x7f
        if length >= 126:
            extended = self.take(2 if length == 126 else 8)
            length = int.from_bytes(extended, "big")
        return Frame(bool(head[0] & 0x80), head[0] & 0x0f, self.take(length))

    def recv_json(self):
        """The next frame, which has to be text."""
        frame = self.recv_frame()
        assert frame and frame.opcode == TEXT, frame
        return json.loads(frame.payload)

    def recv_close(self, answer=True):
        """Skip to the close frame and answer it: (code, reason). (None, "") when it is empty, None when the stream ends
        without one."""
        while True:
            frame = self.recv_frame()
            if frame is None or frame.payload is None:
                return None
            if frame.opcode == CLOSE:
                if answer:
                    self.send_frame(CLOSE, frame.payload)
                code = int.from_bytes(frame.payload[:2], "big") if frame.payload else None
                return code, frame.payload[2:].decode()
