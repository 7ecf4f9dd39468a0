"""Memory runs out at any one place on the way from the runtime to the clients. See test_23_no_memory.py."""
import collections
import itertools
import json

import msgpack
import pytest
from harness import SCALE, Closed, wait_until
from harness.no_memory import JSON_FORM, MSGPACK_FORM, Follower, World, read_frame, resume_of


def test_event(stack, no_memory):
    """Each of the user's connections gets it, or ends and gets it when it comes back; at most one ends. The larger ones
    want a larger buffer each time. When all has expired, nothing is left in the gauges of the history."""
    world = World(stack, no_memory, history_ttl_s=int(3 * SCALE))
    followers = [Follower(world, "alice", form) for form in (JSON_FORM, JSON_FORM, MSGPACK_FORM)]
    ended = 0
    for number in world.memory.walk():
        world.emit("alice", number)
        for follower in followers:
            follower.take(number)
        with world.memory:
            world.emit("alice", number, text="x" * (2000 << number))
            for follower in followers:
                follower.take(number)
        gone = [follower for follower in followers if follower.client.closed]
        assert len(gone) <= 1
        ended += len(gone)
        for follower in gone:
            assert follower.back() == (True, None)
            follower.take(number)
        world.check([follower.client for follower in followers])
    assert not gone and ended == 3
    assert world.bridge.metric("connections_closed_total", reason="internal_error") == ended
    world.bridge.wait_metric("history_events", 0)
    assert world.bridge.metric("history_bytes") == 0


def test_event_of_the_absent(world):
    """Who comes back gets it or is told that it cannot be had; what was lost of a user whom the bridge did not even know
    is in a metric."""
    counted = 0
    for number in world.memory.walk():
        world.emit(f"absent-{number}", 1)
        world.passed()
        follower = Follower(world, f"absent-{number}")
        follower.client.close()
        with world.memory:
            world.emit(f"absent-{number}", 2, text="x" * (100 << number))
            world.emit(f"stranger-{number}", 1)
            world.passed()
        told = follower.back()
        assert told in ((True, None), (False, "expired"), (False, "unknown_epoch"))
        if told[0]:
            follower.take(2)
        stranger = world.stack.connect(f"stranger-{number}")
        offset = resume_of(stranger)[1]
        if not told[0] or offset != 1:
            before, counted = counted, lost_events(world.bridge)
            assert counted > before
        world.check([follower.client, stranger])
        follower.client.close()
        stranger.close()
    assert told[0] and offset == 1 and counted >= 4


def lost_events(bridge):
    """Those that memory did not suffice for."""
    return (bridge.metric("events_dropped_total", reason="no_memory")
            + bridge.metric("history_evicted_total", reason="memory"))


@pytest.mark.parametrize("form", [JSON_FORM, MSGPACK_FORM])
def test_resume(world, form):
    """Replay: all events in order, or an end after the first of them; never a hole."""
    seen = collections.Counter()
    for number in range(1, 41):
        world.emit("alice", number, text="x" * (10 * number))
    world.passed()
    with_epoch = world.stack.connect("alice")
    epoch, offset = resume_of(with_epoch)
    assert offset == 40
    for _ in world.memory.walk():
        numbers = []
        with world.memory:
            answer = world.attempt(form=form, target=f"/ws?epoch={epoch}&offset=0")
            while answer.how == "established" and len(numbers) < 40:
                event = read_frame(answer.client)
                if not isinstance(event, dict):
                    assert event == 1011
                    break
                numbers.append(event["n"])
        assert answer.how != "established" or answer.said["data"]["recovered"] is True
        assert numbers == list(range(1, len(numbers) + 1))
        seen[answer.how, len(numbers)] += 1
        answer.client.close()
        world.check([with_epoch])
    assert numbers[-1] == 40 and sum(how == "established" and 0 < count < 40 for how, count in seen) > 30


@pytest.mark.parametrize("headers, body", [({}, {"type": "note", "n": 1}), ({"opcode": "text"}, b"as it is")])
def test_send(world, headers, body):
    """A frame for one connection arrives, or the connection ends and the metric has it."""
    client = world.stack.connect("alice")
    ended = 0
    for _ in world.memory.walk():
        with world.memory:
            world.runtime.send("SEND", client.connection_id, "alice", headers, body)
            wait_until(lambda: client.closed or client._frames)  # pylint: disable=protected-access
        if client.closed:
            assert client.closed[0] == 1011
            ended += 1
            client = world.stack.connect("alice")
        else:
            assert client.recv() == (body.decode() if headers else json.dumps(body, separators=(",", ":")))
        world.check([client])
    assert ended >= 1
    assert world.bridge.metric("runtime_commands_dropped_total", reason="no_memory") == ended
    assert world.bridge.metric("runtime_commands_dropped_total", reason="malformed") == 0


@pytest.mark.parametrize("command", ["CLOSE", "KICK"])
def test_close(world, command):
    """The connection ends, by another code or none at worst, and the runtime gets DISCONNECT or the metric says why not."""
    codes = collections.Counter()
    for _ in world.memory.walk():
        client = world.stack.connect("alice")
        with world.memory:
            if command == "CLOSE":
                world.runtime.send("CLOSE", client.connection_id, "alice", {"code": 4321, "reason": "bye"})
            else:
                world.runtime.send("KICK", "", "alice", {"reason": "bye"})
            codes[client.wait_closed()[0]] += 1
        world.check()
        dropped = world.bridge.metric("runtime_commands_dropped_total", reason="no_memory")
        world.runtime.wait_commands("DISCONNECT", int(sum(codes.values()) - dropped))
    wanted = 4321 if command == "CLOSE" else 4009
    assert client.closed == (wanted, "bye")
    assert set(codes) <= {wanted, 1011, 1006} and codes[1006] and codes[wanted] > 3 and dropped >= 5


RUN = ("agent_started", "tool_executing", "tool_completed", "agent_completed")


def test_run(world):
    """The events of a run arrive whether or not there is memory to follow it, and no run stays open. Twice, as the very
    first event takes more."""
    follower, unfollowed = Follower(world, "alice"), 0
    for turn, _ in enumerate(itertools.chain(world.memory.walk(), world.memory.walk()), 1):
        with world.memory:
            for step, kind in enumerate(RUN):
                world.runtime.emit("alice", {"type": kind, "n": step, "run_id": f"run-{turn}", "tool_name": "look"})
            for step in range(len(RUN)):
                if not follower.client.closed:
                    follower.take(step)
        if follower.client.closed:
            assert follower.back() == (True, None)
            while follower.offset < turn * len(RUN):
                follower.take(follower.offset % len(RUN))
        world.check([follower.client])
        assert (world.bridge.metric("runs_active"), world.bridge.metric("runs_stalled")) == (0, 0)
        completed = world.bridge.metric("runs_total", outcome="completed")
        assert completed in (turn - unfollowed, turn - unfollowed - 1)
        unfollowed = turn - completed
    assert world.memory.failed == turn - 2 >= 3 * len(RUN)
    assert unfollowed == 2


def answer_replay(runtime, command):
    """Everything is there still."""
    if command.command == "REPLAY":
        for seq in range(command.headers["from"], command.headers["to"] + 1):
            runtime.send("EVENT", "", "alice", {"publisher": command.headers["publisher"], "seq": seq},
                         msgpack.packb({"type": "stream_chunk", "n": seq}))


def test_gap(stack, no_memory):
    """Two events of a publisher are missing and two come too early: all in order, or the client is told that events are
    lost, or its connection ends and it gets the rest when it comes back."""
    world = World(stack, no_memory, replay_timeout_ms=100)
    world.runtime.handler = answer_replay
    follower, last, told = Follower(world, "alice"), 0, collections.Counter()
    for _ in world.memory.walk():
        with world.memory:
            for seq in (last + 1, last + 4, last + 5):
                world.runtime.emit("alice", {"type": "stream_chunk", "n": seq}, {"publisher": "flow", "seq": seq})
            told[follow(follower, last + 5)] += 1
        last += 5
        world.check([follower.client])
    assert told["whole"] and told["resync"] and told["end"]
    assert world.bridge.total("connections_closed_total") == told["end"]


def follow(follower, last):
    """Take events up to this number; how it went."""
    how = "whole"
    while follower.seen < last:
        try:
            event = follower.client.recv_event()
        except Closed:
            assert follower.client.closed[0] == 1011 and how == "whole"
            how = "end"
            assert follower.back() == (True, None)
            continue
        if event["type"] == "resync":
            how = "resync"
            follower.epoch, follower.offset = event["data"]["resume"]["epoch"], event["data"]["resume"]["offset"]
            continue
        assert event["n"] == follower.seen + 1 or (how == "resync" and event["n"] > follower.seen), event
        assert event["_offset"] == follower.offset + 1
        follower.seen, follower.offset = event["n"], event["_offset"]
    return how
