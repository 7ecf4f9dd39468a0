"""The demo agent on its own: its tools, and the runtime's side of the wire against plain ZeroMQ sockets."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgpack
import pytest
import zmq

AGENT = Path(__file__).resolve().parents[2] / "bindings" / "python" / "demo_agent"
sys.path[:0] = [str(AGENT), str(AGENT.parent)]
sys.dont_write_bytecode = True
import agent as agent_module  # noqa: E402
import tools  # noqa: E402
from agentbridge import Runtime  # noqa: E402

FIVE = ["agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"]
PATIENCE_MS = 10_000


# --- the tools ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("question, expression, value", [
    ("What is (17 + 4) * 3?", "(17 + 4) * 3", 63),
    ("compute 2^10 please", "2**10", 1024),
    ("7 × 6", "7 * 6", 42),
    ("-5 + 3.", "-5 + 3", -2),
    ("3 - -4", "3 - -4", 7),
    ("10 // 3 % 2", "10 // 3 % 2", 1),
    (".5 + 1", ".5 + 1", 1.5),
    ("1e3+1", "1e3+1", 1001.0),
    ("it costs 3+4), she said", "3+4", 7),
    ("2 ** -1", "2 ** -1", 0.5),
])
def test_calculator_answers(question, expression, value):
    assert tools.find_expression(question) == expression
    assert tools.calculate(expression) == value


@pytest.mark.parametrize("text", ["", "hello", "covid-19", "50% of it", "5 +", "()", "(" * 60_000 + ")" * 60_000])
def test_no_expression(text):
    assert tools.find_expression(text) is None


@pytest.mark.parametrize("expression, reason", [
    ("1/0", "division by zero"), ("1 % 0", "division by zero"), ("0 ** -1", "division by zero"),
    ("9**9**9", "exponent"), ("2**99999", "exponent"), ("99999999**1000", "too large"), ("1e308*10", "too large"),
    ("1e999", "too large"), ("10.0**999", "too large"), ("(-8)**0.5", "real"), ("2 + * 3", "not a valid expression"),
    ("(" * 99 + "1" + ")" * 98 + "+1", "not a valid"), ("1+" * 200 + "1", "longer"), ("1 << 4", "only numbers"),
    ("__import__('os')", "only numbers"), ("'a' * 9", "only numbers"), ("True + 1", "only numbers"), ("", "not a valid"),
])
def test_calculator_refuses(expression, reason):
    with pytest.raises(tools.ToolError, match=reason):
        tools.calculate(expression)


def test_large_numbers_travel_as_digits():
    assert tools.portable(2**64 - 1) == 2**64 - 1
    assert tools.portable(2**64) == "18446744073709551616"
    assert tools.portable(-(2**63)) == -(2**63)
    assert tools.portable(-(2**63) - 1) == "-9223372036854775809"


def test_word_count():
    assert tools.word_count("It's the the end.") == {"words": 4, "unique_words": 3, "characters": 17}


# --- the wire ----------------------------------------------------------------------------------------------------

class BridgeSide:
    """What the bridge is to a runtime: a DEALER for commands and a SUB for events."""

    def __init__(self, pace_ms, stderr):
        self.process = subprocess.Popen(
            ["/usr/bin/python3", str(AGENT / "demo_agent.py"), "--pace-ms", str(pace_ms),
             "--commands", "tcp://127.0.0.1:*", "--events", "tcp://127.0.0.1:*"],
            stdout=subprocess.PIPE, stderr=stderr, text=True)
        words = self.process.stdout.readline().split()
        assert words[:3] == ["demo", "agent", "ready:"]
        commands, events = (word.split("=", 1)[1] for word in words[3:])
        self.context = zmq.Context()
        self.sub = self.context.socket(zmq.SUB)
        self.sub.setsockopt(zmq.SUBSCRIBE, b"")
        self.sub.connect(events)
        self.commands_endpoint = commands
        self.dealer = self.connect()
        self.hello = self.ask("HELLO", {"protocol": 1, "bridge": "test"})
        self.await_subscription()

    def connect(self):
        dealer = self.context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.ROUTING_ID, b"test")
        dealer.connect(self.commands_endpoint)
        return dealer

    def await_subscription(self):
        """PUB says nothing about its subscribers: ask until an event comes through, then read the rest."""
        while not self.sub.poll(50):
            self.message("nobody", {"type": "user_message", "text": "1+1"})
        runs = {self.event()[1]["run_id"]}
        while self.sub.poll(300):
            runs.add(self.event()[1]["run_id"])

    def send(self, command, headers, user="", connection="", body=b""):
        frames = [command.encode(), connection.encode(), user.encode(), msgpack.packb(headers), body]
        self.dealer.send_multipart(frames)

    def ask(self, command, headers):
        self.send(command, headers)
        return self.command()

    def command(self):
        assert self.dealer.poll(PATIENCE_MS), "no command came"
        name, connection, user, headers, body = self.dealer.recv_multipart()
        return name.decode(), connection, user, msgpack.unpackb(headers), body

    def message(self, user, content, opcode="text"):
        body = msgpack.packb(content) if opcode == "binary" else json.dumps(content).encode()
        self.send("MESSAGE", {"seq": 1, "ts": time.time(), "opcode": opcode}, user, "ws_" + "0" * 12, body)

    def event(self):
        assert self.sub.poll(PATIENCE_MS), "no event came"
        user, body, meta = self.sub.recv_multipart()
        return user.decode(), msgpack.unpackb(body), msgpack.unpackb(meta)

    def runs(self, count):
        """Every event until `count` runs have ended."""
        events, ended = [], 0
        while ended < count:
            events.append(self.event())
            ended += events[-1][1]["type"] in ("agent_completed", "agent_error")
        return events

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.context.destroy(linger=0)
        return code


@pytest.fixture
def start_agent(tmp_path):
    started = []

    def start(pace_ms=0):
        with open(tmp_path / "stderr", "w") as stderr:
            started.append(BridgeSide(pace_ms, stderr))
        return started[-1]

    yield start
    for side in started:
        if side.process.poll() is None:
            assert side.close() == 0


def without_repeats(events):
    kinds = [event["type"] for _, event, _ in events]
    return [kind for at, kind in enumerate(kinds) if at == 0 or kind != kinds[at - 1]]


def test_hello_and_ping(start_agent):
    side = start_agent()
    name, connection, user, headers, body = side.hello
    assert (name, connection, user, body) == ("HELLO", b"", b"", b"")
    assert headers["protocol"] == 1 and headers["runtime"] and headers["publisher"] and isinstance(headers["seq"], int)
    assert headers["sdk"].startswith("agentbridge-python/")
    name, _, _, headers, _ = side.ask("PING", {"t": 12.5})
    assert (name, headers) == ("PONG", {"t": 12.5, "seq": headers["seq"]}) and isinstance(headers["seq"], int)


@pytest.mark.parametrize("opcode", ["text", "binary"])
@pytest.mark.parametrize("key", ["text", "content", "message"])
def test_five_events(start_agent, opcode, key):
    side = start_agent()
    side.message("alice", {"type": "user_message", key: "What is (17 + 4) * 2?", "thread_id": "t1",
                           "message_id": "m1"}, opcode)
    events = side.runs(1)
    assert list(dict.fromkeys(without_repeats(events))) == FIVE
    for user, event, _ in events:
        assert user == event["user_id"] == "alice"
        assert event["thread_id"] == "t1" and event["agent_name"] and event["run_id"].startswith("run_")
        assert abs(event["timestamp"] - time.time()) < 60
    assert len({event["event_id"] for _, event, _ in events}) == len(events)
    assert len({event["run_id"] for _, event, _ in events}) == 1
    of = {event["type"]: event for _, event, _ in events}
    assert of["agent_started"]["task_description"] == "What is (17 + 4) * 2?"
    assert of["agent_started"]["message_id"] == "m1"
    thoughts = [event for _, event, _ in events if event["type"] == "agent_thinking"]
    assert len(thoughts) > 2 and all(isinstance(e["delta"], str) and e["step_number"] >= 1 for e in thoughts)
    assert of["tool_executing"]["tool_name"] == "calculator"
    assert of["tool_executing"]["tool_args"] == {"expression": "(17 + 4) * 2"}
    assert of["tool_completed"]["execution_id"] == of["tool_executing"]["execution_id"]
    assert of["tool_completed"]["success"] is True and of["tool_completed"]["results"]["value"] == 42
    assert of["tool_completed"]["execution_time"] >= 0
    assert of["agent_completed"]["status"] == "completed" and of["agent_completed"]["duration_ms"] >= 0
    assert of["agent_completed"]["final_response"] == "(17 + 4) * 2 = 42"


def test_a_failed_calculation_is_told(start_agent):
    side = start_agent()
    side.message("alice", {"type": "user_message", "text": "1/0"})
    of = {event["type"]: event for _, event, _ in side.runs(1)}
    assert of["tool_completed"]["success"] is False
    assert "division by zero" in of["agent_completed"]["final_response"]


def test_large_result_and_words(start_agent):
    side = start_agent()
    side.message("alice", {"type": "user_message", "text": "2**100"})
    of = {event["type"]: event for _, event, _ in side.runs(1)}
    assert of["tool_completed"]["results"]["value"] == str(2**100)
    side.message("alice", {"type": "user_message", "text": "hello \ud800 you"})
    of = {event["type"]: event for _, event, _ in side.runs(1)}
    assert of["tool_executing"]["tool_name"] == "word_count"
    assert of["tool_completed"]["results"]["words"] == 2


def test_many_users_at_once_and_one_sequence(start_agent):
    side = start_agent(pace_ms=5)
    for number in range(40):
        side.message(f"user {number % 8}", {"type": "user_message", "text": f"{number} + 1000"})
    events = side.runs(40)
    assert [meta["seq"] for _, _, meta in events] == list(range(events[0][2]["seq"], events[-1][2]["seq"] + 1))
    assert {meta["publisher"] for _, _, meta in events} == {side.hello[3]["publisher"]}
    answers = [event["final_response"] for _, event, _ in events if event["type"] == "agent_completed"]
    assert sorted(answers) == sorted(f"{number} + 1000 = {number + 1000}" for number in range(40))
    by_run = {}
    for user, event, _ in events:
        by_run.setdefault((user, event["run_id"]), []).append((user, event, None))
    assert len(by_run) == 40
    assert all(list(dict.fromkeys(without_repeats(run))) == FIVE for run in by_run.values())


@pytest.mark.parametrize("named_by", ["run_id", "thread_id", None])
def test_stop_ends_the_users_own_runs_once(start_agent, named_by):
    side = start_agent(pace_ms=100)
    for user in ("alice", "bob"):
        side.message(user, {"type": "user_message", "text": "1 + 1", "thread_id": "t"})
    started = {}
    while len(started) < 2:
        user, event, _ = side.event()
        started.setdefault(user, event)
    # bob's stop for alice's run changes nothing
    side.message("bob", {"type": "stop_agent", "run_id": started["alice"]["run_id"]})
    stop = {"type": "stop_agent"}
    if named_by:
        stop[named_by] = started["alice"][named_by]
    side.message("alice", stop)
    ends = {}
    for user, event, _ in side.runs(2):
        assert user not in ends, "an event after the end of the run"
        if event["type"] == "agent_completed":
            ends[user] = event["status"]
    assert ends == {"alice": "cancelled", "bob": "completed"}
    assert not side.sub.poll(500)


def test_replay(start_agent):
    side = start_agent()
    side.message("alice", {"type": "user_message", "text": "1 + 1"})
    events = side.runs(1)
    publisher, first, last = events[0][2]["publisher"], events[0][2]["seq"], events[-1][2]["seq"]
    side.send("REPLAY", {"publisher": publisher, "from": first, "to": last})
    for user, event, meta in events:
        name, connection, owner, headers, body = side.command()
        assert (name, connection, owner.decode()) == ("EVENT", b"", user)
        assert headers == meta and msgpack.unpackb(body) == event
    assert side.ask("REPLAY", {"publisher": "another", "from": 1, "to": 3})[0::3] == \
        ("LOST", {"publisher": "another", "from": 1, "to": 3})


def test_a_fault_in_a_run_is_one_agent_error(monkeypatch):
    class Sink(Runtime):
        def _publish(self, user, event):
            events.append(event)

    def broken(_expression):
        raise RuntimeError("out of order")

    events = []
    monkeypatch.setattr(tools, "calculate", broken)
    with pytest.raises(RuntimeError):
        asyncio.run(agent_module.Agent(Sink(), 0)._answer("alice", {"text": "1 + 1"}))
    assert [event["type"] for event in events][-2:] == ["tool_completed", "agent_error"]
    assert events[-1]["error_code"] == "AGENT_FAILED" and "out of order" not in str(events)


def test_hostile_commands_are_reported_and_survived(start_agent, tmp_path):
    side = start_agent()
    packed = msgpack.packb({})
    for frames in ([b""], [b"MESSAGE"], [b"NONSENSE", b"", b"", packed, b""], [b"\xff", b"", b"", packed, b""],
                   [b"MESSAGE", b"ws_1", b"alice", b"\xc1", b"{}"], [b"MESSAGE", b"ws_1", b"alice", b"\x91\x01", b"{}"],
                   [b"MESSAGE", b"ws_1", b"\xff", packed, b"{}"], [b"MESSAGE", b"ws_1", b"alice", packed, b"{"],
                   [b"MESSAGE", b"ws_1", b"alice", packed, b"[" * 60_000], [b"MESSAGE", b"ws_1", b"alice", packed, b"[]"],
                   [b"MESSAGE", b"ws_1", b"alice", packed, b'{"type":"user_message","text":7}'],
                   [b"MESSAGE", b"ws_1", b"alice", packed, b'{"type":"user_message"}'],
                   [b"MESSAGE", b"ws_1", b"alice", packed, b'{"type":["x"]}'],
                   [b"MESSAGE", b"ws_1", b"alice", msgpack.packb({"opcode": "binary"}), b"\xdf\xff\xff\xff\xff"],
                   [b"REPLAY", b"", b"", packed, b""], [b"REPLAY", b"", b"", msgpack.packb({"publisher": [], "from": "x"}), b""],
                   [b"HELLO", b"", b"", packed, b"", b"one too many"]):
        side.dealer.send_multipart(frames)
    assert side.ask("PING", {"t": 1})[0] == "PONG"
    side.message("alice", {"type": "user_message", "text": "1 + 1"})
    assert side.runs(1)[-1][1]["final_response"] == "1 + 1 = 2"
    assert side.close() == 0
    log = (tmp_path / "stderr").read_text()
    assert log.count("dropped") == 17 and "Traceback" not in log


def test_a_bridge_that_comes_back_is_heard(start_agent):
    side = start_agent()
    side.dealer = side.connect()  # the same routing id, while the old connection is still there
    assert side.ask("PING", {"t": 2})[0] == "PONG"


def test_shutdown_ends_open_runs(start_agent):
    side = start_agent(pace_ms=5_000)
    side.message("alice", {"type": "user_message", "text": "1 + 1"})
    assert side.event()[1]["type"] == "agent_started"
    begun = time.monotonic()
    side.process.send_signal(signal.SIGTERM)
    assert side.runs(1)[-1][1]["status"] == "cancelled"
    assert side.process.wait(5) == 0 and time.monotonic() - begun < 5


def test_help_and_taken_port():
    program = ["/usr/bin/python3", str(AGENT / "demo_agent.py")]
    assert "--pace-ms" in subprocess.run(program + ["--help"], capture_output=True, text=True, check=True).stdout
    bad = subprocess.run(program + ["--commands", "nonsense"], capture_output=True, text=True, timeout=20)
    assert bad.returncode == 1 and "cannot bind nonsense" in bad.stderr and "Traceback" not in bad.stderr
