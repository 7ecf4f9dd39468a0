"""`agentbridge emit` and `agentbridge drain`, and what all tools share."""
import json
import re
import socket
import threading

import msgpack
import pytest
import zmq
from harness import run_program, scaled
from harness.tool import Tool
from ports import free_port


@pytest.fixture(name="open_bridge")
def open_bridge_fixture(stack, runtime):
    """A bridge that binds an event endpoint beside the one that it connects to; `emit_options` name it."""
    endpoint = f"@tcp://127.0.0.1:{free_port()}"
    bridge = stack.bridge(runtime, runtime_events=runtime.options["runtime_events"] + "," + endpoint)
    bridge.emit_options = {"runtime_events": bridge.options["runtime_events"]}
    return bridge


# emit


def test_emit(open_bridge, stack):
    """An event reaches the user's client, with typed fields and what the tool makes itself."""
    client = stack.connect("alice")
    result = run_program("emit", "--user", "alice", "--type", "tool_completed", "--run", "r1", "--thread", "t1", "--agent", "me",
                         "--field", "n=5", "--field", "text=five", "--field", 'quoted="5"', "--field", "list=[1,2.5,null]",
                         "--field", "empty=", "--field", "equals=a=b", **open_bridge.emit_options)
    assert result.returncode == 0 and not result.stderr, result
    event = client.recv_type("tool_completed")
    event_id = event.pop("event_id")
    assert re.fullmatch("[0-9a-f]{16}", event_id) and event.pop("timestamp") > 1.7e9
    assert event == {"type": "tool_completed", "user_id": "alice", "run_id": "r1", "thread_id": "t1", "agent_name": "me",
                     "n": 5, "text": "five", "quoted": "5", "list": [1, 2.5, None], "empty": "", "equals": "a=b", "_offset": 1}
    assert result.stdout == f"sent 1 of 1: tool_completed to alice, event_id {event_id}\n"
    assert open_bridge.metric("events_received_total", type="tool_completed") == 1


def test_emit_many(open_bridge, stack):
    """--count: all arrive, in order and numbered; --json prints what was sent."""
    client = stack.connect("alice")
    result = run_program("emit", "--user", "alice", "--type", "stream_chunk", "--count", "500", "--json", **open_bridge.emit_options)
    assert result.returncode == 0, result
    sent = [json.loads(line) for line in result.stdout.splitlines()]
    got = [client.recv_type("stream_chunk") for _ in range(500)]
    assert [event["event_id"] for event in got] == [event["event_id"] for event in sent]
    assert len({event["event_id"] for event in sent}) == 500
    assert open_bridge.total("event_gaps_total") == 0 and open_bridge.total("events_lost_total") == 0


def test_emit_by_file_and_variable(open_bridge, stack, tmp_path):
    """The endpoint comes from the configuration of the bridge, wherever that stands; faults of other options do not count."""
    (tmp_path / "bridge.zpl").write_text(f'runtime-events = "{open_bridge.options["runtime_events"]}"\njwks-file = "/not/there"\n')
    client = stack.connect("alice")
    by_file = run_program("emit", "--user", "alice", "--type", "x", "--config", str(tmp_path / "bridge.zpl"))
    assert by_file.returncode == 0, by_file
    client.recv_type("x")
    by_variable = run_program("emit", "--user", "alice", "--type", "y", env={
        "AGENTBRIDGE_RUNTIME_EVENTS": open_bridge.options["runtime_events"], "AGENTBRIDGE_TOKEN": "of connect"})
    assert by_variable.returncode == 0, by_variable
    client.recv_type("y")
    endpoint = open_bridge.options["runtime_events"].split("@")[1]
    assert run_program("emit", "--user", "alice", "--type", "z", "--connect", endpoint).returncode == 0
    client.recv_type("z")


def test_emit_wire():
    """What goes out: user, event, meta with a publisher of its own and a count from 1; the subscription is waited for."""
    port = free_port()
    with zmq.Context() as context, context.socket(zmq.SUB) as sub:
        sub.linger = 0
        tool = Tool("emit", "--user", "ålice", "--type", "x", "--count", "2", "--connect", f"tcp://127.0.0.1:{port}")
        try:
            sub.bind(f"tcp://127.0.0.1:{port}")
            sub.subscribe(b"")
            frames = [sub.recv_multipart() if sub.poll(scaled(10000)) else None for _ in range(2)]
            assert tool.wait_exit() == 0
        finally:
            tool.finish()
    metas = [msgpack.unpackb(meta) for _, _, meta in frames]
    assert {user.decode() for user, _, _ in frames} == {"ålice"}
    assert [meta["seq"] for meta in metas] == [1, 2] and metas[0]["publisher"] == metas[1]["publisher"]
    assert re.fullmatch("emit_[0-9a-f]{16}", metas[0]["publisher"])
    assert list(msgpack.unpackb(frames[0][1])) == ["type", "user_id", "event_id", "timestamp"]


def test_emit_without_a_bridge():
    """Nobody there: 1, within the time given, and what to look at."""
    result = run_program("emit", "--user", "a", "--type", "x", "--wait-ms", "100", runtime_events=f"@tcp://127.0.0.1:{free_port()}")
    assert result.returncode == 1 and "no bridge has subscribed at tcp://127.0.0.1:" in result.stderr
    assert result.stderr.count("\n") == 1


def test_emit_curve(stack, runtime, tmp_path):
    """Where the endpoint speaks CURVE the runtime's key is needed, which is said."""
    certificates = {}
    for name in ("bridge", "runtime"):
        public, secret = zmq.curve_keypair()
        certificates[name] = f'curve\n    public-key = "{public.decode()}"\n    secret-key = "{secret.decode()}"\n'
        (tmp_path / name).write_text(certificates[name])
        (tmp_path / f"{name}.public").write_text(re.sub(" *secret.*\n", "", certificates[name]))
    options = {"runtime_events": f"@tcp://127.0.0.1:{free_port()}", "curve_secret_file": tmp_path / "bridge",
               "curve_runtime_file": tmp_path / "runtime.public"}
    bridge = stack.bridge(**{**options, "runtime_wait_ms": 60000})
    assert not bridge.logs("LINK_REFUSED")
    without = run_program("emit", "--user", "a", "--type", "x", **options)
    assert without.returncode == 2 and "--curve-file" in without.stderr
    given = run_program("emit", "--user", "a", "--type", "x", "--curve-file", str(tmp_path / "runtime"), **options)
    assert given.returncode == 0, given
    bridge.wait_metric("events_received_total", 1, type="other")


GOOD = ["--user", "a", "--type", "x", "--connect", "tcp://127.0.0.1:9"]
FAULTS = {
    "no-user": (["--type", "x"], "--user must be given"), "no-type": (["--user", "a"], "--type must be given"),
    "bad-user": (["--user", "a\x01", "--type", "x"], "control characters"),
    "no-endpoint": (["--user", "a", "--type", "x"], "have the bridge bind one"),
    "any-port": (["--user", "a", "--type", "x", "--runtime-events", "@tcp://127.0.0.1:*"], "give --connect"),
    "reserved": ([*GOOD, "--field", "user_id=b"], "give --user"), "made": ([*GOOD, "--field", "timestamp=1"], "made for each"),
    "bridge's": ([*GOOD, "--field", "_offset=1"], "begin with _"), "no-equals": ([*GOOD, "--field", "x"], "not NAME=VALUE"),
    "twice": ([*GOOD, "--field", "x=1", "--field", "x=2"], "given twice"), "utf8": ([*GOOD, "--field", b"x=\xff"], "UTF-8"),
    "connection": ([*GOOD, "--field", "connection_id=5"], "connection_id"), "count": ([*GOOD, "--count", "0"], "1 to 10000000"),
    "large": ([*GOOD, "--field", "x=" + "y" * 100, "--max-event-bytes", "64"], "max-event-bytes (64 bytes)"),
    "deep": ([*GOOD, "--field", "x=" + "[" * 70 + "]" * 70], "deeper"),
    "unknown": ([*GOOD, "--frobnicate", "1"], "option frobnicate"), "no-value": ([*GOOD, "--field"], "--field wants a value"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_emit_wrong_arguments(case):
    """2 and one line that says what to do."""
    words, text = FAULTS[case]
    result = run_program("emit", *words)
    assert result.returncode == 2 and not result.stdout, result
    assert text in result.stderr and result.stderr.count("\n") == 1, result.stderr


# drain


def test_drain(bridge, runtime, stack):
    """Returns when the last run has ended and its client is gone; the bridge lives on, not ready."""
    client = stack.connect("alice")
    runtime.emit("alice", {"type": "agent_started", "run_id": "r"})
    client.recv_type("agent_started")
    tool = Tool("drain", "--admin", f"127.0.0.1:{bridge.ports['admin']}")
    try:
        client.recv_type("bridge_draining")
        assert tool.process.poll() is None and not tool.out
        runtime.emit("alice", {"type": "agent_completed", "run_id": "r"})
        assert client.wait_closed(20)[0] == 1012
        assert tool.wait_exit() == 0 and tool.out == ["drained"]
    finally:
        tool.finish()
    assert bridge.http("GET", "/readyz").status == 503 and bridge.http("GET", "/livez").status == 200
    again = run_program("drain", "--admin", f"http://127.0.0.1:{bridge.ports['admin']}/")
    assert again.returncode == 0 and again.stdout == "drained\n"


def test_drain_finds_the_port(stack, runtime):
    """Without --admin: that of admin-listen, by loopback; of the bridge's configuration nothing else has to be right."""
    port = free_port()
    stack.bridge(runtime, admin_listen=f"0.0.0.0:{port}")
    result = run_program("drain", env={"AGENTBRIDGE_ADMIN_LISTEN": f"0.0.0.0:{port}", "AGENTBRIDGE_JWT_SECRET_FILE": "/not/there"})
    assert result.returncode == 0 and result.stdout == "drained\n" and not result.stderr, result


def test_drain_in_time(bridge, runtime, stack):
    """Not done within --timeout-s: 1, and the drain goes on."""
    client = stack.connect("alice")
    runtime.emit("alice", {"type": "agent_started", "run_id": "r"})
    client.recv_type("agent_started")
    result = run_program("drain", "--admin", f"127.0.0.1:{bridge.ports['admin']}", "--timeout-s", "1")
    assert result.returncode == 1 and "not drained within 1 s" in result.stderr
    assert bridge.wait_log("DRAIN_STARTED")
    runtime.emit("alice", {"type": "agent_completed", "run_id": "r"})
    assert client.wait_closed(20)[0] == 1012


class Admin(threading.Thread):
    """A server that notes one request and answers it as it is told."""

    def __init__(self, answer):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.answer = answer
        self.request = ""
        self.start()

    def run(self):
        peer = self.listener.accept()[0]
        while "\r\n\r\n" not in self.request:
            self.request += peer.recv(65536).decode()
        peer.sendall(self.answer.encode())
        peer.close()


def test_drain_key(tmp_path):
    """The key goes along, from a file or the configuration; a refusal says what is needed."""
    (tmp_path / "key").write_text("of the file\n")
    for words, env, key in ((["--drain-key-file", str(tmp_path / "key")], {"AGENTBRIDGE_DRAIN_KEY": "other"}, "of the file"),
                            ([], {"AGENTBRIDGE_DRAIN_KEY": "of the configuration"}, "of the configuration"), ([], {}, None)):
        admin = Admin("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        result = run_program("drain", "--admin", f"127.0.0.1:{admin.listener.getsockname()[1]}", *words, env=env)
        assert result.returncode == 1 and "give --drain-key-file" in result.stderr
        assert re.findall(r"X-Drain-Key: (.*)\r\n", admin.request) == ([key] if key else [])
        assert admin.request.startswith("POST /drain HTTP/1.1\r\n")
        admin.listener.close()


def test_drain_faults(bridge, tmp_path):
    """Not an admin port, nobody there, wrong arguments: what to do in one line."""
    public = run_program("drain", "--admin", f"127.0.0.1:{bridge.ports['public']}")
    assert public.returncode == 1 and "is this the admin port" in public.stderr
    nobody = run_program("drain", "--admin", f"127.0.0.1:{free_port()}")
    assert nobody.returncode == 1 and "does the bridge run" in nobody.stderr
    for words, text in ((["--admin", "nonsense"], "is not HOST:PORT"), (["--timeout-s", "0"], "1 to 7200"),
                        (["--drain-key-file", str(tmp_path / "none")], "cannot be read"),
                        (["--admin-listen", "127.0.0.1:0"], "give --admin")):
        result = run_program("drain", *words)
        assert result.returncode == 2 and text in result.stderr and result.stderr.count("\n") == 1, result


# all of them


@pytest.mark.parametrize("tool", ["connect", "emit", "drain"])
def test_help(tool):
    """--help, also behind other arguments, names every argument and the exit codes; needs nothing else."""
    result = run_program(tool, "--help")
    assert result.returncode == 0 and not result.stderr
    assert result.stdout.startswith(f"Usage: agentbridge {tool} ") and "Exit code: 0" in result.stdout
    assert run_program(tool, "--frobnicate", "1", "--help").stdout == result.stdout
    assert f"\n  {tool} " in run_program("--help").stdout


def test_variable_of_a_tool_does_not_hurt(bridge):
    """AGENTBRIDGE_TOKEN is connect's; the bridge, which knows every other AGENTBRIDGE_ variable, does not mind it."""
    assert bridge.process.poll() is None
    result = run_program("check-config", environment="test", jwt_secret="s" * 40, env={"AGENTBRIDGE_TOKEN": "x"})
    assert result.returncode == 0, result
