"""Frames: sizes, fragments, control frames, dead and faulty peers."""
import json
import time

import pytest
from harness.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, encode_frame


def message_of(size):
    """A JSON message of exactly so many bytes."""
    head, tail = b'{"type":"user_message","x":"', b'"}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


def check_lives(stack):
    """The bridge serves others."""
    stack.connect("witness").ping()


@pytest.mark.parametrize("size", [125, 126, 65535, 65536])
def test_up_to_the_limit(bridge, runtime, stack, size):
    """max-message-bytes itself is allowed."""
    assert bridge
    client = stack.raw_connect()
    client.send_frame(TEXT, message_of(size))
    assert runtime.wait_command("MESSAGE").body == message_of(size)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("pieces", [1, 3])
def test_over_the_limit(runtime, stack, opcode, pieces):
    """One byte more closes 1009, in one frame or in fragments."""
    bridge = stack.bridge(runtime, max_message_bytes=10000)
    client = stack.raw_connect()
    body = message_of(10001)
    step = len(body) // pieces + 1
    parts = [body[at:at + step] for at in range(0, len(body), step)]
    for number, part in enumerate(parts):
        client.send_frame(CONTINUATION if number else opcode, part, fin=number == len(parts) - 1)
    assert client.recv_close()[0] == 1009
    gone = runtime.wait_command("DISCONNECT")
    assert gone.headers["code"] == 1009
    bridge.wait_metric("connections_closed_total", 1, reason="message_too_big")
    assert not runtime.commands("MESSAGE")
    check_lives(stack)


def test_limit_is_per_message(runtime, stack):
    """Many messages at the limit are no message over the limit."""
    stack.bridge(runtime, max_message_bytes=1000)
    client = stack.connect()
    for _ in range(20):
        client.send(message_of(1000).decode())
    assert {command.body for command in runtime.wait_commands("MESSAGE", 20)} == {message_of(1000)}


def test_fragments(bridge, runtime, stack):
    """A message in five fragments with pings in between is one message."""
    assert bridge
    client = stack.raw_connect()
    body = '{"type":"user_message","x":"\u00e9\U0001f600"}'.encode()
    cuts = [0, 5, 5, len(body) - 5, len(body) - 3, len(body)]  # an empty one, and one inside a character
    for number in range(5):
        client.send_frame(CONTINUATION if number else TEXT, body[cuts[number]:cuts[number + 1]], fin=number == 4)
        client.send_frame(PING, b"p%d" % number)
        pong = client.recv_frame()
        assert (pong.opcode, pong.payload) == (PONG, b"p%d" % number)
    assert runtime.wait_command("MESSAGE").body == body
    assert len(runtime.commands("MESSAGE")) == 1


def test_pong_to_ping(bridge, stack):
    """A WebSocket ping is answered with its payload, whatever its length."""
    assert bridge
    client = stack.raw_connect()
    for payload in (b"", b"x", b"y" * 125):
        client.send_frame(PING, payload)
        pong = client.recv_frame()
        assert (pong.opcode, pong.payload) == (PONG, payload)


def test_unasked_pong(bridge, stack):
    """A pong that nobody asked for is no fault."""
    assert bridge
    client = stack.raw_connect()
    client.send_frame(PONG, b"hello")
    client.send_frame(TEXT, b'{"type":"ping"}')
    assert client.recv_json()["type"] == "pong"


def test_dead_client(runtime, stack):
    """A client that answers no ping is closed; one that does lives on."""
    bridge = stack.bridge(runtime, ping_interval_s=1, pong_timeout_s=1)
    alive = stack.connect("alice")
    assert alive.established["data"]["heartbeat_interval_ms"] == 1000
    dead = stack.raw_connect("bob")
    opened = time.monotonic()
    assert dead.recv_frame().opcode == PING
    dead.wait_eof()
    assert time.monotonic() - opened > 1
    bridge.wait_metric("connections_closed_total", 1, reason="pong_timeout")
    gone = runtime.wait_command("DISCONNECT")
    assert (gone.user_id, gone.headers["code"]) == ("bob", 1001)
    assert alive.closed is None
    alive.ping()
    bridge.wait_total("connections", 1)


def test_many_fragments(bridge, runtime, stack):
    """A message in 10,000 fragments of one byte, with pings of the largest size in between, arrives whole."""
    assert bridge
    client = stack.raw_connect()
    body = b'{"type":"' + b"a" * 9989 + b'"}'
    frames = []
    for at in range(len(body)):
        frames.append(encode_frame(CONTINUATION if at else TEXT, body[at:at + 1], fin=at == len(body) - 1))
        if at % 500 == 0:
            frames.append(encode_frame(PING, b"p" * 125))
    client.send(b"".join(frames))
    assert runtime.wait_command("MESSAGE").body == body


@pytest.mark.parametrize("payload", [b"\xff", b"{\"type\":\"\xc3\"}", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"])
def test_invalid_utf8(bridge, runtime, stack, payload):
    """Text that is not UTF-8 closes 1007."""
    assert bridge
    client = stack.raw_connect()
    client.send_frame(TEXT, payload)
    assert client.recv_close()[0] == 1007
    assert runtime.wait_command("DISCONNECT").headers["code"] == 1007
    assert not runtime.commands("MESSAGE")
    check_lives(stack)


# name: frames that break RFC 6455
FAULTS = {
    "reserved-bit": [(TEXT, b"{}", {"rsv": 4})],
    "reserved-opcode": [(3, b"", {})],
    "reserved-control": [(11, b"", {})],
    "lone-continuation": [(CONTINUATION, b"x", {})],
    "text-inside-text": [(TEXT, b"{", {"fin": False}), (TEXT, b"}", {})],
    "fragmented-ping": [(PING, b"x", {"fin": False})],
    "long-ping": [(PING, b"x" * 126, {})],
}


@pytest.mark.parametrize("case", FAULTS)
def test_protocol_fault(bridge, runtime, stack, case):
    """Closed with 1002, or cut; nothing reaches the runtime."""
    client = stack.raw_connect()
    for opcode, payload, how in FAULTS[case]:
        client.send_frame(opcode, payload, **how)
    closed = client.recv_close()
    assert closed is None or closed[0] == 1002
    client.wait_eof()
    runtime.wait_command("DISCONNECT")
    assert not runtime.commands("MESSAGE")
    bridge.wait_total("connections", 0)
    check_lives(stack)


def test_unmasked_frame(bridge, stack):
    """libwebsockets does not look whether a client masks (RFC 6455 section 5.1); at least nothing breaks."""
    assert bridge
    client = stack.raw_connect()
    client.send_frame(TEXT, b'{"type":"ping"}', masked=False)
    frame = client.recv_frame()
    assert frame is None or frame.opcode == CLOSE or json.loads(frame.payload)["type"] == "pong"
    check_lives(stack)


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe8bye", b"\x0f\xa0"], ids=["empty", "1000", "text", "4000"])
def test_close_from_the_client(bridge, runtime, stack, payload):
    """A proper close is answered and told to the runtime."""
    client = stack.raw_connect()
    client.send_frame(CLOSE, payload)
    closed = client.recv_close()
    assert closed is not None
    if payload:
        assert closed[0] == int.from_bytes(payload[:2], "big")
    client.wait_eof()
    runtime.wait_command("DISCONNECT")
    bridge.wait_metric("connections_closed_total", 1, reason="peer_closed")


@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xed", b"\x00\x00", b"\x03\xe8\xff"],
                         ids=["one-byte", "1005", "zero", "bad-utf8"])
def test_faulty_close(bridge, runtime, stack, payload):
    """A close frame that is none: never echoed as it is, and the connection ends."""
    client = stack.raw_connect()
    client.send_frame(CLOSE, payload)
    frame = client.recv_frame()
    assert frame is None or len(frame.payload or b"") != 1
    client.wait_eof()
    runtime.wait_command("DISCONNECT")
    bridge.wait_total("connections", 0)


def test_cut(bridge, runtime, stack):
    """A TCP reset is told to the runtime like any other end."""
    client = stack.raw_connect()
    client.reset()
    gone = runtime.wait_command("DISCONNECT")
    assert gone.headers["code"] == 1006
    bridge.wait_metric("connections_closed_total", 1, reason="peer_lost")


def test_many_frames_in_one_write(bridge, runtime, stack):
    """Fifty messages in one TCP segment, then a handful of bytes at a time: all there, in order."""
    assert bridge
    client = stack.raw_connect()
    bodies = [json.dumps({"type": "user_message", "n": number}).encode() for number in range(55)]
    client.send(b"".join(encode_frame(TEXT, body) for body in bodies[:50]))
    late = b"".join(encode_frame(TEXT, body) for body in bodies[50:])
    for at in range(0, len(late), 3):
        client.send(late[at:at + 3])
    assert [command.body for command in runtime.wait_commands("MESSAGE", 55)] == bodies
