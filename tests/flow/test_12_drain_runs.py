"""Leaving while agents work: runs in progress may end, for so long."""
import signal
import threading

import pytest
from harness import wait_until


def started(run):
    """A run begins."""
    return {"type": "agent_started", "run_id": run}


def completed(run):
    """It ends."""
    return {"type": "agent_completed", "run_id": run, "status": "completed"}


@pytest.fixture(name="busy")
def busy_fixture(runtime, stack):
    """(bridge, alice with a run in progress, bob without)."""
    bridge = stack.bridge(runtime, drain_timeout_s=60)
    alice, bob = stack.connect("alice"), stack.connect("bob")
    runtime.emit("alice", started("r"))
    alice.recv_type("agent_started")
    return bridge, alice, bob


def drain_by_signal(bridge):
    """SIGTERM; how to see that the drain is done."""
    bridge.signal(signal.SIGTERM)
    return lambda: bridge.wait_exit() == 0


def drain_by_request(bridge):
    """/drain, as a preStop hook does; then SIGTERM ends the process without more ado."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(bridge.http("GET", "/drain", timeout=70).status))
    thread.start()

    def done():
        thread.join()
        assert answers == [200]
        bridge.wait_log("DRAIN_DONE")
        assert bridge.process.poll() is None
        return bridge.stop() == 0
    return done


@pytest.mark.parametrize("drain", [drain_by_signal, drain_by_request])
def test_runs_may_end(busy, runtime, drain):
    """All are told at once; who has no run is closed, who has one gets the rest of it first."""
    bridge, alice, bob = busy
    done = drain(bridge)
    for client in (alice, bob):
        client.recv_type("bridge_draining")
    assert bob.wait_closed()[0] == 1012
    runtime.emit("alice", {"type": "agent_thinking", "run_id": "r", "delta": "still "})
    runtime.emit("alice", completed("r"))
    assert [alice.recv_event()["type"] for _ in range(2)] == ["agent_thinking", "agent_completed"]
    assert alice.wait_closed()[0] == 1012
    assert done()
    gone = {command.user_id: command.headers["code"] for command in runtime.wait_commands("DISCONNECT", 2)}
    assert gone == {"alice": 1012, "bob": 1012}
    assert not bridge.logs("DRAIN_TIMEOUT") and not bridge.logs("DRAIN_CLOSING")


def test_messages_during_the_drain(busy, runtime):
    """A client whose run goes on can still speak to it, and a further run is waited for as well."""
    bridge, alice, _ = busy
    bridge.signal(signal.SIGTERM)
    alice.recv_type("bridge_draining")
    alice.send({"type": "user_message", "text": "one more"})
    assert b"one more" in runtime.wait_command("MESSAGE", user_id="alice").body
    runtime.emit("alice", started("second"))
    runtime.emit("alice", completed("r"))
    assert [alice.recv_event()["type"] for _ in range(2)] == ["agent_started", "agent_completed"]
    alice.ping()
    runtime.emit("alice", completed("second"))
    alice.recv_type("agent_completed")
    assert alice.wait_closed()[0] == 1012
    assert bridge.wait_exit() == 0


def test_both_tabs_wait(busy, runtime, stack):
    """Every connection of a user with a run stays for it."""
    bridge, alice, _ = busy
    second = stack.connect("alice")
    second.recv_type("runs_snapshot")
    bridge.signal(signal.SIGTERM)
    for client in (alice, second):
        client.recv_type("bridge_draining")
    bridge.wait_metric("connections", 2, state="processing")
    runtime.emit("alice", completed("r"))
    for client in (alice, second):
        client.recv_type("agent_completed")
        assert client.wait_closed()[0] == 1012
    assert bridge.wait_exit() == 0


def test_a_run_that_does_not_end(runtime, stack):
    """It is cut off so early that its connection still closes in order within drain-timeout-s."""
    bridge = stack.bridge(runtime, drain_timeout_s=3)
    client = stack.connect("alice")
    runtime.emit("alice", started("r"))
    client.recv_type("agent_started")
    bridge.signal(signal.SIGTERM)
    client.recv_type("bridge_draining")
    assert client.wait_closed()[0] == 1012
    assert bridge.wait_exit() == 0
    assert bridge.wait_log("DRAIN_CLOSING")["runs"] == 1
    assert not bridge.logs("DRAIN_TIMEOUT")
    assert bridge.wait_log("DRAIN_DONE")["seconds"] < 3


def test_second_signal_during_runs(busy):
    """It leaves at once, whatever is in progress."""
    bridge, alice, _ = busy
    bridge.signal(signal.SIGTERM)
    alice.recv_type("bridge_draining")
    bridge.signal(signal.SIGTERM)
    assert bridge.wait_exit() == 1
    assert alice.wait_closed()[0] == 1006


def test_a_lost_runtime_does_not_hold_the_drain(stack):
    """Its runs end with RUNTIME_LOST, and so does the waiting for them."""
    runtime = stack.runtime_process()
    bridge = stack.bridge(runtime, runtime_lost_s=1, drain_timeout_s=60)
    client = stack.connect("alice")
    runtime.emit("alice", started("r"))
    client.recv_type("agent_started")
    bridge.signal(signal.SIGTERM)
    client.recv_type("bridge_draining")
    runtime.kill()
    assert client.recv_type("agent_error")["error_code"] == "RUNTIME_LOST"
    assert client.wait_closed()[0] == 1012
    assert bridge.wait_exit() == 0


def test_runs_of_absent_users_are_not_waited_for(runtime, stack):
    """Nobody is connected who would miss them."""
    bridge = stack.bridge(runtime, drain_timeout_s=60)
    runtime.emit("alice", started("r"))
    wait_until(lambda: bridge.metric("runs_active") == 1, what="a run")
    assert bridge.stop() == 0
    assert bridge.wait_log("DRAIN_DONE")["seconds"] < 30
