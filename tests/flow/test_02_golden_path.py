"""The main job: a client's message reaches the runtime byte for byte, the runtime's five events reach the client."""
import json
import re
import time

import pytest
from harness import wait_until

ID = re.compile(r"^ws_[0-9a-f]{12,32}$")

RUN = {"thread_id": "t-1", "run_id": "r-1", "agent_name": "adder"}
FIVE = [
    {"type": "agent_started", **RUN, "task_description": "add"},
    {"type": "agent_thinking", **RUN, "reasoning": "näher überlegen", "step_number": 1},
    {"type": "tool_executing", **RUN, "tool_name": "calculator", "tool_args": {"a": 1, "b": [2, None]}, "execution_id": "x"},
    {"type": "tool_completed", **RUN, "tool_name": "calculator", "results": {"sum": 3}, "success": True, "execution_id": "x"},
    {"type": "agent_completed", **RUN, "status": "ok", "final_response": "3", "duration_ms": 12},
]


@pytest.fixture(name="link", params=["tcp", "ipc"])
def link_fixture(request, stack):
    """(runtime, bridge) over each transport."""
    runtime = stack.runtime(request.param)
    return runtime, stack.bridge(runtime)


def test_conversation(link, stack):
    """CONNECT, message, five events, DISCONNECT: every field of every frame."""
    runtime, bridge = link
    origin = f"http://127.0.0.1:{bridge.ports['public']}"
    token = stack.keys.token("alice", role="admin")
    client = stack.connect("alice", token=token, origin=origin, subprotocols=["agent_chat"])

    connect = runtime.wait_command("CONNECT")
    assert (connect.connection_id, connect.user_id, connect.body) == (client.connection_id, "alice", b"")
    assert connect.headers["claims"]["role"] == "admin" and connect.headers["claims"]["sub"] == "alice"
    assert "127.0.0.1" in connect.headers["remote"]
    assert (connect.headers["origin"], connect.headers["subprotocol"]) == (origin, "agent_chat")
    assert connect.headers.get("resumed", False) is False
    assert connect.identity == b"flow-bridge"

    text = '{"type" : "user_message",\t"text":"h\\u00e9 \U0001f600", "n":1.0}'
    before = time.time()
    client.send(text)
    message = runtime.wait_command("MESSAGE")
    assert message.body == text.encode()
    assert (message.connection_id, message.user_id) == (client.connection_id, "alice")
    assert (message.headers["seq"], message.headers["opcode"]) == (1, "text")
    assert before - 1 < message.headers["ts"] < time.time() + 1

    for event in FIVE:
        runtime.emit("alice", {**event, "user_id": "alice", "timestamp": time.time()})
    got = client.recv_events(5)
    offsets = [event.pop("_offset") for event in got]
    assert offsets == sorted(set(offsets))
    assert offsets[0] > client.established["data"]["resume"]["offset"]
    assert [{k: v for k, v in event.items() if k not in ("user_id", "timestamp")} for event in got] == FIVE

    client.close(1000, "bye")
    gone = runtime.wait_command("DISCONNECT")
    assert (gone.connection_id, gone.user_id, gone.body) == (client.connection_id, "alice", b"")
    assert (gone.headers["code"], gone.headers["remaining"]) == (1000, 0)
    assert isinstance(gone.headers["reason"], str)


def test_established_frame(runtime, bridge, stack):
    """The first frame has exactly the fields of the contract."""
    assert runtime and bridge
    frame = stack.connect("alice").established
    assert set(frame) == {"type", "data", "timestamp"}
    assert abs(frame["timestamp"] - time.time()) < 60
    data = frame["data"]
    assert set(data) == {"connection_id", "user_id", "bridge", "resume", "recovered", "recovery_error",
                         "heartbeat_interval_ms"}
    assert ID.match(data["connection_id"])
    assert (data["user_id"], data["bridge"], data["heartbeat_interval_ms"]) == ("alice", "flow-bridge", 25000)
    assert data["recovered"] is False and data["recovery_error"] is None
    assert set(data["resume"]) == {"epoch", "offset"}
    assert isinstance(data["resume"]["epoch"], str) and data["resume"]["epoch"]
    assert isinstance(data["resume"]["offset"], int)


def test_event_text(runtime, bridge, stack):
    """An event arrives as the runtime wrote it, in its order, with `_offset` at the end."""
    assert bridge
    client = stack.connect("alice")
    runtime.emit("alice", {"type": "agent_started", "b": 1, "a": {"z": [], "y": {}}, "s": 'q"\\/\n'})
    text = client.recv()
    offset = json.loads(text)["_offset"]
    expected = '{"type":"agent_started","b":1,"a":{"z":[],"y":{}},"s":"q\\"\\\\/\\n","_offset":%d}' % offset
    assert text == expected


def test_sequence_numbers(runtime, bridge, stack):
    """`seq` counts per connection from 1, whatever other connections send."""
    assert bridge
    first, second = stack.connect("alice"), stack.connect("bob")
    for number in range(5):
        first.send({"type": "user_message", "n": number})
        second.send({"type": "user_message", "n": number})
    for client in (first, second):
        found = runtime.wait_commands("MESSAGE", 5, connection_id=client.connection_id)
        assert [c.headers["seq"] for c in found] == [1, 2, 3, 4, 5]
        assert [json.loads(c.body)["n"] for c in found] == [0, 1, 2, 3, 4]


def test_one_id_everywhere(runtime, bridge, stack):
    """One connection id: in frames, commands and log lines."""
    client = stack.connect("alice")
    client.send({"type": "user_message"})
    runtime.wait_command("MESSAGE")
    client.close()
    runtime.wait_command("DISCONNECT")
    seen = {command.connection_id for command in runtime.commands() if command.command not in ("HELLO", "PING", "PONG")}
    seen |= {bridge.wait_log(name)["conn"] for name in ("CONN_OPEN", "CONN_CLOSED")}
    assert seen == {client.connection_id} and ID.match(client.connection_id)


def test_remaining_connections(runtime, bridge, stack):
    """DISCONNECT tells how many connections the user has left."""
    assert bridge
    clients = [stack.connect("alice") for _ in range(3)]
    stack.connect("bob")
    for left, client in zip((2, 1, 0), clients):
        client.close()
        gone = runtime.wait_command("DISCONNECT", connection_id=client.connection_id)
        assert gone.headers["remaining"] == left


def test_counters(runtime, bridge, stack):
    """The numbers of one conversation, exactly."""
    clients = [stack.connect("alice"), stack.connect("alice")]
    clients[0].send({"type": "user_message"})
    for event in FIVE:
        runtime.emit("alice", {**event, "timestamp": time.time()})
    for client in clients:
        client.recv_events(5)
    clients[0].ping()
    assert bridge.metric("handshakes_total", result="ok") == 2
    assert bridge.metric("users") == 1
    assert bridge.total("connections") == 2
    assert bridge.metric("client_messages_total", result="forwarded") == 1
    assert bridge.metric("client_messages_total", result="answered") == 1
    for event in FIVE:
        assert bridge.metric("events_received_total", type=event["type"]) == 1
        assert bridge.metric("events_delivered_total", type=event["type"]) == 2
    assert bridge.metric("history_events") == 5
    assert bridge.metric("event_delivery_seconds_count") > 0
    assert bridge.metric("runtime_commands_total", command="CONNECT") == 2
    assert bridge.metric("runtime_commands_total", command="MESSAGE") == 1


def test_runtime_closes_one_connection(runtime, bridge, stack):
    """CLOSE ends one connection with the runtime's code and reason; the user's other one lives."""
    assert bridge
    first, second = stack.connect("alice"), stack.connect("alice")
    runtime.send("CLOSE", first.connection_id, "alice", {"code": 4321, "reason": "that was all"})
    assert first.wait_closed() == (4321, "that was all")
    second.quiet(runtime)
    gone = runtime.wait_command("DISCONNECT")
    assert (gone.connection_id, gone.headers["code"], gone.headers["remaining"]) == (first.connection_id, 4321, 1)


def test_send_to_one_connection(runtime, bridge, stack):
    """SEND reaches its connection alone, as an event without `_offset` or as a frame sent as it is."""
    first, second = stack.connect("alice"), stack.connect("alice")
    runtime.send("SEND", first.connection_id, "alice", {}, {"type": "private", "n": 1})
    runtime.send("SEND", first.connection_id, "alice", {"opcode": "text"}, b'{"as": "it is"}')
    runtime.send("SEND", first.connection_id, "alice", {"opcode": "binary"}, b"\x00\xff\x01")
    assert first.recv_event() == {"type": "private", "n": 1}
    assert first.recv() == '{"as": "it is"}'
    assert first.recv() == b"\x00\xff\x01"
    first.quiet(runtime)
    second.quiet(runtime)
    wait_until(lambda: bridge.metric("runtime_commands_total", command="SEND") == 3, what="three SENDs")
    assert bridge.metric("history_events") == 0
