"""The binding with a real bridge and real clients: asyncio and threads alike."""
import asyncio
import json
import threading

import agentbridge
import pytest
from agentbridge import AgentError, sync
from harness import Closed, wait_until
from harness.gaps import counts
from hosted import kinds, linked, until_end

FIVE = ["agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"]
BOTH = pytest.mark.parametrize("kind", [agentbridge.Runtime, sync.Runtime], ids=["asyncio", "threads"])


def answers(rt, body):
    """Every message is answered by a run with this body, which is no coroutine; `run` and `message` are its arguments."""
    if isinstance(rt, sync.Runtime):
        def handler(message):
            with rt.run(message.user, thread_id="t1") as run:
                body(run, message)
    else:
        async def handler(message):
            async with rt.run(message.user, thread_id="t1") as run:
                body(run, message)
    rt.on_message(handler)


def five(run, message):
    """The five events."""
    question = message.json()["text"]
    run.thinking("Let me see. ")
    with run.tool("calculator", {"expression": question}) as tool:
        tool.result({"value": 42})
    run.complete(f"{question} = 42")


def wait_stats(rt, **expected):
    """Until the counters are these."""
    wait_until(lambda: all(getattr(rt.stats, name) == value for name, value in expected.items()),
               what=f"{expected}, last {rt.stats}")


def known(rt, count):
    """The connections, when the runtime has heard of so many."""
    wait_until(lambda: len(rt.connections()) == count, what=f"{count} CONNECT")
    return rt.connections()


@BOTH
def test_golden_path(stack, host, kind):
    hosted = host(kind, name="sage")
    seen = []
    answers(hosted.rt, lambda run, message: (seen.append(message), five(run, message)))
    bridge = linked(stack, hosted.start())
    client = stack.connect("alice")
    client.send({"type": "user_message", "text": "6 * 7"})
    events = until_end(client)
    assert kinds(events) == FIVE
    assert {(e["user_id"], e["thread_id"], e["agent_name"], e["run_id"]) for e in events} == \
        {("alice", "t1", "sage", events[0]["run_id"])}
    assert events[2]["tool_args"] == {"expression": "6 * 7"} and events[3]["results"] == {"value": 42}
    assert events[3]["execution_id"] == events[2]["execution_id"] and events[4]["final_response"] == "6 * 7 = 42"
    assert (seen[0].seq, seen[0].opcode, seen[0].text) == (1, "text", '{"type": "user_message", "text": "6 * 7"}')
    assert seen[0].connection.id == client.connection_id and seen[0].connection.claims["sub"] == "alice"
    assert seen[0].connection.subprotocol == "agent_chat" and abs(seen[0].ts - events[0]["timestamp"]) < 60
    line = bridge.wait_log("RUNTIME_HELLO")
    assert (line["runtime"], line["publisher"], line["sdk"]) == ("sage", hosted.rt.publisher, "agentbridge-python/0.1.0")
    assert hosted.rt.bridges == ["flow-bridge"]
    stats = hosted.rt.stats
    assert (stats.events_published, stats.commands_malformed, stats.runs_open) == (5, 0, 0)
    assert bridge.total("runtime_commands_dropped_total") == bridge.total("events_dropped_total") == 0


@BOTH
@pytest.mark.parametrize("fault, code", [(RuntimeError("secret"), "AGENT_FAILED"), (AgentError("BUSY", "Later."), "BUSY")])
def test_a_handler_that_fails_ends_its_run_once(stack, host, kind, fault, code, caplog):
    hosted = host(kind)

    def body(run, message):
        run.thinking("hm")
        if message.json()["text"] == "fail":
            raise fault

    answers(hosted.rt, body)
    bridge = linked(stack, hosted.start())
    client = stack.connect("alice")
    client.send({"type": "user_message", "text": "fail"})
    events = until_end(client)
    assert kinds(events) == ["agent_started", "agent_thinking", "agent_error"]
    assert events[-1]["error_code"] == code and "secret" not in json.dumps(events)
    client.send({"type": "user_message", "text": "fine"})
    assert until_end(client)[-1]["type"] == "agent_completed"
    wait_stats(hosted.rt, handlers_failed=int(code == "AGENT_FAILED"))
    assert ("on_message failed" in caplog.text and "secret" in caplog.text) == (code == "AGENT_FAILED")
    assert bridge.metric("runs_total", outcome="completed") == bridge.metric("runs_total", outcome="error") == 1


@BOTH
def test_send_close_kick(stack, host, kind):
    hosted = host(kind)
    linked(stack, hosted.start())
    first, second, other = stack.connect("alice"), stack.connect("alice"), stack.connect("bob")
    rt = hosted.rt
    of = {one.id: one for one in known(rt, 3)}
    assert set(of) == {one.connection_id for one in (first, second, other)} and len(rt.connections("alice")) == 2
    hosted.do(rt.send, of[first.connection_id], {"type": "note", "n": 1})
    note = first.recv_type("note")
    assert (note["n"], note["user_id"]) == (1, "alice") and note["event_id"] and note["timestamp"] and "_offset" not in note
    hosted.do(rt.send_frame, of[first.connection_id], "as it is")
    assert first.recv() == "as it is"
    hosted.do(rt.send_frame, of[first.connection_id], b"\x00\xff")
    assert first.recv() == b"\x00\xff"
    rt.emit("alice", "narrow", connection=of[second.connection_id])
    assert second.recv_event()["type"] == "narrow"
    hosted.do(rt.close, of[first.connection_id], 4100, "enough")
    assert first.wait_closed() == (4100, "enough") and first.rest() == []
    hosted.do(rt.kick, "alice", "out")
    assert second.wait_closed() == (4009, "out")
    other.ping()
    for wrong in (lambda: hosted.do(rt.send, of[other.connection_id], {"type": "x", "user_id": "alice"}),
                  lambda: hosted.do(rt.send, of[other.connection_id], {"type": "x", "_y": 1}),
                  lambda: hosted.do(rt.send, of[other.connection_id], {"n": 1}),
                  lambda: hosted.do(rt.close, of[other.connection_id], 1006),
                  lambda: hosted.do(rt.close, of[other.connection_id], 1000, "x" * 124),
                  lambda: rt.emit("alice", "x", connection=of[other.connection_id])):
        with pytest.raises(agentbridge.EventError):
            wrong()


@BOTH
def test_connect_and_disconnect(stack, host, kind):
    hosted = host(kind)
    seen = []
    hosted.rt.on_connect(lambda connection: seen.append(("on", connection.id, connection.resumed)))
    hosted.rt.on_disconnect(lambda gone: seen.append(("off", gone.connection.id, gone.code, gone.reason, gone.remaining)))
    hosted.rt.on_message(lambda message: seen.append(("message", message.connection.id, message.body)))
    linked(stack, hosted.start())
    client = stack.connect("alice")
    client.send(b"\x00audio")
    wait_until(lambda: len(seen) == 2)
    client.close(1000, "bye")
    name = client.connection_id
    wait_until(lambda: len(seen) == 3)
    assert seen == [("on", name, False), ("message", name, b"\x00audio"), ("off", name, 1000, "bye", 0)]
    assert hosted.rt.connections() == []


@BOTH
@pytest.mark.parametrize("opted_out", [False, True])
def test_abandoned_cancels(stack, host, kind, opted_out):
    hosted = host(kind, cancel_abandoned=not opted_out)
    seen, gate, left = [], threading.Event(), []
    hosted.rt.on_abandoned(lambda abandoned: (seen.append(abandoned), gate.set()))

    def plain(message):
        with hosted.rt.run(message.user) as run:
            gate.wait(20)
            run.thinking("still here")
        left.append(run.cancelled)

    async def task(message):
        async with hosted.rt.run(message.user) as run:
            while not gate.is_set():
                await asyncio.sleep(0.01)
            run.thinking("still here")
        left.append(run.cancelled)

    hosted.rt.on_message(plain if kind is sync.Runtime else task)
    bridge = linked(stack, hosted.start(), abandon_grace_s=1)
    client = stack.connect("alice")
    client.send({"type": "user_message"})
    started = client.recv_type("agent_started")
    client.close()
    wait_until(lambda: seen, what="ABANDONED")
    assert seen == [agentbridge.Abandoned("alice", (started["run_id"],))]
    outcome = "completed" if opted_out else "error"
    wait_until(lambda: bridge.metric("runs_total", outcome=outcome) == 1, what="the run's end")
    wait_stats(hosted.rt, runs_open=0, runs_abandoned=0 if opted_out else 1)
    again = stack.connect("alice")
    assert again.established["data"]["recovered"] is False
    assert left == ([False] if opted_out else [])


def burst(hosted, numbers):
    """Events as fast as they go."""
    for number in numbers:
        hosted.rt.emit("alice", "n", n=number)


def test_ten_thousand_events(stack, host):
    hosted = host(agentbridge.Runtime).start()
    bridge = linked(stack, hosted)
    client = stack.connect("alice")
    burst(hosted, range(10_000))
    events = client.recv_events(10_000, timeout=30)
    assert [event["n"] for event in events] == list(range(10_000))
    assert bridge.total("events_lost_total") == 0 and bridge.metric("events_received_total", type="other") == 10_000


def test_what_pub_drops_is_fetched_again(stack, host):
    """One event waits for the bridge at most; the bridge is stopped meanwhile, so that PUB drops."""
    hosted = host(agentbridge.Runtime, commands="@tcp://127.0.0.1:*", events="@tcp://127.0.0.1:*", events_hwm=1).start()
    wire = stack.wire(type("Ends", (), {"commands_endpoint": hosted.rt.commands_endpoints[0],
                                        "events_endpoint": hosted.rt.events_endpoints[0]}))
    bridge = linked(stack, hosted, **wire.options)
    client = stack.connect("alice")
    wire.events.pause()
    for number in range(1_000):  # more than all the buffers on the way take
        hosted.rt.emit("alice", "n", n=number, ballast="x" * 24_000)
    wire.events.resume()
    assert [event["n"] for event in client.recv_events(1_000, timeout=30)] == list(range(1_000))
    gaps, repaired, lost = counts(bridge)  # what PUB had sent after all is no repair
    assert gaps > 0 and 0 < repaired <= hosted.rt.stats.events_replayed and lost == 0


def test_what_is_no_longer_held_is_told(stack, host):
    hosted = host(agentbridge.Runtime, commands="@tcp://127.0.0.1:*", events="@tcp://127.0.0.1:*", replay_events=10).start()
    wire = stack.wire(type("Ends", (), {"commands_endpoint": hosted.rt.commands_endpoints[0],
                                        "events_endpoint": hosted.rt.events_endpoints[0]}))
    bridge = linked(stack, hosted, **wire.options)
    client = stack.connect("alice")
    burst(hosted, range(1))
    assert client.recv_event()["n"] == 0
    wire.events.reset()  # what is published before the bridge has come back nobody gets
    wire.events.refuse()
    wait_until(lambda: bridge.metric("runtime_link_up", link="events") == 0)
    burst(hosted, range(1, 31))
    wire.events.accept()
    assert client.recv_event(timeout=20)["type"] == "resync"
    assert [event["n"] for event in client.recv_events(10)] == list(range(21, 31))
    assert counts(bridge) == (1, 10, 20)
    stats = hosted.rt.stats
    assert (stats.events_lost, stats.events_replayed, stats.replay_evicted, stats.replay_events) == (20, 10, 21, 10)


@BOTH
def test_two_bridges(stack, host, kind):
    hosted = host(kind)
    here = []

    def handler(message):
        here.append(message)

    hosted.rt.on_message(handler)
    hosted.start()
    bridges = [linked(stack, hosted, bridge_id=f"b{number}") for number in (1, 2)]
    clients = [stack.connect("alice", bridge=bridge) for bridge in bridges]
    assert hosted.rt.bridges == ["b1", "b2"]
    hosted.rt.emit("alice", "both")
    for client in clients:
        client.recv_type("both")
    for number, client in enumerate(clients):
        client.send({"type": "user_message"})
        wait_until(lambda: len(here) == number + 1, what="the message")  # pylint: disable=cell-var-from-loop
        hosted.do(hosted.rt.send, here[-1].connection, {"type": "only", "at": number})
        assert client.recv_type("only")["at"] == number
    bridges[0].stop()
    clients[1].send({"type": "user_message"})
    wait_until(lambda: len(here) == 3)
    with pytest.raises(agentbridge.BridgeGone):
        wait_until(lambda: hosted.do(hosted.rt.send, here[0].connection, {"type": "x"}), what="b1 has gone")
    hosted.do(hosted.rt.kick, "alice", "everywhere that there is")
    assert clients[1].wait_closed()[0] == 4009


def test_a_bridge_that_comes_back(stack, host):
    hosted = host(agentbridge.Runtime)
    answers(hosted.rt, five)
    bridge = linked(stack, hosted.start())
    stack.connect("alice")
    known(hosted.rt, 1)
    bridge.kill()
    linked(stack, hosted)
    assert hosted.rt.connections() == []  # HELLO: what was known of its connections is void
    client = stack.connect("bob")
    client.send({"type": "user_message", "text": "1"})
    assert kinds(until_end(client)) == FIVE
    assert [one.user for one in hosted.rt.connections()] == ["bob"] and hosted.rt.bridges == ["flow-bridge"]


def test_handlers_are_bounded_and_in_order(stack, host):
    """Two at work, three waiting; what comes then is not read until one has ended."""
    hosted = host(agentbridge.Runtime, max_handlers=2, inbox_messages=3)
    begun, most, gate = [], [], threading.Event()

    async def handler(message):
        begun.append(message.json()["n"])
        most.append(hosted.rt.stats.handlers_running)
        while not gate.is_set():
            await asyncio.sleep(0.01)

    hosted.rt.on_message(handler)
    linked(stack, hosted.start())
    client = stack.connect("alice")
    for number in range(20):
        client.send({"type": "user_message", "n": number})
    client.ping()
    wait_stats(hosted.rt, handlers_running=2, inbox_messages=3, inbox_full=1)
    assert begun == [0, 1] and 0 < hosted.rt.stats.inbox_bytes < 10_000
    gate.set()
    wait_until(lambda: len(begun) == 20)
    assert begun == list(range(20)) and max(most) == 2
    wait_stats(hosted.rt, handlers_running=0, inbox_messages=0, inbox_bytes=0)


def test_a_message_without_a_handler_is_answered(stack, host):
    hosted = host(agentbridge.Runtime).start()
    linked(stack, hosted)
    client = stack.connect("alice")
    client.send({"type": "user_message", "message_id": "m1"})
    error = client.recv_type("error_message")
    assert (error["error_code"], error["details"]) == ("RUNTIME_UNAVAILABLE", {"message_id": "m1"})
    raw = stack.client("bob", subprotocols=["raw"]).open()
    raw.send("anything")
    assert raw.wait_closed() == (1013, "Try again later")
    assert hosted.rt.stats.messages_refused == 2


def test_an_unreadable_message_is_counted(stack, host, caplog):
    hosted = host(agentbridge.Runtime)
    answers(hosted.rt, five)
    linked(stack, hosted.start())
    client = stack.connect("alice")
    client.send(b"no MessagePack \xc1")
    assert kinds(until_end(client)) == ["agent_started", "agent_error"]
    wait_stats(hosted.rt, messages_unreadable=1, handlers_failed=0)
    assert "is dropped: the message is no MessagePack" in caplog.text


@BOTH
def test_the_end_cancels_or_waits(stack, host, kind, caplog):
    """With a grace the run may end by itself, and what comes meanwhile is refused; without, it is cancelled."""
    for grace_s, end in ((20, "agent_completed"), (0, "agent_error")):
        hosted = host(kind)
        gate = threading.Event()

        def plain(message):
            with hosted.rt.run(message.user) as run:  # pylint: disable=cell-var-from-loop
                while not gate.wait(0.01) and not run.cancelled:  # pylint: disable=cell-var-from-loop
                    pass

        async def task(message):
            async with hosted.rt.run(message.user):  # pylint: disable=cell-var-from-loop
                while not gate.is_set():  # pylint: disable=cell-var-from-loop
                    await asyncio.sleep(0.01)

        hosted.rt.on_message(plain if kind is sync.Runtime else task)
        bridge = linked(stack, hosted.start())
        client = stack.connect("alice", bridge=bridge)
        client.send({"type": "user_message"})
        client.recv_type("agent_started")
        stopper = threading.Thread(target=hosted.rt.stop, args=(grace_s,)) if kind is sync.Runtime else \
            threading.Thread(target=hosted.do, args=(hosted.rt.stop, grace_s))
        stopper.start()
        if grace_s:
            wait_until(lambda: hosted.rt._state == "stopping")  # pylint: disable=cell-var-from-loop
            client.send({"type": "user_message", "message_id": "late"})
            assert client.recv_type("error_message")["details"] == {"message_id": "late"}
            gate.set()
        last = client.recv_type(end)
        assert last.get("error_code") == (None if grace_s else "CANCELLED")
        stopper.join(20)
        assert not stopper.is_alive()
        bridge.stop()
    assert "is ended" not in caplog.text  # the handlers have heard of it and left by themselves


def test_a_handler_that_never_ends_does_not_hold_up_the_end(stack, host):
    """A thread cannot be interrupted; its run is ended for it."""
    hosted = host(sync.Runtime)
    gate, late = threading.Event(), []

    def handler(message):
        with hosted.rt.run(message.user) as run:
            gate.wait(60)
            try:
                run.thinking("late")
            except (agentbridge.RunEnded, agentbridge.RunCancelled) as fault:
                late.append(type(fault))

    hosted.rt.on_message(handler)
    linked(stack, hosted.start())
    client = stack.connect("alice")
    client.send({"type": "user_message"})
    client.recv_type("agent_started")
    hosted.stop(0)
    assert client.recv_type("agent_error")["error_code"] == "CANCELLED"
    gate.set()
    wait_until(lambda: late == [agentbridge.RunEnded])


def test_the_end_flushes(stack, host):
    """What was emitted at the very last arrives; the buffer is gone by then, so PUB must have sent it."""
    hosted = host(agentbridge.Runtime, linger_s=10).start()
    linked(stack, hosted)
    client = stack.connect("alice")
    burst(hosted, [-1])
    assert client.recv_event()["n"] == -1

    async def last():
        burst(hosted, range(2_000))
        await hosted.rt.stop()

    hosted.spawn(last()).result(20)
    assert [event["n"] for event in client.recv_events(2_000)] == list(range(2_000))


def test_events_are_as_deep_as_the_bridge_takes_them(stack, host):
    hosted = host(agentbridge.Runtime).start()
    bridge = linked(stack, hosted)
    client = stack.connect("alice")
    value = []
    for _ in range(62):
        value = [value]
    hosted.rt.emit("alice", "deep", v=value)
    assert client.recv_type("deep")["v"] == value
    with pytest.raises(agentbridge.EventError, match="64 deep"):
        hosted.rt.emit("alice", "deep", v=[value])
    assert bridge.total("events_dropped_total") == 0


def test_a_user_whose_connection_has_gone_is_not_there(stack, host):
    hosted = host(agentbridge.Runtime).start()
    bridge = linked(stack, hosted)
    client = stack.connect("alice")
    gone = known(hosted.rt, 1)[0]
    client.close()
    wait_until(lambda: not hosted.rt.connections())
    hosted.do(hosted.rt.send, gone, {"type": "late"})
    bridge.wait_log("COMMAND_DROPPED", command="SEND", reason="unknown_connection")
    with pytest.raises(Closed):
        client.recv()
