"""A runtime that sends rubbish: everything is dropped, counted and survived."""
import contextlib
import random
import socket
import threading

import msgpack
import pytest
from harness import scaled, wait_until

EMPTY = b"\x80"


def frames(name, connection=b"", user=b"", headers=EMPTY, body=b""):
    """Five frames of a command."""
    return [name, connection, user, headers, body]


def packed(**headers):
    """A headers frame."""
    return msgpack.packb(headers)


# name: (reason, function of the frames' connection and user)
HOSTILE = {
    "one-empty-frame": ("malformed", lambda c, u: [b""]),
    "one-frame": ("malformed", lambda c, u: [b"SEND"]),
    "four-frames": ("malformed", lambda c, u: [b"SEND", c, u, EMPTY]),
    "six-frames": ("malformed", lambda c, u: frames(b"SEND", c, u) + [b""]),
    "many-frames": ("malformed", lambda c, u: [b"x"] * 500),
    "headers-number": ("malformed", lambda c, u: frames(b"SEND", c, u, b"\x01")),
    "headers-garbage": ("malformed", lambda c, u: frames(b"SEND", c, u, b"\xc1")),
    "headers-trailing": ("malformed", lambda c, u: frames(b"SEND", c, u, EMPTY + b"\x00")),
    "headers-hostile-count": ("malformed", lambda c, u: frames(b"SEND", c, u, b"\xdf\xff\xff\xff\xff")),
    "headers-too-deep": ("malformed", lambda c, u: frames(b"SEND", c, u, b"\x81\xa1x" + b"\x91" * 70 + b"\x90")),
    "send-no-event": ("malformed", lambda c, u: frames(b"SEND", c, u, body=b"\xc1")),
    "send-no-type": ("malformed", lambda c, u: frames(b"SEND", c, u, body=EMPTY)),
    "send-odd-opcode": ("malformed", lambda c, u: frames(b"SEND", c, u, packed(opcode="ping"), b"x")),
    "send-text-not-utf8": ("malformed", lambda c, u: frames(b"SEND", c, u, packed(opcode="text"), b"\xff")),
    "close-odd-code": ("malformed", lambda c, u: frames(b"CLOSE", c, u, packed(code=1005))),
    "close-long-reason": ("malformed", lambda c, u: frames(b"CLOSE", c, u, packed(code=1000, reason="x" * 124))),
    "empty-command": ("unknown_command", lambda c, u: frames(b"", c, u)),
    "lower-case": ("unknown_command", lambda c, u: frames(b"send", c, u, body=msgpack.packb({"type": "x"}))),
    "with-nul": ("unknown_command", lambda c, u: frames(b"SEND\0", c, u, body=msgpack.packb({"type": "x"}))),
    "invented": ("unknown_command", lambda c, u: frames(b"DESTROY", c, u)),
    "of-the-bridge": ("unknown_command", lambda c, u: frames(b"CONNECT", c, u)),
    "binary-name": ("unknown_command", lambda c, u: frames(b"\xff\x00\xfe" * 100, c, u)),
    "send-no-connection": ("unknown_connection", lambda c, u: frames(b"SEND", b"", u, body=msgpack.packb({"type": "x"}))),
    "send-strange-connection": ("unknown_connection", lambda c, u: frames(b"SEND", b"ws_000000000000", u, body=EMPTY)),
    "send-long-connection": ("unknown_connection", lambda c, u: frames(b"SEND", b"w" * 100000, u, body=EMPTY)),
    "close-strange-connection": ("unknown_connection", lambda c, u: frames(b"CLOSE", b"ws_000000000000", u)),
    "kick-strange-user": ("unknown_connection", lambda c, u: frames(b"KICK", b"", b"nobody")),
    "send-other-user": ("isolation", lambda c, u: frames(b"SEND", c, b"bob", body=msgpack.packb({"type": "x"}))),
    "send-no-user": ("isolation", lambda c, u: frames(b"SEND", c, b"", body=msgpack.packb({"type": "x"}))),
    "send-user-prefix": ("isolation", lambda c, u: frames(b"SEND", c, u[:-1], body=msgpack.packb({"type": "x"}))),
    "send-user-nul": ("isolation", lambda c, u: frames(b"SEND", c, u + b"\0", body=msgpack.packb({"type": "x"}))),
    "close-other-user": ("isolation", lambda c, u: frames(b"CLOSE", c, b"bob")),
}


def test_hostile_commands(bridge, runtime, stack):
    """Each is counted under its reason; the connection they name lives and sees nothing."""
    client = stack.connect("alice")
    expected = {}
    for reason, make in HOSTILE.values():
        runtime.raw_send(make(client.connection_id.encode(), b"alice"))
        expected[reason] = expected.get(reason, 0) + 1
    runtime.send("PING", headers={"t": 1})
    runtime.wait_command("PONG")
    got = {reason: bridge.metric("runtime_commands_dropped_total", reason=reason) for reason in expected}
    assert got == expected
    assert bridge.metric("isolation_violations_total") == expected["isolation"]
    client.quiet(runtime)
    runtime.send("SEND", client.connection_id, "alice", {}, {"type": "still here"})
    client.recv_type("still here")
    for log_id in ("COMMAND_DROPPED", "ISOLATION_VIOLATION"):
        bridge.wait_log(log_id)


@pytest.mark.parametrize("reason", sorted({reason for reason, _ in HOSTILE.values()}))
def test_the_log_names_the_reason(bridge, runtime, stack, reason):
    """One line with the reason for each kind."""
    client = stack.connect("alice")
    make = next(make for cause, make in HOSTILE.values() if cause == reason)
    runtime.raw_send(make(client.connection_id.encode(), b"alice"))
    if reason == "isolation":
        bridge.wait_log("ISOLATION_VIOLATION")
    else:
        bridge.wait_log("COMMAND_DROPPED", reason=reason)


def test_random_commands(bridge, runtime, stack):
    """1,000 random messages on the command link."""
    client = stack.connect("alice")
    chance = random.Random(7)
    for _ in range(1000):
        count = chance.choice((1, 2, 4, 5, 5, 5, 6, 9))
        runtime.raw_send([chance.randbytes(chance.choice((0, 1, 4, 40, 400))) for _ in range(count)])
    runtime.send("PING", headers={"t": 1})
    runtime.wait_command("PONG", timeout=20)
    assert bridge.total("runtime_commands_dropped_total") == 1000
    client.quiet(runtime)


def test_random_events(bridge, runtime, stack):
    """1,000 random messages on the event link; what is by chance for nobody is at least not for alice."""
    client = stack.connect("alice")
    chance = random.Random(8)
    for _ in range(1000):
        body = chance.randbytes(chance.choice((0, 1, 4, 40, 400)))
        if chance.random() < 0.5:
            body = b"\x82\xa4type\xa1x" + body
        runtime.raw_publish([b"alice", body] + [chance.randbytes(5)] * chance.choice((0, 0, 0, 1, 2)))
    runtime.emit("alice", {"type": "end"})
    seen = 0
    while client.recv_event()["type"] != "end":
        seen += 1
    assert bridge.total("events_dropped_total") == 1000 - seen
    assert bridge.total("events_received_total") == 1 + seen


def test_mutated_events(bridge, runtime, stack):
    """Good events with single bytes changed: delivered or dropped, every one accounted for, all of it valid JSON."""
    client = stack.connect("alice")
    base = msgpack.packb({"type": "x", "s": "häß", "a": [1, 2.5, None, True, b"\x00\x01"], "m": {"k": -7}, "n": 2 ** 63})
    chance = random.Random(9)
    for _ in range(2000):
        mutated = bytearray(base)
        mutated[chance.randrange(len(base))] = chance.randrange(256)
        runtime.emit("alice", bytes(mutated))
    runtime.emit("alice", {"type": "end"})
    seen = 0
    while client.recv_event()["type"] != "end":
        seen += 1
    assert bridge.total("events_dropped_total") + seen == 2000


def test_flood_of_unknown_users(bridge, runtime, stack):
    """Events for users who are not there cost bounded memory and reach nobody."""
    client = stack.connect("alice")
    for number in range(5000):
        runtime.emit(f"stranger-{number}", {"type": "stream_chunk", "delta": "x" * 100})
    client.quiet(runtime)
    assert bridge.metric("events_received_total", type="stream_chunk") == 5000
    assert bridge.metric("events_delivered_total", type="stream_chunk") == 0
    assert bridge.metric("users") == 1


def test_two_hellos(bridge, runtime, stack):
    """A runtime may introduce itself again and again, with anything in it."""
    client = stack.connect("alice")
    for headers in ({}, {"protocol": 99}, {"protocol": "x", "runtime": 5, "publisher": None}, {"runtime": "r" * 5000}):
        runtime.send("HELLO", headers=headers)
    client.quiet(runtime)
    assert bridge.http("GET", "/readyz").status == 200


def test_command_that_is_far_too_big(bridge, runtime, stack):
    """A SEND of 32 MiB costs at worst the link, which comes back; the client stays."""
    client = stack.connect("alice")
    runtime.send("SEND", client.connection_id, "alice", {}, {"type": "private", "x": "x" * (32 << 20)})

    wait_until(lambda: bridge.logs("LINK_DOWN") or bridge.total("runtime_commands_dropped_total"), what="its end")
    bridge.wait_ready()
    mark = runtime.mark()
    client.send({"type": "user_message"})
    runtime.wait_command("MESSAGE", since=mark)
    assert client.closed is None


class Impostor(threading.Thread):
    """A TCP server at the runtime's address that is no ZeroMQ: answers everything with HTTP."""

    def __init__(self, endpoint):
        super().__init__(daemon=True)
        host, port = endpoint.removeprefix("tcp://").split(":")
        self.listener = socket.create_server((host, int(port)))
        self.met = threading.Event()

    def run(self):
        """Answer until the listener is shut down."""
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                peer.settimeout(1)
                with contextlib.suppress(OSError):
                    while peer.recv(4096):
                        pass
            self.met.set()

    def stop(self):
        """Free the address."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join()


def test_something_else_at_the_address(stack):
    """A server that speaks no ZeroMQ at the runtime's addresses does no lasting harm: the runtime that comes there
    later is found."""
    endpoints = stack.endpoints("tcp")
    impostors = [Impostor(endpoint) for endpoint in endpoints]
    for impostor in impostors:
        impostor.start()
    bridge = stack.bridge(runtime_commands=">" + endpoints[0], runtime_events=">" + endpoints[1])
    for impostor in impostors:
        assert impostor.met.wait(scaled(10))
        impostor.stop()
    assert bridge.http("GET", "/readyz").status == 503
    runtime = stack.runtime(endpoints=endpoints)
    bridge.wait_ready(timeout=20)
    runtime.wait_subscribed()
    stack.connect("alice").quiet(runtime)
