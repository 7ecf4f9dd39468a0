"""Runs: one end each, stalls, the snapshot for those who join, and what the metrics say about them."""
import time

import pytest
from harness import SCALE, wait_until

OUTCOMES = ("completed", "error", "runtime_lost", "untracked")


def started(run, **fields):
    """The event that opens a run."""
    return {"type": "agent_started", "run_id": run, **fields}


def completed(run, **fields):
    """The event that ends a run."""
    return {"type": "agent_completed", "run_id": run, **fields}


def emit(runtime, *events, user="alice"):
    """Publish these, one after the other."""
    for event in events:
        runtime.emit(user, event)


def expect(client, *events):
    """The next frames are these events, with offsets that rise by one; the last offset."""
    frames = client.recv_events(len(events))
    offsets = [frame.pop("_offset") for frame in frames]
    assert frames == list(events)
    assert offsets == list(range(offsets[0], offsets[0] + len(events)))
    return offsets[-1]


def outcomes(bridge):
    """{outcome: runs}, those that are not 0."""
    found = {outcome: bridge.metric("runs_total", outcome=outcome) for outcome in OUTCOMES}
    return {outcome: count for outcome, count in found.items() if count}


def leave(bridge, *clients):
    """Close, and wait until the bridge has let go of these, which are all there are."""
    for client in clients:
        client.close()
    bridge.wait_total("connections", 0)


def snapshot(client):
    """The next frame is a runs_snapshot; its runs."""
    frame = client.recv_type("runs_snapshot")
    assert set(frame) == {"type", "data", "timestamp"} and set(frame["data"]) == {"runs"}
    assert isinstance(frame["timestamp"], float)
    return frame["data"]["runs"]


# ends


@pytest.mark.parametrize("end", [completed("r", status="completed"), {"type": "agent_error", "run_id": "r", "error_code": "X"}])
@pytest.mark.parametrize("second", ["agent_completed", "agent_error"])
def test_a_run_ends_once(bridge, runtime, stack, end, second):
    """Whatever ended it: every further end is dropped and counted, and takes no offset."""
    client = stack.connect()
    emit(runtime, started("r"), end, {"type": second, "run_id": "r"}, {"type": second, "run_id": "r"}, started("s"))
    assert expect(client, started("r"), end, started("s")) == 3
    assert bridge.metric("events_dropped_total", reason="second_end") == 2
    assert bridge.total("events_dropped_total") == 2
    bridge.wait_log("EVENT_DROPPED", reason="second_end")
    assert bridge.metric("history_events") == 3
    assert outcomes(bridge) == ({"completed": 1} if end["type"] == "agent_completed" else {"error": 1})
    assert bridge.metric("runs_active") == 1


def test_a_run_may_begin_again(bridge, runtime, stack):
    """agent_started opens an ended run anew; it has one more end."""
    client = stack.connect()
    row = [started("r"), completed("r"), started("r"), {"type": "agent_error", "run_id": "r"}]
    emit(runtime, *row, completed("r"))
    expect(client, *row)
    client.quiet(runtime)
    assert outcomes(bridge) == {"completed": 1, "error": 1}
    assert bridge.metric("events_dropped_total", reason="second_end") == 1
    assert bridge.metric("runs_active") == 0


def test_started_twice_is_one_run(bridge, runtime, stack):
    """agent_started of a run in progress changes nothing."""
    client = stack.connect()
    row = [started("r"), started("r"), completed("r")]
    emit(runtime, *row, completed("r"))
    expect(client, *row)
    assert outcomes(bridge) == {"completed": 1}
    assert bridge.metric("events_dropped_total", reason="second_end") == 1


def test_64_ends_are_remembered(bridge, runtime, stack):
    """Per user; the 65th one back is not known any more."""
    client = stack.connect()
    names = [f"r{number}" for number in range(65)]
    row = [event for name in names for event in (started(name), completed(name))]
    emit(runtime, *row)
    expect(client, *row)
    for name in names[1:]:
        emit(runtime, completed(name))
    client.quiet(runtime)
    assert bridge.metric("events_dropped_total", reason="second_end") == 64
    emit(runtime, completed("r0"))
    expect(client, completed("r0"))
    assert outcomes(bridge) == {"completed": 65}


def test_runs_belong_to_their_user(bridge, runtime, stack):
    """The same run_id of two users is two runs."""
    alice, bob = stack.connect_all(["alice", "bob"])
    for user in ("alice", "bob"):
        emit(runtime, started("r"), user=user)
    bridge.wait_metric("runs_active", 2)
    emit(runtime, completed("r"))
    bridge.wait_metric("connections", 1, state="idle")
    assert bridge.metric("connections", state="processing") == 1
    emit(runtime, completed("r"), user="bob")
    for client in (alice, bob):
        expect(client, started("r"), completed("r"))
    assert outcomes(bridge) == {"completed": 2}
    assert bridge.total("events_dropped_total") == 0


def test_ends_without_run_id_are_events(bridge, runtime, stack):
    """Without run_id, or with one that is too long, there is no run: everything is delivered."""
    client = stack.connect()
    row = [started("x" * 256), *[completed("x" * 256), completed(""), {"type": "agent_completed"}] * 2]
    emit(runtime, *row)
    expect(client, *row)
    assert bridge.metric("runs_active") == 0
    emit(runtime, started("y" * 255))
    bridge.wait_metric("runs_active", 1)
    assert outcomes(bridge) == {}


def test_257_runs_of_one_user(bridge, runtime, stack):
    """The one that was silent for the longest time is no longer followed."""
    client = stack.connect()
    emit(runtime, *(started(f"r{number}") for number in range(256)), {"type": "stream_chunk", "run_id": "r0"}, started("new"))
    client.recv_events(258)
    assert bridge.metric("runs_active") == 256
    assert outcomes(bridge) == {"untracked": 1}
    bridge.wait_log("RUN_UNTRACKED")
    joined = stack.connect()
    assert [run["run_id"] for run in snapshot(joined)] == ["r0"] + [f"r{number}" for number in range(2, 256)] + ["new"]


def test_more_than_100000_runs(runtime, stack):
    """Of all users together: the ones that were silent for the longest time are no longer followed."""
    bridge = stack.bridge(runtime, history_events=1)
    for number in range(100100):
        runtime.emit(f"user-{number % 500}", started(f"r{number}"))
    bridge.wait_metric("events_received_total", 100100, type="agent_started", timeout=60)
    assert bridge.metric("runs_active") == 100000
    assert outcomes(bridge) == {"untracked": 100}
    for user, oldest in ((0, 500), (99, 599), (100, 100)):
        runs = snapshot(stack.connect(f"user-{user}"))
        assert runs[0]["run_id"] == f"r{oldest}" and len(runs) == len(range(oldest, 100100, 500))


def test_run_histograms(runtime, stack):
    """One observation per answered message, per event after the first and per end."""
    bridge = stack.bridge(runtime)
    client = stack.connect()
    for number in range(3):
        client.send({"type": "user_message"})
        runtime.wait_commands("MESSAGE", number + 1)
        row = [started(f"r{number}"), *[{"type": "stream_chunk", "run_id": f"r{number}"}] * 4, completed(f"r{number}")]
        for event in row:
            emit(runtime, event)
            expect(client, event)
        emit(runtime, completed(f"r{number}"))
        client.quiet(runtime)
    emit(runtime, started("unasked"))
    client.recv_type("agent_started")
    assert bridge.metric("run_first_event_seconds_count") == 3
    assert bridge.metric("run_event_gap_seconds_count") == 15
    assert bridge.metric("run_duration_seconds_count") == 3
    assert bridge.metric("run_duration_seconds_sum") > 0  # all gaps of a run together are its duration
    assert bridge.metric("run_event_gap_seconds_sum") == pytest.approx(bridge.metric("run_duration_seconds_sum"))


# states


def test_connections_follow_the_runs(bridge, runtime, stack):
    """processing_ready before the first run, processing during runs, idle between them, on all of the user's connections."""
    clients = stack.connect_all(["alice", "alice"])
    stack.connect("bob")
    bridge.wait_metric("connections", 3, state="processing_ready")
    emit(runtime, started("r1"), started("r2"))
    bridge.wait_metric("connections", 2, state="processing")
    emit(runtime, completed("r1"))
    for client in clients:
        client.recv_events(3)
    assert bridge.metric("connections", state="processing") == 2
    clients.append(stack.connect("alice"))
    bridge.wait_metric("connections", 3, state="processing")
    emit(runtime, completed("r2"))
    bridge.wait_metric("connections", 3, state="idle")
    assert bridge.metric("connections", state="processing_ready") == 1
    assert bridge.metric("state_transition_errors_total") == 0


def test_remaining(runtime, bridge, stack):
    """DISCONNECT says how many connections the user has left, runs or not."""
    clients = stack.connect_all(["alice"] * 3 + ["bob"])
    emit(runtime, started("r"))
    bridge.wait_metric("connections", 3, state="processing")
    for left in (2, 1, 0):
        client = clients.pop(0)
        client.close()
        gone = runtime.wait_command("DISCONNECT", connection_id=client.connection_id)
        assert (gone.headers["remaining"], gone.headers["code"]) == (left, 1000)


# stalls


def test_a_stalled_run(runtime, stack):
    """Once per stall: told, counted, logged; a new event ends the stall, and the next one is told again."""
    bridge = stack.bridge(runtime, run_stall_s=int(2 * SCALE))
    client = stack.connect()
    begin = started("r", thread_id="t", agent_name="planner")
    chunk = {"type": "stream_chunk", "run_id": "r"}
    emit(runtime, begin)
    expect(client, begin)
    for offset in (2, 4):
        stall = client.recv_type("run_stalled")
        assert stall.pop("silent_s") >= 2 and isinstance(stall.pop("event_id"), str) and isinstance(stall.pop("timestamp"), float)
        assert stall == {"type": "run_stalled", "user_id": "alice", "run_id": "r", "thread_id": "t", "agent_name": "planner",
                         "_synthetic": True, "_offset": offset}
        assert bridge.metric("runs_stalled") == 1
        emit(runtime, chunk)
        assert expect(client, chunk) == offset + 1
        assert bridge.metric("runs_stalled") == 0
    emit(runtime, completed("r"))
    expect(client, completed("r"))
    assert len(bridge.logs("RUN_STALLED")) == 2
    assert bridge.metric("runs_active") == 0 and outcomes(bridge) == {"completed": 1}


def test_one_stall_is_told_once(runtime, stack):
    """A second run that stalls later is the clock: the first is not told again meanwhile."""
    bridge = stack.bridge(runtime, run_stall_s=1)
    client = stack.connect()
    emit(runtime, started("first"))
    runs = []
    for name in ("second", "third"):
        client.recv_type("agent_started")
        runs.append(client.recv_type("run_stalled")["run_id"])
        emit(runtime, started(name))
    client.recv_type("agent_started")
    runs.append(client.recv_type("run_stalled")["run_id"])
    assert runs == ["first", "second", "third"]
    assert bridge.metric("runs_stalled") == 3
    emit(runtime, completed("first"))
    bridge.wait_metric("runs_stalled", 2)


def test_a_stall_is_in_history(runtime, stack):
    """Who was away gets it on resume, like every event."""
    bridge = stack.bridge(runtime, run_stall_s=1)
    client = stack.connect()
    emit(runtime, started("r"))
    expect(client, started("r"))
    epoch = client.established["data"]["resume"]["epoch"]
    leave(bridge, client)
    bridge.wait_metric("runs_stalled", 1)
    again = stack.connect(path=f"/ws?epoch={epoch}&offset=1")
    stall = again.recv_type("run_stalled")
    assert (stall["run_id"], stall["_synthetic"], stall["_offset"]) == ("r", True, 2)
    assert "thread_id" not in stall and "agent_name" not in stall
    assert again.established["data"]["recovered"] is True


def test_ended_runs_do_not_stall(runtime, stack):
    """An open run that began later is the clock."""
    bridge = stack.bridge(runtime, run_stall_s=1)
    client = stack.connect()
    emit(runtime, started("ended"), completed("ended"), started("open"))
    client.recv_events(3)
    assert client.recv_type("run_stalled")["run_id"] == "open"
    assert bridge.metric("runs_stalled") == 1
    assert len(bridge.logs("RUN_STALLED")) == 1


# the snapshot


def test_snapshot(bridge, runtime, stack):
    """Everything about the runs in progress, the oldest first; it comes right after connection_established."""
    emit(runtime, started("r1", thread_id="t1", agent_name="planner", timestamp=1.5), started("r2"), started("r3"),
         {"type": "tool_executing", "run_id": "r1", "tool_name": "search", "execution_id": "e1"},
         {"type": "tool_executing", "run_id": "r1", "tool_name": "fetch", "execution_id": "e2"},
         {"type": "agent_thinking", "run_id": "r2", "delta": "…"}, completed("r3"),
         {"type": "tool_completed", "run_id": "r1", "tool_name": "search", "execution_id": "e1"})
    bridge.wait_metric("history_events", 8)
    client = stack.connect()
    first, second = snapshot(client)
    assert abs(second.pop("started_at") - time.time()) < 60
    assert first == {"run_id": "r1", "thread_id": "t1", "agent_name": "planner", "started_at": 1.5, "last_type": "tool_completed",
                     "open_tools": [{"tool_name": "fetch", "execution_id": "e2"}]}
    assert second == {"run_id": "r2", "thread_id": None, "agent_name": None, "last_type": "agent_thinking", "open_tools": []}
    emit(runtime, {"type": "tool_completed", "run_id": "r1", "tool_name": "fetch", "execution_id": "e2"})
    client.recv_type("tool_completed")
    assert [run["open_tools"] for run in snapshot(stack.connect())] == [[], []]
    assert client.established["data"]["resume"]["offset"] == 8


def test_snapshot_in_msgpack(bridge, runtime, stack):
    """The same keys in the other form."""
    emit(runtime, started("r", thread_id="t"))
    bridge.wait_metric("runs_active", 1)
    run, = snapshot(stack.connect(subprotocols=["agent_chat.msgpack"]))
    assert isinstance(run.pop("started_at"), float)
    assert run == {"run_id": "r", "thread_id": "t", "agent_name": None, "last_type": "agent_started", "open_tools": []}


def test_no_snapshot_without_need(bridge, runtime, stack):
    """None without runs in progress, none for a client that recovered, none of other users' runs, none on raw."""
    client = stack.connect()
    epoch = client.established["data"]["resume"]["epoch"]
    emit(runtime, started("old"), completed("old"), started("r"))
    client.recv_events(3)
    for offset in (2, 3):
        again = stack.connect(path=f"/ws?epoch={epoch}&offset={offset}")
        assert again.established["data"]["recovered"] is True
        again.recv_events(3 - offset)
        again.quiet(runtime)
    stack.connect("bob").quiet(runtime)
    raw = stack.client(subprotocols=["raw"]).open()
    runtime.wait_commands("CONNECT", 5)
    emit(runtime, completed("r"))
    assert b"agent_completed" in raw.recv()
    stack.connect().quiet(runtime)
    assert bridge.metric("runs_active") == 0


def test_snapshot_for_one_that_could_not_recover(bridge, runtime, stack):
    """An unknown epoch is answered with the runs in progress."""
    emit(runtime, started("r"))
    bridge.wait_metric("runs_active", 1)
    client = stack.connect(path="/ws?epoch=elsewhere&offset=0")
    assert client.established["data"]["recovery_error"] == "unknown_epoch"
    assert [run["run_id"] for run in snapshot(client)] == ["r"]
    client.quiet(runtime)


def test_runs_outlive_history(runtime, stack):
    """A user without connection whose history has gone by age keeps the runs in progress, and with them the epoch."""
    bridge = stack.bridge(runtime, history_ttl_s=1)
    client = stack.connect()
    epoch = client.established["data"]["resume"]["epoch"]
    emit(runtime, started("r"))
    expect(client, started("r"))
    leave(bridge, client)
    bridge.wait_metric("history_evicted_total", 1, reason="age")
    wait_until(lambda: bridge.metric("history_events") == 0)
    assert bridge.metric("runs_active") == 1
    client = stack.connect()
    assert [run["run_id"] for run in snapshot(client)] == ["r"]
    assert client.established["data"]["resume"] == {"epoch": epoch, "offset": 1}
    emit(runtime, completed("r"), completed("r"))
    assert expect(client, completed("r")) == 2
    client.quiet(runtime)
    assert outcomes(bridge) == {"completed": 1}
    assert bridge.metric("events_dropped_total", reason="second_end") == 1
