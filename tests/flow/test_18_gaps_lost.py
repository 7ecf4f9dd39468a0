"""Gaps that cannot be filled: what is lost is counted, everybody is told, and what comes after goes on."""
import threading

import pytest
from harness import Question
from harness.gaps import CALM, counts, drop, emit, event, expect, linked, settled, wait_counts


@pytest.fixture(name="runtime")
def runtime_fixture(stack):
    """A runtime that numbers its events and answers REPLAY."""
    return stack.runtime(sequenced=True)


@pytest.fixture(name="mute")
def mute_fixture(stack):
    """A runtime that never answers REPLAY; the test may do it."""
    return stack.runtime(sequenced=True, answer_replay=False)


def resume_of(frame):
    """(epoch, offset) in connection_established or resync."""
    return frame["data"]["resume"]["epoch"], frame["data"]["resume"]["offset"]


def told(client, before=None):
    """The next frame is a resync with another epoch than before; (epoch, offset)."""
    frame = client.recv_type("resync")
    assert set(frame) == {"type", "data", "timestamp"} and set(frame["data"]) == {"resume", "reason"}
    assert frame["data"]["reason"] == "events_lost" and isinstance(frame["timestamp"], float)
    epoch, offset = resume_of(frame)
    assert set(frame["data"]["resume"]) == {"epoch", "offset"} and isinstance(offset, int)
    assert epoch != (before or resume_of(client.established)[0])
    return epoch, offset


def back(stack, epoch, offset, **options):
    """A connection that resumes, and the answer that it got."""
    client = stack.connect(path=f"/ws?epoch={epoch}&offset={offset}", **options)
    data = client.established["data"]
    return client, (data["recovered"], data["recovery_error"])


# the runtime says so


def test_all_is_lost(runtime, stack):
    """LOST for the whole question: resync takes the place of what is missing, and what was held back follows."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    emit(runtime, [1])
    drop(runtime, [2, 3, 4])
    runtime.forget(2, 4)
    emit(runtime, [5, 6])
    expect(client, [1])
    _, offset = told(client)
    assert expect(client, [5, 6]) > offset
    client.quiet(runtime)
    assert counts(bridge) == (1, 0, 3)
    assert runtime.questions() == [Question("flow", 2, 4)]
    assert bridge.metric("runtime_commands_total", command="LOST") == 1
    bridge.wait_log("EVENTS_LOST")


@pytest.mark.parametrize("lost", [(2, 4), (4, 6), (6, 8), (2, 2), (8, 8)])
def test_a_part_is_lost(runtime, stack, lost):
    """EVENT for what is left, before and after: each in its place, resync where the hole is."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    emit(runtime, [1])
    drop(runtime, range(2, 9))
    runtime.forget(*lost)
    emit(runtime, [9])
    expect(client, range(1, lost[0]))
    told(client)
    expect(client, range(lost[1] + 1, 10))
    client.quiet(runtime)
    missing = lost[1] - lost[0] + 1
    assert counts(bridge) == (1, 7 - missing, missing)


def test_several_holes_in_one_answer(runtime, stack):
    """Each hole is told before the event behind it."""
    bridge = linked(stack, runtime)
    client = stack.resuming()
    drop(runtime, range(1, 10))
    for seq in (2, 5, 8):
        runtime.forget(seq, seq)
    emit(runtime, [10])
    client.wait_event(n=10)
    assert client.missed(range(1, 11)) == [2, 5, 8]
    assert counts(bridge) == (1, 6, 3)


def test_lost_in_pieces(mute, stack):
    """A runtime may say it one by one."""
    bridge = linked(stack, mute, replay_timeout_ms=60000)
    client = stack.resuming()
    drop(mute, range(1, 6))
    emit(mute, [6])
    mute.wait_questions(1)
    for seq in range(1, 6):
        mute.send_lost(seq, seq)
    client.wait_event(n=6)
    assert client.missed(range(1, 7)) == [1, 2, 3, 4, 5]
    assert counts(bridge) == (1, 0, 5)


def test_the_next_gap_after_a_loss(runtime, stack):
    """A publisher whose events were lost is followed as before."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    drop(runtime, [1])
    runtime.forget(1, 1)
    emit(runtime, [2])
    epoch, _ = told(client)
    expect(client, [2])
    drop(runtime, [3])
    emit(runtime, [4])
    expect(client, [3, 4])
    drop(runtime, [5])
    runtime.forget(5, 5)
    emit(runtime, [6])
    told(client, epoch)
    expect(client, [6])
    assert counts(bridge) == (3, 1, 2)


# the runtime says nothing


def test_a_runtime_that_never_answers(mute, stack):
    """After replay-timeout-ms everybody is told in the form of the connection, and delivery goes on."""
    bridge = linked(stack, mute, replay_timeout_ms=300)
    alice, bob = stack.connect_all(["alice", "bob"])
    packed = stack.connect("alice", subprotocols=["agent_chat.msgpack"])
    raw = stack.client("alice", subprotocols=["raw"]).open()
    mute.wait_commands("CONNECT", 4)
    emit(mute, [1])
    drop(mute, range(2, 12))
    emit(mute, [12])
    for client in (alice, packed):
        expect(client, [1])
        told(client)
        expect(client, [12])
    told(bob)
    raw.recv()
    assert raw.wait_closed() == (1013, "Events lost")
    assert not raw.rest()
    assert bridge.metric("connections_closed_total", reason="events_lost") == 1
    assert bridge.total("connections_closed_total") == 1
    gone = mute.wait_command("DISCONNECT")
    assert (gone.headers["code"], gone.headers["reason"], gone.headers["remaining"]) == (1013, "Events lost", 2)
    for client in (alice, bob, packed):
        client.quiet(mute)
    assert counts(bridge) == (1, 0, 10)
    assert mute.questions() == [Question("flow", 2, 11)]


def test_the_old_epoch_is_gone(mute, stack):
    """Who comes back with it is told so; with the new one nothing is lost; absent users are in it too."""
    linked(stack, mute, replay_timeout_ms=200)
    client = stack.connect()
    carol = stack.connect("carol")
    emit(mute, [1])
    emit(mute, [1], user="carol")
    carols = (resume_of(carol.established)[0], expect(carol, [1]))
    olds = (resume_of(client.established)[0], expect(client, [1]))
    carol.close()
    drop(mute, [2])
    emit(mute, [3])
    new = told(client)
    last = expect(client, [3])
    for cursor, answer, events in ((olds, (False, "unknown_epoch"), []), (new, (True, None), [3]),
                                   ((new[0], last), (True, None), [])):
        again, got = back(stack, *cursor)
        assert got == answer
        assert resume_of(again.established)[0] == new[0]
        expect(again, events) if events else again.quiet(mute)  # pylint: disable=expression-not-assigned
    again, got = back(stack, *carols, user="carol")
    assert got == (False, "unknown_epoch")
    again.quiet(mute)


def test_a_loss_while_a_client_waits_for_the_runtime(stack):
    """It has asked for what it missed before the loss and is answered after it: the epoch is gone."""
    mute = stack.runtime("tcp", sequenced=True, answer_replay=False)
    wire = stack.wire(mute)
    bridge = linked(stack, mute, **wire.options, replay_timeout_ms=1000, runtime_wait_ms=60000)
    client = stack.connect()
    old, _ = resume_of(client.established)
    emit(mute, [1])
    drop(mute, [2])
    emit(mute, [3])
    expect(client, [1])
    mute.wait_questions(1)
    wire.commands.refuse()
    wire.commands.reset()
    bridge.wait_metric("runtime_link_up", 0, link="commands")
    waiting = stack.client(path=f"/ws?epoch={old}&offset=1").open()
    new, _ = told(client)
    expect(client, [3])
    assert counts(bridge) == (1, 0, 1)
    wire.commands.accept()
    waiting.establish()
    assert waiting.established["data"]["recovery_error"] == "unknown_epoch"
    assert resume_of(waiting.established)[0] == new
    waiting.quiet(mute)


def test_a_runtime_that_stops_answering(mute, stack):
    """replay-timeout-ms counts from the last event of the answer: what came is delivered, the rest is lost."""
    bridge = linked(stack, mute, replay_timeout_ms=500)
    client = stack.connect()
    drop(mute, range(1, 11))
    emit(mute, [11])
    mute.wait_questions(1)
    mute.answer(1, 4)
    expect(client, range(1, 5))
    told(client)
    expect(client, [11])
    assert counts(bridge) == (1, 4, 6)


def test_a_late_answer(mute, stack):
    """The rest of an answer that comes after the end of the gap is unsolicited and reaches nobody."""
    bridge = linked(stack, mute, replay_timeout_ms=100)
    client = stack.connect()
    drop(mute, [1, 2])
    emit(mute, [3])
    told(client)
    expect(client, [3])
    mute.answer(1, 2)
    mute.send_lost(1, 2)
    settled(mute)
    client.quiet(mute)
    assert bridge.metric("runtime_commands_dropped_total", reason="unsolicited") \
        + bridge.metric("runtime_commands_dropped_total", reason="repeat") == 3
    assert counts(bridge) == (1, 0, 2)


def trickle(runtime, most, done):
    """Answer one number after the other, ten a second, until `done`."""
    pace = threading.Event()
    for number in range(1, most + 1):
        runtime.answer(number, number)
        if done():
            return
        pace.wait(0.1)
    raise AssertionError("the answer was never given up")


def test_a_trickle_ends(mute, stack):
    """An answer that goes on and on is given up after five times replay-timeout-ms."""
    bridge = linked(stack, mute, replay_timeout_ms=500)
    client = stack.resuming()
    drop(mute, range(1, 1001))
    emit(mute, [1001])
    mute.wait_questions(1)
    trickle(mute, 999, lambda: counts(bridge)[2])
    client.wait_event(n=1001)
    gaps, repaired, lost = counts(bridge)
    assert gaps == 1 and repaired + lost == 1000 and repaired > 1
    assert client.missed(range(1, 1002)) == list(range(int(repaired) + 1, 1001))


def test_the_timeout_can_be_reached_again(mute, stack):
    """One loss after the other: an epoch for each."""
    bridge = linked(stack, mute, replay_timeout_ms=100)
    client = stack.connect()
    epochs = [resume_of(client.established)[0]]
    for number in range(1, 10, 2):
        drop(mute, [number])
        emit(mute, [number + 1])
        epochs.append(told(client, epochs[-1])[0])
        expect(client, [number + 1])
    assert len(set(epochs)) == 6
    assert counts(bridge) == (5, 0, 5)


# too much is missing


def test_a_gap_larger_than_replay_events(runtime, stack):
    """Only the last replay-events of it are asked for; what is before them is lost."""
    bridge = linked(stack, runtime, replay_events=100)
    client = stack.connect()
    emit(runtime, [1])
    drop(runtime, range(2, 152))
    emit(runtime, [152])
    expect(client, [1])
    told(client)
    expect(client, range(52, 153))
    assert runtime.questions() == [Question("flow", 52, 151)]
    assert counts(bridge) == (1, 100, 50)


def test_a_gap_of_just_replay_events(runtime, stack):
    """The limit itself is asked for."""
    bridge = linked(stack, runtime, replay_events=100)
    client = stack.connect()
    drop(runtime, range(1, 101))
    emit(runtime, [101])
    expect(client, range(1, 102))
    assert counts(bridge) == (1, 100, 0)


def test_a_large_jump(runtime, stack):
    """It costs a count, not memory or time."""
    bridge = linked(stack, runtime, replay_events=10)
    client = stack.resuming()
    emit(runtime, [1])
    runtime.emit("alice", event(2), {"publisher": "flow", "seq": 2 ** 60})
    client.wait_event(n=2)
    assert runtime.questions() == [Question("flow", 2 ** 60 - 10, 2 ** 60 - 1)]
    gaps, repaired, lost = counts(bridge)
    assert (gaps, repaired) == (1, 0) and lost == pytest.approx(2 ** 60)
    assert client.missed([1, "many", 2]) == ["many"]
    runtime.emit("alice", event(3), {"publisher": "flow", "seq": 2 ** 60 + 1})
    client.wait_event(n=3)


def test_a_number_that_is_no_count(runtime, stack):
    """Nobody has sent 2^64 events: such an event is dropped, and does no harm to those that follow."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    emit(runtime, [1])
    runtime.emit("alice", event(99), {"publisher": "flow", "seq": 2 ** 64 - 1})
    emit(runtime, [2])
    assert expect(client, [1, 2]) == 2
    assert bridge.metric("events_dropped_total", reason="bad_frames") == 1
    assert counts(bridge) == (0, 0, 0)


def test_too_much_is_held_back(mute, stack):
    """More than replay-held-bytes behind the gap: it is given up at once; all that was held comes, in order."""
    bridge = linked(stack, mute, replay_timeout_ms=60000, replay_held_bytes=65536)
    client = stack.connect()
    emit(mute, [1])
    drop(mute, [2])
    emit(mute, range(3, 103), pad="x" * 1000)
    expect(client, [1])
    told(client)
    expect(client, range(3, 103))
    client.quiet(mute)
    assert counts(bridge) == (1, 0, 1)


def test_less_than_replay_held_bytes_waits(mute, stack):
    """Below the limit the gap stays open."""
    bridge = linked(stack, mute, replay_timeout_ms=60000, replay_held_bytes=65536)
    client = stack.connect()
    drop(mute, [1])
    emit(mute, range(2, 52), pad="x" * 1000)
    mute.wait_questions(1)
    client.quiet(mute)
    assert counts(bridge)[2] == 0
    mute.answer(1, 1)
    expect(client, range(1, 52))
    assert counts(bridge) == (1, 1, 0)


# whom to ask


def test_nobody_is_known_to_ask(stack):
    """Two runtimes, neither of which has introduced itself: what is missing is lost at once."""
    runtimes = [stack.runtime(sequenced=True, publisher=f"p{number}", answer_hello=False) for number in range(2)]
    both = {name: ",".join(runtime.options[name] for runtime in runtimes) for name in runtimes[0].options}
    bridge = stack.bridge(**both, **CALM, replay_timeout_ms=60000)
    for runtime in runtimes:
        runtime.wait_subscribed()
        runtime.wait_command("HELLO")
    client = stack.connect()
    emit(runtimes[0], [1])
    drop(runtimes[0], [2])
    emit(runtimes[0], [3])
    expect(client, [1])
    told(client)
    expect(client, [3])
    assert counts(bridge) == (1, 0, 1)
    assert not runtimes[0].questions() and not runtimes[1].questions()


def test_a_publisher_that_the_runtime_is_not(runtime, stack):
    """Another publisher's events on its link: it is asked, and answers LOST for all of them."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    for seq in (1, 2, 5):
        runtime.emit("alice", event(seq), {"publisher": "stranger", "seq": seq})
    expect(client, [1, 2])
    told(client)
    expect(client, [5])
    assert runtime.questions() == [Question("stranger", 3, 4)]
    assert counts(bridge) == (1, 0, 2)


def test_many_publishers(runtime, stack):
    """400 of them: every event is delivered; those that spoke last are followed, the first are forgotten."""
    bridge = linked(stack, runtime)
    client = stack.connect()
    for number in range(400):
        runtime.emit("alice", event(number), {"publisher": f"p{number}", "seq": 1})
    expect(client, range(400))
    bridge.wait_log("PUBLISHER_FORGOTTEN")
    assert counts(bridge) == (0, 0, 0)
    for number in range(399, 399 - 200, -1):
        runtime.emit("alice", event(number), {"publisher": f"p{number}", "seq": 1})
    client.quiet(runtime)
    assert bridge.metric("events_dropped_total", reason="repeat") == 200
    runtime.emit("alice", event(1000), {"publisher": "p399", "seq": 3})
    told(client)
    expect(client, [1000])
    assert runtime.questions() == [Question("p399", 2, 2)]
    assert counts(bridge) == (1, 0, 1)


def test_everybody_is_told_by_chance(runtime, stack):
    """Losses among 3,000 events of five users, with clients that come and go: whoever misses something was told so."""
    bridge = linked(stack, runtime, max_connections_per_user=100)
    clients = [stack.resuming(f"user-{number}") for number in range(5)]
    emitted = {client.user: [] for client in clients}
    for number in range(1, 3001):
        user = f"user-{number * 7 % 5}"
        emitted[user].append(number)
        (drop if number % 10 == 0 else emit)(runtime, [number], user=user)
        if number % 100 == 0:
            runtime.forget(number, number)
            clients[number // 100 % 5].abort()
    emit(runtime, [3001], user="nobody")
    wait_counts(bridge, 300, 270, 30)
    for number, client in enumerate(clients, 3002):
        client.wait(lambda one=client: len(one.established) == 7, "six new connections")
        emit(runtime, [number], user=client.user)
        emitted[client.user].append(number)
        client.wait_event(n=number)
    missed = {number for client in clients for number in client.missed(emitted[client.user])}
    assert missed >= set(range(100, 3001, 100))
