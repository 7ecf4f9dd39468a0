"""Resume: a client that comes back with epoch and offset gets what it has missed, once and in order, or is told why not."""
import threading

import msgpack
import pytest
from harness import wait_until

# Enough for the largest test here, so that nothing but the tested limit counts.
ROOMY = {"history_events": 100000, "history_bytes": 1 << 28, "queue_messages": 100000, "queue_bytes": 1 << 28}


def resume_of(client):
    """(epoch, offset) as connection_established told them."""
    resume = client.established["data"]["resume"]
    return resume["epoch"], resume["offset"]


def answer_of(client):
    """(recovered, recovery_error, offset)."""
    data = client.established["data"]
    return data["recovered"], data["recovery_error"], data["resume"]["offset"]


def back(stack, epoch, offset, user="alice", **options):
    """A connection that resumes."""
    return stack.connect(user, path=f"/ws?epoch={epoch}&offset={offset}", **options)


def emit(runtime, numbers, user="alice", **fields):
    """One event a number."""
    for number in numbers:
        runtime.emit(user, {"type": "stream_chunk", "n": number, **fields})


def expect(client, numbers, offsets):
    """The next frames are these events with these offsets."""
    events = client.recv_events(len(numbers), timeout=60)
    assert [(event["n"], event["_offset"]) for event in events] == list(zip(numbers, offsets))


def leave(bridge, client):
    """Close, and wait until the bridge has let go of the connection."""
    client.close()
    bridge.wait_total("connections", 0)


def test_fresh_connection(runtime, bridge, stack):
    """Nothing asked: no error, no old events, and the offset after which events will come."""
    first = stack.connect()
    assert answer_of(first) == (False, None, 0)
    emit(runtime, range(1, 4))
    expect(first, [1, 2, 3], [1, 2, 3])
    second = stack.connect()
    assert answer_of(second) == (False, None, 3)
    assert resume_of(second)[0] == resume_of(first)[0]
    emit(runtime, [4])
    expect(second, [4], [4])
    assert bridge.metric("history_events") == 4


def test_every_later_event_then_live(runtime, bridge, stack):
    """From each offset on: the rest once and in order, then live events; recovered, and the offset is the one asked for."""
    client = stack.connect()
    epoch, _ = resume_of(client)
    emit(runtime, range(1, 11))
    expect(client, range(1, 11), range(1, 11))
    leave(bridge, client)
    for offset in range(11):
        client = back(stack, epoch, offset)
        assert answer_of(client) == (True, None, offset)
        assert resume_of(client)[0] == epoch
        expect(client, range(offset + 1, 11), range(offset + 1, 11))
        client.quiet(runtime)
        leave(bridge, client)
    client = back(stack, epoch, 9)
    emit(runtime, [11, 12])
    expect(client, [10, 11, 12], [10, 11, 12])
    client.quiet(runtime)
    # 10 live, 55 replayed, 1 replayed, 2 live; the sentinels are of another type
    assert bridge.metric("events_delivered_total", type="stream_chunk") == 10 + 55 + 1 + 2


def test_resumes_are_told_and_counted(runtime, bridge, stack):
    """CONNECT tells the runtime whether the client lost nothing; each outcome has its counter."""
    client = stack.connect()
    epoch, _ = resume_of(client)
    emit(runtime, range(1, 6))
    expect(client, range(1, 6), range(1, 6))
    leave(bridge, client)
    for asked, resumed in ((epoch, True), ("elsewhere", False)):
        client = back(stack, asked, 3)
        connect = runtime.wait_command("CONNECT", connection_id=client.connection_id)
        assert connect.headers["resumed"] is resumed
        leave(bridge, client)
    assert {result: bridge.metric("resumes_total", result=result) for result in ("recovered", "unknown_epoch", "expired")} \
        == {"recovered": 1, "unknown_epoch": 1, "expired": 0}
    assert bridge.metric("replayed_events_total") == 2


def test_replayed_event_is_the_same(runtime, bridge, stack):
    """Live and replayed frames are equal to the last byte, in every form."""
    event = {"type": "tool_completed", "text": "ä\0\U0001f600", "number": 2**64 - 1, "real": 0.1, "_own": 1, "none": None,
             "nested": {"list": [1, {"x": b"\0\xff"}]}, "timestamp": 1700000000.25, "run_id": "r"}
    forms = ["agent_chat", "agent_chat.msgpack", "raw"]
    live = [stack.connect(subprotocols=[form]) for form in forms[:2]]
    epoch = live[0].established["data"]["resume"]["epoch"]
    live.append(stack.client(subprotocols=["raw"]).open())
    runtime.wait_commands("CONNECT", 3)
    runtime.emit("alice", event)
    frames = [client.recv() for client in live]
    for form, frame in zip(forms, frames):
        client = stack.client(path=f"/ws?epoch={epoch}&offset=0", subprotocols=[form]).open()
        if form != "raw":
            client.establish()
        assert client.recv() == frame
    assert frames[2] == msgpack.packb(event)
    assert bridge.metric("history_events") == 1


def test_msgpack(runtime, bridge, stack):
    """The same with MessagePack frames."""
    client = stack.connect(subprotocols=["agent_chat.msgpack"])
    epoch, _ = resume_of(client)
    emit(runtime, range(1, 6))
    expect(client, range(1, 6), range(1, 6))
    leave(bridge, client)
    client = back(stack, epoch, 2, subprotocols=["agent_chat.msgpack"])
    assert answer_of(client) == (True, None, 2)
    expect(client, [3, 4, 5], [3, 4, 5])
    emit(runtime, [6])
    expect(client, [6], [6])


def test_without_any_connection(runtime, bridge, stack):
    """Events for a user who is not there at all are kept."""
    client = stack.connect()
    epoch, _ = resume_of(client)
    leave(bridge, client)
    assert bridge.metric("users") == 0
    emit(runtime, range(1, 2))
    bridge.wait_metric("history_events", 1)
    client = back(stack, epoch, 0)  # who never had an event finds its epoch again
    assert answer_of(client) == (True, None, 0)
    assert resume_of(client)[0] == epoch
    expect(client, [1], [1])
    leave(bridge, client)
    emit(runtime, range(2, 6))
    bridge.wait_metric("history_events", 5)
    client = back(stack, epoch, 1)
    assert answer_of(client) == (True, None, 1)
    expect(client, [2, 3, 4, 5], [2, 3, 4, 5])
    client.quiet(runtime)


def test_first_connection_ever(runtime, bridge, stack):
    """Events from before the first connection: the newcomer is told where it stands and can fetch them with that epoch."""
    emit(runtime, range(1, 4))
    bridge.wait_metric("history_events", 3)
    client = stack.connect()
    assert answer_of(client) == (False, None, 3)
    client.quiet(runtime)
    other = back(stack, resume_of(client)[0], 0)
    assert answer_of(other) == (True, None, 0)
    expect(other, [1, 2, 3], [1, 2, 3])


GARBAGE = ["", "-1", "%2B1", "1.0", "1e0", "0x1", "1%20", "%31", "one", "1,2", "4", "18446744073709551615", "18446744073709551617",
           "9" * 40]


@pytest.mark.parametrize("offset", GARBAGE)
def test_offset_that_cannot_be(runtime, bridge, stack, offset):
    """No number, or beyond what was ever sent: unknown_epoch, no old event, live ones from here on."""
    assert bridge
    client = stack.connect()
    epoch, _ = resume_of(client)
    emit(runtime, range(1, 4))
    expect(client, [1, 2, 3], [1, 2, 3])
    again = back(stack, epoch, offset)
    assert answer_of(again) == (False, "unknown_epoch", 3)
    assert resume_of(again)[0] == epoch
    emit(runtime, [4])
    expect(again, [4], [4])


@pytest.mark.parametrize("query", ["epoch=nope&offset=1", "epoch=%s0&offset=1", "epoch=nope", "epoch=%s"])
def test_unknown_epoch(runtime, bridge, stack, query):
    """Another epoch, or none with a number: nothing is replayed."""
    assert bridge
    client = stack.connect()
    epoch, _ = resume_of(client)
    emit(runtime, range(1, 4))
    expect(client, [1, 2, 3], [1, 2, 3])
    again = stack.connect(path="/ws?" + query.replace("%s", epoch))
    assert answer_of(again) == (False, "unknown_epoch", 3)
    again.quiet(runtime)


def test_epoch_of_another_user(runtime, bridge, stack):
    """One user's epoch opens nothing of another's."""
    assert bridge
    alice, bob = stack.connect("alice"), stack.connect("bob")
    emit(runtime, [1, 2], user="alice")
    emit(runtime, [1, 2], user="bob")
    expect(alice, [1, 2], [1, 2])
    expect(bob, [1, 2], [1, 2])
    again = back(stack, resume_of(bob)[0], 0, user="alice")
    assert answer_of(again) == (False, "unknown_epoch", 2)
    again.quiet(runtime)


@pytest.mark.parametrize("path", ["/ws?offset=1", "/ws?epoch=&offset=1", "/ws?Epoch=x&Offset=1"])
def test_not_asked(runtime, bridge, stack, path):
    """Without an epoch nothing is asked."""
    assert bridge
    emit(runtime, range(1, 4))
    bridge.wait_metric("history_events", 3)
    client = stack.connect(path=path)
    assert answer_of(client) == (False, None, 3)
    client.quiet(runtime)


# limits


def test_history_events(runtime, stack):
    """Of 10 events the last 4 are kept: exact metrics, and the first offset that is too old."""
    bridge = stack.bridge(runtime, history_events=4)
    client = stack.connect()
    epoch, _ = resume_of(client)
    emit(runtime, range(1, 11))
    expect(client, range(1, 11), range(1, 11))
    assert bridge.metric("history_events") == 4
    assert bridge.metric("history_evicted_total", reason="events") == 6
    assert bridge.total("history_evicted_total") == 6
    for offset in (0, 1, 5):
        again = back(stack, epoch, offset)
        assert answer_of(again) == (False, "expired", 10)
        again.quiet(runtime)
        again.close()
    again = back(stack, epoch, 6)
    assert answer_of(again) == (True, None, 6)
    expect(again, [7, 8, 9, 10], [7, 8, 9, 10])


def test_history_bytes(runtime, stack):
    """As many events as the bytes hold, by what the metric says one takes; the others are evicted."""
    bridge = stack.bridge(runtime, history_bytes=10000)
    client = stack.connect()
    epoch, _ = resume_of(client)
    emit(runtime, [1], pad="x" * 500)
    expect(client, [1], [1])
    one = bridge.metric("history_bytes")
    size = len(msgpack.packb({"type": "stream_chunk", "n": 1, "pad": "x" * 500}))
    assert size < one < size + 200
    emit(runtime, range(2, 101), pad="x" * 500)
    expect(client, range(2, 101), range(2, 101))
    kept = int(10000 // one)
    assert bridge.metric("history_events") == kept
    assert bridge.metric("history_bytes") == kept * one
    assert bridge.metric("history_evicted_total", reason="bytes") == 100 - kept
    assert bridge.total("history_evicted_total") == 100 - kept
    again = back(stack, epoch, 100 - kept - 1)
    assert answer_of(again) == (False, "expired", 100)
    again.close()
    again = back(stack, epoch, 100 - kept)
    assert answer_of(again) == (True, None, 100 - kept)
    expect(again, range(101 - kept, 101), range(101 - kept, 101))


def test_event_larger_than_history(runtime, stack):
    """It is delivered, but it and all before it count as gone; what follows is kept again."""
    bridge = stack.bridge(runtime, history_bytes=2000)
    client = stack.connect()
    epoch, _ = resume_of(client)
    emit(runtime, [1, 2])
    emit(runtime, [3], pad="x" * 3000)
    expect(client, [1, 2, 3], [1, 2, 3])
    assert (bridge.metric("history_events"), bridge.metric("history_bytes")) == (0, 0)
    assert answer_of(back(stack, epoch, 2)) == (False, "expired", 3)
    assert answer_of(back(stack, epoch, 3)) == (True, None, 3)
    emit(runtime, [4])
    bridge.wait_metric("history_events", 1)
    again = back(stack, epoch, 3)
    assert answer_of(again) == (True, None, 3)
    expect(again, [4], [4])


def test_history_ttl(runtime, stack):
    """After history-ttl-s the events are gone, though the user has stayed: expired. Nothing missed: still recovered."""
    bridge = stack.bridge(runtime, history_ttl_s=1)
    client = stack.connect()
    epoch, _ = resume_of(client)
    emit(runtime, range(1, 6))
    expect(client, range(1, 6), range(1, 6))
    bridge.wait_metric("history_evicted_total", 5, reason="age")
    assert (bridge.metric("history_events"), bridge.metric("history_bytes")) == (0, 0)
    assert answer_of(back(stack, epoch, 4)) == (False, "expired", 5)
    again = back(stack, epoch, 5)
    assert answer_of(again) == (True, None, 5)
    emit(runtime, [6])
    expect(again, [6], [6])
    assert answer_of(back(stack, epoch, 5))[:2] == (True, None)


def test_history_ttl_of_an_absent_user(runtime, stack):
    """With the last event the user is forgotten, and with the user the epoch."""
    bridge = stack.bridge(runtime, history_ttl_s=1)
    client = stack.connect()
    epoch, _ = resume_of(client)
    emit(runtime, [1])
    expect(client, [1], [1])
    leave(bridge, client)
    bridge.wait_metric("history_events", 0)
    client = back(stack, epoch, 1)
    assert answer_of(client) == (False, "unknown_epoch", 0)
    assert resume_of(client)[0] != epoch


def test_history_total_bytes(runtime, stack):
    """All users together: the one whose last event is oldest goes first."""
    bridge = stack.bridge(runtime, history_total_bytes=20000)
    clients = stack.connect_all([f"user-{number}" for number in range(4)])
    for client in clients:
        emit(runtime, [1], user=client.user, pad="x" * 8000)
        expect(client, [1], [1])
    assert bridge.metric("history_events") == 2
    assert bridge.metric("history_evicted_total", reason="total") == 2
    assert bridge.total("history_evicted_total") == 2
    for client, kept in zip(clients, (False, False, True, True)):
        again = back(stack, resume_of(client)[0], 0, user=client.user)
        assert answer_of(again) == ((True, None, 0) if kept else (False, "expired", 1))


def test_no_history(runtime, stack):
    """history-events=0: live events have offsets, nothing is kept; only who has missed nothing resumes."""
    bridge = stack.bridge(runtime, history_events=0)
    client = stack.connect()
    epoch, _ = resume_of(client)
    emit(runtime, range(1, 4))
    expect(client, [1, 2, 3], [1, 2, 3])
    assert (bridge.metric("history_events"), bridge.metric("history_bytes")) == (0, 0)
    assert bridge.total("history_evicted_total") == 0
    assert answer_of(back(stack, epoch, 2)) == (False, "expired", 3)
    again = back(stack, epoch, 3)
    assert answer_of(again) == (True, None, 3)
    emit(runtime, [4])
    expect(again, [4], [4])
    expect(client, [4], [4])
    emit(runtime, [1], user="nobody")
    again.quiet(runtime)
    assert bridge.metric("history_events") == 0


# what has no offset


def test_narrowed_and_send(runtime, bridge, stack):
    """Events for one connection and SEND bodies carry no offset, leave no gap and are not replayed."""
    client = stack.connect()
    epoch, _ = resume_of(client)
    emit(runtime, [1])
    runtime.emit("alice", {"type": "narrowed", "connection_id": client.connection_id})
    expect(client, [1], [1])
    assert "_offset" not in client.recv_type("narrowed")
    runtime.send("SEND", client.connection_id, "alice", body=msgpack.packb({"type": "sent"}))
    assert client.recv_event() == {"type": "sent"}
    emit(runtime, [2])
    expect(client, [2], [2])
    assert bridge.metric("history_events") == 2
    again = back(stack, epoch, 0)
    expect(again, [1, 2], [1, 2])
    again.quiet(runtime)


def test_dropped_events_take_no_offset(runtime, bridge, stack):
    """What the bridge refuses leaves neither offset nor history."""
    client = stack.connect()
    emit(runtime, [1])
    runtime.emit("alice", {"no": "type"})
    runtime.emit("alice", {"type": "x", "user_id": "bob"})
    runtime.emit("alice", b"\xc1")
    emit(runtime, [2])
    expect(client, [1, 2], [1, 2])
    assert bridge.total("events_dropped_total") == 3
    assert bridge.metric("history_events") == 2


# much at once


def test_replay_through_a_small_queue(runtime, stack):
    """History of 3,000 events goes through a queue of 10 frames without a 4008."""
    bridge = stack.bridge(runtime, **{**ROOMY, "queue_messages": 10, "queue_bytes": 4096})
    emit(runtime, [1])
    bridge.wait_metric("history_events", 1)
    epoch, _ = resume_of(stack.connect("alice"))
    emit(runtime, [1], user="bob")
    bridge.wait_metric("history_events", 2)
    bob, _ = resume_of(stack.connect("bob"))
    for client in list(stack._clients):  # pylint: disable=protected-access
        client.close()
    bridge.wait_metric("users", 0)
    emit(runtime, range(2, 3001), pad="x" * 100)
    emit(runtime, range(2, 3001), user="bob", pad="y" * 3000)
    bridge.wait_metric("history_events", 6000)
    client = back(stack, epoch, 0)
    assert answer_of(client) == (True, None, 0)
    expect(client, range(1, 3001), range(1, 3001))
    client.quiet(runtime)
    client = back(stack, bob, 1500, user="bob")
    expect(client, range(1501, 3001), range(1501, 3001))
    client.quiet(runtime)
    assert bridge.metric("connections_closed_total", reason="slow_consumer") == 0


def test_resume_while_events_pour_in(runtime, stack):
    """5,000 events; one connection is live all the time, others come back again and again from the middle: each has every
    later event exactly once."""
    bridge = stack.bridge(runtime, **ROOMY)
    live = stack.connect()
    epoch, _ = resume_of(live)
    emit(runtime, range(1, 501))
    expect(live, range(1, 501), range(1, 501))
    pouring = threading.Thread(target=emit, args=(runtime, range(501, 5001)))
    pouring.start()
    others = []
    for number in range(8):
        offset = 500 if number == 0 else others[-1].last
        client = back(stack, epoch, offset)
        assert answer_of(client) == (True, None, offset)
        seen = client.recv_events(100, timeout=60)
        assert [(event["n"], event["_offset"]) for event in seen] == [(n, n) for n in range(offset + 1, offset + 101)]
        client.last = offset + 100
        others.append(client)
    pouring.join()
    expect(live, range(501, 5001), range(501, 5001))
    for client in others:
        expect(client, range(client.last + 1, 5001), range(client.last + 1, 5001))
    for client in [live, *others]:
        client.quiet(runtime)
    assert bridge.metric("history_events") == 5000
    assert bridge.total("history_evicted_total") == 0
    assert bridge.metric("connections_closed_total", reason="slow_consumer") == 0
    delivered = 5000 + sum(5000 - (500 + 100 * number) for number in range(8))
    assert bridge.metric("events_delivered_total", type="stream_chunk") == delivered


def test_cut_again_and_again(runtime, stack):
    """A client that loses its TCP connection while events pour in, and comes back each time from what it has seen: one
    unbroken count."""
    bridge = stack.bridge(runtime, max_connections_per_user=100, **ROOMY)
    client = stack.connect()
    epoch, _ = resume_of(client)
    pouring = threading.Thread(target=emit, args=(runtime, range(1, 3001)))
    pouring.start()
    seen = 0
    while seen < 3000:
        count = min(150, 3000 - seen)
        expect(client, range(seen + 1, seen + count + 1), range(seen + 1, seen + count + 1))
        seen += count
        client.abort()
        client = back(stack, epoch, seen)
        assert answer_of(client) == (True, None, seen)
    pouring.join()
    client.quiet(runtime)
    assert bridge.metric("history_events") == 3000


# the bridge


def test_restart(runtime, stack):
    """Another bridge process knows nothing of the first one's epochs."""
    first = stack.bridge(runtime)
    client = stack.connect()
    epoch, _ = resume_of(client)
    emit(runtime, range(1, 4))
    expect(client, [1, 2, 3], [1, 2, 3])
    assert first.stop() == 0
    wait_until(lambda: runtime._subscriptions == 0)  # pylint: disable=protected-access
    stack.bridge(runtime)
    client = back(stack, epoch, 3)
    assert answer_of(client) == (False, "unknown_epoch", 0)
    assert resume_of(client)[0] != epoch
    client.quiet(runtime)
    client = back(stack, epoch, 0)
    assert answer_of(client) == (False, "unknown_epoch", 0)


def test_offsets_are_the_same_on_all_connections(runtime, bridge, stack):
    """One count per user, whoever looks; users do not share it."""
    assert bridge
    alice = stack.connect_all(["alice"] * 3)
    bob = stack.connect("bob")
    for number in range(1, 21):
        emit(runtime, [number])
        if number % 2:
            emit(runtime, [number], user="bob")
    for client in alice:
        expect(client, range(1, 21), range(1, 21))
    expect(bob, range(1, 21, 2), range(1, 11))
    assert len({resume_of(client)[0] for client in alice}) == 1
    assert resume_of(bob)[0] != resume_of(alice[0])[0]
