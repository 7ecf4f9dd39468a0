"""A client that reads slowly gets neighbouring deltas in one frame; nothing that it was told is lost."""
import json
import signal
import socket
import time

import msgpack
import pytest
from harness.raw import BINARY, CLOSE, TEXT

PAD = "x" * 60000  # fills socket buffers in few events; `filler` never merges
QUEUE = {"queue_messages": 40, "queue_bytes": 64 << 20}


class Slow:
    """A client of alice that does not read until it is told to."""

    def __init__(self, stack, subprotocol=None):
        changes = {"Sec-WebSocket-Protocol": subprotocol} if subprotocol else {}
        self.socket = stack.raw(receive_buffer=4096)
        answer = self.socket.upgrade(changes={"Authorization": f"Bearer {stack.keys.token('alice')}", **changes})
        assert answer and answer.status == 101, answer
        self.established = None if subprotocol == "raw" else self.recv()

    def recv(self):
        """The next frame, decoded."""
        frame = self.socket.recv_frame()
        assert frame and frame.opcode in (TEXT, BINARY), frame
        return json.loads(frame.payload) if frame.opcode == TEXT else msgpack.unpackb(frame.payload)

    def hurry(self):
        """Read as fast as others from now on: a receive buffer of 4 KB takes less than 1 MB/s."""
        self.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def recv_some(self, count):
        """So many frames, in a hurry."""
        self.hurry()
        return [self.recv() for _ in range(count)]

    def recv_to(self, kind):
        """All frames up to the first of this type, which is the last of them, in a hurry."""
        self.hurry()
        events = [self.recv()]
        while events[-1]["type"] != kind:
            events.append(self.recv())
        return events


class Stream:
    """Emits events for alice; `watcher`, a client that reads at once, tells when the bridge has taken them."""

    def __init__(self, runtime, watcher):
        self.runtime = runtime
        self.watcher = watcher
        self.count = 0

    def emit(self, kind, **fields):
        """One event; returns when the watcher has it, in a frame of its own."""
        self.count += 1
        self.runtime.emit("alice", {"type": kind, **fields})
        event = self.watcher.recv_event()
        assert event == {"type": kind, **fields, "_offset": self.count}
        return event

    def deltas(self, texts, run="r", kind="stream_chunk", **fields):
        """One event a text."""
        for text in texts:
            self.emit(kind, run_id=run, delta=text, **fields)

    def fill(self, bridge):
        """Emit large events until more than half of its queue waits for the one slow client; how many it took."""
        enough = (QUEUE["queue_messages"] // 2 + 1) * len(PAD)
        fillers = 0
        while bridge.metric("outbound_queue_bytes") < enough:
            self.emit("filler", pad=PAD)
            fillers += 1
            assert fillers < 500, "the sockets take everything"
        return fillers


@pytest.fixture(name="bridge")
def bridge_fixture(stack, runtime):
    """A bridge whose queues are half full soon."""
    return stack.bridge(runtime, **QUEUE)


@pytest.fixture(name="stream")
def stream_fixture(stack, runtime, bridge):  # pylint: disable=unused-argument
    """alice's events, watched by a connection of hers that reads."""
    return Stream(runtime, stack.connect("alice"))


def rises(events):
    """The offsets rise strictly."""
    offsets = [event["_offset"] for event in events]
    return offsets == sorted(set(offsets))


@pytest.mark.parametrize("subprotocol", ["agent_chat", "agent_chat.msgpack"])
def test_deltas_are_concatenated(bridge, stack, stream, subprotocol):
    """Fewer frames, the same text, the offset and the other fields of the last event; the quick ones get all."""
    slow = Slow(stack, subprotocol)
    texts = [f"{i} ä\"\\\n\0\U0001f600" for i in range(300)]
    stream.emit("agent_started", run_id="r")
    fillers = stream.fill(bridge)
    stream.deltas(texts, n=1, timestamp=time.time())
    assert bridge.metric("events_coalesced_total") == 299
    last = stream.emit("agent_completed", run_id="r", status="completed")
    events = slow.recv_to("agent_completed")
    assert rises(events) and events[-1] == last
    assert [event["type"] for event in events] == ["agent_started"] + ["filler"] * fillers + ["stream_chunk", "agent_completed"]
    merged = events[-2]
    assert merged["delta"] == "".join(texts)
    assert merged["_offset"] == last["_offset"] - 1
    assert set(merged) == {"type", "run_id", "delta", "n", "timestamp", "_offset"}
    delivered = bridge.total("events_delivered_total")
    assert delivered + bridge.metric("events_coalesced_total") == 2 * stream.count
    bridge.wait_metric("outbound_queue_bytes", 0)
    assert bridge.total("connections_closed_total") == 0


def test_a_run_while_the_client_comes_and_goes(bridge, stack, stream):
    """Reading a little, stalling again: whatever merges when, the text of each run is whole and nothing is out of order."""
    slow = Slow(stack)
    texts, events = [], []
    for turn in range(6):
        stream.emit("filler", pad=PAD)
        stream.fill(bridge)
        texts += [f"<{turn}.{i}>" for i in range(50)]
        stream.deltas(texts[-50:])
        events += [slow.recv() for _ in range(10 + turn)]
    stream.emit("agent_completed", run_id="r")
    events += slow.recv_to("agent_completed")
    assert rises(events)
    chunks = [event for event in events if event["type"] == "stream_chunk"]
    assert "".join(event["delta"] for event in chunks) == "".join(texts)
    assert 6 <= len(chunks) < 300
    assert bridge.metric("events_coalesced_total") == 300 - len(chunks)
    assert len(events) - len(chunks) == stream.count - 300


def test_merged_alone_in_the_queue(bridge, stack, stream):
    """What has merged goes out by itself when the queue before it is empty: nothing else has to come."""
    slow = Slow(stack)
    fillers = stream.fill(bridge)
    stream.deltas(["a", "b", "c"])
    events = slow.recv_some(fillers + 1)
    assert events[-1] == {"type": "stream_chunk", "run_id": "r", "delta": "abc", "_offset": stream.count}
    bridge.wait_metric("outbound_queue_bytes", 0)


def test_latest_replaces(bridge, stack, stream):
    """Progress, and thinking without delta: the last one of neighbours is all that comes."""
    slow = Slow(stack)
    fillers = stream.fill(bridge)
    for i in range(30):
        progress = stream.emit("progress_update", run_id="r", percent=i)
    for i in range(30):
        thought = stream.emit("agent_thinking", run_id="r", reasoning=f"thought {i}", step_number=i)
    end = stream.emit("agent_completed", run_id="r")
    assert slow.recv_to("agent_completed")[fillers:] == [progress, thought, end]
    assert bridge.metric("events_coalesced_total") == 58


def test_only_neighbours(bridge, stack, stream):
    """Two runs in turn do not merge, nor what has another event, a narrowed one or a SEND between it."""
    slow = Slow(stack)
    connection = slow.established["data"]["connection_id"]
    fillers = stream.fill(bridge)
    wanted = []
    for i in range(4):
        for run in ("r", "s"):
            wanted.append(stream.emit("stream_chunk", run_id=run, delta=f"{run}{i}"))
    assert bridge.metric("events_coalesced_total") == 0
    for i, between in enumerate(("event", "narrowed", "send")):
        stream.deltas(["a", "b"], run="t")
        wanted.append({"type": "stream_chunk", "run_id": "t", "delta": "ab", "_offset": stream.count})
        other = {"type": "stream_chunk", "run_id": "t", "delta": between}
        if between == "event":
            wanted.append(stream.emit("other", run_id="t", delta="c"))
        elif between == "narrowed":
            wanted.append({**other, "connection_id": connection})
            stream.runtime.emit("alice", wanted[-1])
        else:
            wanted.append(other)
            stream.runtime.send("SEND", connection, "alice", body=other)
            bridge.wait_metric("runtime_commands_total", 1, command="SEND")
        assert bridge.metric("events_coalesced_total") == i + 1
    wanted.append(stream.emit("end"))
    assert slow.recv_to("end")[fillers:] == wanted


def test_course_of_a_run_is_never_left_out(bridge, stack, stream):
    """Starts, tools and ends all come, each in its place, whatever merges between them."""
    slow = Slow(stack)
    fillers = stream.fill(bridge)
    wanted = [stream.emit("agent_started", run_id="r", task_description="t")]
    for i in range(4):
        stream.deltas(["a", "b", "c"], kind="agent_thinking")
        wanted.append({"type": "agent_thinking", "run_id": "r", "delta": "abc", "_offset": stream.count})
        for kind in ("tool_executing", "tool_executing", "tool_completed", "tool_completed")[:2 * (1 + i % 2)]:
            wanted.append(stream.emit(kind, run_id="r", tool_name="t", execution_id=i, delta="d"))
    wanted.append(stream.emit("agent_error", run_id="r", error_code="E"))
    wanted.append(stream.emit("agent_completed", run_id="other", status="failed"))
    assert slow.recv_to("agent_completed")[fillers:] == wanted
    assert bridge.metric("events_coalesced_total") == 8


def test_others_are_not_concerned(bridge, stack, stream):
    """Another user's client gets every event by itself while alice's merge."""
    other = stack.connect("bob")
    slow = Slow(stack)
    stream.fill(bridge)
    for i in range(50):
        stream.deltas([f"{i}"])
        event = {"type": "stream_chunk", "run_id": "r", "delta": f"{i}"}
        stream.runtime.emit("bob", event)
        assert other.recv_event() == {**event, "_offset": i + 1}
    assert bridge.metric("events_coalesced_total") == 49
    other.quiet(stream.runtime)
    stream.emit("end")
    assert slow.recv_to("end")[-2]["delta"] == "".join(str(i) for i in range(50))


def test_raw_is_never_merged(bridge, stack, stream):
    """A raw client gets the untouched bytes of each event, however slowly it reads."""
    slow = Slow(stack, "raw")
    stream.runtime.wait_commands("CONNECT", 2)
    fillers = stream.fill(bridge)
    slow.hurry()
    packed = [msgpack.packb({"type": "stream_chunk", "run_id": "r", "delta": f"{i}"}) for i in range(10)]
    stream.deltas([f"{i}" for i in range(10)])
    frames = [slow.socket.recv_frame() for _ in range(fillers + 10)]
    assert [frame.payload for frame in frames[fillers:]] == packed
    assert {frame.opcode for frame in frames} == {BINARY}
    assert bridge.metric("events_coalesced_total") == 0


def test_broken_text(bridge, stack, stream):
    """Characters that were cut in two are whole again; what is no UTF-8 at all becomes U+FFFD. The client is not closed."""
    slow = Slow(stack)
    fillers = stream.fill(bridge)
    parts = ["€😀".encode()[:2], "€😀".encode()[2:5], "€😀".encode()[5:], b"\xff", b"\xc3"]
    head = msgpack.packb({"type": "stream_chunk", "run_id": "r", "delta": ""})[:-1]
    for part in parts:
        stream.runtime.emit("alice", head + bytes([0xa0 | len(part)]) + part)
        stream.watcher.recv_event()
    stream.count += len(parts)
    events = slow.recv_some(fillers + 1)
    assert events[-1]["delta"] == "€😀\ufffd\ufffd"
    assert events[-1]["_offset"] == stream.count
    assert bridge.total("connections_closed_total") == 0


def test_no_event_larger_than_the_largest(runtime, stack):
    """What would be more than max-event-bytes together comes in several frames."""
    bridge = stack.bridge(runtime, **QUEUE, max_event_bytes=70000)
    stream = Stream(runtime, stack.connect("alice"))
    slow = Slow(stack)
    fillers = stream.fill(bridge)
    texts = [f"{i:5}" * 1000 for i in range(40)]
    stream.deltas(texts)
    stream.emit("end")
    chunks = slow.recv_to("end")[fillers:-1]
    assert "".join(event["delta"] for event in chunks) == "".join(texts)
    assert [len(event["delta"]) for event in chunks] == [65000, 65000, 65000, 5000]
    assert bridge.metric("events_coalesced_total") == 36


def test_full_queue_and_resume(runtime, stack):
    """At the full queue it is 4008 all the same, nothing waits any more, and history has every event by itself."""
    bridge = stack.bridge(runtime, **QUEUE, history_events=10000, history_bytes=1 << 28)
    stream = Stream(runtime, stack.connect("alice"))
    slow = Slow(stack)
    epoch = slow.established["data"]["resume"]["epoch"]
    fillers = stream.fill(bridge)
    wanted = [{"type": "stream_chunk", "run_id": f"r{i // 3}", "delta": f"{i}", "_offset": fillers + 1 + i} for i in range(90)]
    for event in wanted:
        stream.deltas([event["delta"]], run=event["run_id"])
    gone = runtime.wait_command("DISCONNECT")
    assert (gone.connection_id, gone.headers["code"]) == (slow.established["data"]["connection_id"], 4008)
    assert bridge.wait_log("OUTQ_FULL")["frames"] > QUEUE["queue_messages"]
    slow.socket.close()
    bridge.wait_metric("outbound_queue_bytes", 0)
    assert bridge.metric("connections_closed_total", reason="slow_consumer") == 1
    back = stack.connect("alice", path=f"/ws?epoch={epoch}&offset={fillers}")
    assert back.established["data"]["recovered"] is True
    assert back.recv_events(90) == wanted
    back.quiet(runtime)


def test_stalled_client_is_bounded(runtime, stack):
    """One endless run: the queue, with what has merged, never holds more than queue-bytes; then it is 4008."""
    bridge = stack.bridge(runtime, queue_messages=40, queue_bytes=2 << 20)
    stream = Stream(runtime, stack.connect("alice"))
    slow = Slow(stack)
    most = 0
    stream.fill(bridge)
    while not runtime.commands("DISCONNECT"):
        stream.deltas(["y" * 10000])
        most = max(most, bridge.metric("outbound_queue_bytes"))
        assert stream.count < 1000, "the bridge holds 10 MB for one client"
    assert runtime.wait_command("DISCONNECT").headers["code"] == 4008
    assert (2 << 20) - 80000 < most <= 2 << 20
    slow.socket.close()
    bridge.wait_metric("outbound_queue_bytes", 0)


@pytest.mark.parametrize("how", ["close", "drain"])
def test_end_in_order(bridge, stack, stream, how):
    """What has merged comes before the close frame of an end in order."""
    slow = Slow(stack)
    fillers = stream.fill(bridge)
    stream.deltas(["a", "b", "c"])
    if how == "close":
        stream.runtime.send("CLOSE", slow.established["data"]["connection_id"], "alice", {"code": 4321, "reason": "bye"})
        stream.runtime.wait_command("DISCONNECT")
    else:
        bridge.signal(signal.SIGTERM)
        bridge.wait_log("DRAIN_STARTED")
    events = slow.recv_some(fillers + 1)
    assert events[-1] == {"type": "stream_chunk", "run_id": "r", "delta": "abc", "_offset": stream.count}
    if how == "close":
        assert slow.socket.recv_close() == (4321, "bye")
    else:
        assert slow.recv()["type"] == "bridge_draining"
        assert slow.socket.recv_close()[0] == 1012
        assert bridge.wait_exit() == 0


def test_send_timeout(runtime, stack):
    """A socket that takes nothing for send-timeout-s closes, merging or not; what has merged goes with it."""
    bridge = stack.bridge(runtime, **QUEUE, send_timeout_s=1)
    stream = Stream(runtime, stack.connect("alice"))
    slow = Slow(stack)
    stream.fill(bridge)
    while not runtime.commands("DISCONNECT"):
        stream.deltas(["a"])
        assert stream.count < 100000
    assert runtime.wait_command("DISCONNECT").headers["code"] == 4008
    assert bridge.metric("connections_closed_total", reason="send_timeout") == 1
    assert bridge.metric("events_coalesced_total") > 0
    frame = slow.socket.recv_frame()
    while frame and frame.payload is not None and frame.opcode != CLOSE:
        frame = slow.socket.recv_frame()
    bridge.wait_metric("outbound_queue_bytes", 0)


def test_slow_but_steady(runtime, stack):
    """A client that always has something waiting, but goes on reading, is not one whose socket takes nothing."""
    bridge = stack.bridge(runtime, queue_bytes=64 << 20, send_timeout_s=1)
    stream = Stream(runtime, stack.connect("alice"))
    slow = Slow(stack)
    stream.fill(bridge)
    start = time.monotonic()
    while time.monotonic() - start < 4:
        assert slow.recv()["type"] == "filler"
        stream.fill(bridge)
    assert bridge.total("connections_closed_total") == 0
