"""Messages of clients: what the bridge answers itself, what it refuses, what it hands over."""
import json

import msgpack
import pytest

USER_MESSAGE = {"type": "user_message", "text": "hi"}


@pytest.mark.parametrize("ident", ['"a\\u0062"', "7", "1.50", "null", '{"x":[1]}', "123456789012345678901234567890"])
def test_ping_with_id(bridge, stack, ident):
    """pong brings the id back as it was written."""
    client = stack.connect()
    client.send('{"type":"ping","id":%s}' % ident)
    text = client.recv()
    assert json.loads(text)["type"] == "pong"
    assert json.loads(text)["id"] == json.loads(ident) and f'"id":{ident}' in text
    assert bridge.metric("client_messages_total", result="answered") == 1


def test_ping_without_id(bridge, runtime, stack):
    """pong without id then, and the runtime sees nothing."""
    assert bridge
    client = stack.connect()
    client.send({"type": "ping"})
    pong = client.recv_type("pong")
    assert set(pong) == {"type", "timestamp"}
    client.quiet(runtime)
    assert not runtime.commands("MESSAGE")


def test_heartbeat(bridge, runtime, stack):
    """heartbeat is answered with heartbeat_ack, heartbeat_ack with nothing."""
    assert bridge
    client = stack.connect()
    client.send({"type": "heartbeat"})
    assert set(client.recv_type("heartbeat_ack")) == {"type", "timestamp"}
    client.send({"type": "heartbeat_ack"})
    client.ping()
    client.quiet(runtime)
    assert not runtime.commands("MESSAGE")


def test_type_with_escapes(bridge, runtime, stack):
    """A ping is a ping however it is written."""
    assert bridge
    client = stack.connect()
    client.send('{"type":"p\\u0069ng"}')
    client.recv_type("pong")
    assert not runtime.commands("MESSAGE")


@pytest.mark.parametrize("text, code, result", [
    ("", "JSON_PARSE_ERROR", "parse_error"),
    ("hello", "JSON_PARSE_ERROR", "parse_error"),
    ('{"type":"x"', "JSON_PARSE_ERROR", "parse_error"),
    ('{"type":"x"} trailing', "JSON_PARSE_ERROR", "parse_error"),
    ("{'type':'x'}", "JSON_PARSE_ERROR", "parse_error"),
    ('{"type":"x","n":01}', "JSON_PARSE_ERROR", "parse_error"),
    ('{"type":"x","n":NaN}', "JSON_PARSE_ERROR", "parse_error"),
    ('{"type":"x","v":' + "[" * 100 + "]" * 100 + "}", "JSON_PARSE_ERROR", "parse_error"),
    ("[]", "INVALID_MESSAGE", "invalid"),
    ("7", "INVALID_MESSAGE", "invalid"),
    ('"type"', "INVALID_MESSAGE", "invalid"),
    ("null", "INVALID_MESSAGE", "invalid"),
    ("{}", "INVALID_MESSAGE", "invalid"),
    ('{"type":7}', "INVALID_MESSAGE", "invalid"),
    ('{"data":{"type":"x"}}', "INVALID_MESSAGE", "invalid"),
    ('{"type":"x","type":"y"}', "INVALID_MESSAGE", "invalid"),
])
def test_refused_message(bridge, runtime, stack, text, code, result):
    """error_message with exact fields; the connection lives, the runtime sees nothing."""
    client = stack.connect()
    client.send(text)
    frame = client.recv_type("error_message")
    assert set(frame) == {"type", "error_code", "error_message", "details", "timestamp"}
    assert (frame["error_code"], frame["details"]) == (code, {})
    client.send(USER_MESSAGE)
    assert json.loads(runtime.wait_command("MESSAGE").body) == USER_MESSAGE
    assert len(runtime.commands("MESSAGE")) == 1
    assert bridge.metric("client_messages_total", result=result) == 1


def test_bytes_are_kept(bridge, runtime, stack):
    """Blanks, key order, escapes, big numbers and double members that the bridge does not read: byte for byte."""
    assert bridge
    client = stack.connect()
    texts = [' \n{ "type" :"a"}\t', '{"z":1,"type":"b","a":2}', '{"type":"c","n":1e400,"m":-0.0,"k":12345678901234567890123}',
             '{"type":"d","x":1,"x":2}', '{"type":"e","s":"\\u0000\\ud83d\\ude00\U0001f600"}', '{"type":""}']
    for text in texts:
        client.send(text)
    found = runtime.wait_commands("MESSAGE", len(texts))
    assert [command.body.decode() for command in found] == texts


def test_rate_limit(runtime, stack):
    """20 a minute: a burst of two, then (one more would take three seconds) RATE_LIMITED for each, named by its
    message_id."""
    bridge = stack.bridge(runtime, client_messages_per_minute=20)
    client = stack.connect()
    for number in range(6):
        client.send({"type": "user_message", "message_id": f"m{number}"})
    refused = client.recv_events(4)
    assert [frame["error_code"] for frame in refused] == ["RATE_LIMITED"] * 4
    assert [frame["details"] for frame in refused] == [{"message_id": f"m{number}"} for number in range(2, 6)]
    client.quiet(runtime)
    assert len(runtime.commands("MESSAGE")) == 2
    assert bridge.metric("client_messages_total", result="rate_limited") == 4
    assert bridge.metric("client_messages_total", result="forwarded") == 2
    stack.connect().ping()


def test_no_rate_limit(runtime, stack):
    """0 is no limit."""
    stack.bridge(runtime, client_messages_per_minute=0)
    client = stack.connect()
    for number in range(500):
        client.send({"type": "user_message", "n": number})
    found = runtime.wait_commands("MESSAGE", 500)
    assert [json.loads(command.body)["n"] for command in found] == list(range(500))


def test_binary_on_a_json_connection(bridge, runtime, stack):
    """Audio and files go to the runtime untouched."""
    assert bridge
    client = stack.connect()
    for data in (b"\x00\xff" * 1000, b"", b'{"type":"ping"}'):
        client.send(data)
    found = runtime.wait_commands("MESSAGE", 3)
    assert [command.body for command in found] == [b"\x00\xff" * 1000, b"", b'{"type":"ping"}']
    assert {command.headers["opcode"] for command in found} == {"binary"}
    client.quiet(runtime)


def test_msgpack_connection(bridge, runtime, stack):
    """agent_chat.msgpack: binary msgpack maps both ways."""
    assert bridge
    client = stack.connect(subprotocols=["agent_chat.msgpack"])
    assert client.established["data"]["user_id"] == "alice"
    body = msgpack.packb({"type": "user_message", "data": b"\x00\xff", "n": 2 ** 64 - 1})
    client.send(body)
    command = runtime.wait_command("MESSAGE")
    assert (command.body, command.headers["opcode"]) == (body, "binary")
    runtime.emit("alice", {"type": "agent_started", "blob": b"\x01\x02", "_own": 1})
    frame = client.recv()
    event = msgpack.unpackb(frame)
    assert isinstance(frame, bytes) and event.pop("_offset") > 0
    assert event == {"type": "agent_started", "blob": b"\x01\x02"}
    client.send({"type": "ping", "id": b"\x07"})
    assert client.recv_type("pong")["id"] == b"\x07"
    runtime.send("SEND", client.connection_id, "alice", {}, {"type": "private"})
    assert client.recv_event() == {"type": "private"}


@pytest.mark.parametrize("body, code", [
    (b"", "JSON_PARSE_ERROR"), (b"\xc1", "JSON_PARSE_ERROR"), (b"\x81\xa4type", "JSON_PARSE_ERROR"),
    (b"\x80\x80", "JSON_PARSE_ERROR"), (b"\xdf\xff\xff\xff\xff", "JSON_PARSE_ERROR"), (b"\x80", "INVALID_MESSAGE"),
    (b"\x01", "INVALID_MESSAGE"), (msgpack.packb({"type": 1}), "INVALID_MESSAGE"),
])
def test_refused_msgpack(bridge, runtime, stack, body, code):
    """The same errors in msgpack."""
    assert bridge
    client = stack.connect(subprotocols=["agent_chat.msgpack"])
    client.send(body)
    assert client.recv_type("error_message")["error_code"] == code
    client.ping()
    assert not runtime.commands("MESSAGE")


def test_one_event_in_all_forms(bridge, runtime, stack):
    """Connections of one user with different subprotocols get the same event, each in its form."""
    assert bridge
    text = stack.connect()
    packed = stack.connect(subprotocols=["agent_chat.msgpack"])
    runtime.emit("alice", {"type": "agent_started", "n": 1.5})
    assert text.recv_event() == packed.recv_event()


def raw_connection(stack, runtime):
    """A client with subprotocol raw and its connection id, which only the runtime knows."""
    client = stack.client(subprotocols=["raw"]).open()
    return client, runtime.wait_command("CONNECT").connection_id


def test_raw_connection(bridge, runtime, stack):
    """raw: frames pass untouched both ways, empty ones too, and the bridge says nothing itself."""
    assert bridge
    client, connection_id = raw_connection(stack, runtime)
    sent = [b"\x00\x01", "text", b"", "", '{"type":"ping"}', "not json {", "heartbeat"]
    for frame in sent:
        client.send(frame)
    found = runtime.wait_commands("MESSAGE", len(sent))
    assert [(c.body if c.headers["opcode"] == "binary" else c.body.decode()) for c in found] == sent
    assert [c.headers["seq"] for c in found] == list(range(1, len(sent) + 1))
    back = [("text", "h\u00e9"), ("binary", b"\xff\x00"), ("text", ""), ("binary", b""), ("text", "end")]
    for opcode, frame in back:
        runtime.send("SEND", connection_id, "alice", {"opcode": opcode}, frame if isinstance(frame, bytes) else frame.encode())
    assert [client.recv() for _ in back] == [frame for _, frame in back]


def test_raw_by_default(runtime, stack):
    """default-subprotocol=raw."""
    stack.bridge(runtime, default_subprotocol="raw")
    client = stack.client().open()
    connection_id = runtime.wait_command("CONNECT").connection_id
    client.send("plain")
    assert runtime.wait_command("MESSAGE").body == b"plain"
    runtime.send("SEND", connection_id, "alice", {"opcode": "text"}, b"answer")
    assert client.recv() == "answer"
