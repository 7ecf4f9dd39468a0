"""`agentbridge connect`: what it prints and sends, and when it ends."""
import json
import os
import pty
import re
import select
import signal
import subprocess

import msgpack
import pytest
from harness import run_program, scaled, wait_until
from harness.tool import Tool

RUN = {"run_id": "run_1", "agent_name": "demo"}


def answer(runtime, command):
    """A run for every message: started, completed with what was said."""
    if command.command != "MESSAGE":
        return
    text = json.loads(command.body).get("text", "?")
    for event in ({"type": "agent_started", "task_description": text},
                  {"type": "agent_completed", "status": "completed", "final_response": text.upper()}):
        runtime.emit(command.user_id, {**event, "run_id": f"run_{text}"})


@pytest.fixture(name="start")
def start_fixture(stack):
    """Starts the tool against a bridge, with a token of alice."""
    tools = []

    def start(bridge, *words, user="alice", token=None, path="/ws", env=None, **options):
        url = f"ws://127.0.0.1:{bridge.ports['public']}{path}"
        env = {"AGENTBRIDGE_TOKEN": token or stack.keys.token(user), **(env or {})}
        tools.append(Tool("connect", "--url", url, *words, env=env, **options))
        return tools[-1]
    yield start
    for tool in tools:
        tool.finish()


def test_json_is_what_came(bridge, runtime, start):
    """--json prints each message as it came, on one line; --until ends with 0 after the first of its type."""
    tool = start(bridge, "--json", "--until", "agent_completed")
    tool.wait_out("connection_established")
    runtime.emit("alice", {"type": "agent_started", **RUN, "task_description": "a\nb\u009b31m"})
    runtime.emit("alice", {"type": "agent_completed", **RUN, "n": 2 ** 53 + 1})
    runtime.emit("alice", {"type": "later", **RUN})
    assert tool.wait_exit() == 0
    assert tool.out[1:] == [
        '{"type":"agent_started","run_id":"run_1","agent_name":"demo","task_description":"a\\nb\u009b31m","_offset":1}',
        '{"type":"agent_completed","run_id":"run_1","agent_name":"demo","n":9007199254740993,"_offset":2}']
    assert not tool.err


def test_lines_go_up(bridge, runtime, start):
    """A JSON object goes byte for byte, any other text becomes a user_message; blank lines do not count."""
    tool = start(bridge, "--follow")
    tool.write('{ "type":"user_message", "text":"as it is", "n":1.50 }\r\nplain text\n\n[1,2]\nno end')
    tool.end_input()
    bodies = [command.body for command in runtime.wait_commands("MESSAGE", 4)]
    assert bodies[0] == b'{ "type":"user_message", "text":"as it is", "n":1.50 }'
    sent = [json.loads(body) for body in bodies[1:]]
    assert [message["text"] for message in sent] == ["plain text", "[1,2]", "no end"]
    assert {message["type"] for message in sent} == {"user_message"}
    assert len({message["message_id"] for message in sent}) == 3 and all(len(m["message_id"]) == 24 for m in sent)
    tool.interrupt()
    assert tool.wait_exit() == 0
    assert runtime.wait_command("DISCONNECT").headers["code"] == 1000


def test_ends_when_all_is_answered(stack, start):
    """Once standard input has ended: as soon as there are as many answers as lines, from a pipe as from a file."""
    runtime = stack.runtime(handler=answer)
    bridge = stack.bridge(runtime)
    tool = start(bridge, "--json")
    tool.write("one\ntwo\nthree\n")
    tool.end_input()
    assert tool.wait_exit() == 0
    answers = [message["final_response"] for message in tool.messages() if message["type"] == "agent_completed"]
    assert answers == ["ONE", "TWO", "THREE"]


def test_a_file_is_input_too(stack, start, tmp_path):
    """Standard input may be a file, which epoll does not watch; and nothing at all."""
    runtime = stack.runtime(handler=answer)
    bridge = stack.bridge(runtime)
    (tmp_path / "lines").write_text("from a file\n")
    with open(tmp_path / "lines", encoding="utf-8") as lines:
        tool = start(bridge, stdin=lines)
    assert tool.wait_exit() == 0 and "completed: FROM A FILE" in tool.wait_out("agent_completed")
    silent = start(bridge, "--quiet-ms", "50", stdin=subprocess.DEVNULL)
    assert silent.wait_exit() == 0 and len(silent.out) == 1


def test_waits_for_open_runs(bridge, runtime, start):
    """With a run in progress the end of standard input is no end; a run that it finds in progress counts too."""
    runtime.emit("alice", {"type": "agent_started", **RUN})
    bridge.wait_metric("runs_active", 1)
    tool = start(bridge, "--json", "--quiet-ms", "1")
    tool.write("answered by nobody\n")
    tool.end_input()
    tool.wait_out("runs_snapshot")
    runtime.wait_command("MESSAGE")
    for number in range(20):  # without the run, each of these waits would be its end
        runtime.emit("alice", {"type": "progress_update", **RUN, "step": f"step-{number}."})
        tool.wait_out(f"step-{number}.")
    runtime.emit("alice", {"type": "agent_error", **RUN, "error_code": "X"})
    assert tool.wait_exit() == 0


def test_limits_of_time(bridge, start):
    """--for ends with 0; with --until, which was not seen, with 1 and a word."""
    tool = start(bridge, "--for", "1")
    other = start(bridge, "--for", "1", "--until", "never")
    assert tool.wait_exit() == 0 and not tool.err
    assert other.wait_exit() == 1
    assert other.err == ["agentbridge connect: never has not come in 1 s"]


def test_lines_for_people(bridge, runtime, start):
    """One line a message with what matters; nothing of a peer's text can steer a terminal."""
    tool = start(bridge, "--until", "last")
    tool.wait_out("connection_established")
    for event in ({"type": "agent_started", **RUN, "task_description": "say \x1b[31mred\x1b[0m \u009b1m \u202etxt"},
                  {"type": "agent_thinking", **RUN, "delta": "Let me "}, {"type": "agent_thinking", **RUN, "delta": "see"},
                  {"type": "tool_executing", **RUN, "tool_name": "calc", "tool_args": {"x": [6, 7]}},
                  {"type": "tool_completed", **RUN, "tool_name": "calc", "results": 42, "success": True, "execution_time": 0.25},
                  {"type": "agent_completed", **RUN, "status": "completed", "final_response": "42\nyes", "duration_ms": 1500},
                  {"type": "agent_error", "run_id": "a-very-long-run-id", "error_code": "BAD", "error_message": "it broke"},
                  {"type": "odd\x07type", "x": 1}, {"type": "last"}):
        runtime.emit("alice", {"timestamp": 1700000000.25, **event})
    assert tool.wait_exit() == 0
    assert "\x1b" not in "".join(tool.out) and "\x07" not in "".join(tool.out)
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3}  connection_established as alice, bridge flow-bridge, ws_[0-9a-f]+$",
                    re.sub("  +as", " as", tool.out[0]))
    assert [re.sub(r"^\d\d:\d\d:00\.250 +|^(\d\d:){2}20\.250 +", "", line) for line in tool.out[1:]] == [
        "agent_started    run_1        demo: say \\x1b[31mred\\x1b[0m \\x9b1m \\u{202e}txt",
        "agent_thinking   run_1        Let me ", "agent_thinking   run_1        see",
        'tool_executing   run_1        calc {"x":[6,7]}', "tool_completed   run_1        calc: 42 (0.25 s)",
        "agent_completed  run_1        completed: 42", "    yes (1.5 s)",
        "agent_error      a-very-long- BAD: it broke", 'odd\\x07type                   {"x":1}', "last                          "]


def read_piece(terminal):
    """What has been written to a terminal meanwhile; nothing when its other end is closed."""
    assert select.select([terminal], [], [], scaled(10))[0], "nothing on the terminal"
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


@pytest.fixture(name="terminal")
def terminal_fixture(bridge, runtime, start):
    """Runs it on a terminal; gives all that it wrote there."""
    def run(*words, env=None):
        ours, theirs = pty.openpty()
        tool = start(bridge, "--until", "last", *words, stdout=theirs, env={"TERM": "xterm", **(env or {})})
        os.close(theirs)
        text = read_piece(ours)
        for event in ({"type": "agent_thinking", **RUN, "delta": "Let \x1b[2Jme "},
                      {"type": "agent_thinking", **RUN, "delta": "see\u009b"}, {"type": "last"}):
            runtime.emit("alice", event)
        while piece := read_piece(ours):
            text += piece
        os.close(ours)
        assert tool.wait_exit() == 0
        return text.decode().replace("\r\n", "\n")
    return run


def test_on_a_terminal(terminal):
    """Colours, and deltas of a run on one line; no escape but our own colours."""
    text = terminal()
    assert "Let \\x1b[2Jme see\\x9b\n" in text
    assert set(re.findall("\x1b[^m]*m", text)) <= {f"\x1b[{code}m" for code in (0, 31, 32, 33, 34, 90)}
    assert "\x1b[32m" in text and text.count("\x1b") == len(re.findall(r"\x1b\[\d+m", text))


def test_no_colour(terminal):
    """NO_COLOR and TERM=dumb leave colours out."""
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        text = terminal(env=env)
        assert "\x1b" not in text and "Let \\x1b[2Jme see\\x9b\n" in text


def test_json_on_a_terminal(terminal):
    """What JSON lets stand in a string and a terminal obeys is escaped there; it is the same JSON."""
    lines = terminal("--json").splitlines()
    assert "\u009b" not in "".join(lines) and json.loads(lines[2])["delta"] == "see\u009b"


def test_msgpack(bridge, runtime, start):
    """On agent_chat.msgpack both directions are MessagePack; what is printed is the JSON that it means."""
    tool = start(bridge, "--json", "--subprotocol", "agent_chat.msgpack", "--until", "last")
    tool.write('{"type":"x","n":[1,2.5,null]}\nhello\n')
    first, second = [msgpack.unpackb(command.body) for command in runtime.wait_commands("MESSAGE", 2)]
    assert first == {"type": "x", "n": [1, 2.5, None]} and second["text"] == "hello"
    assert {command.headers["opcode"] for command in runtime.commands("MESSAGE")} == {"binary"}
    runtime.emit("alice", {"type": "last", "bytes": b"\x00\xff"})
    assert tool.wait_exit() == 0
    assert tool.out[-1] == '{"type":"last","bytes":"AP8=","_offset":1}'


def test_raw(bridge, runtime, start):
    """On raw every line goes as it is, and frames that are no JSON are told as text or bytes."""
    tool = start(bridge, "--json", "--subprotocol", "raw", "--until", "last")
    tool.write("no json\n")
    message = runtime.wait_command("MESSAGE")
    assert message.body == b"no json" and message.headers["opcode"] == "text"
    for opcode, body in (("text", b"x\x1b\ny"), ("binary", b"\x00\xff"), ("text", b'{"a":\n1}')):
        runtime.send("SEND", message.connection_id, "alice", {"opcode": opcode}, body)
    wait_until(lambda: len(tool.out) == 3)
    runtime.emit("alice", {"type": "last"})
    assert tool.wait_exit() == 0
    assert tool.messages() == [{"_text": "x\x1b\ny"}, {"_binary": "00ff"}, {"a": 1}, {"type": "last"}]


def test_exit_codes_of_closes(bridge, runtime, start):
    """The runtime's 1000 is 0; any other end is 1, with its code and reason in words."""
    for headers, code, words in (({"code": 1000, "reason": "done"}, 0, []),
                                 ({"code": 4000, "reason": "gone\x1b[1m"}, 1,
                                  ["agentbridge connect: closed with 4000: gone\\x1b[1m"])):
        tool = start(bridge)
        tool.wait_out("connection_established")
        connect = runtime.wait_commands("CONNECT", len(runtime.commands("DISCONNECT")) + 1)[-1]
        runtime.send("CLOSE", connect.connection_id, "alice", headers)
        assert tool.wait_exit() == code and tool.err == words
        runtime.wait_commands("DISCONNECT", len(runtime.commands("CONNECT")))
    tool = start(bridge)
    tool.wait_out("connection_established")
    bridge.kill()
    assert tool.wait_exit() == 1 and tool.err == ["agentbridge connect: the connection is lost"]


def test_refused(stack, runtime, start):
    """A refusal is 3 and prints the error_code, whichever way the bridge tells it."""
    for auth_failure in ("close", "http"):
        bridge = stack.bridge(runtime, auth_failure=auth_failure)
        for token, words, code in ((stack.keys.token("alice", ttl=-3600), [], "TOKEN_EXPIRED"),
                                   (stack.keys.token("alice", key="x" * 40), [], "VALIDATION_FAILED"),
                                   (stack.keys.token("alice"), ["--origin", "https://evil.example"], "ORIGIN_DENIED")):
            tool = start(bridge, *words, token=token)
            assert tool.wait_exit() == 3, tool.tail()
            assert tool.err == [f"agentbridge connect: refused: {code}"]


def test_not_there(start, bridge):
    """Nobody listens, or what listens is no WebSocket: 1, and what is wrong."""
    tool = start(bridge, path="/nowhere")
    assert tool.wait_exit() == 1
    assert tool.err == ["agentbridge connect: the server answered with HTTP status 404, no WebSocket"]
    result = run_program("connect", "--url", "ws://127.0.0.1:9/ws", "--resume")
    assert result.returncode == 1 and "cannot connect to 127.0.0.1:9" in result.stderr


def test_token_file_and_headers(stack, runtime, start, tmp_path):
    """The token of a file counts before the variable; headers are sent; a secret flag does not stay in `ps`."""
    bridge = stack.bridge(runtime, trusted_proxies="127.0.0.1")
    (tmp_path / "token").write_text(stack.keys.token("bob") + "\n")
    tool = start(bridge, "--token-file", tmp_path / "token", "--header", "X-Forwarded-For: 192.0.2.7")
    assert " as bob, " in tool.wait_out("connection_established")
    assert runtime.wait_command("CONNECT").headers["remote"] == "192.0.2.7"
    other = start(bridge, "--token=" + stack.keys.token("carol"))
    assert " as carol, " in other.wait_out("connection_established")
    with open(f"/proc/{other.process.pid}/cmdline", encoding="utf-8") as shown:
        assert re.search(r"--token=\*+\0", shown.read())


def test_long_token(bridge, start, stack):
    """A token of several kilobytes is no trouble."""
    tool = start(bridge, token=stack.keys.token("alice", roles=["x" * 100] * 60))
    assert " as alice, " in tool.wait_out("connection_established")


def test_tls(secure, start, stack, tmp_path):
    """wss:// is verified; --ca-file names whom to trust; --insecure takes anything, and says so loudly."""
    bridge = secure.start()
    url = f"wss://127.0.0.1:{bridge.ports['public']}/ws"
    (tmp_path / "ca.pem").write_text(secure.authority.root_pem)
    token = {"AGENTBRIDGE_TOKEN": stack.keys.token("alice")}
    refused = run_program("connect", "--url", url, env=token)
    assert refused.returncode == 1 and "cert" in refused.stderr, refused
    trusted = run_program("connect", "--url", url, "--ca-file", tmp_path / "ca.pem", "--until", "connection_established", env=token)
    assert trusted.returncode == 0 and " as alice, " in trusted.stdout and not trusted.stderr, trusted
    careless = run_program("connect", "--url", url, "--insecure", "--until", "connection_established", env=token)
    assert careless.returncode == 0 and " as alice, " in careless.stdout and "WARNING" in careless.stderr


FAULTS = {
    "no-url": ([], "--url must be given"), "http": (["--url", "http://x"], "ws:// or wss://"),
    "user": (["--url", "ws://a@b/"], "without a user"), "port": (["--url", "ws://a:0/"], "HOST:PORT"),
    "two-tokens": (["--url", "ws://a/", "--token", "x", "--token-file", "y"], "do not go together"),
    "no-token-file": (["--url", "ws://a/", "--token-file", "/does/not/exist"], "--token-file /does/not/exist"),
    "header": (["--url", "ws://a/", "--header", "no colon"], "'NAME: VALUE'"),
    "for": (["--url", "ws://a/", "--for", "0"], "1 to 8640000"), "unknown": (["--frobnicate"], "--frobnicate is unknown"),
    "raw-resume": (["--url", "ws://a/", "--subprotocol", "raw", "--resume"], "no offsets"),
    "stray": (["secret"], "argument 1 is no option"), "switch": (["--json=1"], "--json takes no value"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_wrong_arguments(case):
    """2 and one line that says what to do."""
    words, text = FAULTS[case]
    result = run_program("connect", *words)
    assert result.returncode == 2 and not result.stdout, result
    assert text in result.stderr and result.stderr.count("\n") == 1


def test_text_that_is_not_utf8(bridge, runtime, start):
    """Such a line is not sent, which is said and makes the exit code 1; the others are."""
    tool = start(bridge, "--for", "1")
    tool.process.stdin.write(b"\xff\xfe\nfine\n")
    tool.process.stdin.flush()
    assert json.loads(runtime.wait_command("MESSAGE").body)["text"] == "fine"
    assert tool.wait_exit() == 1
    assert tool.err == ["agentbridge connect: a line was not sent: it is not UTF-8"]


def test_lines_that_were_not_sent(bridge, start, tmp_path):
    """What waits when the connection breaks is lost, which is said and counted."""
    (tmp_path / "lines").write_text((("x" * 60000) + "\n") * 300)
    with open(tmp_path / "lines", encoding="utf-8") as lines:
        tool = start(bridge, "--for", "60", stdin=lines)
        tool.wait_out("connection_established")
        bridge.signal(signal.SIGSTOP)
        seen = [None]

        def stands_still():  # the socket is full, and so is what may wait
            before, seen[0] = seen[0], os.lseek(lines.fileno(), 0, os.SEEK_CUR)  # it is the tool's place too
            return before == seen[0]
        wait_until(stands_still, poll=0.3)
    bridge.kill()
    assert tool.wait_exit() == 1
    unsent = tool.wait_err("lines had not been sent")
    assert 10 <= int(re.search(r": (\d+) lines", unsent)[1]) <= 290, unsent
