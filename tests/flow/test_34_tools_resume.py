"""`agentbridge connect --resume`: nothing twice, nothing left out, and a word when something is lost."""
import json
import re

import pytest
from harness import wait_until
from harness.tool import Tool
from ports import free_port


@pytest.fixture(name="start")
def start_fixture(stack):
    """Starts the tool with --json against a port, with a token of alice."""
    tools = []

    def start(port, *words, **options):
        tools.append(Tool("connect", "--json", "--url", f"ws://127.0.0.1:{port}/ws", *words,
                          env={"AGENTBRIDGE_TOKEN": stack.keys.token("alice")}, **options))
        return tools[-1]
    yield start
    for tool in tools:
        tool.finish()


@pytest.fixture(name="emit")
def emit_fixture(runtime):
    """Numbered events for alice."""
    numbers = iter(range(1, 1000))

    def emit(count):
        for number in [next(numbers) for _ in range(count)]:
            runtime.emit("alice", {"type": "progress_update", "n": number})
    return emit


def numbers_of(tool):
    """What the events that it has printed say."""
    return [message["n"] for message in tool.messages() if message["type"] == "progress_update"]


def wait_numbers(tool, count):
    """Exactly 1 to `count`, each once and in order."""
    wait_until(lambda: len(numbers_of(tool)) >= count, what=f"{count} events; {tool.tail()}")
    assert numbers_of(tool) == list(range(1, count + 1))


def close(runtime, code, since=0):
    """Have the runtime close the connection that it was told of last."""
    connection = runtime.wait_commands("CONNECT", 1, since=since)[-1]
    runtime.send("CLOSE", connection.connection_id, "alice", {"code": code})


def test_comes_back(bridge, runtime, start, emit):
    """After closes that are no end: every event once, in order; after one that is, no more."""
    tool = start(bridge.ports["public"], "--resume", "--follow")
    tool.wait_out("connection_established")
    count = 0
    for code in (4008, 1001, 1011, 3999):
        emit(5)
        wait_numbers(tool, count + 5)
        mark = runtime.mark()
        close(runtime, code)
        tool.wait_err(f"closed with {code}")
        emit(5)
        count += 10
        wait_numbers(tool, count)
        runtime.wait_commands("CONNECT", 1, since=mark)
    recovered = [m["data"]["recovered"] for m in tool.messages() if m["type"] == "connection_established"]
    assert recovered == [False, True, True, True, True]
    for code, wait in ((4008, "0.0"), (1001, "0.0")):
        at = next(i for i, line in enumerate(tool.err) if f"closed with {code}" in line)
        assert tool.err[at + 1] == f"agentbridge connect: coming back in {wait} s"
    runtime.send("KICK", "", "alice", {"reason": "out"})
    assert tool.wait_exit() == 1
    assert tool.err[-1] == "agentbridge connect: closed with 4009: out"


def test_lines_wait_for_the_way_back(stack, start):
    """Lines that come while there is no connection are sent when there is one again."""
    runtime = stack.runtime()
    port = free_port()
    bridge = stack.bridge(runtime, listen=f"127.0.0.1:{port}")
    tool = start(port, "--resume", "--follow")
    tool.wait_out("connection_established")
    bridge.kill()
    tool.wait_err("coming back")
    tool.write("late\n")
    stack.bridge(runtime, listen=f"127.0.0.1:{port}")
    assert json.loads(runtime.wait_command("MESSAGE", timeout=20).body)["text"] == "late"
    tool.wait_err("events may be lost (unknown_epoch)")
    tool.interrupt()
    assert tool.wait_exit() == 0


def test_drain_says_when(bridge, runtime, start):
    """After a drain it waits as long as the bridge has said."""
    tool = start(bridge.ports["public"], "--resume")
    tool.wait_out("connection_established")
    assert bridge.http("POST", "/drain").status == 200
    told = json.loads(tool.wait_out("bridge_draining"))["data"]["reconnect_after_ms"]
    assert tool.wait_err("coming back in") == f"agentbridge connect: coming back in {told / 1000:.1f} s"
    tool.interrupt()
    assert tool.wait_exit() == 0 and runtime.wait_command("DISCONNECT").headers["code"] == 1012


def test_cursor_file(bridge, runtime, start, emit, tmp_path):
    """The place is kept between two calls, behind the last event that was printed."""
    port, file = bridge.ports["public"], tmp_path / "cursor"
    emit(3)
    bridge.wait_metric("history_events", 3)
    file.write_text("")
    broken = start(port, "--cursor-file", file)
    assert broken.wait_exit() == 2 and "is no cursor" in broken.err[0]
    file.unlink()
    tool = start(port, "--cursor-file", file, "--until", "stop")
    tool.wait_out("connection_established")
    emit(3)
    for event in ({"type": "stop"}, {"type": "after"}):
        runtime.emit("alice", event)
    assert tool.wait_exit() == 0 and numbers_of(tool) == [4, 5, 6]
    cursor = json.loads(file.read_text())
    assert cursor["offset"] == 7 and re.fullmatch(r"\S+", cursor["epoch"])
    emit(2)
    again = start(port, "--cursor-file", file, "--until", "stop")
    again.wait_out('"n":8')
    runtime.emit("alice", {"type": "stop"})
    assert again.wait_exit() == 0
    types = [message["type"] for message in again.messages()]
    assert types == ["connection_established", "after", "progress_update", "progress_update", "stop"]
    assert numbers_of(again) == [7, 8] and again.messages()[0]["data"]["recovered"] is True
    assert not again.err and [path.name for path in tmp_path.iterdir()] == ["cursor"]


def test_cursor_that_cannot_be_kept(bridge, start, tmp_path):
    """A place that cannot be written ends it, with a word."""
    tool = start(bridge.ports["public"], "--cursor-file", tmp_path / "no" / "folder")
    assert tool.wait_exit() == 1 and "cannot be written" in tool.wait_err("--cursor-file")


def test_lost_for_good(stack, start):
    """resync is said, and the new epoch is where it goes on."""
    runtime = stack.runtime(sequenced=True)
    bridge = stack.bridge(runtime)
    tool = start(bridge.ports["public"], "--resume", "--follow")
    tool.wait_out("connection_established")
    runtime.emit("alice", {"type": "x"})
    tool.wait_out('"x"')
    runtime.drop("alice", {"type": "x"})
    runtime.forget(2, 2)
    runtime.emit("alice", {"type": "y"})
    tool.wait_out('"y"')
    tool.wait_err("resync")
    assert tool.err == ["agentbridge connect: events are lost for good (resync)"]
    close(runtime, 4008)
    wait_until(lambda: sum(m["type"] == "connection_established" for m in tool.messages()) == 2)
    assert tool.messages()[-1]["data"]["recovered"] is True
    tool.interrupt()
    assert tool.wait_exit() == 0


def test_new_token(stack, runtime, start, tmp_path):
    """When the token has expired: with another one in the file it comes back, with the same it is refused."""
    bridge = stack.bridge(runtime, jwt_leeway_s=0)
    tools = {}
    for name in ("same", "new"):
        (tmp_path / name).write_text(stack.keys.token("alice", ttl=3))
        tools[name] = start(bridge.ports["public"], "--resume", "--follow", "--token-file", tmp_path / name)
        tools[name].wait_out("connection_established")
    (tmp_path / "new").write_text(stack.keys.token("alice"))
    assert tools["same"].wait_exit() == 3
    assert tools["same"].err == ["agentbridge connect: refused: TOKEN_EXPIRED"]
    tools["new"].wait_err("refused: TOKEN_EXPIRED")
    wait_until(lambda: sum(m["type"] == "connection_established" for m in tools["new"].messages()) == 2)
    assert tools["new"].messages()[-1]["data"]["recovered"] is True
    tools["new"].interrupt()
    assert tools["new"].wait_exit() == 0


def test_first_connection_must_succeed(stack, start):
    """--resume does not mean that a wrong address is tried for ever; neither is a refusal."""
    assert start(free_port(), "--resume").wait_exit() == 1
    bridge = stack.bridge(runtime_wait_ms=50)
    tool = start(bridge.ports["public"], "--resume")
    assert tool.wait_exit() == 3 and tool.err == ["agentbridge connect: refused: SERVICE_NOT_READY"]
