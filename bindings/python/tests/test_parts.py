"""The parts of the binding without a bridge: what a run tells, the buffer, fields, endpoints, messages."""
import asyncio
import datetime
import threading

import agentbridge
import msgpack
import pytest
import zmq
from agentbridge import (AgentError, Connection, EventError, Message, MessageError, NotRunning, RunCancelled, RunEnded,
                         StartError, endpoints)
from agentbridge.publisher import Held, Limits, Lost, Publisher, ReplayBuffer


class Sink(agentbridge.Runtime):
    """Keeps what would go out."""

    def __init__(self, **options):
        super().__init__(**options)
        self.events = []

    def _publish(self, user, event):
        self._check_event(event)
        self.events.append(dict(event))

    @property
    def kinds(self):
        """Types so far."""
        return [event["type"] for event in self.events]


class Boom(Exception):
    """A fault of the agent."""


class Pub:
    """A PUB socket that keeps."""

    def __init__(self):
        self.sent = []

    def send_multipart(self, frames, _flags):
        """As zmq's."""
        self.sent.append(frames)

    def close(self):
        """As zmq's."""


def publisher(events=10_000, size=1 << 20, max_event_bytes=1 << 20):
    """Open, on a socket that keeps."""
    made = Publisher(Limits(events, size, max_event_bytes))
    made.open(Pub())
    return made


# --- runs --------------------------------------------------------------------------------------------------------

def test_what_a_run_tells():
    rt = Sink(name="sage")
    with rt.run("alice", thread_id="t1", task_description="Why?", message_id="m1") as run:
        run.thinking("Be", step_number=1)
        run.thinking(reasoning="Because.")
        with run.tool("search", {"q": "why"}, cost=2) as tool:
            tool.result({"hits": 3})
        run.chunk("So ")
        run.progress("halfway", percent=50)
        run.emit("mood", good=True)
        run.complete("So it is.", cost=3)
    fixed = {"user_id": "alice", "thread_id": "t1", "run_id": run.run_id, "agent_name": "sage"}
    executed = rt.events[3]["execution_id"]
    expected = [
        ("agent_started", {"task_description": "Why?", "message_id": "m1"}),
        ("agent_thinking", {"delta": "Be", "step_number": 1}), ("agent_thinking", {"reasoning": "Because."}),
        ("tool_executing", {"tool_name": "search", "tool_args": {"q": "why"}, "execution_id": executed, "cost": 2}),
        ("tool_completed", {"tool_name": "search", "results": {"hits": 3}, "success": True, "execution_id": executed}),
        ("stream_chunk", {"delta": "So "}), ("progress_update", {"message": "halfway", "percent": 50}),
        ("mood", {"good": True}), ("agent_completed", {"status": "completed", "final_response": "So it is.", "cost": 3})]
    for event in rt.events:
        assert len(event.pop("event_id")) == 32 and event.pop("timestamp") > 1.6e9
    assert rt.events[4].pop("execution_time") >= 0 and rt.events[8].pop("duration_ms") >= 0
    assert rt.events == [{"type": kind, **fixed, **fields} for kind, fields in expected]
    assert rt.runs == [] and run.ended


@pytest.mark.parametrize("fault, expected", [
    (None, ("agent_completed", {"status": "completed", "final_response": ""})),
    (Boom("secret"), ("agent_error", {"error_code": "AGENT_FAILED", "error_message": "The agent failed on this message."})),
    (AgentError("BUSY", "Later."), ("agent_error", {"error_code": "BUSY", "error_message": "Later."})),
    (RunCancelled("x"), ("agent_error", {"error_code": "CANCELLED", "error_message": "The run was cancelled."})),
    (KeyboardInterrupt(), ("agent_error", {"error_code": "CANCELLED", "error_message": "The run was cancelled."})),
])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_one_end_however_the_block_is_left(fault, expected, asynchronous):
    rt = Sink()

    def body():
        if fault:
            raise fault

    def plain():
        with rt.run("alice"):
            body()

    async def task():
        async with rt.run("alice"):
            body()

    def leave():
        if asynchronous:
            asyncio.run(task())
        else:
            plain()

    if fault is None:
        leave()
    else:
        with pytest.raises(type(fault)):
            leave()
    assert rt.kinds == ["agent_started", expected[0]]
    assert expected[1].items() <= rt.events[1].items()


def test_an_end_that_was_told_stands():
    rt = Sink()
    with pytest.raises(Boom):
        with rt.run("alice") as run:
            run.fail("FULL", "No room.")
            raise Boom
    assert rt.kinds == ["agent_started", "agent_error"] and rt.events[1]["error_code"] == "FULL"
    for late in (lambda: run.thinking("x"), run.complete, lambda: run.fail("A", "b"), lambda: run.tool("t").__enter__(),
                 run.__enter__):
        with pytest.raises(RunEnded):
            late()
    run.cancel()
    assert len(rt.events) == 2


def test_a_run_is_entered_first():
    run = Sink().run("alice")
    with pytest.raises(RunEnded, match="async with"):
        run.thinking("x")


def test_one_end_when_threads_race():
    rt = Sink()
    with rt.run("alice") as run:
        gate, refused = threading.Barrier(8), []

        def end():
            gate.wait()
            try:
                run.complete("me")
            except RunEnded:
                refused.append(1)

        threads = [threading.Thread(target=end) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert rt.kinds == ["agent_started", "agent_completed"] and len(refused) == 7


def test_cancel_interrupts_the_task_of_a_run_and_nothing_more():
    async def main():
        rt = Sink()
        after = []

        async def work():
            try:
                async with rt.run("alice") as run:
                    begun.set_result(run)
                    async with run.tool("slow"):
                        await asyncio.sleep(60)
            except RunCancelled as fault:
                after.append(str(fault))
            await asyncio.sleep(0)  # the task itself goes on
            after.append("still here")

        begun = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(work())
        run = await begun
        await asyncio.get_running_loop().run_in_executor(None, run.cancel, "Enough.")
        run.cancel("Twice.")
        await asyncio.wait_for(task, 10)
        return rt, after

    rt, after = asyncio.run(main())
    assert after == ["Enough.", "still here"]
    assert rt.kinds == ["agent_started", "tool_executing", "tool_completed", "agent_error"]
    assert rt.events[2]["success"] is False
    assert (rt.events[3]["error_code"], rt.events[3]["error_message"]) == ("CANCELLED", "Enough.")


def test_cancellation_of_the_task_from_outside_stays_one():
    async def main():
        rt = Sink()

        async def work():
            async with rt.run("alice"):
                await asyncio.sleep(60)

        task = asyncio.ensure_future(work())
        while not rt.runs:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return rt

    rt = asyncio.run(main())
    assert rt.kinds == ["agent_started", "agent_error"] and rt.events[1]["error_code"] == "CANCELLED"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_body_that_cancels_its_own_run(asynchronous):
    rt = Sink()

    async def main():
        async with rt.run("alice") as run:
            run.cancel()

    def plain():
        with rt.run("alice") as run:
            run.cancel()

    with pytest.raises(RunCancelled):
        asyncio.run(main()) if asynchronous else plain()  # pylint: disable=expression-not-assigned
    assert rt.kinds == ["agent_started", "agent_error"] and rt.events[1]["error_code"] == "CANCELLED"


def test_a_thread_hears_of_the_cancellation_at_its_next_event():
    rt = Sink()
    with pytest.raises(RunCancelled):
        with rt.run("alice") as run:
            assert not run.cancelled
            run.cancel("Gone.")
            assert run.cancelled
            run.thinking("never sent")
    assert rt.kinds == ["agent_started", "agent_error"] and rt.events[1]["error_message"] == "Gone."


@pytest.mark.parametrize("fault, results", [
    (Boom("secret"), {"error": "The tool failed."}), (AgentError("E", "No such city."), {"error": "No such city."}),
    (RunCancelled("x"), {"error": "The tool was cancelled."})])
def test_a_tool_whose_body_raises(fault, results):
    rt = Sink()
    with pytest.raises(type(fault)):
        with rt.run("alice") as run, run.tool("weather") as tool:
            tool.result("sunny")
            raise fault
    assert rt.kinds == ["agent_started", "tool_executing", "tool_completed", "agent_error"]
    assert (rt.events[2]["success"], rt.events[2]["results"]) == (False, results)


def test_tools_end_once_and_before_their_run():
    rt = Sink()
    with rt.run("alice") as run:
        with run.tool("one") as failed:
            failed.error("No.")
        with run.tool("two"):
            run.complete("Enough.")
    assert rt.kinds == ["agent_started", "tool_executing", "tool_completed", "tool_executing", "tool_completed",
                        "agent_completed"]
    assert [rt.events[at]["success"] for at in (2, 4)] == [False, False] and rt.events[2]["results"] == {"error": "No."}


def test_results_that_cannot_be_sent_still_end_the_tool():
    rt = Sink()
    with pytest.raises(EventError, match="results"):
        with rt.run("alice") as run, run.tool("odd") as tool:
            tool.result(object())
    assert rt.kinds == ["agent_started", "tool_executing", "tool_completed", "agent_error"]
    assert rt.events[2]["success"] is False


def test_an_end_that_cannot_be_sent_is_not_one():
    rt = Sink()
    with rt.run("alice") as run:
        with pytest.raises(EventError, match="final_response"):
            run.complete(object())
        run.complete("better")
    assert rt.kinds == ["agent_started", "agent_completed"] and rt.events[1]["final_response"] == "better"


def test_a_run_id_is_open_once():
    rt = Sink()
    with rt.run("alice", run_id="r"):
        with pytest.raises(EventError, match="open already"):
            rt.run("alice", run_id="r").__enter__()
    with rt.run("alice", run_id="r"):
        pass
    assert rt.kinds == ["agent_started", "agent_completed"] * 2


# --- fields ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["type", "user_id", "event_id", "timestamp", "_offset", "_x"])
def test_reserved_names_are_refused(name):
    rt = Sink()
    with rt.run("alice") as run:
        for refused in (lambda: run.emit("x", **{name: 1}), lambda: rt.emit("alice", "x", **{name: 1}),
                        lambda: rt.run("alice", **{name: 1}), lambda: run.thinking("x", **{name: 1}),
                        lambda: run.tool("x", **{name: 1}), lambda: run.complete("x", **{name: 1}),
                        lambda: run.fail("x", "y", **{name: 1})):
            with pytest.raises(EventError, match=f"'{name}'.*reserved"):
                refused()
    assert rt.kinds == ["agent_started", "agent_completed"]


@pytest.mark.parametrize("name", ["run_id", "thread_id", "agent_name"])
def test_what_belongs_to_the_run_is_not_a_field(name):
    rt = Sink()
    with rt.run("alice") as run, pytest.raises(EventError, match=name):
        run.emit("x", **{name: "y"})


@pytest.mark.parametrize("kind", ["agent_started", "agent_completed", "agent_error", "tool_executing", "tool_completed"])
def test_what_has_a_verb_of_its_own_is_told_by_it(kind):
    rt = Sink()
    with rt.run("alice") as run, pytest.raises(EventError, match="is told by"):
        run.emit(kind)


def deep(levels):
    """Lists within each other."""
    return [deep(levels - 1)] if levels > 1 else []


@pytest.mark.parametrize("value, word", [
    (object(), "field 'v' cannot be packed"), (1 << 64, "field 'v'"), ({1, 2}, "field 'v'"), (deep(64), "64 deep"),
    (datetime.datetime(2026, 1, 1), "field 'v'"), ("x" * 1_000, "max_event_bytes")])
def test_values_that_cannot_go_are_named(value, word):
    made = publisher(max_event_bytes=500)
    with pytest.raises(EventError, match=word):
        made.publish("alice", {"type": "x", "v": value})
    assert made.seq == 0 and len(made.buffer) == 0
    assert made.publish("alice", {"type": "x", "v": deep(63)}) == 1


def test_half_a_surrogate_pair_is_no_fault():
    body = publisher().check({"type": "x", "v": "a\ud800b", "when": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)})
    assert msgpack.unpackb(body) == {"type": "x", "v": "a?b", "when": msgpack.Timestamp(1767225600)}


@pytest.mark.parametrize("user", ["", "x" * 129, "a\nb", "a\x85", "\ud800", "é" * 65, 7, None])
def test_bad_users(user):
    with pytest.raises(EventError, match="user id"):
        Sink().run(user)


@pytest.mark.parametrize("kind", ["", None, 7])
def test_bad_types(kind):
    with pytest.raises(EventError, match="type"):
        Sink().emit("alice", kind)


def test_thinking_is_either_a_piece_or_a_whole():
    with Sink().run("alice") as run:
        for wrong in (run.thinking, lambda: run.thinking("a", reasoning="b")):
            with pytest.raises(EventError, match="either"):
                wrong()


# --- the buffer --------------------------------------------------------------------------------------------------

def entry(number):
    """10 bytes with its user."""
    return Held(number, "alice", b"x" * 5)


@pytest.mark.parametrize("limits", [(3, 1_000), (1_000, 30), (1_000, 39)])
def test_the_buffer_keeps_the_latest(limits):
    buffer = ReplayBuffer(*limits)
    for number in range(1, 11):
        buffer.add(entry(number))
    assert [buffer.get(number) for number in range(1, 12)] == [None] * 7 + [entry(8), entry(9), entry(10), None]
    assert (len(buffer), buffer.bytes, buffer.evicted, buffer.oldest) == (3, 30, 7, 8)


@pytest.mark.parametrize("limits", [(0, 1_000), (1_000, 0), (10, 9)])
def test_a_buffer_that_holds_nothing(limits):
    buffer = ReplayBuffer(*limits)
    buffer.add(entry(1))
    assert (len(buffer), buffer.bytes, buffer.evicted, buffer.oldest) == (0, 0, 1, 2)


def test_replay_says_what_is_held_and_what_is_lost():
    made = publisher(events=4)
    for number in range(1, 11):
        assert made.publish("alice", {"type": "n"}) == number

    def answer(first, last):
        return [one if isinstance(one, Lost) else one.seq for one in made.replay(first, last)]

    assert answer(5, 8) == [Lost(5, 6), 7, 8]
    assert answer(1, 2) == [Lost(1, 2)]
    assert answer(9, 12) == [9, 10]
    assert answer(11, 12) == []
    assert answer(1, 99) == [Lost(1, 6), 7, 8, 9, 10]
    replaying = made.replay(7, 10)
    assert next(replaying).seq == 7
    made.publish("alice", {"type": "n"})
    made.publish("alice", {"type": "n"})  # 7 and 8 have gone meanwhile
    assert [one if isinstance(one, Lost) else one.seq for one in replaying] == [Lost(8, 8), 9, 10]


def test_threads_publish_in_the_order_of_their_numbers():
    made = publisher()

    def work():
        for _ in range(500):
            made.publish("alice", {"type": "n"})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent = [msgpack.unpackb(frames[2]) for frames in made._socket.sent]
    assert sent == [{"publisher": made.name, "seq": number} for number in range(1, 2_001)]


def test_every_publisher_has_a_name_of_its_own():
    assert len({publisher().name for _ in range(100)}) == 100


# --- the rest ----------------------------------------------------------------------------------------------------

def test_names_that_are_taken_in_what_is_sent_to_one_connection():
    async def main():
        connection = Connection("ws_000000000000", "alice", b"b")
        async with agentbridge.Runtime(commands="@tcp://127.0.0.1:*", events="@tcp://127.0.0.1:*") as rt:
            for taken in ({"event_id": "1"}, {"timestamp": 1.0}, {"user_id": "alice"}, {"_offset": 1}, {"connection_id": "ws_1"}):
                with pytest.raises(agentbridge.EventError, match=next(iter(taken))):
                    await rt.send(connection, {"type": "x", **taken})

    asyncio.run(main())


def test_before_the_start_and_after_the_end():
    async def main():
        rt = agentbridge.Runtime(commands="@tcp://127.0.0.1:*", events="@tcp://127.0.0.1:*")
        connection = Connection("ws_000000000000", "alice", b"b")
        for early in (rt.serve(), rt.send(connection, {"type": "x"}), rt.kick("alice")):
            with pytest.raises(NotRunning):
                await early
        with pytest.raises(NotRunning, match="not started"):
            rt.emit("alice", "x")
        await rt.start()
        with pytest.raises(StartError, match="once"):
            await rt.start()
        with pytest.raises(agentbridge.BridgeGone):
            await rt.send(connection, {"type": "x"})
        await rt.stop()
        await rt.stop()
        with pytest.raises(NotRunning, match="stopped"):
            rt.emit("alice", "x")
        with pytest.raises(NotRunning, match="stopped"):
            await rt.send(connection, {"type": "x"})

    asyncio.run(main())


@pytest.mark.parametrize("given, word", [
    ({"commands": "nonsense"}, "cannot bind nonsense"), ({"commands": ""}, "list with commas"),
    ({"commands": "@tcp://127.0.0.1:*,,"}, "list with commas"), ({"commands": "@tcp://0.0.0.0:5555"}, "wants curve"),
    ({"commands": "@tcp://127.0.0.1:*", "events": ">tcp://agents.example:5556"}, "wants curve")])
def test_endpoints_that_cannot_be(given, word):
    async def main():
        await agentbridge.Runtime(**given).start()

    with pytest.raises(StartError, match=word):
        asyncio.run(main())
    with pytest.raises(StartError, match=word):
        agentbridge.sync.Runtime(**given).start()


def test_a_taken_endpoint_is_named():
    with zmq.Context() as context, context.socket(zmq.ROUTER) as other:
        other.bind("tcp://127.0.0.1:*")
        taken = other.getsockopt_string(zmq.LAST_ENDPOINT)
        with pytest.raises(StartError, match=f"cannot bind {taken}: Address already in use"):
            agentbridge.sync.Runtime(commands=f"@{taken}").start()


@pytest.mark.parametrize("option", ["max_handlers", "inbox_messages", "inbox_bytes", "events_hwm", "commands_hwm"])
def test_no_limit_is_no_limit(option):
    with pytest.raises(StartError, match=option):
        agentbridge.Runtime(**{option: 0})


@pytest.mark.parametrize("address, local", [
    ("tcp://127.0.0.1:5555", True), ("tcp://127.9.9.9:5555", True), ("tcp://[::1]:5555", True), ("tcp://localhost:5555", True),
    ("ipc:///run/a", True), ("inproc://a", True), ("tcp://*:5555", False), ("tcp://0.0.0.0:5555", False),
    ("tcp://10.0.0.1:5555", False), ("tcp://[::]:5555", False), ("udp://127.0.0.1:1", False)])
def test_what_is_local(address, local):
    assert endpoints.is_local(address) is local


def test_a_second_handler_is_refused():
    rt = Sink()
    rt.on_message(print)
    with pytest.raises(StartError, match="on_message"):
        rt.on_message(print)


@pytest.mark.parametrize("opcode, body", [
    ("text", b"{"), ("text", b"[1]"), ("text", b"[" * 60_000), ("text", b""), ("binary", b"\xc1"), ("binary", b"\x01"),
    ("binary", b"\x80\x80"), ("binary", b"\xdf\xff\xff\xff\xff"), ("binary", b"\x81\x90\x01")])
def test_messages_that_are_no_object(opcode, body):
    with pytest.raises(MessageError):
        Message(Connection("ws_0", "alice", b"b"), 1, 0.0, opcode, body).json()


def test_messages_that_are():
    connection = Connection("ws_0", "alice", b"b")
    assert Message(connection, 1, 0.0, "text", '{"a":"é"}'.encode()).json() == {"a": "é"}
    assert Message(connection, 1, 0.0, "binary", msgpack.packb({"a": b"x"})).json() == {"a": b"x"}
    assert Message(connection, 1, 0.0, "text", b"hi").text == "hi" and Message(connection, 1, 0.0, "text", b"").user == "alice"
    with pytest.raises(MessageError):
        Message(connection, 1, 0.0, "binary", b"\xff").text  # pylint: disable=expression-not-assigned
