"""Connections that come and go while events flow."""
import random
import threading

from harness.client import LOOP, Client, gather

ROUNDS = 1000


async def one_round(stack, bridge, number, how):
    """Connect, perhaps talk, and go in one of several ways; the connection id."""
    user = f"user-{number % 50}"
    client = Client(bridge, stack.keys.token(user), user)
    await client.open_async(reader=False)
    frame = await client.first_frame()
    if how == "talk":
        await client.socket.send('{"type":"user_message"}')
    if how == "abort":
        client.socket.transport.abort()
    else:
        await client.socket.close()
    return frame["data"]["connection_id"]


def events_until(runtime, stopped):
    """Emit to random users until told to stop."""
    chance = random.Random(11)
    while not stopped.wait(0.002):
        for _ in range(5):
            runtime.emit(f"user-{chance.randrange(50)}", {"type": "stream_chunk", "delta": "x" * chance.randrange(500)})


def test_churn(runtime, stack):
    """1,000 connections, some cut, with events in flight: every number is back where it was."""
    bridge = stack.bridge(runtime, max_connections_per_user=100)
    stopped = threading.Event()
    emitter = threading.Thread(target=events_until, args=(runtime, stopped))
    emitter.start()
    chance = random.Random(12)
    ways = [chance.choice(("close", "abort", "talk")) for _ in range(ROUNDS)]
    try:
        ids = LOOP.run(gather([one_round(stack, bridge, number, how) for number, how in enumerate(ways)], 20), 120)
    finally:
        stopped.set()
        emitter.join()
    faults = [fault for fault in ids if isinstance(fault, BaseException)]
    assert not faults, faults[:3]
    assert len(set(ids)) == ROUNDS

    bridge.wait_total("connections", 0)
    gone = runtime.wait_commands("DISCONNECT", ROUNDS)
    assert {command.connection_id for command in gone} == set(ids) and len(gone) == ROUNDS
    told = runtime.commands("CONNECT")
    assert {command.connection_id for command in told} == set(ids) and len(told) == ROUNDS
    assert len(runtime.wait_commands("MESSAGE", ways.count("talk"))) == ways.count("talk")
    for name, value in (("users", 0), ("outbound_queue_bytes", 0), ("isolation_violations_total", 0),
                        ("state_transition_errors_total", 0)):
        bridge.wait_metric(name, value)
    assert bridge.metric("handshakes_total", result="ok") == ROUNDS
    assert bridge.total("connections_closed_total") == ROUNDS


def test_resets(bridge, runtime, stack):
    """RST in every phase of a connection: before a request, after half of it, after the upgrade, inside a frame."""
    token = stack.keys.token("alice")
    head = f"GET /ws HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n".encode()
    for _ in range(30):
        stack.raw().reset()
        half = stack.raw()
        half.send(head)
        half.reset()
        whole = stack.raw_connect("alice")
        whole.send(b"\x81\xfe\x40\x00abcd" + b"x" * 100)
        whole.reset()
    runtime.wait_commands("DISCONNECT", 30)
    bridge.wait_total("connections", 0)
    stack.connect("alice").ping()


def test_refused_ones_leave_no_trace(bridge, stack):
    """Bad tokens in number: no connection stays, nobody counts as user."""
    for _ in range(100):
        client = stack.raw()
        client.upgrade(changes={"Authorization": "Bearer a.b.c"})
        client.reset()
    bridge.wait_total("connections", 0)
    assert bridge.metric("users") == 0
    assert bridge.metric("handshakes_total", result="jwt_format_invalid") == 100
