"""Where a sequence begins and ends: what HELLO and PONG tell, bridges that come late, runtimes that begin anew."""
import time

import msgpack
import pytest
from harness import Question, wait_until
from harness.gaps import CALM, asked, counts, drop, emit, event, expect, linked, settled


@pytest.fixture(name="runtime")
def runtime_fixture(stack):
    """A runtime that numbers its events and answers REPLAY."""
    return stack.runtime(sequenced=True)


def test_the_last_events_are_missing(runtime, stack):
    """Nothing comes after them, but PONG tells of them."""
    bridge = linked(stack, runtime, runtime_ping_s=1)
    client = stack.connect()
    emit(runtime, [1])
    drop(runtime, [2, 3])
    assert expect(client, [1, 2, 3]) == 3
    client.quiet(runtime)
    assert counts(bridge) == (1, 2, 0)
    asked(runtime, (2, 3))


def test_pong_without_seq_tells_nothing(runtime, stack):
    """Then the end of the row is noticed with the next event."""
    runtime.pong_seq = False
    bridge = linked(stack, runtime, runtime_ping_s=1)
    client = stack.connect()
    emit(runtime, [1])
    drop(runtime, [2])
    wait_until(lambda: bridge.metric("runtime_round_trip_seconds_count") >= 2, what="two PONGs")
    asked(runtime)
    emit(runtime, [3])
    expect(client, [1, 2, 3])
    assert counts(bridge) == (1, 1, 0)


def test_a_new_bridge_begins_behind_hello(runtime, stack):
    """What was sent before it came is not missing."""
    drop(runtime, range(1, 1001))
    wait_until(lambda: runtime.seq == 1000)
    bridge = linked(stack, runtime)
    client = stack.connect()
    emit(runtime, [1001])
    drop(runtime, [1002])
    emit(runtime, [1003])
    assert expect(client, [1001, 1002, 1003]) == 3
    asked(runtime, (1002, 1002))
    assert counts(bridge) == (1, 1, 0)


@pytest.mark.parametrize("stamped", [True, False])
def test_a_new_bridge_without_seq_in_hello(runtime, stack, stamped):
    """It asks for everything before the first event that it sees, and leaves out what is older than itself. What has no
    timestamp cannot be known to be older."""
    runtime.hello_seq = runtime.pong_seq = False
    drop(runtime, [1, 2, 3], **({"timestamp": time.time()} if stamped else {}))
    bridge = linked(stack, runtime)
    client = stack.connect()
    drop(runtime, [4, 5], timestamp=time.time() + 1)
    emit(runtime, [6], timestamp=time.time() + 1)
    assert expect(client, [4, 5, 6] if stamped else range(1, 7)) == (3 if stamped else 6)
    client.quiet(runtime)
    asked(runtime, (1, 5))
    assert counts(bridge)[2] == 0
    emit(runtime, [7])
    expect(client, [7])


def test_a_restart_without_loss_is_no_gap(stack):
    """The counters stay where they are."""
    runtime = stack.runtime_process(sequenced=True, publisher="first", hello_seq=False)
    bridge = linked(stack, runtime)
    client = stack.connect()
    emit(runtime, range(1, 6))
    expect(client, range(1, 6))
    mark = runtime.mark()
    runtime.kill()
    bridge.wait_metric("runtime_link_up", 0, link="commands")
    runtime.start(publisher="second")
    runtime.wait_command("HELLO", since=mark)
    runtime.wait_subscribed()
    emit(runtime, range(1, 4))
    expect(client, range(1, 4))
    assert counts(bridge) == (0, 0, 0)
    assert not runtime.commands("REPLAY")


def test_a_new_bridge_far_behind(runtime, stack):
    """Without seq in HELLO, and more sent before it came than it may ask for: none of that is a loss, whether the runtime
    still has it or not."""
    runtime.hello_seq = runtime.pong_seq = False
    drop(runtime, range(1, 51), timestamp=time.time())
    runtime.forget(1, 45)
    bridge = linked(stack, runtime, replay_events=10)
    client = stack.connect()
    emit(runtime, [51])
    expect(client, [51])
    client.quiet(runtime)
    asked(runtime, (41, 50))
    assert counts(bridge)[2] == 0


def test_hello_again(runtime, stack):
    """HELLO may come at any time; its seq tells as much as that of PONG."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    emit(runtime, [1])
    expect(client, [1])
    drop(runtime, [2, 3])
    runtime.send("HELLO", headers={"protocol": 1, "publisher": "flow", "seq": 3})
    expect(client, [2, 3])
    runtime.send("HELLO", headers={"protocol": 1, "publisher": "flow", "seq": 1})
    emit(runtime, [4])
    expect(client, [4])
    asked(runtime, (2, 3))
    assert counts(bridge) == (1, 2, 0)


def test_from_the_welcome_on(stack):
    """On a slow network: a client is welcome when it is known where events begin, and gets everything from then on."""
    runtime = stack.runtime("tcp", sequenced=True)
    wire = stack.wire(runtime)
    for proxy in wire.both:
        proxy.delay(0.2)
    bridge = stack.bridge(**wire.options, runtime_ping_s=1)
    client = stack.connect()
    emit(runtime, [1, 2])
    expect(client, [1, 2])
    client.quiet(runtime)
    assert counts(bridge)[2] == 0


def test_welcome_without_hello(stack):
    """A runtime that never answers is not waited for without end."""
    runtime = stack.runtime(answer_hello=False)
    stack.bridge(runtime, runtime_wait_ms=60000)
    client = stack.connect()
    runtime.emit("alice", event(1))
    expect(client, [1])


@pytest.mark.parametrize("answers", ["late", "never"])
def test_let_in_before_it_is_known_where_events_begin(runtime, stack, answers):
    """Then nobody can say what the client has missed, and it is told to fetch its state."""
    runtime.answer_hello = False
    drop(runtime, [1, 2])
    bridge = stack.bridge(runtime, **CALM)
    client = stack.connect()
    drop(runtime, [3])
    if answers == "late":
        wait_until(lambda: runtime.seq == 3)
        runtime.send("HELLO", headers={"protocol": 1, "runtime": "late", "publisher": runtime.publisher, "seq": 3})
        bridge.wait_log("RUNTIME_HELLO")
    emit(runtime, [4, 5])
    resync = client.recv_type("resync")
    assert expect(client, [4, 5]) == resync["data"]["resume"]["offset"] + 2
    assert bridge.wait_log("EVENTS_UNSURE")["first"] == 4
    assert len(bridge.logs("EVENTS_UNSURE")) == 1
    assert counts(bridge) == (1, 0, 0)


# restarts


@pytest.mark.parametrize("first", ["commands", "events"])
def test_a_restarted_runtime(stack, first):
    """Whichever link returns first: the new publisher's first number is 1, and what it sent before the subscription came
    through is repaired. Nothing is missing between the two."""
    runtime = stack.runtime_process("tcp", sequenced=True, publisher="first")
    wire = stack.wire(runtime)
    bridge = linked(stack, runtime, **wire.options)
    client = stack.connect()
    emit(runtime, range(1, 6))
    expect(client, range(1, 6))
    for proxy in wire.both:
        proxy.refuse()
    runtime.kill()
    bridge.wait_metric("runtime_link_up", 0, link="commands")
    bridge.wait_metric("runtime_link_up", 0, link="events")
    runtime.start(publisher="second")
    emit(runtime, [11, 12, 13])
    for name in (first, {"commands": "events", "events": "commands"}[first]):
        getattr(wire, name).accept()
        bridge.wait_metric("runtime_link_up", 1, link=name)
        if name == "events":
            runtime.wait_subscribed()
            emit(runtime, [14, 15])
    expect(client, [11, 12, 13, 14, 15])
    client.quiet(runtime)
    assert counts(bridge) == (1, 3, 0)


def test_a_restart_behind_a_link_that_stands_still(stack):
    """The events of the new publisher come long before its HELLO can: they begin with 1 all the same."""
    runtime = stack.runtime_process("tcp", sequenced=True, publisher="first")
    wire = stack.wire(runtime)
    bridge = linked(stack, runtime, **wire.options, replay_timeout_ms=60000)
    client = stack.connect()
    emit(runtime, [1])
    expect(client, [1])
    wire.commands.pause()
    runtime.kill()
    runtime.start(publisher="second")
    runtime.wait_subscribed()
    drop(runtime, [11, 12])
    emit(runtime, [13])
    bridge.wait_log("EVENT_GAP", publisher="second", to=2, **{"from": 1})
    wire.commands.resume()
    expect(client, [11, 12, 13])
    client.quiet(runtime)
    assert counts(bridge) == (1, 2, 0)


def test_a_restart_at_any_time(stack):
    """As it comes: events before, while and after the links return, three times."""
    runtime = stack.runtime_process(sequenced=True, publisher="life-0")
    bridge = linked(stack, runtime)
    client = stack.connect()
    for life in range(1, 4):
        runtime.kill()
        bridge.wait_metric("runtime_link_up", 0, link="commands")
        runtime.start(publisher=f"life-{life}")
        emit(runtime, range(1, 4))
        runtime.wait_subscribed()
        emit(runtime, range(4, 6))
        expect(client, range(1, 6))
    client.quiet(runtime)
    assert counts(bridge)[2] == 0


def test_the_question_goes_to_the_successor(stack):
    """What was missing when the runtime died is asked of the next one, which is another publisher: lost, and told."""
    runtime = stack.runtime_process(sequenced=True, publisher="first", answer_replay=False)
    bridge = linked(stack, runtime, replay_timeout_ms=60000)
    client = stack.connect()
    emit(runtime, [1])
    drop(runtime, [2])
    emit(runtime, [3])
    expect(client, [1])
    runtime.wait_command("REPLAY")
    runtime.kill()
    mark = runtime.mark()
    runtime.start(publisher="second", answer_replay=True)
    again = runtime.wait_command("REPLAY", since=mark, timeout=20)
    assert again.headers == {"publisher": "first", "from": 2, "to": 2}
    client.recv_type("resync")
    expect(client, [3])
    runtime.wait_subscribed()
    emit(runtime, [11])
    expect(client, [11])
    assert counts(bridge) == (1, 0, 1)


def test_the_same_name_again(stack):
    """A runtime that does begin anew under its old name, and says HELLO again, is believed: nothing is dropped."""
    runtime = stack.runtime_process(sequenced=True, publisher="same")
    bridge = linked(stack, runtime)
    client = stack.connect()
    emit(runtime, range(1, 6))
    expect(client, range(1, 6))
    mark = runtime.mark()
    runtime.kill()
    bridge.wait_metric("runtime_link_up", 0, link="commands")
    runtime.start()
    runtime.wait_command("HELLO", since=mark)
    runtime.wait_subscribed()
    emit(runtime, range(11, 15))
    expect(client, range(11, 15))
    assert counts(bridge)[2] == 0
    assert bridge.metric("events_dropped_total", reason="repeat") == 0


def test_an_answer_to_an_earlier_hello(stack):
    """The link came and went while the runtime had not answered: its count of that time is no new beginning."""
    runtime = stack.runtime("tcp", sequenced=True)
    wire = stack.wire(runtime)
    bridge = linked(stack, runtime, **wire.options)
    client = stack.connect()
    runtime.answer_hello = False
    for before in (0, 3):
        mark = runtime.mark()
        wire.commands.reset()
        runtime.wait_command("HELLO", since=mark)
        runtime.wait_command("CONNECT", since=mark)
        emit(runtime, range(before + 1, before + 4))
        expect(client, range(before + 1, before + 4))
    for seq in (0, 3):
        runtime.send("HELLO", headers={"protocol": 1, "publisher": "flow", "seq": seq})
    emit(runtime, [7])
    expect(client, [7])
    client.quiet(runtime)
    asked(runtime)
    assert counts(bridge) == (0, 0, 0)


# meta


META = {
    "publisher alone": {"publisher": "flow"},
    "seq alone": {"seq": 1},
    "empty publisher": {"publisher": "", "seq": 1},
    "long publisher": {"publisher": "p" * 129, "seq": 1},
    "publisher is bytes": {"publisher": b"flow", "seq": 1},
    "publisher is a number": {"publisher": 1, "seq": 1},
    "negative seq": {"publisher": "flow", "seq": -1},
    "real seq": {"publisher": "flow", "seq": 1.0},
    "text seq": {"publisher": "flow", "seq": "1"},
    "no seq": {"publisher": "flow", "seq": None},
    "a list": ["flow", 1],
    "nothing": b"",
    "trailing": msgpack.packb({"publisher": "flow", "seq": 1}) + b"\0",
}


def test_bad_meta(runtime, stack):
    """Dropped; the sequence goes on as if nothing had been there."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    for meta in META.values():
        runtime.emit("alice", event(99), meta)
    emit(runtime, [1])
    assert expect(client, [1]) == 1
    assert bridge.metric("events_dropped_total", reason="bad_frames") == len(META)
    assert bridge.total("events_dropped_total") == len(META)
    assert counts(bridge) == (0, 0, 0)


@pytest.mark.parametrize("name", ["p" * 128, "ä" * 64, "\0", " "])
def test_odd_publishers(runtime, stack, name):
    """Any text of 1 to 128 bytes is a name."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    for seq in (1, 2, 4):
        runtime.emit("alice", event(seq), {"publisher": name, "seq": seq})
    expect(client, [1, 2])
    client.recv_type("resync")
    expect(client, [4])
    assert runtime.questions() == [Question(name, 3, 3)]
    assert counts(bridge) == (1, 0, 1)


def test_meta_with_more_in_it(runtime, stack):
    """An empty map is no meta, and unknown keys are ignored."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    runtime.emit("alice", event(1), {})
    runtime.emit("alice", event(2), {"publisher": "flow", "seq": 1, "more": [1, {"a": None}]})
    runtime.emit("alice", event(99), {"publisher": "flow", "seq": 1})
    assert expect(client, [1, 2]) == 2
    client.quiet(runtime)
    assert bridge.metric("events_dropped_total", reason="repeat") == 1
    settled(runtime)
    asked(runtime)
