"""Clients that come back again and again while events pour: nobody misses one, nobody gets one twice."""
import random
import signal

import pytest
from harness import wait_until
from harness.publisher_process import PublisherProcess
from harness.reconnecting import ReaderProcess, Reconnecting, together
from ports import free_port

USERS = [f"user-{number}" for number in range(10)]
RECONNECTS = 1000
ROOMY = {"history_events": 1000000, "history_bytes": 1 << 30, "queue_messages": 1000000, "queue_bytes": 1 << 30,
         "max_connections_per_user": 1000}


@pytest.fixture(name="publisher")
def publisher_fixture(stack, runtime):
    """A publisher beside the runtime."""
    publisher = PublisherProcess(stack.endpoints()[1] + "-pour")
    publisher.runtime = runtime
    yield publisher
    publisher.finish()


def start(stack, publisher, **options):
    """A bridge that has subscribed at both."""
    bridge = stack.bridge(publisher.runtime, **{**publisher.options(publisher.runtime), **options})
    publisher.wait_subscribed()
    return bridge


def come_and_go(client, times, chance):
    """Take a few events, cut the connection, come back; over and over."""
    for _ in range(times):
        client.take_until(client.seen + chance.randrange(20))
        client.cut(chance.choice(("reset", "close", "frame")))
        client.back()


def test_thousand_reconnects(stack, publisher):
    """1,000 of them, at 5,000 events a second: every client has every event of its user once and in order, those that
    stay as well as those that come and go."""
    bridge = start(stack, publisher, **ROOMY)
    staying = [Reconnecting(stack, user) for user in USERS]
    moving = [Reconnecting(stack, user) for user in USERS]
    for client in staying + moving:
        client.begin()
    publisher.pour(USERS, rate=5000)
    together([lambda client=client, seed=seed: come_and_go(client, RECONNECTS // len(USERS), random.Random(seed))
              for seed, client in enumerate(moving)])
    sent = publisher.stop()
    together([lambda client=client: client.take_until(sent[client.user]) for client in staying + moving])
    for client in staying + moving:
        publisher.runtime.emit(client.user, {"type": "end", "connection_id": client.ids[-1]})
        assert client.socket.recv_json()["type"] == "end"

    assert bridge.metric("resumes_total", result="recovered") == bridge.total("resumes_total") == RECONNECTS
    assert bridge.metric("events_received_total", type="stream_chunk") == sum(sent.values())
    assert bridge.metric("history_events") == sum(sent.values())
    assert bridge.metric("events_coalesced_total") == bridge.total("events_dropped_total") == 0
    assert len({name for client in staying + moving for name in client.ids}) == RECONNECTS + 2 * len(USERS)
    bridge.wait_total("connections", 2 * len(USERS))
    bridge.wait_metric("outbound_queue_bytes", 0)
    assert bridge.metric("connections_closed_total", reason="slow_consumer") == 0
    publisher.runtime.wait_commands("DISCONNECT", RECONNECTS)
    resumed = publisher.runtime.commands("CONNECT")[2 * len(USERS):]
    assert len(resumed) == RECONNECTS and all(command.headers["resumed"] for command in resumed)


def test_killed_bridge(stack, publisher):
    """kill -9 while events pour, and a new process on the same ports: everybody is told, and from its new
    connection_established on gets every event once."""
    ports = {"listen": f"127.0.0.1:{free_port()}", "admin_listen": f"127.0.0.1:{free_port()}"}
    runtime = publisher.runtime
    first = start(stack, publisher, **ports, **ROOMY)
    clients = [Reconnecting(stack, user) for user in USERS * 2]
    for client in clients:
        client.begin()
    publisher.pour(USERS, rate=2000)
    together([lambda client=client: client.take_until(50) for client in clients])
    mark = runtime.mark()
    first.kill()
    together([lambda client=client: read_out(client) for client in clients])
    start_again(stack, publisher, ports)
    together([lambda client=client: begin_again(client) for client in clients])
    sent = publisher.stop()
    together([lambda client=client: client.take_until(sent[client.user]) for client in clients])

    assert all(first != second for first, second in (client.ids for client in clients))
    new = runtime.wait_commands("CONNECT", len(clients), since=mark)
    assert {command.connection_id for command in new} == {client.ids[1] for client in clients}
    assert len(new) == len(clients) and not any(command.headers["resumed"] for command in new)
    assert len({client.epoch for client in clients}) == len(USERS)
    for one, other in zip(clients[:len(USERS)], clients[len(USERS):]):
        assert one.seen - one.offset == other.seen - other.offset > 0  # what was lost while no bridge was there


def read_out(client):
    """Take what is still on the way."""
    while client.take():
        pass
    assert client.closed == 1006


def start_again(stack, publisher, ports):
    """While the publisher pours, it cannot be asked who has subscribed."""
    bridge = stack.bridge(publisher.runtime, **{**publisher.options(publisher.runtime), **ports, **ROOMY})
    wait_until(lambda: bridge.metric("history_events") > 0, what="an event at the new bridge")
    return bridge


def begin_again(client):
    """With the old epoch: unknown. The next event is the first one behind the offset that was told."""
    data = client.begin()
    assert (data["recovered"], data["recovery_error"]) == (False, "unknown_epoch")
    before, client.seen = client.seen, None
    assert client.take() and client.seen > before


@pytest.mark.parametrize("queue", ["small", "large"])
def test_stopped_client(stack, publisher, queue):
    """SIGSTOP while events pour, then SIGCONT: everything arrives, or the connection is closed 4008 and resume brings the
    rest. The other users have not noticed."""
    limits = {"queue_bytes": 1 << 20} if queue == "small" else {}
    bridge = start(stack, publisher, **{**ROOMY, **limits})
    others = [Reconnecting(stack, user) for user in ("bob", "carol")]
    for client in others:
        client.begin()
    users, last = ["alice", "bob", "carol"], 2000
    sent = {"alice": 0}
    reader = ReaderProcess(stack, bridge, "alice", last)
    try:
        reader.signal(signal.SIGSTOP)
        while sent["alice"] < last:  # no faster than the others read: a small queue is small for them too
            sent = publisher.pour(users, count=50 * len(users), pad=8000)
            together([lambda client=client, number=sent[client.user]: client.take_until(number) for client in others])
        if queue == "small":
            bridge.wait_metric("connections_closed_total", 1, reason="slow_consumer")
        else:
            assert bridge.metric("outbound_queue_bytes") > 1 << 20
        reader.signal(signal.SIGCONT)
        told = reader.result()
    finally:
        reader.finish()
    assert told["seen"] == told["offset"]
    if queue == "small":
        assert told["closed"] in (4008, 1006) and 0 < told["seen"] < last
        client = Reconnecting(stack, "alice")
        client.epoch, client.seen, client.offset = reader.established["resume"]["epoch"], told["seen"], told["offset"]
        client.back().take_until(sent["alice"])
    else:
        assert (told["seen"], told["closed"]) == (last, None)
    assert {client.seen for client in others} == {last}
    assert bridge.metric("connections_closed_total", reason="slow_consumer") == (queue == "small")
    bridge.wait_metric("outbound_queue_bytes", 0)


def test_long_replay_to_a_slow_client(stack, publisher):
    """10,000 events of history through a queue of 100 frames to a client that reads slowly: all there, and never more than
    the queue waits. The other user gets live events all the while."""
    count, pad = 10000, 1000
    bridge = start(stack, publisher, history_events=20000, history_bytes=1 << 28, queue_messages=100)
    epochs = [Reconnecting(stack, "alice"), Reconnecting(stack, "bob")]
    slow, other = Reconnecting(stack, "alice", receive_buffer=4096), epochs[1]
    for client in epochs:
        client.begin()
    epochs[0].cut("close")
    bridge.wait_total("connections", 1)
    publisher.pour(["alice"], count=count, pad=pad)
    bridge.wait_metric("history_events", count)
    slow.epoch = epochs[0].epoch
    slow.back()
    most, frame = 0, pad + 100
    while slow.seen < count:
        slow.take_until(slow.seen + 100)
        other.take_until(publisher.pour(["bob"], count=5)["bob"])
        most = max(most, bridge.metric("outbound_queue_bytes"))
    assert other.seen == count / 100 * 5
    assert 20 * frame < most <= 100 * frame
    assert bridge.metric("replayed_events_total") == count
    assert bridge.metric("resumes_total", result="recovered") == 1
    assert bridge.total("history_evicted_total") == bridge.metric("connections_closed_total", reason="slow_consumer") == 0
    bridge.wait_metric("outbound_queue_bytes", 0)
