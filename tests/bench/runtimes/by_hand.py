#!/usr/bin/python3
"""The yardstick of the bindings: a runtime by hand that does the least, numbers its events, and holds none.

usage: by_hand.py COMMANDS EVENTS"""

import json
import sys
import time
import uuid

import msgpack
import zmq


def emit(socket, user, events):
    """So many numbered events."""
    publisher, run = uuid.uuid4().hex, uuid.uuid4().hex
    for seq in range(1, events + 1):
        event = {"type": "agent_thinking", "event_id": uuid.uuid4().hex, "timestamp": time.time(), "user_id": user, "run_id": run,
                 "agent_name": "bench", "delta": "a few words of it "}
        socket.send_multipart([user.encode(), msgpack.packb(event), msgpack.packb({"publisher": publisher, "seq": seq})])


def main(commands, events):
    """Serve until killed."""
    context = zmq.Context()
    router, pub = context.socket(zmq.ROUTER), context.socket(zmq.PUB)
    pub.sndhwm = 0  # it holds nothing for REPLAY
    router.bind(commands)
    pub.bind(events)
    while True:
        bridge, command, _, _, headers, body = router.recv_multipart()
        if command == b"PING":
            router.send_multipart([bridge, b"PONG", b"", b"", headers, b""])
        elif command == b"MESSAGE":
            order = json.loads(body)
            emit(pub, order["user"], order["events"])


if __name__ == "__main__":
    main(*sys.argv[1:])
