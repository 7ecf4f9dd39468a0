"""Thousands of WebSockets in one process: clients of few lines on asyncio's streams, all on the harness's loop."""
import asyncio
import json

from .raw import CLOSE, TEXT, encode_frame, upgrade_head
from .timing import scaled


class Member:
    """One client; everything is a coroutine."""

    def __init__(self, bridge, user):
        self.user = user
        self._port = bridge.ports["public"]
        self._reader = self._writer = None

    async def open(self, token):
        """Connect and see connection_established."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(upgrade_head(self._port, changes={"Authorization": f"Bearer {token}"}))
        head = await self._wait(self._reader.readuntil(b"\r\n\r\n"))
        assert head.startswith(b"HTTP/1.1 101 "), head
        frame = await self.frame()
        assert frame["type"] == "connection_established" and frame["data"]["user_id"] == self.user, frame

    @staticmethod
    async def _wait(coroutine, timeout=60):
        return await asyncio.wait_for(coroutine, scaled(timeout))

    async def frame(self):
        """The next frame: text as an object, a close frame as (code, reason)."""
        first, length = await self._wait(self._reader.readexactly(2))
        if length == 126:
            length = int.from_bytes(await self._reader.readexactly(2), "big")
        payload = await self._reader.readexactly(length)
        if first & 0x0f == CLOSE:
            return int.from_bytes(payload[:2], "big"), payload[2:].decode()
        assert first == 0x80 | TEXT, first
        return json.loads(payload)

    def send(self, message):
        """One JSON message."""
        self._writer.write(encode_frame(TEXT, json.dumps(message).encode()))

    async def ask(self, message, kind):
        """A message, and the next frame, which has to be of this type."""
        self.send(message)
        frame = await self.frame()
        assert isinstance(frame, dict) and frame["type"] == kind, frame
        return frame

    def close(self):
        """End without a word; harmless when there is no connection."""
        if self._writer:
            self._writer.transport.abort()
