"""Leaving: clients are told, closed with 1012, and the process ends with 0 in time."""
import json
import signal
import threading
import time

import pytest
from harness import SCALE, wait_until
from harness.raw import CLOSE, upgrade_head


GRACE = 2 * SCALE  # seconds that a machine and build may add to what the bridge promises


def flood(runtime, users, stopped):
    """Events for these users until told to stop."""
    number = 0
    while not stopped.wait(0.001):
        for user in users:
            runtime.emit(user, {"type": "stream_chunk", "n": number})
        number += 1


@pytest.fixture(name="load")
def load_fixture(runtime, stack):
    """(bridge, 50 clients) with events flowing to all of them."""
    bridge = stack.bridge(runtime, drain_timeout_s=10)
    clients = stack.connect_all([f"user-{number % 25}" for number in range(50)])
    stopped = threading.Event()
    thread = threading.Thread(target=flood, args=(runtime, [f"user-{n}" for n in range(25)], stopped))
    thread.start()
    for client in clients:
        client.recv_type("stream_chunk")
    yield bridge, clients
    stopped.set()
    thread.join()


def check_told(clients):
    """All were told once when to come back, and closed with 1012; events are complete until then."""
    delays = []
    for client in clients:
        assert client.wait_closed(20)[0] == 1012
        frames = client.rest()
        notices = [frame for frame in frames if frame["type"] == "bridge_draining"]
        assert len(notices) == 1
        delays.append(notices[0]["data"]["reconnect_after_ms"])
        numbers = [frame["n"] for frame in frames if frame["type"] == "stream_chunk"]
        assert numbers == list(range(1, len(numbers) + 1))
    assert all(isinstance(delay, int) and delay >= 0 for delay in delays)
    assert len(set(delays)) > 1, "everyone would come back at the same moment"


def test_sigterm_under_load(load, runtime):
    """SIGTERM: notice, 1012, exit 0 within drain-timeout-s; the runtime sees every DISCONNECT."""
    bridge, clients = load
    start = time.monotonic()
    bridge.signal(signal.SIGTERM)
    check_told(clients)
    assert bridge.wait_exit() == 0
    assert time.monotonic() - start < 10 + GRACE
    gone = runtime.wait_commands("DISCONNECT", 50)
    assert {command.headers["code"] for command in gone} == {1012} and len(gone) == 50
    for log_id in ("DRAIN_STARTED", "DRAIN_DONE", "STOPPED"):
        assert bridge.logs(log_id)


def test_sigint_drains_too(runtime, stack):
    """SIGINT does the same as SIGTERM."""
    bridge = stack.bridge(runtime)
    client = stack.connect("alice")
    bridge.signal(signal.SIGINT)
    client.recv_type("bridge_draining")
    assert client.wait_closed()[0] == 1012
    assert bridge.wait_exit() == 0


def test_nothing_to_drain(runtime, stack):
    """Without connections the bridge leaves at once."""
    bridge = stack.bridge(runtime)
    start = time.monotonic()
    assert bridge.stop() == 0
    assert time.monotonic() - start < 1 + GRACE


@pytest.fixture(name="held")
def held_fixture(runtime, stack):
    """(bridge, raw client that never answers the close): a drain that lasts until something gives up."""
    bridge = stack.bridge(runtime, drain_timeout_s=4)
    return bridge, stack.raw_connect("alice")


def skip_to_close(client):
    """Read up to the close frame without answering it; the types of the text frames before."""
    types = []
    while True:
        frame = client.recv_frame()
        assert frame is not None, "the stream ended without a close frame"
        if frame.opcode == CLOSE:
            assert int.from_bytes(frame.payload[:2], "big") == 1012
            return types
        types.append(json.loads(frame.payload)["type"])


def test_drain_is_bounded(held):
    """A client that does not answer the close frame delays the end no longer than drain-timeout-s."""
    bridge, client = held
    start = time.monotonic()
    bridge.signal(signal.SIGTERM)
    assert "bridge_draining" in skip_to_close(client)
    assert bridge.wait_exit() == 0
    assert time.monotonic() - start < 4 + GRACE


def test_not_ready_while_draining(held, stack):
    """During the drain: readyz 503 with the reason, livez 200, new connections refused."""
    bridge, client = held
    bridge.signal(signal.SIGTERM)
    bridge.wait_log("DRAIN_STARTED")
    answer = bridge.http("GET", "/readyz")
    assert answer.status == 503 and b"drain" in answer.body.lower()
    assert bridge.http("GET", "/livez").status == 200
    assert bridge.metric("draining") == 1
    status, health = bridge.get_json("/ws/health")
    assert status == 503 and health["checks"]["accepting"] is False
    check_refused(stack)
    skip_to_close(client)
    assert bridge.wait_exit() == 0


def check_refused(stack):
    """A new client gets no TCP connection, or DRAINING."""
    try:
        client = stack.raw()
        answer = client.upgrade(changes={"Authorization": "Bearer " + stack.keys.token("bob")})
    except OSError:
        return
    if answer is None:
        return
    if answer.status == 101:
        assert client.recv_json()["error_code"] == "DRAINING"
        assert client.recv_close()[0] == 1013
    else:
        assert answer.status == 503 and json.loads(answer.body)["error_code"] == "DRAINING"


def test_second_signal(runtime, stack):
    """A second SIGTERM does not wait for the drain."""
    bridge = stack.bridge(runtime, drain_timeout_s=600)
    client = stack.raw_connect("alice")
    bridge.signal(signal.SIGTERM)
    assert client.recv_json()["type"] == "bridge_draining"
    start = time.monotonic()
    bridge.signal(signal.SIGTERM)
    assert bridge.wait_exit() in (0, 1)
    assert time.monotonic() - start < GRACE


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_drain_request(load, method):
    """/drain answers when all connections are closed; SIGTERM then finds nothing to wait for."""
    bridge, clients = load
    answer = bridge.http(method, "/drain", timeout=20)
    assert answer.status == 200
    for client in clients:
        client.wait_closed(1)
    check_told(clients)
    start = time.monotonic()
    assert bridge.stop() == 0
    assert time.monotonic() - start < 1 + GRACE


def test_drain_request_blocks(held):
    """/drain has not answered while a connection is still there."""
    bridge, client = held
    answers = []
    thread = threading.Thread(target=lambda: answers.append(bridge.http("POST", "/drain", timeout=20).status))
    thread.start()
    skip_to_close(client)
    assert not answers
    client.send_frame(CLOSE, b"\x03\xf4")
    thread.join()
    assert answers == [200]


def test_two_drain_requests(load):
    """A second request waits for the same drain."""
    bridge, clients = load
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(bridge.http("POST", "/drain", timeout=20).status))
               for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200, 200]
    check_told(clients)


def test_drain_from_outside(runtime, stack, outside_address):
    """Not without the key from a peer that is not loopback."""
    bridge = stack.bridge(runtime, admin_listen="0.0.0.0:0", drain_key="open sesame")
    stack.connect("alice")
    for headers in ({}, {"X-Drain-Key": "wrong"}, {"X-Drain-Key": "open sesam"}, {"X-Drain-Key": ""}):
        assert bridge.http("POST", "/drain", headers=headers, host=outside_address).status == 403
    assert bridge.metric("draining") == 0
    answer = bridge.http("POST", "/drain", headers={"X-Drain-Key": "open sesame"}, host=outside_address)
    assert answer.status == 200


def test_drain_from_outside_without_key(runtime, stack, outside_address):
    """Never when no drain-key is set."""
    bridge = stack.bridge(runtime, admin_listen="0.0.0.0:0")
    for headers in ({}, {"X-Drain-Key": ""}):
        assert bridge.http("POST", "/drain", headers=headers, host=outside_address).status == 403
    assert bridge.metric("draining") == 0


def test_drain_with_waiting_client(stack):
    """A client that still waits for the runtime does not hold up a drain."""
    bridge = stack.bridge(runtime_wait_ms=600000)
    client = stack.client("alice").open()
    wait_until(lambda: bridge.metric("connections", state="authenticated") == 1, what="a waiting client")
    bridge.signal(signal.SIGTERM)
    assert client.wait_closed()[0] in (1012, 1013)
    assert bridge.wait_exit() == 0


def test_drain_with_waiting_upgrade(stack):
    """Nor does an upgrade that waits for the runtime before its 101; it is refused by status."""
    bridge = stack.bridge(auth_failure="http", runtime_wait_ms=600000)
    client = stack.raw()
    client.send(upgrade_head(client.port, changes={"Authorization": "Bearer " + stack.keys.token()}))
    wait_until(lambda: bridge.metric("connections", state="connecting") == 1, what="a waiting upgrade")
    bridge.signal(signal.SIGTERM)
    answer = client.response()
    assert (answer.status, json.loads(answer.body)["error_code"]) == (503, "DRAINING")
    assert bridge.wait_exit() == 0


def test_drain_without_time(runtime, stack):
    """drain-timeout-s=0: nobody is waited for, and the end is as orderly."""
    bridge = stack.bridge(runtime, drain_timeout_s=0)
    clients = [stack.connect(f"user{number}") for number in range(20)] + [stack.raw_connect("silent")]
    assert bridge.metric("connections", state="processing_ready") == len(clients)
    assert bridge.stop() == 0
    assert bridge.wait_log("STOPPED")["connections_left"] == 0
