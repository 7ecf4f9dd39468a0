"""Gaps in a publisher's sequence: what PUB has dropped is asked for and comes in its place, once and in order."""
import random
import signal

import pytest
import zmq
from harness import wait_until
from harness.gaps import asked, counts, drop, emit, event, expect, linked, settled


@pytest.fixture(name="runtime")
def runtime_fixture(stack):
    """A runtime that numbers its events and answers REPLAY."""
    return stack.runtime(sequenced=True)


# holes of every shape


def test_one_event_is_missing(runtime, stack):
    """It is asked for alone and takes its place; the log tells of both."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    emit(runtime, [1, 2, 3])
    drop(runtime, [4])
    emit(runtime, [5])
    assert expect(client, range(1, 6)) == 5
    client.quiet(runtime)
    asked(runtime, (4, 4))
    assert counts(bridge) == (1, 1, 0)
    assert bridge.metric("events_received_total", type="stream_chunk") == 5
    assert bridge.metric("events_delivered_total", type="stream_chunk") == 5
    assert bridge.total("events_dropped_total") == 0
    assert bridge.total("runtime_commands_dropped_total") == 0
    assert [bridge.metric("runtime_commands_total", command=name) for name in ("REPLAY", "EVENT", "LOST")] == [1, 1, 0]
    bridge.wait_log("EVENT_GAP")
    bridge.wait_log("GAP_CLOSED")
    assert not bridge.logs("EVENTS_LOST")


def test_nothing_is_missing(runtime, stack):
    """A publisher without gaps is asked for nothing."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    emit(runtime, range(1, 501))
    expect(client, range(1, 501))
    settled(runtime)
    asked(runtime)
    assert counts(bridge) == (0, 0, 0)


def test_the_first_event_is_missing(runtime, stack):
    """The count begins with 1, which HELLO has told."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    drop(runtime, [1])
    emit(runtime, [2])
    expect(client, [1, 2])
    asked(runtime, (1, 1))
    assert counts(bridge) == (1, 1, 0)


def test_a_run_of_events_is_missing(runtime, stack):
    """One gap, one question."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    emit(runtime, [1])
    drop(runtime, range(2, 52))
    emit(runtime, [52, 53])
    assert expect(client, range(1, 54)) == 53
    asked(runtime, (2, 51))
    assert counts(bridge) == (1, 50, 0)


def test_several_gaps(runtime, stack):
    """Every third event of 300 is missing: each is a gap of its own."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    for number in range(1, 301):
        (drop if number % 3 == 0 else emit)(runtime, [number])
    emit(runtime, [301])
    expect(client, range(1, 302))
    client.quiet(runtime)
    asked(runtime, *((number, number) for number in range(3, 301, 3)))
    assert counts(bridge) == (100, 100, 0)


def test_a_thousand_at_a_time(runtime, stack):
    """2,500 missing events are three questions; the next is asked when the one before is answered."""
    runtime.answer_replay = False
    bridge = linked(stack, runtime, replay_timeout_ms=60000)
    client = stack.connect()
    emit(runtime, [1])
    drop(runtime, range(2, 2502))
    emit(runtime, [2502])
    expected = [(2, 1001), (1002, 2001), (2002, 2501)]
    for count, question in enumerate(expected, 1):
        runtime.wait_questions(count)
        settled(runtime)
        asked(runtime, *expected[:count])
        runtime.answer(question[0], question[1] - 1)
        settled(runtime)
        asked(runtime, *expected[:count])
        runtime.answer(question[1], question[1])
    expect(client, range(1, 2503))
    settled(runtime)
    asked(runtime, *expected)
    assert counts(bridge) == (1, 2500, 0)


# order


def test_what_comes_meanwhile_is_held_back(runtime, stack):
    """Nothing of the publisher passes an open gap, for no user; then everything comes in order, once."""
    runtime.answer_replay = False
    bridge = linked(stack, runtime, replay_timeout_ms=60000)
    alice, bob = stack.connect_all(["alice", "bob"])
    emit(runtime, [1])
    emit(runtime, [1], user="bob")
    drop(runtime, [2], user="bob")
    for number in range(2, 50):
        emit(runtime, [number])
        emit(runtime, [number + 1], user="bob")
    expect(alice, [1])
    expect(bob, [1])
    runtime.wait_questions(1)
    for client in (alice, bob):
        client.quiet(runtime)
    assert bridge.metric("events_received_total", type="stream_chunk") == 2
    runtime.answer(3, 3)
    assert expect(alice, range(2, 50)) == 49
    assert expect(bob, range(2, 51)) == 50
    asked(runtime, (3, 3))
    assert counts(bridge) == (1, 1, 0)


def test_one_question_at_a_time(runtime, stack):
    """Further gaps wait until the first is closed."""
    runtime.answer_replay = False
    bridge = linked(stack, runtime, replay_timeout_ms=60000)
    client = stack.connect()
    for number in range(1, 12):
        (emit if number % 2 else drop)(runtime, [number])
    expect(client, [1])
    for number in range(2, 12, 2):
        runtime.wait_questions(number // 2)
        client.quiet(runtime)
        settled(runtime)
        asked(runtime, *((each, each) for each in range(2, number + 1, 2)))
        runtime.answer(number, number)
        expect(client, [number, number + 1])
    assert counts(bridge) == (5, 5, 0)


def test_order_over_users(runtime, stack):
    """1,000 events for eight users with a fifth of them missing by chance: each user has all of its own, in order."""
    bridge = linked(stack, runtime)
    users = [f"user-{number}" for number in range(8)]
    clients = stack.connect_all(users)
    chance = random.Random(18)
    sent = {user: 0 for user in users}
    missing = [chance.random() < 0.2 for _ in range(999)] + [False]
    for lost in missing:
        user = chance.choice(users)
        sent[user] += 1
        (drop if lost else emit)(runtime, [sent[user]], user=user)
    for client in clients:
        assert expect(client, range(1, sent[client.user] + 1)) == sent[client.user]
        client.quiet(runtime)
    gaps = sum(lost and not before for before, lost in zip([False, *missing], missing))
    assert counts(bridge) == (gaps, sum(missing), 0)


def test_events_without_number_pass(runtime, stack):
    """They belong to no publisher: an open gap does not hold them."""
    runtime.answer_replay = False
    bridge = linked(stack, runtime, replay_timeout_ms=60000)
    client = stack.connect()
    drop(runtime, [1])
    emit(runtime, [2])
    runtime.wait_questions(1)
    for number in (101, 102, 103):
        runtime.emit_plain("alice", event(number))
    expect(client, [101, 102, 103])
    runtime.answer(1, 1)
    assert expect(client, [1, 2]) == 5
    assert counts(bridge) == (1, 1, 0)


def test_a_client_comes_back_in_the_midst(runtime, stack):
    """An open gap is no reason to miss anything: what is held back comes when its turn has come."""
    runtime.answer_replay = False
    bridge = linked(stack, runtime, replay_timeout_ms=60000)
    client = stack.connect()
    epoch = client.established["data"]["resume"]["epoch"]
    emit(runtime, [1, 2])
    drop(runtime, [3])
    emit(runtime, [4])
    expect(client, [1, 2])
    runtime.wait_questions(1)
    client.close()
    bridge.wait_total("connections", 0)
    again = stack.connect(path=f"/ws?epoch={epoch}&offset=1")
    assert again.established["data"]["recovered"] is True
    expect(again, [2])
    again.quiet(runtime)
    runtime.answer(3, 3)
    assert expect(again, [3, 4]) == 4
    assert counts(bridge) == (1, 1, 0)


def test_a_drain_under_an_open_gap(runtime, stack):
    """What is held back when the bridge goes is not delivered, and holds up nothing."""
    runtime.answer_replay = False
    bridge = linked(stack, runtime, replay_timeout_ms=60000)
    client = stack.connect()
    drop(runtime, [1])
    emit(runtime, range(2, 100))
    runtime.wait_questions(1)
    client.quiet(runtime)
    assert bridge.stop() == 0
    assert client.wait_closed()[0] == 1012
    assert [frame["type"] for frame in client.rest()] == ["bridge_draining"]


def test_other_publishers_pass(stack):
    """A gap of one runtime holds back nothing of another, and each is asked for its own."""
    first, second = (stack.runtime(sequenced=True, publisher=name, answer_replay=False) for name in ("p1", "p2"))
    both = {name: f"{first.options[name]},{second.options[name]}" for name in first.options}
    bridge = stack.bridge(**both, runtime_ping_s=3600, replay_timeout_ms=60000)
    for lane, runtime in enumerate((first, second)):
        runtime.wait_subscribed()
        bridge.wait_log("RUNTIME_HELLO", lane=lane)
    client = stack.connect()
    drop(first, [1])
    emit(first, [2])
    first.wait_questions(1)
    emit(second, [11])
    expect(client, [11])
    drop(second, [12])
    emit(second, [13])
    second.wait_questions(1)
    second.answer(2, 2)
    expect(client, [12, 13])
    first.answer(1, 1)
    expect(client, [1, 2])
    asked(first, (1, 1))
    asked(second, (2, 2))
    assert counts(bridge) == (2, 2, 0)


# repeats


def test_repeats_on_the_event_link(runtime, stack):
    """Lower numbers are dropped and counted, take no offset and open no gap."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    emit(runtime, range(1, 6))
    for seq in (5, 1, 3):
        runtime.emit("alice", event(99), {"publisher": runtime.publisher, "seq": seq})
    emit(runtime, [6])
    assert expect(client, range(1, 7)) == 6
    assert bridge.metric("events_dropped_total", reason="repeat") == 3
    assert bridge.total("events_dropped_total") == 3
    bridge.wait_log("EVENT_DROPPED", reason="repeat")
    settled(runtime)
    asked(runtime)
    assert counts(bridge) == (0, 0, 0)


def test_repeats_of_what_was_repaired(runtime, stack):
    """The original that turns up after its repair is a repeat; so is an EVENT that comes twice."""
    runtime.answer_replay = False
    bridge = linked(stack, runtime, replay_timeout_ms=60000)
    client = stack.connect()
    drop(runtime, [1, 2])
    emit(runtime, [3])
    runtime.wait_questions(1)
    runtime.send_event("alice", event(1), 1)
    runtime.send_event("alice", event(99), 1)
    runtime.send_event("alice", event(2), 2)
    expect(client, [1, 2, 3])
    assert bridge.metric("runtime_commands_dropped_total", reason="repeat") == 1
    for seq in (1, 2):
        runtime.emit("alice", event(99), {"publisher": runtime.publisher, "seq": seq})
    emit(runtime, [4])
    assert expect(client, [4]) == 4
    assert bridge.metric("events_dropped_total", reason="repeat") == 2
    assert counts(bridge) == (1, 2, 0)


def test_a_dropped_event_has_its_number(runtime, stack):
    """What is refused for itself is not missing: no question, the next event follows."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    emit(runtime, [1])
    runtime.emit("alice", b"\xc1")
    runtime.emit("alice", {"type": "x", "user_id": "bob"})
    runtime.emit("", {"type": "x"})
    emit(runtime, [5])
    assert expect(client, [1, 5]) == 2
    settled(runtime)
    asked(runtime)
    assert counts(bridge) == (0, 0, 0)
    assert {reason: bridge.metric("events_dropped_total", reason=reason) for reason in ("malformed", "isolation", "bad_user")} \
        == {"malformed": 1, "isolation": 1, "bad_user": 1}


def test_narrowed_events_are_repaired_too(runtime, stack):
    """An event for one connection takes a number like every other; without offset, to that connection only."""
    bridge = linked(stack, runtime)
    one, other = stack.connect_all(["alice", "alice"])
    emit(runtime, [1])
    runtime.drop("alice", {"type": "narrowed", "connection_id": one.connection_id})
    emit(runtime, [3])
    expect(one, [1])
    assert "_offset" not in one.recv_type("narrowed")
    assert expect(one, [3]) == expect(other, [1, 3]) == 2
    assert counts(bridge) == (1, 1, 0)


# the real thing


def test_pub_drops_for_real(stack):
    """A PUB socket with a tiny high-water mark, and a bridge that stands still for a while: ZeroMQ drops, and the client
    has every event all the same."""
    runtime = stack.runtime(sequenced=True, events_socket=zmq.PUB, events_hwm=10)
    bridge = linked(stack, None, **runtime.options, runtime_ping_s=1).wait_ready()
    client = stack.connect()
    for pause in range(3):
        bridge.signal(signal.SIGSTOP)
        first = 4000 * pause + 1
        emit(runtime, range(first, first + 4000), pad="x" * 1000)
        wait_until(lambda last=first + 3999: runtime.seq == last, timeout=30)
        bridge.signal(signal.SIGCONT)
        assert expect(client, range(first, first + 4000)) == first + 3999
    gaps, repaired, lost = counts(bridge)
    assert gaps >= 3 and repaired > 3000 and lost == 0
    assert repaired == bridge.metric("runtime_commands_total", command="EVENT")
    assert bridge.metric("events_received_total", type="stream_chunk") == 12000


def test_everything_at_once(runtime, stack):
    """Drops by chance, PONGs that run ahead, clients that lose their connections: each has everything of its user, once
    and in order, and nobody was told of a loss."""
    bridge = linked(stack, runtime, runtime_ping_s=1, max_connections_per_user=100)
    users = [f"user-{number}" for number in range(5)]
    clients = [stack.resuming(user) for user in users for _ in range(2)]
    chance = random.Random(181)
    emitted = {user: [] for user in users}
    missing = 0
    for number in range(1, 5001):
        user = chance.choice(users)
        lost = chance.random() < 0.1
        missing += lost
        (drop if lost else emit)(runtime, [number], user=user)
        emitted[user].append(number)
        if number % 250 == 0:
            clients[number // 250 % len(clients)].abort()
    for client in clients:
        client.wait_event(n=emitted[client.user][-1], timeout=60)
        assert client.missed(emitted[client.user]) == []
        assert not client.resyncs
    assert bridge.metric("events_received_total", type="stream_chunk") == 5000
    _, repaired, lost = counts(bridge)
    assert (repaired - bridge.metric("events_dropped_total", reason="repeat"), lost) == (missing, 0)
