"""A publisher as a program of its own: binds PUB and pours numbered events, each user's counted from 1. Orders come as
JSON lines on standard input, what happens is told as JSON lines on standard output. Ends with its standard input."""
import itertools
import json
import select
import sys
import time

import msgpack
import zmq


def tell(what):
    """One line out."""
    print(json.dumps(what), flush=True)


class Publisher:
    """Rates are kept on the average, so that a late wake-up is made up for."""

    def __init__(self, endpoint):
        self._socket = zmq.Context.instance().socket(zmq.XPUB)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._socket.bind(endpoint)
        self._sent = {}

    def wait_subscriber(self):
        """Until a bridge has subscribed; what there was before is forgotten."""
        while self._socket.recv()[:1] != b"\1":
            pass

    def emit(self, user, pad):
        """The user's next event."""
        number = self._sent[user] = self._sent.get(user, 0) + 1
        event = {"type": "stream_chunk", "n": number, "pad": pad}
        self._socket.send_multipart([user.encode(), msgpack.packb(event)])

    def pour(self, users, rate, pad, count):
        """To each user in turn, at `rate` a second for all (0: as fast as it goes), until `count` are sent or another
        order comes (count 0)."""
        start, text = time.monotonic(), "x" * pad
        for number, user in enumerate(itertools.cycle(users), 1):
            self.emit(user, text)
            ahead = number / rate - (time.monotonic() - start) if rate else 0
            if ahead > 0.002:
                time.sleep(ahead)
            if number == count or (not count and number % 16 == 0 and select.select([0], [], [], 0)[0]):
                return


def main(endpoint):
    """Serve until standard input ends."""
    publisher = Publisher(endpoint)
    tell({"ready": True})
    while line := sys.stdin.buffer.raw.readline():
        order = json.loads(line)
        if order["what"] == "wait_subscriber":
            publisher.wait_subscriber()
        elif order["what"] == "pour":
            publisher.pour(order["users"], order["rate"], order["pad"], order["count"])
        tell({"done": order["what"], "sent": publisher._sent})  # pylint: disable=protected-access


if __name__ == "__main__":
    main(*sys.argv[1:])
