#!/usr/bin/python3
"""What one would write in Python for the bridge's work: asyncio, websockets and pyzmq, with the interface of bench_limit.

Events come from a PUB as [user][body], and go to the user's connections as text; what a client sends goes to a PULL as
[user][payload].
"""
import argparse
import asyncio
import collections
import logging
import signal
import urllib.parse

import websockets
import zmq
import zmq.asyncio

EVENTS_IN_A_ROW = 500
HIGH_WATER_MARK = 100000


class Peer:
    """The connections of each user, and the sockets to the program behind."""

    def __init__(self, events, upstream):
        context = zmq.asyncio.Context()
        self.connections = collections.defaultdict(set)
        self.events = context.socket(zmq.SUB)
        self.events.set_hwm(HIGH_WATER_MARK)
        self.events.subscribe(b"")
        self.events.connect(events)
        self.upstream = context.socket(zmq.PUSH)
        self.upstream.set_hwm(HIGH_WATER_MARK)
        if upstream:
            self.upstream.connect(upstream)

    async def take_events(self):
        """While there are events, recv_multipart() does not wait: let the connections have their turn too."""
        while True:
            for _ in range(EVENTS_IN_A_ROW):
                user, body = await self.events.recv_multipart()
                if user in self.connections:
                    websockets.broadcast(self.connections[user], body.decode())
            await asyncio.sleep(0)

    async def serve(self, websocket):
        """One client, to its end."""
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(websocket.path).query)
        user = query["user"][0].encode()
        self.connections[user].add(websocket)
        try:
            async for message in websocket:
                await self.upstream.send_multipart([user, message.encode()])
        except websockets.ConnectionClosedError:
            pass  # gone without a close frame
        finally:
            self.connections[user].discard(websocket)
            if not self.connections[user]:
                del self.connections[user]


async def run(options):
    """Serve until SIGTERM."""
    peer = Peer(options.events, options.upstream)
    host, port = options.listen.rsplit(":", 1)
    ended = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set_result, None)
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    # Neither compression nor pings: the others have none either.
    async with websockets.serve(peer.serve, host, int(port), compression=None, ping_interval=None, backlog=4096):
        events = asyncio.create_task(peer.take_events())
        await asyncio.wait({events, ended}, return_when=asyncio.FIRST_COMPLETED)
        if events.done():
            events.result()  # raises what has ended it


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--events", required=True, metavar="ENDPOINT")
    parser.add_argument("--upstream", metavar="ENDPOINT")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
