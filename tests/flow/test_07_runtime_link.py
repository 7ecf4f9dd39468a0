"""The link to the runtime: late, lost, restarted, several at once, with and without answers."""
import json
import time

import pytest
from harness import Closed, wait_until


def reasons(bridge):
    """/readyz: status and text."""
    answer = bridge.http("GET", "/readyz")
    return answer.status, answer.body.decode().lower()


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_messages_before_the_runtime(stack, transport):
    """What clients send before the runtime is up is kept, and handled in order after connection_established."""
    endpoints = stack.endpoints(transport)
    bridge = stack.bridge(runtime_wait_ms=60000, client_messages_per_minute=0,
                          runtime_commands=">" + endpoints[0], runtime_events=">" + endpoints[1])
    clients = [stack.client(user).open() for user in ("alice", "bob")]
    for number in range(200):  # more than the bridge keeps without pausing the socket
        for client in clients:
            client.send({"type": "user_message", "n": number})
    assert bridge.metric("handshakes_total", result="ok") == 0
    runtime = stack.runtime(endpoints=endpoints)
    for client in clients:
        client.establish()
        found = runtime.wait_commands("MESSAGE", 200, connection_id=client.connection_id)
        assert [json.loads(command.body)["n"] for command in found] == list(range(200))
        assert [command.headers["seq"] for command in found] == list(range(1, 201))
        own = [c.command for c in runtime.commands(connection_id=client.connection_id)]
        assert own[0] == "CONNECT" and own.count("CONNECT") == 1
    bridge.wait_ready()


def test_early_ping_is_answered_after_the_welcome(stack):
    """Nothing, not even a pong, comes before connection_established."""
    endpoints = stack.endpoints()
    stack.bridge(runtime_wait_ms=60000, runtime_commands=">" + endpoints[0], runtime_events=">" + endpoints[1])
    client = stack.client().open()
    client.send({"type": "ping", "id": 1})
    client.send("not json")
    runtime = stack.runtime(endpoints=endpoints)
    client.establish()
    assert client.recv_type("pong")["id"] == 1
    assert client.recv_type("error_message")["error_code"] == "JSON_PARSE_ERROR"
    runtime.wait_subscribed()
    client.quiet(runtime)


def test_runtime_does_not_come(stack):
    """runtime-wait-ms passes: connection_error and 1013, and the early messages are gone with it."""
    bridge = stack.bridge(runtime_wait_ms=300)
    client = stack.client().open()
    start = time.monotonic()
    client.send({"type": "user_message"})
    frame = client.recv_type("connection_error")
    assert time.monotonic() - start > 0.2
    assert (frame["error_code"], frame["retry_allowed"]) == ("SERVICE_NOT_READY", True)
    assert client.wait_closed()[0] == 1013
    assert bridge.metric("handshakes_total", result="service_not_ready") == 1
    bridge.wait_total("connections", 0)


def test_client_leaves_while_waiting(stack):
    """A client that goes away before the runtime comes is never told of."""
    endpoints = stack.endpoints()
    bridge = stack.bridge(runtime_wait_ms=60000, runtime_commands=">" + endpoints[0], runtime_events=">" + endpoints[1])
    client = stack.client("alice").open()
    client.send({"type": "user_message"})
    client.close()
    bridge.wait_total("connections", 0)
    runtime = stack.runtime(endpoints=endpoints)
    bridge.wait_ready()
    stack.connect("bob")
    runtime.wait_command("CONNECT", user_id="bob")
    assert {command.user_id for command in runtime.commands() if command.command not in ("HELLO", "PING")} == {"bob"}


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_runtime_killed_and_restarted(stack, transport):
    """kill -9 under live connections: degraded, told so, and back again with the same ids."""
    runtime = stack.runtime_process(transport)
    bridge = stack.bridge(runtime)
    clients = stack.connect_all(["alice", "alice", "bob"])
    ids = {client.connection_id for client in clients}
    runtime.wait_commands("CONNECT", 3)
    clients[0].send({"type": "user_message", "n": 1})
    runtime.wait_command("MESSAGE")

    runtime.kill()
    mark = runtime.mark()
    bridge.wait_metric("connections", 3, state="degraded")
    bridge.wait_metric("runtime_link_up", 0, link="commands")
    bridge.wait_log("LINK_DOWN")
    assert reasons(bridge)[0] == 503
    for client in clients:
        client.send({"type": "user_message", "message_id": "m-7"})
        frame = client.recv_type("error_message")
        assert (frame["error_code"], frame["details"]) == ("RUNTIME_UNAVAILABLE", {"message_id": "m-7"})
        client.ping()
    assert bridge.metric("client_messages_total", result="unavailable") == 3

    runtime.start()
    again = runtime.wait_commands("CONNECT", 3, timeout=20, since=mark)
    assert {command.connection_id for command in again} == ids and len(again) == 3
    assert {command.headers["resumed"] for command in again} == {True}
    bridge.wait_metric("connections", 0, state="degraded")
    bridge.wait_ready()
    runtime.wait_subscribed()
    for client in clients:
        client.send({"type": "user_message", "n": 2})
        runtime.wait_command("MESSAGE", since=mark, connection_id=client.connection_id)
        client.quiet(runtime)
    runtime.emit("alice", {"type": "agent_started"})
    assert clients[0].recv_event() == clients[1].recv_event()
    assert bridge.total("connections_closed_total") == 0


def test_many_restarts(stack):
    """Five restarts in a row leave one CONNECT per connection and life."""
    runtime = stack.runtime_process()
    bridge = stack.bridge(runtime)
    client = stack.connect("alice")
    for _ in range(5):
        runtime.kill()
        mark = runtime.mark()
        bridge.wait_metric("connections", 1, state="degraded")
        runtime.start()
        runtime.wait_command("CONNECT", timeout=20, since=mark)
        bridge.wait_ready()
        runtime.wait_subscribed()
        client.quiet(runtime)
        assert len(runtime.commands("CONNECT", since=mark)) == 1
        assert len(runtime.commands("HELLO", since=mark)) == 1


def test_new_client_while_the_runtime_is_down(stack):
    """A client that comes while the runtime is down waits for it like any early one."""
    runtime = stack.runtime_process()
    bridge = stack.bridge(runtime, runtime_wait_ms=60000)
    runtime.kill()
    bridge.wait_metric("runtime_link_up", 0, link="commands")
    client = stack.client("alice").open()
    client.send({"type": "user_message"})
    runtime.start()
    client.establish()
    runtime.wait_command("MESSAGE", connection_id=client.connection_id)


def test_disconnect_while_the_runtime_is_down(stack):
    """A connection that ends meanwhile is not announced after the restart."""
    runtime = stack.runtime_process()
    bridge = stack.bridge(runtime)
    gone, stays = stack.connect_all(["alice", "bob"])
    runtime.kill()
    bridge.wait_metric("connections", 2, state="degraded")
    gone.close()
    bridge.wait_total("connections", 1)
    mark = runtime.mark()
    runtime.start()
    runtime.wait_command("CONNECT", since=mark, timeout=20)
    stays.ping()
    assert {c.user_id for c in runtime.commands("CONNECT", since=mark)} == {"bob"}


@pytest.fixture(name="pair")
def pair_fixture(stack):
    """Two runtimes behind one bridge: (bridge, [runtime, runtime])."""
    runtimes = [stack.runtime(publisher=f"p{number}") for number in range(2)]
    both = {name: ",".join(runtime.options[name] for runtime in runtimes) for name in runtimes[0].options}
    bridge = stack.bridge(**both)
    for runtime in runtimes:
        runtime.wait_subscribed()
        runtime.wait_command("HELLO")
    bridge.wait_ready()
    return bridge, runtimes


def home_of(runtimes, user):
    """The one runtime that has been told of this user."""
    homes = [runtime for runtime in runtimes if runtime.commands("CONNECT", user_id=user)]
    assert len(homes) == 1, f"{user} is known to {len(homes)} runtimes"
    return homes[0]


def test_users_stick_to_a_runtime(pair, stack):
    """All connections and messages of one user go to the same of two runtimes; both have users."""
    _, runtimes = pair
    users = [f"user-{number}" for number in range(24)]
    clients = stack.connect_all(users + users)
    for client in clients:
        client.send({"type": "user_message"})
    wait_until(lambda: sum(len(runtime.commands("MESSAGE")) for runtime in runtimes) == 48, what="48 messages")
    homes = {user: home_of(runtimes, user) for user in users}
    assert set(homes.values()) == set(runtimes)
    for client in clients:
        assert len(homes[client.user].commands("MESSAGE", connection_id=client.connection_id)) == 1
    for runtime in runtimes:  # events come from everywhere
        runtime.emit("user-0", {"type": "agent_started"})
    for client in clients:
        if client.user == "user-0":
            client.recv_events(2)


def test_failover(pair, stack):
    """When one runtime goes, its users move to the other with the same ids; the rest notices nothing."""
    bridge, runtimes = pair
    clients = stack.connect_all([f"user-{number}" for number in range(24)])
    wait_until(lambda: sum(len(runtime.commands("CONNECT")) for runtime in runtimes) == 24, what="24 CONNECTs")
    lost, kept = runtimes
    moved = {command.connection_id for command in lost.commands("CONNECT")}
    mark = kept.mark()
    lost.stop()
    again = kept.wait_commands("CONNECT", len(moved), since=mark)
    assert {command.connection_id for command in again} == moved and len(again) == len(moved)
    bridge.wait_metric("connections", 0, state="degraded")
    for client in clients:
        client.send({"type": "user_message"})
        client.quiet(kept)
    assert len(kept.wait_commands("MESSAGE", 24)) == 24
    assert bridge.http("GET", "/readyz").status == 200


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_plain_runtime(stack, transport):
    """A runtime that answers neither HELLO nor PING works; the link lives on."""
    runtime = stack.runtime(transport, answer_hello=False, answer_ping=False)
    bridge = stack.bridge(runtime, runtime_ping_s=1)
    client = stack.connect("alice")
    runtime.wait_commands("PING", 3, timeout=20)
    client.send({"type": "user_message"})
    runtime.wait_command("MESSAGE")
    client.quiet(runtime)
    assert reasons(bridge)[0] == 200
    assert bridge.metric("connections", state="degraded") == 0
    assert bridge.metric("runtime_round_trip_seconds_count") == 0


def test_hello_and_ping(runtime, stack):
    """HELLO introduces the bridge first of all; PONG brings the round trip."""
    bridge = stack.bridge(runtime, runtime_ping_s=1)
    runtime.wait_command("HELLO")
    first = runtime.commands()[0]
    assert first.command == "HELLO" and first.identity == b"flow-bridge"
    assert (first.connection_id, first.user_id, first.body) == ("", "", b"")
    assert (first.headers["protocol"], first.headers["bridge"]) == (1, "flow-bridge")
    assert isinstance(first.headers["sdk"], str)
    assert "t" in runtime.wait_command("PING").headers
    wait_until(lambda: bridge.metric("runtime_round_trip_seconds_count") >= 2, what="two round trips")
    hello = bridge.wait_log("RUNTIME_HELLO")
    assert hello["runtime"] == "flow-runtime"


@pytest.mark.parametrize("stamp", [12345, "text", 1.5, [1, {"a": None}]])
def test_ping_from_the_runtime(bridge, runtime, stamp):
    """The bridge echoes `t` as it is."""
    assert bridge
    runtime.send("PING", headers={"t": stamp})
    assert runtime.wait_command("PONG").headers["t"] == stamp


def test_probes_without_runtime(stack):
    """livez and startupz do not need the runtime; readyz does and says why."""
    bridge = stack.bridge()
    assert bridge.http("GET", "/livez").status == 200
    assert bridge.http("GET", "/startupz").status == 200
    status, text = reasons(bridge)
    assert status == 503 and "runtime" in text
    health, body = bridge.get_json("/ws/health")
    assert (body["checks"]["runtime_commands"], body["checks"]["runtime_events"]) == (False, False)
    assert body["status"] != "healthy" and health in (200, 503)


def test_stop_without_runtime(stack):
    """SIGTERM ends the bridge at once even when commands wait for a runtime that has gone."""
    runtime = stack.runtime_process()
    bridge = stack.bridge(runtime)
    client = stack.connect("alice")
    runtime.kill()
    bridge.wait_metric("connections", 1, state="degraded")
    start = time.monotonic()
    assert bridge.stop() == 0
    assert time.monotonic() - start < 15
    with pytest.raises(Closed):
        while True:
            client.recv_event()
