"""Nothing of one user ever reaches another."""
import random

import pytest

USERS = ["a", "ab", "abc", "a b", " a", "a*", "*", "a.b", "A", "ü", "u\u0308", "日本語", "\U0001f600", "x" * 127, "x" * 128, "é" * 64]


def test_two_users_two_connections(runtime, bridge, stack):
    """Each event reaches both connections of its user, in order, and nobody else."""
    assert bridge
    clients = stack.connect_all(["alice", "alice", "bob", "bob"])
    for number in range(50):
        runtime.emit("alice", {"type": "progress_update", "user_id": "alice", "n": number})
        runtime.emit("bob", {"type": "progress_update", "user_id": "bob", "n": number})
    for client in clients:
        events = client.recv_events(50)
        assert [(event["user_id"], event["n"]) for event in events] == [(client.user, n) for n in range(50)]
        client.quiet(runtime)


def test_many_users_random_events(runtime, bridge, stack):
    """200 users, two connections each, 8,000 events in random turn: all there, in order, none for another user."""
    users = [f"user-{number}" for number in range(200)]
    clients = stack.connect_all(users + users)
    chance = random.Random(20240229)
    sent = dict.fromkeys(users, 0)
    for _ in range(8000):
        user = chance.choice(users)
        runtime.emit(user, {"type": "stream_chunk", "user_id": user, "n": sent[user], "delta": "x" * chance.randrange(200)})
        sent[user] += 1
    for client in clients:
        events = client.recv_events(sent[client.user], timeout=60)
        assert [(event["user_id"], event["n"]) for event in events] == [(client.user, n) for n in range(sent[client.user])]
        offsets = [event["_offset"] for event in events]
        assert offsets == sorted(set(offsets))
    for client in clients:
        client.quiet(runtime)
    assert bridge.metric("events_delivered_total", type="stream_chunk") == 16000
    assert bridge.metric("isolation_violations_total") == 0
    assert bridge.total("events_dropped_total") == 0


def test_peculiar_user_ids(runtime, bridge, stack):
    """Ids that are prefixes of one another, patterns, spaces, UTF-8 in two normal forms, the longest ones."""
    clients = stack.connect_all(USERS)
    for user in USERS:
        runtime.emit(user, {"type": "stream_chunk", "user_id": user, "for": user})
    for client in clients:
        assert client.established["data"]["user_id"] == client.user
        assert client.recv_event()["for"] == client.user
    for client in clients:
        client.quiet(runtime)
    told = {command.user_id for command in runtime.commands("CONNECT")}
    assert told == set(USERS)
    assert bridge.metric("users") == len(USERS)


def test_spoofed_user_in_body(runtime, bridge, stack):
    """An event whose user_id is not its frame 0 reaches neither of the two."""
    alice, bob = stack.connect_all(["alice", "bob"])
    runtime.emit("alice", {"type": "agent_started", "user_id": "bob", "secret": 1})
    runtime.emit("alice", {"type": "agent_started", "user_id": 7})
    alice.quiet(runtime)
    bob.quiet(runtime)
    assert bridge.metric("isolation_violations_total") == 2
    assert bridge.metric("events_dropped_total", reason="isolation") == 2
    assert bridge.wait_log("ISOLATION_VIOLATION")["level"].lower() == "error"


def test_event_narrowed_to_a_strange_connection(runtime, bridge, stack):
    """connection_id of another user: nothing is delivered, to nobody."""
    alice, bob = stack.connect_all(["alice", "bob"])
    runtime.emit("alice", {"type": "agent_started", "connection_id": bob.connection_id})
    alice.quiet(runtime)
    bob.quiet(runtime)
    assert bridge.metric("isolation_violations_total") == 1
    assert bridge.metric("events_dropped_total", reason="isolation") == 1
    bridge.wait_log("ISOLATION_VIOLATION")


def test_event_narrowed_to_one_connection(runtime, bridge, stack):
    """connection_id of one's own: that connection alone, no offset, not kept."""
    first, second = stack.connect_all(["alice", "alice"])
    runtime.emit("alice", {"type": "agent_started", "connection_id": first.connection_id, "n": 1})
    event = first.recv_event()
    assert event == {"type": "agent_started", "connection_id": first.connection_id, "n": 1}
    first.quiet(runtime)
    second.quiet(runtime)
    assert bridge.metric("history_events") == 0
    assert bridge.metric("isolation_violations_total") == 0


def test_event_for_a_connection_that_has_gone(runtime, bridge, stack):
    """It is dropped and counted, and is no violation."""
    first, second = stack.connect_all(["alice", "alice"])
    gone = first.connection_id
    first.close()
    runtime.wait_command("DISCONNECT", connection_id=gone)
    bridge.wait_total("connections", 1)
    runtime.emit("alice", {"type": "agent_started", "connection_id": gone})
    second.quiet(runtime)
    assert bridge.metric("events_dropped_total", reason="no_connection") == 1
    assert bridge.metric("isolation_violations_total") == 0


@pytest.mark.parametrize("command, headers, body", [
    ("SEND", {}, {"type": "private"}),
    ("SEND", {"opcode": "text"}, b"{}"),
    ("CLOSE", {"code": 1000, "reason": "no"}, b""),
], ids=["send-event", "send-frame", "close"])
def test_command_for_a_strange_connection(runtime, bridge, stack, command, headers, body):
    """SEND and CLOSE with a user that does not own the connection: refused, counted, logged."""
    alice, bob = stack.connect_all(["alice", "bob"])
    runtime.send(command, bob.connection_id, "alice", headers, body)
    bridge.wait_metric("isolation_violations_total", 1)
    bridge.wait_metric("runtime_commands_dropped_total", 1, reason="isolation")
    alice.quiet(runtime)
    bob.quiet(runtime)
    assert bridge.wait_log("ISOLATION_VIOLATION")


def test_kick(runtime, bridge, stack):
    """KICK closes every connection of one user with 4009, and of no other."""
    clients = stack.connect_all(["alice", "alice", "alicette", "bob", "ali"])
    runtime.send("KICK", "", "alice", {"reason": "signed out"})
    for client in clients[:2]:
        assert client.wait_closed()[0] == 4009
    for client in clients[2:]:
        client.quiet(runtime)
    gone = runtime.wait_commands("DISCONNECT", 2)
    assert {command.user_id for command in gone} == {"alice"}
    assert sorted(command.headers["remaining"] for command in gone) == [0, 1]
    assert {command.headers["code"] for command in gone} == {4009}
    assert bridge.metric("connections_closed_total", reason="kicked") == 2
