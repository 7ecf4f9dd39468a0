"""A client as a good front end is: it comes back after every end, from what it has seen, and remembers what it was told it
has missed."""
import asyncio
import json
import socket
import threading

import msgpack
import websockets
from websockets.legacy.client import connect

from .client import LOOP
from .timing import scaled

PAUSE = 0.02      # seconds between two attempts
LITTLE = 1 << 17  # bytes that the kernel takes for a client that does not read; with less than a segment it would be slow
                  # for long afterwards
NOTICES = ("connection_established", "resync", "runs_snapshot", "connection_error", "bridge_draining")


class ResumingClient:
    """`log` has every frame of all its connections, in order."""

    def __init__(self, bridge, token, user, subprotocol="agent_chat"):
        self.user = user
        self.epoch = None
        self.offset = None      # of the last event
        self.log = []
        self.closes = []        # (code, reason) of each end
        self.aborted = 0        # times
        self._address = f"ws://127.0.0.1:{bridge.ports['public']}/ws"
        self._options = {"extra_headers": {"Authorization": f"Bearer {token}"}, "subprotocols": [subprotocol],
                         "compression": None, "ping_interval": None, "max_size": None, "max_queue": None,
                         "close_timeout": scaled(2)}
        self._changed = threading.Condition()
        self._stopped = False
        self._wanted = asyncio.Event()  # set while it shall be there
        self._wanted.set()
        self._socket = None
        self._there = False
        self._task = None

    # life

    def start(self):
        """Come, and stay until stop()."""
        async def begin():
            self._task = asyncio.ensure_future(self._live())
        LOOP.run(begin())
        self.wait(lambda: self.established, "connection_established")
        return self

    def stop(self):
        """Go for good."""
        async def end():
            self._stopped = True
            if self._socket:
                await self._socket.close()
            self._task.cancel()
        LOOP.run(end())

    def abort(self):
        """Lose the TCP connection; it comes back at once. Waits for nothing but its return from the last time."""
        self.wait(lambda: len(self.established) > self.aborted, "its return")
        self.aborted += 1
        self.cut()

    def cut(self):
        """Lose the TCP connection, if there is one."""
        async def cut():
            if self._socket:
                self._socket.transport.abort()
        LOOP.run(cut())

    def leave(self):
        """Lose the TCP connection, and stay away until come_back()."""
        LOOP.run(self._set(self._wanted.clear))
        self.cut()

    def come_back(self):
        """After leave()."""
        LOOP.run(self._set(self._wanted.set))

    def stop_reading(self):
        """Take nothing from the socket of this connection, until read_on() or its end; the kernel takes little for it."""
        async def stop():
            if self._socket and self._socket.open:
                self._socket.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
                self._socket.transport.pause_reading()
        LOOP.run(stop())

    def read_on(self):
        """After stop_reading()."""
        async def read():
            if self._socket:
                self._socket.transport.resume_reading()
        LOOP.run(read())

    # what it has seen

    @property
    def events(self):
        """The events, in order."""
        return [frame for frame in list(self.log) if frame["type"] not in NOTICES]

    @property
    def is_there(self):
        """Has its present connection been established?"""
        return self._there

    @property
    def established(self):
        """`data` of every connection_established."""
        return [frame["data"] for frame in list(self.log) if frame["type"] == "connection_established"]

    @property
    def resyncs(self):
        """Every resync."""
        return [frame for frame in list(self.log) if frame["type"] == "resync"]

    def wait(self, check, what="condition", timeout=20):
        """Until `check` says so; it is asked after every frame."""
        with self._changed:
            assert self._changed.wait_for(check, scaled(timeout)), f"{self.user} did not see {what}; {self.log[-5:]}"

    def wait_event(self, timeout=20, **fields):
        """Until an event with these fields has come."""
        def come():
            return any(all(event.get(key) == value for key, value in fields.items()) for event in self.events)
        self.wait(come, f"an event with {fields}", timeout)

    def missed(self, emitted, key="n"):
        """What of `emitted`, the values of `key` in the order in which they were sent to this user, did not come. It is an
        error when one comes twice or out of order, or when some are missing where nobody has said so."""
        place = {value: index for index, value in enumerate(emitted)}
        missing, following, told = [], 0, False
        for frame in list(self.log):
            told = told or _tells_of_loss(frame)
            if key not in frame:
                continue
            index = place[frame[key]]
            assert index >= following, f"{self.user}: {frame[key]} after {emitted[following - 1]}"
            assert index == following or told, f"{self.user}: {emitted[following:index]} are missing, and nobody said so"
            missing += emitted[following:index]
            following, told = index + 1, False
        assert following == len(emitted) or told, f"{self.user}: the end is missing from {emitted[following]} on"
        return missing + list(emitted[following:])

    # in the loop

    async def _set(self, do):
        do()

    async def _live(self):
        while not self._stopped:
            await self._wanted.wait()
            try:
                await self._one_connection()
            except (OSError, websockets.WebSocketException, asyncio.TimeoutError):
                pass  # also the end of a connection, whose code is kept
            await asyncio.sleep(PAUSE)

    async def _one_connection(self):
        async with connect(self._target(), **self._options) as connection:
            self._socket = connection
            try:
                async for frame in connection:
                    self._take(json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame))
            finally:
                with self._changed:
                    self._there = False
                    self.closes.append((connection.close_code, connection.close_reason))
                    self._changed.notify_all()

    def _target(self):
        return self._address + (f"?epoch={self.epoch}&offset={self.offset}" if self.epoch else "")

    def _take(self, frame):
        with self._changed:
            self.log.append(frame)
            self._there = self._there or frame["type"] == "connection_established"
            if frame["type"] in ("connection_established", "resync"):
                self.epoch, self.offset = frame["data"]["resume"]["epoch"], frame["data"]["resume"]["offset"]
            self.offset = frame.get("_offset", self.offset)
            self._changed.notify_all()


def _tells_of_loss(frame):
    """Does this frame say that events may be missing before the next one?"""
    if frame["type"] == "connection_established":
        return frame["data"]["recovery_error"] is not None
    return frame["type"] == "resync"
