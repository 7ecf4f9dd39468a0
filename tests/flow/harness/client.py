"""A WebSocket client on the library that Python programs use. All clients live on one event loop in a thread; their
methods block with a deadline, so that tests read from top to bottom."""
import asyncio
import collections
import itertools
import json
import threading

import msgpack
import websockets
from websockets.legacy.client import connect  # the `connect` of version 14 and later is another one

from .timing import scaled


class Closed(AssertionError):
    """The connection ended while a frame was waited for."""


class _Loop:
    """The event loop in its thread; made at the first use."""

    def __init__(self):
        self._loop = None

    def run(self, coroutine, timeout=30):
        """Run a coroutine there and wait for its result."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, daemon=True).start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(scaled(timeout))


LOOP = _Loop()
_sentinels = itertools.count(1)


class Client:
    """One WebSocket. A background task collects all frames. `user` is what the token says, for messages and sentinels."""

    def __init__(self, bridge, token=None, user=None, *, path="/ws", headers=None, subprotocols=None, origin=None, tls=None):
        self.user = user
        self.established = None
        self.socket = None
        self.closed = None      # (code, reason) after the end
        self._url = f"{'wss' if tls else 'ws'}://127.0.0.1:{bridge.ports['public']}{path}"
        self._headers = dict(headers or {})
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._options = {"subprotocols": subprotocols, "origin": origin, **({"ssl": tls} if tls else {})}
        self._frames = collections.deque()
        self._changed = threading.Condition()

    # life

    async def open_async(self, reader=True):
        """The handshake alone; without `reader` the caller takes the frames from `socket`."""
        self.socket = await connect(
            self._url, extra_headers=self._headers, compression=None, ping_interval=None, max_size=None, max_queue=None,
            open_timeout=scaled(20), close_timeout=scaled(2), **self._options)
        if reader:
            asyncio.ensure_future(self._read())
        return self

    def open(self):
        """The handshake alone."""
        return LOOP.run(self.open_async())

    def establish(self):
        """Wait for the first frame, which has to be connection_established."""
        self.established = self.recv_type("connection_established")
        return self

    async def first_frame(self):
        """For coroutines of their own: the first frame, decoded."""
        return json.loads(await asyncio.wait_for(self.socket.recv(), scaled(20)))

    async def _read(self):
        try:
            async for frame in self.socket:
                with self._changed:
                    self._frames.append(frame)
                    self._changed.notify_all()
        except websockets.ConnectionClosed:
            pass
        with self._changed:
            self.closed = (self.socket.close_code, self.socket.close_reason)
            self._changed.notify_all()

    def close(self, code=1000, reason=""):
        """Close handshake from this side."""
        LOOP.run(self.socket.close(code, reason))

    async def close_async(self):
        """Close handshake from this side."""
        if self.socket:
            await self.socket.close()

    def abort(self):
        """Cut the TCP connection."""
        async def cut():
            self.socket.transport.abort()
        LOOP.run(cut())

    def wait_closed(self, timeout=10):
        """(code, reason) of the end; 1006 when there was no close frame."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.closed, scaled(timeout)), "the connection is still open"
        return self.closed

    # facts

    @property
    def connection_id(self):
        """As connection_established told it."""
        return self.established["data"]["connection_id"]

    @property
    def subprotocol(self):
        """What the bridge has chosen, or None."""
        return self.socket.subprotocol

    # frames

    def send(self, message):
        """Text and bytes go as they are, everything else in the form of the subprotocol."""
        if not isinstance(message, (str, bytes)):
            message = msgpack.packb(message) if self.subprotocol == "agent_chat.msgpack" else json.dumps(message)
        LOOP.run(self.socket.send(message))

    def recv(self, timeout=10):
        """The next frame as it came."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self.closed, scaled(timeout))
            if self._frames:
                return self._frames.popleft()
        if self.closed:
            raise Closed(f"closed with {self.closed}")
        raise AssertionError(f"no frame within {scaled(timeout):g} s")

    def recv_event(self, timeout=10):
        """The next frame, decoded."""
        frame = self.recv(timeout)
        return json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame)

    def recv_events(self, count, timeout=10):
        """The next `count` frames, decoded."""
        return [self.recv_event(timeout) for _ in range(count)]

    def recv_type(self, kind, timeout=10):
        """The next frame, which has to be of this type."""
        event = self.recv_event(timeout)
        assert event["type"] == kind, event
        return event

    def rest(self):
        """After the end: all frames that were not looked at, decoded."""
        self.wait_closed()
        frames, self._frames = self._frames, collections.deque()
        return [json.loads(frame) if isinstance(frame, str) else frame for frame in frames]

    def ping(self):
        """A `ping` message and its `pong`, which has to be the next frame: the bridge has handled all before it."""
        number = next(_sentinels)
        self.send({"type": "ping", "id": number})
        assert self.recv_type("pong")["id"] == number

    def quiet(self, runtime):
        """Nothing is on the way to this client: an event for it alone is the next frame."""
        number = next(_sentinels)
        runtime.emit_plain(self.user, {"type": "sentinel", "connection_id": self.connection_id, "number": number})
        assert self.recv_type("sentinel")["number"] == number


async def gather(coroutines, at_once=40):
    """Run many, some at once; an exception stands in the place of its result."""
    gate = asyncio.Semaphore(at_once)

    async def one(coroutine):
        async with gate:
            return await coroutine
    return await asyncio.gather(*(one(c) for c in coroutines), return_exceptions=True)


def connect_many(clients, timeout=60):
    """Open and establish many at once."""
    for result in LOOP.run(gather([client.open_async() for client in clients]), timeout):
        if isinstance(result, BaseException):
            raise result
    for client in clients:
        client.establish()
    return clients


def close_many(clients, timeout=60):
    """Close many at once; their state does not matter."""
    LOOP.run(gather([client.close_async() for client in clients]), timeout)
