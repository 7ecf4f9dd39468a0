"""The C binding against the real bridge: what clients see of runs in C, gaps, several bridges, restarts."""
import signal
import time

import pytest
import zmq
from c_runtime import CRuntime, built
from harness import wait_until
from harness.gaps import CALM, counts
from zmq.utils.monitor import recv_monitor_message

FIVE = ["agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"]
WIDE = {"queue_messages": 100000, "queue_bytes": 1 << 28}


@pytest.fixture(name="runtime")
def runtime_fixture(stack):
    """A runtime in C."""
    runtime = CRuntime(stack).start()
    runtime.ready()
    return runtime


def order(client, what):
    """A message that the runtime obeys."""
    client.send({"type": "order", "order": what})


def counted(client, numbers):
    """The next events are exactly these."""
    assert [event["n"] for event in client.recv_events(len(numbers), timeout=30)] == list(numbers)


def quiet(client, runtime):
    """Nothing else was on the way to this client."""
    runtime.order(f"emit {client.user} 0 0")
    counted(client, [0])


# --- runs --------------------------------------------------------------------------------------------------------

def test_golden_path(runtime, stack):
    """CONNECT, a message, five events with their fields, DISCONNECT."""
    bridge = stack.bridge(runtime)
    client = stack.connect("alice", subprotocols=["agent_chat"])
    connect = runtime.wait_item("connect", connection=client.connection_id)
    assert (connect["user"], connect["subprotocol"], connect["sub"]) == ("alice", "agent_chat", "alice")
    before = time.time()
    order(client, "golden")
    events = client.recv_events(5)
    message = runtime.wait_item("message")
    assert (message["seq"], message["size"]) == (1, len('{"type": "order", "order": "golden"}'))
    assert [event["type"] for event in events] == FIVE
    for event in events:
        assert (event["user_id"], event["thread_id"], event["agent_name"]) == ("alice", "t-1", "ordered")
        assert before - 1 <= event["timestamp"] <= time.time() + 1
    assert len({event["run_id"] for event in events}) == 1 and events[0]["run_id"].startswith("run_")
    assert len({event["event_id"] for event in events}) == 5
    started, thinking, executing, completed, end = events
    assert started["task_description"] == "add"
    assert (thinking["reasoning"], thinking["step_number"]) == ("näher überlegen", 1)
    assert (executing["tool_name"], executing["tool_args"]) == ("calculator", {"a": 1, "b": None})
    assert (completed["results"], completed["success"], completed["tool_name"]) == ({"sum": 3}, True, "calculator")
    assert completed["execution_id"] == executing["execution_id"] and 0 <= completed["execution_time"] < 10
    assert (end["status"], end["final_response"]) == ("completed", "3") and 0 <= end["duration_ms"] < 10000
    client.close(1000, "bye")
    assert runtime.wait_item("disconnect")["code"] == 1000
    assert bridge.metric("runs_total", outcome="completed") == 1
    assert bridge.total("events_dropped_total") == 0
    assert bridge.total("runtime_commands_dropped_total") == 0


def test_one_end(runtime, stack):
    """However a run ends, it does so once."""
    bridge = stack.bridge(runtime)
    client = stack.connect()
    for how, expected in (("complete", "agent_completed"), ("fail", "NO_MODEL"), ("cancel", "CANCELLED"),
                          ("destroy", "CANCELLED")):
        order(client, f"end {how}")
        started, end = client.recv_events(2)
        assert started["type"] == "agent_started"
        assert end.get("error_code", end["type"]) == expected
        assert end["run_id"] == started["run_id"]
    quiet(client, runtime)
    assert bridge.metric("runs_total", outcome="completed") == 1
    assert bridge.metric("runs_total", outcome="error") == 3
    assert bridge.metric("runs_active") == 0
    assert bridge.total("events_dropped_total") == 0


@pytest.mark.parametrize("settings, ended", [((), True), (("keep-abandoned",), False)])
def test_abandoned(stack, settings, ended):
    """A run that nobody reads is cancelled, unless the runtime wants to go on."""
    runtime = CRuntime(stack, *settings).start()
    runtime.ready()
    bridge = stack.bridge(runtime, abandon_grace_s=1)
    client = stack.connect()
    order(client, "hold")
    run_id = client.recv_type("agent_started")["run_id"]
    client.close()
    assert runtime.wait_item("abandoned")["run_id"] == run_id
    told = runtime.order("tell")
    assert (told["held"], told["runs"], told["counters"]["abandoned"]) == (not ended, int(not ended), int(ended))
    bridge.wait_metric("runs_active", int(not ended))


def test_sigterm_ends_runs(runtime, stack):
    """abr_destroy() ends what is open, and that still goes out."""
    stack.bridge(runtime)
    client = stack.connect()
    order(client, "hold")
    client.recv_type("agent_started")
    assert runtime.stop() == 0
    assert client.recv_type("agent_error")["error_code"] == "CANCELLED"


# --- single connections ------------------------------------------------------------------------------------------

def test_single_connections(runtime, stack):
    """SEND with and without opcode and CLOSE reach one connection, KICK all of the user."""
    stack.bridge(runtime)
    client, beside, bob = stack.connect(), stack.connect(), stack.connect("bob")
    order(client, "send")
    note = client.recv_type("note")
    assert (note["text"], note["user_id"]) == ("for you alone", "alice") and "_offset" not in note
    order(client, "frame")
    assert client.recv() == "as it is"
    order(client, "binary")
    assert client.recv() == b"\0\xff"
    order(client, "close 4321")
    assert client.wait_closed() == (4321, "as you say")
    runtime.wait_item("disconnect", connection=client.connection_id)
    quiet(beside, runtime)
    order(beside, "kick")
    assert beside.wait_closed() == (4009, "out")
    order(bob, "close 1000")
    assert bob.wait_closed() == (1000, "as you say")


# --- gaps --------------------------------------------------------------------------------------------------------

def cut_off(stack, *settings):
    """A runtime whose bridge has its events through a proxy, and a client that has seen event 1."""
    runtime = CRuntime(stack, *settings, transport="tcp").start()
    runtime.ready()
    wire = stack.wire(runtime)
    bridge = stack.bridge(runtime, **{**CALM, "runtime_commands": ">" + runtime.commands_endpoint,
                                      "runtime_events": wire.options["runtime_events"]})
    client = stack.connect()
    runtime.order("emit alice 1 1")
    counted(client, [1])
    wire.events.refuse()
    wire.events.reset()
    bridge.wait_metric("runtime_link_up", 0, link="events")
    return runtime, wire, bridge, client


def test_replay(stack):
    """What PUB could not send is fetched again: every event once, in order."""
    runtime, wire, bridge, client = cut_off(stack)
    runtime.order("emit alice 2 300")
    wire.events.accept()
    bridge.wait_metric("runtime_link_up", 1, link="events")
    runtime.order("emit alice 301 310")
    counted(client, range(2, 311))
    gaps, repaired, lost = counts(bridge)
    assert (gaps, lost) == (1, 0) and repaired >= 299
    assert runtime.order("tell")["counters"]["replayed"] == repaired


def test_lost(stack):
    """What is no longer held is LOST, and clients are told."""
    runtime, wire, bridge, client = cut_off(stack, "replay=5")
    assert runtime.order("emit alice 2 100")["counters"]["evicted"] == 95
    wire.events.accept()
    bridge.wait_metric("runtime_link_up", 1, link="events")
    runtime.order("emit alice 101 101")
    client.recv_type("resync", timeout=30)
    first = client.recv_event()["n"]
    assert first in (96, 97)  # the last of those held makes room for 101
    counted(client, range(first + 1, 102))
    assert counts(bridge)[2] == first - 2
    assert runtime.order("tell")["counters"]["lost"] == first - 2


def test_ten_thousand_events(runtime, stack):
    """All of them arrive, in order, while the run emits and nobody calls abr_recv()."""
    bridge = stack.bridge(runtime, **WIDE, history_events=100000, history_bytes=1 << 28, runtime_ping_s=1)
    client = stack.connect()
    order(client, "burst 10000")
    client.recv_type("agent_started")
    counted(client, range(1, 10001))
    client.recv_type("agent_completed")
    quiet(client, runtime)
    assert counts(bridge)[2] == 0
    assert bridge.total("events_dropped_total") == 0
    assert runtime.order("tell")["seq"] == 10003


# --- several bridges, restarts -------------------------------------------------------------------------------------

def test_two_bridges(runtime, stack):
    """Events go to both, answers to the one that asked."""
    first = stack.bridge(runtime, bridge_id="one")
    second = stack.bridge(runtime, bridge_id="two")
    at_first, at_second = stack.connect(bridge=first), stack.connect(bridge=second)
    order(at_first, "golden")
    assert [event["type"] for event in at_first.recv_events(5)] == FIVE
    assert [event["type"] for event in at_second.recv_events(5)] == FIVE
    order(at_second, "frame")
    assert at_second.recv() == "as it is"
    order(at_first, "binary")
    assert at_first.recv() == b"\0\xff"
    quiet(at_first, runtime)
    counted(at_second, [0])
    order(at_first, "kick")
    assert at_first.wait_closed() == at_second.wait_closed() == (4009, "out")


def test_restart_of_the_bridge(runtime, stack):
    """The bridge is killed and comes back under its routing id: everything works as before, with nothing left over."""
    bridge = stack.bridge(runtime)
    client = stack.connect()
    order(client, "hold")
    client.recv_type("agent_started")
    bridge.kill()
    told = runtime.order("emit alice 1 5")
    assert told["held"] and told["seq"] == 6
    stack.bridge(runtime)
    client = stack.connect()
    runtime.order("emit alice 6 7")
    counted(client, [6, 7])
    order(client, "frame")
    assert client.recv() == "as it is"
    assert runtime.order("tell")["counters"]["malformed"] == 0


def test_the_bridge_binds(stack):
    """The other way round: the runtime connects (`>`)."""
    runtime = CRuntime(stack, notation=">")
    bridge = stack.bridge(runtime_commands="@" + runtime.commands_endpoint, runtime_events="@" + runtime.events_endpoint)
    runtime.start().ready()
    bridge.wait_ready()
    client = stack.connect()
    order(client, "golden")
    assert [event["type"] for event in client.recv_events(5)] == FIVE


def test_curve(stack, tmp_path):
    """With keys on both sides; without them nothing is heard."""
    keys = {name: [key.decode() for key in zmq.curve_keypair()] for name in ("bridge", "runtime")}
    text = 'metadata\n    name = "x"\ncurve\n    public-key = "{}"\n'
    (tmp_path / "runtime.txt").write_text(text.format(keys["runtime"][0]))
    secret = f'    secret-key = "{keys["bridge"][1]}"\n'
    (tmp_path / "bridge.txt_secret").write_text(text.format(keys["bridge"][0]) + secret)
    runtime = CRuntime(stack, "curve=" + ",".join(keys["runtime"])).start()
    runtime.ready()
    stack.bridge(runtime, curve_secret_file=tmp_path / "bridge.txt_secret", curve_runtime_file=tmp_path / "runtime.txt")
    client = stack.connect()
    order(client, "golden")
    assert [event["type"] for event in client.recv_events(5)] == FIVE
    plain = zmq.Context.instance().socket(zmq.DEALER)
    plain.linger = 0
    events = plain.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
                                      | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
    plain.connect(runtime.commands_endpoint)
    assert events.poll(10000)
    assert recv_monitor_message(events)["event"] != zmq.EVENT_HANDSHAKE_SUCCEEDED
    plain.disable_monitor()
    plain.close()


# --- the example -------------------------------------------------------------------------------------------------

def test_streaming_agent(stack):
    """examples/streaming_agent.c: several conversations at once, each with thoughts, a tool and a streamed answer."""
    runtime = CRuntime(stack, program=built("examples/streaming_agent")).start()
    stack.bridge(runtime)
    clients = stack.connect_all(["alice", "bob"])
    for client, text in zip(clients, ("one two  three", "four")):
        client.send({"type": "user_message", "text": text})
    for client, words in zip(clients, (3, 1)):
        events = [client.recv_event()]
        while events[-1]["type"] not in ("agent_completed", "agent_error"):
            events.append(client.recv_event())
        kinds = [event["type"] for event in events]
        assert list(dict.fromkeys(kinds)) == FIVE[:4] + ["stream_chunk", "agent_completed"]
        assert "".join(event["delta"] for event in events if event["type"] == "agent_thinking") \
            == "Let me count the words of this."
        assert "".join(event["delta"] for event in events if event["type"] == "stream_chunk") == "I have counted them."
        assert events[-1]["final_response"] == f"Your message has {words} words."
        assert events[-1]["usage"] == {"words": words}
    clients[0].send({"type": "user_message", "text": "interrupted"})
    clients[0].recv_type("agent_started")
    runtime.process.send_signal(signal.SIGINT)
    wait_until(lambda: runtime.process.poll() is not None, what="the end of the example")
    last = clients[0].recv_event()
    while last["type"] in ("agent_thinking", "stream_chunk", "tool_executing", "tool_completed"):
        last = clients[0].recv_event()
    assert last.get("error_code") == "CANCELLED"
