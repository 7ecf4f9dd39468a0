"""A client that stops reading costs its own connection, and nothing else."""
import socket
import time

import pytest
from harness import wait_until
from harness.raw import CLOSE

CHUNK = {"type": "stream_chunk", "delta": "x" * 60000}


def starve(bridge, runtime, watcher, done):
    """Emit large events, each as soon as `watcher` has the one before, until `done`; how many it took."""
    count = 0
    while not done():
        runtime.emit("alice", {**CHUNK, "n": count})
        assert watcher.recv_event()["n"] == count
        count += 1
        assert count < 2000, "the bridge holds 120 MB for one client"
    assert bridge.process.poll() is None
    return count


def test_slow_consumer(runtime, stack):
    """Full queue: 4008. The user's other connection and other users get every event."""
    bridge = stack.bridge(runtime, queue_bytes=262144)
    other = stack.connect("bob")
    watcher = stack.connect("alice")
    slow = stack.raw_connect("alice", receive_buffer=4096)
    slow_id = slow.established["data"]["connection_id"]
    starve(bridge, runtime, watcher, lambda: runtime.commands("DISCONNECT"))
    gone = runtime.wait_command("DISCONNECT")
    assert (gone.connection_id, gone.headers["code"], gone.headers["remaining"]) == (slow_id, 4008, 1)
    assert bridge.metric("connections_closed_total", reason="slow_consumer") == 1
    assert bridge.wait_log("OUTQ_FULL")["conn"] == slow_id
    bridge.wait_metric("outbound_queue_bytes", 0)
    bridge.wait_total("connections", 2)
    watcher.quiet(runtime)
    other.quiet(runtime)


def test_queue_by_messages(runtime, stack):
    """queue-messages is a limit of its own: small events fill it just as well."""
    bridge = stack.bridge(runtime, queue_messages=10, queue_bytes=64 << 20)
    watcher = stack.connect("alice")
    stack.raw_connect("alice", receive_buffer=4096)
    starve(bridge, runtime, watcher, lambda: runtime.commands("DISCONNECT"))
    assert runtime.wait_command("DISCONNECT").headers["code"] == 4008
    bridge.wait_metric("outbound_queue_bytes", 0)


def test_queue_is_bounded(runtime, stack):
    """What waits for one slow client never exceeds queue-bytes and one event."""
    bridge = stack.bridge(runtime, queue_bytes=1 << 20)
    watcher = stack.connect("alice")
    stack.raw_connect("alice", receive_buffer=4096)
    most = []

    def done():
        most.append(bridge.metric("outbound_queue_bytes"))
        return runtime.commands("DISCONNECT")
    starve(bridge, runtime, watcher, done)
    assert 0 < max(most) <= (1 << 20) + 2 * 60100


def test_slow_then_reading_again(runtime, stack):
    """A client that only pauses, within its queue, loses nothing."""
    bridge = stack.bridge(runtime, queue_bytes=32 << 20)
    watcher = stack.connect("alice")
    slow = stack.raw_connect("alice", receive_buffer=4096)
    count = starve(bridge, runtime, watcher, lambda: bridge.metric("outbound_queue_bytes") > 0)
    assert [slow.recv_json()["n"] for _ in range(count)] == list(range(count))
    bridge.wait_metric("outbound_queue_bytes", 0)
    assert bridge.total("connections_closed_total") == 0


def test_send_timeout(runtime, stack):
    """A socket that takes nothing for send-timeout-s is closed even when the queue is not full."""
    bridge = stack.bridge(runtime, queue_bytes=64 << 20, send_timeout_s=1)
    watcher = stack.connect("alice")
    stack.raw_connect("alice", receive_buffer=4096)
    starve(bridge, runtime, watcher, lambda: bridge.metric("outbound_queue_bytes") > 0)
    bridge.wait_metric("connections_closed_total", 1, reason="send_timeout")
    bridge.wait_metric("outbound_queue_bytes", 0)
    watcher.quiet(runtime)


def test_slow_reader_that_half_closes(runtime, stack):
    """The end of its side of the stream is the end of a client that reads nothing; libwebsockets would read that end again and
    again for five seconds."""
    bridge = stack.bridge(runtime, queue_bytes=64 << 20, send_timeout_s=60)
    watcher = stack.connect("alice")
    slow = stack.raw_connect("alice", receive_buffer=4096)
    starve(bridge, runtime, watcher, lambda: bridge.metric("outbound_queue_bytes") > 0)
    before = bridge.metric("process_cpu_seconds_total")
    slow.socket.shutdown(socket.SHUT_WR)
    gone = runtime.wait_command("DISCONNECT", timeout=20)
    assert (gone.connection_id, gone.headers["code"]) == (slow.established["data"]["connection_id"], 1006)
    assert bridge.metric("connections_closed_total", reason="peer_lost") == 1
    assert bridge.metric("process_cpu_seconds_total") - before < 3
    watcher.quiet(runtime)


@pytest.mark.parametrize("how", ["kick", "drain"])
def test_slow_reader_does_not_delay_its_end(runtime, stack, how):
    """KICK and drain get rid of a client that reads nothing within the grace of a close handshake."""
    bridge = stack.bridge(runtime, queue_bytes=64 << 20, drain_timeout_s=2)
    watcher = stack.connect("alice")
    slow = stack.raw_connect("alice", receive_buffer=4096)
    starve(bridge, runtime, watcher, lambda: bridge.metric("outbound_queue_bytes") > 0)
    start = time.monotonic()
    if how == "drain":
        assert bridge.stop() == 0
    else:
        runtime.send("KICK", "", "alice", {})
        wait_until(lambda: bridge.total("connections") == 0, timeout=20, what="no connections")
    assert time.monotonic() - start < 15
    frame = slow.recv_frame()
    while frame and frame.payload is not None and frame.opcode != CLOSE:
        frame = slow.recv_frame()
