"""TCP between a bridge and its runtime, in the hands of a test: paused, delayed, cut, refused."""
import asyncio
import socket
import struct

from .client import LOOP

CHUNK = 65536
NO_LINGER = struct.pack("ii", 1, 0)  # close() sends RST
UP, DOWN = "up", "down"              # towards the runtime, towards the bridge


class _Way:
    """One direction of one connection: what comes in goes out, when it may."""

    def __init__(self, proxy, direction, reader, writer):
        self.proxy = proxy
        self.direction = direction
        self.reader = reader
        self.writer = writer
        self.chunks = asyncio.Queue(64)  # (when it has come, bytes)

    async def run(self):
        """Until either side ends."""
        filling = asyncio.ensure_future(self._fill())
        try:
            await self._empty()
        finally:
            filling.cancel()

    async def _fill(self):
        data = True
        while data:
            try:
                data = await self.reader.read(CHUNK)
            except ConnectionError:
                data = b""
            await self.chunks.put((asyncio.get_running_loop().time(), data))

    async def _empty(self):
        while True:
            came, data = await self.chunks.get()
            left = came + self.proxy.latency - asyncio.get_running_loop().time()
            if left > 0:
                await asyncio.sleep(left)
            await self.proxy.flows[self.direction].wait()
            if not data:
                return
            self.writer.write(data)
            await self.writer.drain()


class Proxy:
    """One port in front of one runtime endpoint. The methods may be called from any thread."""

    def __init__(self, target):
        self.latency = 0.0  # seconds that every byte takes, in both directions
        self.flows = {UP: asyncio.Event(), DOWN: asyncio.Event()}  # set while it flows
        self.accepted = 0   # connections so far
        self._target = target
        self._pairs = set()
        self._server = None
        self._place = socket.socket()  # keeps the port ours while nobody listens
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port = self._place.getsockname()[1]
        self.resume()
        self.accept()

    # what a test does

    @property
    def endpoint(self):
        """Where the bridge connects."""
        return f"tcp://127.0.0.1:{self.port}"

    def pause(self, *directions):
        """Keep all connections and forward nothing, or nothing in these directions."""
        LOOP.run(self._set_flow(directions, False))

    def resume(self, *directions):
        """Forward again, what has come meanwhile first."""
        LOOP.run(self._set_flow(directions, True))

    def delay(self, seconds):
        """From now on every byte takes so long."""
        self.latency = seconds

    def reset(self):
        """End all connections with RST, towards both sides; what was under way is gone."""
        LOOP.run(self._reset())

    def refuse(self):
        """From now on nobody listens."""
        LOOP.run(self._close())

    def accept(self):
        """Listen again, on the same port."""
        LOOP.run(self._open())

    def stop(self):
        """End of a test."""
        LOOP.run(self._close())
        LOOP.run(self._reset())
        self._place.close()

    # in the loop

    async def _open(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, reuse_address=True)

    async def _close(self):
        if self._server:
            self._server.close()
            self._server = None

    async def _set_flow(self, directions, flows):
        for direction in directions or (UP, DOWN):
            event = self.flows[direction]
            (event.set if flows else event.clear)()

    async def _reset(self):
        for task, writers in self._pairs:
            task.cancel()
            for writer in writers:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                writer.transport.abort()

    async def _serve(self, reader, writer):
        host, port = self._target.removeprefix("tcp://").split(":")
        self.accepted += 1
        try:
            there_reader, there_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        pair = (asyncio.current_task(), (writer, there_writer))
        self._pairs.add(pair)
        ways = [asyncio.ensure_future(_Way(self, *way).run())
                for way in ((UP, reader, there_writer), (DOWN, there_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.discard(pair)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for each in (writer, there_writer):
                each.close()


class Wire:
    """Both links of one runtime, each through a proxy of its own."""

    def __init__(self, runtime):
        self.commands = Proxy(runtime.commands_endpoint)
        self.events = Proxy(runtime.events_endpoint)
        self.both = (self.commands, self.events)
        self.options = {"runtime_commands": ">" + self.commands.endpoint, "runtime_events": ">" + self.events.endpoint}

    def stop(self):
        """End of a test."""
        for proxy in self.both:
            proxy.stop()
