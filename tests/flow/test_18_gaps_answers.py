"""Answers to REPLAY that nobody asked for, that are wrong, or that come to the wrong place: dropped, counted, survived."""
import random

import msgpack
import pytest
from harness.gaps import CALM, counts, drop, emit, event, expect, linked, settled


@pytest.fixture(name="runtime")
def runtime_fixture(stack):
    """A runtime that numbers its events and leaves the answers to the test."""
    return stack.runtime(sequenced=True, answer_replay=False)


@pytest.fixture(name="bridge")
def bridge_fixture(stack, runtime):
    """A bridge that waits for an answer as long as the test likes."""
    return linked(stack, runtime, replay_timeout_ms=60000)


def dropped(bridge):
    """{reason: commands dropped}, those that are not 0."""
    found = {dict(labels)["reason"]: count for (name, labels), count in bridge.metrics().items()
             if name == "agentbridge_runtime_commands_dropped_total"}
    return {reason: count for reason, count in found.items() if count}


def open_gap(runtime, bridge, client):
    """Events 1 to 7 of which 3, 4 and 5 are missing: the question is there, 1 and 2 are delivered."""
    emit(runtime, [1, 2])
    drop(runtime, [3, 4, 5])
    emit(runtime, [6, 7])
    runtime.wait_questions(1)
    expect(client, [1, 2])
    assert dropped(bridge) == {}


def close_gap(runtime, bridge, client):
    """The right answer: nothing that came before it has done harm."""
    client.quiet(runtime)
    runtime.answer(3, 5)
    assert expect(client, range(3, 8)) == 7
    assert counts(bridge) == (1, 3, 0)
    assert len(runtime.questions()) == 1


def test_without_a_question(runtime, bridge, stack):
    """EVENT and LOST out of the blue."""
    client = stack.connect()
    emit(runtime, [1])
    expect(client, [1])
    runtime.send_event("alice", event(99), 2)
    runtime.send_lost(2, 3)
    runtime.send_event("alice", event(99), 1, publisher="stranger")
    settled(runtime)
    client.quiet(runtime)
    assert dropped(bridge) == {"unsolicited": 3}
    bridge.wait_log("COMMAND_DROPPED", reason="unsolicited")
    assert counts(bridge) == (0, 0, 0)
    emit(runtime, [2])
    assert expect(client, [2]) == 2


@pytest.mark.parametrize("seq, reason", [(1, "repeat"), (2, "repeat"), (6, "repeat"), (7, "repeat"), (8, "unsolicited"),
                                         (1000, "unsolicited"), (2 ** 64 - 1, "unsolicited")])
def test_event_beside_the_question(runtime, bridge, stack, seq, reason):
    """A number that has come already, whether it was delivered or is held back, or one that was not asked for."""
    client = stack.connect()
    open_gap(runtime, bridge, client)
    runtime.send_event("alice", event(99), seq)
    settled(runtime)
    assert dropped(bridge) == {reason: 1}
    close_gap(runtime, bridge, client)


def test_answers_of_another_publisher(runtime, bridge, stack):
    """The right numbers under a wrong name."""
    client = stack.connect()
    open_gap(runtime, bridge, client)
    for seq in (3, 4, 5):
        runtime.send_event("alice", event(99), seq, publisher="stranger")
    runtime.send_lost(3, 5, publisher="stranger")
    settled(runtime)
    assert dropped(bridge) == {"unsolicited": 4}
    close_gap(runtime, bridge, client)


def test_answers_from_another_runtime(stack):
    """Only the runtime that was asked may answer."""
    first, second = (stack.runtime(sequenced=True, publisher=name, answer_replay=False) for name in ("p1", "p2"))
    both = {name: f"{first.options[name]},{second.options[name]}" for name in first.options}
    bridge = stack.bridge(**both, **CALM, replay_timeout_ms=60000)
    for lane, runtime in enumerate((first, second)):
        runtime.wait_subscribed()
        bridge.wait_log("RUNTIME_HELLO", lane=lane)
    client = stack.connect()
    open_gap(first, bridge, client)
    second.send_event("alice", event(99), 3, publisher="p1")
    second.send_lost(3, 5, publisher="p1")
    settled(second)
    assert dropped(bridge) == {"unsolicited": 2}
    close_gap(first, bridge, client)


def test_an_answer_out_of_order(runtime, bridge, stack):
    """Nothing overtakes: each part waits for those before it, the news of a loss too."""
    client = stack.connect()
    open_gap(runtime, bridge, client)
    runtime.answer(5, 5)
    runtime.send_lost(4, 4)
    settled(runtime)
    client.quiet(runtime)
    runtime.answer(3, 3)
    expect(client, [3])
    client.recv_type("resync")
    expect(client, [5, 6, 7])
    assert counts(bridge) == (1, 2, 1)
    assert dropped(bridge) == {}


def test_an_event_with_another_user_in_it(runtime, bridge, stack):
    """It is an isolation violation like every other, reaches neither, and has had its number."""
    alice, bob = stack.connect_all(["alice", "bob"])
    open_gap(runtime, bridge, alice)
    runtime.answer(3, 3)
    runtime.send_event("alice", event(99, user_id="bob"), 4)
    runtime.answer(5, 5)
    expect(alice, [3, 5, 6, 7])
    for client in (alice, bob):
        client.quiet(runtime)
    assert bridge.metric("isolation_violations_total") == 1
    bridge.wait_log("ISOLATION_VIOLATION")
    assert counts(bridge)[2] == 0


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_an_event_for_another_connection(runtime, bridge, stack, user):
    """connection_id in it must be the user's."""
    alice, bob = stack.connect_all(["alice", "bob"])
    target, other = (alice, bob) if user == "bob" else (bob, alice)
    open_gap(runtime, bridge, alice)
    runtime.answer(3, 4)
    runtime.send_event(user, event(99, connection_id=target.connection_id), 5)
    expect(alice, [3, 4, 6, 7])
    for client in (target, other):
        client.quiet(runtime)
    assert bridge.metric("isolation_violations_total") == 1


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x80", b"\x81\xa4type\xa1x\x00", b"\x91" * 70 + b"\x90"])
def test_an_event_that_is_none(runtime, bridge, stack, body):
    """A body that no event can have: dropped, nothing is delivered in its place, and the rest goes on."""
    client = stack.connect()
    open_gap(runtime, bridge, client)
    runtime.answer(3, 3)
    runtime.send_event("alice", body, 4)
    runtime.answer(5, 5)
    expect(client, [3, 5, 6, 7])
    client.quiet(runtime)
    assert bridge.total("events_dropped_total") + bridge.total("runtime_commands_dropped_total") == 1
    assert counts(bridge)[2] == 0


@pytest.mark.parametrize("user", ["", "x" * 129, "a\0b"], ids=["empty", "long", "control"])
def test_an_event_for_no_user(runtime, bridge, stack, user):
    """As on the event link: what nobody can be meant by is dropped, has had its number, and is no loss."""
    client = stack.connect()
    emit(runtime, [1])
    runtime.drop(user, event(99))
    emit(runtime, [3])
    expect(client, [1])
    assert [tuple(question)[1:] for question in runtime.wait_questions(1)] == [(2, 2)]
    runtime.answer(2, 2)
    expect(client, [3])
    client.quiet(runtime)
    assert bridge.total("events_dropped_total") + bridge.total("runtime_commands_dropped_total") == 1
    assert counts(bridge)[2] == 0


def packed(**headers):
    """A headers frame."""
    return msgpack.packb(headers)


GOOD = msgpack.packb({"type": "stream_chunk", "n": 99})
HEADERS = {
    "EVENT": {
        "nothing": b"",
        "empty": b"\x80",
        "no publisher": packed(seq=3),
        "no seq": packed(publisher="flow"),
        "publisher is bytes": packed(publisher=b"flow", seq=3),
        "publisher is a number": packed(publisher=1, seq=3),
        "publisher is empty": packed(publisher="", seq=3),
        "publisher is long": packed(publisher="p" * 129, seq=3),
        "seq is text": packed(publisher="flow", seq="3"),
        "seq is negative": packed(publisher="flow", seq=-3),
        "seq is real": packed(publisher="flow", seq=3.0),
        "seq is nil": packed(publisher="flow", seq=None),
        "seq is 0": packed(publisher="flow", seq=0),
    },
    "LOST": {
        "nothing": b"",
        "no publisher": packed(**{"from": 3, "to": 5}),
        "no from": packed(publisher="flow", to=5),
        "no to": packed(publisher="flow", **{"from": 3}),
        "from is text": packed(publisher="flow", to=5, **{"from": "3"}),
        "to is negative": packed(publisher="flow", to=-1, **{"from": 3}),
        "to is real": packed(publisher="flow", to=5.5, **{"from": 3}),
        "to before from": packed(publisher="flow", to=3, **{"from": 5}),
    },
}


@pytest.mark.parametrize("name", sorted(HEADERS))
def test_malformed_headers(runtime, bridge, stack, name):
    """Each is dropped and counted; the gap stays open for the right answer."""
    client = stack.connect()
    open_gap(runtime, bridge, client)
    body = GOOD if name == "EVENT" else b""
    for headers in HEADERS[name].values():
        runtime.raw_send([name.encode(), b"", b"alice" if name == "EVENT" else b"", headers, body])
    settled(runtime)
    well_formed = {"EVENT": {"unsolicited": 1, "repeat": 1}, "LOST": {}}[name]  # a long name and 0 are names and numbers too
    malformed = len(HEADERS[name]) - len(well_formed)
    assert dropped(bridge) == {"malformed": malformed, **well_formed}
    close_gap(runtime, bridge, client)


def test_lost_is_cut_to_the_question(runtime, bridge, stack):
    """LOST for more than was asked loses no more than that: 6 and 7 are there."""
    client = stack.connect()
    open_gap(runtime, bridge, client)
    runtime.send_lost(1, 100)
    assert client.recv_type("resync")
    expect(client, [6, 7])
    assert counts(bridge) == (1, 0, 3)
    emit(runtime, [8])
    expect(client, [8])
    assert len(runtime.questions()) == 1


def test_commands_of_the_bridge(runtime, bridge, stack):
    """REPLAY and ABANDONED are the bridge's to say."""
    client = stack.connect()
    open_gap(runtime, bridge, client)
    for name in ("REPLAY", "ABANDONED"):
        runtime.send(name, headers={"publisher": "flow", "from": 1, "to": 2})
    settled(runtime)
    assert dropped(bridge) == {"unknown_command": 2}
    close_gap(runtime, bridge, client)


@pytest.mark.parametrize("seq", ["9", -1, 1.5, None, [1], {}, 0])
def test_odd_seq_in_pong_and_hello(runtime, bridge, stack, seq):
    """It tells of nothing; the row goes on."""
    client = stack.connect()
    emit(runtime, [1])
    expect(client, [1])
    runtime.send("PONG", headers={"t": 0, "seq": seq})
    runtime.send("HELLO", headers={"publisher": "flow", "seq": seq})
    settled(runtime)
    emit(runtime, [2])
    assert expect(client, [2]) == 2
    assert counts(bridge) == (0, 0, 0)
    assert not runtime.questions()


def test_answers_at_random(runtime, bridge, stack):
    """2,000 answers with any numbers, any order, some twice, while events with gaps pour in: nothing comes twice or out of
    order, nothing of another user comes at all."""
    client, other = stack.connect_all(["alice", "bob"])
    chance = random.Random(20)
    for number in range(1, 1001):
        (drop if number % 5 == 0 else emit)(runtime, [number])
        for _ in range(2):
            seq = max(1, number - chance.randrange(30))
            runtime.send_event("alice", event(seq), seq)
    emit(runtime, [1001])
    answered = 0
    while bridge.metric("events_received_total", type="stream_chunk") < 1001:
        questions = runtime.questions()
        for question in questions[answered:]:
            runtime.answer(question.first, question.last)
        answered = len(questions)
    assert expect(client, range(1, 1002)) == 1001
    for each in (client, other):
        each.quiet(runtime)
    assert counts(bridge)[1:] == (200, 0)
    assert sum(dropped(bridge).values()) == 2000 + sum(q.last - q.first + 1 for q in runtime.questions()) - 200
