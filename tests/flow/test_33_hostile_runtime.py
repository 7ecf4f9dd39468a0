"""A runtime that floods, mixes users up and says what is none of its business: bounded, counted, and its clients get what is
theirs. test_09_hostile_runtime.py has the single faults."""
import itertools
import random

import msgpack
import pytest
import zmq
from harness import scaled, wait_until
from harness.siege import SANITIZED, siege

EMPTY = b"\x80"
PUBLISHERS = 20000 if SANITIZED else 100000
FOLLOWED = 256  # publishers, proto/README.md


def dropped(bridge):
    """{reason: commands}."""
    return {dict(labels)["reason"]: count for (name, labels), count in bridge.metrics().items()
            if name == "agentbridge_runtime_commands_dropped_total"}


def events_dropped(bridge):
    """{reason: events}."""
    return {dict(labels)["reason"]: count for (name, labels), count in bridge.metrics().items()
            if name == "agentbridge_events_dropped_total" and count}


def settled(runtime):
    """The bridge has handled every command that was sent to it."""
    mark = runtime.mark()
    runtime.send("PING", headers={"t": mark})
    runtime.wait_commands("PONG", 1, timeout=60, since=mark)


@pytest.mark.parametrize("content", [b"", b"SEND", b"\xff" * 1000, EMPTY])
def test_number_of_command_frames(bridge, runtime, stack, content):
    """Any number but five is malformed; five of anything are no command either."""
    client = stack.connect("alice")
    expected = dict(dropped(bridge))
    for count in range(1, 13):
        runtime.raw_send([content] * count)
        settled(runtime)
        expected["unknown_command" if count == 5 and content != b"SEND" else "malformed"] += 1
        assert dropped(bridge) == expected
    client.quiet(runtime)


def test_number_of_event_frames(bridge, runtime, stack):
    """Two and three are events, if the third is a meta; the others are dropped."""
    client = stack.connect("alice")
    event, bad = msgpack.packb({"type": "x"}), 0
    metas = (b"", EMPTY, b"\xc1", b"\x01", msgpack.packb({"publisher": "p"}), msgpack.packb({"seq": 1}))
    for count in range(1, 13):
        for meta in metas:
            runtime.raw_publish(([b"alice", event] + [meta] * 10)[:count])
        good = {2: 6, 3: 1}.get(count, 0)  # EMPTY: neither of both
        assert [client.recv_event()["type"] for _ in range(good)] == ["x"] * good
        client.quiet(runtime)
        bad += len(metas) - good
        assert bridge.metric("events_dropped_total", reason="bad_frames") == bad
    assert events_dropped(bridge) == {"bad_frames": bad}


HEADERS = {
    "a-long-value": {"opcode": "text", "x": "y" * 1000000},
    "a-long-key": {"opcode": "text", "k" * 1000000: 1},
    "many-keys": {"opcode": "text", **{str(number): number for number in range(100000)}},
    "much-binary": {"x": b"\0" * 1000000, "opcode": "text"},
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_a_megabyte(runtime, stack, name):
    """Unknown headers are ignored, however long; none of it stays."""
    bridge = stack.bridge(runtime)
    client = stack.connect("alice")
    runtime.send("SEND", client.connection_id, "alice", HEADERS[name], b"still here")
    assert client.recv() == "still here"
    client.close()
    with siege(stack, runtime, bridge):
        for _ in range(20):
            runtime.send("SEND", "ws_000000000000", "alice", HEADERS[name], b"for nobody")
            runtime.send("HELLO", headers={**HEADERS[name], "protocol": 1, "publisher": "flow"})
        settled(runtime)
    assert bridge.metric("runtime_commands_dropped_total", reason="unknown_connection") == 20


def test_foreign_connections(bridge, runtime, stack):
    """Every command for every connection under every other user's name, many times over: nothing happens to any of them."""
    clients = {user: stack.connect(user) for user in ("alice", "bob", "carol")}
    users = [*clients, "dave", "", "alice\0", "Alice"]
    wrong = [(owner, user) for owner, user in itertools.product(clients, users) if owner != user]
    rounds = 100
    for (owner, user), name in itertools.product(wrong * rounds, ("SEND", "CLOSE")):
        runtime.send(name, clients[owner].connection_id, user, {}, {"type": "stolen"} if name == "SEND" else b"")
    settled(runtime)
    assert bridge.metric("isolation_violations_total") == 2 * len(wrong) * rounds
    assert dropped(bridge)["isolation"] == 2 * len(wrong) * rounds
    for client in clients.values():
        client.quiet(runtime)


def test_connections_by_chance(bridge, runtime, stack):
    """10,000 commands for connections that might be there."""
    client, chance = stack.connect("alice"), random.Random(33)
    for number in range(10000):
        guess = client.connection_id[:-1 - number % 20] + "".join(chance.choices("0123456789abcdef", k=1 + number % 20))
        if guess != client.connection_id:
            runtime.send(("SEND", "CLOSE")[number % 2], guess, "alice", {}, {"type": "x"} if number % 2 == 0 else b"")
        else:
            runtime.send("SEND", "ws_" + "0" * 24, "alice", {}, {"type": "x"})
    settled(runtime)
    assert dropped(bridge)["unknown_connection"] == 10000
    client.quiet(runtime)


@pytest.fixture(name="pub")
def pub_fixture(stack):
    """A second event socket, without a queue between the test and the wire."""
    context = zmq.Context()
    socket = context.socket(zmq.XPUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVTIMEO, int(scaled(10) * 1000))
    endpoint = stack.endpoints()[1] + "-flood"
    socket.bind(endpoint)
    yield socket
    socket.close()
    context.term()


def endpoint_of(socket):
    """Where it is bound."""
    return socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()


def flooded_bridge(stack, runtime, pub, **options):
    """A bridge that hears both."""
    bridge = stack.bridge(runtime, **{**options, "runtime_events": f"{runtime.options['runtime_events']},>{endpoint_of(pub)}"})
    pub.recv()
    return bridge


def test_names_of_publishers(runtime, stack, pub):
    """A new publisher with every event: 256 are followed, every event arrives, and no name stays."""
    bridge = flooded_bridge(stack, runtime, pub, history_events=10)
    with siege(stack, runtime, bridge):
        event = msgpack.packb({"type": "stream_chunk", "delta": "x"})
        for number in range(PUBLISHERS):
            pub.send_multipart([b"mallory", event, msgpack.packb({"publisher": f"{number:0128d}", "seq": 1})])
        bridge.wait_metric("events_received_total", PUBLISHERS, timeout=60, type="stream_chunk")
        bridge.wait_log("PUBLISHER_FORGOTTEN")
    assert not events_dropped(bridge)


def nested(depth):
    """An event so deep: the map itself counts."""
    return b"\x82\xa4type\xa1x\xa1v" + b"\x91" * (depth - 2) + b"\x90"


def padded(size):
    """An event of exactly so many bytes."""
    head = b"\x82\xa4type\xa1x\xa1v\xc6"
    return head + (size - len(head) - 4).to_bytes(4, "big") + b"\0" * (size - len(head) - 4)


def test_depth_and_size(runtime, stack, pub):
    """Up to 64 deep and max-event-bytes long they come; over that they are dropped, a million deep too."""
    bridge = flooded_bridge(stack, runtime, pub, max_event_bytes=100000)
    client = stack.connect("alice")
    for body in (nested(64), padded(100000)):
        pub.send_multipart([b"alice", body])
        assert client.recv_type("x")
    for body in (nested(65), nested(1000), nested(90000)):
        pub.send_multipart([b"alice", body])
    for body in (padded(100001), nested(120000)):
        pub.send_multipart([b"alice", body])
    pub.send_multipart([b"alice", msgpack.packb({"type": "end"})])
    client.recv_type("end")
    assert events_dropped(bridge) == {"too_deep": 3, "too_big": 2}


def test_events_far_too_big(runtime, stack, pub):
    """Events beyond what the link takes cost the link they came by, which comes back; the other one and its clients go on."""
    bridge = flooded_bridge(stack, runtime, pub)
    with siege(stack, runtime, bridge, slack=64 << 20):
        for number in range(3):
            pub.send_multipart([b"mallory", b"x" * (32 << 20)])
            pub.recv()  # unsubscribed
            pub.recv()  # and back
            pub.send_multipart([b"mallory", msgpack.packb({"type": "stream_chunk", "n": number})])
            bridge.wait_metric("events_received_total", number + 1, type="stream_chunk")


def test_flood_of_noise(runtime, stack, pub):
    """20,000 random messages on either link while others use them: each is accounted for."""
    bridge, chance, count = flooded_bridge(stack, runtime, pub), random.Random(34), 20000
    with siege(stack, runtime, bridge):
        commands, events = dict(dropped(bridge)), sum(events_dropped(bridge).values())
        for _ in range(count):
            size = chance.choice((0, 3, 30, 300))
            runtime.raw_send([chance.randbytes(size) for _ in range(chance.choice((1, 4, 5, 5, 6)))])
            pub.send_multipart([b"mallory", b"\xc1" + chance.randbytes(size)])
        settled(runtime)
        wait_until(lambda: sum(events_dropped(bridge).values()) == events + count, 60, "all events dropped")
    assert sum(dropped(bridge).values()) == sum(commands.values()) + count
