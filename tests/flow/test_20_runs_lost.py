"""Runs whose runtime has gone, and runs whose user has gone: each ends once, and whom it concerns is told."""
import random

import pytest
from harness import SCALE, wait_until
from harness.gaps import CALM, event, linked


def started(run):
    """The event that opens a run."""
    return {"type": "agent_started", "run_id": run}


def completed(run):
    """The event that ends a run."""
    return {"type": "agent_completed", "run_id": run}


def is_end(frame):
    """Does it end a run?"""
    return frame["type"] in ("agent_completed", "agent_error")


def lost_end(client, run):
    """The next frame is the end that the bridge has made; its offset."""
    frame = client.recv_type("agent_error")
    assert isinstance(frame.pop("timestamp"), float)
    assert all(isinstance(frame.pop(key), str) and key for key in ("error_message", "event_id"))
    offset = frame.pop("_offset")
    assert frame == {"type": "agent_error", "error_code": "RUNTIME_LOST", "user_id": client.user, "run_id": run,
                     "_synthetic": True}
    return offset


@pytest.fixture(name="pair")
def pair_fixture(stack):
    """(bridge, two runtimes that number their events) with runtime-lost-s 1."""
    runtimes = [stack.runtime(sequenced=True, publisher=f"p{number}") for number in range(2)]
    both = {name: ",".join(runtime.options[name] for runtime in runtimes) for name in runtimes[0].options}
    bridge = stack.bridge(**both, runtime_lost_s=1, **CALM)
    for lane, runtime in enumerate(runtimes):
        runtime.wait_subscribed()
        bridge.wait_log("RUNTIME_HELLO", lane=lane)
    return bridge, runtimes


# the runtime has gone


def test_runs_of_the_lost_runtime_only(pair, stack):
    """Each of its runs gets one end, over all users; those of the other runtime go on."""
    bridge, (lost, kept) = pair
    alice, bob = stack.connect_all(["alice", "bob"])
    for runtime, name in ((lost, "lost"), (kept, "kept")):
        for client in (alice, bob):
            runtime.emit(client.user, started(f"{name} of {client.user}"))
    for client in (alice, bob):
        client.recv_events(2)
    lost.stop()
    for client in (alice, bob):
        assert lost_end(client, f"lost of {client.user}") == 3
    assert bridge.metric("runs_total", outcome="runtime_lost") == 2
    assert bridge.metric("runs_active") == 2
    assert len(bridge.logs("RUN_LOST")) == 2
    for client in (alice, bob):
        kept.emit(client.user, completed(f"kept of {client.user}"))
        client.recv_type("agent_completed")
        client.quiet(kept)
    assert bridge.metric("runs_total", outcome="completed") == 2
    bridge.wait_metric("connections", 2, state="idle")


def test_runs_of_a_runtime_without_numbers(stack):
    """Without meta the runtime of a run is that of its user's lane."""
    runtimes = [stack.runtime(publisher=f"p{number}") for number in range(2)]
    both = {name: ",".join(runtime.options[name] for runtime in runtimes) for name in runtimes[0].options}
    bridge = stack.bridge(**both, runtime_lost_s=1)
    for runtime in runtimes:
        runtime.wait_subscribed()
    bridge.wait_ready()
    clients = stack.connect_all([f"user-{number}" for number in range(16)])
    wait_until(lambda: sum(len(runtime.commands("CONNECT")) for runtime in runtimes) == 16, what="16 CONNECTs")
    concerned = {command.user_id for command in runtimes[0].commands("CONNECT")}
    assert 0 < len(concerned) < 16
    for client in clients:
        runtimes[1].emit(client.user, started("r"))
        client.recv_type("agent_started")
    runtimes[0].stop()
    for client in clients:
        if client.user in concerned:
            lost_end(client, "r")
    assert bridge.metric("runs_total", outcome="runtime_lost") == len(concerned)
    assert bridge.metric("runs_active") == 16 - len(concerned)
    for client in clients:
        client.quiet(runtimes[1])


def test_thread_and_agent_are_told(stack):
    """When they are known."""
    runtime = stack.runtime_process(sequenced=True, publisher="first")
    linked(stack, runtime, runtime_lost_s=1)
    client = stack.connect()
    runtime.emit("alice", {**started("r"), "thread_id": "t", "agent_name": "planner"})
    client.recv_type("agent_started")
    runtime.kill()
    end = client.recv_type("agent_error")
    assert (end["thread_id"], end["agent_name"], end["run_id"]) == ("t", "planner", "r")


def test_a_new_publisher_at_once(stack):
    """The link is back before runtime-lost-s, but it is another: the runs of the first end all the same, those of the new
    one do not."""
    runtime = stack.runtime_process(sequenced=True, publisher="first")
    bridge = linked(stack, runtime, runtime_lost_s=2)
    client = stack.connect()
    runtime.emit("alice", started("old"))
    client.recv_type("agent_started")
    runtime.kill()
    runtime.start(publisher="second")
    runtime.wait_subscribed()
    runtime.emit("alice", started("new"))
    frames = {frame["run_id"]: frame["type"] for frame in client.recv_events(2)}
    assert frames == {"old": "agent_error", "new": "agent_started"}
    assert bridge.metric("runs_active") == 1
    runtime.emit("alice", completed("new"))
    client.recv_type("agent_completed")
    client.quiet(runtime)
    assert bridge.metric("runs_total", outcome="completed") == bridge.metric("runs_total", outcome="runtime_lost") == 1


def test_another_publisher_on_the_same_link(stack):
    """HELLO under another name is enough: one runtime, one publisher."""
    runtime = stack.runtime(sequenced=True, publisher="first")
    bridge = linked(stack, runtime, runtime_lost_s=1)
    client = stack.connect()
    runtime.emit("alice", started("r"))
    client.recv_type("agent_started")
    runtime.send("HELLO", headers={"publisher": "second", "seq": 0})
    lost_end(client, "r")
    assert bridge.metric("runs_total", outcome="runtime_lost") == 1


def test_a_runtime_that_could_not_introduce_itself(stack):
    """It came and went while the command link was down: its runs end like every other's."""
    runtime = stack.runtime_process("tcp", sequenced=True, publisher="first")
    wire = stack.wire(runtime)
    bridge = linked(stack, runtime, **wire.options, runtime_lost_s=1)
    client = stack.connect()
    wire.commands.refuse()
    runtime.kill()
    bridge.wait_metric("runtime_link_up", 0, link="commands")
    runtime.start(publisher="second")
    runtime.wait_subscribed()
    runtime.emit("alice", started("r"))
    client.recv_type("agent_started")
    runtime.kill()
    runtime.start(publisher="third")
    wire.commands.accept()
    lost_end(client, "r")
    runtime.wait_subscribed()
    client.quiet(runtime)


def test_the_same_publisher_comes_back(stack):
    """A link that is cut and comes back in time costs no run. Another runtime that goes later is the clock."""
    runtime = stack.runtime("tcp", sequenced=True, publisher="stays")
    other = stack.runtime("tcp", sequenced=True, publisher="goes")
    wire = stack.wire(runtime)
    both = {name: f"{wire.options[name]},{other.options[name]}" for name in other.options}
    bridge = stack.bridge(**both, runtime_lost_s=int(2 * SCALE), **CALM)
    for lane, each in enumerate((runtime, other)):
        each.wait_subscribed()
        bridge.wait_log("RUNTIME_HELLO", lane=lane)
    client = stack.connect()
    for each in (runtime, other):
        each.emit("alice", started(each.publisher))
        client.recv_type("agent_started")
    mark = runtime.mark()
    wire.commands.reset()
    runtime.wait_command("HELLO", since=mark)
    other.stop()
    lost_end(client, "goes")
    client.quiet(runtime)
    runtime.emit("alice", completed("stays"))
    client.recv_type("agent_completed")
    assert bridge.metric("runs_total", outcome="runtime_lost") == bridge.metric("runs_total", outcome="completed") == 1


def test_a_late_end_is_dropped(stack):
    """What the runtime says about a run that the bridge has ended: its end is a second end, the rest is delivered."""
    runtime = stack.runtime_process(sequenced=True, publisher="first")
    bridge = linked(stack, runtime, runtime_lost_s=1)
    client = stack.connect()
    runtime.emit("alice", started("r"))
    client.recv_type("agent_started")
    runtime.kill()
    lost_end(client, "r")
    runtime.start(publisher="second")
    runtime.wait_subscribed()
    runtime.emit("alice", completed("r"))
    runtime.emit("alice", {"type": "agent_error", "run_id": "r"})
    runtime.emit("alice", event(1, run_id="r"))
    assert client.recv_type("stream_chunk")["_offset"] == 3
    assert bridge.metric("events_dropped_total", reason="second_end") == 2
    assert bridge.metric("runs_total", outcome="runtime_lost") == 1


def test_an_absent_user_gets_it_on_resume(stack):
    """It is an event like every other: kept, with an offset."""
    runtime = stack.runtime_process(sequenced=True, publisher="first")
    bridge = linked(stack, runtime, runtime_lost_s=1, runtime_wait_ms=60000)
    client = stack.connect()
    epoch = client.established["data"]["resume"]["epoch"]
    runtime.emit("alice", started("r"))
    client.recv_type("agent_started")
    client.close()
    bridge.wait_total("connections", 0)
    runtime.kill()
    bridge.wait_metric("runs_total", 1, outcome="runtime_lost")
    runtime.start(publisher="second")
    again = stack.connect(path=f"/ws?epoch={epoch}&offset=1")
    assert again.established["data"]["recovered"] is True
    assert lost_end(again, "r") == 2
    runtime.wait_subscribed()
    again.quiet(runtime)


@pytest.mark.parametrize("seed", range(3))
def test_killed_in_the_midst_of_fifty_runs(stack, seed):
    """kill -9 at random moments: every client sees exactly one end of every run that it saw begin, and the bridge has
    counted as many."""
    chance = random.Random(seed)
    runtime = stack.runtime_process(sequenced=True, publisher="life-0")
    bridge = linked(stack, runtime, runtime_lost_s=1, max_connections_per_user=100)
    clients = [stack.resuming(f"user-{number}") for number in range(5) for _ in range(2)]
    steps = [(f"user-{run % 5}", step) for run in range(50)
             for step in (started(f"run-{run}"), {"type": "stream_chunk", "run_id": f"run-{run}"}, completed(f"run-{run}"))]
    deaths = sorted(chance.sample(range(1, len(steps)), 3))
    lives = 0
    for number, (user, step) in enumerate(interleaved(steps, chance)):
        runtime.emit(user, step)
        if number not in deaths:
            continue
        runtime.kill()
        clients[number % 10].abort()
        lives += 1
        bridge.wait_metric("runtime_link_up", 0, link="commands")
        runtime.start(publisher=f"life-{lives}")
        runtime.wait_subscribed()
    for client in clients[::2]:
        runtime.emit(client.user, {"type": "last"})
    for client in clients:
        client.wait_event(type="last")
    bridge.wait_metric("runs_active", 0)
    seen = [course_of(client) for client in clients]
    for one, other in zip(seen[::2], seen[1::2]):
        assert one == other
    counted = {outcome: sum(course.count(outcome) for course in seen[::2]) for outcome in ("completed", "runtime_lost")}
    assert counted == {outcome: bridge.metric("runs_total", outcome=outcome) for outcome in counted}


def interleaved(steps, chance):
    """The three steps of each run in their order, the runs mixed."""
    order = [number for number in range(len(steps) // 3) for _ in range(3)]
    chance.shuffle(order)
    following = [3 * number for number in range(len(steps) // 3)]
    for number in order:
        yield steps[following[number]]
        following[number] += 1


def course_of(client):
    """Check that each run which began has ended once, and the outcomes in order of the runs."""
    begun = {frame["run_id"] for frame in client.events if frame["type"] == "agent_started"}
    client.wait(lambda: begun <= {frame["run_id"] for frame in client.events if is_end(frame)}, "all ends")
    ends = [frame for frame in client.events if is_end(frame)]
    assert len({frame["run_id"] for frame in ends}) == len(ends), "a run has ended twice"
    assert not client.resyncs
    return ["runtime_lost" if frame["type"] == "agent_error" else "completed"
            for frame in sorted(ends, key=lambda frame: frame["run_id"]) if frame["run_id"] in begun]


# the user has gone


def abandon(stack, runtime, runs, user="alice", **options):
    """A bridge with abandon-grace-s 1, and a client whose runs are in progress."""
    bridge = stack.bridge(runtime, **{"abandon_grace_s": 1, **options})
    client = stack.connect(user)
    for run in runs:
        runtime.emit(user, started(run))
        client.recv_type("agent_started")
    return bridge, client


def test_abandoned(runtime, stack):
    """After abandon-grace-s the runtime is told once, with the runs that are in progress then."""
    bridge, client = abandon(stack, runtime, ["r1", "r2", "r3"])
    runtime.emit("alice", completed("r2"))
    client.recv_type("agent_completed")
    client.close()
    told = runtime.wait_command("ABANDONED")
    assert (told.user_id, told.connection_id, told.body) == ("alice", "", b"")
    assert {key: sorted(value) for key, value in told.headers.items()} == {"runs": ["r1", "r3"]}
    bridge.wait_log("RUNS_ABANDONED")
    assert bridge.metric("runs_active") == 2


def test_each_absence_is_told_once(runtime, stack):
    """Bob, who leaves later, is the clock: alice's runs are not named again, until she has been there again."""
    bridge, alice = abandon(stack, runtime, ["r"])
    alice.close()
    runtime.wait_command("ABANDONED", user_id="alice")
    bob = stack.connect("bob")
    runtime.emit("bob", started("of bob"))
    bob.recv_type("agent_started")
    bob.close()
    runtime.wait_command("ABANDONED", user_id="bob")
    assert len(runtime.commands("ABANDONED")) == 2
    alice = stack.connect("alice")
    alice.recv_type("runs_snapshot")
    alice.close()
    again = runtime.wait_commands("ABANDONED", 2, user_id="alice")
    assert [command.headers["runs"] for command in again] == [["r"], ["r"]]
    assert bridge.metric("runtime_commands_total", command="ABANDONED") == 3


def test_a_run_that_begins_in_the_absence(runtime, stack):
    """It is named too, and those that were named are not named again."""
    _, client = abandon(stack, runtime, ["r1"])
    client.close()
    runtime.wait_command("ABANDONED")
    runtime.emit("alice", started("r2"))
    told = runtime.wait_commands("ABANDONED", 2)
    assert [command.headers["runs"] for command in told] == [["r1"], ["r2"]]


def test_back_in_time(runtime, stack):
    """Who comes back within the grace has abandoned nothing; another of the user's connections counts as well."""
    _, alice = abandon(stack, runtime, ["r"], abandon_grace_s=int(2 * SCALE))
    other, bob = stack.connect_all(["alice", "bob"])
    runtime.emit("bob", started("of bob"))
    bob.recv_type("agent_started")
    alice.close()
    other.close()
    runtime.wait_commands("DISCONNECT", 2)
    stack.connect("alice").recv_type("runs_snapshot")
    bob.close()
    runtime.wait_command("ABANDONED", user_id="bob")
    assert not runtime.commands("ABANDONED", user_id="alice")


def test_nothing_in_progress(runtime, stack):
    """A user whose runs have ended, before or after leaving, has abandoned nothing."""
    _, alice = abandon(stack, runtime, ["r1", "r2"])
    bob = stack.connect("bob")
    runtime.emit("bob", started("of bob"))
    bob.recv_type("agent_started")
    runtime.emit("alice", completed("r1"))
    alice.recv_type("agent_completed")
    alice.close()
    runtime.wait_command("DISCONNECT", user_id="alice")
    runtime.emit("alice", completed("r2"))
    bob.close()
    runtime.wait_command("ABANDONED", user_id="bob")
    assert not runtime.commands("ABANDONED", user_id="alice")


def test_abandoned_while_the_link_is_down(stack):
    """It is told when the link is there again, once. A stall, which comes later than the grace, is the clock."""
    runtime = stack.runtime("tcp")
    wire = stack.wire(runtime)
    bridge, client = abandon(stack, runtime, ["r"], **wire.options, run_stall_s=2, runtime_lost_s=600)
    wire.commands.refuse()
    wire.commands.reset()
    bridge.wait_metric("runtime_link_up", 0, link="commands")
    client.close()
    bridge.wait_total("connections", 0)
    runtime.emit("alice", event(1, run_id="r"))
    bridge.wait_metric("history_events", 2)
    bridge.wait_metric("runs_stalled", 1)
    assert not runtime.commands("ABANDONED")
    wire.commands.accept()
    assert runtime.wait_command("ABANDONED").headers == {"runs": ["r"]}
    stack.connect("bob").ping()
    assert len(runtime.commands("ABANDONED")) == 1


def test_never_with_0(runtime, stack):
    """The default: a stall, which comes later, is the clock."""
    bridge, client = abandon(stack, runtime, ["r"], abandon_grace_s=0, run_stall_s=1)
    client.close()
    bridge.wait_total("connections", 0)
    runtime.emit("alice", event(1, run_id="r"))
    bridge.wait_metric("history_events", 2)
    bridge.wait_metric("runs_stalled", 1)
    assert not runtime.commands("ABANDONED")
