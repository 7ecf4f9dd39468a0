"""A runtime that stands still and a network that is cut: what clients say and what they are told stays exact."""
import json
import random
import signal
import threading

import pytest
from harness import DOWN, Question, UP, wait_until
from harness.gaps import counts, drop, emit, event, expect, linked, settled

UNLIMITED = {"client_messages_per_minute": 0}


def say(client, numbers, pad=""):
    """One message a number."""
    for number in numbers:
        client.send({"type": "user_message", "message_id": str(number), "pad": pad})


def heard(runtime, client, since=0):
    """[(seq, message_id)] of a connection's messages at the runtime."""
    found = runtime.commands("MESSAGE", since, connection_id=client.connection_id)
    return [(command.headers["seq"], json.loads(command.body)["message_id"]) for command in found]


def refusals(client):
    """The message_ids of the next frames as long as they are refusals; another `pong` ends them."""
    client.send({"type": "ping", "id": "end"})
    found = []
    while (frame := client.recv_event())["type"] != "pong":
        assert (frame["type"], frame["error_code"]) == ("error_message", "RUNTIME_UNAVAILABLE"), frame
        found.append(frame["details"]["message_id"])
    return found


def check_heard(runtime, client, numbers):
    """The runtime has these messages of this connection, in order and once, with a count that leaves nothing out."""
    wanted = [(seq, str(number)) for seq, number in enumerate(numbers, 1)]
    wait_until(lambda: len(heard(runtime, client)) >= len(wanted), timeout=20, what=f"{len(wanted)} messages")
    assert heard(runtime, client) == wanted


def readyz(bridge):
    """The status of /readyz."""
    return bridge.http("GET", "/readyz").status


# the runtime stands still


def test_a_runtime_that_stands_still(stack):
    """SIGSTOP while three clients talk: everything arrives afterwards, once and in order."""
    runtime = stack.runtime_process()
    bridge = stack.bridge(runtime, **UNLIMITED)
    clients = stack.connect_all(["alice", "alice", "bob"])
    for client in clients:
        say(client, range(10))
    runtime.pause()
    for client in clients:
        say(client, range(10, 500))
        assert refusals(client) == []
    assert readyz(bridge) == 200
    late = stack.connect("carol")
    say(late, range(5))
    runtime.resume()
    for client in clients:
        check_heard(runtime, client, range(500))
    check_heard(runtime, late, range(5))
    assert len(runtime.commands("CONNECT")) == 4
    assert bridge.metric("client_messages_total", result="forwarded") == 1505
    assert bridge.metric("connections", state="degraded") == 0


def test_a_runtime_that_stands_still_for_too_long(stack):
    """Beyond runtime-queue-messages each message is answered: exactly these are missing, and the count of the rest leaves
    nothing out."""
    runtime = stack.runtime_process()
    bridge = stack.bridge(runtime, runtime_queue_messages=10, **UNLIMITED)
    clients = stack.connect_all(["alice", "bob"])
    runtime.pause()
    refused = {client: [] for client in clients}
    sent = 0
    while min(len(found) for found in refused.values()) < 20:
        for client in clients:
            say(client, [sent], pad="x" * 30000)
            refused[client] += refusals(client)
        sent += 1
        assert sent < 2000, "the bridge holds 120 MB for a runtime that does not read"
    runtime.resume()
    for client in clients:
        check_heard(runtime, client, [n for n in range(sent) if str(n) not in refused[client]])
    total = sum(len(found) for found in refused.values())
    assert bridge.metric("client_messages_total", result="unavailable") == total
    assert bridge.metric("runtime_commands_dropped_total", reason="backpressure") >= total
    for client in clients:
        say(client, ["after"])
        wait_until(lambda one=client: heard(runtime, one)[-1][1] == "after")
        assert refusals(client) == []


def test_a_runtime_that_is_killed_while_it_stands_still(stack):
    """What it had not taken is gone with it, and shows as a gap in the count; its successor gets one CONNECT for each
    connection and what is said from then on."""
    runtime = stack.runtime_process()
    bridge = stack.bridge(runtime, **UNLIMITED)
    clients = stack.connect_all(["alice", "bob"])
    runtime.wait_commands("CONNECT", 2)
    runtime.pause()
    for client in clients:
        say(client, range(100))
        assert refusals(client) == []
    runtime.kill()
    bridge.wait_metric("connections", 2, state="degraded")
    for client in clients:
        say(client, ["down"])
        assert refusals(client) == ["down"]
    mark = runtime.mark()
    runtime.start()
    told = runtime.wait_commands("CONNECT", 2, since=mark, timeout=20)
    assert {command.connection_id for command in told} == {client.connection_id for client in clients}
    bridge.wait_ready()
    bridge.wait_metric("connections", 0, state="degraded")
    for client in clients:
        say(client, ["up"])
        wait_until(lambda one=client: (101, "up") in heard(runtime, one, mark), what="the message")
        seqs = [seq for seq, _ in heard(runtime, client)]
        assert seqs == sorted(set(seqs))
    assert len(runtime.commands("CONNECT", mark)) == 2


# the bridge stands still


def test_a_bridge_that_stands_still(stack):
    """SIGSTOP of the bridge for longer than it waits for an answer: the answer is there when it goes on, nothing is lost."""
    runtime = stack.runtime(sequenced=True, answer_replay=False)
    bridge = linked(stack, runtime, replay_timeout_ms=1000)
    client = stack.connect()
    for turn in range(3):
        first = 1000 * turn + 1
        drop(runtime, range(first, first + 999))
        emit(runtime, [first + 999])
        runtime.wait_questions(turn + 1)
        bridge.signal(signal.SIGSTOP)
        runtime.answer(first, first + 998)
        threading.Event().wait(1.5)
        bridge.signal(signal.SIGCONT)
        expect(client, range(first, first + 1000))
    assert counts(bridge) == (3, 2997, 0)


# the network stands still


@pytest.fixture(name="runtime")
def runtime_fixture(stack):
    """A runtime on tcp that numbers its events."""
    return stack.runtime("tcp", sequenced=True)


@pytest.fixture(name="wire")
def wire_fixture(stack, runtime):
    """The two links of the runtime."""
    return stack.wire(runtime)


@pytest.mark.parametrize("directions", [(UP,), (DOWN,), (UP, DOWN)])
def test_commands_wait(runtime, wire, stack, directions):
    """A command link that forwards nothing for a while delays commands, and loses none."""
    bridge = linked(stack, runtime, **wire.options, **UNLIMITED)
    client = stack.connect()
    runtime.wait_command("CONNECT")
    wire.commands.pause(*directions)
    say(client, range(300))
    for number in range(300):
        runtime.send("SEND", client.connection_id, "alice", {}, event(number))
    if DOWN not in directions:
        assert [frame["n"] for frame in client.recv_events(300)] == list(range(300))
    if UP not in directions:
        check_heard(runtime, client, range(300))
    assert readyz(bridge) == 200
    wire.commands.resume(*directions)
    if DOWN in directions:
        assert [frame["n"] for frame in client.recv_events(300)] == list(range(300))
    check_heard(runtime, client, range(300))
    client.quiet(runtime)
    assert wire.commands.accepted == 1


def test_events_wait(runtime, wire, stack):
    """An event link that forwards nothing for a while: they come afterwards, in order; nothing is asked for."""
    bridge = linked(stack, runtime, **wire.options)
    client = stack.connect()
    wire.events.pause(DOWN)
    emit(runtime, range(1, 1001))
    settled(runtime)
    client.ping()
    wire.events.resume(DOWN)
    assert expect(client, range(1, 1001)) == 1000
    assert counts(bridge) == (0, 0, 0)


def test_events_wait_and_pong_tells_of_them(runtime, wire, stack):
    """The command link is faster: what PONG tells of is asked for, and the originals are repeats when they come."""
    bridge = linked(stack, runtime, **wire.options, runtime_ping_s=1)
    client = stack.connect()
    emit(runtime, range(1, 11))
    expect(client, range(1, 11))
    wire.events.pause(DOWN)
    emit(runtime, range(11, 1511))
    expect(client, range(11, 1511))
    wire.events.resume(DOWN)
    client.quiet(runtime)
    assert counts(bridge)[1:] == (1500, 0)
    assert bridge.metric("events_dropped_total", reason="repeat") == 1500


@pytest.mark.parametrize("slow", ["events", "commands", "both"])
def test_a_slow_network(runtime, wire, stack, slow):
    """A third of a second on either link, with PONGs that tell of what is under way, and some events that are not: exact."""
    bridge = linked(stack, runtime, **wire.options, runtime_ping_s=1)
    client = stack.connect()
    for proxy in {"events": [wire.events], "commands": [wire.commands], "both": wire.both}[slow]:
        proxy.delay(0.3)
    chance = random.Random(21)
    missing = 0
    for number in range(1, 1001):
        lost = chance.random() < 0.01
        missing += lost
        (drop if lost else emit)(runtime, [number])
        if number % 200 == 0:
            expect(client, range(number - 199, number + 1))
    client.quiet(runtime)
    _, repaired, lost = counts(bridge)
    assert (repaired - bridge.metric("events_dropped_total", reason="repeat"), lost) == (missing, 0)


# the network is cut


def test_the_event_link_is_cut(runtime, wire, stack):
    """RST under a stream of events, again and again: what PUB could not send is repaired."""
    bridge = linked(stack, runtime, **wire.options, runtime_ping_s=1)
    client = stack.connect()
    for cut in range(5):
        first = 1000 * cut + 1
        emit(runtime, range(first, first + 500))
        wire.events.reset()
        emit(runtime, range(first + 500, first + 1000))
        expect(client, range(first, first + 1000))
        wait_until(lambda count=cut + 2: wire.events.accepted >= count, what="a new event link")
    assert counts(bridge)[2] == 0
    assert client.closed is None


def test_the_command_link_is_cut(runtime, wire, stack):
    """Degraded as long as nobody listens: /readyz says so, messages are answered, and exactly these are missing; then one
    CONNECT for each live connection."""
    bridge = linked(stack, runtime, **wire.options, **UNLIMITED)
    clients = stack.connect_all(["alice", "alice", "bob"])
    for client in clients:
        say(client, range(100))
        check_heard(runtime, client, range(100))
    wire.commands.refuse()
    wire.commands.reset()
    bridge.wait_metric("connections", 3, state="degraded")
    bridge.wait_metric("runtime_link_up", 0, link="commands")
    assert readyz(bridge) == 503
    for client in clients:
        say(client, range(100, 150))
        assert refusals(client) == [str(number) for number in range(100, 150)]
    emit(runtime, [1])
    for client in clients[:2]:
        expect(client, [1])
    mark = runtime.mark()
    wire.commands.accept()
    told = runtime.wait_commands("CONNECT", 3, since=mark)
    assert sorted(command.connection_id for command in told) == sorted(client.connection_id for client in clients)
    assert {command.headers["resumed"] for command in told} == {True}
    bridge.wait_ready()
    bridge.wait_metric("connections", 3, state="processing_ready")
    for client in clients:
        say(client, range(150, 200))
        check_heard(runtime, client, [*range(100), *range(150, 200)])
        client.quiet(runtime)
    assert bridge.metric("client_messages_total", result="unavailable") == 150
    assert len(runtime.commands("CONNECT", since=mark)) == 3


def test_the_command_link_is_cut_in_full_flow(runtime, wire, stack):
    """What was under way is gone, and the gaps in the count tell of every one: nothing is lost in silence or twice."""
    linked(stack, runtime, **wire.options, **UNLIMITED)
    clients = stack.connect_all(["alice", "bob", "carol"])
    for number in range(1000):
        for client in clients:
            say(client, [number])
        if number % 250 == 125:
            wire.commands.reset()
    for client in clients:
        refused = refusals(client)
        ends = talk_until_heard(runtime, client, refused)
        handed_over = [name for name in [*map(str, range(1000)), *ends] if name not in refused]
        rows = heard(runtime, client)
        seqs = [seq for seq, _ in rows]
        assert seqs == sorted(set(seqs)) and seqs[-1] == len(handed_over)
        assert rows == [(seq, handed_over[seq - 1]) for seq in seqs]


def talk_until_heard(runtime, client, refused):
    """Say one thing after the other until the runtime has heard the last; what was said. Refusals are added."""
    said = []

    def arrived():
        said.append(f"end-{len(said)}")
        say(client, said[-1:])
        refused.extend(refusals(client))
        return said[-1] not in refused and said[-1] in [name for _, name in heard(runtime, client)]
    wait_until(arrived, what="a link that works")
    return said


@pytest.mark.parametrize("told_by", ["hello", "pong"])
def test_the_command_link_is_cut_while_events_wait(runtime, wire, stack, told_by):
    """HELLO comes again, and it or PONG tells of events that are under way: they are asked for, and the originals are
    repeats."""
    runtime.hello_seq = told_by == "hello"
    bridge = linked(stack, runtime, **wire.options, runtime_ping_s=3600 if runtime.hello_seq else 1)
    client = stack.connect()
    wire.events.pause(DOWN)
    emit(runtime, range(1, 11))
    mark = runtime.mark()
    wait_until(lambda: runtime.seq == 10)
    wire.commands.reset()
    runtime.wait_command("HELLO", since=mark)
    assert expect(client, range(1, 11)) == 10
    wire.events.resume(DOWN)
    emit(runtime, [11])
    assert expect(client, [11]) == 11
    client.quiet(runtime)
    assert counts(bridge) == (1, 10, 0)
    assert bridge.metric("events_dropped_total", reason="repeat") == 10


def test_originals_come_while_the_command_link_is_down(runtime, wire, stack):
    """What was repaired before is a repeat also when no HELLO can say so."""
    bridge = linked(stack, runtime, **wire.options, runtime_ping_s=1, replay_timeout_ms=200)
    client = stack.connect()
    wire.events.pause(DOWN)
    emit(runtime, range(1, 11))
    assert expect(client, range(1, 11)) == 10
    wire.commands.refuse()
    wire.commands.reset()
    bridge.wait_metric("runtime_link_up", 0, link="commands")
    wire.events.resume(DOWN)
    emit(runtime, [11])
    assert expect(client, [11]) == 11
    wire.commands.accept()
    bridge.wait_ready()
    emit(runtime, [12])
    assert expect(client, [12]) == 12
    client.quiet(runtime)
    assert bridge.metric("events_dropped_total", reason="repeat") == 10
    assert counts(bridge) == (1, 10, 0)


def test_the_command_link_is_cut_under_a_question(stack):
    """It is put again when the link returns, and answered then."""
    mute = stack.runtime("tcp", sequenced=True, answer_replay=False)
    wire = stack.wire(mute)
    bridge = linked(stack, mute, **wire.options, replay_timeout_ms=60000)
    client = stack.connect()
    drop(mute, range(1, 11))
    emit(mute, [11])
    mute.wait_questions(1)
    mute.answer(1, 4)
    expect(client, range(1, 5))
    wire.commands.reset()
    assert mute.wait_questions(2) == [Question("flow", 1, 10), Question("flow", 5, 10)]
    mute.answer(5, 10)
    expect(client, range(5, 12))
    assert counts(bridge) == (1, 10, 0)


def test_both_links_are_cut(runtime, wire, stack):
    """Everything is down and comes back: ready again, told again, and no event is missing."""
    bridge = linked(stack, runtime, **wire.options, runtime_ping_s=1)
    client = stack.connect()
    emit(runtime, range(1, 101))
    expect(client, range(1, 101))
    for proxy in wire.both:
        proxy.refuse()
        proxy.reset()
    bridge.wait_metric("runtime_link_up", 0, link="events")
    bridge.wait_metric("runtime_link_up", 0, link="commands")
    assert readyz(bridge) == 503
    emit(runtime, range(101, 201))
    for proxy in wire.both:
        proxy.accept()
    expect(client, range(101, 201))
    bridge.wait_ready()
    assert counts(bridge) == (1, 100, 0)
    client.quiet(runtime)


def test_any_fault_at_any_time(runtime, wire, stack):
    """Pauses, delays and cuts by chance under a stream of events of which some are dropped: every client has all events
    of its user, less only what it was told."""
    bridge = linked(stack, runtime, **wire.options, runtime_ping_s=1, replay_timeout_ms=1000, max_connections_per_user=100)
    clients = [stack.resuming(f"user-{number}") for number in range(4)]
    emitted = {client.user: [] for client in clients}
    chance = random.Random(211)
    clock = threading.Event()
    faults = [lambda proxy: proxy.pause(), lambda proxy: proxy.reset(), lambda proxy: proxy.delay(0.1),
              lambda proxy: proxy.delay(0), lambda proxy: proxy.resume(), lambda proxy: proxy.resume()]
    for number in range(1, 6001):
        user = chance.choice(clients).user
        emitted[user].append(number)
        (drop if chance.random() < 0.02 else emit)(runtime, [number], user=user)
        if number % 100 == 0:
            chance.choice(faults)(chance.choice(wire.both))
            clock.wait(0.05)
    for proxy in wire.both:
        proxy.resume()
        proxy.delay(0)
    bridge.wait_ready()
    for number, client in enumerate(clients, 6001):
        emit(runtime, [number], user=client.user)
        emitted[client.user].append(number)
        client.wait_event(n=number)
    missed = [number for client in clients for number in client.missed(emitted[client.user])]
    assert len(missed) == counts(bridge)[2]
    assert all(len(client.established) == 1 for client in clients)
